"""`save`: an exported program as a ``.pt2`` file, which PyTorch loads."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from ..devices import device as Place
from ..dtypes import dtype
from ..fx.node import Node, map_arg
from ..layout import layout, memory_format
from ..nn.parameter import Parameter
from ..ops import schemas
from ..ops.overloads import LISTS
from ..serialization import save as save_object
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from . import schema
from .dynamic_shapes import int_oo
from .exported_program import ExportedProgram
from .graph_signature import ConstantArgument, InputKind, OutputKind, SymIntArgument
from .sizes import SymbolicInt, constant

__all__ = ["save"]

_VERSION = {"major": 8, "minor": 20}
_CODES = {kind: code for code, kind in schema.DTYPES.items()}
_LAYOUTS = {kind: code for code, kind in schema.LAYOUTS.items()}
_FORMATS = {kind: code for code, kind in schema.MEMORY_FORMATS.items()}


def save(ep: ExportedProgram, f: Any, *, extra_files: dict[str, Any] | None = None, opset_version: dict[str, int] | None = None,
         pickle_protocol: int = 2) -> None:
    """Write an exported program into a file (a path or something with `write`) that `load` reads, PyTorch's too.

    extra_files  names and texts to keep beside it
    """
    if not isinstance(ep, ExportedProgram):
        raise TypeError(f"The 'ep' parameter must be an instance of 'ExportedProgram', got '{type(ep).__name__}' instead.")
    model = _Writer(ep, opset_version).model()                    # everything is known before the file is touched
    content = io.BytesIO()
    stem = Path(f).stem if isinstance(f, (str, os.PathLike)) else "archive"
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        def put(name: str, data: bytes | str) -> None:
            archive.writestr(f"{stem}/{name}", data)
        hidden = {name: value for name, value in ep.constants.items() if isinstance(value, Tensor)}
        for kind, prefix, values in (("weights", "weight", ep.state_dict), ("constants", "tensor", hidden)):
            config = {}
            for i, (name, value) in enumerate(values.items()):
                put(f"data/{kind}/{prefix}_{i}", value.detach().contiguous()._a.tobytes())
                config[name] = {"path_name": f"{prefix}_{i}", "is_param": isinstance(value, Parameter), "use_pickle": False,
                                "tensor_meta": _whole_meta(value)}
            put(f"data/{kind}/model_{kind}_config.json", json.dumps({"config": config}))
        put("models/model.json", json.dumps(model))
        if ep.example_inputs is not None:
            sample = io.BytesIO()
            save_object(ep.example_inputs, sample, pickle_protocol=pickle_protocol)
            put("data/sample_inputs/model.pt", sample.getvalue())
        for name, text in (extra_files or {}).items():
            put(f"extra/{name}", text if isinstance(text, bytes) else str(text).encode())
        for name, text in (("archive_format", "pt2"), ("archive_version", "0"), ("byteorder", "little"), (".data/version", "6\n")):
            put(name, text)
    if hasattr(f, "write"):
        f.write(content.getvalue())
    else:
        Path(f).write_bytes(content.getvalue())


def _whole_meta(x: Tensor) -> dict[str, Any]:
    """A tensor's shape and dtype, as its bytes are written: one element after the other."""
    steps, step = [], 1
    for n in reversed(x._a.shape):
        steps.insert(0, step)
        step *= max(int(n), 1)
    return _meta(x, list(x._a.shape), steps)


def _meta(x: Tensor, sizes: list[Any], strides: list[Any]) -> dict[str, Any]:
    if x.dtype not in _CODES:
        raise NotSupported(f"torch.export.save: {x.dtype} is not supported by rushlight in .pt2 files")
    return {"dtype": _CODES[x.dtype], "sizes": [schema.size(n) for n in sizes], "requires_grad": bool(x.requires_grad),
            "device": schema.place(x.device), "strides": [schema.size(n) for n in strides], "storage_offset": {"as_int": 0}, "layout": 7}


