"""Optimisers: trajectories, state and checkpoints against PyTorch's, live."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as torch

SHAPES = [(5, 4), (5,), (3, 5), (), (2, 3, 2), (1,)]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.05, "betas": (0.5, 0.7), "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True, "fused": True}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 6e-3}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.9)}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RMSprop", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9, "centered": True, "maximize": True}),
    ("RMSprop", {"lr": 0.05, "centered": True}),
    ("Rprop", {"lr": 0.05}),
    ("Rprop", {"lr": 0.05, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("Adagrad", {"lr": 0.05}),
    ("Adagrad", {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.2, "maximize": True}),
    ("Adadelta", {"lr": 0.5}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "weight_decay": 0.1, "maximize": True}),
    ("ASGD", {"lr": 0.05}),
    ("ASGD", {"lr": 0.05, "t0": 3, "lambd": 0.01, "weight_decay": 0.1, "maximize": True}),
    ("Adafactor", {"lr": 0.05}),
    ("Adafactor", {"lr": 0.05, "weight_decay": 0.1, "eps": (1e-6, 1e-2), "d": 1.5, "maximize": True}),
]
POINTWISE = [case for case in CASES if case[0] != "Adafactor"]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]


def make(shapes, dtype="float32", seed=0):
    """Equal parameters on both sides, and a function that sets equal gradients."""
    rng = np.random.default_rng(seed)
    cast = np.dtype(dtype)
    def draw(shape):
        a = rng.standard_normal(shape)
        if cast.kind == "c":
            a = a + 1j * rng.standard_normal(shape)
        return np.asarray(a).astype(cast)
    arrays = [draw(shape) for shape in shapes]
    ours = [torch.tensor(a.copy()).requires_grad_() for a in arrays]
    theirs = [pt.tensor(a.copy()).requires_grad_() for a in arrays]

    def grads(skip=()):
        for i, shape in enumerate(shapes):
            g = draw(shape)
            ours[i].grad = None if i in skip else torch.tensor(g.copy())
            theirs[i].grad = None if i in skip else pt.tensor(g)
    return ours, theirs, grads


def close(ours, theirs, tolerance=None):
    theirs = theirs.detach().resolve_conj()
    b = theirs.float().numpy() if theirs.dtype == pt.bfloat16 else theirs.numpy()
    tolerance = tolerance or (1e-12 if b.dtype.itemsize // (1 + (b.dtype.kind == "c")) == 8 else 3e-6)
    np.testing.assert_allclose(np.asarray(ours.detach().cpu()._a, dtype=b.dtype), b, rtol=tolerance, atol=tolerance)


def same_state(mine, other):
    """state_dicts of both sides: keys in order, numbers, tensors."""
    assert list(mine) == list(other) == ["state", "param_groups"]
    assert list(mine["state"]) == list(other["state"])
    for key, theirs in other["state"].items():
        ours = mine["state"][key]
        assert list(ours) == list(theirs)
        for name, value in theirs.items():
            if isinstance(value, pt.Tensor):
                assert tuple(ours[name].shape) == tuple(value.shape) and str(ours[name].dtype) == str(value.dtype), name
                close(ours[name], value, 1e-5)
            else:
                assert ours[name] == value
    for ours, theirs in zip(mine["param_groups"], other["param_groups"], strict=True):
        assert list(ours.items()) == list(theirs.items())


def run(name, options, steps=7, dtype="float32", shapes=SHAPES, skips=()):
    ours, theirs, grads = make(shapes, dtype)
    mine, other = getattr(torch.optim, name)(ours, **options), getattr(pt.optim, name)(theirs, **options)
    for step in range(steps):
        grads(skips[step] if step < len(skips) else ())
        mine.step()
        other.step()
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)
    return mine, other, ours, theirs, grads


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_trajectory_and_state(name, options):
    mine, other, *_ = run(name, options)
    same_state(mine.state_dict(), other.state_dict())
    assert repr(mine) == repr(other)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_double_and_changing_gradients(name, options):
    skips = [(1,), (), (0, 4), (), (2,)]
    mine, other, *_ = run(name, options, dtype="float64", skips=skips)
    state, expected = mine.state_dict()["state"], other.state_dict()["state"]
    assert sorted(state) == sorted(expected)


@pytest.mark.parametrize(("name", "options"), POINTWISE, ids=[i for i in IDS if "Adafactor" not in i])
def test_complex(name, options):
    if options.get("fused"):
        options = {**options, "fused": None}
    run(name, options, dtype="complex128", shapes=SHAPES[:4], steps=4)


@pytest.mark.parametrize(("name", "options"), [CASES[i] for i in (2, 5, 9, 16, 21, 30)])
def test_large_parameters(name, options):
    run(name, options, shapes=[(200, 201), (7,), (20000,), (64, 64), (64, 64), (64, 64), (64, 64), (64, 64)], steps=3)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Rprop"])
def test_half(name):
    ours, theirs, grads = make([(4, 3), (3,)])
    ours, theirs = [t.detach().half().requires_grad_() for t in ours], [t.detach().half().requires_grad_() for t in theirs]
    mine, other = getattr(torch.optim, name)(ours, lr=0.05), getattr(pt.optim, name)(theirs, lr=0.05)
    for seed in range(4):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            g = np.random.default_rng([seed, i]).standard_normal(a.shape).astype(np.float16)
            a.grad, b.grad = torch.tensor(g), pt.tensor(g)
        mine.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype is torch.float16
        close(a, b, 4e-3)


def test_bfloat16():
    pytest.importorskip("ml_dtypes")
    p = torch.tensor([1.0, 2.0, 3.0]).bfloat16().requires_grad_()
    q = pt.tensor([1.0, 2.0, 3.0]).bfloat16().requires_grad_()
    mine, other = torch.optim.Adam([p], lr=0.1), pt.optim.Adam([q], lr=0.1)
    for _ in range(3):
        p.grad, q.grad = torch.tensor([1.0, -2.0, 0.5]).bfloat16(), pt.tensor([1.0, -2.0, 0.5]).bfloat16()
        mine.step()
        other.step()
    close(p.float(), q.float(), 2e-2)


@pytest.mark.parametrize(("name", "options"), [CASES[i] for i in (1, 5, 7, 12, 14, 17, 21, 24, 26, 28, 30)])
def test_state_dict_both_ways(name, options):
    mine, other, ours, theirs, grads = run(name, options, steps=3)
    # theirs -> ours
    state = other.state_dict()
    state["state"] = {k: {n: torch.tensor(v.numpy().copy()) if isinstance(v, pt.Tensor) else v for n, v in s.items()}
                      for k, s in state["state"].items()}
    fresh = getattr(torch.optim, name)(ours, **{"lr": 0.7})
    fresh.load_state_dict(state)
    # ours -> theirs
    state = mine.state_dict()
    state["state"] = {k: {n: pt.tensor(v.numpy().copy()) if isinstance(v, torch.Tensor) else v for n, v in s.items()}
                      for k, s in state["state"].items()}
    back = getattr(pt.optim, name)(theirs, **{"lr": 0.7})
    back.load_state_dict(state)
    for _ in range(3):
        grads()
        fresh.step()
        back.step()
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)
    same_state(fresh.state_dict(), back.state_dict())


def test_copies_and_pickles():
    ours, theirs, grads = make(SHAPES)
    mine = torch.optim.Adam(ours, lr=0.1)
    grads()
    mine.step()
    twin_params, twin = copy.deepcopy((ours, mine))
    assert twin.param_groups[0]["params"][0] is twin_params[0]
    unpickled = pickle.loads(pickle.dumps(mine))
    assert [p.shape for p in unpickled.param_groups[0]["params"]] == [p.shape for p in ours]
    for p, q in zip(ours, twin_params, strict=True):
        q.grad = p.grad.clone()
    mine.step()
    twin.step()
    for p, q, r in zip(ours, twin_params, unpickled.param_groups[0]["params"], strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
        assert not np.array_equal(p.detach().numpy(), r.detach().numpy())
    before = [p.detach().numpy().copy() for p in ours]
    twin.step()
    assert all(np.array_equal(a, p.detach().numpy()) for a, p in zip(before, ours, strict=True))


def test_state_changed_by_hand():
    """Whatever the user does to parameters and state between steps is seen by the next step."""
    ours, theirs, grads = make(SHAPES)
    mine, other = torch.optim.Adam(ours, lr=0.1), pt.optim.Adam(theirs, lr=0.1)

    def both():
        grads()
        mine.step()
        other.step()
        for a, b in zip(ours, theirs, strict=True):
            close(a, b, 1e-5)
    both()
    for params, optimizer, module in ((ours, mine, torch), (theirs, other, pt)):
        optimizer.state[params[0]]["step"].fill_(9.0)
        optimizer.state[params[1]]["exp_avg"].zero_()
        optimizer.state[params[2]]["exp_avg_sq"] = module.ones(3, 5)
    both()
    for params, optimizer, module in ((ours, mine, torch), (theirs, other, pt)):
        del optimizer.state[params[4]]
        params[0].data = module.ones(5, 4)
        with module.no_grad():
            params[2].mul_(2)
        optimizer.param_groups[0]["amsgrad"] = False
        optimizer.param_groups[0]["weight_decay"] = 0.3
    both()
    for params, optimizer, module in ((ours, mine, torch), (theirs, other, pt)):
        params[1].data = params[0].data[:, 1].clone()[:5]
        params[0].data = module.ones(4, 5).t()
        optimizer.add_param_group({"params": [params.pop()] if False else module.zeros(2).requires_grad_(), "lr": 1.0})
        optimizer.param_groups[1]["params"][0].grad = module.ones(2)
    both()
    close(mine.param_groups[1]["params"][0], other.param_groups[1]["params"][0])


def test_version_counter_and_strided_gradients():
    p = torch.zeros(3, 4).requires_grad_()
    q = pt.zeros(3, 4).requires_grad_()
    g = np.arange(12, dtype=np.float32).reshape(4, 3)
    p.grad, q.grad = torch.tensor(g).t(), pt.tensor(g).t()
    version = p._version
    torch.optim.SGD([p], lr=0.1).step()
    pt.optim.SGD([q], lr=0.1).step()
    close(p, q)
    assert p._version == version + 1
    big = torch.zeros(300, 200).requires_grad_()
    other = pt.zeros(300, 200).requires_grad_()
    g = np.random.default_rng(0).standard_normal((200, 300)).astype(np.float32)
    big.grad, other.grad = torch.tensor(g).t(), pt.tensor(g).t()
    torch.optim.Adam([big]).step()
    pt.optim.Adam([other]).step()
    close(big, other)


def test_tensor_lr_and_groups():
    ours, theirs, grads = make([(3,), (2, 2), (4,)])
    def build(module, ps):
        return module.optim.Adam([{"params": ps[:1], "lr": 0.5}, {"params": ps[1:], "betas": (0.5, 0.9)}], lr=module.tensor(0.1))
    mine, other = build(torch, ours), build(pt, theirs)
    for _ in range(3):
        grads()
        mine.step()
        other.step()
        mine.param_groups[1]["lr"].mul_(0.5)
        other.param_groups[1]["lr"].mul_(0.5)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b)


@pytest.mark.parametrize(("name", "options"), [CASES[i] for i in (4, 5, 7, 9, 11, 14, 17, 21, 24, 26, 28)])
def test_differentiable(name, options):
    if options.get("maximize"):
        options = {**options, "maximize": False}
    if options.get("fused"):
        options = {**options, "fused": None}
    start, gradient = np.array([0.3, -1.0, 2.0]), np.array([0.5, 0.1, -0.2])
    results = []
    for module in (torch, pt):
        p = module.tensor(start.copy(), requires_grad=True)
        g = module.tensor(gradient.copy(), requires_grad=True)
        q = p.clone()
        optimizer = getattr(module.optim, name)([q], differentiable=True, **options)
        # PyTorch cannot differentiate two steps of some of them ("modified by an inplace operation").
        for factor in (1.0, 0.5) if name not in ("Adamax", "NAdam", "RMSprop", "Rprop", "RAdam") and "amsgrad" not in options else (1.0,):
            q.grad = g * factor
            optimizer.step()
        (q ** 2).sum().backward()
        results.append((q.detach().numpy(), p.grad.numpy(), g.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)     # PyTorch keeps its step count in float32


@pytest.mark.parametrize("options", [{}, {"line_search_fn": "strong_wolfe"}, {"lr": 0.5, "history_size": 3, "max_iter": 8},
                                     {"line_search_fn": "strong_wolfe", "max_iter": 5, "lr": 1.0}])
def test_lbfgs(options):
    """Rosenbrock's valley: the same losses on the way, and the same state at the end."""
    losses, states = [], []
    for module in (torch, pt):
        x = module.tensor([-1.2, 1.0], dtype=module.float64, requires_grad=True)
        y = module.tensor([[0.5]], dtype=module.float64, requires_grad=True)
        optimizer = module.optim.LBFGS([x, y], **options)

        def closure(x=x, y=y, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2 + ((y - x[0]) ** 2).sum()
            loss.backward()
            return loss
        losses.append([float(optimizer.step(closure)) for _ in range(4)])
        states.append(optimizer.state_dict())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-7, atol=1e-12)
    mine, other = (state["state"][0] for state in states)
    assert mine["func_evals"] == other["func_evals"] and mine["n_iter"] == other["n_iter"]
    close(mine["d"], other["d"], 1e-6)
    assert len(mine["old_dirs"]) == len(other["old_dirs"]) and list(mine) == list(other)


