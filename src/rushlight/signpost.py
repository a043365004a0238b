"""``rushlight where torch.roll``: where something public is defined, its gradient, its kernels and its tests."""

from __future__ import annotations

import difflib
import dis
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .ops import deferred
from .ops.interception import code_of, original_of, python_function
from .ops.registry import PLACES, Op
from .tensor import Tensor

__all__ = ["NotFound", "describe", "locate"]

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent.parent                        # of a checkout; an installed package has no tests and no C++ beside it
Line = tuple[str, str]
_MACHINERY = {f"{__package__}.ops.{name}" for name in ("define", "record", "write", "promotion", "registry", "interception", "deferred")}
_HELPERS = {f"{__package__}.kernels.{name}" for name in ("arrays", "strides", "shapes", "native", "door", "fuse", "formula")}


class NotFound(LookupError):
    """There is nothing of that name."""


def describe(name: str) -> list[Line]:
    """What is known of ``torch.<name>``, as (label, text); NotFound where there is no such name."""
    place, value, op = _found(name)
    if isinstance(value, ModuleType):
        return [("defined", _shown(inspect.getfile(value)))]
    lines = [("defined", _definition(value, op))]
    if op is not None:
        lines.append(("public as", ", ".join("torch." + each for each in op.places)))
    codes = list(_codes(value, op))
    return [*lines, *_gradient(op, codes), *_kernels(op, codes), *_tests(place, op)]


def locate(name: str) -> tuple[Any, str]:
    """The object behind ``torch.<name>`` and where it is defined ("src/rushlight/ops/matmul.py:356"); NotFound where there is no such
    name."""
    _, value, op = _found(name)
    return value, _definition(value, op)


def _found(name: str) -> tuple[str, Any, Op | None]:
    """The place of a name, the object there, and its op if it is one."""
    deferred.load_all()
    place = re.sub(r"^(torch|rushlight)\.", "", name)
    return place, _resolve(place), PLACES.get(re.sub(r"^ops\.aten\.(\w+).*", r"\1", place))


def _resolve(place: str) -> Any:
    """The object behind a dotted name."""
    value: Any = import_module(__package__)
    for i, part in enumerate(place.split(".")):
        try:
            value = inspect.getattr_static(value, part) if value is Tensor else getattr(value, part)
        except AttributeError:
            near = difflib.get_close_matches(place, PLACES, 3)
            raise NotFound(f"torch.{'.'.join(place.split('.')[:i + 1])} does not exist in rushlight"
                           + (f": did you mean {' or '.join('torch.' + each for each in near)}?" if near else "")) from None
        if isinstance(value, deferred.Method):
            value = inspect.getattr_static(Tensor, part)
    return value


def _function(value: Any) -> Any:
    """The Python function behind a public one: without wrappers, doors and properties."""
    value = value.fget if isinstance(value, property) else getattr(value, "overloadpacket", value)
    value = getattr(value, "_function", value)
    while True:
        inner = python_function(value) or value
        inner = original_of(inner) if isinstance(inner, FunctionType) else inner
        if not hasattr(inner, "__wrapped__"):
            return inner
        value = inner.__wrapped__


def _module(function: FunctionType) -> str:
    """The module where a function is defined (its ``__module__`` may be the one that shows it)."""
    return str(function.__globals__["__name__"])


def _shown(file: str, line: int | None = None) -> str:
    """A path from the root of the checkout, or from where the package lies."""
    path = Path(file).resolve()
    for base in (ROOT, PACKAGE.parent):
        if path.is_relative_to(base):
            path = path.relative_to(base)
            break
    return str(path) if line is None else f"{path}:{line}"


