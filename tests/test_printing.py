"""Printed forms: every text equals PyTorch's."""

import math
import random
import re

import numpy as np
import pytest
import torch as pt

import rushlight as torch
from rushlight import printing
from rushlight.kind import kind_of
from rushlight.tensor import wrap

FLOATS = [pt.float32, pt.float64, pt.float16, pt.bfloat16]
DTYPES = [*FLOATS, pt.int64, pt.uint8, pt.int8, pt.bool, pt.complex64, pt.complex128, pt.uint16]
SHAPES = [(), (1,), (5,), (0,), (3, 4), (0, 3), (2, 3, 4), (1, 1, 1, 1), (2, 2, 2, 9), (30,), (11, 7)]
OPTIONS = [{}, {"precision": 2}, {"sci_mode": True}, {"sci_mode": False}, {"threshold": 4, "edgeitems": 1},
           {"threshold": 10, "edgeitems": 2, "linewidth": 30}, {"profile": "short"}, {"profile": "full"}, {"edgeitems": 0},
           {"edgeitems": 0, "threshold": 2}, {"precision": 0, "linewidth": 0}, {"precision": 8, "linewidth": 200}]


def ours(x):
    """The rushlight tensor with the values of a PyTorch tensor."""
    array = x.detach().resolve_conj()
    if x.dtype is pt.bfloat16:
        import ml_dtypes
        array = array.contiguous().view(pt.int16).numpy().view(ml_dtypes.bfloat16)
    else:
        array = array.numpy()
    made = wrap(array, kind_of(getattr(torch, str(x.dtype)[6:])))
    return made.requires_grad_() if x.requires_grad and x.is_leaf else made


@pytest.fixture(autouse=True)
def default_options():
    yield
    pt.set_printoptions(profile="default")
    printing.set_printoptions(profile="default")