def test_lbfgs_errors():
    p = torch.zeros(2).requires_grad_()
    with pytest.raises(ValueError, match="per-parameter"):
        torch.optim.LBFGS([{"params": [p]}, {"params": [torch.zeros(1).requires_grad_()]}])
    optimizer = torch.optim.LBFGS([p])
    with pytest.raises(TypeError, match="closure"):
        optimizer.step()


def test_swapped_in():
    results = []
    for module in (torch, pt):
        p, q = module.zeros(2).requires_grad_(), module.ones(2).requires_grad_()
        optimizer = module.optim.Adam([p], lr=0.1)
        p.grad = module.ones(2)
        optimizer.step()
        other = module.optim.Adam([q], lr=0.5)
        q.grad = -module.ones(2)
        other.step()
        state = other.state_dict()
        with module.optim.swap_in_optimizer_params_and_state(optimizer, {"w": q}, state):
            optimizer.step()
        optimizer.step()
        results.append((p.tolist(), q.tolist(), float(state["state"][0]["step"]), float(optimizer.state[p]["step"])))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_muon():
    for options in ({}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3}):
        ours, theirs, grads = make([(6, 4), (3, 8)])
        mine, other = torch.optim.Muon(ours, lr=0.1, **options), pt.optim.Muon(theirs, lr=0.1, **options)
        for _ in range(3):
            grads()
            mine.step()
            other.step()
        for a, b in zip(ours, theirs, strict=True):
            close(a, b, 1e-2)
        assert repr(mine) == repr(other)
    with pytest.raises(ValueError, match="2D"):
        torch.optim.Muon([torch.zeros(3).requires_grad_()])


