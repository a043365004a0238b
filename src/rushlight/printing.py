"""How tensors look as text: the forms that PyTorch prints, and the options that govern them.

A number column has one of three styles, chosen from the finite non-zero values that will be shown:

* all of them whole: ``1.``;
* otherwise fixed point with `precision` digits: ``1.5000``;
* scientific, when the values span more than three decades, exceed 1e8, or (not whole) fall under 1e-4.

Large tensors are summarised first, so that the style and the width follow from what is really shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import numpy as np

from . import dtypes as _dtype
from . import services
from .tensor import Tensor, attach, wrap
from .vocabulary import Array

__all__ = ["get_printoptions", "printoptions", "set_printoptions", "tensor_repr"]

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": float("inf"), "edgeitems": 3, "linewidth": 80},
}
_options: dict[str, Any] = {**_PROFILES["default"], "sci_mode": None}

Style = tuple[Callable[[Any], str], int]  # formats one element; the width of the widest


def set_printoptions(precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
                     linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None) -> None:
    """Set how tensors are printed; what is None stays, but `sci_mode=None` goes back to choosing by the values.

    precision: digits after the point. threshold: tensors with more elements are summarised. edgeitems: elements shown at each end of a
    summarised dimension. linewidth: characters per line. profile: "default", "short" or "full", applied before the others.
    """
    new = dict(_options)
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions(): unknown profile {profile!r}, expected one of {', '.join(map(repr, _PROFILES))}")
        new.update(_PROFILES[profile])
    for name, value in (("precision", precision), ("threshold", threshold), ("edgeitems", edgeitems), ("linewidth", linewidth)):
        if value is not None:
            new[name] = _checked(name, value)
    new["sci_mode"] = sci_mode
    _options.update(new)


def _checked(name: str, value: Any) -> Any:
    wanted = "a number" if name == "threshold" else "an int"
    if isinstance(value, bool) or not (hasattr(value, "__index__") or (name == "threshold" and isinstance(value, float))):
        raise TypeError(f"set_printoptions(): argument '{name}' must be {wanted}, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"set_printoptions(): argument '{name}' must not be negative, got {value}")
    return value


def get_printoptions() -> dict[str, Any]:
    """The current options as a dict: precision, threshold, edgeitems, linewidth, sci_mode."""
    return dict(_options)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print with other options inside a ``with`` block: the arguments are those of `set_printoptions`."""
    before = dict(_options)
    try:
        set_printoptions(**options)
        yield
    finally:
        _options.update(before)


# --- one element ---------------------------------------------------------------------------------------------------------------------

def _whole(value: float) -> str:
    return f"{value:.0f}." if isfinite(value) else f"{value:.0f}"


def _float_style(values: np.ndarray[Any, Any]) -> Style:
    """The style of an array of float64."""
    seen = values[np.isfinite(values) & (values != 0)]
    if not seen.size:
        return _whole, 1
    size = np.abs(seen)
    small, big = float(size.min()), float(size.max())
    whole = bool((seen == np.ceil(seen)).all())
    scientific = big / small > 1000.0 or big > 1.0e8 or (not whole and small < 1.0e-4)
    if _options["sci_mode"] is not None:
        scientific = _options["sci_mode"]
    text = _speller(f".{_options['precision']}e") if scientific else _whole if whole else _speller(f".{_options['precision']}f")
    # The widest text belongs to one of these: in fixed point the length grows with the magnitude, and in scientific form
    # it depends on the sign and on whether the exponent has three digits.
    extremes = [float(edge) for part in (seen[seen < 0], seen[seen > 0]) if part.size for edge in (part.min(), part.max())]
    return text, max(len(text(value)) for value in extremes)


def _speller(spec: str) -> Callable[[float], str]:
    return lambda value: format(value, spec)


def _plain_style(values: np.ndarray[Any, Any]) -> Style:
    """The style of integers and booleans."""
    ends = (values.min().item(), values.max().item()) if values.size else (0,)
    return str, max(len(str(end)) for end in ends)


def _padded(style: Style) -> Callable[[Any], str]:
    text, width = style
    return lambda value: text(value).rjust(width)


def _element_format(array: np.ndarray[Any, Any]) -> Style:
    """How to print one element of `array`, and the columns that one takes (separator included)."""
    if array.dtype.kind == "c":
        real, imaginary = _float_style(array.real.astype(np.float64)), _float_style(array.imag.astype(np.float64))
        print_real, print_imaginary = _padded(real), _padded(imaginary)

        def both(value: complex) -> str:
            second = print_imaginary(value.imag).lstrip() + "j"
            return print_real(value.real) + (second if second[0] in "+-" else "+" + second)

        return both, real[1] + imaginary[1] + 3
    style = _float_style(array) if array.dtype.kind == "f" else _plain_style(array)
    return _padded(style), style[1] + 2


# --- the nested brackets -------------------------------------------------------------------------------------------------------------

