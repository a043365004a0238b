"""`assert_close`: compare tensors, numbers and nested containers of them, with PyTorch's tolerances and texts.

Comparing takes two passes. The first walks both structures and makes a check for every pair of leaves (so that a missing key is
reported before a wrong number); the second runs the checks, and the first that fails is what is raised.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..layout import strided
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor

__all__ = ["assert_close", "assert_allclose", "default_tolerances", "not_close"]

# dtype -> (rtol, atol); what is not listed has to be equal.
_TOLERANCES = {"float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
               "complex32": (1e-3, 1e-5), "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7)}
_NUMBER_DTYPES = {int: dtypes.int64, float: dtypes.float64, complex: dtypes.complex128}

Message = str | Callable[[str], str] | None


class Mismatch(Exception):
    """What a check raises inside this module: the error class and text for the user, and where it was."""

    def __init__(self, kind: type[Exception], text: str, path: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.kind, self.text, self.path = kind, text, path

    def to_error(self, msg: Message = None) -> Exception:
        """The error for the user, with the user's text if one was given."""
        if isinstance(msg, str):
            return self.kind(msg)
        text = self.text
        if self.path:
            text += f"\n\nThe failure occurred for item {''.join(f'[{key!r}]' for key in self.path)}"
        return self.kind(msg(text) if callable(msg) else text)


def default_tolerances(*inputs: Any) -> tuple[float, float]:
    """(rtol, atol) for tensors or dtypes: the loosest of theirs."""
    pairs = []
    for each in inputs:
        dtype = each.dtype if isinstance(each, Tensor) else each
        if not isinstance(dtype, dtypes.dtype):
            raise TypeError(f"Expected a torch.Tensor or a torch.dtype, but got {type(each)} instead.")
        pairs.append(_TOLERANCES.get(dtype.name, (0.0, 0.0)))
    return max(rtol for rtol, _ in pairs), max(atol for _, atol in pairs)


def _tolerances(inputs: tuple[Any, ...], options: dict[str, Any], path: tuple[Any, ...]) -> tuple[float, float]:
    rtol, atol = options["rtol"], options["atol"]
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise Mismatch(ValueError, f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.", path)
    return default_tolerances(*inputs) if rtol is None else (rtol, atol)


# --- texts --------------------------------------------------------------------------------------------------------------------------------

def _difference_text(what: str, identifier: Message, rows: list[tuple[str, Any, Any, float]], extra: str) -> str:
    """`rows`: (absolute|relative, difference, index or None, tolerance)."""
    equality = all(tolerance == 0 for *_, tolerance in rows)
    if identifier is not None:
        what = identifier if isinstance(identifier, str) else identifier(what)
    lines = [f"{what} are not {'equal' if equality else 'close'}!", "", extra]
    for kind, difference, index, tolerance in rows:
        line = f"{kind.title()} difference: {difference}" if index is None else f"Greatest {kind} difference: {difference} at index {index}"
        lines.append(line if equality else f"{line} (up to {tolerance} allowed)")
    return "\n".join(lines)


def _number_text(actual: object, expected: object, rtol: float, atol: float, identifier: Message = None) -> str:
    absolute = abs(actual - expected)
    relative = float("inf") if expected == 0 else absolute / abs(expected)
    return _difference_text("Scalars", identifier, [("absolute", absolute, None, atol), ("relative", relative, None, rtol)],
                            f"Expected {expected} but got {actual}.")


def _tensor_text(actual: Tensor, expected: Tensor, matches: Tensor, rtol: float, atol: float, identifier: Message = None) -> str:
    total = matches.numel()
    wrong = total - int(matches.sum())
    if not actual.is_floating_point() and not actual.is_complex():
        actual, expected = actual.to(dtypes.int64), expected.to(dtypes.int64)
    good = matches.flatten()
    difference = (actual.flatten() - expected.flatten()).abs()
    rows = []
    for kind, values, tolerance in (("absolute", difference, atol), ("relative", difference / expected.flatten().abs(), rtol)):
        greatest, place = values.masked_fill(good, 0).max(0)
        index = tuple(map(int, np.unravel_index(int(place), tuple(matches.shape))))
        rows.append((kind, greatest.item(), index, tolerance))
    return _difference_text("Tensor-likes", identifier, rows, f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})")


