"""`Dim` and the other ways to say which sizes of an exported program's inputs may change."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum, auto
from typing import Any

from .._dynamo.exc import UserError, UserErrorType
from ..fx.experimental.symbolic_shapes import ConstraintViolationError
from ..tensor import Tensor
from ..unsupported import attribute_of
from ..utils import _pytree as pytree
from .sizes import Expr, constant, symbol

__all__ = ["AdditionalInputs", "Dim", "ShapesCollection", "assigned", "dims"]


class _Infinity:
    """The upper end of a range without one."""

    def __repr__(self) -> str:
        return "int_oo"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Infinity)

    def __hash__(self) -> int:
        return hash("int_oo")

    def __deepcopy__(self, memo: Any) -> _Infinity:
        return self


int_oo = _Infinity()


@dataclasses.dataclass(frozen=True)
class ValueRanges:
    """From which to which number a size may be."""

    lower: int
    upper: Any

    def __repr__(self) -> str:
        return f"VR[{self.lower}, {self.upper}]"

    def __contains__(self, n: int) -> bool:
        return n >= self.lower and (self.upper is int_oo or n <= self.upper)


class _DimHintType(Enum):
    AUTO = auto()
    STATIC = auto()
    DYNAMIC = auto()


class _DimHint:
    """Dim.AUTO, Dim.DYNAMIC or Dim.STATIC; called with `min` and `max`, with a range."""

    def __init__(self, type: _DimHintType, min: int | None = None, max: int | None = None, _factory: bool = True) -> None:
        self.type, self.min, self.max, self._factory = type, min, max, _factory

    def __call__(self, min: int | None = None, max: int | None = None) -> _DimHint:
        if not self._factory:
            raise TypeError(f"'{type(self)}' object is not callable")
        if min is not None and min < 0 or max is not None and max < 0 or (min is not None and max is not None and min > max):
            raise AssertionError(f"Dim.{self.type.name}(min={min}, max={max}): min must be non-negative and not above max")
        return _DimHint(self.type, min, max, False)

    def __repr__(self) -> str:
        parts = [*([] if self.min is None else [f"min={self.min}"]), *([] if self.max is None else [f"max={self.max}"])]
        return f"DimHint({self.type.name}{', ' if parts else ''}{', '.join(parts)})"


class Dim:
    """A size that may change, by name: the same Dim at several places says that the sizes are equal. ``2 * Dim("half")`` and ``Dim("n") +
    1`` are sizes too.

    min, max  the range, both ends in it

    Dim.AUTO, Dim.DYNAMIC, Dim.STATIC  found out by the export; dynamic, or an error; fixed
    """

    AUTO = _DimHint(_DimHintType.AUTO)
    DYNAMIC = _DimHint(_DimHintType.DYNAMIC)
    STATIC = _DimHint(_DimHintType.STATIC)

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        low, high = 0 if min is None else min, int_oo if max is None else max
        if high is not int_oo and high <= low:
            raise AssertionError(f"Cannot create Dim with inconsistent min={min}, max={max}")
        if not name.isidentifier():
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        self.__name__, self.min, self.max = name, low, high

    def _derived(self, a: int, b: int, name: str) -> _DerivedDim:
        return _DerivedDim(self, a, b, name)

    def __add__(self, other: int) -> _DerivedDim:
        return _sum(self, _whole(other), f"{self.__name__} + {other}")

    def __sub__(self, other: int) -> _DerivedDim:
        return _sum(self, -_whole(other), f"{self.__name__} - {other}")

    def __mul__(self, other: int) -> _DerivedDim:
        if _whole(other) <= 0:
            raise NotImplementedError(f"Attempted to multiply {other} with {self.__name__}, where a positive integer was expected.")
        return _scaled(self, other, f"{other}*{self.__name__}")

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        parts = ["" if self.max is int_oo and self.min <= 2 else f", min={self.min}", "" if self.max is int_oo else f", max={self.max}"]
        return f"Dim('{self.__name__}'{''.join(parts)})"


class _DerivedDim(Dim):
    """A size that follows from another one."""

    def __init__(self, root: Dim, a: int, b: int, name: str) -> None:
        self.root, self.a, self.b, self.__name__ = root, a, b, name
        self.min = a * root.min + b
        self.max = int_oo if root.max is int_oo else a * root.max + b

    def __repr__(self) -> str:
        return self.__name__


def _whole(n: Any) -> int:
    if type(n) is not int:
        raise NotImplementedError(f"a Dim with {n}: only whole numbers can be added to and multiplied with a Dim")
    return n


def _sum(dim: Dim, n: int, name: str) -> _DerivedDim:
    return _DerivedDim(dim.root, dim.a, dim.b + n, name) if isinstance(dim, _DerivedDim) else _DerivedDim(dim, 1, n, name)


def _scaled(dim: Dim, n: int, name: str) -> _DerivedDim:
    return _DerivedDim(dim.root, dim.a * n, dim.b * n, name) if isinstance(dim, _DerivedDim) else _DerivedDim(dim, n, 0, name)


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several Dims with one range."""
    return tuple([Dim(name, min=min, max=max) for name in names])


