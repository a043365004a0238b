"""`torch.onnx.export`: a model's run, written as an ONNX file."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Mapping, Sequence
from typing import Any

from .. import dtypes, services
from ..fx.node import Node, map_arg
from ..nn.modules.module import Module
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from ..version import rushlight_version
from . import translations, translations_nn
from .building import TRANSLATIONS, Builder, Value, element_type
from .tracing import size_of, trace

__all__ = ["ONNXProgram", "export", "needed"]

_ = translations_nn
_exporting = False


def needed() -> Any:
    """The package onnx. ImportError that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("torch.onnx needs the package onnx: pip install rushlight[onnx]") from error
    return onnx


class ONNXProgram:
    """An exported model. `model_proto` is ONNX's form of it."""

    def __init__(self, model_proto: Any) -> None:
        self.model_proto = model_proto

    def save(self, destination: str | os.PathLike[str]) -> None:
        """Write it into a file, whole or not at all."""
        path = os.fspath(destination)
        with open(path + ".partial", "wb") as file:
            file.write(self.model_proto.SerializeToString())
        os.replace(path + ".partial", path)

    def __repr__(self) -> str:
        graph = self.model_proto.graph
        return f"ONNXProgram({len(graph.node)} nodes, inputs {[each.name for each in graph.input]}, outputs {[each.name for each in graph.output]})"


@services.onnx_export.given
def export(model: Any, args: Any = (), f: Any = None, *, kwargs: dict[str, Any] | None = None, verbose: bool | None = None,
           input_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None, opset_version: int | None = None,
           dynamo: bool = True, external_data: bool = False, dynamic_shapes: Any = None, export_params: bool = True,
           keep_initializers_as_inputs: bool = False, dynamic_axes: Any = None, training: Any = None, do_constant_folding: bool = True,
           optimize: bool = True, verify: bool = False, custom_translation_table: dict[Any, Any] | None = None,
           **options: Any) -> ONNXProgram:
    """Run a model on example inputs and write what it called as an ONNX model.

    model           a module (in evaluation mode, unless `training` says to keep its own) or a function
    args, kwargs    the example inputs: tensors, also in lists and dicts; other values become constants
    f               a file's path, or a file open for writing; None: only the program is returned
    input_names, output_names  the first inputs' and outputs' names
    opset_version   18 or newer (18 where it is left out)
    dynamic_axes    name -> {dimension: its name}, or a list of dimensions: sizes that may change
    dynamic_shapes  the same by argument, in the order or by the names of the arguments: {dimension: Dim, name or torch.export.Dim.DYNAMIC}
    verify          run the model in ONNX Runtime and compare

    A function without a translation is an error (NotImplementedError) that names it and the line that called it. Branches on values are
    errors; branches on sizes are decided by the example. ImportError without the package onnx.
    """
    onnx = needed()
    if options or custom_translation_table or keep_initializers_as_inputs or not export_params or external_data:
        asked = [*options, *(name for name, on in (("custom_translation_table", custom_translation_table), ("external_data", external_data),
                             ("keep_initializers_as_inputs", keep_initializers_as_inputs),
                             ("export_params=False", not export_params)) if on)]
        raise NotSupported(f"torch.onnx.export({', '.join(asked)}) is not supported by rushlight: leave it out")
    opset = 18 if opset_version is None else opset_version
    if not 18 <= opset <= onnx.defs.onnx_opset_version():
        raise ValueError(f"torch.onnx.export: opset_version has to be between 18 and {onnx.defs.onnx_opset_version()}, which the package "
                         f"onnx knows, not {opset}")
    args = args if isinstance(args, tuple) else (args,)
    kwargs = kwargs or {}
    names = _input_names(model, args, kwargs, input_names)
    dynamic = _dynamic(model, args, kwargs, names, dynamic_axes, dynamic_shapes)
    program = ONNXProgram(_model(model, args, kwargs, names, output_names, dynamic, dynamic_axes or {}, opset, training))
    onnx.checker.check_model(program.model_proto, full_check=True)
    if verbose:
        print(onnx.printer.to_text(program.model_proto))
    if verify:
        _verify(program, model, args, kwargs)
    if hasattr(f, "write"):
        f.write(program.model_proto.SerializeToString())
    elif f is not None:
        program.save(f)
    return program


