"""Every function that takes tensors, with 33 and with 64 dimensions (NumPy's limit): PyTorch's values, and no memory but its own."""

import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels.native import library
from rushlight.ops.registry import FUNCTIONS

DRAWN = ("rand", "random", "normal", "uniform", "bernoulli", "dropout", "exponential", "cauchy", "geometric", "poisson", "multinomial", "rrelu", "gamma",
         "dirichlet", "new", "binomial", "gumbel", "empty", "hash_tensor")
ALIASED = ("masked_scatter_", "apply_", "map_", "set_", "from_file", "resize_")      # reads what it has just written, or is called otherwise
NAMES = sorted(name for name in set(FUNCTIONS) | {n for n in dir(rl.Tensor) if not n.startswith("_")}
               if name not in ALIASED and not any(each in name for each in DRAWN) and callable(getattr(pt, name, None) or getattr(pt.Tensor, name, None)))
ARGUMENTS = {"x": lambda x, i: (x,), "x, x": lambda x, i: (x, x), "x, -1": lambda x, i: (x, -1), "x, 0": lambda x, i: (x, 0), "x, 2": lambda x, i: (x, 2),
             "[x, x], -1": lambda x, i: ([x, x], -1), "x, mask": lambda x, i: (x, x > 1), "mask, x, x": lambda x, i: (x > 1, x, x),
             "x, x, x": lambda x, i: (x, x, x), "x, 1, -1": lambda x, i: (x, 1, -1), "x, -1, i": lambda x, i: (x, -1, i), "x, -1, i, x": lambda x, i: (x, -1, i, x)}


def called(library, name, arguments, ndim, dtype):
    """The result of the call, as NumPy arrays; None where it raises or gives no tensors."""
    x = library.tensor(np.arange(1, 4).reshape((1,) * (ndim - 1) + (3,)).astype(dtype))
    function = getattr(library, name, None) or getattr(library.Tensor, name)
    try:
        result = function(*ARGUMENTS[arguments](x, library.zeros(x.shape, dtype=library.int64)))
    except Exception as error:
        return error
    outs = result if isinstance(result, (tuple, list)) else [result]
    if not outs or not all(isinstance(each, library.Tensor) and each.layout == library.strided and each.ndim <= 64 for each in outs):
        return None
    return [each.detach().resolve_conj().resolve_neg().to(library.complex128).numpy() for each in outs]


@pytest.mark.parametrize("dtype", ["float32", "int64"])
@pytest.mark.parametrize("ndim", [33, 64])
def test_values(ndim, dtype):
    compared = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in NAMES:
            for arguments in ARGUMENTS:
                theirs, ours = called(pt, name, arguments, ndim, dtype), called(rl, name, arguments, ndim, dtype)
                if isinstance(theirs, list) and isinstance(ours, list):
                    compared += 1
                    for a, b in zip(ours, theirs, strict=True):
                        np.testing.assert_allclose(a, b, rtol=1e-4, err_msg=f"{name}({arguments})")
                # without the library NumPy's own sorting is left, which stops at 32 dimensions
                assert library is None or not (isinstance(theirs, list) and "up to 32 dimensions" in str(ours)), f"{name}({arguments}): {ours}"
    assert compared > 600


@pytest.mark.parametrize("code", ["x.double()", "x.half()", "x.sort(-1)[1]", "x.median()", "x.kthvalue(2, -1)[0]", "x.mode(-1)[1]", "x.topk(2)[1]", "x.clone()",
                                  "library.cat([x, x], 0)", "x.expand(*x.shape[:-2], 4, 3).clone()"])
def test_values_of_39_dimensions(code):
    if library is None and any(each in code for each in ("sort", "kthvalue", "topk")):
        pytest.skip("NumPy's own sorting of indices stops at 32 dimensions")
    ours, theirs = (eval(code, {"library": side, "x": side.full((1,) * 39 + (3,), 2.0)}) for side in (rl, pt))
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
