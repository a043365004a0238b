"""Differential tests generated from the definitions of unary and binary ops: values, dtypes, gradients, second gradients, in-place, out=."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.ops.registry import OPS
from tests.support.common import PT_DTYPES, assert_same, both, to_rl

UNARY = sorted(name for name, op in OPS.items() if op.form == "unary" and hasattr(pt, name))
BINARY = sorted(name for name, op in OPS.items() if op.form == "binary" and hasattr(pt, name) and not name.startswith("_"))


def sample(name, shape, dtype, seed=0, grad=False):
    """Values inside the op's domain."""
    low, high = OPS[name].domain
    rng = np.random.default_rng(seed)
    d = PT_DTYPES[dtype]
    if dtype == "bool":
        t = pt.tensor(rng.integers(0, 2, shape).astype(bool))
    elif "int" in dtype:
        t = pt.tensor(rng.integers(1 if low > 0 else (0 if dtype == "uint8" else -4), 5, shape)).to(d)
    elif "complex" in dtype:
        t = pt.tensor(rng.uniform(low, high, shape) + 1j * rng.uniform(-2, 2, shape)).to(d)
    else:
        t = pt.tensor(rng.uniform(low, high, shape)).to(d)
    return t.requires_grad_() if grad else t


def compare(function, *args, **tolerance):
    ours, theirs = both(function, *args)
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"{theirs!r} expected, got {ours}"
        assert isinstance(ours, type(theirs)) or isinstance(ours, NotImplementedError), f"{ours!r} instead of {theirs!r}"
        return False
    if isinstance(ours, NotImplementedError) and "complex" in str(ours).lower():
        return False
    if isinstance(ours, Exception):
        raise AssertionError(f"{ours!r} instead of a result") from ours
    assert_same(ours, theirs, **tolerance)
    return True


@pytest.mark.parametrize("dtype", PT_DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, dtype):
    for shape in ((), (0,), (5,), (3, 4)):
        compare(lambda m, x: getattr(m, name)(x), sample(name, shape, dtype))
    x = sample(name, (4, 3), dtype).t()
    compare(lambda m, x: getattr(m, name)(x), x)
    compare(lambda m, x: getattr(m, name)(x[::2]), x)
    if hasattr(pt.Tensor, name):
        compare(lambda m, x: getattr(x, name)(), x)
    if OPS[name].inplace and hasattr(pt.Tensor, name + "_"):
        compare(lambda m, x: getattr(x.clone(), name + "_")(), x)
        compare(lambda m, x: getattr(x.clone()[1:], name + "_")(), x)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
@pytest.mark.parametrize("name", [n for n in UNARY if OPS[n].differentiable])
def test_unary_gradients(name, dtype):
    def first(m, x):
        y = getattr(m, name)(x)
        return m.autograd.grad(y, x, m.ones_like(y))

    def second(m, x):
        y = getattr(m, name)(x)
        g, = m.autograd.grad(y, x, m.ones_like(y), create_graph=True)
        if not g.requires_grad:
            return None
        return m.autograd.grad(g, x, m.ones_like(g), allow_unused=True)

    tolerance = {"rtol": 2e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-7, "atol": 1e-8}
    for shape in ((), (4, 3), (0, 2)):
        x = sample(name, shape, dtype, seed=1, grad=True)
        compare(first, x, **tolerance)
    if name in ("floor", "ceil", "trunc", "sign", "frac", "deg2rad", "rad2deg", "neg", "relu"):
        return  # the second gradient is zero, or None, on both sides
    compare(second, sample(name, (3, 2), dtype, seed=2, grad=True), **tolerance)


@pytest.mark.parametrize("dtype", PT_DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, dtype):
    for a_shape, b_shape in (((), ()), ((3, 4), (3, 4)), ((3, 1), (4,)), ((0, 3), (3,)), ((2, 3), ()), ((3,), (4,))):
        a, b = sample(name, a_shape, dtype, 1), sample(name, b_shape, dtype, 2)
        compare(lambda m, a, b: getattr(m, name)(a, b), a, b)
    a, b = sample(name, (4, 3), dtype, 3).t(), sample(name, (3, 4), dtype, 4)
    compare(lambda m, a, b: getattr(m, name)(a, b), a, b)
    for number in (2, 2.5, True):
        if name in ("maximum", "minimum", "fmax", "fmin", "atan2", "hypot", "nextafter", "heaviside", "logaddexp", "logaddexp2", "gcd", "lcm",
                    "logical_and", "logical_or", "logical_xor"):
            continue
        compare(lambda m, a, n: getattr(m, name)(a, n), a, number)
    if OPS[name].inplace and hasattr(pt.Tensor, name + "_"):
        compare(lambda m, a, b: getattr(a.clone(), name + "_")(b), a, b)
        compare(lambda m, a, b: getattr(a.clone(), name + "_")(b[:1]), a, b)
        compare(lambda m, a, b: getattr(a.clone()[:1], name + "_")(b), a, b)


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("int64", "float32"), ("bool", "int32"), ("uint8", "int8"), ("float16", "bfloat16"),
                                    ("float32", "complex64"), ("int32", "float16"), ("bool", "float64")])
