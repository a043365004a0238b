"""__torch_function__ on subclasses and tensor-like objects, modes, and torch.overrides; against torch."""

import subprocess
import sys

import pytest
import torch as pt

import rushlight as rl
from rushlight.ops.interception import original_of, python_function

BOTH = pytest.mark.parametrize("t", [rl, pt], ids=["rushlight", "torch"])


def name_of(t, func):
    """The function's name, as both sides call it."""
    return t.overrides.resolve_name(func) or getattr(func, "__name__", str(func))


@BOTH
def test_results_of_a_subclass_are_of_the_subclass(t):
    class MyTensor(t.Tensor):
        pass

    x = t.ones(2, 3).as_subclass(MyTensor)
    assert type(x) is MyTensor
    for r in (x + 1, 1 - x, x * t.ones(3), t.ones(3) * x, -x, x.sum(), x[0], x.t(), x.view(-1), t.exp(x), t.cat([x, x]), t.add(x, x), x @ x.t(),
              t.nn.functional.relu(x), t.nn.functional.linear(x, t.ones(4, 3)), x.clone(), x.to(t.float64), x.detach(), t.zeros_like(x),
              x.max(0).values, x.split(1)[0], t.where(x > 0, x, x), x.data):
        assert type(r) is MyTensor, r
    y = x.clone()
    y += 1
    assert type(y) is MyTensor and y.add_(1) is y and type(y) is MyTensor
    assert type(x.shape) is t.Size and type(x.tolist()) is list and type(x.sum().item()) is float
    assert type(x > 0) is MyTensor and bool((x > 0).all())
    plain = t.ones(2, 3)
    plain.add_(x)
    assert type(plain) is t.Tensor
    assert type(MyTensor([1.0, 2.0])) is MyTensor and type(x.new_zeros(2)) is MyTensor


@BOTH
def test_subclass_with_gradients(t):
    class MyTensor(t.Tensor):
        pass

    x = t.ones(3).as_subclass(MyTensor).requires_grad_()
    y = (x * x).sum()
    assert type(y) is MyTensor and y.requires_grad
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    layer = t.nn.Linear(3, 2)
    assert type(layer(x.detach())) is MyTensor
    assert type(layer.weight * 2) is t.Tensor
    param = t.nn.Parameter(t.ones(3).as_subclass(MyTensor))
    assert isinstance(param, t.nn.Parameter) and isinstance(param, MyTensor) and type(param + 1) is MyTensor


@BOTH
def test_torch_function_sees_calls(t):
    class Logging(t.Tensor):
        calls = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.calls.append((getattr(func, "__name__", None), len(args), sorted(kwargs or {})))
            return super().__torch_function__(func, types, args, kwargs)

    x = t.ones(2, 2).as_subclass(Logging)
    Logging.calls.clear()
    t.exp(x)
    t.add(x, 2, alpha=3)
    x.sum(dim=0)
    t.stack([x, x])
    t.nn.functional.softmax(x, dim=1)
    x + 1
    assert Logging.calls == [("exp", 1, []), ("add", 2, ["alpha"]), ("sum", 1, ["dim"]), ("stack", 1, []), ("softmax", 1, ["_stacklevel", "dim", "dtype"])
                             if t is pt else ("softmax", 1, ["dim"]), ("add", 2, [])][:len(Logging.calls)]
    assert len(Logging.calls) == 6


@BOTH
def test_properties_are_seen(t):
    class Seen(t.Tensor):
        names = []

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            cls.names.append(t.overrides.resolve_name(func))
            return super().__torch_function__(func, types, args, kwargs)

    x = t.ones(2, 2).as_subclass(Seen)
    Seen.names.clear()
    assert tuple(x.shape) == (2, 2) and x.ndim == 2 and type(x.T) is Seen
    assert Seen.names == ["torch.Tensor.shape.__get__", "torch.Tensor.ndim.__get__", "torch.Tensor.T.__get__"]


