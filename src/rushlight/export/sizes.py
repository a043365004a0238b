"""Sizes that may change: expressions in symbols, found from what several runs of a program at different sizes saw.

A program is run with a few assignments of numbers to the symbols. A number that differs between the runs is a function of the symbols;
`fit` finds it among constants, polynomials of low degree and whole quotients, and takes one only if it gives every number that was seen.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from ..markers import SymInt

__all__ = ["Expr", "Quotient", "SymbolicInt", "constant", "fit", "parse", "symbol", "symbol_name"]

Env = dict[str, int]


class Quotient:
    """(an expression) // (a number), as a factor of others."""

    def __init__(self, top: Expr, bottom: int) -> None:
        self.top, self.bottom = top, bottom

    def at(self, env: Env) -> int:
        """Its value."""
        return self.top.at(env) // self.bottom

    def __str__(self) -> str:
        top = str(self.top)
        return f"(({top})//{self.bottom})" if " " in top else f"({top}//{self.bottom})"

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


Factor = str | Quotient


class Expr:
    """A polynomial with whole coefficients in symbols and quotients: product (sorted) -> coefficient."""

    def __init__(self, terms: dict[tuple[Factor, ...], int]) -> None:
        self.terms = {key: value for key, value in terms.items() if value}

    def at(self, env: Env) -> int:
        """The value where the symbols have values."""
        total = 0
        for factors, n in self.terms.items():
            for each in factors:
                n *= env[each] if isinstance(each, str) else each.at(env)
            total += n
        return total

    def symbols(self) -> set[str]:
        """The symbols in it."""
        found: set[str] = set()
        for each in itertools.chain(*self.terms):
            found |= {each} if isinstance(each, str) else each.top.symbols()
        return found

    def renamed(self, old: str, new: str) -> Expr:
        """The same with another name for a symbol."""
        found = Expr({})
        for factors, n in self.terms.items():
            term = constant(n)
            for each in factors:
                term = term * (symbol(new if each == old else each) if isinstance(each, str)
                               else quotient(each.top.renamed(old, new), each.bottom))
            found = found + term
        return found

    @property
    def number(self) -> int | None:
        """The value of a constant; None for others."""
        return self.terms.get((), 0) if all(key == () for key in self.terms) else None

    @property
    def name(self) -> str | None:
        """The symbol, where it is nothing else."""
        key = next(iter(self.terms), ())
        return key[0] if len(self.terms) == 1 and self.terms[key] == 1 and len(key) == 1 and isinstance(key[0], str) else None

    def __add__(self, other: Expr) -> Expr:
        found = dict(self.terms)
        for key, n in other.terms.items():
            found[key] = found.get(key, 0) + n
        return Expr(found)

    def __mul__(self, other: Expr) -> Expr:
        found: dict[tuple[Factor, ...], int] = {}
        for (a, m), (b, n) in itertools.product(self.terms.items(), other.terms.items()):
            key = tuple(sorted((*a, *b), key=str))
            found[key] = found.get(key, 0) + m * n
        return Expr(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        parts = []
        for key, n in sorted(self.terms.items(), key=lambda each: (-len(each[0]), str(each[0]))):
            factors = [*([str(abs(n))] if abs(n) != 1 or not key else []),
                       *[str(each) if count == 1 else f"{each}**{count}"
                         for each, count in ((each, len(list(group))) for each, group in itertools.groupby(key))]]
            parts += [("- " if n < 0 else "+ ") + "*".join(factors)]
        if not parts:
            return "0"
        first = parts[0].removeprefix("+ ")
        return " ".join([first.replace("- ", "-", 1) if first.startswith("- ") else first, *parts[1:]])

    __repr__ = __str__


def constant(n: int) -> Expr:
    """A number as an expression."""
    return Expr({(): n})


def symbol(name: str) -> Expr:
    """A symbol as an expression."""
    return Expr({(name,): 1})


def quotient(top: Expr, bottom: int) -> Expr:
    """top // bottom."""
    return Expr({(Quotient(top, bottom),): 1})


def symbol_name(source: str, taken: set[str]) -> str:
    """The symbol of the size of an input: a letter and a number of two digits that follows from where the size comes from, as PyTorch
    chooses it."""
    n = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    while f"s{n}" in taken:
        n += 1
    taken.add(f"s{n}")
    return f"s{n}"


class SymbolicInt(int, SymInt):
    """A size of an exported graph: an int (that of the example), which prints as its expression."""

    expr: Expr

    def __new__(cls, value: int, expr: Expr) -> SymbolicInt:
        found = super().__new__(cls, value)
        found.expr = expr
        return found

    def __init__(self, value: int, expr: Expr) -> None:
        pass

    def __str__(self) -> str:
        return str(self.expr)

    def __repr__(self) -> str:
        return str(self.expr)

    def __format__(self, spec: str) -> str:
        return format(str(self.expr), spec)

    def __reduce__(self) -> Any:
        return SymbolicInt, (int(self), self.expr)


# --- from numbers to expressions ------------------------------------------------------------------------------------------------------

def fit(values: Sequence[int], envs: Sequence[Env], operands: Sequence[Expr] = (), strides: Sequence[tuple[int, int]] = ()) -> Expr | None:
    """The expression that has these values; None where none is found. `operands`: expressions of which it may be a whole quotient, (e + c)
    // k for (k, c) in `strides`, and plain quotients by small numbers."""
    if all(each == values[0] for each in values):
        return constant(values[0])
    for each in operands:
        if _gives(each, values, envs):
            return each
    names = sorted(envs[0])
    for basis in _bases(names, len(envs)):
        found = _polynomial(values, envs, basis)
        if found is not None:
            return found
    for each, (bottom, more) in itertools.product(operands, [*strides, *((k, 0) for k in range(2, 33)),
                                                             *((k, k - 1) for k in range(2, 33))]):
        candidate = quotient(each + constant(more % bottom), bottom) + constant(more // bottom)
        if _gives(candidate, values, envs):
            return candidate
    return None


def _gives(expr: Expr, values: Sequence[int], envs: Sequence[Env]) -> bool:
    return all(expr.at(env) == value for env, value in zip(envs, values, strict=True))


def _bases(names: list[str], count: int) -> Iterator[list[tuple[str, ...]]]:
    """Sets of products to try, simple ones first, each smaller than the number of samples."""
    single = [(each,) for each in names]
    pairs = list(itertools.combinations_with_replacement(names, 2))
    tries: list[list[tuple[str, ...]]] = [[(), each] for each in single]
    tries += [[(), *each] for each in itertools.combinations(single, 2)]
    tries += [[(), each] for each in pairs] + [[(), one, pair] for one, pair in itertools.product(single, pairs)]
    tries += [[(), *single], [(), *itertools.combinations(names, 3)]]
    tries += [[(), one, two, pair] for (one, two), pair in itertools.product(itertools.combinations(single, 2), pairs)]
    for each in tries:
        if len(each) < count:
            yield each


def _polynomial(values: Sequence[int], envs: Sequence[Env], basis: list[tuple[str, ...]]) -> Expr | None:
    rows = [[Expr({key: 1}).at(env) for key in basis] + [value] for env, value in zip(envs, values, strict=True)]
    solved = _solve([[Fraction(n) for n in row] for row in rows], len(basis))
    if solved is None or any(n.denominator != 1 for n in solved):
        return None
    return Expr({key: int(n) for key, n in zip(basis, solved, strict=True)})


def _solve(rows: list[list[Fraction]], count: int) -> list[Fraction] | None:
    """The one solution of more equations than unknowns; None where there is none, or more than one."""
    for i in range(count):
        pivot = next((k for k in range(i, len(rows)) if rows[k][i]), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [n / rows[i][i] for n in rows[i]]
        for k in range(len(rows)):
            if k != i and rows[k][i]:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    if any(row[count] for row in rows[count:]):
        return None
    return [rows[i][count] for i in range(count)]


# --- as text --------------------------------------------------------------------------------------------------------------------------

_CALLS = ("FloorDiv", "Integer", "Symbol", "Add", "Mul", "Pow")


def parse(text: str) -> Expr:
    """An expression from its text, also in the forms that PyTorch writes into files."""
    return _built(ast.parse(text.strip(), mode="eval").body)


def _built(node: Any) -> Expr:
    kind = type(node).__name__
    if kind == "Name":
        return symbol(node.id)
    if kind == "Constant" and isinstance(node.value, int):
        return constant(node.value)
    if kind == "UnaryOp" and type(node.op).__name__ == "USub":
        return constant(-1) * _built(node.operand)
    if kind == "BinOp":
        return _combined(type(node.op).__name__, node.left, node.right)
    if kind == "Call" and getattr(node.func, "id", "") in _CALLS:
        return _called(node.func.id, node.args)
    raise ValueError(f"a size that is {kind} is not supported by rushlight: only sums, products and whole quotients by a number")


def _combined(op: str, left: Any, right: Any) -> Expr:
    a = _built(left)
    b = _built(right)
    if op == "Add":
        return a + b
    if op == "Sub":
        return a + constant(-1) * b
    if op == "Mult":
        return a * b
    if op == "FloorDiv" and b.number:
        return quotient(a, b.number)
    if op == "Pow" and b.number is not None:
        return _product([a] * b.number)
    raise ValueError(f"a size with the operation {op} is not supported by rushlight: only sums, products and whole quotients by a number")


def _product(factors: Sequence[Expr]) -> Expr:
    found = constant(1)
    for each in factors:
        found = found * each
    return found


def _called(name: str, args: list[Any]) -> Expr:
    if name == "Symbol":
        return symbol(args[0].value)
    if name in ("FloorDiv", "Pow"):
        return _combined(name, args[0], args[1])
    parts = [_built(each) for each in args]
    if name == "Mul":
        return _product(parts)
    found = constant(0)
    for each in parts:
        found = found + each
    return found


