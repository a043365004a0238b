"""In-place changes after public reports: leaves that are views, shapes changed in place, retained gradients, complex views."""

import pytest

from tests.support.two_sides import assert_same_outcome


def state(t, *others):
    return [(each.tolist(), each.requires_grad, each.is_leaf, None if each.grad is None else each.grad.tolist()) for each in (t, *others)]


def leaf_view(torch, make, change):
    w = make(torch.arange(4.)).requires_grad_()
    try:
        w = change(torch, w) or w
    finally:
        assert w.is_leaf and w.requires_grad
    return state(w)


MAKE = [lambda t: t.view(2, 2), lambda t: t.view(2, 2).t(), lambda t: t[:2], lambda t: t[None].squeeze(0), lambda t: t.view(2, 2)[0], lambda t: t,
        lambda t: t.detach(), lambda t: t.expand(2, 4)[0], lambda t: t.unfold(0, 2, 2), lambda t: t.as_strided((2,), (1,))]


def isub(torch, w):
    w -= .1


def setitem(torch, w):
    w[0] = 3.


def setslice(torch, w):
    w[:1].mul_(2)


def setmask(torch, w):
    w[w > 0] = 1.


CHANGE = [isub, setitem, setslice, setmask, lambda torch, w: w.zero_(), lambda torch, w: w.copy_(torch.ones(())), lambda torch, w: w.relu_(),
          lambda torch, w: w.clamp_(0, 1), lambda torch, w: w.add_(torch.ones((), requires_grad=True)), lambda torch, w: w.normal_(),
          lambda torch, w: w.fill_(2), lambda torch, w: w.masked_fill_(w > 0, 1), lambda torch, w: w.index_fill_(0, torch.tensor([0]), 1),
          lambda torch, w: w.uniform_(), lambda torch, w: w.t_(), lambda torch, w: w.squeeze_(), lambda torch, w: w.unsqueeze_(0),
          lambda torch, w: w.bernoulli_(), lambda torch, w: w.exp_(), lambda torch, w: w.sort(out=(w, torch.zeros(0, dtype=torch.long))),
          lambda torch, w: torch.exp(w.detach(), out=w), lambda torch, w: w.index_add_(0, torch.tensor([0]), torch.ones_like(w)[:1]),
          lambda torch, w: w.detach_(), lambda torch, w: w.resize_(9), lambda torch, w: w.fill_diagonal_(1), lambda torch, w: w.index_put_((torch.tensor([0]),), torch.tensor(1.)),
          lambda torch, w: w.scatter_(0, torch.zeros_like(w).long(), 1.), lambda torch, w: w.addmm_(w.detach(), w.detach()), lambda torch, w: torch.nn.functional.relu(w, inplace=True),
          lambda torch, w: torch.nn.functional.dropout(w, inplace=True), lambda torch, w: torch.nn.functional.leaky_relu_(w), lambda torch, w: torch.nn.functional.hardtanh_(w),
          lambda torch, w: w.swapaxes_(0, -1), lambda torch, w: w.as_strided_((1,), (1,)), lambda torch, w: w.lerp_(w.detach(), .5), lambda torch, w: w.addcmul_(w.detach(), w.detach()),
          lambda torch, w: w.cumsum_(0), lambda torch, w: w.log_normal_(), lambda torch, w: w.set_(torch.ones(2)), lambda torch, w: w.random_(3), lambda torch, w: w.exponential_()]


@pytest.mark.parametrize("make", range(len(MAKE)))
@pytest.mark.parametrize("change", range(len(CHANGE)))
def test_leaf_that_is_a_view(make, change):
    assert_same_outcome(lambda torch: leaf_view(torch, MAKE[make], CHANGE[change]) if change not in (9, 13, 37, 39, 40, 17, 29) else leaf_view(torch, MAKE[make], CHANGE[change])[0][1:])