def values(shape, dtype, scale):
    x = pt.randn(shape, dtype=pt.float64)
    if scale == "mixed":
        x = x * 10.0 ** pt.randint(-12, 12, shape)
        if dtype.is_floating_point or dtype.is_complex:
            x[pt.rand(shape) < .2] = math.nan
            x[pt.rand(shape) < .2] = -math.inf
        x[pt.rand(shape) < .1] = -0.0
    elif scale == "whole":
        x = (x * random.choice([1, 3, 100, 1e4, 1e9])).round()
    else:
        x = x * scale
    if dtype.is_complex:
        x = pt.complex(x, x.roll(1, 0) if x.ndim else -x * 100)
    elif not dtype.is_floating_point:
        x = x.clamp(-2. ** 40, 2. ** 40)
    return x.to(dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_all_dtypes_shapes_and_scales(options):
    pt.manual_seed(len(str(options)))
    random.seed(0)
    pt.set_printoptions(**options)
    printing.set_printoptions(**options)
    for dtype in DTYPES:
        for shape in SHAPES:
            for scale in (1, 1e-6, 1e5, 1e9, "mixed", "whole"):
                x = values(shape, dtype, scale)
                if dtype in FLOATS and random.random() < .2:
                    x.requires_grad_()
                assert repr(ours(x)) == repr(x), (options, dtype, shape, scale)


@pytest.mark.parametrize("shape", [(1001,), (40, 40), (3, 400), (2, 3, 500), (10, 10, 11), (1, 2000), (1000,)])
def test_summaries(shape):
    for x in (pt.randn(shape), pt.arange(math.prod(shape)).view(shape), pt.randn(shape) > 0, pt.randn(shape) * 1j,
              (pt.randn(shape) * 1000).round(), pt.randn(shape).requires_grad_(), pt.randn(shape, dtype=pt.float64).t() if len(shape) < 3 else
              pt.randn(shape).transpose(0, 2)):
        assert repr(ours(x)) == str(x)
    # The values in the part that isn't shown have no say.
    x = pt.ones(2000)
    x[1000] = 1e-20
    assert repr(ours(x)) == repr(x)


@pytest.mark.parametrize("x", [
    [], [[]], 0., -0., 1e-8, 1e10, math.nan, [math.nan, 0.], [math.inf, -1.5], [1e8, 1.], [99999999., 1.], [1e-4, 1], [9.9e-5, 1], [1e-5],
    [1., 1000.], [1., 1001.], [.5, 500.], [.5, 501.], 1e-300, [1e-45], [True, False], [True], 7, [5, -30], [2 ** 63 - 1, -5], 1j,
    [complex(0, -0.0), 1j], [1e-7j, 3e9], [1 + 2j, complex(math.nan, math.nan)], [complex(math.inf, -math.inf), 1.5]], ids=str)
def test_single_values(x):
    assert repr(ours(pt.tensor(x))) == repr(pt.tensor(x))
    if isinstance(x, list):
        assert repr(ours(pt.tensor(x, dtype=pt.complex128))) == repr(pt.tensor(x, dtype=pt.complex128))


def test_default_dtype_goes_without_saying():
    made = [pt.ones(2, dtype=dtype) for dtype in DTYPES] + [pt.zeros(0, dtype=dtype) for dtype in DTYPES]
    for default in ("float64", "float16", "bfloat16", "float32"):
        pt.set_default_dtype(getattr(pt, default))
        torch.set_default_dtype(getattr(torch, default))
        try:
            for x in made:
                assert repr(ours(x)) == repr(x)
        finally:
            pt.set_default_dtype(pt.float32)
            torch.set_default_dtype(torch.float32)


class Ours(torch.Tensor):
    pass


class Theirs(pt.Tensor):
    pass


def test_subclasses_and_parameters():
    from rushlight.nn.parameter import Parameter
    x = pt.randn(3, 4)
    assert repr(ours(x).as_subclass(Ours)) == repr(x.as_subclass(Theirs)).replace("Theirs", "Ours").replace("\n  ", "\n")
    assert repr(Parameter(ours(x))) == repr(pt.nn.Parameter(x))
    assert repr(Parameter(ours(x), requires_grad=False)) == repr(pt.nn.Parameter(x, requires_grad=False))
    assert repr([Parameter(ours(x))]) == repr([pt.nn.Parameter(x)])
    assert ours(x).__repr__(tensor_contents="abc") == "tensor(abc)"


def test_grad_fn():
    x = pt.randn(6, requires_grad=True)
    y = ours(x)
    assert repr(y * 2) == repr(x * 2) and repr(y.exp()) == repr(x.exp()) and repr((y + y).detach()) == repr((x + x).detach())
    wide = pt.randn(8, requires_grad=True)
    assert repr(ours(wide) * 2) == repr(wide * 2)


def test_where_the_line_breaks():
    for n in range(1, 40):
        for x in (pt.randn(n).double().requires_grad_(), pt.zeros(n, 0, dtype=pt.int16), pt.randn(2, n).half()):
            assert repr(ours(x)) == repr(x)


@pytest.mark.parametrize("spec", ["", ".2f", "10.3e", "5", ">12"])
def test_format(spec):
    for x in (pt.tensor(1.5), pt.tensor(1.5, requires_grad=True), pt.tensor(7)):
        if spec != ".2f" or x.dtype.is_floating_point:
            assert format(ours(x), spec) == format(x, spec)
    for x in (pt.ones(2), pt.ones(1)):
        if spec:
            with pytest.raises(TypeError, match=r"unsupported format string passed to Tensor.__format__"):
                format(ours(x), spec)
        else:
            assert format(ours(x), spec) == format(x, spec) and f"{ours(x)}" == f"{x}"


def test_options():
    from torch import _tensor_str
    for options in OPTIONS:
        pt.set_printoptions(**options)
        printing.set_printoptions(**options)
        assert printing.get_printoptions() == _tensor_str.get_printoptions()
    printing.set_printoptions(profile="default")
    with printing.printoptions(precision=1, sci_mode=True):
        assert repr(ours(pt.tensor([1.25]))) == "tensor([1.2e+00])"
    assert repr(ours(pt.tensor([1.25]))) == "tensor([1.2500])"
    with pytest.raises(ZeroDivisionError), printing.printoptions(edgeitems=9):
        raise ZeroDivisionError
    assert printing.get_printoptions()["edgeitems"] == 3


@pytest.mark.parametrize("options, error", [({"precision": "a"}, TypeError), ({"precision": 2.5}, TypeError), ({"edgeitems": -1}, ValueError),
                                            ({"profile": "nope"}, ValueError), ({"linewidth": "wide"}, TypeError), ({"threshold": True}, TypeError)])
def test_bad_options_change_nothing(options, error):
    before = printing.get_printoptions()
    with pytest.raises(error, match=re.escape(next(iter(options)))):
        printing.set_printoptions(**{"linewidth": 70, **options})
    assert printing.get_printoptions() == before


def test_not_contiguous():
    x = pt.randn(4, 6)
    for view in (lambda t: t.T, lambda t: t[::2, 1::3], lambda t: t[:0]):
        assert repr(wrap(view(x.numpy()), kind_of(torch.float32))) == repr(view(x))
    assert repr(wrap(np.broadcast_to(np.float32(2), (2, 3)), kind_of(torch.float32))) == repr(pt.full((2, 3), 2.))
