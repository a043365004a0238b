"""Graphs written as Python.

`CodeGen` is what a `Graph` asks for its code; subclasses change the function's head, what it returns, and how arguments arrive. `_Writer`
is one run of it.
"""

from __future__ import annotations

import builtins
import enum
import inspect
import keyword
import math
import os
import pprint
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import devices, homes
from ..ops.aten import OpOverload
from ..tensor import Tensor
from ..utils import _pytree as pytree
from . import _pytree as fx_pytree
from .names import is_own_value, spelled, type_name
from .node import Argument, Node

__all__ = ["CodeGen", "PythonCode", "abbreviated", "dtype_abbrs"]

TransformCodeFunc = Callable[[list[str]], list[str]]

reflectable_magic_methods = {
    "add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "floordiv": "{} // {}", "truediv": "{} / {}", "div": "{} / {}", "mod": "{} % {}",
    "pow": "{} ** {}", "lshift": "{} << {}", "rshift": "{} >> {}", "and_": "{} & {}", "or_": "{} | {}", "xor": "{} ^ {}",
    "getitem": "{}[{}]", "matmul": "{} @ {}"}
magic_methods = {"eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "gt": "{} > {}", "le": "{} <= {}", "ge": "{} >= {}", "pos": "+{}",
                 "neg": "-{}", "invert": "~{}", **reflectable_magic_methods}
inplace_methods = {"iadd": "{} += {}", "iand": "{} &= {}", "ifloordiv": "{} //= {}", "ilshift": "{} <<= {}", "imod": "{} %= {}",
                   "imul": "{} *= {}", "imatmul": "{} @= {}", "ior": "{} |= {}", "ipow": "{} **= {}", "irshift": "{} >>= {}",
                   "isub": "{} -= {}", "itruediv": "{} /= {}", "ixor": "{} ^= {}", "setitem": "{}[{}] = {}"}

_ABBREVIATIONS = {"bfloat16": "bf16", "float64": "f64", "float32": "f32", "float16": "f16", "float8_e4m3fn": "f8e4m3fn",
                  "float8_e5m2": "f8e5m2", "float8_e4m3fnuz": "f8e4m3fnuz", "float8_e5m2fnuz": "f8e5m2fnuz", "float8_e8m0fnu": "f8e8m0fnu",
                  "complex32": "c32", "complex64": "c64", "complex128": "c128", "int8": "i8", "int16": "i16", "int32": "i32",
                  "int64": "i64", "bool": "b8", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64"}


class _Abbreviations(dict):  # type: ignore[type-arg]
    """dtype -> its short name ("f32")."""

    def __missing__(self, key: Any) -> str:
        name = str(key).rpartition(".")[2]
        return _ABBREVIATIONS.get(name, name)


dtype_abbrs: dict[Any, str] = _Abbreviations()


def _listed(values: Iterable[Any]) -> str:
    return f"[{', '.join(map(str, values))}]"


def abbreviated(value: Any, stride: bool = False, device: bool = False) -> str:
    """A tensor's dtype and shape in short, ``f32[2, 3]``; on request its strides and device, too."""
    return (dtype_abbrs[value.dtype] + _listed(value.shape) + (_listed(value.stride()) if stride
                                                               else "") + (str(value.device) if device else ""))


class _CustomBuiltin(NamedTuple):
    """A name that all generated code knows: the line that imports it, and what it is."""

    import_str: str
    obj: Any


_custom_builtins: dict[str, _CustomBuiltin] = {}
_illegal_names: dict[str, Any] = {**{name: object() for name in keyword.kwlist}, **vars(builtins)}


def _register_custom_builtin(name: str, import_str: str, obj: Any) -> None:
    """Have all generated code know one more name."""
    _custom_builtins[name] = _CustomBuiltin(import_str, obj)
    _illegal_names[name] = obj


def _package() -> Any:
    from importlib import import_module
    return import_module(homes.root())


_register_custom_builtin("inf", "from math import inf", math.inf)
_register_custom_builtin("nan", "from math import nan", math.nan)
_register_custom_builtin("NoneType", "NoneType = type(None)", types.NoneType)
_register_custom_builtin("torch", "import torch", _package())
_register_custom_builtin("device", "from torch import device", devices.device)
_register_custom_builtin("fx_pytree", "import torch.fx._pytree as fx_pytree", fx_pytree)
_register_custom_builtin("pytree", "import torch.utils._pytree as pytree", pytree)

_NAME = re.compile(r"([a-zA-Z_][0-9a-zA-Z_]*?)(?:_(\d+))?")
_NOT_IN_NAMES = re.compile(r"[^0-9a-zA-Z_]+")


def _snake_case(s: str) -> str:
    """"BatchNorm" as "batch_norm"."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", s).lower()


class _Namespace:
    """Gives every object one name and every name to one object, past Python's words and builtins."""

    def __init__(self) -> None:
        self._obj_to_name: dict[Any, str] = {}
        self._used_names: set[str] = set()
        self._base_count: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any) -> str:
        """A name like the candidate that is free; the name that the object has, where it has one. None stands for no object."""
        if obj is not None and obj in self._obj_to_name:
            return self._obj_to_name[obj]
        if not _NAME.fullmatch(candidate):
            candidate = _NOT_IN_NAMES.sub("_", candidate) or "_unnamed"
            candidate = "_" + candidate if candidate[0].isdigit() else candidate
        match = _NAME.fullmatch(candidate)
        assert match is not None
        base, number = match[1], match[2]
        if number is None or candidate in self._used_names:
            count = self._base_count.get(base, 0)
            if _illegal_names.get(candidate, obj) is not obj:
                count += 1
                candidate = f"{base}_{count}"
        else:
            count = int(number)
        while candidate in self._used_names:
            count += 1
            candidate = f"{base}_{count}"
        self._used_names.add(candidate)
        self._base_count[base] = count
        if obj is not None:
            self._obj_to_name[obj] = candidate
        return candidate

    def associate_name_with_obj(self, name: str, obj: Any) -> None:
        """Give a new name to a new object."""
        if self._obj_to_name.setdefault(obj, name) is not name:
            raise AssertionError("obj is already associated")

    def _rename_object(self, obj: Any, name: str) -> None:
        if obj not in self._obj_to_name:
            raise AssertionError(f"Object {obj} is not in _obj_to_name")
        self._obj_to_name[obj] = name
        self._used_names.add(name)