BAD = [
    ("SGD", {"lr": -1}), ("SGD", {"momentum": -1}), ("SGD", {"weight_decay": -1}), ("SGD", {"nesterov": True}),
    ("SGD", {"fused": True, "foreach": True}), ("SGD", {"fused": True, "differentiable": True}),
    ("Adam", {"lr": -1}), ("Adam", {"eps": -1}), ("Adam", {"betas": (1.0,
                                                                     0.9)}), ("Adam", {"betas": (0.9, -1)}), ("Adam", {"weight_decay": -1}),
    ("AdamW", {"lr": -1}), ("AdamW", {"betas": (1.0, 0.9)}), ("Adamax",
                                                              {"eps": -1}), ("NAdam", {"momentum_decay": -1}), ("RAdam", {"lr": -1}),
    ("RMSprop", {"alpha": -1}), ("RMSprop", {"momentum": -1}), ("Rprop", {"lr": -1}), ("Rprop", {"etas": (1.2, 1.5)}),
    ("Adagrad", {"lr_decay": -1}), ("Adagrad", {"initial_accumulator_value": -1}), ("Adagrad", {"eps": -1}), ("Adadelta", {"rho": 2}),
    ("ASGD", {"lr": -1}), ("LBFGS", {"lr": -1}), ("Adafactor", {"lr": -1}), ("Adafactor",
                                                                             {"beta2_decay": 0.5}), ("Adafactor", {"eps": (-1, 1)}),
    ("Adafactor", {"d": 0.5}), ("Muon", {"lr": -1}), ("Muon", {"adjust_lr_fn": "x"}),
]