def _definition(value: Any, op: Op | None) -> str:
    function = _function(value)
    if op is not None and op.line is not None and (not isinstance(function, FunctionType) or _module(function) in _MACHINERY):
        return f"{_shown(*op.line)} ({op.form} op)"
    if isinstance(function, FunctionType):
        if _module(function) in _MACHINERY and op is not None and isinstance(_function(op.function), FunctionType):
            inner = _function(op.function)           # an in-place form: made from the op
            return f"{_shown(code_of(inner).co_filename, code_of(inner).co_firstlineno)} (made from {op.name})"
        return _shown(code_of(function).co_filename, code_of(function).co_firstlineno)
    if inspect.isclass(function):
        try:
            return _shown(inspect.getfile(function), inspect.getsourcelines(function)[1])
        except (OSError, TypeError):
            return f"a class that {function.__module__} makes at import"
    return f"a {type(value).__name__}"


def _codes(value: Any, op: Op | None) -> Iterator[tuple[FunctionType, CodeType]]:
    """The code that runs: of the function, of what is defined in it, and of the functions behind it that are not public themselves."""
    function = _function(op.function if op is not None and op.function is not None else value)
    if inspect.isclass(function):
        function = getattr(function, "forward", None)
    public = {id(_function(each)) for other in PLACES.values() for each in other.places.values()}
    seen, waiting = set(), [(function, 0)]
    while waiting:
        function, depth = waiting.pop(0)
        if not isinstance(function, FunctionType) or id(function) in seen or _module(function) in _MACHINERY or depth > 4:
            continue
        seen.add(id(function))
        for code in _nested(function.__code__):
            yield function, code
            for _, found in _names(function, code):
                inner = _function(found) if callable(found) else found
                if isinstance(inner, FunctionType) and _module(inner).startswith(f"{__package__}.ops") and id(inner) not in public:
                    waiting.append((inner, depth + 1))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _nested(each)


def _names(function: FunctionType, code: CodeType) -> Iterator[tuple[ModuleType | None, Any]]:
    """What the code names: globals, what it closes over, and attributes of modules, which are given with them."""
    free = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    module = None
    for each in dis.get_instructions(code):
        value: Any = None
        owner, module = module, None
        if each.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            owner, value = None, function.__globals__.get(each.argval)
        elif each.opname == "LOAD_DEREF" and each.argval in free:
            try:
                value = free[each.argval].cell_contents
            except ValueError:
                continue
        elif owner is not None and each.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            value = getattr(owner, each.argval, None)
        module = value if isinstance(value, ModuleType) else None
        if value is not None:
            yield owner, value


# --- gradient -------------------------------------------------------------------------------------------------------------------------

def _gradient(op: Op | None, codes: list[tuple[FunctionType, CodeType]]) -> list[Line]:
    if op is not None and op.elementwise and op.form != "function":
        if op.gradient is None:
            return [("gradient", "none: not differentiable")]
        parts = op.gradient if isinstance(op.gradient, tuple) else (op.gradient,)
        written = [_function(each) for each in parts if each is not None]
        places = dict.fromkeys(_shown(each.__code__.co_filename, each.__code__.co_firstlineno) if isinstance(each, FunctionType)
                               and _module(each) not in _HELPERS else _shown(*(op.line or ("", 0))) for each in written)
        return [("gradient", f"{op.node.__name__}, {', '.join(places)}")]
    found: dict[str, str] = {}
    for _, code in codes:
        for each in code.co_consts:
            if isinstance(each, str) and re.fullmatch(r"[A-Z]\w*Backward\d*", each):
                found.setdefault(each, _shown(code.co_filename, _line_of(code, each)))
    if not found:
        return [("gradient", "that of what it calls" + _called(codes))] if codes else []
    return [("gradient", f"{label}, {place}") for label, place in found.items()]


def _called(codes: list[tuple[FunctionType, CodeType]]) -> str:
    """The public ops that the code calls by name."""
    names = {id(_function(value)): place for place, op in reversed(PLACES.items()) for value in op.places.values() if "." not in place or
             "nn." in place}
    found = dict.fromkeys(names[id(_function(value))] for function, code in codes for _, value in _names(function, code)
                          if callable(value) and id(_function(value)) in names)
    return ": " + ", ".join("torch." + each for each in found) if found else ""