@dataclass
class PythonCode:
    """The source of a function, and the values of the global names that it uses."""

    src: str
    globals: dict[str, Any]
    _lineno_map: dict[int, int | None] | None = None
    _prologue_start: int = 0


def _format_target(base: str, target: str) -> str:
    """The attribute at a dotted path below an expression."""
    for each in target.split("."):
        quoted = f'"{each}"' if each.isprintable() and not set(each) & {'"', "\\"} else repr(each)
        base = f"{base}.{each}" if each.isidentifier() else f"getattr({base}, {quoted})"
    return base


class _ParsedStackTrace(NamedTuple):
    """The innermost frame of a stack trace."""

    file: str
    lineno: str
    name: str
    code: str

    def get_summary_str(self) -> str:
        """The frame in one line."""
        return f"File: {self.file}:{self.lineno} in {self.name}, code: {self.code}"


def _parse_stack_trace(stack_trace: str | None, filter_fn: Callable[[str, str, str], bool] | None = None) -> _ParsedStackTrace | None:
    """The innermost frame that a stack trace shows, and that the filter lets pass."""
    lines = [line.strip() for line in (stack_trace or "").strip().split("\n")]
    for i in range(len(lines) - 2, -1, -1):
        match = re.fullmatch(r'File "(.+)", line (\d+), in (.+)', lines[i])
        if match and (filter_fn is None or filter_fn(match[1], match[3], lines[i + 1])):
            return _ParsedStackTrace(match[1], match[2], match[3], lines[i + 1])
    return None


