"""What beginners get wrong: both sides raise the same class of error, and mostly say the same.

`mistakes.txt` holds one expression per line; the functions that some of them call are made here for each side.
"""

import io
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch as pt

from tests.support.common import rl

MISTAKES = Path(__file__).with_name("mistakes.txt").read_text().splitlines()
# Where we mean to differ, and why.
OTHERWISE = {
    'torch.load(io.BytesIO(b"abc"))': "a clear error instead of an IndexError from inside",
    "torch.randn(2).to(3.5)": "an error instead of a float64 tensor",
    "F.mse_loss(torch.randn(3),None)": "a TypeError instead of an AttributeError from inside",
    "F.unfold(torch.randn(4,4),2)": "the error of the wrong shape instead of an IndexError from inside",
    'torch.set_printoptions(profile="foo")': "an error instead of nothing",
}
SAME_CLASS = {"_LinAlgError": "LinAlgError"}


def helpers(torch):
    """The functions that the expressions call."""

    def setitem(t, i, v):
        t[i] = v

    def twice():
        x = torch.randn(2, requires_grad=True)
        y = (x * x).sum()
        y.backward()
        y.backward()

    def inplace_leaf():
        x = torch.randn(2, requires_grad=True)
        x += 1

    def inplace_saved():
        x = torch.randn(2, requires_grad=True)
        y = x * 2
        z = y * y
        y += 1
        z.sum().backward()

    def inplace_saved_sigmoid():
        x = torch.randn(2, requires_grad=True)
        y = x.sigmoid()
        y.mul_(2)
        y.sum().backward()

    def inplace_view_leaf():
        x = torch.randn(2, requires_grad=True)
        x[0] = 1

    def grad_unused():
        x = torch.randn(2, requires_grad=True)
        y = torch.randn(2, requires_grad=True)
        torch.autograd.grad(x.sum(), y)

    def grad_nograd():
        x = torch.randn(2, requires_grad=True)
        y = torch.randn(2)
        torch.autograd.grad(x.sum(), y)

    def leaf_requires_grad():
        y = torch.randn(2, requires_grad=True) * 2
        y.requires_grad = False

    def set_grad_wrong():
        x = torch.randn(2, requires_grad=True)
        x.grad = torch.randn(3)

    def set_grad_type():
        x = torch.randn(2, requires_grad=True)
        x.grad = 3

    def no_grad_view():
        x = torch.randn(2, requires_grad=True)
        with torch.no_grad():
            v = x[:1]
        v += 1

    def detach_view():
        x = torch.randn(2, requires_grad=True)
        (x * 2)[:1].detach_()

    def backward_nograd():
        x = torch.randn(2, requires_grad=True)
        with torch.no_grad():
            y = (x * 2).sum()
        y.backward()

    def hook_wrong():
        x = torch.randn(2, requires_grad=True)
        x.register_hook(lambda g: torch.ones(3))
        x.sum().backward()

    def retain_nograd():
        torch.randn(2).retain_grad()

    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g, g

    class Bad2(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return torch.ones(5)

    class Bad3(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    def custom_wrong_count():
        Bad.apply(torch.randn(2, requires_grad=True)).sum().backward()

    def custom_wrong_shape():
        Bad2.apply(torch.randn(2, requires_grad=True)).sum().backward()

    def custom_no_backward():
        Bad3.apply(torch.randn(2, requires_grad=True)).sum().backward()

    def custom_call():
        Bad()(torch.randn(2))

    def mod_state_missing():
        torch.nn.Linear(2, 3).load_state_dict({"weight": torch.ones(3, 2)})

    def mod_state_unexpected():
        torch.nn.Linear(2, 3).load_state_dict({**torch.nn.Linear(2, 3).state_dict(), "x": torch.ones(1)})

    def mod_state_shape():
        torch.nn.Sequential(torch.nn.Linear(2, 3)).load_state_dict(torch.nn.Sequential(torch.nn.Linear(3, 3)).state_dict())

    def mod_state_type():
        torch.nn.Linear(2, 3).load_state_dict([1])

    def mod_attr():
        m = torch.nn.Linear(2, 3)
        m.weight = torch.ones(3, 2)

    class NoInit(torch.nn.Module):
        def __init__(self):
            self.l = torch.nn.Linear(1, 1)

    class NoInit2(torch.nn.Module):
        def __init__(self):
            self.p = torch.nn.Parameter(torch.ones(1))

    def mod_before_init():
        NoInit()

    def mod_param_type():
        NoInit2()

    def mod_param_name():
        m = torch.nn.Module()
        m.register_parameter("", torch.nn.Parameter(torch.ones(1)))

    def mod_register_dup():
        m = torch.nn.Linear(1, 1)
        m.register_parameter("bias_", torch.ones(1))

    def mod_add_bad():
        torch.nn.Module().add_module("x", 3)

    def mod_to_int():
        torch.nn.Linear(1, 1).to(torch.int32)

    class Two(torch.nn.Module):
        def forward(self, a, b):
            return a

    def mod_forward_args():
        Two()(torch.ones(1))

    def mod_getitem():
        torch.nn.Sequential(torch.nn.Linear(1, 1))[3]

    def opt_state_mismatch():
        torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1).load_state_dict(
            torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1).state_dict()
        )

    def opt_same_param():
        p = torch.ones(1, requires_grad=True)
        o = torch.optim.SGD([p], lr=0.1)
        o.add_param_group({"params": [p]})

    return {k: v for k, v in locals().items() if k != "torch"}