@pytest.mark.parametrize(("name", "options"), BAD)
def test_bad_options(name, options):
    errors = []
    for module in (torch, pt):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            getattr(module.optim, name)([module.zeros(2, 2).requires_grad_()], **options)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_bad_parameters():
    def each(make):
        results = []
        for module in (torch, pt):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    make(module, module.zeros(2).requires_grad_())
                    results.append(("fine", [str(w.message) for w in caught]))
                except Exception as error:
                    results.append((type(error), str(error)))
        assert results[0] == results[1]
    each(lambda m, p: m.optim.SGD(p))
    each(lambda m, p: m.optim.SGD([]))
    each(lambda m, p: m.optim.SGD([1]))
    each(lambda m, p: m.optim.SGD([p * 2]))
    each(lambda m, p: m.optim.SGD([p, p]))
    each(lambda m, p: m.optim.SGD([{"params": [p]}, {"params": [p]}]))
    each(lambda m, p: m.optim.SGD([{"params": {p}}]))
    each(lambda m, p: m.optim.SGD([("a", p), m.zeros(2)]))
    each(lambda m, p: m.optim.SGD([{"params": [("a", p)]}, {"params": [m.zeros(2)]}]))
    each(lambda m, p: m.optim.SGD([p]).add_param_group(3))
    each(lambda m, p: m.optim.SGD([p], lr=m.ones(2)))
    each(lambda m, p: m.optim.Adam([p], lr=m.tensor(0.1), foreach=True))
    each(lambda m, p: m.optim.Adam([p], betas=(m.tensor(0.1), 0.9)))
    each(lambda m, p: m.optim.SGD([p]).load_state_dict(m.optim.SGD([p, m.zeros(2)]).state_dict()))
    each(lambda m, p: m.optim.SGD([p]).load_state_dict(m.optim.SGD([{"params": [p]}, {"params": [m.zeros(2)]}]).state_dict()))
    p = torch.zeros(2).requires_grad_()
    p.grad = torch.ones(2)
    with pytest.raises(AssertionError, match="capturable"):
        torch.optim.Adam([p], capturable=True).step()
    assert p.detach().numpy().tolist() == [0, 0]


