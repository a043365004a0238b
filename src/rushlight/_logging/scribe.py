"""``torch._logging.scribe``: what a company's build reports to its own logs; others report nothing."""

from __future__ import annotations

__all__ = ["open_source_signpost"]


def open_source_signpost(*, subsystem: str, name: str, **kwargs: object) -> None:
    """Where an event would be reported; outside of that company PyTorch's does nothing either."""