def _input_names(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[str] | None) -> list[str]:
    """A name for each tensor among the arguments."""
    target = model.forward if isinstance(model, Module) else model
    try:
        known = [each.name for each in inspect.signature(target).parameters.values() if each.kind is not each.VAR_KEYWORD]
    except (TypeError, ValueError):
        known = []
    labels = [*known[:len(args)], *[f"input_{i}" for i in range(len(known), len(args))], *kwargs]
    names: list[str] = []
    for label, value in zip(labels, (*args, *kwargs.values()), strict=True):
        tensors = [each for each in pytree.tree_leaves(value) if isinstance(each, Tensor)]
        names += [label] if len(tensors) == 1 else [f"{label}_{i}" for i in range(len(tensors))]
    given = list(given or ())
    if len(given) > len(names):
        raise ValueError(f"torch.onnx.export: {len(given)} input_names for {len(names)} tensors among the arguments")
    return [*given, *names[len(given):]]


def _dim_name(value: Any, name: str, dim: int) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", None) or f"{name}_dim_{dim}"


def _dynamic(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str], axes: Any,
             shapes: Any) -> dict[str, dict[int, str]]:
    """Input's name -> dimension -> the name of its size."""
    found: dict[str, dict[int, str]] = {}
    for name, dims in (axes or {}).items():
        if name in names:
            items = dims.items() if isinstance(dims, Mapping) else [(d, f"{name}_dim_{d}") for d in dims]
            found[name] = {int(d): _dim_name(value, name, int(d)) for d, value in items}
    if shapes is None:
        return found
    given = list(shapes.values()) if isinstance(shapes, Mapping) else list(shapes)
    flat = [spec for spec, value in zip(given, (*args, *kwargs.values()), strict=False) for spec in _by_tensor(value, spec)]
    for name, spec in zip(names, flat, strict=False):
        items = spec.items() if isinstance(spec, Mapping) else enumerate(spec or ())
        dims = {int(d): _dim_name(value, name, int(d)) for d, value in items if value is not None and not isinstance(value, int)}
        if dims:
            found[name] = dims
    return found


def _by_tensor(value: Any, spec: Any) -> list[Any]:
    """What is said of each tensor of an argument."""
    if isinstance(value, Tensor):
        return [spec]
    if isinstance(value, Mapping):
        return [one for key, each in value.items() for one in _by_tensor(each, None if spec is None else spec.get(key))]
    if isinstance(value, (list, tuple)):
        return [one for i, each in enumerate(value) for one in _by_tensor(each, None if spec is None else spec[i])]
    return []


def _model(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str], output_names: Any,
           dynamic: dict[str, dict[int, str]], axes: Any, opset: int, training: Any) -> Any:
    """ONNX's ModelProto of a run."""
    global _exporting
    was = model.training if isinstance(model, Module) else False
    keep = training is not None and getattr(training, "name", str(training)).upper().endswith("PRESERVE")
    if was and not keep:
        model.eval()
    _exporting = True
    try:
        recorder, result = trace(model, args, kwargs, bool(dynamic))
    finally:
        _exporting = False
        if was and not keep:
            model.train()
    return _Converter(recorder, opset).convert(names, output_names, dynamic, axes, result)


