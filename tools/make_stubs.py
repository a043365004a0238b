"""Write the stubs of what the ops make public: what an editor and a type checker know of ``torch.addcmul`` or ``Tensor.roll``.

    python tools/make_stubs.py           writes the .pyi files into src/rushlight
    python tools/make_stubs.py --check   says which of them are not up to date (exit code 1)

Everything comes from `rushlight.ops.registry`: names, forms and signatures. tests/test_stubs.py holds that the files are those.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rushlight
import rushlight.fft
import rushlight.linalg
import rushlight.nn.functional
import rushlight.special
from rushlight.ops import deferred
from rushlight.ops.registry import NAMESPACES, PLACES
from rushlight.tensor import Tensor

PACKAGE = Path(rushlight.__file__).parent

HEAD = '''\
# Written by tools/make_stubs.py from the registry of ops: change the ops, then run it.
from builtins import bool as _bool, complex as _complex, float as _float, int as _int
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

'''

# Parameters that are Any where they are defined, though they are the same everywhere.
KNOWN = {"out": "Tensor | None", "dtype": "_dtype | None", "device": "_Device", "layout": "_layout | None", "generator": "_Generator | None",
         "memory_format": "_memory_format | None", "requires_grad": "_bool", "keepdim": "_bool", "keepdims": "_bool | None", "pin_memory": "_bool | None"}
# Names of types in annotations, and what they are called in the stubs (which have functions called `int`, and methods called `device`).
TYPES = {"int": "_int", "float": "_float", "bool": "_bool", "complex": "_complex", "dtype": "_dtype", "device": "_device", "Size": "_Size",
         "Generator": "_Generator", "layout": "_layout", "memory_format": "_memory_format"}
PLAIN = {"Tensor", "Any", "None", "str", "list", "tuple", "dict", "object", "type", "bytes", "Callable", "Iterable", "Iterator", "Mapping", "Sequence",
         "NoReturn"}
IMPORTS = '''\
from {dots}devices import device as _device
from {dots}dtypes import dtype as _dtype
from {dots}generator import Generator as _Generator
from {dots}layout import layout as _layout
from {dots}layout import memory_format as _memory_format
from {dots}size import Size as _Size
from {dots}tensor import Tensor{again}

_Device = _device | str | _int | None
'''


def annotation(function: Any, name: str, given: Any) -> str:
    """A parameter's type in the stubs' words; Any where it names something that they do not have."""
    if given is inspect.Parameter.empty or given == "Any":
        return KNOWN.get(name, "Any")
    text = given if isinstance(given, str) else getattr(given, "__name__", "Any") if isinstance(given, type) else str(given)
    text = _expanded(function, text)
    words = set(re.findall(r"[A-Za-z_][\w.]*", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)))
    if not words <= PLAIN | set(TYPES):
        return "Any"
    return re.sub(r"[A-Za-z_]\w*", lambda found: TYPES.get(found[0], found[0]), text)


def _expanded(function: Any, text: str) -> str:
    """Aliases of the defining module (``Sizes = tuple[int, ...]``) by what they stand for."""
    scope = getattr(function, "__globals__", {})

    def replaced(found: re.Match[str]) -> str:
        value = scope.get(found[0])
        known = found[0] in PLAIN or found[0] in TYPES
        return found[0] if known or value is None or isinstance(value, type) and not hasattr(value, "__args__") else \
            str(value).replace("typing.", "").replace("collections.abc.", "").replace("rushlight.tensor.", "")
    return re.sub(r"[A-Za-z_]\w*", replaced, text)


def default(value: Any) -> str:
    """A parameter's default: as it is where it is short, else `...`."""
    return repr(value) if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and value == value) and abs(value) < 1e300 else "..."