class CodeGen:
    """How a graph becomes a function. Subclasses change parts of it; `Graph.set_codegen` takes one."""

    _sym_repr: Callable[[Any], str] = lambda x: repr(x)   # noqa: E731 - replaced as PyTorch's programs do

    def __init__(self) -> None:
        self._body_transformer: TransformCodeFunc | None = None
        self._func_name = "forward"

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The head of the function, ``def forward(self, x):``."""
        if not free_vars or free_vars[0] != "self":
            free_vars.insert(0, "self")
        if not expanded_def:
            return f"def {self._func_name}({', '.join(free_vars)}){maybe_return_annotation}:"
        lines = []
        for each in free_vars:
            name, mark, comment = each.partition("#")
            lines.append(f"    {name.rstrip()},  # {comment.lstrip()}\n" if mark else f"    {each},\n")
        return f"def {self._func_name}(\n{''.join(lines)}){maybe_return_annotation}:"

    def generate_output(self, output_args: Argument, *, descs: Sequence[str] | None = None,
                        repr_fn: Callable[[Any], str] | None = None) -> str:
        """The return statement; with descriptions, one line per value."""
        show = repr_fn or repr
        if descs is None or not isinstance(output_args, (list, tuple)):
            return f"return {show(output_args)}"
        return self._format_multiline_container(output_args, descs, "return ", repr_fn)

    def _format_multiline_container(self, items: Sequence[Any], descs: Sequence[str] | None = None, prefix: str = "",
                                    repr_fn: Callable[[Any], str] | None = None) -> str:
        left, right = "()" if isinstance(items, tuple) else "[]"
        notes = [""] * len(items) if descs is None else [f"  # {each}" for each in descs]
        lines = [f"    {(repr_fn or repr)(item)},{note}\n" for item, note in zip(items, notes, strict=False)]
        return f"{prefix}{left}\n{''.join(lines)}{right}"

    def process_inputs(self, *args: Any) -> Any:
        """What the graph's placeholders get when the function gets these arguments."""
        return args

    def process_outputs(self, outputs: Any) -> Any:
        """What the function returns when the graph's output is this."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """More names that the code uses, with their values."""
        return []

    def _gen_python_code(self, nodes: Any, root_module: str, namespace: _Namespace, **options: Any) -> PythonCode:
        return _Writer(self, nodes, root_module, namespace, **options).write()


def _accepted(method: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The options that a method, which a program may have written for an older PyTorch, takes."""
    known = inspect.signature(method).parameters
    return {key: value for key, value in options.items() if key in known}


_COLORS = {"red": "\033[31m", "blue": "\033[34m", "dim": "\033[2m", "dim_blue": "\033[2m\033[34m", "dim_green": "\033[2m\033[32m"}
_COUNTER = re.compile(r"# COUNTER: (\d+)")


