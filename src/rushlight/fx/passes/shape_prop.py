"""`ShapeProp`: runs a graph and notes what every value looks like."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...layout import channels_last, channels_last_3d, contiguous_format
from ...tensor import Tensor
from ..interpreter import Interpreter
from ..node import Node, map_aggregate

__all__ = ["TensorMetadata", "ShapeProp"]


class TensorMetadata(NamedTuple):
    """What a tensor looks like: ``node.meta["tensor_meta"]``."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: Tensor, include_contiguity: bool = True) -> TensorMetadata:
    """A tensor's `TensorMetadata`; without `include_contiguity` its memory format is None."""
    dense = result.layout.__repr__() == "torch.strided"
    found = None
    if include_contiguity and dense:
        formats = [contiguous_format, *{4: [channels_last], 5: [channels_last_3d]}.get(result.dim(), [])]
        found = next((each for each in formats if result.is_contiguous(memory_format=each)), None)
    return TensorMetadata(result.shape, result.dtype, result.requires_grad, result.stride() if dense else (), found, False, {})


class ShapeProp(Interpreter):
    """Runs a module's graph on example inputs. Each node then has ``meta["tensor_meta"]`` (nested as its value is) and ``meta["type"]``.

    fake_mode  a `FakeTensorMode` to run it under: nothing is computed then
    """

    def __init__(self, gm: Any, fake_mode: Any = None) -> None:
        super().__init__(gm)
        self.fake_mode, self.real_module, self.fake_module = fake_mode, gm, None
        if fake_mode is not None:
            import copy
            with fake_mode:
                self.fake_module = copy.deepcopy(gm)

    def run_node(self, n: Node) -> Any:
        """The value of a node, noted. RuntimeError with the node where it fails."""
        try:
            if self.fake_mode is None:
                result = super().run_node(n)
            else:
                self.module = self.fake_module
                try:
                    with self.fake_mode:
                        result = super().run_node(n)
                finally:
                    self.module = self.real_module
        except Exception as error:
            raise RuntimeError(f"ShapeProp error for: node={n.format_node()} with meta={n.meta}") from error
        found = []

        def describe(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            found.append(value)
            return _extract_tensor_metadata(value)
        described = map_aggregate(result, describe)
        if found:
            n.meta["tensor_meta"] = described
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """The graph's result for these inputs."""
        if self.fake_mode is not None:
            args = tuple([self.fake_mode.from_tensor(each) if isinstance(each, Tensor) else each for each in args])
        return super().run(*args)