@BOTH
def test_tensor_like_objects(t):
    handled = {}

    class Diagonal:
        def __init__(self, n, value):
            self.n, self.value = n, value

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func not in handled or not all(issubclass(each, (t.Tensor, cls)) for each in types):
                return NotImplemented
            return handled[func](*args, **(kwargs or {}))

        def tensor(self):
            return self.value * t.eye(self.n)

    def implements(func):
        return lambda function: handled.setdefault(func, function)

    @implements(t.mean)
    def mean(input):
        return input.value / input.n

    @implements(t.add)
    def add(a, b):
        full = [each.tensor() if isinstance(each, Diagonal) else each for each in (a, b)]
        return t.add(*full)

    @implements(t.cat)
    def cat(tensors, dim=0):
        return "cat", dim

    @implements(t.nn.functional.linear)
    def linear(input, weight, bias=None):
        return "linear"

    d = Diagonal(4, 2.0)
    assert t.mean(d) == 0.5
    assert t.add(d, t.ones(4, 4)).sum() == 24 and t.add(t.ones(4, 4), d).sum() == 24
    assert t.cat([t.ones(2), d], dim=1) == ("cat", 1)
    assert t.nn.functional.linear(d, t.ones(4, 4)) == "linear"
    with pytest.raises(TypeError, match="handlers returned NotImplemented"):
        t.exp(d)
    assert t.overrides.is_tensor_like(d) and not t.overrides.is_tensor_like(3) and t.overrides.is_tensor_like(t.ones(1))


@BOTH
def test_first_who_answers(t):
    class A:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return NotImplemented if len(types) > 1 else "A"

    class B(A):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return "B"
    assert t.add(A(), 1) == "A" and t.add(A(), B()) == "B" and t.add(B(), A()) == "B"