def test_named_parameters():
    for m in (torch, pt):
        p = m.zeros(2).requires_grad_()
        optimizer = m.optim.SGD([("w", p)])
        state = optimizer.state_dict()
        assert list(state["param_groups"][0])[0] == "param_names" and state["param_groups"][0]["param_names"] == ["w"]


def test_hooks():
    logs = []
    for m in (torch, pt):
        log = []
        p = m.zeros(2).requires_grad_()
        p.grad = m.ones(2)
        optimizer = m.optim.SGD([p], lr=1.0)
        optimizer.register_step_pre_hook(lambda o, a, k, log=log, p=p: log.append(("pre", p.detach().tolist(), a[0] is o, a[1:], k)))
        handle = optimizer.register_step_post_hook(lambda o, a, k, log=log, p=p: log.append(("post", p.detach().tolist())))
        optimizer.register_state_dict_pre_hook(lambda o, log=log: log.append("state_pre"))
        optimizer.register_state_dict_post_hook(lambda o, s, log=log: {**s, "extra": 1})
        optimizer.register_load_state_dict_pre_hook(lambda o, s, log=log: log.append(("load_pre", sorted(s))))
        optimizer.register_load_state_dict_post_hook(lambda o, log=log: log.append("load_post"))
        optimizer.step()
        handle.remove()
        optimizer.step(lambda: 3)
        optimizer.load_state_dict(optimizer.state_dict())
        log[2] = log[2][:2]
        logs.append(log)
    assert logs[0] == logs[1]


def test_closure_and_zero_grad():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss
    with torch.no_grad():
        loss = optimizer.step(closure)
    assert float(loss) == 5.0
    np.testing.assert_allclose(x.detach().numpy(), [0.8, 1.6], rtol=1e-6)
    grad = x.grad
    optimizer.zero_grad(set_to_none=False)
    assert x.grad is grad and grad.numpy().tolist() == [0, 0]
    optimizer.zero_grad()
    assert x.grad is None
    before = x.detach().clone()
    optimizer.step()
    assert np.array_equal(before.numpy(), x.detach().numpy())


