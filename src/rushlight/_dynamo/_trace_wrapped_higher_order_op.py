"""`TransformGetItemToIndex`: a context that libraries enter around vmap, in which indices may be tensors. They may always be here."""

from __future__ import annotations

from contextlib import AbstractContextManager

__all__ = ["TransformGetItemToIndex"]


class TransformGetItemToIndex(AbstractContextManager[None]):
    """A context that changes nothing: indexing with tensors is traced nowhere."""

    def __exit__(self, *exception: object) -> None:
        return None
