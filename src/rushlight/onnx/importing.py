"""`torch.onnx.load`: an ONNX file as a GraphModule, whose nodes call the functions of `operators.py`."""

from __future__ import annotations

import operator
import os
from typing import Any

import numpy as np

from .. import dtypes, services
from ..dtypes import dtype as Type
from ..fx.graph import Graph
from ..fx.graph_module import GraphModule
from ..fx.node import Node
from ..nn.parameter import Parameter
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor
from ..unsupported import NotSupported
from . import operators
from .exporting import needed

__all__ = ["load"]

_DTYPES: dict[int, Type] = {1: dtypes.float32, 2: dtypes.uint8, 3: dtypes.int8, 5: dtypes.int16, 6: dtypes.int32, 7: dtypes.int64,
                            9: dtypes.bool_, 10: dtypes.float16, 11: dtypes.float64, 16: dtypes.bfloat16}


@services.onnx_load.given
def load(f: Any) -> GraphModule:
    """Read an ONNX model: a path, a file open for reading, or a ModelProto."""
    onnx = needed()
    if isinstance(f, (str, os.PathLike)):
        model = onnx.load(os.fspath(f))
    elif hasattr(f, "read"):
        model = onnx.load_model_from_string(f.read())
    else:
        model = f
    onnx.checker.check_model(model)
    return _Reader(model).module()


class _Reader:
    """Builds the graph of a model."""

    def __init__(self, model: Any) -> None:
        from onnx import helper, numpy_helper
        self.helper, self.numpy = helper, numpy_helper
        self.model, self.graph = model, Graph()
        self.opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 1)
        self.values: dict[str, Any] = {}
        self.tensors: dict[str, Any] = {}
        self.attributes: dict[str, Any] = {}
        self.unknown = sorted({f"{each.domain}::{each.op_type}" if each.domain not in ("", "ai.onnx") else each.op_type
                               for each in model.graph.node
                               if each.domain not in ("", "ai.onnx") or operators.find(each.op_type) is None})

    def module(self) -> GraphModule:
        if self.unknown:
            raise NotSupported(f"torch.onnx.load: rushlight does not know the operators {', '.join(self.unknown)}")
        graph = self.model.graph
        self.tensors = {each.name: each for each in graph.initializer}
        for each in graph.input:
            if each.name not in self.tensors:
                self.values[each.name] = self.graph.placeholder(_identifier(each.name))
        for each in graph.node:
            self.node(each)
        results = [self.value(each.name) for each in graph.output]
        self.graph.output(results[0] if len(results) == 1 else tuple(results))
        self.graph.lint()
        return GraphModule(self.attributes, self.graph)

    def node(self, node: Any) -> None:
        """Add a node."""
        function = operators.find(node.op_type)
        attributes = {each.name: self.attribute(each) for each in node.attribute}
        if node.op_type == "Constant":
            value = attributes.get("value", next(iter(attributes.values())))
            self.tensors[node.output[0]] = value if isinstance(value,
                                                               np.ndarray) else np.asarray(value, dtype=np.float32 if _floats(value) else np.int64)
            return
        if node.op_type in operators.BY_OPSET:
            attributes["opset"] = self.opset
        if node.op_type == "Split":
            attributes["pieces"] = len(node.output)
        inputs = [self.value(name) if name else None for name in node.input]
        made = self.graph.call_function(function, tuple(inputs), attributes)
        kept = [name for name in node.output if name]
        if len(node.output) == 1 and node.op_type not in operators.SEVERAL:
            self.values[node.output[0]] = made
            return
        for i, name in enumerate(node.output):
            if name in kept:
                self.values[name] = self.graph.call_function(operator.getitem, (made, i))

    def attribute(self, each: Any) -> Any:
        """An attribute's value: numbers, text, or an array."""
        value = self.helper.get_attribute_value(each)
        if isinstance(value, bytes):
            return value.decode()
        if hasattr(value, "raw_data"):
            return self.numpy.to_array(value)
        if hasattr(value, "node"):
            raise NotSupported(f"torch.onnx.load: the attribute {each.name} is a graph (If, Loop, Scan), which rushlight does not read")
        return [one.decode() if isinstance(one, bytes) else one
                for one in value] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value

    def value(self, name: str) -> Node:
        """The node of a value: another node's, or that of an initializer, which becomes a parameter or a buffer when it is used."""
        if name not in self.values:
            if name not in self.tensors:
                raise ValueError(f"torch.onnx.load: nothing gives the value {name!r}")
            self.values[name] = self.graph.get_attr(self.keep(name))
        return self.values[name]

    def keep(self, name: str) -> str:
        """Make an initializer an attribute of the module."""
        given = self.tensors[name]
        array = given if isinstance(given, np.ndarray) else self.numpy.to_array(given)
        x: Tensor = FUNCTIONS["from_numpy"](np.array(array, order="C"))
        label = _identifier(name)
        while label in self.attributes:
            label += "_"
        self.attributes[label] = Parameter(x) if x.is_floating_point() and not isinstance(given, np.ndarray) and x.dim() else x
        return label


def _floats(value: Any) -> bool:
    return isinstance(value[0] if isinstance(value, list) and value else value, float)


def _identifier(name: str) -> str:
    found = "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name)
    return found if found and not found[0].isdigit() else "_" + found