class _Writer:
    """One program as JSON."""

    def __init__(self, program: ExportedProgram, opset: dict[str, int] | None) -> None:
        self.program, self.opset = program, opset or {"aten": 10}
        self.tensors: dict[str, Any] = {}
        self.ints: dict[str, Any] = {}

    def model(self) -> dict[str, Any]:
        """The file ``model.json``."""
        program = self.program
        nodes = [self.node(each) for each in program.graph.nodes if each.op == "call_function" and not _is_part(each)]
        inputs = [self.value(each) if isinstance(each.meta["val"], Tensor) else self.value(each.meta["val"])
                  for each in program.graph.nodes if each.op == "placeholder"]
        outputs = [self.value(each) for each in program.graph.output_node().args[0]]
        if any(each.op == "get_attr" or each.op.startswith("call_m") for each in program.graph.nodes):
            raise NotSupported("torch.export.save: the graph has nodes that are no operators (get_attr, call_module, call_method)")
        graph = {"inputs": inputs, "outputs": outputs, "nodes": nodes, "tensor_values": self.tensors, "sym_int_values": self.ints,
                 "sym_bool_values": {}, "is_single_tensor_return": False, "custom_obj_values": {}, "sym_float_values": {}}
        ranges = {str(expr): {"min_val": each.lower, "max_val": None if each.upper is int_oo else each.upper}
                  for expr, each in program.range_constraints.items()}
        module = {"graph": graph, "signature": self.signature(), "module_call_graph": self.calls(), "metadata": {},
                  "treespec_namedtuple_fields": {}}
        return {"graph_module": module, "opset_version": self.opset, "range_constraints": ranges, "schema_version": _VERSION,
                "verifiers": [program.dialect], "torch_version": "2.13.0", "guards_code": []}

    # --- nodes ----------------------------------------------------------------------------------------------------------------------------

    def node(self, node: Node) -> dict[str, Any]:
        """An operator."""
        target: Any = node.target
        name = getattr(target, "_opname", None)
        if name is not None:
            words = _names(target, node)
            path = f"torch.ops.{target.namespace}.{target.__name__}"
        elif getattr(target, "__module__", "") == "_operator":
            words, path = ["a", "b"], f"_operator.{target.__name__}"
        else:
            raise NotSupported(f"torch.export.save: {target} is not supported by rushlight in .pt2 files: only operators of aten and "
                               "arithmetic are")
        inputs = [{"name": word, "arg": self.value(each), "kind": 1} for word, each in zip(words, node.args, strict=False)]
        inputs += [{"name": word, "arg": self.value(each), "kind": 2} for word, each in node.kwargs.items()]
        notes = {"stack_trace": node.meta.get("stack_trace") or "", "torch_fn": ";".join(node.meta.get("torch_fn", ())),
                 "nn_module_stack": ";".join(f"{key},{path},{kind}" for key, (path, kind) in node.meta.get("nn_module_stack", {}).items())}
        return {"target": path, "inputs": inputs, "outputs": self.outputs(node, name),
                "metadata": {key: value for key, value in notes.items() if value},
                "is_hop_single_tensor_return": None, "name": node.name}

    def outputs(self, node: Node, name: str | None) -> list[dict[str, Any]]:
        """The results of an operator; those of several have the names of the nodes that take them."""
        value = node.meta["val"]
        if not isinstance(value, (tuple, list)):
            return [] if value is None else [self.value(node)]
        parts = {each.args[1]: each for each in node.users if _is_part(each)}
        found = []
        for i, each in enumerate(value):
            if i in parts:
                found.append(self.value(parts[i]))
            else:
                self.tensor(f"{node.name}_unused_{i}", each)
                found.append({"as_tensor": {"name": f"{node.name}_unused_{i}"}})
        return [{"as_tensors": [each["as_tensor"] for each in found]}] if name in LISTS else found

    def tensor(self, name: str, value: Any) -> None:
        """Note what a tensor is."""
        sizes = list(value.shape)
        strides: list[Any] = list(value.stride())
        if any(isinstance(n, SymbolicInt) for n in sizes):
            strides = _contiguous(sizes, strides)
        self.tensors[name] = _meta(value, sizes, strides)

    def value(self, value: Any) -> dict[str, Any]:
        """An argument."""
        if isinstance(value, Node):
            val = value.meta["val"]
            if isinstance(val, Tensor):
                self.tensor(value.name, val)
                return {"as_tensor": {"name": value.name}}
            self.ints[value.name] = schema.size(val)
            return {"as_sym_int": {"as_name": value.name}}
        if isinstance(value, (list, tuple)):
            return self.many(value)
        return _plain(value)

    def many(self, values: Any) -> dict[str, Any]:
        """A list of arguments."""
        if any(isinstance(each, Node) and isinstance(each.meta["val"], Tensor) for each in values):
            each_value = [self.value(each) for each in values]
            if any("as_none" in each for each in each_value):
                return {"as_optional_tensors": each_value}
            return {"as_tensors": [each["as_tensor"] for each in each_value]}
        if any(isinstance(each, Node) for each in values):
            return {"as_sym_ints": [self.value(each)["as_sym_int"] if isinstance(each, Node) else {"as_int": int(each)} for each in values]}
        if all(isinstance(each, bool) for each in values) and values:
            return {"as_bools": list(values)}
        if all(isinstance(each, int) for each in values):
            return {"as_ints": [int(each) for each in values]}
        if all(isinstance(each, (int, float)) for each in values):
            return {"as_floats": [schema.number(float(each)) for each in values]}
        if all(isinstance(each, str) for each in values):
            return {"as_strings": list(values)}
        raise NotSupported(f"torch.export.save: the argument {values} is not supported by rushlight in .pt2 files")

    # --- the signature
    # ----------------------------------------------------------------------------------------------------------------------

    def signature(self) -> dict[str, Any]:
        """What the inputs and outputs are."""
        return {"input_specs": [_input(each) for each in self.program.graph_signature.input_specs],
                "output_specs": [_output(each) for each in self.program.graph_signature.output_specs]}

    def calls(self) -> list[dict[str, Any]]:
        """The modules."""
        found = []
        for each in self.program.module_call_graph:
            own = each.signature
            found.append({"fqn": each.fqn, "signature": None if own is None else {
                "inputs": [], "outputs": [], "in_spec": pytree.treespec_dumps(own.in_spec),
                "out_spec": pytree.treespec_dumps(_public_tuples(own.out_spec)),
                "forward_arg_names": own.forward_arg_names}})
        return found