# --- checks of leaves ---------------------------------------------------------------------------------------------------------------------

def _values_close(actual: Tensor, expected: Tensor, rtol: float, atol: float, equal_nan: bool, path: tuple[Any, ...],
                  identifier: Message = None) -> None:
    matches = actual.isclose(expected, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if bool(matches.all()):
        return
    if actual.ndim == 0:
        raise Mismatch(AssertionError, _number_text(actual.item(), expected.item(), rtol, atol, identifier), path)
    raise Mismatch(AssertionError, _tensor_text(actual, expected, matches, rtol, atol, identifier), path)


def _tensor_check(actual: Tensor, expected: Tensor, options: dict[str, Any], path: tuple[Any, ...]) -> Callable[[], None]:
    rtol, atol = _tolerances((actual, expected), options, path)

    def check() -> None:
        a, b = actual.detach(), expected.detach()
        _same_attributes(a, b, options, path)
        if a.device.type == "meta" or b.device.type == "meta":
            return
        if a.device != b.device:
            a, b = a.cpu(), b.cpu()
        if a.dtype is not b.dtype:
            common = dtypes.promote_types(*[dtypes.int64 if t.dtype.name in ("uint16", "uint32", "uint64") else t.dtype for t in (a, b)])
            a, b = a.to(common), b.to(common)
        if a.layout is not b.layout:
            a, b = [t if t.layout is strided else t.to_dense() for t in (a, b)]
        if a.layout is strided:
            _values_close(a, b, rtol, atol, options["equal_nan"], path)
        else:
            from .sparse_comparison import compare_sparse
            compare_sparse(a, b, rtol, atol, options["equal_nan"], path)
    return check


def _same_attributes(a: Tensor, b: Tensor, options: dict[str, Any], path: tuple[Any, ...]) -> None:
    def different(name: str, first: Any, second: Any) -> Mismatch:
        return Mismatch(AssertionError, f"The values for attribute '{name}' do not match: {first} != {second}.", path)

    if a.shape != b.shape:
        raise different("shape", a.shape, b.shape)
    if a.layout is not b.layout:
        if options["check_layout"]:
            raise different("layout", a.layout, b.layout)
    elif a.layout is strided and options["check_stride"] and a.stride() != b.stride():
        raise different("stride()", a.stride(), b.stride())
    if options["check_device"] and a.device != b.device:
        raise different("device", a.device, b.device)
    if options["check_dtype"] and a.dtype is not b.dtype:
        raise different("dtype", a.dtype, b.dtype)


def _number_check(actual: object, expected: object, options: dict[str, Any], path: tuple[Any, ...]) -> Callable[[], None]:
    actual, expected = [each.item() if isinstance(each, np.number) else each for each in (actual, expected)]
    rtol, atol = _tolerances(tuple(_NUMBER_DTYPES[type(each)] for each in (actual, expected)), options, path)

    def check() -> None:
        if options["check_dtype"] and type(actual) is not type(expected):
            raise Mismatch(AssertionError, f"The (d)types do not match: {type(actual)} != {type(expected)}.", path)
        if actual == expected or (options["equal_nan"] and cmath.isnan(actual) and cmath.isnan(expected)):
            return
        difference = abs(actual - expected)
        if not (cmath.isfinite(difference) and difference <= atol + rtol * abs(expected)):
            raise Mismatch(AssertionError, _number_text(actual, expected, rtol, atol), path)
    return check


def _identity_check(label: str, actual: object, expected: object, path: tuple[Any, ...]) -> Callable[[], None]:
    def check() -> None:
        if actual is not expected:
            raise Mismatch(AssertionError, f"{label} mismatch: {actual} is not {expected}", path)
    return check


def _leaf_check(actual: object, expected: object, options: dict[str, Any], path: tuple[Any, ...]) -> Callable[[], None]:
    """The check for two leaves: None, bools, numbers, or what can be made tensors."""
    if actual is None or expected is None:
        return _identity_check("None", actual, expected, path)
    bools, numbers = (bool, np.bool_), (*_NUMBER_DTYPES, np.number)
    if isinstance(actual, bools) and isinstance(expected, bools):
        return _identity_check("Booleans", bool(actual), bool(expected), path)
    if isinstance(actual, numbers) and isinstance(expected, numbers) and not isinstance(actual, bool) and not isinstance(expected, bool):
        return _number_check(actual, expected, options, path)
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    if related and (options["allow_subclasses"] or type(actual) is type(expected)):
        tensors = [_as_tensor(each) for each in (actual, expected)]
        if None not in tensors:
            return _tensor_check(tensors[0], tensors[1], options, path)  # type: ignore[arg-type]
    raise Mismatch(TypeError, f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.", path)


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    try:
        return FUNCTIONS["as_tensor"](value)
    except Exception:  # whatever the reason: it is no tensor
        return None


# --- structures -------------------------------------------------------------------------------------------------------------------------

def _checks(actual: object, expected: object, options: dict[str, Any], path: tuple[Any, ...] = ()) -> list[Callable[[], None]]:
    """The checks for all leaves; `Mismatch` where the structures differ."""
    both = (actual, expected)
    if all(isinstance(each, Sequence) and not isinstance(each, str) for each in both):
        if len(actual) != len(expected):
            raise Mismatch(AssertionError, f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", path)
        keys: Any = range(len(actual))
    elif all(isinstance(each, Mapping) for each in both):
        if set(actual) != set(expected):
            raise Mismatch(AssertionError, "The keys of the mappings do not match:\nMissing keys in the actual mapping: "
                           f"{sorted(set(expected) - set(actual))}\nAdditional keys in the actual mapping: "
                           f"{sorted(set(actual) - set(expected))}", path)
        try:
            keys = sorted(actual)
        except TypeError:
            keys = list(actual)
    else:
        return [_leaf_check(actual, expected, options, path)]
    return [check for key in keys for check in _checks(actual[key], expected[key], options, (*path, key))]


def not_close(actual: object, expected: object, **options: Any) -> Mismatch | None:
    """The first difference of two structures, None where they agree."""
    try:
        for check in _checks(actual, expected, options):
            check()
    except Mismatch as mismatch:
        return mismatch
    return None


def assert_close(actual: object, expected: object, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
                 equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False, msg: Message = None) -> None:
    """Raise AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere, and shapes, dtypes, ... agree.

    actual, expected   tensors, numbers, what `as_tensor` takes, or sequences and mappings of them
    rtol, atol         both or neither (ValueError); the defaults go by dtype, 1.3e-6 and 1e-5 for float32
    equal_nan          whether two NaN are equal
    check_*            what has to agree besides shapes and values
    msg                a text instead of the generated one, or a function from that to another
    """
    mismatch = not_close(actual, expected, allow_subclasses=allow_subclasses, rtol=rtol, atol=atol, equal_nan=equal_nan,
                         check_device=check_device, check_dtype=check_dtype, check_layout=check_layout, check_stride=check_stride)
    if mismatch is not None:
        raise mismatch.to_error(msg) from None


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
                    msg: str = "") -> None:
    """The old form of `assert_close`: makes tensors of both sides and compares values only."""
    import warnings
    warnings.warn("`torch.testing.assert_allclose()` is deprecated since 1.12 and will be removed in a future release. Please use "
                  "`torch.testing.assert_close()` instead.", FutureWarning, stacklevel=2)
    if not isinstance(actual, Tensor):
        actual = FUNCTIONS["tensor"](actual)
    if not isinstance(expected, Tensor):
        expected = FUNCTIONS["tensor"](expected, dtype=actual.dtype)
    if rtol is None and atol is None:
        old = {"float16": (1e-3, 1e-3), "float32": (1e-4, 1e-5), "float64": (1e-5, 1e-8)}
        pairs = [old.get(each.dtype.name, (0.0, 0.0)) for each in (actual, expected)]
        rtol, atol = max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False, check_stride=False,
                 msg=msg or None)
