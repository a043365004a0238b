"""What the differential tests share: the same value on both sides, and comparisons."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch as pt

import rushlight as rl

pt.set_num_threads(1)
DEVICE = "cpu"                # where our side runs: pytest --device cuda

PT_DTYPES = {name: getattr(pt, name) for name in
             ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128")}


def rng_state(module):
    """The state of the generator that a module's numbers come from by default, as a NumPy array."""
    return (rl.cuda.get_rng_state() if module is rl and DEVICE == "cuda" else module.get_rng_state()).numpy()


def rl_dtype(dtype):
    """The rushlight dtype of a torch dtype."""
    return getattr(rl, str(dtype).removeprefix("torch."))


def to_rl(value, requires_grad=None):
    """A torch tensor (or nested structure) as rushlight's, with the same strides."""
    if isinstance(value, pt.Tensor):
        t = value.detach()
        if t.dtype is pt.bfloat16:
            import ml_dtypes
            a = t.view(pt.int16).numpy().view(ml_dtypes.bfloat16)
        else:
            a = t.resolve_conj().resolve_neg().numpy()
        r = rl.empty(0, dtype=rl_dtype(t.dtype), device="cpu")
        copy = np.empty_like(a, subok=False) if 0 not in a.strides else np.empty(a.shape, a.dtype)
        copy[...] = a
        r._a = copy
        if DEVICE != "cpu":
            r = on_device(r)
        return r.requires_grad_(value.requires_grad if requires_grad is None else requires_grad) if r._kind.differentiable else r
    if isinstance(value, pt.dtype):
        return rl_dtype(value)
    if isinstance(value, pt.Size):
        return rl.Size(value)
    if isinstance(value, (list, tuple)):
        items = [to_rl(each, requires_grad) for each in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        return {key: to_rl(each, requires_grad) for key, each in value.items()}
    return value


def on_device(r):
    """A tensor made on the CPU, on the device under test, with the same strides."""
    kind = rl.kind.kind_of(r._kind.dtype, rl.device("cuda", 0))
    a = r._a
    moved = rl.tensor([], device="cuda").new_empty(0, dtype=r.dtype)
    order = sorted(range(a.ndim), key=lambda i: -a.strides[i])
    back = tuple(order.index(i) for i in range(a.ndim))
    moved._a = kind.xp.asarray(np.ascontiguousarray(a.transpose(order))).reshape([a.shape[i] for i in order]).transpose(back)
    return moved


def to_numpy(t):
    """The values of a tensor of either side as a NumPy array (bfloat16 as float32)."""
    if isinstance(t, pt.Tensor):
        t = t.detach().resolve_conj().resolve_neg()
        return (t.float() if t.dtype is pt.bfloat16 else t).numpy(force=True)
    a = t.detach().cpu()._a
    return a.astype(np.float32) if t.dtype is rl.bfloat16 else a


TOLERANCE = {"float32": (1e-5, 1e-6), "float64": (1e-9, 1e-11), "float16": (2e-3, 1e-4), "bfloat16": (1.6e-2, 1e-3),
             "complex64": (1e-5, 1e-6), "complex128": (1e-9, 1e-11)}


def assert_same(ours, theirs, *, rtol=None, atol=None, strides=False, what=""):
    """Values, dtype, shape, requires_grad (and strides) of both sides agree; nested structures too."""
    if isinstance(theirs, pt.Tensor):
        assert isinstance(ours, rl.Tensor), f"{what}: {type(ours)} instead of a Tensor"
        assert str(ours.dtype) == str(theirs.dtype), f"{what}: dtype {ours.dtype} instead of {theirs.dtype}"
        assert tuple(ours.shape) == tuple(theirs.shape), f"{what}: shape {ours.shape} instead of {theirs.shape}"
        assert ours.requires_grad == theirs.requires_grad, f"{what}: requires_grad {ours.requires_grad}"
        if strides:
            assert ours.stride() == theirs.stride(), f"{what}: strides {ours.stride()} instead of {theirs.stride()}"
        default = TOLERANCE.get(str(theirs.dtype).removeprefix("torch."), (0, 0))
        np.testing.assert_allclose(to_numpy(ours), to_numpy(theirs), rtol=default[0] if rtol is None else rtol,
                                   atol=default[1] if atol is None else atol, equal_nan=True, err_msg=what)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), what
        for a, b in zip(ours, theirs):
            assert_same(a, b, rtol=rtol, atol=atol, strides=strides, what=what)
    elif isinstance(theirs, float):
        assert ours == theirs or abs(ours - theirs) < 1e-6 * max(1, abs(theirs)) or (ours != ours and theirs != theirs), what
    elif theirs is None:
        assert ours is None, what
    elif isinstance(theirs, (pt.dtype, pt.device, pt.Size)):
        assert str(ours) == str(theirs), what
    else:
        assert ours == theirs, what


def both(function, *args, **kwargs):
    """(our result or exception, torch's) of ``function(torch_module, *args)`` with the arguments converted for us."""
    results = []
    for module, convert in ((rl, to_rl), (pt, lambda v: v)):
        try:
            results.append(function(module, *convert(list(args)), **convert(kwargs)))
        except Exception as error:  # noqa: BLE001
            results.append(error)
    return results


def assert_same_behaviour(function, *args, text=False, **kwargs):
    """Both sides give the same result, or raise the same class of error (with the same text if asked)."""
    ours, theirs = both(function, *args, **kwargs)
    if isinstance(theirs, Exception):
        assert isinstance(ours, type(theirs)), f"{ours!r} instead of {theirs!r}"
        if text:
            assert str(theirs).splitlines()[0] in str(ours), f"{ours!r} instead of {theirs!r}"
    else:
        if isinstance(ours, Exception):
            raise AssertionError(f"{ours!r} instead of a result") from ours
        assert_same(ours, theirs)