@pytest.mark.parametrize("name", BINARY)
def test_promotion(name, dtypes):
    for a_shape, b_shape in (((3,), (3,)), ((3,), ()), ((), (3,)), ((), ())):
        for x, y in (dtypes, dtypes[::-1]):
            a, b = sample(name, a_shape, x, 1), sample(name, b_shape, y, 2)
            compare(lambda m, a, b: getattr(m, name)(a, b), a, b)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", [n for n in BINARY if OPS[n].differentiable])
def test_binary_gradients(name, dtype):
    def first(m, a, b):
        y = getattr(m, name)(a, b)
        wanted = [t for t in (a, b) if t.requires_grad]
        return m.autograd.grad(y, wanted, m.ones_like(y), allow_unused=True)

    def second(m, a, b):
        y = getattr(m, name)(a, b)
        gs = m.autograd.grad(y, (a, b), m.ones_like(y), create_graph=True)
        total = sum((g * g.detach()).sum() for g in gs)
        if not total.requires_grad:
            return None
        return m.autograd.grad(total, (a, b), m.ones_like(total), allow_unused=True, materialize_grads=True)

    for a_shape, b_shape in (((), ()), ((3, 4), (3, 4)), ((3, 1), (4,)), ((2, 3), ())):
        for which in ((True, True), (True, False), (False, True)):
            a, b = sample(name, a_shape, dtype, 1, grad=which[0]), sample(name, b_shape, dtype, 2, grad=which[1])
            compare(first, a, b)
    if name not in ("fmod", "remainder"):
        compare(second, sample(name, (3, 2), dtype, 5, grad=True), sample(name, (2,), dtype, 6, grad=True), rtol=1e-7)


@pytest.mark.parametrize("name", UNARY)
def test_wrong_type(name):
    with pytest.raises(TypeError) as ours:
        getattr(rl, name)(0)
    with pytest.raises(TypeError) as theirs:
        getattr(pt, name)(0)
    assert str(ours.value) == str(theirs.value).splitlines()[0]


@pytest.mark.parametrize("name", ["exp", "abs", "add", "mul", "eq"])
def test_out(name):
    binary = name in BINARY or name == "add"
    args = [sample("exp", (3, 2), "float32", i) for i in range(2 if binary else 1)]
    compare(lambda m, *a: getattr(m, name)(*a, out=m.empty(3, 2)), *args)
    compare(lambda m, *a: getattr(m, name)(*a, out=m.empty(0)), *args)
    if name != "eq":
        compare(lambda m, *a: getattr(m, name)(*a, out=m.empty(3, 2, dtype=m.int64)), *args)
    compare(lambda m, *a: getattr(m, name)(*[t.clone().requires_grad_() for t in a], out=m.empty(3, 2)), *args)


OPERATORS = ["x + y", "x - y", "x * y", "x / y", "x // y", "x % y", "x ** y", "2 + x", "2 - x", "2 * x", "2 / x", "2 // x", "2 % x", "2.5 - x",
             "2 ** x", "-x", "abs(x)", "x == y", "x != y", "x < y", "x >= 2", "1 <= x", "x & y", "x | y", "x ^ y", "~x", "x << y", "x >> 1",
             "x + None", "x == None", "x + 'a'", "x < 'a'", "x ** 2", "x ** -1", "x ** 0.5", "x ** 3", "True + x", "1j * x", "x @ 3"]


@pytest.mark.parametrize("dtype", PT_DTYPES)
@pytest.mark.parametrize("expression", OPERATORS)
def test_operators(expression, dtype):
    if "1j" in expression and dtype == "float16":
        pytest.skip("complex32 is not supported")
    x, y = sample("log", (4,), dtype, 1), sample("log", (4,), dtype, 2)
    compare(lambda m, x, y: eval(expression), x, y)


def test_converted_inputs_are_copies():
    x = pt.arange(6.0).view(2, 3).t()
    assert to_rl(x).stride() == x.stride()


@pytest.mark.parametrize("mode", [None, "trunc", "floor"])
@pytest.mark.parametrize("operands", [(7, 2), (-7, 2), (7, 2.0), (7, [-2]), ("a", 2), ([4.0], "a")])
def test_division_of_what_is_no_tensor(operands, mode):
    """Numbers on both sides, as Longformer divides sizes, with every way of rounding; the errors name div."""
    def quotient(T):
        return T.div(*(T.tensor(each) if each.__class__ is list else each for each in operands), rounding_mode=mode)
    if "a" in operands:
        with pytest.raises(TypeError):
            quotient(pt)
        with pytest.raises(TypeError, match=r"^div\(\)"):
            quotient(rl)
    else:
        assert_same(quotient(rl), quotient(pt))


def test_division_hands_the_rounding_on():
    class Asked:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func.__name__, args[1], kwargs
    for T in (pt, rl):
        assert T.div(Asked(), 2, rounding_mode="trunc") == ("div", 2, {"rounding_mode": "trunc"})
    assert_same(rl.div(rl.eye(2).to_sparse() * 5, 2, rounding_mode="trunc").to_dense(), pt.eye(2) * 2)