def innermost(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def parameters(function: Callable[..., Any], method: bool) -> Iterator[str]:
    """The parameters of a definition, `/` and `*` among them."""
    scope = innermost(function)
    star = False
    for i, each in enumerate(inspect.signature(function).parameters.values()):
        if each.kind is each.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        star = star or each.kind is each.VAR_POSITIONAL
        prefix = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
        if method and i == 0 and not prefix:
            yield "self"
            continue
        text = f"{prefix}{each.name}: {annotation(scope, '' if prefix else each.name, each.annotation)}"
        yield text if each.default is each.empty else f"{text} = {default(each.default)}"


def definition(name: str, function: Callable[..., Any], method: bool = False) -> str:
    """``def name(...) -> ...: ...`` of a function or method."""
    result = annotation(innermost(function), "", inspect.signature(function).return_annotation)
    if PLACES.get(name) is not None and PLACES[name].elementwise:
        result = "Tensor"
    return f"def {name}({', '.join(parameters(function, method))}) -> {result}: ..."


def is_function(value: Any) -> bool:
    """Whether it is defined in the stubs as a function."""
    return callable(value) and not inspect.isclass(value)


def functions(namespace: str, skip: set[str]) -> list[str]:
    """The definitions of the functions of a namespace."""
    return [definition(name, value) for name, value in sorted(NAMESPACES[namespace].items()) if is_function(value) and name not in skip]


def methods() -> str:
    """`_methods.pyi`: what ops put on Tensor, as a class that Tensor inherits from in the eyes of a type checker."""
    lines = ["def __new__(cls, *args: Any, **kwargs: Any) -> Any: ..."]
    for name, value in sorted(vars(Tensor).items()):
        if name in OWN or name.startswith("_") and (name.strip("_") in OPERATORS or hasattr(object, name) or not name.endswith("__")):
            continue
        if isinstance(value, property):
            result = annotation(value.fget, "", inspect.signature(value.fget).return_annotation)
            lines += ["@property", f"def {name}(self) -> {result}: ..."]
            if value.fset is not None:
                lines += [f"@{name}.setter", f"def {name}(self, value: Tensor) -> None: ..."]
        elif callable(value):
            lines.append(definition(name, value, method=True))
    lines += [f"def __{name}__(self, other: Any) -> Tensor: ..." for name in OPERATORS]
    lines += [f"def __{name}__(self, other: Any) -> Tensor: ...  # type: ignore[override]" for name in ("eq", "ne")]
    return HEAD + IMPORTS.format(dots=".", again="") + "\n\nclass TensorMethods:\n" + "".join(f"    {line}\n" for line in lines)


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
OPERATORS = [prefix + name for name in _ARITHMETIC for prefix in ("", "r", "i")] + ["lt", "le", "gt", "ge"]
OWN = {"__new__"} | set(re.findall(r"^    def (\w+)", (PACKAGE / "tensor.py").read_text(), re.MULTILINE))


def namespace(name: str, dots: str, more: str = "") -> str:
    """The stub of a module whose functions are ops."""
    return HEAD + IMPORTS.format(dots=dots, again=" as Tensor") + more + "\n" + "\n".join(functions(name, set())) + "\n"


def torch() -> str:
    """`__init__.pyi`: torch itself."""
    lines = [HEAD.rstrip("\n"), IMPORTS.format(dots=".", again=" as Tensor").rstrip("\n"), ""]
    shown = {"Tensor", *(name for name, value in NAMESPACES[""].items() if is_function(value))}
    public = {name: getattr(rushlight, name) for name in sorted(dir(rushlight)) if not name.startswith("_") and name not in shown and name not in _NOT_SHOWN}
    for name, value in public.items():
        if inspect.ismodule(value) and name not in rushlight._LAZY and name != "ops":
            continue
        lines += _shown(name, value)
    lines += ["__version__: str", ""]
    lines += functions("", set())
    return "\n".join(lines) + "\n"


_NOT_SHOWN = {"annotations", "torch"}


def _shown(name: str, value: Any) -> list[str]:
    """How torch.<name> stands in the stub where it is no op."""
    if inspect.ismodule(value):
        return [f"from . import {name} as {name}"] if value.__name__.endswith("." + name) else [f"{name}: Any"]
    home = _home(name, value)
    if home is not None:
        return [f"from .{home} import {name} as {name}"]
    if isinstance(value, rushlight.dtype):
        return [f"{name}: _dtype"]
    if isinstance(value, type(rushlight.strided)):
        return [f"{name}: _layout"]
    return [f"{name}: {type(value).__name__ if isinstance(value, bool | int | float | str) else 'Any'}".replace(": float", ": _float").replace(": int", ": _int")
            .replace(": bool", ": _bool")]


def _home(name: str, value: Any) -> str | None:
    """The module below rushlight that defines a function or class under this name."""
    home = rushlight._LAZY.get(name)
    if home:
        text = Path(sys.modules["rushlight." + home].__file__ or "").read_text()
        written = re.search(rf"^((def|class) {name}\b|{name}\b.* = |from .* import .*\b{name}\b)", text, re.MULTILINE)
        return home if written else None
    if not (callable(value) and (inspect.isclass(value) or inspect.isfunction(value))):
        return None
    inner = innermost(value)
    home = inner.__globals__["__name__"] if inspect.isfunction(inner) else _class_home(value)
    module = sys.modules.get(home) if home else None
    if module is None or not home.startswith("rushlight.") or getattr(module, name, None) is not value or name not in vars(module):
        return None
    return home.removeprefix("rushlight.")


def _class_home(value: type) -> str | None:
    return next((name for name, module in sorted(sys.modules.items())
                 if name.startswith("rushlight.") and vars(module).get(value.__name__) is value and _defines(module, value.__name__)), None)


@functools.cache
def _defines(module: Any, name: str) -> bool:
    """Whether the text of a module has this class."""
    file = getattr(module, "__file__", None)
    return file is not None and re.search(rf"^class {name}\b", Path(file).read_text(), re.MULTILINE) is not None


def stubs() -> dict[str, str]:
    """All stubs: file -> text."""
    deferred.load_all()
    return {
        "__init__.pyi": torch(),
        "_methods.pyi": methods(),
        "nn/functional.pyi": namespace("nn.functional", "..", "from ..overrides import has_torch_function, has_torch_function_unary, "
                                       "has_torch_function_variadic\n"),
        "linalg.pyi": namespace("linalg", ".", "from .ops.linalg.common import LinAlgError as LinAlgError\nfrom . import matmul as matmul\n"),
        "fft.pyi": namespace("fft", "."),
        "special.pyi": namespace("special", "."),
    }


def main(arguments: list[str]) -> int:
    """Write, or compare."""
    stale = [name for name, text in stubs().items() if not (PACKAGE / name).exists() or (PACKAGE / name).read_text() != text]
    if "--check" in arguments:
        print("\n".join(f"{name} is not what tools/make_stubs.py writes" for name in stale), end="\n" if stale else "")
        return 1 if stale else 0
    for name in stale:
        (PACKAGE / name).write_text(stubs()[name])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
