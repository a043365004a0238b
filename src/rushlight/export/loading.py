"""`load`: a ``.pt2`` file, ours or PyTorch's, as an exported program. Nothing of a file is run or unpickled as code."""

from __future__ import annotations

import io
import json
import operator
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import library
from .._subclasses.fake_tensor import FakeTensorMode
from ..devices import device
from ..fx.graph import Graph
from ..fx.graph_module import GraphModule
from ..fx.node import Node
from ..kind import kind_of
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..ops import aten
from ..serialization import load as load_object
from ..tensor import Tensor, wrap
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from . import schema
from .building import fake, input_node
from .dynamic_shapes import ValueRanges, int_oo
from .exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from .graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from .sizes import parse

__all__ = ["load"]

_ARITHMETIC = frozenset(("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "eq", "ne", "lt", "le", "gt", "ge", "getitem"))


def load(f: Any, *, extra_files: dict[str, Any] | None = None, expected_opset_version: dict[str, int] | None = None) -> ExportedProgram:
    """Read an exported program that `save` wrote, or PyTorch's ``torch.export.save``. `f`: a path or something with `read`.

    extra_files  names of texts that were kept beside it, which are filled in
    """
    data = f.read() if hasattr(f, "read") else None
    try:
        with zipfile.ZipFile(f if data is None else io.BytesIO(data)) as archive:
            return _Archive(archive).program(extra_files)
    except NotSupported:
        raise
    except zipfile.BadZipFile as error:
        raise RuntimeError(f"torch.export.load: {f} is not a .pt2 file: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, StopIteration, TypeError, ValueError) as error:
        # Whatever a damaged description makes of the objects that are built by it.
        raise RuntimeError(f"torch.export.load: {f} is damaged: {type(error).__name__}: {error}") from error


_UNPACKED = 64 << 20         # bytes that a file may unpack to beyond twice its size


class _Archive:
    """An open file."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        packed, whole = (sum(getattr(each, size) for each in archive.infolist()) for size in ("compress_size", "file_size"))
        if whole > 2 * packed + _UNPACKED:       # (PyTorch's files are not compressed)
            raise RuntimeError(f"torch.export.load: the file claims to hold {whole} bytes in {packed}")
        names = [each for each in archive.namelist() if each.endswith("archive_format")]
        if not names:
            raise RuntimeError("torch.export.load: not a .pt2 file of PyTorch 2.8 or newer (it has no archive_format)")
        self.root = names[0][:-len("archive_format")]

    def read(self, name: str) -> bytes:
        """A part of the file."""
        try:
            return self.archive.read(self.root + name)
        except KeyError:
            raise RuntimeError(f"torch.export.load: the file has no {name}") from None

    def program(self, extra_files: dict[str, Any] | None) -> ExportedProgram:
        """The program."""
        model = json.loads(self.read("models/model.json"))
        if model["schema_version"]["major"] != 8:
            raise NotSupported(f"torch.export.load: files of schema version {model['schema_version']['major']} are not supported by "
                               "rushlight: only version 8 (PyTorch 2.13)")
        state, constants = self.tensors("weights"), self.tensors("constants")
        sample = self.root + "data/sample_inputs/model.pt"
        example = load_object(io.BytesIO(self.archive.read(sample)), weights_only=True) if sample in self.archive.namelist() else None
        for name in extra_files or {}:
            extra_files[name] = self.read(f"extra/{name}").decode()  # type: ignore[index]
        return _Reader(model, state, constants, example).program()

    def tensors(self, kind: str) -> dict[str, Any]:
        """Weights or constants."""
        found = {}
        for name, each in json.loads(self.read(f"data/{kind}/model_{kind}_config.json"))["config"].items():
            if each["use_pickle"] or each["tensor_meta"] is None:
                raise NotSupported(f"torch.export.load: {name} is pickled, which is not supported by rushlight: only plain tensors are")
            tensor = _tensor(self.read(f"data/{kind}/{each['path_name']}"), each["tensor_meta"])
            found[name] = Parameter(tensor, requires_grad=each["tensor_meta"]["requires_grad"]) if each["is_param"] else tensor
        return found


def _word(name: Any) -> str:
    """A name of the file that becomes one in the code that is made of the graph. RuntimeError for what is no name: it would run as code."""
    if not isinstance(name, str) or not name.isidentifier():
        raise RuntimeError(f"torch.export.load: the file has {str(name)[:80]!r} where a name has to stand")
    return name


def _dtype(code: int) -> Any:
    if code not in schema.DTYPES:
        raise NotSupported(f"torch.export.load: dtype number {code} is not supported by rushlight")
    return schema.DTYPES[code]


def _tensor(data: bytes, meta: dict[str, Any]) -> Tensor:
    """A tensor of raw bytes."""
    kind = kind_of(_dtype(meta["dtype"]), device("cpu"))
    sizes, strides = [[int(each["as_int"]) for each in meta[key]] for key in ("sizes", "strides")]
    flat = np.frombuffer(bytearray(data), kind.np)
    start = int(meta["storage_offset"]["as_int"])
    last = start + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if start < 0 or min(strides, default=0) < 0 or (all(sizes) and last >= flat.size):
        raise RuntimeError("torch.export.load: a tensor's sizes do not fit its data")
    array = np.lib.stride_tricks.as_strided(flat[start:], sizes, [step * flat.itemsize for step in strides])
    found = wrap(np.ascontiguousarray(array) if not array.flags.c_contiguous else array, kind)
    return found if meta["device"]["type"] == "cpu" else found.to(_device(meta["device"]))


def _device(data: dict[str, Any]) -> Any:
    return device(data["type"]) if data["index"] is None else device(data["type"], data["index"])


class _Reader:
    """The program of a file."""

    def __init__(self, model: dict[str, Any], state: dict[str, Any], constants: dict[str, Any], example: Any) -> None:
        self.model, self.state, self.constants, self.example = model, state, constants, example
        self.module = model["graph_module"]
        self.data = self.module["graph"]
        self.graph, self.mode = Graph(), FakeTensorMode(allow_non_fake_inputs=True)
        self.nodes: dict[str, Node] = {}

    def program(self) -> ExportedProgram:
        """The program."""
        specs = [_input(each) for each in self.module["signature"]["input_specs"]]
        for spec, given in zip(specs, self.data["inputs"], strict=True):
            self.placeholder(spec, given)
        for each in self.data["nodes"]:
            self.node(each)
        outputs = [self.value(each) for each in self.data["outputs"]]
        self.graph.output(tuple(outputs))
        self.graph.lint()
        module = GraphModule(Module(), self.graph)
        module.meta["dialect"] = self.model["verifiers"][0] if self.model["verifiers"] else "TRAINING"
        ranges = {parse(key): ValueRanges(int(each["min_val"] or 0), int_oo if each["max_val"] is None else int(each["max_val"]))
                  for key, each in self.model["range_constraints"].items()}
        signature = ExportGraphSignature(specs, [_output(each) for each in self.module["signature"]["output_specs"]])
        calls = [ModuleCallEntry(each["fqn"], _call(each["signature"])) for each in self.module["module_call_graph"]]
        return ExportedProgram(module, module.graph, signature, self.state, ranges, calls, self.example, constants=self.constants)

    def placeholder(self, spec: InputSpec, given: dict[str, Any]) -> None:
        """An input."""
        node = input_node(self.graph, _word(spec.arg.name))
        self.nodes[spec.arg.name] = node
        node.meta["val"] = spec.arg.value if isinstance(spec.arg, ConstantArgument) else self.meta(spec.arg.name, True)

    def meta(self, name: str, strict: bool = False) -> Any:
        """What a tensor is. `strict`: sizes that are unknown here are errors, not the example's numbers."""
        data = self.data["tensor_values"][name]
        sizes = []
        for each in data["sizes"]:
            try:
                sizes.append(schema.read_expression(each))
            except NotSupported:
                if strict:
                    raise
                sizes.append(int(each["as_expr"]["hint"]["as_int"]))
        steps = [1]
        for n in reversed(sizes[1:]):
            steps.insert(0, steps[0] * max(int(n), 1))
        return fake(self.mode, sizes, steps[:len(sizes)], _dtype(data["dtype"]), _device(data["device"]), data["requires_grad"])

    # --- nodes ----------------------------------------------------------------------------------------------------------------------------

    def node(self, data: dict[str, Any]) -> None:
        """An operator, and nodes for its results where there are several."""
        target = _target(data["target"])
        args = tuple([self.value(each["arg"]) for each in data["inputs"] if each.get("kind", 1) != 2])
        kwargs = {_word(each["name"]): self.value(each["arg"]) for each in data["inputs"] if each.get("kind", 1) == 2}
        outputs = data["outputs"]
        single = len(outputs) == 1 and "as_tensors" not in outputs[0]
        name = next(iter(outputs[0].values())).get("name") or next(iter(outputs[0].values())).get("as_name") if single else data.get("name")
        node = self.graph.call_function(target, args, kwargs, name=name)
        notes = _notes(data["metadata"])
        node.meta.update(notes)
        if single:
            self.nodes[name] = node
            node.meta["val"] = self.known(outputs[0])
            return
        parts = outputs[0]["as_tensors"] if outputs and "as_tensors" in outputs[0] else [each.get("as_tensor") for each in outputs]
        node.meta["val"] = tuple([None if each is None else self.meta(each["name"]) for each in parts]) or None
        for i, each in enumerate(parts):
            if each is not None and not each["name"].startswith(f"{data.get('name')}_unused_"):
                part = self.graph.call_function(operator.getitem, (node, i), name=each["name"])
                part.meta.update(notes, val=node.meta["val"][i])
                self.nodes[each["name"]] = part

    def known(self, data: dict[str, Any]) -> Any:
        """What a result is."""
        if "as_tensor" in data:
            return self.meta(data["as_tensor"]["name"])
        if "as_sym_int" in data:
            try:
                return schema.read_expression(self.data["sym_int_values"][data["as_sym_int"]["as_name"]])
            except NotSupported:
                return int(self.data["sym_int_values"][data["as_sym_int"]["as_name"]]["as_expr"]["hint"]["as_int"])
        return None

    def value(self, data: dict[str, Any]) -> Any:
        """An argument."""
        (kind, value), = data.items()
        if kind in ("as_tensor", "as_tensors", "as_optional_tensor", "as_optional_tensors"):
            return self.tensors(kind, value)
        if kind in ("as_sym_int", "as_sym_ints"):
            return [self.size(each) for each in value] if kind == "as_sym_ints" else self.size(value)
        if kind not in _PLAIN:
            raise NotSupported(f"torch.export.load: an argument of the kind {kind} is not supported by rushlight")
        return _PLAIN[kind](value)

    def tensors(self, kind: str, value: Any) -> Any:
        """A tensor, or a list of them."""
        if kind == "as_tensor":
            return self.nodes[value["name"]]
        if kind == "as_tensors":
            return [self.nodes[each["name"]] for each in value]
        return [self.value(each) for each in value] if kind == "as_optional_tensors" else self.value(value)

    def size(self, data: dict[str, Any]) -> Any:
        """A size: a number or a node."""
        return self.nodes[data["as_name"]] if "as_name" in data else int(data["as_int"])


_PLAIN: dict[str, Any] = {
    "as_none": lambda _: None, "as_int": int, "as_ints": lambda each: [int(n) for n in each], "as_float": float,
    "as_floats": lambda each: [float(x) for x in each], "as_bool": bool, "as_bools": list, "as_string": str, "as_strings": list,
    "as_scalar_type": _dtype, "as_device": _device, "as_layout": lambda each: schema.LAYOUTS[each],
    "as_memory_format": lambda each: schema.MEMORY_FORMATS[each]}


def _target(path: str) -> Any:
    """The operator of a name. Nothing else of a file's names is looked up."""
    parts = path.split(".")
    if parts[:2] == ["torch", "ops"] and len(parts) == 5:
        try:
            packet = getattr(aten, parts[3]) if parts[2] == "aten" else library._OPERATORS[parts[2], parts[3]]
            return getattr(packet, parts[4])
        except (AttributeError, KeyError):
            raise NotSupported(f"torch.export.load: the operator {path} is not supported by rushlight") from None
    if parts[0] == "_operator" and parts[-1] in _ARITHMETIC:
        return getattr(operator, parts[-1])
    raise NotSupported(f"torch.export.load: {path} is not supported by rushlight: only operators and arithmetic of sizes are")


def _notes(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if data.get("stack_trace"):
        found["stack_trace"] = data["stack_trace"]
    if data.get("nn_module_stack"):
        parts = [each.split(",") for each in data["nn_module_stack"].split(";")]
        found["nn_module_stack"] = {each[0]: (each[1], each[-1]) for each in parts if len(each) >= 3 and not each[0].startswith("_empty")}
    return found


def _call(data: Any) -> ModuleCallSignature | None:
    if data is None:
        return None
    given, names = pytree.treespec_loads(data["in_spec"]), data.get("forward_arg_names")
    for each in (*given.child(1).context, *(names or ())):
        _word(each)
    return ModuleCallSignature(given, pytree.treespec_loads(data["out_spec"]), names)


_INPUTS = {"parameter": (InputKind.PARAMETER, "parameter_name"), "buffer": (InputKind.BUFFER, "buffer_name"),
           "tensor_constant": (InputKind.CONSTANT_TENSOR, "tensor_constant_name")}
_OUTPUTS = {"buffer_mutation": (OutputKind.BUFFER_MUTATION, "buffer_name"),
            "parameter_mutation": (OutputKind.PARAMETER_MUTATION, "parameter_name"),
            "user_input_mutation": (OutputKind.USER_INPUT_MUTATION, "user_input_name")}


def _input(data: dict[str, Any]) -> InputSpec:
    (word, each), = data.items()
    if word in _INPUTS:
        kind, name = _INPUTS[word]
        return InputSpec(kind, TensorArgument(each["arg"]["name"]), each[name], each.get("persistent"))
    if word == "constant_input":
        (kind_of_value, value), = each["value"].items()
        return InputSpec(InputKind.USER_INPUT, ConstantArgument(each["name"], _PLAIN[kind_of_value](value)), None)
    if word == "user_input" and "as_tensor" in each["arg"]:
        return InputSpec(InputKind.USER_INPUT, TensorArgument(each["arg"]["as_tensor"]["name"]), None)
    raise NotSupported(f"torch.export.load: an input of the kind {word} ({', '.join(each.get('arg', each))}) is not supported by rushlight")


def _output(data: dict[str, Any]) -> OutputSpec:
    (word, each), = data.items()
    if word in _OUTPUTS:
        kind, name = _OUTPUTS[word]
        return OutputSpec(kind, TensorArgument(each["arg"]["name"]), each[name])
    if word != "user_output":
        raise NotSupported(f"torch.export.load: an output of the kind {word} is not supported by rushlight")
    (kind_of_value, value), = each["arg"].items()
    if kind_of_value == "as_tensor":
        return OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(value["name"]), None)
    if kind_of_value == "as_sym_int":
        return OutputSpec(OutputKind.USER_OUTPUT, SymIntArgument(value["as_name"]) if "as_name" in value
                          else ConstantArgument("", int(value["as_int"])), None)
    return OutputSpec(OutputKind.USER_OUTPUT, ConstantArgument("", _PLAIN[kind_of_value](value)), None)