class _Writer:
    """One run of a `CodeGen` over a graph."""

    def __init__(self, codegen: CodeGen, nodes: Any, root_module: str, namespace: _Namespace, *, verbose: bool = False,
                 include_stride: bool = False, include_device: bool = False, colored: bool = False, expanded_def: bool = False,
                 record_func: bool = False, additional_meta: list[str] | None = None) -> None:
        self.codegen, self.nodes, self.root, self.namespace = codegen, nodes, root_module, namespace
        self.verbose, self.colored, self.expanded, self.additional_meta = verbose, colored, expanded_def, additional_meta
        self.stride = include_stride or os.environ.get("FX_GRAPH_SHOW_STRIDE", "0") == "1"
        self.device = include_device or os.environ.get("FX_GRAPH_SHOW_DEVICE", "0") == "1"
        self.show_meta = os.environ.get("FX_GRAPH_SHOW_META", "0") == "1"
        self.record = record_func
        self.free_vars: list[str] = []
        self.body: list[str] = []
        self.globals: dict[str, Any] = {}
        self.wrapped: dict[str, None] = {}
        self.returns, self.last_summary = "", ""

    def write(self) -> PythonCode:
        """The code of the graph."""
        for name, (_, value) in _custom_builtins.items():
            self.add_global(name, value)
        last_uses = _last_uses(self.nodes)
        for i, node in enumerate(self.nodes):
            if self.verbose:
                self.note_origin(node)
            self.body.append(f"# COUNTER: {i}\n")
            self.emit(node)
            self.end_line(node, last_uses)
        body = self.body or ["pass\n"]
        wraps = self.wrap_statements()
        if self.codegen._body_transformer:
            body = self.codegen._body_transformer(body)
        for name, value in self.codegen.additional_globals():
            self.add_global(name, value)
        define = self.codegen.gen_fn_def
        head = define(self.free_vars, self.returns, **_accepted(define, {"expanded_def": self.expanded}))
        lines, numbers = _without_counters("".join(body), head.count("\n") + 1)
        code = "\n".join(["    " + line for line in "\n".join(lines).lstrip("\n").split("\n")])
        return PythonCode(f"\n{wraps}\n\n{head}\n{code}", self.globals, numbers, wraps.count("\n") + 4)

    def add_global(self, hint: str, value: Any) -> str:
        """The name for something outside of the graph: ours by its path below ``torch``, else a global of the code."""
        if is_own_value(value) and value is not devices.device:
            return type_name(value) if isinstance(value, type) else spelled(value)
        name = self.namespace.create_name(hint, value)
        if name not in self.globals:
            self.globals[name] = value
        elif self.globals[name] != value:
            raise AssertionError(f"Global name {name} already assigned to different object")
        return name

    def type_repr(self, value: Any) -> str:
        """An annotation, with the globals that it needs."""
        if value == ():
            return "()"
        name = type_name(value)
        if isinstance(value, types.UnionType) and "|" in name:
            return "|".join([self.type_repr(each) for each in typing.get_args(value)])
        origin = getattr(value, "__origin__", None)
        if not origin:
            return self.add_global(name, value)
        if isinstance(value, typing._GenericAlias):  # type: ignore[attr-defined]
            origin = _OLD_GENERICS.get(origin, origin)
        origin_name = self.add_global(type_name(origin), origin)
        arguments = getattr(value, "dims", None) or typing.get_args(value)
        return f"{origin_name}[{','.join([self.type_repr(each) for each in arguments])}]" if arguments else origin_name

    def color(self, name: str, text: str) -> str:
        """The text, coloured if that was asked for."""
        return f"{_COLORS[name]}{text}\033[0m" if self.colored and text else text

    def repr(self, arg: Any) -> str:
        """An argument as an expression."""
        if isinstance(arg, Node):
            return repr(arg)
        if isinstance(arg, tuple) and hasattr(arg, "_fields"):
            return self.add_global(spelled(type(arg)), type(arg)) + repr(tuple(arg))
        if isinstance(arg, OpOverload):
            return self.add_global(spelled(arg), arg)
        if isinstance(arg, enum.Enum):
            return f"{self.add_global(type(arg).__name__, type(arg))}.{arg.name}"
        if isinstance(arg, Tensor):
            return f"torch.Tensor(size={list(arg.size())}, dtype={str(arg.dtype).rpartition('.')[2]})"
        if isinstance(arg, tuple):
            return f"({', '.join(map(self.repr, arg))}{',' if len(arg) == 1 else ''})"
        if isinstance(arg, list):
            return f"[{', '.join(map(self.repr, arg))}]"
        if isinstance(arg, slice):
            return f"slice({self.repr(arg.start)}, {self.repr(arg.stop)}, {self.repr(arg.step)})"
        return self.color("blue", _own_repr(arg))

    def call(self, args: Sequence[Argument], kwargs: dict[str, Argument]) -> str:
        """Arguments as they stand between the parentheses of a call."""
        return ", ".join([*map(self.repr, args), *[f"{key} = {self.repr(value)}" for key, value in kwargs.items()]])

    # --- nodes ----------------------------------------------------------------------------------------------------------------------

    def emit(self, node: Node) -> None:
        """The statement of one node, without the end of its line."""
        if self.show_meta and node.meta:
            shown = [f"{key}: {pprint.pformat(str(value), width=80, compact=True)}\n" for key, value in node.meta.items()]
            self.body.append("".join(['"""\n', *shown, '"""\n']))
        kind = "" if node.type is None else f" : {self.type_repr(node.type)}"
        if self.verbose:
            kind = self.described(node) or kind
        getattr(self, "emit_" + node.op)(node, kind)

    def emit_placeholder(self, node: Node, kind: str) -> None:
        default = f" = {self.repr(node.args[0])}" if node.args else ""
        description = node.meta.get("desc") if self.expanded else None
        self.free_vars.append(f"{node.target}{kind}{default}" + ("" if description is None else f"  # {description}"))
        raw = node.target.replace("*", "")
        if raw != repr(node):
            self.body.append(f"{node!r} = {raw}\n")

    def emit_call_method(self, node: Node, kind: str) -> None:
        self.body.append(f"{node!r}{kind} = "
                         f"{_format_target(self.repr(node.args[0]), node.target)}({self.call(node.args[1:], node.kwargs)})")

    def emit_call_module(self, node: Node, kind: str) -> None:
        self.body.append(f"{node!r}{kind} = {_format_target(self.root, node.target)}({self.call(node.args, node.kwargs)})")

    def emit_get_attr(self, node: Node, kind: str) -> None:
        self.body.append(f"{node!r}{kind} = {_format_target(self.root, node.target)}")

    def emit_call_function(self, node: Node, kind: str) -> None:
        target, left = node.target, f"{node!r}{kind} = "
        if getattr(target, "__module__", "") == "_operator":
            if target.__name__ in magic_methods:
                self.body.append(left + magic_methods[target.__name__].format(*map(self.repr, node.args)))
                return
            if target.__name__ in inplace_methods:
                self.body.append(f"{inplace_methods[target.__name__].format(*map(self.repr, node.args))};  {left}{self.repr(node.args[0])}")
                return
        name = self.add_global(spelled(target), target)
        if name == "getattr" and len(node.args) == 2 and isinstance(node.args[1], str) and node.args[1].isidentifier():
            self.body.append(left + _format_target(self.repr(node.args[0]), node.args[1]))
            return
        self.body.append(f"{left}{name}({self.call(node.args, node.kwargs)})")
        if node.meta.get("is_wrapped", False):
            self.wrapped.setdefault(name)

    def emit_output(self, node: Node, kind: str) -> None:
        if node.type is not None:
            self.returns = f" -> {self.type_repr(node.type)}"
        generate = self.codegen.generate_output
        options = {"descs": node.meta.get("desc") if self.expanded else None, "repr_fn": self.repr}
        self.body.append(generate(node.args[0], **_accepted(generate, options)))

    def described(self, node: Node) -> str:
        """What `meta` knows of a node's value, as an annotation; "" where it knows nothing."""
        value = node._value()
        if isinstance(value, Tensor):
            text = (self.color("red", dtype_abbrs[value.dtype]) + self.color("blue", _listed(value.shape))
                    + (self.color("dim_blue", _listed(value.stride())) if self.stride else "")
                    + (self.color("dim_green", str(value.device)) if self.device else ""))
            return f': "{text}"' if type(value) is Tensor or type(value).__name__ in ("FakeTensor", "Parameter") else f': "{type(value).__name__}({text})"'
        if hasattr(value, "_fields") and hasattr(value, "memory_format"):      # shape_prop's TensorMetadata
            return f': "{dtype_abbrs[value.dtype]}{_listed(value.shape)}"'
        return ""

    def note_origin(self, node: Node) -> None:
        """A comment that says where the traced program made the node, where that changes."""
        if node.op in ("placeholder", "output"):
            return
        extra = ", ".join([f"{key}: {node.meta[key]}" for key in self.additional_meta or () if key in node.meta])
        notes = {key: str(value)[:40] + "..." if len(str(value)) > 40 else value for key, value in (node.meta.get("custom") or {}).items()}
        frame = _parse_stack_trace(node.stack_trace) if node.stack_trace else None
        origin = frame.get_summary_str() if frame else "No stacktrace found for following nodes"
        comment = (f"# {extra} " if extra else "") + "#" + (f" Annotation: {notes}" if notes else "") + f" {origin}"
        summary = f"\n{self.color('dim', comment)}\n"
        if summary != self.last_summary:
            self.last_summary = summary
            self.body.append(summary)

    def end_line(self, node: Node, last_uses: dict[Node, list[Node]]) -> None:
        """The end of a node's line, which lets go of the values that nobody uses from here on."""
        if node.op == "placeholder":
            return
        done = [] if node.op == "output" else [*last_uses.get(node, ()), *([] if node.users else [node])]
        freed = self.color("dim", " = ".join([*map(repr, done), "None"]))
        self.body.append(f";  {freed}\n" if done else "\n")

    def wrap_statements(self) -> str:
        """Calls of `wrap` for the functions that the trace was told not to look into, so that tracing the code again keeps them."""
        if not self.wrapped:
            return ""
        from ._symbolic_trace import wrap
        name = self.add_global("wrap", wrap)
        return "\n".join([f'{name}("{each}")' for each in self.wrapped])