@pytest.mark.parametrize("make", range(len(MAKE)))
@pytest.mark.parametrize("change", range(len(CHANGE)))
def test_leaf_that_is_a_view_under_no_grad(make, change):
    def f(torch):
        with torch.no_grad():
            r = leaf_view(torch, MAKE[make], CHANGE[change])
        return r if change not in (9, 13, 37, 39, 40, 17, 29) else r[0][1:]
    assert_same_outcome(f)


SHAPED = ["unsqueeze_(0)", "t_()", "squeeze_()", "squeeze_(0)", "transpose_(0, 1)", "swapaxes_(0, 1)", "swapdims_(0, 1)", "as_strided_((2,), (1,))", "resize_(4)",
          "resize_(2, 3)", "squeeze_(1)"]


@pytest.mark.parametrize("call", SHAPED)
@pytest.mark.parametrize("source", ["torch.ones(1, 4, requires_grad=True)", "torch.nn.Parameter(torch.ones(1, 4))", "torch.ones(4).view(1, 4).requires_grad_()",
                                    "torch.ones(1, 4, requires_grad=True) * 2", "torch.ones(1, 4, requires_grad=True)[:]", "(torch.ones(1, 4, requires_grad=True) * 2)[:]", "torch.ones(1, 4)"])
@pytest.mark.parametrize("grad", [False, True])
def test_shape_changed_in_place(call, source, grad):
    if not grad and ("* 2" in source or "[:]" in source):
        return            # the history of a tensor that is no leaf no longer fits its shape then

    def f(torch):
        p = eval(source, {"torch": torch})
        with torch.set_grad_enabled(grad):
            eval("p." + call, {"p": p})
        result = [p.shape == torch.Size(p.shape), list(p.shape), p.requires_grad, p.is_leaf, p._version, str(p.grad_fn is None)]
        if p.requires_grad:
            (p * 3).sum().backward()
            result.append(p.grad if p.is_leaf else None)
        return result
    assert_same_outcome(f)


def retained(change):
    def f(torch):
        x = torch.tensor([-1., 2., 3., -4.], requires_grad=True)
        a = x * 1
        a.retain_grad()
        b = change(torch, a)
        weight = torch.tensor([5., 7., 11., 13.])
        ((a * weight).sum() + (0 if b is None else (b * 2).sum())).backward()
        return a.grad, x.grad, a.retains_grad
    return f


def set_first(torch, a):
    a[0] = 9


def view_then(torch, a):
    v = a[:2]
    v.mul_(3)


def view_retained(torch, a):
    v = a[:2]
    v.retain_grad()
    a.mul_(3)
    return v


def sliced(torch, a):
    a[1:3] *= a[0]


@pytest.mark.parametrize("change", ["a.mul_(2)", "a.relu_()", "a.add_(a)", "a.mul_(2).mul_(3)", "a.zero_()", "a.exp_()", "a.copy_(torch.ones(4))", "a.clamp_(0, 1)",
                                    "a.detach_()", "torch.nn.functional.relu(a, inplace=True)", "a.masked_fill_(a > 0, 2)", "a[1:].tanh_()",
                                    "a.index_put_((torch.tensor([0]),), torch.tensor(3.))", set_first, view_then, view_retained, sliced], ids=lambda c: getattr(c, '__name__', c))
def test_retained_gradient_moves_to_the_new_value(change):
    assert_same_outcome(retained((lambda torch, a: exec(change, {"torch": torch, "a": a})) if isinstance(change, str) else change))


def hook_then_inplace(torch):
    x = torch.tensor([1., 2.], requires_grad=True)
    a = x * 1
    seen = []
    a.register_hook(lambda g: seen.append(g.clone()) or g * 10)
    a.mul_(5)
    a.register_hook(lambda g: seen.append(g.clone()) or None)
    a.sum().backward()
    return seen, x.grad


def complex_view_changed(torch):
    x = torch.arange(8., dtype=torch.double).reshape(2, 2, 2).requires_grad_()
    c = torch.view_as_complex(x.clone())
    c.mul_(1j)
    torch.view_as_real(c).sum().backward()
    return x.grad