def _names(target: Any, node: Node) -> list[str]:
    """The names of an operator's arguments in PyTorch, by which its loader finds them."""
    args, kwargs = map_arg(node.args, lambda each: each.meta["val"]), map_arg(node.kwargs, lambda each: each.meta["val"])
    name = target._opname
    if name in _NAMES or target._overloadname == "vec":
        return _NAMES.get(name) or ["input", "output_size", *(["align_corners"] if len(args) == 4 else []), "scale_factors"]
    forms = [each for each in (*schemas._overloads(name), *schemas._overloads(name.rstrip("_"))) if len(each.positional) >= len(args)]
    fitting = [each for each in forms if schemas._problem(each, args, kwargs, False) is None]
    order = [p.name for p in (fitting or forms)[0].positional] if forms else list(target.overloadpacket._order)
    if order[:2] == ["a", "b"]:
        return ["self", "other"]
    return order if forms else ["self" if order[0] == "input" else order[0], *order[1:]]


# Operators of whose arguments' names the table of public functions knows nothing.
_NAMES = {"einsum": ["equation", "tensors", "path"], "split": ["self", "split_size", "dim"], "_convolution": ["input", "weight", "bias"],
          "_native_batch_norm_legit": ["input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps"]}


def _public_tuples(spec: Any) -> Any:
    """A structure with plain tuples for torch.return_types, which have no name in files."""
    if spec.is_leaf():
        return spec
    children = [_public_tuples(each) for each in spec.children()]
    named = spec.type not in pytree.BUILTIN_TYPES and issubclass(spec.type, tuple) and spec.type.__module__ == "torch.return_types"
    return pytree.TreeSpec(tuple if named else spec.type, None if named else spec.context, children)


