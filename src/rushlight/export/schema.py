"""What stands for what in a ``.pt2`` file: numbers of dtypes, layouts and memory formats, and arguments as small objects of JSON."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes
from ..devices import device as Place
from ..layout import channels_last, channels_last_3d, contiguous_format, preserve_format, strided
from ..unsupported import NotSupported
from .sizes import Expr, Quotient, SymbolicInt, parse

__all__ = ["DTYPES", "LAYOUTS", "MEMORY_FORMATS", "expression", "number", "place", "read_expression", "size", "text_of"]

DTYPES: dict[int, Any] = {1: dtypes.uint8, 2: dtypes.int8, 3: dtypes.int16, 4: dtypes.int32, 5: dtypes.int64, 6: dtypes.float16,
                          7: dtypes.float32, 8: dtypes.float64, 10: dtypes.complex64, 11: dtypes.complex128, 12: dtypes.bool_,
                          13: dtypes.bfloat16}
LAYOUTS: dict[int, Any] = {7: strided}
MEMORY_FORMATS: dict[int, Any] = {1: contiguous_format, 2: channels_last, 3: channels_last_3d, 4: preserve_format}


def number(x: float) -> Any:
    """A float for JSON, which has no infinity."""
    return x if math.isfinite(x) else "NaN" if x != x else "Infinity" if x > 0 else "-Infinity"


def place(device: Any) -> dict[str, Any]:
    """A device."""
    found = Place(device)
    return {"type": found.type, "index": found.index}


def text_of(expr: Expr) -> str:
    """An expression in the constructors of SymPy, in which PyTorch writes sizes."""
    terms = []
    for factors, n in sorted(expr.terms.items(), key=lambda each: (len(each[0]), str(each[0]))):
        parts = [*([f"Integer({n})"] if n != 1 or not factors else []), *map(_factor, factors)]
        terms.append(parts[0] if len(parts) == 1 else f"Mul({', '.join(parts)})")
    return terms[0] if len(terms) == 1 else f"Add({', '.join(terms)})" if terms else "Integer(0)"


def _factor(each: Any) -> str:
    if isinstance(each, Quotient):
        return f"FloorDiv({text_of(each.top)}, Integer({each.bottom}))"
    return f"Symbol('{each}', positive=True, integer=True)"


def expression(n: SymbolicInt) -> dict[str, Any]:
    """A size that may change, with its number in the example."""
    return {"as_expr": {"expr_str": text_of(n.expr), "hint": {"as_int": int(n)}}}


def size(n: Any) -> dict[str, Any]:
    """A size."""
    return expression(n) if isinstance(n, SymbolicInt) else {"as_int": int(n)}


def read_expression(data: dict[str, Any]) -> Any:
    """A size of a file. NotSupported for expressions that are not known here."""
    if "as_int" in data:
        return int(data["as_int"])
    found = data["as_expr"]
    hint = (found.get("hint") or {}).get("as_int")
    try:
        expr = parse(found["expr_str"])
    except (ValueError, SyntaxError) as error:
        raise NotSupported(f"torch.export.load: the size {found['expr_str']} is not supported by rushlight: {error}") from error
    return SymbolicInt(int(hint) if hint is not None else 2, expr)