def _line_of(code: CodeType, constant: str) -> int:
    line = code.co_firstlineno
    for each in dis.get_instructions(code):
        position = each.positions.lineno if each.positions is not None else None
        line = position or line
        if each.argval == constant:
            return line
    return code.co_firstlineno


# --- kernels --------------------------------------------------------------------------------------------------------------------------

def _kernels(op: Op | None, codes: list[tuple[FunctionType, CodeType]]) -> list[Line]:
    found: dict[str, tuple[str, Any]] = {}
    if op is not None and op.forward is not None:
        name = getattr(op.forward, "__name__", op.name)
        found[name] = ("elementwise", op.forward)
    for function, code in codes:
        for owner, value in _names(function, code):
            home = owner.__name__ if owner is not None else str(getattr(value, "__module__", ""))
            if home.startswith(f"{__package__}.kernels.") and home not in _HELPERS and callable(value) and not inspect.isclass(value):
                found.setdefault(value.__name__, (home.rpartition(".")[2], value))
    return [("kernel", f"{name}: {_forms(name, family, value)}") for name, (family, value) in found.items()]


def _forms(name: str, family: str, value: Any) -> str:
    """The twin in NumPy, the native file and the CUDA file of a kernel."""
    inner = _function(value)
    if isinstance(inner, FunctionType) and inner.__code__.co_filename.startswith(str(PACKAGE)) and _module(inner) not in _HELPERS:
        twins = ["NumPy " + _shown(inner.__code__.co_filename, inner.__code__.co_firstlineno)]
    else:
        twins = _search(PACKAGE / "kernels", f"{family}.py", rf"^def {re.escape(name)}\(",
                        "NumPy") or [f"numpy.{getattr(inner, '__name__', name)}"]
    native = ROOT / "native"
    entry, anywhere = rf'\{{"{re.escape(name)}",', rf'"{re.escape(name)}"'
    loops = _search(native, f"{family}.cpp", entry, "native") or _search(native, "*.cpp", anywhere, "native")
    cuda = PACKAGE / "kernels" / "cuda"
    if family == "elementwise":
        return ", ".join([*twins, *loops, *_search(cuda, "elementwise.py", anywhere, "CUDA")])
    return ", ".join([*twins, *loops, *_search(cuda, f"{family}.py", rf"^(def )?{re.escape(name)}(\(| = )", "CUDA")])


def _search(folder: Path, files: str, pattern: str, label: str) -> list[str]:
    for path in sorted(folder.glob(files)):
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if re.search(pattern, line):
                return [f"{label} {_shown(str(path), number)}"]
    return []


# --- tests ----------------------------------------------------------------------------------------------------------------------------

def _tests(place: str, op: Op | None) -> list[Line]:
    folder = ROOT / "tests"
    if not folder.is_dir():
        return [("tests", "not installed: they are in the source tree")]
    name = place.rpartition(".")[2]
    word = re.compile(rf"(?<![\w]){re.escape(name)}(?![\w])")
    hits: list[tuple[int, str]] = []
    # tests, and tables of expressions
    for path in sorted([*folder.rglob("*.py"), *folder.rglob("test_*.txt"), *folder.glob("*s.txt")]):
        if "conformance" in path.parts:
            continue
        numbers = [number for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1) if word.search(line)]
        if numbers:
            hits.append((len(numbers), _shown(str(path), numbers[0])))
    lines = [("tests", f"{text} ({count} lines)") for count, text in sorted(hits, key=lambda hit: -hit[0])[:5]]
    if op is not None and op.elementwise:
        lines.insert(0, ("tests", "tests/ops/test_elementwise.py (every unary and binary op)"))
    return lines or [("tests", "by PyTorch's databases only (tests/conformance)")]