class _Converter:
    """Turns a graph of calls into ONNX's nodes."""

    def __init__(self, recorder: Any, opset: int) -> None:
        self.recorder, self.b = recorder, Builder(opset)
        self.values: dict[Node, Any] = {}
        self.inputs: list[Any] = []

    def convert(self, names: list[str], output_names: Any, dynamic: dict[str, dict[int, str]], axes: Any, result: Any) -> Any:
        from onnx import helper
        self.recorder.graph.eliminate_dead_code(lambda node: node.op == "output" or str(node.meta.get("function", "")).endswith("_"))
        remaining = iter(names)
        for node in self.recorder.graph.nodes:
            if node.op == "placeholder":
                if "val" in node.meta:
                    self.placeholder(node, next(remaining), dynamic, helper)
            elif node.op == "get_attr":
                self.values[node] = self.attribute(node)
            elif node.op == "call_function":
                self.values[node] = self.call(node)
            elif node.op == "output":
                outputs = self.outputs(node, output_names, axes, bool(dynamic), result, helper)
        graph = helper.make_graph(self.b.nodes, "main_graph", self.inputs, outputs, list(self.b.initializers.values()))
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.b.opset)], producer_name="rushlight",
                                 producer_version=rushlight_version)
        made.ir_version = min(made.ir_version, 10)
        return made

    def placeholder(self, node: Node, name: str, dynamic: Any, helper: Any) -> None:
        x = node.meta["val"]
        shape: list[Any] = [int(n) for n in x.shape]
        for dim, label in dynamic.get(name, {}).items():
            shape[dim] = label
        self.inputs.append(helper.make_tensor_value_info(name, element_type(x.dtype), shape))
        self.values[node] = Value(name, x.dtype, x.shape)

    def attribute(self, node: Node) -> Value:
        x, name = self.recorder.attributes[node.target], str(node.target)
        if name not in self.b.initializers:
            self.b.initializers[name] = self.b.tensor(x.detach().contiguous().cpu()._a, name, x.dtype)
        return Value(name, x.dtype, x.shape)

    def call(self, node: Node) -> Any:
        args, kwargs = (map_arg(each, lambda n: self.values[n]) for each in (node.args, node.kwargs))
        if node.target is operator.getitem and "function" not in node.meta:
            return args[0][args[1]]
        name = node.meta.get("function") or getattr(node.target, "__name__", str(node.target))
        if "val" not in node.meta and node.target is not size_of:
            if node.target in _SIZES:
                return self.sizes(_SIZES[node.target], args)
            raise self.missing(node, name)
        self.describe(node.meta.get("val"), name)
        translation = TRANSLATIONS.get(name)
        if translation is None:
            raise self.missing(node, name)
        if name in _NAMED:
            kwargs = {**kwargs, "_function": name}
        try:
            made = translation(self.b, *args, **kwargs)
        except NotSupported as error:
            raise NotSupported(f"{error}, which {node.meta.get('line', 'a line')} calls") from None
        except TypeError as error:
            raise NotSupported(f"torch.onnx.export: this form of {name}, which {node.meta.get('line')} calls, has no translation ({error})") from error
        return self.shaped(made, node.meta.get("val"))

    def sizes(self, name: str, args: Any) -> Any:
        return translations.on_sizes(self.b, name,
                                     *args) if any(isinstance(each, Value) for each in args) else getattr(operator, name)(*args)

    def describe(self, val: Any, name: str) -> None:
        """Tell the builder what the function gave."""
        tensors = [val] if isinstance(val, Tensor) else [each for each in val
                                                         if isinstance(each, Tensor)] if isinstance(val, (list, tuple)) else []
        self.b.hint = name.strip("_") or "value"
        if tensors:
            self.b.dtype, self.b.shape = tensors[0].dtype, [int(n) for n in tensors[0].shape]
            self.b.shapes = [[int(n) for n in each.shape] for each in tensors]
        else:
            self.b.dtype, self.b.shape, self.b.shapes = dtypes.int64, [], []

    def shaped(self, made: Any, val: Any) -> Any:
        """The values with the shapes and dtypes that the program's results have."""
        if isinstance(made, list) and isinstance(val, (list, tuple)):
            return [self.shaped(one, two) for one, two in zip(made, val, strict=False)]
        if isinstance(made, Value) and isinstance(val, Tensor):
            return Value(made.name, val.dtype, val.shape)
        return made

    def missing(self, node: Node, name: str) -> NotSupported:
        return NotSupported(f"torch.onnx.export: {name}, which {node.meta.get('line', 'a line')} calls, has no translation in rushlight. "
                            "Write it with other functions, or save the state_dict (the files are PyTorch's) and export in PyTorch")

    def outputs(self, node: Node, names: Any, axes: Any, dynamic: bool, result: Any, helper: Any) -> list[Any]:
        tensors = [each for each in pytree.tree_leaves(result) if isinstance(each, Tensor)]
        flat: list[Any] = []
        map_arg(node.args[0], flat.append)
        if len(flat) != len(tensors) or not flat:
            raise NotSupported("torch.onnx.export: the model has to give tensors, in tuples, lists or dicts")
        names = list(names or ())
        made = []
        for i, (each, x) in enumerate(zip(flat, tensors, strict=True)):
            value = self.values[each]
            name = names[i] if i < len(names) else "output" if len(flat) == 1 else f"output_{i}"
            self.b.hint = "output"
            self.b.nodes.append(helper.make_node("Identity", [value.name], [name], name=f"Identity_{name}"))
            shape: Any = [int(n) for n in x.shape]
            if dynamic:
                given = axes.get(name, {})
                items = given.items() if isinstance(given, Mapping) else [(d, f"{name}_dim_{d}") for d in given]
                known = {int(d): label for d, label in items}
                shape = [known.get(d, f"{name}_size_{d}") for d in range(len(shape))]
            made.append(helper.make_tensor_value_info(name, element_type(x.dtype), shape))
        return made


_SIZES = {operator.add: "add", operator.sub: "sub", operator.mul: "mul", operator.floordiv: "floordiv", operator.mod: "mod"}
_NAMED = frozenset(("zeros", "new_zeros", "ones", "new_ones", "empty", "new_empty"))


def _verify(program: ONNXProgram, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Compare with ONNX Runtime. AssertionError where the results differ."""
    import numpy as np
    import onnxruntime
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    tensors = [each.detach().numpy() for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    found = session.run(None, dict(zip([each.name for each in session.get_inputs()], tensors, strict=True)))
    wanted = [each.detach().numpy() for each in pytree.tree_leaves(model(*args, **kwargs)) if isinstance(each, Tensor)]
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)


def is_exporting() -> bool:
    """Whether an export runs."""
    return _exporting