def _is_part(node: Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem" and isinstance(node.args[0], Node)


def _contiguous(sizes: list[Any], strides: list[Any]) -> list[Any]:
    """Strides with symbols, where the tensor is contiguous."""
    step, found = constant(1), []
    for n in reversed(sizes):
        found.insert(0, step)
        step = step * (n.expr if isinstance(n, SymbolicInt) else constant(max(int(n), 1)))
    env = {name: 0 for each in found for name in each.symbols()}
    for n in sizes:
        if isinstance(n, SymbolicInt) and n.expr.name is not None:
            env[n.expr.name] = int(n)
    known = [each.number if each.number is not None else SymbolicInt(each.at(env), each) for each in found]
    return known if [int(each) for each in known] == [int(each) for each in strides] else strides


def _plain(value: Any) -> dict[str, Any]:
    if value is None:
        return {"as_none": True}
    if isinstance(value, bool):
        return {"as_bool": value}
    for kind, word, write in _KINDS:
        if isinstance(value, kind):
            return {word: write(value)}
    raise NotSupported(f"torch.export.save: an argument of type {type(value).__name__} is not supported by rushlight in .pt2 files")


_KINDS: list[tuple[type, str, Any]] = [
    (int, "as_int", int), (float, "as_float", schema.number), (str, "as_string", str), (dtype, "as_scalar_type", lambda each: _CODES[each]),
    (Place, "as_device", schema.place), (layout, "as_layout", lambda each: _LAYOUTS[each]),
    (memory_format, "as_memory_format", lambda each: _FORMATS[each])]

_TENSOR_INPUTS = {InputKind.PARAMETER: ("parameter", "parameter_name"), InputKind.BUFFER: ("buffer", "buffer_name"),
                  InputKind.CONSTANT_TENSOR: ("tensor_constant", "tensor_constant_name")}
_TENSOR_OUTPUTS = {OutputKind.BUFFER_MUTATION: ("buffer_mutation", "buffer_name"),
                   OutputKind.PARAMETER_MUTATION: ("parameter_mutation", "parameter_name"),
                   OutputKind.USER_INPUT_MUTATION: ("user_input_mutation", "user_input_name")}


def _input(spec: Any) -> dict[str, Any]:
    if spec.kind in _TENSOR_INPUTS:
        word, name = _TENSOR_INPUTS[spec.kind]
        more = {"persistent": bool(spec.persistent)} if spec.kind is InputKind.BUFFER else {}
        return {word: {"arg": {"name": spec.arg.name}, name: spec.target, **more}}
    if spec.kind is not InputKind.USER_INPUT:
        raise NotSupported(f"torch.export.save: an input that is {spec.kind.name} is not supported by rushlight")
    if isinstance(spec.arg, ConstantArgument):
        return {"constant_input": {"name": spec.arg.name, "value": _plain(spec.arg.value)}}
    return {"user_input": {"arg": {"as_tensor": {"name": spec.arg.name}}}}


def _output(spec: Any) -> dict[str, Any]:
    if spec.kind in _TENSOR_OUTPUTS:
        word, name = _TENSOR_OUTPUTS[spec.kind]
        return {word: {"arg": {"name": spec.arg.name}, name: spec.target}}
    if spec.kind is not OutputKind.USER_OUTPUT:
        raise NotSupported(f"torch.export.save: an output that is {spec.kind.name} is not supported by rushlight")
    if isinstance(spec.arg, ConstantArgument):
        return {"user_output": {"arg": _plain(spec.arg.value)}}
    if isinstance(spec.arg, SymIntArgument):
        return {"user_output": {"arg": {"as_sym_int": {"as_name": spec.arg.name}}}}
    return {"user_output": {"arg": {"as_tensor": {"name": spec.arg.name}}}}