def _printable(array: Array) -> np.ndarray[Any, Any]:
    """The elements as NumPy types that Python's `format` knows: reduced precision becomes float64, a GPU's array comes over."""
    if not isinstance(array, np.ndarray):
        array = array.get()
    kind = array.dtype.kind
    if kind in "biuc":
        return array
    return array.astype(np.float64)


def _summarise(array: Array) -> tuple[Any, list[bool]]:
    """Only the edges of the long dimensions, and which dimensions were cut."""
    edge, cut = _options["edgeitems"], []
    for axis, size in enumerate(array.shape):
        cut.append(size > 2 * edge)
        if cut[-1]:
            ends = np.r_[0:edge, size - edge:size]
            array = array[(slice(None),) * axis + (ends,)]
    return array, cut


def _nested(values: list[Any], cut: list[bool], indent: int, text: Callable[[Any], str], columns: int) -> str:
    """The text of a (nested) list, opened at column `indent`."""
    edge = _options["edgeitems"]
    if not cut:
        return text(values)
    if len(cut) == 1:
        items = [text(value) for value in values]
        if cut[0]:
            items.insert(edge, " ...")
        per_line = max(1, (_options["linewidth"] - indent) // columns)
        rows = [", ".join(items[start:start + per_line]) for start in range(0, len(items), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(rows) + "]"
    parts = [_nested(value, cut[1:], indent + 1, text, columns) for value in values]
    if cut[0]:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (len(cut) - 1) + " " * (indent + 1)).join(parts) + "]"


def _contents(array: Array, indent: int) -> str:
    if array.size == 0:
        return "[]"
    cut = [False] * array.ndim
    if array.size > _options["threshold"]:
        if array.ndim and not _options["edgeitems"]:
            return "[...]"
        array, cut = _summarise(array)
    array = _printable(array)
    text, columns = _element_format(array)
    return _nested(array.tolist(), cut, indent, text, columns)


# --- the whole ------------------------------------------------------------------------------------------------------------------------

def _is_default_dtype(dtype: _dtype.dtype) -> bool:
    default = _dtype.get_default_dtype()
    return dtype in (default, _dtype.int64, _dtype.bool_) or dtype is default.to_complex()


def _suffixes(t: Tensor) -> list[str]:
    """What follows the elements: device, size, dtype, grad_fn, where they don't go without saying."""
    kind, found = t._kind, []
    dtype, device, shape = kind.dtype, kind.device, tuple(t._a.shape)
    meta, elements = device.type == "meta", t._a.size
    if device.type != "cpu":
        found.append(f"device='{device}'")
    if meta or (len(shape) != 1 if elements == 0 else not _options["edgeitems"]):
        found.append(f"size={shape}")
    # Nothing to see tells the type from: then only the default needs no naming.
    if dtype is not _dtype.get_default_dtype() if meta or elements == 0 else not _is_default_dtype(dtype):
        found.append(f"dtype={dtype}")
    try:
        node = t.grad_fn
    except RuntimeError:
        return [*found, "grad_fn=<Invalid>"]
    if node is not None:
        found.append(f"grad_fn=<{node.name()}>")
    elif t.requires_grad:
        found.append("requires_grad=True")
    return found


def _is_plain(cls: type) -> bool:
    """Whether instances print as "tensor(...)": Tensor's own do, and those of Parameter itself, which says so."""
    return cls is Tensor or "_prints_as_tensor" in cls.__dict__


def _batched_repr(t: Tensor) -> str:
    """A tensor inside vmap: the values of all samples."""
    value = tensor_repr(wrap(t._a.physical, t._kind))
    indented = "\n".join("    " + line for line in value.splitlines())
    return f"BatchedTensor(lvl={t._a.level}, bdim=0, value=\n{indented}\n)"


def tensor_repr(t: Tensor, tensor_contents: str | None = None) -> str:
    """The text that ``repr(t)`` and ``print(t)`` show. `tensor_contents` replaces the elements.

    (The line "Parameter containing:" is `Parameter`'s own.)
    """
    if hasattr(t._a, "level"):
        return _batched_repr(t)
    prefix = "tensor(" if _is_plain(type(t)) else type(t).__name__ + "("
    indent = len(prefix)
    if tensor_contents is None:
        tensor_contents = "..." if t._kind.device.type == "meta" else _contents(t._a, indent)
    lines = prefix + tensor_contents
    column = len(lines) - lines.rfind("\n") + 1
    for suffix in _suffixes(t):
        if column + len(suffix) + 2 > _options["linewidth"]:
            lines += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            lines += ", " + suffix
            column += len(suffix) + 2
    return lines + ")"


def _repr(self: Tensor, *, tensor_contents: str | None = None) -> str:
    return tensor_repr(self, tensor_contents)


def _repr_html(self: Tensor) -> str | None:
    return services.html_of(self)


attach(_repr, "__repr__")
attach(_repr_html, "_repr_html_")
