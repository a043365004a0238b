"""One function of the torch module, run on both sides; what comes out (values, dtypes, shapes, classes of errors) has to be the same."""

import warnings

import numpy as np
import torch as pt

from tests.support.common import rl, to_numpy


def plain(value):
    """A result in a form that doesn't know its side: tensors as arrays with the name of their dtype."""
    if isinstance(value, (pt.Tensor, rl.Tensor)):
        return str(value.dtype).removeprefix("torch."), to_numpy(value)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (pt.dtype, pt.device, pt.layout, pt.memory_format)) or type(value).__module__.startswith("rushlight"):
        return str(value)
    return value


def outcome(function, torch):
    """What a case gives on one side: ("value", result) or ("error", names of the error's bases that PyTorch raises, text)."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", plain(function(torch))
        except Exception as error:
            return "error", error


def assert_alike(a, b, where=""):
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == 2 and isinstance(a[1], np.ndarray):
        assert a[0] == b[0], f"{where}: dtype {b[0]} for {a[0]}"
        assert a[1].shape == b[1].shape, f"{where}: shape {b[1].shape} for {a[1].shape}"
        assert np.allclose(b[1], a[1], rtol=1e-5, atol=1e-6, equal_nan=True), f"{where}: {b[1].tolist()} for {a[1].tolist()}"
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        assert len(a) == len(b), f"{where}: {b} for {a}"
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_alike(x, y, f"{where}[{i}]")
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        assert_alike((str(a.dtype), a), (str(b.dtype), b), where)
    elif isinstance(a, float) and isinstance(b, float):
        assert np.isclose(b, a, rtol=1e-5, atol=1e-6, equal_nan=True), f"{where}: {b} for {a}"
    else:
        assert type(a) is type(b) and a == b, f"{where}: {b!r} for {a!r}"


def assert_same_outcome(function, text=False):
    """The case gives the same on both sides; an error has to be of the same class (and, with `text`, say the same)."""
    (kind, want), (kind_here, got) = outcome(function, pt), outcome(function, rl)
    if kind == "error" and kind_here == "error":
        assert type(want).__name__ in [c.__name__ for c in type(got).__mro__], f"{type(got).__name__}: {got} for {type(want).__name__}: {want}"
        if text:
            assert str(got).splitlines()[0] == str(want).splitlines()[0]
    elif kind_here == "error":
        raise AssertionError(f"raises {type(got).__name__}: {got} for {want}") from got
    else:
        assert kind == kind_here, f"gives {got} where torch raises {type(want).__name__}: {want}"
        assert_alike(want, got)
