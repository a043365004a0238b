"""``torch.distributed.tensor``: `DTensor`, tensors that lie on the processes of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import rushlight as torch

from ...homes import settle
from ...unsupported import attribute_of
from ..device_mesh import DeviceMesh, init_device_mesh
from . import rules, shapes  # noqa: F401  (they register themselves)
from .dtensor import DTensor, Spec, distribute_module, distribute_tensor, mesh_of, normal, wrapped
from .moving import local_shape
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = [
    "DTensor",
    "DeviceMesh",
    "Partial",
    "Placement",
    "Replicate",
    "Shard",
    "distribute_module",
    "distribute_tensor",
    "empty",
    "full",
    "init_device_mesh",
    "ones",
    "rand",
    "randn",
    "zeros",
]


def _made(
    make: Callable[..., Any],
    size: Sequence[Any],
    mesh: DeviceMesh | None,
    placements: Sequence[Placement] | None,
    how: dict[str, Any],
    drawn: bool = False,
) -> DTensor:
    shape = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
    mesh = mesh_of(mesh)
    to = normal(placements, mesh, len(shape))
    if any(isinstance(p, Partial) for p in to):
        raise RuntimeError("a new DTensor lies as Shard or Replicate, not as Partial")
    requires_grad = how.pop("requires_grad", False)
    if drawn:  # every process draws all of it, and takes its part of the first one's
        return distribute_tensor(make(shape, **how), mesh, to).requires_grad_(requires_grad)
    return wrapped(make(local_shape(shape, mesh, to), **how), Spec(mesh, to, shape)).requires_grad_(requires_grad)


def zeros(
    *size: Any,
    requires_grad: bool = False,
    dtype: Any = None,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
) -> DTensor:
    """Zeros on a mesh."""
    return _made(torch.zeros, size, device_mesh, placements, {"dtype": dtype, "requires_grad": requires_grad})


def ones(
    *size: Any,
    requires_grad: bool = False,
    dtype: Any = None,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
) -> DTensor:
    """Ones on a mesh."""
    return _made(torch.ones, size, device_mesh, placements, {"dtype": dtype, "requires_grad": requires_grad})


def empty(
    *size: Any,
    requires_grad: bool = False,
    dtype: Any = None,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
) -> DTensor:
    """Memory on a mesh."""
    return _made(torch.empty, size, device_mesh, placements, {"dtype": dtype, "requires_grad": requires_grad})


def full(
    size: Any,
    fill_value: Any,
    *,
    requires_grad: bool = False,
    dtype: Any = None,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
) -> DTensor:
    """One value on a mesh."""
    return _made(torch.full, [size], device_mesh, placements, {"dtype": dtype, "fill_value": fill_value, "requires_grad": requires_grad})


def rand(
    *size: Any,
    requires_grad: bool = False,
    dtype: Any = None,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
) -> DTensor:
    """Random numbers in [0, 1) on a mesh: those that the first process draws."""
    return _made(torch.rand, size, device_mesh, placements, {"dtype": dtype, "requires_grad": requires_grad}, True)


def randn(
    *size: Any,
    requires_grad: bool = False,
    dtype: Any = None,
    device_mesh: DeviceMesh | None = None,
    placements: Sequence[Placement] | None = None,
) -> DTensor:
    """Normal random numbers on a mesh: those that the first process draws."""
    return _made(torch.randn, size, device_mesh, placements, {"dtype": dtype, "requires_grad": requires_grad}, True)


_others = attribute_of("distributed.tensor", "docs/distributed.md lists what is there")


def __getattr__(name: str) -> Any:
    if name == "parallel":
        return import_module(".parallel", __name__)
    return _others(name)


settle("distributed.tensor", globals(), ["empty", "full", "ones", "rand", "randn", "zeros"])
