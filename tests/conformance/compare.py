"""Do both sides agree? Values, dtypes and shapes, with tolerances that grow with the size of the numbers."""

import numpy as np
import torch as pt

import rushlight as rl

#             relative, absolute (of the largest number in the tensor, where that is above 1)
TOLERANCE = {"float32": (1e-4, 1e-5), "float64": (1e-7, 1e-9), "float16": (4e-3, 1e-3), "bfloat16": (2e-2, 1e-2),
             "complex64": (1e-4, 1e-5), "complex128": (1e-7, 1e-9), "complex32": (4e-3, 1e-3)}


class Differs(AssertionError):
    """The two sides disagree."""


def to_numpy(t):
    """The values of a dense tensor of either side; bfloat16 as float32."""
    if isinstance(t, pt.Tensor):
        t = t.detach().resolve_conj().resolve_neg()
        return (t.float() if t.dtype is pt.bfloat16 else t.to(pt.complex64) if t.dtype is pt.complex32 else t).numpy(force=True)
    a = t.detach()._a
    return a.astype(np.float32) if t.dtype is rl.bfloat16 else a


def agree(ours, theirs, where="result", *, loose=1.0, values=True):
    """Raise `Differs` unless both are the same; containers item by item. `values` False: dtypes and shapes only."""
    if isinstance(theirs, pt.Tensor):
        _tensors(ours, theirs, where, loose, values)
    elif isinstance(theirs, dict):
        if not isinstance(ours, dict) or list(ours) != list(theirs):
            raise Differs(f"{where}: {ours!r:.200} instead of the keys {list(theirs)}")
        for key in theirs:
            agree(ours[key], theirs[key], f"{where}[{key!r}]", loose=loose, values=values)
    elif isinstance(theirs, (list, tuple)) and not isinstance(theirs, pt.Size):
        if not isinstance(ours, (list, tuple)) or len(ours) != len(theirs):
            raise Differs(f"{where}: {type(ours).__name__} instead of {len(theirs)} items")
        for i, (a, b) in enumerate(zip(ours, theirs)):
            agree(a, b, f"{where}[{i}]", loose=loose, values=values)
    elif isinstance(theirs, (float, complex)) and isinstance(ours, (int, float, complex)):
        if values and not np.allclose(ours, theirs, rtol=1e-4 * loose, atol=1e-5 * loose, equal_nan=True):
            raise Differs(f"{where}: {ours} instead of {theirs}")
    elif isinstance(theirs, (pt.dtype, pt.device, pt.Size, pt.layout)):
        if str(ours) != str(theirs):
            raise Differs(f"{where}: {ours} instead of {theirs}")
    elif values and not (type(ours) is type(theirs) and ours == theirs) and not (ours is None and theirs is None):
        raise Differs(f"{where}: {ours!r:.200} instead of {theirs!r:.200}")


def _tensors(ours, theirs, where, loose, values):
    if not isinstance(ours, rl.Tensor):
        raise Differs(f"{where}: {type(ours).__name__} instead of a Tensor")
    if str(ours.dtype) != str(theirs.dtype):
        raise Differs(f"{where}: dtype {ours.dtype} instead of {theirs.dtype}")
    if tuple(ours.shape) != tuple(theirs.shape):
        raise Differs(f"{where}: shape {tuple(ours.shape)} instead of {tuple(theirs.shape)}")
    if str(ours.layout) != str(theirs.layout):
        raise Differs(f"{where}: layout {ours.layout} instead of {theirs.layout}")
    if not values:
        return
    if theirs.layout is not pt.strided:
        ours, theirs = ours.detach().to_dense(), theirs.detach().to_dense()
    a, b = to_numpy(ours), to_numpy(theirs)
    rtol, atol = TOLERANCE.get(str(theirs.dtype).removeprefix("torch."), (0, 0))
    if rtol:
        finite = np.abs(b[np.isfinite(b)])
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        same = np.isclose(a, b, rtol=rtol * loose, atol=atol * loose * scale, equal_nan=True)
    else:
        same = a == b
    if not np.all(same):
        wrong = np.argwhere(~np.atleast_1d(same))
        at = tuple(int(i) for i in wrong[0]) if b.ndim else ()
        raise Differs(f"{where}: {len(wrong)} of {b.size} values differ, at {at}: {a[at]} instead of {b[at]} ({theirs.dtype}, {tuple(b.shape)})")


def same_error(ours, theirs):
    """Whether our exception is of the class that PyTorch raised. `NotImplementedError` does not pass for the RuntimeError that it is."""
    return type(ours) is type(theirs) or (isinstance(ours, type(theirs)) and not isinstance(ours, NotImplementedError))