def test_own_optimizer():
    class Signs(torch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad.sign(), alpha=-group["lr"])
    p = torch.zeros(2).requires_grad_()
    p.grad = torch.tensor([3.0, -2.0])
    seen = []
    optimizer = Signs([p], 0.5)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    optimizer.step()
    assert p.detach().tolist() == [-0.5, 0.5] and seen == [1]


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "ASGD", "RAdam", "NAdam"])
def test_numbers_that_change_while_training(name):
    """A recorded rule serves later steps only as long as they would record the same: what is asked about the numbers is asked again."""
    ours, theirs, grads = make(SHAPES)
    extra = {"t0": 4} if name == "ASGD" else {}
    a, b = getattr(torch.optim, name)(ours, lr=0.05, **extra), getattr(pt.optim, name)(theirs, lr=0.05, **extra)
    for step in range(12):
        for optimizer in (a, b):
            group = optimizer.param_groups[0]
            group["lr"] = 0.05 / (1 + step)
            group["weight_decay"] = 0.1 if step in (3, 4, 8) else 0.0
            group["maximize"] = step in (5, 8)
            if "momentum" in group and step == 6 and name == "RMSprop":
                group["eps"] = 1e-3
        grads()
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=2e-5, atol=1e-6, err_msg=f"step {step}")


@pytest.mark.parametrize("way", ["native", "calls"])
def test_a_rule_may_compute_with_its_numbers_and_ask_about_them(way):
    """Computed numbers are computed anew in each step; another answer makes another recording."""
    from rushlight.kernels.native import library
    from rushlight.kernels.step import Stepper
    if library is None and way == "native":
        pytest.skip("no native library")

    def rule(h, p, g):
        return (g * (1.5 * h[0] + 0.5 * h[0] - h[0] / 4.0),)

    def compares(h, p, g):
        return (g * (h[0] if h[0] > 0.5 else 0.0),)

    def whole(h, p, g):
        return (g * int(h[0]),)

    def two(h, p, g):
        return (g * (h[1] if h[0] < h[1] else h[0]),)

    for function, want, recordings in ((rule, (0.175, 1.75, 5.25), 1), (compares, (0.0, 1.0, 3.0), 2), (whole, (0.0, 1.0, 3.0), 3), (two, (1.0, 1.0, 3.0), 2)):
        stepper = Stepper()
        for number, change in zip((0.1, 1.0, 3.0), want, strict=True):
            p, g = np.zeros(5, np.float32), np.ones(5, np.float32)
            if way == "native":
                assert stepper.run(function, (number, 1.0), 1.0, ([p], [g]))
            else:
                recording = stepper.recording(function, (number, 1.0), 2)
                scratch, calls = [np.empty(5, np.float32) for _ in range(recording.calls().scratch)], recording.calls()
                bound = calls.bind([p, None], scratch)
                calls.set(recording.numbers((number, 1.0)))
                bound.run(g)
                p = -scratch[0]
            np.testing.assert_allclose(p, -change, rtol=1e-6)
        assert sum(map(len, stepper.known.values())) == recordings, function.__name__


def test_a_rule_may_need_the_old_state_late_and_give_its_arguments_back():
    """New state lies in place of the old; where the old is needed later, it goes there at the end."""
    from rushlight.kernels.step import Recording

    def rule(h, p, g, a, b):
        new = a * 2.0
        return np.where(a < new, a - b, g), new, g, g

    numbers = np.arange(1.0, 5.0)
    a, b, extra = numbers.copy(), numbers * 10, numbers * 100
    recording = Recording(lambda h, p, g, a, b, c: rule(h, p, g, a, b), (), 5)
    calls = recording.calls()
    scratch = [np.empty(4) for _ in range(calls.scratch)]
    bound = calls.bind([numbers, None, a, b, extra], scratch)
    calls.set([])
    bound.run(-numbers)
    np.testing.assert_array_equal(scratch[0], numbers - numbers * 10)
    np.testing.assert_array_equal(a, numbers * 2)
    np.testing.assert_array_equal(b, -numbers)
    np.testing.assert_array_equal(extra, -numbers)


def test_nadam_is_differentiable_by_its_state():
    found = []
    for m in (pt, torch):
        m.manual_seed(0)
        p, g, product = (m.tensor(values, dtype=m.float64, requires_grad=True) for values in ([1.0, 2.0], [0.5, -0.3], 0.9))
        work = p.clone()
        work.grad = g.clone()
        optimizer = m.optim.NAdam([work], lr=0.1, differentiable=True)
        optimizer.state[work] = {"step": m.tensor(3.0, dtype=m.float64), "mu_product": product.clone(), "exp_avg": m.ones(2, dtype=m.float64) * 0.1,
                                 "exp_avg_sq": m.ones(2, dtype=m.float64) * 0.2}
        optimizer.step()
        work.sum().backward()
        found.append([product.grad.item(), *p.grad.tolist(), *g.grad.tolist(), *work.tolist()])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10)