class ShapesCollection:
    """Dynamic shapes by tensor: ``collection[x] = {0: dim}``; given to `export` as ``dynamic_shapes``."""

    def __init__(self) -> None:
        self._shapes: dict[int, Any] = {}

    def __setitem__(self, t: Any, shape: Any) -> None:
        if not isinstance(t, Tensor):
            raise AssertionError(f"Cannot assign shape to non-tensor type {type(t)}")
        if id(t) in self._shapes and self._shapes[id(t)] != shape:
            raise AssertionError(f"Shapes assigned to {t.shape} do not match: {self._shapes[id(t)]} and {shape}")
        self._shapes[id(t)] = shape

    def __getitem__(self, t: Any) -> Any:
        return self._shapes.setdefault(id(t), {})

    def __len__(self) -> int:
        return len(self._shapes)

    def dynamic_shapes(self, m: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """The shapes as a tree like the inputs."""
        return pytree.tree_map(lambda each: self._shapes.get(id(each)), dict(_named(m, args, kwargs or {})))


class AdditionalInputs:
    """Dynamic shapes by further examples: sizes that differ between them are dynamic (Dim.DYNAMIC)."""

    def __init__(self) -> None:
        self._examples: list[Any] = []

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        """One more example."""
        self._examples.append((args, kwargs or {}))

    def dynamic_shapes(self, m: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """The shapes as a tree like the inputs."""
        trees = [dict(_named(m, *each)) for each in ((args, kwargs or {}), *self._examples)]

        def compared(*values: Any) -> Any:
            if not isinstance(values[0], Tensor):
                return None
            return {i: Dim.DYNAMIC for i, sizes in enumerate(zip(*[each.shape for each in values], strict=True))
                    if len(set(sizes)) > 1} or None
        return pytree.tree_map(compared, *trees)


def _named(m: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The arguments of a module's forward with their names; those of ``*args`` as one tuple."""
    bound = inspect.signature(getattr(m, "forward", m)).bind(*args, **kwargs)
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


# --- what was asked, by leaf --------------------------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Symbol:
    """A symbol: what was asked for, its range, its number in the example, and the place where it was first met."""

    name: str
    dim: Any
    lower: int
    upper: Any
    example: int
    source: str

    @property
    def named(self) -> bool:
        """Whether the user gave it a name."""
        return isinstance(self.dim, Dim)

    @property
    def label(self) -> str:
        """The user's name, or the place."""
        return self.dim.__name__ if isinstance(self.dim, Dim) else self.source


def assigned(m: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any, name_of: Any) -> tuple[list[Any], list[Symbol]]:
    """(for each leaf of the inputs a list of expressions of its sizes, or None for what is no tensor; the symbols)."""
    if isinstance(dynamic_shapes, (ShapesCollection, AdditionalInputs)):
        dynamic_shapes = dynamic_shapes.dynamic_shapes(m, args, kwargs)
    named = list(_named(m, args, kwargs))
    asked = _by_name(dynamic_shapes, named)
    found = _Assignment(name_of)
    for name, value in named:
        found.walk(value, asked.get(name), f"L['{name}']", name)
    return found.leaves, found.symbols


def _by_name(shapes: Any, named: list[tuple[str, Any]]) -> dict[str, Any]:
    if shapes is None:
        return {}
    if isinstance(shapes, Mapping):
        names = [name for name, _ in named]
        if set(shapes) != set(names):
            raise UserError(UserErrorType.INVALID_INPUT, "When `dynamic_shapes` is specified as a dict, its top-level keys must be the "
                                                         f"arg names {names} of `inputs`, "
                            f"but here they are {list(shapes)}. Since here `inputs` is a list/tuple enclosing a single dict, maybe you "
                            "just forgot to enclose `dynamic_shapes` in a "
                            "list/tuple?" if len(names) == 1 and isinstance(named[0][1], dict) else
                            f"When `dynamic_shapes` is specified as a dict, its top-level keys must be the arg names {names} of `inputs`, "
                            f"but here they are {list(shapes)}. Alternatively, you could also ignore arg names entirely and specify "
                            "`dynamic_shapes` as a list/tuple matching `inputs`.")
        return dict(shapes)
    if not isinstance(shapes, (list, tuple)):
        raise AssertionError(f"Expected dynamic_shapes to be a dict, list or tuple like the inputs, got {type(shapes).__name__}")
    if len(shapes) != len(named):
        raise UserError(UserErrorType.INVALID_INPUT, "Detected mismatch between the structure of `inputs` and `dynamic_shapes`: `inputs` "
                                                     f"has {len(named)} elements, but "
                        f"`dynamic_shapes` has {len(shapes)} elements")
    return {name: shape for (name, _), shape in zip(named, shapes, strict=True)}


class _Assignment:
    """Symbols for the sizes of inputs."""

    def __init__(self, name_of: Any) -> None:
        self.name_of, self.leaves, self.symbols = name_of, [], []
        self.by_dim: dict[str, Symbol] = {}
        self.taken: set[str] = set()

    def walk(self, value: Any, asked: Any, source: str, path: str) -> None:
        """Go through an argument and what was asked for it."""
        if isinstance(value, Tensor):
            self.leaves.append(self.tensor(value, asked, source, path))
            return
        children, spec = pytree.tree_flatten(value, is_leaf=lambda each: each is not value)
        if spec.is_leaf():
            if asked is not None and asked is not Dim.STATIC:
                raise UserError(UserErrorType.INVALID_INPUT, f"Cannot associate shape {asked} specified at `dynamic_shapes['{path}']` to "
                                                             "non-tensor type "
                                f"{type(value)} (expected None)")
            self.leaves.append(None)
            return
        keys = spec.entries()
        for key, child in zip(keys, children, strict=True):
            self.walk(child, _part(asked, key, keys, path), f"{source}[{key!r}]", f"{path}_{key}")

    def tensor(self, value: Tensor, asked: Any, source: str, path: str) -> list[Expr]:
        """The expressions of a tensor's sizes."""
        shape = [int(n) for n in value.shape]
        given = _per_dim(asked, len(shape), path)
        return [self.size(n, given.get(i), f"{source}.size()[{i}]", (path, i)) for i, n in enumerate(shape)]

    def size(self, n: int, asked: Any, source: str, place: tuple[str, int]) -> Expr:
        """The expression of one size."""
        if asked is None or asked is Dim.STATIC or (isinstance(asked, _DimHint) and asked.type is _DimHintType.STATIC):
            return constant(n)
        if type(asked) is int:
            if asked != n:
                raise UserError(UserErrorType.CONSTRAINT_VIOLATION, f"Static shape constraint of {asked} does not match input size of "
                                                                    f"{n}, for {source}")
            return constant(n)
        if isinstance(asked, _DimHint):
            if asked.type is _DimHintType.AUTO and n in (0, 1):
                return constant(n)
            return symbol(self.new(asked, 2 if asked.min is None else max(asked.min, 2), int_oo if asked.max is None else asked.max, n,
                                   source).name)
        if not isinstance(asked, Dim):
            raise UserError(UserErrorType.INVALID_INPUT, f"Unexpected dimension mapped to index {place[1]} in input tensor shape "
                                                         "specified at "
                            f"`dynamic_shapes['{place[0]}']` (expected None, an int, a Dim, Dim.AUTO, Dim.STATIC, or Dim.DYNAMIC, but got "
                            f"{asked!r} instead)")
        root, a, b = (asked.root, asked.a, asked.b) if isinstance(asked, _DerivedDim) else (asked, 1, 0)
        found = self.by_dim.get(root.__name__)
        if found is None:
            if (n - b) % a:
                raise UserError(UserErrorType.CONSTRAINT_VIOLATION, f"Expected input {source} = {n} to be of the form {asked.__name__}, "
                                                                    f"where {root.__name__} is an integer")
            found = self.by_dim[root.__name__] = self.new(root, root.min, root.max, (n - b) // a, source)
        elif (found.dim.min, found.dim.max) != (root.min, root.max):
            raise UserError(UserErrorType.INVALID_INPUT, f"Found different definitions {found.dim!r} and {root!r} for the same symbolic "
                                                         f"dimension {root.__name__}!")
        if a * found.example + b != n:
            raise UserError(UserErrorType.CONSTRAINT_VIOLATION, f"Constraints violated ({asked.__name__})! For more information, run with "
                                                                "TORCH_LOGS=\"+dynamic\".\n"
                            f"  - {source} = {n} is not {asked.__name__}, which is {a * found.example + b} by {found.source}")
        if (a, b) == (1, 0) and source != found.source:
            self.rename(found, source)
        return constant(a) * symbol(found.name) + constant(b)

    def rename(self, found: Symbol, source: str) -> None:
        """Let a symbol have the name of the last of its places, as in PyTorch."""
        old, found.name = found.name, self.name_of(source, self.taken)
        self.leaves[:] = [None if each is None else [size.renamed(old, found.name) for size in each] for each in self.leaves]

    def new(self, dim: Any, lower: int, upper: Any, example: int, source: str) -> Symbol:
        """One more symbol."""
        if example < lower or (upper is not int_oo and example > upper):
            raise ConstraintViolationError(f"Constraints violated ({dim})! For more information, run with TORCH_LOGS=\"+dynamic\".\n"
                            f"  - Received user input size {example} for {source}, which is outside of the specified dynamic range "
                            f"[{lower}, {upper}]")
        if example in (0, 1):
            label = dim.__name__ if isinstance(dim, Dim) else source
            raise UserError(UserErrorType.CONSTRAINT_VIOLATION, f"Constraints violated ({label})! For more information, run with "
                                                                "TORCH_LOGS=\"+dynamic\".\n"
                            f"  - You marked {label} as dynamic but your code specialized it to be a constant ({example}). If you're "
                            "using mark_dynamic, either remove "
                            "it or use maybe_mark_dynamic. If you're using Dim.DYNAMIC, replace it with either Dim.STATIC or Dim.AUTO.")
        found = Symbol(self.name_of(source, self.taken), dim, lower, upper, example, source)
        self.symbols.append(found)
        return found


def _part(asked: Any, key: Any, keys: list[Any], path: str) -> Any:
    """What was asked for one child of a container."""
    if asked is None:
        return None
    if isinstance(asked, Mapping):
        if key not in asked:
            raise UserError(UserErrorType.INVALID_INPUT, "Detected mismatch between the structure of `inputs` and `dynamic_shapes`: "
                                                         f"`inputs['{path}']` has the key "
                            f"{key!r}, `dynamic_shapes['{path}']` has {list(asked)}")
        return asked[key]
    if isinstance(asked, (list, tuple)) and len(asked) == len(keys):
        return asked[keys.index(key)]
    raise UserError(UserErrorType.INVALID_INPUT, f"Detected mismatch between the structure of `inputs` and `dynamic_shapes` at '{path}': "
                                                 f"{len(keys)} elements, got {asked}")


def _per_dim(asked: Any, rank: int, path: str) -> dict[int, Any]:
    if asked is None or (isinstance(asked, _DimHint) and asked.type is _DimHintType.STATIC):
        return {}
    if isinstance(asked, _DimHint):
        return dict.fromkeys(range(rank), asked)
    if isinstance(asked, Mapping):
        for key in asked:
            if not isinstance(key, int):
                raise UserError(UserErrorType.INVALID_INPUT, f"Unexpected key {key!r} in `dynamic_shapes['{path}']` of a tensor: the keys "
                                                             "are dimensions")
        if any(not 0 <= key < rank for key in asked):
            raise IndexError(f"Expected dynamic shape spec {dict(asked)} specified at `dynamic_shapes['{path}']` to have dimensions below "
                            f"{rank}, as the tensor has")
        return dict(asked)
    if isinstance(asked, (list, tuple)):
        if len(asked) != rank:
            raise UserError(UserErrorType.INVALID_INPUT, f"Expected dynamic shape spec {asked} specified at `dynamic_shapes['{path}']` to "
                                                         "have the same length as the "
                            f"actual tensor shape (expected {rank}, but got {len(asked)} instead)")
        return dict(enumerate(asked))
    raise UserError(UserErrorType.INVALID_INPUT, f"Unexpected input tensor shape {asked} specified at `dynamic_shapes['{path}']` "
                                                 "(expected either a list/tuple of "
                    "dimensions, or a dict mapping indices to dimensions, where each dimension is an int, a Dim, Dim.AUTO, Dim.STATIC, or "
                    "Dim.DYNAMIC)")

__getattr__ = attribute_of("export.dynamic_shapes", "Dim, ShapesCollection and AdditionalInputs are there (docs/graphs.md)")
