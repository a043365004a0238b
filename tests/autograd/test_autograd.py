"""Autograd: backward, grad, custom functions, hooks, modes, versions, deep graphs; live against torch where it has the same thing."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, both


def leaf(*values):
    return pt.tensor(values, dtype=pt.float64, requires_grad=True)


# --- backward and grad -----------------------------------------------------------------------------------------------------------------

def test_backward_accumulates():
    def run(m, x, y):
        for _ in range(2):
            ((x * y).exp() + x).sum().backward()
        return x.grad, y.grad
    assert_same_behaviour(run, leaf(1, 2, 3), leaf(0.5, 0.25, 1))


def test_gradients_do_not_share_memory():
    a, b = rl.ones(3, requires_grad=True), rl.ones(3, requires_grad=True)
    g = rl.ones(3)
    (a + b).backward(g)
    a.grad += 1
    assert b.grad.tolist() == [1, 1, 1] and g.tolist() == [1, 1, 1]
    c = rl.ones(3, requires_grad=True)
    c.backward(g)
    c.grad.zero_()
    assert g.tolist() == [1, 1, 1]


@pytest.mark.parametrize("call", [
    lambda m, x: x.backward(),
    lambda m, x: (x * 2).backward(m.ones(2)),
    lambda m, x: x.detach().sum().backward(),
    lambda m, x: (x * 2).sum().backward(inputs=[]),
    lambda m, x: (x * 2).sum().backward(inputs=[m.ones(3)]),
    lambda m, x: m.autograd.grad((x * 2).sum(), m.ones(3, requires_grad=True)),
    lambda m, x: m.autograd.grad((x * 2).sum(), m.ones(3)),
    lambda m, x: m.autograd.grad(x * 2, x),
    lambda m, x: m.autograd.grad((x * 2).sum(), x, allow_unused=False, materialize_grads=True),
    lambda m, x: (x * 2).backward("no"),
    lambda m, x: m.ones(3, dtype=m.int64).requires_grad_(),
    lambda m, x: m.tensor([1, 2], requires_grad=True),
    lambda m, x: setattr(x * 2, "requires_grad", False),
    lambda m, x: setattr(x, "grad", m.ones(2)),
    lambda m, x: setattr(x, "grad", m.ones(3, dtype=m.float32)),
    lambda m, x: setattr(x, "grad", 3),
    lambda m, x: x.numpy(),
    lambda m, x: x.detach().register_hook(print),
    lambda m, x: (x * 2).register_post_accumulate_grad_hook(print),
    lambda m, x: x.detach().retain_grad(),
    lambda m, x: m.tensor(1.0, requires_grad=True).sum().add_(1).backward(m.ones(3)),
])
def test_errors(call):
    assert_same_behaviour(call, leaf(1, 2, 3))
    ours, theirs = both(call, leaf(1, 2, 3))
    assert isinstance(ours, Exception) and isinstance(theirs, Exception)


def test_second_backward_needs_retain_graph():
    def run(m, x):
        y = x.exp().sum()
        y.backward()
        y.backward()
    assert_same_behaviour(run, leaf(1, 2), text=True)

    def retained(m, x):
        h = x * x
        a, b = h.sum(), h.exp().sum()
        a.backward(retain_graph=True)
        b.backward()
        return x.grad
    assert_same_behaviour(retained, leaf(1, 2))


def test_graph_without_saved_values_runs_again():
    def run(m, x):
        y = (x + 1).sum()
        y.backward()
        y.backward()
        return x.grad
    assert_same_behaviour(run, leaf(1, 2))


def test_inputs():
    def run(m, x, y):
        h = x * y
        h.retain_grad()
        (h * h).sum().backward(inputs=[x, h])
        return x.grad, y.grad, h.grad
    assert_same_behaviour(run, leaf(1, 2), leaf(3, 4))


def test_grad_of_intermediate_and_unused():
    def run(m, x, y):
        h = x.exp()
        z = (h * h).sum()
        return m.autograd.grad(z, [h, x, y], allow_unused=True), x.grad
    assert_same_behaviour(run, leaf(1, 2), leaf(3))

    def materialized(m, x, y):
        return m.autograd.grad(x.exp().sum(), [x, y], materialize_grads=True)
    assert_same_behaviour(materialized, leaf(1, 2), leaf(3))


def test_is_grads_batched():
    def run(m, x):
        y = x * x
        return m.autograd.grad(y, x, m.eye(3, dtype=m.float64), is_grads_batched=True)
    assert_same_behaviour(run, leaf(1, 2, 3))


def test_higher_derivatives():
    def run(m, x):
        y = x ** 4
        results = []
        for _ in range(4):
            y, = m.autograd.grad(y.sum(), x, create_graph=True)
            results.append(y)
        return results
    assert_same_behaviour(run, leaf(1, 2, 3))


def test_create_graph_backward():
    def run(m, x):
        (x ** 3).sum().backward(create_graph=True)
        g = x.grad
        x.grad = None
        g.sum().backward()
        return g, x.grad
    with pytest.warns(UserWarning):
        pt.ones(1, requires_grad=True).sum().backward(create_graph=True)
    assert_same_behaviour(run, leaf(1, 2, 3))


def test_several_roots():
    def run(m, x):
        m.autograd.backward([x.exp().sum(), x * 2], [None, m.ones_like(x)])
        return x.grad
    assert_same_behaviour(run, leaf(1, 2))


def test_mixed_dtypes_get_gradients_of_their_own():
    def run(m, x, y):
        z = x.float() * y
        z.sum().backward()
        w = x * m.ones(2, dtype=m.float32)
        w.sum().backward()
        return x.grad, y.grad
    assert_same_behaviour(run, leaf(1, 2), leaf(3, 4))


# --- graph, leaves, modes --------------------------------------------------------------------------------------------------------------

def test_attributes():
    def run(m, x):
        y = x * 2
        d = y.detach()
        return [x.is_leaf, y.is_leaf, d.is_leaf, x.requires_grad, y.requires_grad, d.requires_grad, x.grad_fn is None, y.grad_fn.name(),
                type(y.grad_fn).__name__, [(type(n).__name__ if n is not None else None, i) for n, i in y.grad_fn.next_functions],
                (x + y).grad_fn.name(), y.exp().grad_fn.name(), y.sum().grad_fn.name(), (y / x).grad_fn.name(), y.t().grad_fn.name(),
                (-y).grad_fn.name(), (y ** 2).grad_fn.name(), (y - x).grad_fn.name(), y.view(3, 1).grad_fn.name(), y.mean().grad_fn.name()]
    assert_same_behaviour(run, leaf(1, 2, 3))


def test_modes():
    def run(m, x):
        out = []
        with m.no_grad():
            y = x * 2
            out += [y.requires_grad, m.is_grad_enabled()]
            with m.enable_grad():
                out += [(x * 2).requires_grad, m.is_grad_enabled()]
            out.append(m.is_grad_enabled())

        @m.no_grad()
        def f():
            return (x * 2).requires_grad

        @m.no_grad
        def g():
            return (x * 2).requires_grad

        @m.no_grad()
        def gen():
            for _ in range(2):
                yield (x * 2).requires_grad

        @m.inference_mode()
        def h():
            return (x * 2).requires_grad, m.is_inference_mode_enabled()

        out += [f(), g(), h(), m.is_grad_enabled()]
        for inside in gen():
            out += [inside, m.is_grad_enabled()]
        m.set_grad_enabled(False)
        out.append((x * 2).requires_grad)
        m.set_grad_enabled(True)
        with m.set_grad_enabled(False):
            out.append((x * 2).requires_grad)
        with m.inference_mode(False):
            out.append((x * 2).requires_grad)

        @m.set_grad_enabled(False)
        def k():
            return m.is_grad_enabled()
        out += [k(), m.is_grad_enabled()]
        try:
            with m.no_grad():
                raise ValueError
        except ValueError:
            out.append(m.is_grad_enabled())
        return out
    assert_same_behaviour(run, leaf(1, 2))


def test_modes_are_thread_local():
    seen = []
    with rl.no_grad():
        thread = threading.Thread(target=lambda: seen.append((rl.is_grad_enabled(), (rl.ones(1, requires_grad=True) * 2).requires_grad)))
        thread.start()
        thread.join()
        assert not rl.is_grad_enabled()
    assert seen == [(True, True)]


def test_backward_from_several_threads():
    xs = [rl.ones(50, requires_grad=True) for _ in range(4)]

    def work(x):
        for _ in range(50):
            with rl.no_grad():
                x * 2
            (x * x).sum().backward()
    threads = [threading.Thread(target=work, args=(x,)) for x in xs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(x.grad.tolist() == [100.0] * 50 for x in xs)


def test_deep_graph_neither_overflows_nor_leaks():
    x = rl.ones(1, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1
    marker = weakref.ref(y.grad_fn)
    y.backward()
    assert x.grad.item() == 1
    del y
    assert marker() is None
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(100):
        z = (x * x).exp().tanh().sum()
        z.backward()
    del z
    assert len(gc.get_objects()) - before < 50


def test_graph_makes_no_reference_cycles():
    gc.collect()
    gc.disable()
    try:
        x = rl.ones(3, requires_grad=True)
        y = (x.exp() * x.tanh()).sqrt().view(3, 1).sum()
        refs = [weakref.ref(y), weakref.ref(y.grad_fn), weakref.ref(x)]
        y.backward()
        del x, y
        assert [r() for r in refs] == [None] * 3
        x = rl.ones(3, requires_grad=True)
        y = x * 2
        y[0] = 5.0
        y.exp_()
        refs = [weakref.ref(y), weakref.ref(y.grad_fn)]
        del x, y
        assert [r() for r in refs] == [None] * 2
    finally:
        gc.enable()


# --- in-place ops, views, versions -----------------------------------------------------------------------------------------------------

INPLACE = [
    lambda m, x: x.add_(1),
    lambda m, x: x.detach().add_(1) is not None and x,
    lambda m, x: x.clone().add_(1).sum().backward() or x.grad,
    lambda m, x: x.clone().mul_(x).sum().backward() or x.grad,
    lambda m, x: x.clone().exp_().sum().backward() or x.grad,
    lambda m, x: x.clone().tanh_().mul_(2).sum().backward() or x.grad,
    lambda m, x: x[0].add_(1),
    lambda m, x: x.view(3, 1).add_(1),
    lambda m, x: x.exp().add_(1).sum().backward(),
    lambda m, x: (lambda y: (y.exp(), y.add_(1))[0].sum().backward() or x.grad)(x * 1),
    lambda m, x: (lambda y: (y.sin(), y.add_(1))[0].sum().backward() or x.grad)(x * 1),
    lambda m, x: (lambda y: (y * x, y.add_(1))[0].sum().backward() or x.grad)(x * 1),
    lambda m, x: (lambda y: (y + x, y.add_(1))[0].sum().backward() or x.grad)(x * 1),
    lambda m, x: (lambda y, v: (v.mul_(2), y.sum().backward(), x.grad)[2])(*(lambda y: (y, y[1:]))(x * 1)),
    lambda m, x: (lambda y, v: (y.mul_(2), v.sum().backward(), x.grad)[2])(*(lambda y: (y, y[1:]))(x * 1)),
    lambda m, x: (lambda z: (z[1:].copy_(x[:2]), z.sum().backward(), x.grad)[2])(m.zeros(3, dtype=m.float64)),
    lambda m, x: (lambda z, v: (z.__setitem__(0, x[1]), v.exp().sum().backward(), x.grad, v.requires_grad)[2:])(
        *(lambda z: (z, z[:2]))(m.zeros(3, dtype=m.float64))),
    lambda m, x: (lambda z: (z.__setitem__(slice(None), x * 2), z.sum().backward(), x.grad)[2])(m.zeros(2, 3, dtype=m.float64)),
    lambda m, x: (lambda z: (z.zero_(), z.sum().backward(), x.grad, z.requires_grad)[2:])(x * 2),
    lambda m, x: (lambda z: (z.fill_(3), (z * x).sum().backward(), x.grad)[2])(x * 2),
    lambda m, x: (x * 1).chunk(3)[0].add_(1),
    lambda m, x: (x * 1).unbind()[0].mul_(2),
    lambda m, x: (lambda v: v.add_(1))((lambda y: [m.no_grad().__enter__(), y.view(3), m.set_grad_enabled(True)][1])(x * 1)),
    lambda m, x: m.ones(3).expand(2, 3).add_(1),
    lambda m, x: m.ones(3, dtype=m.int64).add_(1.5),
    lambda m, x: m.ones(3).add_(m.ones(2, 3)),
    lambda m, x: m.ones(3)._version + (lambda t: (t.add_(1), t[0].add_(1), t.view(3).zero_(), t._version)[3])(m.ones(3)),
    lambda m, x: (lambda t: (t.detach().add_(1), t.data.add_(1), t._version)[2])(m.ones(3)),
]


@pytest.mark.parametrize("call", INPLACE)
def test_inplace(call):
    try:
        assert_same_behaviour(call, leaf(0.5, 1.5, 2.5))
    finally:
        pt.set_grad_enabled(True)
        rl.set_grad_enabled(True)


def test_saved_output_of_a_view_chain_is_noticed():
    def run(m, x):
        y = x.exp()
        y.view(3, 1)[1].mul_(2)
        y.sum().backward()
    assert_same_behaviour(run, leaf(1, 2, 3))
    ours, _ = both(run, leaf(1, 2, 3))
    assert "modified by an inplace operation" in str(ours)


# --- custom functions ------------------------------------------------------------------------------------------------------------------

def test_function():
    def run(m, x, y):
        class MulExp(m.autograd.Function):
            @staticmethod
            def forward(ctx, x, y, factor, flag=None):
                r = x * y.exp() * factor
                ctx.save_for_backward(x, y, r)
                ctx.factor = factor
                return r

            @staticmethod
            def backward(ctx, g):
                x, y, r = ctx.saved_tensors
                seen.append((ctx.needs_input_grad, g.shape))
                return g * y.exp() * ctx.factor, g * r, None, None
        seen = []
        z = MulExp.apply(x, y, 2.0)
        first = m.autograd.grad(z.sum(), (x, y), create_graph=True)
        second = m.autograd.grad(first[0].sum() + first[1].sum(), (x, y))
        return z, first, second, seen, type(z.grad_fn).__name__, z.grad_fn.name()
    assert_same_behaviour(run, leaf(1, 2), leaf(0.5, 0.25))


def test_function_several_outputs():
    def run(m, x):
        class Split(m.autograd.Function):
            @staticmethod
            def forward(x):
                return x * 2, (x * 10).long(), x * 3

            @staticmethod
            def setup_context(ctx, inputs, output):
                ctx.mark_non_differentiable(output[1])
                ctx.set_materialize_grads(False)
                ctx.save_for_backward(*inputs)

            @staticmethod
            def backward(ctx, a, b, c):
                seen.append([a is None, b is None, c is None])
                return (0 if a is None else a * 2) + (0 if c is None else c * 3)
        seen = []
        a, b, c = Split.apply(x)
        a.sum().backward(retain_graph=True)
        (a + c).sum().backward()
        return a, b, c, x.grad, seen, [t.requires_grad for t in (a, b, c)]
    assert_same_behaviour(run, leaf(1, 2))


def test_function_dirty():
    def run(m, x):
        class AddOne(m.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                x.add_(1)
                ctx.mark_dirty(x)
                return x

            @staticmethod
            def backward(ctx, g):
                return g * 5
        y = x * 2
        z = AddOne.apply(y)
        z.sum().backward()
        return z is y, z, x.grad, AddOne.apply
    ours, theirs = both(run, leaf(1, 2))
    assert_same(ours[:3], theirs[:3])

    def on_leaf(m, x):
        class AddOne(m.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.mark_dirty(x.add_(1))
                return x
        return AddOne.apply(x)
    assert_same_behaviour(on_leaf, leaf(1, 2))


def make_bad(m, kind):
    class Bad(m.autograd.Function):
        @staticmethod
        def forward(ctx, x, y=None):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            if kind == "count":
                return g, g, g
            if kind == "not none":
                return g, g
            if kind == "shape":
                return m.ones(7, dtype=g.dtype), None
            if kind == "type":
                return 3, None
            if kind == "once":
                return ctx.saved_tensors[0] * g, None
            return None, None
    if kind == "once":
        Bad.backward = staticmethod(m.autograd.function.once_differentiable(Bad.backward))
    return Bad


@pytest.mark.parametrize("kind", ["count", "not none", "shape", "type", "none"])
def test_function_errors(kind):
    assert_same_behaviour(lambda m, x: make_bad(m, kind).apply(x, 1).sum().backward() or x.grad, leaf(1, 2))


def test_once_differentiable():
    def run(m, x):
        g, = m.autograd.grad(make_bad(m, "once").apply(x).sum(), x, create_graph=True)
        return m.autograd.grad(g.sum(), x)
    assert_same_behaviour(run, leaf(1, 2), text=True)
    assert_same_behaviour(lambda m, x: make_bad(m, "once").apply(x).sum().backward() or x.grad, leaf(1, 2))


def test_function_misuse():
    with pytest.warns(DeprecationWarning):
        instance = rl.autograd.Function()
    with pytest.raises(RuntimeError, match="Legacy autograd function"):
        instance(rl.ones(1))
    assert_same_behaviour(lambda m, x: m.autograd.Function.apply(x), leaf(1))
    assert_same_behaviour(lambda m, x: make_bad(m, "").apply(x).requires_grad, pt.ones(2))


def test_function_saved_tensor_modified():
    def run(m, x):
        class Keep(m.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * 2

            @staticmethod
            def backward(ctx, g):
                return g * ctx.saved_tensors[0]
        y = x * 1
        z = Keep.apply(y)
        y.add_(1)
        z.sum().backward()
    assert_same_behaviour(run, leaf(1, 2))


# --- hooks -----------------------------------------------------------------------------------------------------------------------------

def test_tensor_hooks():
    def run(m, x):
        seen = []
        y = x * 2
        y.register_hook(lambda g: seen.append(("y", g.clone())) or g * 3)
        handle = x.register_hook(lambda g: seen.append(("x", g.clone())))
        x.register_post_accumulate_grad_hook(lambda t: seen.append(("post", t.grad.clone())))
        y.retain_grad()
        (y * y).sum().backward()
        handle.remove()
        x.grad = None
        (x * 5).sum().backward()
        return seen, x.grad, y.grad
    ours, theirs = both(run, leaf(1, 2))
    assert [name for name, _ in ours[0]] == [name for name, _ in theirs[0]]
    assert_same([v for _, v in ours[0]], [v for _, v in theirs[0]])
    assert_same(ours[1:], theirs[1:])


def test_hook_errors():
    def wrong_shape(m, x):
        y = x * 2
        y.register_hook(lambda g: m.ones(7, dtype=g.dtype))
        y.sum().backward()
    assert_same_behaviour(wrong_shape, leaf(1, 2))

    def wrong_type(m, x):
        y = x * 2
        y.register_hook(lambda g: 3)
        y.sum().backward()
    assert_same_behaviour(wrong_type, leaf(1, 2))


def test_node_hooks():
    def run(m, x):
        seen = []
        y = x * 2
        z = y.exp()
        y.grad_fn.register_hook(lambda gi, go: seen.append(("post", gi[0].clone(), go[0].clone())) or (gi[0] * 10, None))
        y.grad_fn.register_prehook(lambda go: seen.append(("pre", go[0].clone())) or (go[0] * 2,))
        z.sum().backward()
        return [s[0] for s in seen], [s[1:] for s in seen], x.grad
    assert_same_behaviour(run, leaf(1, 2))


def test_hooks_with_grad():
    def run(m, x):
        y = x * 2
        seen = []
        y.register_hook(lambda g: seen.append(g.clone()) or g * 2)
        z = (y * y).sum()
        z.backward(inputs=[x, y], retain_graph=True)
        return x.grad, y.grad, m.autograd.grad((y * y).sum(), [x]), seen, m.autograd.grad((y * y).sum(), [y])
    assert_same_behaviour(run, leaf(1, 2))


def test_saved_tensors_hooks():
    def run(m, x, y):
        packed = []
        with m.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.shape) or t.numpy(force=True), lambda a: m.from_numpy(a)):
            z = (x * y).exp() + x.sin() * y
        z.sum().backward()
        return len(packed), x.grad, y.grad
    ours, theirs = both(run, leaf(1, 2), leaf(3, 4))
    assert_same(ours[1:], theirs[1:])
    assert ours[0] == theirs[0]
    with rl.autograd.graph.save_on_cpu():
        z = (rl.ones(2, requires_grad=True) * 3).exp()
    z.sum().backward()


def test_anomaly():
    x = rl.tensor([-1.0], requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection"), rl.autograd.detect_anomaly():
        y = (x * 0).sqrt() * 0
        with pytest.warns(UserWarning, match="Error detected in"), pytest.raises(RuntimeError, match="returned nan values"):
            y.backward()


def test_multi_grad_hook():
    x, y = rl.ones(2, requires_grad=True), rl.ones(2, requires_grad=True)
    seen = []
    handle = rl.autograd.graph.register_multi_grad_hook((x, y), lambda grads: seen.append([g.tolist() for g in grads]))
    (x * 2 + y * 3).sum().backward()
    assert seen == [[[2, 2], [3, 3]]]
    handle.remove()
    (x * y).sum().backward()
    assert len(seen) == 1


# --- checks and functional forms -------------------------------------------------------------------------------------------------------

def test_gradcheck():
    x, y = rl.randn(3, dtype=rl.float64, requires_grad=True), rl.rand(2, 1, dtype=rl.float64, requires_grad=True)
    assert rl.autograd.gradcheck(lambda a, b: (a * b).exp() + b.log(), (x, y))
    assert rl.autograd.gradgradcheck(lambda a, b: (a * b).exp() + b.log(), (x, y))
    z = rl.randn(3, dtype=rl.complex128, requires_grad=True)
    assert rl.autograd.gradcheck(lambda z: (z * z).exp() / z, (z,))
    assert rl.autograd.gradcheck(lambda z: z.abs(), (z,))

    class Wrong(rl.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3
    with pytest.raises(rl.autograd.GradcheckError):
        rl.autograd.gradcheck(Wrong.apply, (x,))
    assert not rl.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_functional():
    x, y, v = pt.rand(3, dtype=pt.float64), pt.rand(3, dtype=pt.float64), pt.rand(3, dtype=pt.float64)

    def run(m, x, y, v):
        F = m.autograd.functional

        def f(a, b):
            return a.exp() * b, (a * a).sum()

        def s(a, b):
            return (a ** 3 * b).sum()
        return (F.jacobian(f, (x, y)), F.jacobian(lambda a: a.exp(), x), F.hessian(s, (x, y)), F.hessian(lambda a: (a ** 3).sum(), x),
                F.vjp(lambda a: a.exp(), x, v), F.jvp(lambda a: a.exp() * 2, x, v), F.vhp(lambda a: (a ** 3).sum(), x, v),
                F.hvp(lambda a: (a ** 3).sum(), x, v), F.vjp(f, (x, y), (v, m.tensor(1.0, dtype=m.float64))))
    assert_same_behaviour(run, x, y, v)


@pytest.mark.parametrize("call", [
    lambda m, x: m.autograd.functional.jacobian(lambda a: 3, x),
    lambda m, x: m.autograd.functional.hessian(lambda a: a, x),
    lambda m, x: m.autograd.functional.vjp(lambda a: a, x),
    lambda m, x: m.autograd.functional.jacobian(lambda a: a.detach(), x, strict=True),
    lambda m, x: m.autograd.functional.vjp(lambda a: a, x, m.ones(5)),
])
def test_functional_errors(call):
    assert_same_behaviour(call, pt.ones(3))


def test_numpy_is_shared():
    a = np.arange(3.0)
    t = rl.from_numpy(a)
    t[0] = 7
    assert a[0] == 7
    t.numpy()[1] = 8
    assert t.tolist() == [7, 8, 2]


def test_gradient_edges():
    for t in (rl, pt):
        x = t.ones(2, requires_grad=True)
        y = x * 2
        z = (y * y).sum()
        edge = t.autograd.graph.get_gradient_edge(y)
        assert edge.output_nr == 0 and edge.node is y.grad_fn
        assert [g.tolist() for g in t.autograd.grad(z, [edge, x], retain_graph=True)] == [[4.0, 4.0], [8.0, 8.0]]
        assert t.autograd.grad(z, edge, retain_graph=True)[0].tolist() == [4.0, 4.0]
        t.autograd.backward(z, inputs=(t.autograd.graph.get_gradient_edge(x),), retain_graph=True)
        assert x.grad.tolist() == [8.0, 8.0]
        assert t.autograd.grad(t.autograd.graph.get_gradient_edge(z), x, grad_outputs=t.ones(()))[0].tolist() == [8.0, 8.0]
        u, _ = t.ones(4, requires_grad=True).split(2)
        assert t.autograd.grad((u * 3).sum(), t.autograd.graph.get_gradient_edge(u))[0].tolist() == [3.0, 3.0]
        with pytest.raises(RuntimeError):
            t.autograd.graph.get_gradient_edge(t.ones(1))


def test_multi_grad_hooks_fire_once_per_backward():
    calls = []
    for t in (rl, pt):
        seen = []
        a, b, c = (t.ones(1, requires_grad=True) for _ in range(3))
        handle = t.autograd.graph.register_multi_grad_hook((a, b, c), lambda grads: seen.append([g if g is None else g.item() for g in grads]))
        (a * b).sum().backward()
        (c * 2).sum().backward()
        (a + b + c).sum().backward()
        handle.remove()
        (a + b).sum().backward()
        handle = t.autograd.graph.register_multi_grad_hook((a, b, c), lambda grad: seen.append(grad.item()), mode="any")
        (a + b).sum().backward()
        (c * 1).sum().backward()
        calls.append(seen)
    assert calls[0] == calls[1]


# --- custom functions on views, hooks in order, questions of the engine -----------------------------------------------------------------

SIDES = pytest.mark.parametrize("m", [pt, rl], ids=["pytorch", "rushlight"])


class Marked:
    """``Marked(m)(x, y)``: x, to which y was added in place, by a Function that says so."""

    def __init__(self, m):
        class Add(m.autograd.Function):
            @staticmethod
            def forward(ctx, x, y):
                ctx.mark_dirty(x)
                return x.add_(y)

            @staticmethod
            def backward(ctx, g):
                return g, g * 2
        self.apply = Add.apply


def test_a_function_changes_parts_of_a_tensor_in_place():
    def run(m, a, b):
        x, add = a.clone(), Marked(m).apply
        add(x.narrow(0, 1, 2), b)
        add(x[2:], b)
        (x * x).sum().backward()
        return x.detach(), a.grad, b.grad
    assert_same_behaviour(run, leaf(1, 2, 3, 4), leaf(0.5, 0.25))


@SIDES
def test_a_function_changes_no_part_of_a_leaf(m):
    a, b = m.ones(3, requires_grad=True), m.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        Marked(m).apply(a[:1], b)


def test_defaults_of_forward_reach_setup_context():
    def run(m, x):
        class Power(m.autograd.Function):
            @staticmethod
            def forward(x, n=3):
                return x ** n

            @staticmethod
            def setup_context(ctx, inputs, output):
                x, ctx.n = inputs
                ctx.save_for_backward(x)

            @staticmethod
            def backward(ctx, g):
                return g * ctx.n * ctx.saved_tensors[0] ** (ctx.n - 1), None
        (Power.apply(x) + Power.apply(x, 2)).sum().backward()
        return x.grad
    assert_same_behaviour(run, leaf(1, 2, 3))


@SIDES
@pytest.mark.parametrize("materialize", [True, False])
def test_no_gradients_for_outputs_without_one(m, materialize):
    seen = []

    class Two(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            a, b = x.clone(), x.clone()
            ctx.mark_non_differentiable(b)
            ctx._materialize_non_diff_grads = materialize
            return a, b

        @staticmethod
        def backward(ctx, a, b):
            seen.append(b if b is None else b.tolist())
            return a
    Two.apply(m.ones(2, requires_grad=True))[0].sum().backward()
    assert seen == [[0.0, 0.0] if materialize else None]


@SIDES
def test_hooks_of_a_leaf_in_order(m):
    seen, x = [], m.ones(3, requires_grad=True)
    node = x.view_as(x).grad_fn.next_functions[0][0]
    node.register_hook(lambda inputs, outputs: seen.append("after the node"))
    x.register_post_accumulate_grad_hook(lambda t: seen.append("accumulated"))
    node.register_prehook(lambda grads: seen.append("before the node"))
    x.register_hook(lambda g: seen.append("tensor"))
    x.sum().backward()
    assert seen == ["tensor", "before the node", "accumulated", "after the node"]


@SIDES
def test_callbacks_after_a_backward_pass(m):
    seen, engine = [], m.autograd.Variable._execution_engine

    class Calls(m.autograd.Function):
        @staticmethod
        def forward(ctx, x, depth):
            ctx.depth = depth
            return x * 1

        @staticmethod
        def backward(ctx, g):
            engine.queue_callback(lambda: (seen.append(ctx.depth), engine.queue_callback(lambda: seen.append("last"))) if ctx.depth else seen.append(0))
            if ctx.depth:
                with m.enable_grad():
                    Calls.apply(m.ones(1, requires_grad=True), 0).backward()
            return g, None
    Calls.apply(m.ones(1, requires_grad=True), 1).backward()
    assert seen == [0, 1, "last"]
    with pytest.raises(RuntimeError, match="only be installed during backward"):
        engine.queue_callback(print)


@SIDES
def test_grad_with_respect_to_nothing(m):
    with pytest.raises(RuntimeError, match=r"`inputs` argument to `grad\(\)` cannot be empty"):
        m.autograd.grad(m.ones(1, requires_grad=True) * 2, [])


@pytest.mark.parametrize("base", [[-1.0, -2.0], [0.5, 3.0]])
def test_complex_powers_of_real_bases(base):
    def run(m, e, a):
        y = a ** e
        (y.abs() + y.real * 2).sum().backward()
        return y.detach(), e.grad, a.grad
    assert_same_behaviour(run, pt.tensor([0.5 + 0.3j, 1.2 - 0.7j], dtype=pt.complex128, requires_grad=True), leaf(*base))


@SIDES
@pytest.mark.filterwarnings("error")
def test_real_values_copied_into_complex_ones(m):
    x, y = m.ones(2, requires_grad=True), m.empty(2, dtype=m.complex64)
    y.copy_(x)
    y.sum().abs().backward()
    assert x.grad.dtype == m.float32 and x.grad.tolist() == [1.0, 1.0]


@SIDES
def test_whether_backward_may_use_threads(m):
    with m.autograd.set_multithreading_enabled(False):
        assert not m.autograd.is_multithreading_enabled()
        m.autograd.set_multithreading_enabled(True)
        assert m.autograd.is_multithreading_enabled()
    assert m.autograd.is_multithreading_enabled()


@SIDES
def test_versions_that_a_context_keeps(m):
    x, y = m.ones(2, requires_grad=True), m.ones(2)
    view = y[:1]
    z = x * y
    with m.autograd._unsafe_preserve_version_counter((y, z)):
        y.add_(1)
        view.add_(1)
    assert y._version == view._version == 0
    z.sum().backward()
    assert x.grad.tolist() == [3.0, 2.0]


@SIDES
def test_sparse_gradients_are_joined_as_they_come(m):
    weight, at = m.ones(4, 2, requires_grad=True), m.tensor([2, 0, 3])
    for _ in range(2):
        m.nn.functional.embedding(at, weight, sparse=True).sum().backward()
    assert weight.grad._indices().tolist() == [[2, 0, 3, 2, 0, 3]] and not weight.grad.is_coalesced()
    assert weight.grad.coalesce().values().tolist() == [[2.0, 2.0]] * 3


@SIDES
def test_lazy_modules_are_not_scripted(m):
    with pytest.raises(RuntimeError, match="run a forward pass"):
        m.jit.script(m.nn.LazyLinear(2))


@SIDES
def test_what_cannot_be_packed(m):
    with pytest.raises(RuntimeError, match="Cannot pack empty tensors"):
        m.nn.utils.rnn.pack_padded_sequence(m.randn(0, 1, 10), m.randn(11, 14, 14, 2), True)
    with pytest.raises(RuntimeError, match="expected equal input and linear_weight last dimensions"):
        m.nn.functional.linear_cross_entropy(m.randn(4, 5), m.randn(2, 3), m.tensor([0, 1, 0, 1]))
