"""``torch.distributed.tensor.parallel``: the layers of a module split over the processes of a mesh."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

from ....homes import settle
from ....unsupported import attribute_of
from ...device_mesh import DeviceMesh
from ..dtensor import mesh_of
from .style import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    PrepareModuleInputOutput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
)

__all__ = [
    "ColwiseParallel",
    "ParallelStyle",
    "PrepareModuleInput",
    "PrepareModuleInputOutput",
    "PrepareModuleOutput",
    "RowwiseParallel",
    "SequenceParallel",
    "parallelize_module",
]


def parallelize_module(
    module: Any, device_mesh: DeviceMesh | None = None, parallelize_plan: Any = None, *, src_data_rank: int | None = 0
) -> Any:
    """Split a module over a mesh of one dimension, in place.

    parallelize_plan  a style for the module, or {path of a submodule: style}; ``*`` in a path stands for any name
    src_data_rank     whose parameters count; None: every process's own
    """
    mesh = mesh_of(device_mesh)
    if mesh.ndim != 1:
        raise ValueError(f"parallelize_module takes a mesh of one dimension, not of {mesh.ndim}: give mesh['tp']")
    if parallelize_plan is None:
        warnings.warn(
            "No parallelize_plan is provided and auto-parallel is not supported at the moment, so this parallelize_module call "
            "will do nothing.",
            stacklevel=2,
        )
        return module
    if isinstance(parallelize_plan, ParallelStyle):
        parallelize_plan.src_data_rank = src_data_rank
        return parallelize_plan._apply(module, mesh)
    if not isinstance(parallelize_plan, dict):
        raise TypeError(
            f"Expect Union[ParallelStyle, Dict[str, ParallelStyle]] for parallelize_plan, but {type(parallelize_plan).__name__} is found!"
        )
    for path, style in parallelize_plan.items():
        found = list(_at(module, path.split("."))) if path else [module]
        if not found:
            warnings.warn(f"parallelize_plan: there is no submodule {path!r}", stacklevel=2)
        for each in found:
            parallelize_module(each, mesh, style, src_data_rank=src_data_rank)
    return module


def _at(module: Any, path: list[str]) -> Iterator[Any]:
    """The submodules at a path."""
    if not path:
        yield module
        return
    for name, child in module.named_children():
        if fnmatch(name, path[0]):
            yield from _at(child, path[1:])


__getattr__ = attribute_of("distributed.tensor.parallel", "there is no loss_parallel: use output_layouts=Replicate() on the last layer")

settle("distributed.tensor.parallel", globals(), ["parallelize_module"])