def names(torch):
    return {
        "torch": torch,
        "nn": torch.nn,
        "F": torch.nn.functional,
        "optim": torch.optim,
        "data": torch.utils.data,
        "np": np,
        "io": io,
        **helpers(torch),
    }


NAMES = {"rl": names(rl), "pt": names(pt)}


def outcome(side, expression):
    """(class names of the error, its text) or (None, result)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return None, eval(expression, dict(NAMES[side]))
        except Exception as error:  # noqa: BLE001
            return [c.__name__ for c in type(error).__mro__], str(error)


@pytest.mark.parametrize("expression", [each for each in MISTAKES if each not in OTHERWISE])
def test_class(expression):
    (theirs, text), (ours, our_text) = outcome("pt", expression), outcome("rl", expression)
    if theirs is None:
        assert ours is None, f"{ours[0]}: {our_text}"
        return
    assert ours is not None, f"{our_text!r} instead of {theirs[0]}: {text}"
    assert SAME_CLASS.get(theirs[0], theirs[0]) in ours, f"{ours[0]}: {our_text}\ninstead of {theirs[0]}: {text}"
    assert our_text or not text


def first_line(text):
    return re.sub(r"0x[0-9a-f]+|\s+", " ", str(text).split("\n")[0]).strip()


def test_text():
    """Most first lines are word for word PyTorch's; the rest say the same in other words."""
    pairs = [(outcome("pt", each), outcome("rl", each)) for each in MISTAKES]
    errors = [(theirs[1], ours[1]) for theirs, ours in pairs if theirs[0] is not None]
    same = sum(first_line(theirs) in re.sub(r"\s+", " ", str(ours)) for theirs, ours in errors)
    assert same / len(errors) > 0.85, f"{same} of {len(errors)}"


def test_numbers_that_do_not_fit():
    """Creation refuses what a dtype can't hold, and cuts fractions off."""
    for expression in (
        "tensor(2**63)",
        "tensor([2**70])",
        "tensor(300, dtype=torch.uint8)",
        "tensor([-200], dtype=torch.int8)",
        "tensor(float('nan'), dtype=torch.int64)",
        "tensor(float('inf'), dtype=torch.int32)",
        "tensor([1 + 2j], dtype=torch.float32)",
        "tensor(1 + 2j, dtype=torch.int64)",
        "tensor(['a'])",
        "tensor([[1], ['a']])",
    ):
        theirs, ours = outcome("pt", "torch." + expression), outcome("rl", "torch." + expression)
        assert theirs[0] is not None and theirs[0][0] in ours[0], (expression, ours)
    for expression in (
        "tensor(-1, dtype=torch.uint8)",
        "tensor([1.9, -1.9], dtype=torch.int64)",
        "tensor(255, dtype=torch.uint8)",
        "tensor(-128, dtype=torch.int8)",
        "tensor(2**63 - 1)",
        "tensor([True, False], dtype=torch.int8)",
    ):
        assert outcome("pt", f"torch.{expression}.tolist()") == outcome("rl", f"torch.{expression}.tolist()")


class Operand:
    """Something that knows what to do beside a tensor."""

    def __radd__(self, other):
        return "radd"

    __rsub__ = __rmul__ = __rtruediv__ = __rmatmul__ = __rpow__ = __rfloordiv__ = __rmod__ = __rand__ = __radd__

    def __lt__(self, other):
        return "lt"

    def __gt__(self, other):
        return "gt"


@pytest.mark.parametrize(
    "operator",
    [
        "t + r",
        "t - r",
        "t * r",
        "t / r",
        "t @ r",
        "t ** r",
        "t // r",
        "t % r",
        "t < r",
        "t > r",
        "(t > 0) & r",
        "t == r",
        "t != None",
        "t == 'a'",
        "t + None",
        "'a' + t",
        "None - t",
        "t / 'a'",
        "t @ None",
        "2 @ t",
        "t < None",
        "t ** None",
        "t + [1, 2]",
        "[1, 2] + t",
        "~t",
        "t + n",
        "t * n",
        "n - t",
        "t / n",
        "t == n",
        "np.float32(2) * t",
        "np.sqrt(t)",
        "np.maximum(t, 0)",
        "np.int64(2) - t",
    ],
)
def test_operators_with_other_things(operator):
    results = []
    for torch in (rl, pt):
        try:
            value = eval(operator, {"t": torch.ones(2), "r": Operand(), "n": np.ones(2), "np": np})
            results.append((type(value).__name__, str(value)))
        except TypeError as error:
            results.append(str(error).split("; you may")[0])
    assert results[0] == results[1]


@pytest.mark.parametrize("bad", [[1.0, 2.0], "x", 3, {}], ids=str)
def test_arguments_that_are_no_tensors(bad):
    """A TypeError that says what is wrong, never one about our insides."""
    leaks = []
    for module, skip in ((rl, {"compile", "load", "save", "seed", "manual_seed", "set_default_device", "from_file", "unravel_index"}),
                         (rl.nn.functional, set()), (rl.linalg, set()), (rl.special, set())):
        for name in dir(module):
            function = getattr(module, name, None)
            if name.startswith(("_", "set_", "import_")) or name in skip or isinstance(function, type) or not callable(function):
                continue
            for args in ((bad,), (bad, rl.ones(2, 3)), (bad, bad)):
                try:
                    function(*args)
                except AttributeError as error:
                    if error.name in ("_a", "_kind", "_node", "_ver"):
                        leaks.append(f"{name}{args}: {error}")
                except Exception:  # noqa: BLE001, S110
                    pass
    assert not leaks
