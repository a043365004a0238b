"""How a module is split over a mesh of one dimension: the styles of tensor parallelism."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import rushlight as torch

from ....homes import settle
from ...device_mesh import DeviceMesh
from ..dtensor import DTensor, distribute_module, distribute_tensor
from ..placement_types import Placement, Replicate, Shard

__all__ = [
    "ColwiseParallel",
    "ParallelStyle",
    "PrepareModuleInput",
    "PrepareModuleInputOutput",
    "PrepareModuleOutput",
    "RowwiseParallel",
    "SequenceParallel",
]


def _as(value: Any, mesh: DeviceMesh, layout: Placement | None, desired: Placement | None) -> Any:
    """A tensor that lies as `layout`, where it is `desired`."""
    if not isinstance(value, DTensor):
        if layout is None or not isinstance(value, torch.Tensor):
            return value
        value = DTensor.from_local(value, mesh, (layout,))
    return value if desired is None else value.redistribute(placements=(desired,))


def _out(value: Any, layout: Placement | None, local: bool) -> Any:
    if not isinstance(value, DTensor):
        return value
    value = value if layout is None else value.redistribute(placements=(layout,))
    return value.to_local() if local else value


class ParallelStyle(ABC):
    """How one module is split. `src_data_rank`: whose parameters count."""

    src_data_rank: int | None = 0

    @abstractmethod
    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        """Split the module."""

    def _parameters(self, module: Any, mesh: DeviceMesh, where: Callable[[str], Placement]) -> None:
        for name, p in list(module._parameters.items()):
            if p is not None:
                made = distribute_tensor(p.detach(), mesh, [where(name)], src_data_rank=self.src_data_rank)
                module.register_parameter(name, torch.nn.Parameter(made, p.requires_grad))


class _Linear(ParallelStyle):
    """What column- and rowwise parallelism have in common."""

    cut: dict[str, Callable[[str], Placement]]

    def __init__(self, input_layouts: Placement, output_layouts: Placement, use_local_output: bool) -> None:
        self.input_layouts, self.output_layouts, self.use_local_output = (input_layouts,), (output_layouts,), use_local_output

    def _desired(self, module: Any) -> Placement:
        return Replicate()

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        kind = next(
            (name for name, cls in (("Linear", torch.nn.Linear), ("Embedding", torch.nn.Embedding)) if isinstance(module, cls)), None
        )
        if kind is None:
            raise NotImplementedError(
                f"{type(self).__name__} currently only supports nn.Linear and nn.Embedding, not {type(module).__name__}!"
            )
        desired = self._desired(module)
        return distribute_module(
            module,
            device_mesh,
            lambda name, each, mesh: self._parameters(each, mesh, self.cut[kind]),
            lambda each, inputs, mesh: (_as(inputs[0], mesh, self.input_layouts[0], desired), *inputs[1:]),
            lambda each, outputs, mesh: _out(outputs, self.output_layouts[0], self.use_local_output),
        )


class ColwiseParallel(_Linear):
    """A Linear's outputs, or an Embedding's features, are shared out.

    input_layouts     where the input lies (Replicate())
    output_layouts    where the output shall lie (Shard(-1))
    use_local_output  give out the local tensor
    """

    cut = {"Linear": lambda name: Shard(0), "Embedding": lambda name: Shard(1)}

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None, use_local_output: bool = True
    ) -> None:
        super().__init__(input_layouts or Replicate(), output_layouts or Shard(-1), use_local_output)


class RowwiseParallel(_Linear):
    """A Linear's inputs, or an Embedding's rows, are shared out.

    input_layouts     where the input lies (Shard(-1))
    output_layouts    where the output shall lie (Replicate())
    use_local_output  give out the local tensor
    """

    cut = {"Linear": lambda name: Shard(1) if name == "weight" else Replicate(), "Embedding": lambda name: Shard(0)}

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None, use_local_output: bool = True
    ) -> None:
        super().__init__(input_layouts or Shard(-1), output_layouts or Replicate(), use_local_output)

    def _desired(self, module: Any) -> Placement:
        return Shard(-1) if isinstance(module, torch.nn.Linear) else Replicate()


class SequenceParallel(ParallelStyle):
    """Parameters are replicated (LayerNorm, Dropout, RMSNorm), sequences shared out along `sequence_dim`."""

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False) -> None:
        self.sequence_sharding, self.use_local_output = (Shard(sequence_dim),), use_local_output

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        cut = self.sequence_sharding[0]
        return distribute_module(
            module,
            device_mesh,
            lambda name, each, mesh: self._parameters(each, mesh, lambda key: Replicate()),
            lambda each, inputs, mesh: (_as(inputs[0], mesh, cut, cut), *inputs[1:]),
            lambda each, outputs, mesh: _out(outputs, None, self.use_local_output),
        )


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class PrepareModuleInput(ParallelStyle):
    """A module's inputs become DTensors of `input_layouts` and go in as `desired_input_layouts`."""

    def __init__(
        self,
        *,
        input_layouts: Any = None,
        desired_input_layouts: Any = None,
        input_kwarg_layouts: dict[str, Placement] | None = None,
        desired_input_kwarg_layouts: dict[str, Placement] | None = None,
        use_local_output: bool = False,
    ) -> None:
        self.input_layouts = None if input_layouts is None else _several(input_layouts)
        self.desired_input_layouts = None if desired_input_layouts is None else _several(desired_input_layouts)
        self.use_local_output = use_local_output
        self.input_kwarg_layouts, self.desired_input_kwarg_layouts = input_kwarg_layouts or {}, desired_input_kwarg_layouts or {}
        if self.input_layouts is not None and (
            self.desired_input_layouts is None or len(self.input_layouts) != len(self.desired_input_layouts)
        ):
            raise AssertionError("input_layouts and desired_input_layouts should have same length!")
        if self.input_kwarg_layouts.keys() != self.desired_input_kwarg_layouts.keys():
            raise AssertionError("input_kwarg_layouts and desired_input_kwarg_layouts should have the same keys!")

    def _one(self, value: Any, mesh: DeviceMesh, layout: Placement | None, desired: Placement | None) -> Any:
        if layout is None:
            return value
        found = _as(value, mesh, layout, desired)
        return found.to_local() if self.use_local_output and isinstance(found, DTensor) else found

    def _inputs(self, inputs: Sequence[Any], kwargs: dict[str, Any], mesh: DeviceMesh) -> tuple[Any, dict[str, Any]]:
        if self.input_layouts is not None:
            if len(inputs) != len(self.input_layouts):
                raise ValueError("module inputs and input_layouts should have same length!")
            inputs = tuple(
                self._one(value, mesh, a, b)
                for value, a, b in zip(inputs, self.input_layouts, self.desired_input_layouts or (), strict=True)
            )
        return inputs, {
            key: self._one(value, mesh, self.input_kwarg_layouts.get(key), self.desired_input_kwarg_layouts.get(key))
            for key, value in kwargs.items()
        }

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        module.register_forward_pre_hook(lambda each, inputs, kwargs: self._inputs(inputs, kwargs, device_mesh), with_kwargs=True)
        return module


