"""Running one expression on rushlight and on PyTorch, and comparing what came of it: values, printed form, warnings, error class and text."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import torch as pt

import rushlight as rl

_NAMESPACES: dict[str, dict[str, Any]] = {}


def namespace(package: Any) -> dict[str, Any]:
    """The names that expressions use, from one of the two packages."""
    name = package.__name__
    if name not in _NAMESPACES:
        from importlib import import_module
        utils = {short: import_module(f"{name}.nn.utils.{long}") for short, long in (
            ("P", "prune"), ("R", "rnn"), ("Z", "parametrize"), ("Y", "parametrizations"), ("S", "stateless"))}
        _NAMESPACES[name] = {"T": package, "torch": package, "nn": package.nn, "F": package.nn.functional, "I": package.nn.init,
                             "U": import_module(name + ".nn.utils"), "copy": copy, "pickle": pickle, "np": np, **utils}
    return _NAMESPACES[name]


def plain(value: Any) -> Any:
    """Tensors as NumPy arrays with their dtype's name, in nested containers; everything else as its printed form."""
    if isinstance(value, (pt.Tensor, rl.Tensor)):
        try:
            shape = tuple(value.shape)
        except RuntimeError:
            return repr(value)
        assert len(shape) == value.dim()
        return str(value.dtype), value.detach().cpu().numpy().copy()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and type(value).__name__ != "Size":
        return [plain(each) for each in value]
    return normal(repr(value))


def normal(text: str) -> str:
    """Without what may differ: package name, addresses."""
    import re
    return re.sub(r"0x[0-9a-f]+", "0x", text.replace("rushlight.", "torch.").replace(", device='cuda:0'", ""))


def outcome(package: Any, expression: str, setup: str = "", seed: int = 0) -> tuple[Any, Any, list[Any]]:
    """(value, error, warnings) of an expression after some setup statements."""
    names = dict(namespace(package))
    package.manual_seed(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value, error = None, None
        try:
            if setup:
                exec(setup, names)
            value = plain(eval(expression, names))
        except Exception as raised:
            error = (raised.__class__, normal(str(raised)))
    seen = [(w.category, normal(str(w.message))) for w in caught if w.category is not DeprecationWarning]
    return value, error, seen


def equal(a: Any, b: Any, tol: float) -> bool:
    """Whether two results of `plain` agree."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return a[0] == b[0] and a[1].shape == b[1].shape and bool(np.allclose(a[1], b[1], rtol=tol, atol=tol, equal_nan=True))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equal(x, y, tol) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(equal(a[k], b[k], tol) for k in a)
    return bool(a == b)


def difference(a: Any, b: Any, tol: float) -> str:
    """The first place where two results of `plain` disagree."""
    if type(a) is type(b) and isinstance(a, (list, dict)) and len(a) == len(b):
        pairs = zip(a, b, strict=True) if isinstance(a, list) else zip(a.values(), b.values(), strict=True)
        for key, (x, y) in zip(a if isinstance(a, dict) else range(len(a)), pairs, strict=True):
            if not equal(x, y, tol):
                return f"[{key}]" + difference(x, y, tol)
    return f" {str(a)[:600]}\n--- expected\n{str(b)[:600]}"


def same(expression: str, setup: str = "", tol: float = 1e-5, text: bool = True) -> None:
    """Assert that both packages agree. `text` False: of an error only the class counts."""
    got, got_error, got_warned = outcome(rl, expression, setup)
    want, want_error, want_warned = outcome(pt, expression, setup)
    if want_error is not None or got_error is not None:
        assert got_error is not None, f"{expression}: expected {want_error}, got the value {got}"
        assert want_error is not None, f"{expression}: raised {got_error}, expected {want}"
        assert issubclass(got_error[0], want_error[0]), f"{expression}: {got_error} instead of {want_error}"
        if text:
            assert got_error[1] == want_error[1], f"{expression}:\n  {got_error[1]}\n  {want_error[1]}"
    elif not equal(got, want, tol):
        raise AssertionError(f"{expression}:\n{difference(got, want, tol)}")
    assert got_warned == want_warned, f"{expression}: {got_warned} instead of {want_warned}"
