"""Which values gradients are computed from when a tensor's memory is exchanged (``t.data = ...``, swap_tensors); hooks of one tensor share its gradient."""

import pytest
import torch as pt

import rushlight as rl
from tests.support.two_sides import assert_same_outcome


def exchanged(forward):
    def case(torch):
        torch.manual_seed(0)
        w = torch.nn.Parameter(torch.tensor([[1., 2.], [3., 4.]]))
        x = torch.tensor([[1., -2.]], requires_grad=True)
        y = forward(torch, x, w)
        w.data = w.data * 10
        y2 = forward(torch, x, w)
        w.data = torch.zeros(2, 2)
        (y.sum() + y2.sum()).backward()
        return x.grad, w.grad, y, y2, w
    return case


@pytest.mark.parametrize("forward", [
    lambda torch, x, w: torch.nn.functional.linear(x, w), lambda torch, x, w: x @ w, lambda torch, x, w: x * w, lambda torch, x, w: (w * 2).exp() * x,
    lambda torch, x, w: w.sin() + x, lambda torch, x, w: torch.addmm(x, x, w), lambda torch, x, w: (w ** 3).sum() * x, lambda torch, x, w: x / w,
    lambda torch, x, w: torch.nn.functional.layer_norm(x, (2,), w[0]), lambda torch, x, w: torch.einsum("ij,jk->ik", x, w),
    lambda torch, x, w: torch.nn.functional.linear(x, w, x[0]), lambda torch, x, w: torch.nn.functional.linear(x[0], w).exp()],
    ids=["linear", "matmul", "mul", "exp", "sin", "addmm", "pow", "div", "layer_norm", "einsum", "bias", "vector"])
def test_gradients_after_the_exchange(forward):
    assert_same_outcome(exchanged(forward))


def test_second_derivatives_too():
    def case(torch):
        w = torch.tensor([1., 2.], requires_grad=True)
        g, = torch.autograd.grad((w ** 3).sum(), w, create_graph=True)
        w.data = torch.zeros(2)
        return torch.autograd.grad(g.sum(), w)
    assert_same_outcome(case)


def test_swapped_tensors():
    def case(torch):
        a, b = torch.tensor([1., 2.], requires_grad=True), torch.nn.Parameter(torch.tensor([5.]))
        torch.utils.swap_tensors(a, b)
        (a * a).sum().backward()
        return a, b, a.grad, b.grad, type(a).__name__, type(b).__name__
    assert_same_outcome(case)


def test_hooks_get_one_gradient_object():
    for torch in (pt, rl):
        for make in (lambda x: x * 3, lambda x: x):
            x = torch.ones(2, requires_grad=True)
            y, seen = make(x), []
            y.register_hook(lambda g, seen=seen: seen.append(g))
            y.register_hook(lambda g: setattr(g, "mark", 1))
            y.register_hook(lambda g, seen=seen: seen.append(g))
            (y * 2).sum().backward()
            assert seen[0] is seen[1] and seen[0].mark == 1


@pytest.mark.parametrize("m", [pt, rl], ids=["pytorch", "rushlight"])
def test_the_number_that_stands_for_a_tensor(m):
    a, b = m.ones(2), m.zeros(3)
    first, second = a._cdata, b._cdata
    a.data = a.double()
    assert (a._cdata, b._cdata) == (first, second)
    m.utils.swap_tensors(a, b)
    assert (a._cdata, b._cdata) == (second, first)
