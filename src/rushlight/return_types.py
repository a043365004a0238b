"""The named tuples that ops with several results return; they print as ``torch.return_types.max(...)``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["make"]


def make(name: str, *fields: str) -> type[Any]:
    """A tuple type with named fields, called torch.return_types.<name>."""
    def new(cls: type[Any], values: Sequence[Tensor]) -> Any:
        return tuple.__new__(cls, values)

    def represent(self: Any) -> str:
        inner = ",\n".join(f"{field}={value!r}" for field, value in zip(fields, self, strict=True))
        return f"torch.return_types.{name}(\n{inner})"

    def reduce(self: Any) -> Any:
        return _restore, (name, tuple(self))

    body: dict[str, Any] = {"__slots__": (), "__new__": new, "__repr__": represent, "__reduce__": reduce,
                            "__module__": "torch.return_types", "_fields": fields, "n_fields": len(fields),
                            "n_sequence_fields": len(fields), "n_unnamed_fields": 0}
    for index, field in enumerate(fields):
        body[field] = property(lambda self, index=index: self[index])
    made = type(name, (tuple,), body)
    globals()[name] = made
    return made


def _restore(name: str, values: tuple[Any, ...]) -> Any:
    return globals()[name](values)


max = make("max", "values", "indices")
min = make("min", "values", "indices")
median = make("median", "values", "indices")
nanmedian = make("nanmedian", "values", "indices")
mode = make("mode", "values", "indices")
sort = make("sort", "values", "indices")
topk = make("topk", "values", "indices")
kthvalue = make("kthvalue", "values", "indices")
cummax = make("cummax", "values", "indices")
cummin = make("cummin", "values", "indices")
aminmax = make("aminmax", "min", "max")