_OLD_GENERICS = {list: typing.List, dict: typing.Dict, set: typing.Set, frozenset: typing.FrozenSet, tuple: typing.Tuple}   # noqa: UP006


def _own_repr(value: Any) -> str:
    """repr, with our own names below ``torch``."""
    text = repr(value)
    return re.sub(r"\brushlight\.", "torch.", text) if is_own_value(value) or is_own_value(type(value)) else text


def _last_uses(nodes: Any) -> dict[Node, list[Node]]:
    """Node -> the nodes whose last user it is."""
    seen: set[Node] = set()
    last: dict[Node, list[Node]] = {}
    for user in reversed(nodes):
        for each in user._input_nodes:
            if each not in seen:
                seen.add(each)
                last.setdefault(user, []).append(each)
    return last


def _without_counters(code: str, first: int) -> tuple[list[str], dict[int, int | None]]:
    """The lines without the marks of nodes, and line -> index of the node that it belongs to."""
    lines: list[str] = []
    numbers: dict[int, int | None] = {}
    current = None
    for line in code.split("\n"):
        mark = _COUNTER.search(line)
        if mark:
            current = int(mark[1])
        else:
            numbers[len(lines) + first] = current
            lines.append(line)
    return lines, numbers


class _PyTreeInfo(NamedTuple):
    """Which arguments a traced function had, and how they, and its result, are nested."""

    orig_args: list[str]
    in_spec: Any
    out_spec: Any