@BOTH
def test_modes(t):
    class Names(t.overrides.TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.names = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    outer, inner = Names(), Names()
    x = t.ones(3)
    with outer:
        t.exp(x)
        with inner:
            x.mul(2)
            t.zeros(2)
        t.nn.functional.gelu(x)
    t.sin(x)
    assert outer.names == ["exp", "mul", "zeros", "gelu"] and inner.names == ["mul", "zeros"]
    with t.overrides.BaseTorchFunctionMode():
        assert t.exp(x).shape == (3,)


@BOTH
def test_modes_change_results_and_nest(t):
    class Plus(t.overrides.TorchFunctionMode):
        def __init__(self, n):
            self.n = n

        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            return result + self.n if func is t.sum else result
    with Plus(1), Plus(10):
        assert t.sum(t.ones(2)).item() == 13.0
    with pytest.raises(ZeroDivisionError), Plus(1):
        1 / 0
    assert t.sum(t.ones(2)).item() == 2.0


@BOTH
def test_mode_and_subclass(t):
    order = []

    class Mode(t.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            order.append("mode")
            assert types == (Sub,) or list(types) == [Sub]
            return func(*args, **(kwargs or {}))

    class Sub(t.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            order.append("subclass")
            return super().__torch_function__(func, types, args, kwargs)
    x = t.ones(2).as_subclass(Sub)
    order.clear()
    with Mode():
        assert type(t.exp(x)) is Sub
    assert order == ["mode", "subclass"]
    order.clear()
    with t._C.DisableTorchFunctionSubclass():
        assert type(t.exp(x)) is t.Tensor
    assert order == []


@BOTH
def test_wrap_torch_function(t):
    @t.overrides.wrap_torch_function(lambda a, b=None: (a,))
    def mine(a, b=None):
        return "plain", b

    class Like:
        __torch_function__ = classmethod(lambda cls, func, types, args=(), kwargs=None: (func is mine, args[1:], kwargs))
    assert mine(1, 2) == ("plain", 2)
    assert mine(Like(), b=3) == (True, (), {"b": 3})
    assert t.overrides.has_torch_function((1, Like())) and not t.overrides.has_torch_function((1, t.ones(1)))
    assert t.overrides.has_torch_function_unary(Like()) and t.overrides.has_torch_function_variadic(1, Like())
    assert t.overrides.handle_torch_function(mine, (Like(),), 1, b=2) == (True, (), {"b": 2})


@BOTH
def test_what_can_be_overridden(t):
    functions = t.overrides.get_overridable_functions()
    torch_functions = functions[t]
    assert t.add in torch_functions and t.zeros not in torch_functions
    assert t.zeros in t.overrides.get_ignored_functions() and t.add not in t.overrides.get_ignored_functions()
    for func, name in ((t.add, "torch.add"), (t.nn.functional.conv2d, "torch.nn.functional.conv2d"), (t.linalg.inv, "torch.linalg.inv"),
                       (t.Tensor.new_zeros, "torch.Tensor.new_zeros")):
        resolved = t.overrides.resolve_name(func)
        assert resolved == name or resolved.rpartition(".")[2] == name.rpartition(".")[2]
    assert t.overrides.resolve_name(len) is None
    assert t.overrides.is_tensor_method_or_property(t.Tensor.shape.__get__) and not t.overrides.is_tensor_method_or_property(t.stack)
    assert t.add in t.overrides.get_testing_overrides()


def test_doors_keep_identity_names_and_errors():
    rl.overrides.watch()
    assert rl.exp is rl.Tensor.exp and rl.exp.__name__ == "exp"
    assert original_of(python_function(rl.exp)) is not python_function(rl.exp)
    with pytest.raises(TypeError, match="must be Tensor, not int"):
        rl.exp(3)
    assert rl.sort(rl.tensor([2, 1]), axis=0).values.tolist() == [1, 2]
    with pytest.raises(TypeError):
        rl.sum(rl.ones(2), nothing=1)
    with rl.autocast("cpu", dtype=rl.bfloat16):
        assert (rl.ones(2, 2) @ rl.ones(2, 2)).dtype is rl.bfloat16
    assert (rl.ones(2, 2) @ rl.ones(2, 2)).dtype is rl.float32


def test_default_device_contexts():
    with rl.device("cpu"):
        assert rl.zeros(1).device.type == "cpu"
    rl.set_default_device("cpu")
    try:
        assert rl.get_default_device() == rl.device("cpu")
    finally:
        rl.set_default_device(None)


@BOTH
def test_redispatch(t):
    seen = []

    class Logging(t.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return t.overrides.redispatch_function(func, types, args, kwargs)

    def scaled(a, b):
        if t.overrides.has_torch_function((a, b)):
            return t.overrides.handle_torch_function(scaled, (a, b), a, b)
        return a * b + 1
    x = t.ones(1).as_subclass(Logging)
    seen.clear()
    assert scaled(x, x).tolist() == [2.0]
    assert seen == ["scaled", "mul"]


def test_lists_of_what_is_no_tensor():
    code = """
import rushlight as T


class Like:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__, len(args[0]), args[1:], kwargs


assert T.stack([Like(), Like()], 0)[:2] == ("stack", 2)
assert T.cat([T.ones(2), Like()])[:2] == ("cat", 2)
try:
    T.stack([T.ones(2), 3])
except TypeError as error:
    assert "expected Tensor as element 1 in argument 0" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_those_of_what_is_public_now():
    """A device that starts puts functions of its own in some ops' places; what was asked before does not count then."""
    from tests.support import cuda_standin
    assert rl.overrides.resolve_name(rl.linalg.inv) and rl.overrides.resolve_name(rl.bucketize)
    with cuda_standin.cuda():
        rl.ones(1, device="cuda")
        for function in (rl.linalg.inv, rl.bucketize, rl.add, rl.Tensor.new_zeros, rl.histc):
            assert rl.overrides.resolve_name(function).rpartition(".")[2] == function.__name__
            assert any(function is each for each in rl.overrides.get_testing_overrides())


@pytest.mark.parametrize("form", ["one by one", "list", "sublists"])
def test_einsum_shows_its_operands_one_by_one(form):
    class Asked:
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return func.__name__, args[0], [type(each).__name__ for each in args[1:]]
    found = []
    for T in (pt, rl):
        x = T.ones(2, 2).as_subclass(type("Sub", (T.Tensor,), {"__torch_function__": classmethod(lambda cls, func, types, args=(), kwargs=None: (
            func.__name__, args[0], [isinstance(each, T.Tensor) for each in args[1:]]))}))
        asked = Asked()
        call = {"one by one": ("ij,jk->ik", asked, asked), "list": ("ij,jk->ik", [asked, asked]), "sublists": (x, [0, 1], x, [1, 2], [0, 2])}[form]
        found.append(T.einsum(*call))
    assert found[0] == found[1]
