"""`Shard`, `Replicate`, `Partial`: how a tensor lies on the processes along one dimension of a mesh."""

from __future__ import annotations

from dataclasses import dataclass

from ...homes import settle
from ...unsupported import attribute_of

__all__ = ["Partial", "Placement", "Replicate", "Shard"]


class Placement:
    """How a tensor lies along one dimension of a mesh."""

    def is_shard(self, dim: int | None = None) -> bool:
        """Whether every process has a part, along this dimension of the tensor if one is given."""
        return isinstance(self, Shard) and dim in (None, self.dim)

    def is_replicate(self) -> bool:
        """Whether every process has all of it."""
        return isinstance(self, Replicate)

    def is_partial(self, reduce_op: str | None = None) -> bool:
        """Whether the tensor is what the processes' tensors make together."""
        return isinstance(self, Partial) and reduce_op in (None, self.reduce_op)


@dataclass(frozen=True)
class Shard(Placement):
    """Every process has a part along `dim`, as ``torch.chunk`` cuts it: the last ones may be smaller, or empty."""

    dim: int

    def __repr__(self) -> str:
        return f"Shard(dim={self.dim})"

    def __str__(self) -> str:
        return f"S({self.dim})"

    def part(self, size: int, count: int, place: int) -> tuple[int, int]:
        """(where the part begins, its length) of `size` elements on `count` processes."""
        step = -(-size // count)
        begin = min(step * place, size)
        return begin, min(step, size - begin)


@dataclass(frozen=True)
class Replicate(Placement):
    """Every process has all of it."""

    def __repr__(self) -> str:
        return "Replicate()"

    def __str__(self) -> str:
        return "R"


@dataclass(frozen=True)
class Partial(Placement):
    """The tensor is the sum (or ``"avg"``) of the processes' tensors."""

    reduce_op: str = "sum"

    def __repr__(self) -> str:
        return f"Partial({self.reduce_op})"

    def __str__(self) -> str:
        return f"P({self.reduce_op})"


__getattr__ = attribute_of("distributed.tensor.placement_types", "docs/distributed.md lists what is there")

settle("distributed.tensor.placement_types", globals())