@pytest.mark.parametrize("first", ["uint8", "int8", "int16", "int64", "float16", "float64"])
@pytest.mark.parametrize("second", ["uint8", "int8", "int32", "bool", "float32"])
def test_multiples_of_another_dtype_are_taken_in_the_result_s(first, second):
    """alpha * other in uint8 wraps around; int16 has room for it."""
    def calls(m):
        a, b = m.tensor([100, 7, 120]).to(getattr(m, first)), m.tensor([120, 3, 7]).to(getattr(m, second))
        found = [m.add(a, b, alpha=3), a.add(b, alpha=3), m.addcmul(a, b, b), m.addcmul(b, b, a, value=2), m.add(a, b[0], alpha=3)]
        if second != "bool":
            found += [m.sub(a, b, alpha=3), m.rsub(a, b, alpha=3), m.rsub(a, b, alpha=1)]
        if m.can_cast(m.result_type(a, b), a.dtype):
            found.append(a.clone().add_(b, alpha=3))
        return [(str(each.dtype), each.tolist()) for each in found]
    assert calls(rl) == calls(pt)


IN_PLACE = [lambda m, x: x.relu_(), lambda m, x: m.relu_(x), lambda m, x: x.floor_(), lambda m, x: x.deg2rad_(), lambda m, x: x.erfinv_(),
            lambda m, x: m.nn.functional.elu_(x), lambda m, x: m.nn.functional.hardtanh_(x), lambda m, x: m.threshold_(x, 0.1, 2.0),
            lambda m, x: m.nn.functional.leaky_relu_(x), lambda m, x: m.selu_(x), lambda m, x: m.celu_(x), lambda m, x: x.le_(0.2),
            lambda m, x: m.nn.functional.silu(x, inplace=True), lambda m, x: m.nn.functional.hardswish(x, inplace=True),
            lambda m, x: x.nan_to_num_(), lambda m, x: x.clamp_min_(0.3), lambda m, x: x.lerp_(x * 2, 0.3), lambda m, x: x.addcmul_(x, x)]


@pytest.mark.parametrize("change", IN_PLACE)
def test_in_place_on_each_sample_and_without_dimensions(change):
    """Arrays that are no NumPy arrays, and NumPy's scalars, can be what a kernel writes to."""
    x = pt.linspace(-0.9, 0.9, 12).reshape(3, 4)
    assert_same(rl.vmap(lambda row: change(rl, row.clone()))(to_rl(x)), pt.vmap(lambda row: change(pt, row.clone()))(x))
    for dtype in (pt.float32, pt.float64, pt.float16, pt.bfloat16):
        for value in (x, x[1], x[2, 3]):
            ours = to_rl(value.to(dtype).clone())
            assert change(rl, ours) is ours
            assert_same(ours, change(pt, value.to(dtype).clone()), rtol=1e-5 if dtype.itemsize > 2 else 1e-2)


@pytest.mark.parametrize("suffix", ["", "_"])
@pytest.mark.parametrize("name", ["addcmul", "addcdiv", "lerp"])
def test_operands_that_do_not_fit(name, suffix):
    for m in (pt, rl):
        fits, large = m.ones(3, 4), m.ones(4, 7)
        for operands in ((large, fits), (fits, large), (large, large)):
            with pytest.raises(RuntimeError):
                getattr(m.ones(3, 4), name + suffix)(*operands)
        for operands in ((2.0, fits), (2.0, 0.5), *(() if name == "lerp" else ((fits, 2.0),))):
            with pytest.raises(TypeError):
                getattr(m.ones(3, 4), name + suffix)(*operands)


@pytest.mark.parametrize("name", ["addcmul_", "addcdiv_"])
def test_products_in_place_know_their_operands_by_name(name):
    for m in (pt, rl):
        x = m.full((3,), 2.0)
        assert getattr(x, name)(tensor1=m.full((3,), 6.0), tensor2=m.full((3,), 2.0), value=0.5).tolist() == [8.0 if name == "addcmul_" else 3.5] * 3


@pytest.mark.parametrize("change", [lambda x: x.floor(), lambda x: x.trunc_(), lambda x: x.sign(), lambda x: x.clamp(x.detach() * 0 + 0.5, x.detach() * 0 + 1),
                                    lambda x: x.clamp_min(x.detach() + 1)])
@pytest.mark.parametrize("n", [1, 40])
def test_where_there_is_no_slope_no_gradient_counts(change, n):
    def call(m, x):
        y = change(x.clone())
        return m.autograd.grad(y, x, m.tensor([[float("nan")], [float("inf")], [-1.0]], dtype=x.dtype).expand(3, n))
    for dtype in (pt.float32, pt.float64):
        x = pt.full((3, n), 2.25, dtype=dtype, requires_grad=True)
        assert_same(call(rl, to_rl(x))[0], call(pt, x)[0])