class PrepareModuleOutput(ParallelStyle):
    """A module's outputs become DTensors of `output_layouts` and come out as `desired_output_layouts`."""

    def __init__(self, *, output_layouts: Any, desired_output_layouts: Any, use_local_output: bool = True) -> None:
        self.output_layouts, self.desired_output_layouts = _several(output_layouts), _several(desired_output_layouts)
        self.use_local_output = use_local_output
        if len(self.output_layouts) != len(self.desired_output_layouts):
            raise AssertionError("output_layouts and desired_output_layouts should have same length!")

    def _outputs(self, outputs: Any, mesh: DeviceMesh) -> Any:
        values = outputs if isinstance(outputs, tuple) else (outputs,)
        if len(values) != len(self.output_layouts):
            raise ValueError("module outputs and output_layouts should have same length!")
        found = tuple(
            value if a is None else _out(_as(value, mesh, a, b), None, self.use_local_output)
            for value, a, b in zip(values, self.output_layouts, self.desired_output_layouts, strict=True)
        )
        return found if isinstance(outputs, tuple) else found[0]

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        module.register_forward_hook(lambda each, inputs, outputs: self._outputs(outputs, device_mesh))
        return module


class PrepareModuleInputOutput(ParallelStyle):
    """`PrepareModuleInput` and `PrepareModuleOutput` of one module."""

    def __init__(
        self,
        *,
        input_layouts: Any = None,
        desired_input_layouts: Any = None,
        input_kwarg_layouts: dict[str, Placement] | None = None,
        desired_input_kwarg_layouts: dict[str, Placement] | None = None,
        use_local_input: bool = False,
        output_layouts: Any,
        desired_output_layouts: Any,
        use_local_output: bool = True,
    ) -> None:
        self.prepare_module_input = PrepareModuleInput(
            input_layouts=input_layouts,
            desired_input_layouts=desired_input_layouts,
            input_kwarg_layouts=input_kwarg_layouts,
            desired_input_kwarg_layouts=desired_input_kwarg_layouts,
            use_local_output=use_local_input,
        )
        self.prepare_module_output = PrepareModuleOutput(
            output_layouts=output_layouts, desired_output_layouts=desired_output_layouts, use_local_output=use_local_output
        )

    def _apply(self, module: Any, device_mesh: DeviceMesh) -> Any:
        return self.prepare_module_output._apply(self.prepare_module_input._apply(module, device_mesh), device_mesh)


settle("distributed.tensor.parallel.style", globals())