class _PyTreeCodeGen(CodeGen):
    """The code of a function whose arguments are nested: it takes them apart, and puts the result together."""

    def __init__(self, pytree_info: _PyTreeInfo) -> None:
        super().__init__()
        self.pytree_info = pytree_info

    def process_inputs(self, *inputs: Any) -> Any:
        """The leaves of the arguments."""
        return pytree.arg_tree_leaves(*inputs)

    def process_outputs(self, outputs: Any) -> Any:
        """The values put together as the function's result was."""
        if self.pytree_info is None or self.pytree_info.out_spec is None:
            return outputs
        return pytree.tree_unflatten(outputs if isinstance(outputs, (list, tuple)) else [outputs], self.pytree_info.out_spec)

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The head with the function's own arguments, and the statement that takes them apart."""
        if self.pytree_info is None:
            return super().gen_fn_def(free_vars, maybe_return_annotation, expanded_def=expanded_def)
        names = self.pytree_info.orig_args
        if names and names[0] == "self":
            free_vars.insert(0, "self")
        head = super().gen_fn_def(names[:], maybe_return_annotation, expanded_def=expanded_def)
        return head + self.gen_var_bindings(names, free_vars, expanded_def) if free_vars else head

    def gen_var_bindings(self, fn_args: list[str], free_vars: list[str], expanded_def: bool) -> str:
        """The statement that takes the arguments apart, after annotations of the parts."""
        spec = self.pytree_info.in_spec
        nested = f"[{', '.join(fn_args)}], self._in_spec"
        if spec.type is tuple and spec.num_children == 2 and spec.child(0).type is tuple and spec.child(1).type is dict:
            count = spec.child(0).num_children
            by_name = [f"'{key}':{name}" for key, name in zip(spec.child(1).context, self.pytree_info.orig_args[count:], strict=False)]
            nested = f"([{', '.join(self.pytree_info.orig_args[:count])}], {{{', '.join(by_name)}}}), self._in_spec"
        annotated = [each for each in free_vars if ":" in each]
        notes = ""
        if annotated:
            notes = "\n    " + ("\n    ".join(annotated) if expanded_def else "".join([each + "; " for each in annotated]) + "\n")
        names = [each.partition(":")[0].partition("#")[0] for each in free_vars]
        return f"{notes}\n    {', '.join(names)}, = fx_pytree.tree_flatten_spec({nested})"

    def generate_output(self, output_args: Argument, *, descs: Sequence[str] | None = None,
                        repr_fn: Callable[[Any], str] | None = None) -> str:
        """The return statement, which puts the result together."""
        if not (self.pytree_info and self.pytree_info.out_spec):
            return super().generate_output(output_args, descs=descs, repr_fn=repr_fn)
        if descs is not None and isinstance(output_args, (list, tuple)):
            return self._format_multiline_container(output_args, descs, "return pytree.tree_unflatten(", repr_fn) + ", self._out_spec)"
        return f"return pytree.tree_unflatten({(repr_fn or repr)(output_args)}, self._out_spec)"


class _BoxedCodeGen(CodeGen):
    """The code of a function that takes one list with its arguments and empties it, so that they can be freed early."""

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The head with the one list, and the statements that take the arguments out of it."""
        names = [each.partition(":")[0].partition("=")[0].strip() for each in free_vars if each != "self"]
        lines = ["args_iter = iter(args_list)", *[f"{name} = next(args_iter)" for name in names], "args_list.clear()"] if names else []
        return "\n    ".join([f"def {self._func_name}(self, args_list){maybe_return_annotation}:", *lines])