def complex_view_base(torch):
    x = torch.arange(8., dtype=torch.double).reshape(2, 2, 2).requires_grad_()
    y = x.clone()
    torch.view_as_complex(y).mul_(2j)
    (y * torch.arange(8.).reshape(2, 2, 2)).sum().backward()
    return x.grad, y


def complex_view_slice(torch):
    x = torch.arange(8., dtype=torch.double).reshape(2, 2, 2).requires_grad_()
    y = x * 1
    torch.view_as_complex(y)[0].mul_(2j)
    (y * torch.arange(8.).reshape(2, 2, 2)).sum().backward()
    return x.grad, y


def real_view_changed(torch):
    z = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    y = z.clone()
    r = torch.view_as_real(y)
    r *= torch.tensor([2., 3.])
    y.abs().sum().backward()
    return z.grad, y


def real_part_changed(torch):
    z = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    y = z.clone()
    y.real.mul_(2)
    y.imag.add_(torch.ones(2))
    y.abs().sum().backward()
    return z.grad, y


def real_of_view(torch):
    z = torch.tensor([[1 + 2j, 3 - 1j]], requires_grad=True)
    y = z.clone()
    y[0].real[0] = 7
    y.abs().sum().backward()
    return z.grad, y


def viewed_dtype(torch):
    x = torch.arange(4.)
    x.view(torch.int32).zero_()
    return x


def conj_written(torch):
    y = torch.tensor([1 + 2j])
    y.conj().fill_(5 + 1j)
    return y


def conj_state(torch):
    y = torch.tensor([[1 + 2j, 2 - 1j]])
    c = y.conj()
    h = y.mH
    return (c.is_conj(), h.is_conj(), y.adjoint().is_conj(), c.conj().is_conj(), c.resolve_conj().is_conj(), c, h, h.shape, c + 1, c.abs(), c.clone().is_conj(),
            c.data_ptr() == y.data_ptr(), c.conj().data_ptr() == y.data_ptr(), c.contiguous().is_conj(), c[0].is_conj(), c.t().is_conj(), c.real, c.imag, c.view(2, 1), c.real.is_neg(), torch.conj(y).is_conj(), torch.is_conj(c), y.conj_physical().is_conj(), c.detach().is_conj(), c.tolist(), c @ c.mH)


def conj_numpy(torch):
    return torch.tensor([1 + 2j]).conj().numpy()


def conj_gradient(torch):
    z = torch.tensor([1 + 2j, 3 - 1j], requires_grad=True)
    y = z * 1
    c = y.conj()
    c.mul_(2j)
    torch.view_as_real(y * (1 + 1j)).sum().backward()
    return z.grad, y, c


def conj_seen(torch):
    y = torch.tensor([1 + 2j, 3 - 1j])
    c = y.conj()
    y[0] = 9 + 9j
    before = c.clone()
    c += 1
    c[1] = 3j
    return y, c, before


def mh_written(torch):
    m = torch.arange(4.).reshape(2, 2) * (1 + 1j)
    m.mH[0, 1] = 5j
    m.adjoint()[1, 1] = 1j
    m.H[0, 0] = 2j
    return m


def conj_real(torch):
    x = torch.ones(2)
    return x.conj() is x or x.conj().data_ptr() == x.data_ptr(), torch.ones(2, 3).mH.shape, x.conj().is_conj()


def conj_matmul(torch):
    a = (torch.arange(6.) * (1 + 2j)).reshape(2, 3)
    return a @ a.mH, a.conj() * a, torch.mm(a.conj(), a.t()), torch.einsum("ij,kj->ik", a.conj(), a), torch.linalg.norm(a.conj()), a.conj().sum(0), torch.cat([a.conj(), a]), torch.stack([a.conj()])


@pytest.mark.parametrize("case", [hook_then_inplace, complex_view_changed, complex_view_base, complex_view_slice, real_view_changed, real_part_changed, real_of_view, viewed_dtype,
                                  conj_written, conj_state, conj_numpy, conj_gradient, conj_seen, mh_written, conj_real, conj_matmul], ids=lambda f: f.__name__)
def test_view(case):
    assert_same_outcome(case)
