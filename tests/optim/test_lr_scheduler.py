"""Learning-rate schedulers: rates, momenta, warnings, errors and state against PyTorch's, live."""

import math
import warnings

import pytest
import torch as pt

import rushlight as torch


def optimizer(m, groups=2, name="SGD", **options):
    params = [{"params": [m.zeros(1).requires_grad_()], **({"lr": 0.05} if i else {})} for i in range(groups)]
    if name == "SGD":
        options = {"momentum": 0.9, **options}
    return getattr(m.optim, name)(params, lr=0.1, **options)


S = {
    "lambda": lambda L, o: L.LambdaLR(o, [lambda e: 0.9 ** e, lambda e: 1 / (1 + e)]),
    "lambda_one": lambda L, o: L.LambdaLR(o, lambda e: min(1.0, e / 5)),
    "multiplicative": lambda L, o: L.MultiplicativeLR(o, lambda e: 0.9 if e % 2 else 0.8),
    "step": lambda L, o: L.StepLR(o, 3, 0.5),
    "multistep": lambda L, o: L.MultiStepLR(o, [2, 2, 5, 9], 0.3),
    "constant": lambda L, o: L.ConstantLR(o, 0.4, 4),
    "linear": lambda L, o: L.LinearLR(o, 0.2, 0.9, 6),
    "exponential": lambda L, o: L.ExponentialLR(o, 0.93),
    "polynomial": lambda L, o: L.PolynomialLR(o, 7, 1.7),
    "cosine": lambda L, o: L.CosineAnnealingLR(o, 5, 0.01),
    "restarts": lambda L, o: L.CosineAnnealingWarmRestarts(o, 3, 2, 0.001),
    "restarts_one": lambda L, o: L.CosineAnnealingWarmRestarts(o, 4),
    "cyclic": lambda L, o: L.CyclicLR(o, 0.01, 0.1, 3, 5),
    "cyclic2": lambda L, o: L.CyclicLR(o, [0.01, 0.02], [0.1, 0.2], 3, mode="triangular2", cycle_momentum=False),
    "cyclic_exp": lambda L, o: L.CyclicLR(o, 0.01, 0.1, 2, mode="exp_range", gamma=0.9),
    "cyclic_own": lambda L, o: L.CyclicLR(o, 0.01, 0.1, 2, scale_fn=lambda x: 1 / x, scale_mode="cycle"),
    "onecycle": lambda L, o: L.OneCycleLR(o, 0.5, 20),
    "onecycle_linear": lambda L, o: L.OneCycleLR(o, [0.5, 0.2], epochs=4, steps_per_epoch=6, anneal_strategy="linear", three_phase=True),
    "onecycle_plain": lambda L, o: L.OneCycleLR(o, 0.5, 18, cycle_momentum=False, pct_start=0.5, div_factor=10.0),
    "sequential": lambda L, o: L.SequentialLR(o, [L.LinearLR(o, 0.1, total_iters=4), L.ExponentialLR(o, 0.9), L.StepLR(o, 2)], [4, 9]),
    "sequential_mult": lambda L, o: L.SequentialLR(o, [L.ConstantLR(o, 0.1, 3), L.MultiplicativeLR(o, lambda e: 0.9),
                                                       L.CosineAnnealingLR(o, 5)], [3, 8]),
    "sequential_lambda": lambda L, o: L.SequentialLR(o, [L.LambdaLR(o, lambda e: (e + 1) / 5), L.CosineAnnealingWarmRestarts(o, 4)], [5]),
    "chained": lambda L, o: L.ChainedScheduler([L.ConstantLR(o, 0.1, 3), L.ExponentialLR(o, 0.9), L.StepLR(o, 4)]),
    "nested": lambda L, o: L.SequentialLR(o, [L.ChainedScheduler([L.ConstantLR(o, 0.1, 3), L.ExponentialLR(o, 0.9)]), L.StepLR(o, 2)], [6]),
}


def groups(o):
    return [{k: v for k, v in group.items() if k != "params"} for group in o.param_groups]


def no_functions(value):
    if isinstance(value, dict):
        return {k: no_functions(v) for k, v in value.items() if k != "_anneal_func_type"}
    return value


@pytest.mark.parametrize("name", list(S))
def test_rates_and_state(name):
    histories, states = [], []
    for m in (torch, pt):
        o = optimizer(m)
        s = S[name](m.optim.lr_scheduler, o)
        history = [(groups(o), s.get_last_lr())]
        for _ in range(15):
            o.step()
            s.step()
            history.append((groups(o), s.get_last_lr()))
        histories.append(history)
        states.append(s.state_dict())
    for ours, theirs in zip(*histories, strict=True):
        assert ours == theirs
    assert no_functions(states[0]) == no_functions(states[1])
    assert list(states[0]) == list(states[1])


@pytest.mark.parametrize("name", list(S))
def test_resume(name):
    """A state_dict taken in the middle goes on as if nothing had happened, from PyTorch's state, too."""
    for source in (torch, pt):
        o, expected_o = optimizer(source), optimizer(pt)
        s, expected = S[name](source.optim.lr_scheduler, o), S[name](pt.optim.lr_scheduler, expected_o)
        for _ in range(6):
            for each in (o, s, expected_o, expected):
                each.step()
        new = optimizer(torch)
        resumed = S[name](torch.optim.lr_scheduler, new)
        state = s.state_dict()
        new.load_state_dict(o.state_dict())
        resumed.load_state_dict(state)
        for _ in range(5):
            for each in (new, resumed, expected_o, expected):
                each.step()
            assert resumed.get_last_lr() == pytest.approx(expected.get_last_lr(), rel=1e-12)


@pytest.mark.parametrize("name", ["lambda", "step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine", "cyclic",
                                  "onecycle",
                                  "multiplicative"])
def test_step_to_epoch(name):
    for epoch in (0, 3, 7):
        rates = []
        for m in (torch, pt):
            o = optimizer(m)
            s = S[name](m.optim.lr_scheduler, o)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                o.step()
                s.step(epoch)
            assert len(caught) == 1 and "epoch parameter" in str(caught[0].message)
            rates.append(s.get_last_lr())
        assert rates[0] == rates[1]


def test_fractional_restarts():
    rates = []
    for m in (torch, pt):
        o = optimizer(m)
        s = m.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 2)
        rates.append([])
        for epoch in (0.5, 1.2, 2.9, 3.1, 7.5, 10.0, 30.4):
            s.step(epoch)
            rates[-1].append((s.get_last_lr(), s.T_cur, s.T_i, s.last_epoch))
        s.step()
        rates[-1].append(s.get_last_lr())
    assert rates[0] == rates[1]


@pytest.mark.parametrize("options", [{"patience": 1}, {"mode": "max", "patience": 0, "cooldown": 2},
                                     {"threshold_mode": "abs", "threshold": 0.3},
                                     {"patience": 0, "min_lr": [0.02, 0.03]}, {"mode": "max", "threshold_mode": "abs", "patience": 1,
                                                                               "factor": 0.5}])
def test_plateau(options):
    metrics = [3.0, 2.5, 2.4, 2.6, 2.7, 2.39, 2.39, 2.5, 2.6, 5.0, 5.0, 4.0, 4.1, math.nan, 1.0, 1.0]
    logs = []
    for m in (torch, pt):
        o = optimizer(m)
        s = m.optim.lr_scheduler.ReduceLROnPlateau(o, **options)
        logs.append([])
        for metric in metrics:
            o.step()
            s.step(m.tensor(metric))
            logs[-1].append((s.get_last_lr(), s.num_bad_epochs, s.in_cooldown))
        logs[-1].append(list(s.state_dict().items()))
    assert logs[0] == logs[1]


def outcome(make, m):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = make(m, m.optim.lr_scheduler)
        except Exception as error:
            return type(error), str(error)
    return "fine", [(w.category, str(w.message)) for w in caught], result if isinstance(result, (list, float, int)) else None


def late(m, L):
    o = optimizer(m)
    s = L.StepLR(o, 2)
    s.step()
    s.step()
    return s.get_lr()


def overridden(m, L):
    o = optimizer(m)
    s = L.StepLR(o, 2)
    o.step = lambda: None
    s.step()


def stepped_before(m, L):
    o = optimizer(m)
    o.step()
    s = L.StepLR(o, 2)
    s.step()


def too_many(m, L):
    o = optimizer(m)
    s = L.OneCycleLR(o, 0.1, 2)
    for _ in range(3):
        o.step()
        s.step()


@pytest.mark.parametrize("make", [
    late, overridden, stepped_before, too_many,
    lambda m, L: L.StepLR(3, 2), lambda m, L: L.LambdaLR(optimizer(m), [lambda e: 1]), lambda m, L: L.MultiplicativeLR(optimizer(m),
                                                                                                                       [lambda e: 1]),
    lambda m, L: L.ConstantLR(optimizer(m), factor=2), lambda m, L: L.LinearLR(optimizer(m), start_factor=2),
    lambda m, L: L.LinearLR(optimizer(m), start_factor=0), lambda m, L: L.LinearLR(optimizer(m), end_factor=2),
    lambda m, L: L.MultiStepLR(optimizer(m), 3),
    lambda m, L: L.SequentialLR(optimizer(m), [], [2]), lambda m, L: (lambda o: L.SequentialLR(o, [L.StepLR(o, 1)] * 2, []))(optimizer(m)),
    lambda m, L: (lambda o: L.SequentialLR(o, [L.StepLR(o, 1), 3], [2]))(optimizer(m)),
    lambda m, L: (lambda o: L.SequentialLR(o, [L.StepLR(o, 1), L.ReduceLROnPlateau(o)], [2]))(optimizer(m)),
    lambda m, L: (lambda o: L.SequentialLR(o, [L.StepLR(o, 1), L.StepLR(optimizer(m), 1)], [2]))(optimizer(m)),
    lambda m, L: L.ChainedScheduler([]), lambda m, L: L.ChainedScheduler([L.StepLR(optimizer(m), 1), 3]),
    lambda m, L: L.ChainedScheduler([L.StepLR(optimizer(m), 1)], optimizer(m)),
    lambda m, L: L.ReduceLROnPlateau(optimizer(m), factor=1.0), lambda m, L: L.ReduceLROnPlateau(3),
    lambda m, L: L.ReduceLROnPlateau(optimizer(m), min_lr=[1]), lambda m, L: L.ReduceLROnPlateau(optimizer(m), mode="x"),
    lambda m, L: L.ReduceLROnPlateau(optimizer(m), threshold_mode="x"), lambda m, L: L.CyclicLR(3, 1, 1),
    lambda m, L: L.CyclicLR(optimizer(m), 0.1, 1, mode="x"), lambda m, L: L.CyclicLR(optimizer(m), [0.1], 1),
    lambda m, L: L.CyclicLR(optimizer(m, name="Adadelta"), 0.1, 1), lambda m, L: L.OneCycleLR(optimizer(m, name="Adadelta"), 0.1, 10),
    lambda m, L: L.CosineAnnealingWarmRestarts(optimizer(m), 0), lambda m, L: L.CosineAnnealingWarmRestarts(optimizer(m), 1, 0),
    lambda m, L: L.CosineAnnealingWarmRestarts(optimizer(m), 2).step(-1), lambda m, L: L.CosineAnnealingWarmRestarts(optimizer(m), 2,
                                                                                                                     eta_min="a"),
    lambda m, L: L.OneCycleLR(optimizer(m), 0.1), lambda m, L: L.OneCycleLR(optimizer(m), 0.1, -1),
    lambda m, L: L.OneCycleLR(optimizer(m), 0.1, epochs=-1, steps_per_epoch=2), lambda m, L: L.OneCycleLR(optimizer(m), 0.1, 10,
                                                                                                          pct_start=2),
    lambda m, L: L.OneCycleLR(optimizer(m), 0.1, 10, anneal_strategy="x"), lambda m, L: L.OneCycleLR(optimizer(m), [0.1], 10),
    lambda m, L: m.optim.swa_utils.SWALR(optimizer(m), 0.1, anneal_strategy="x"),
    lambda m, L: m.optim.swa_utils.SWALR(optimizer(m), 0.1, anneal_epochs=-1), lambda m, L: m.optim.swa_utils.SWALR(optimizer(m), [0.1]),
    lambda m, L: m.optim.swa_utils.get_ema_avg_fn(2), lambda m, L: m.optim.swa_utils.get_ema_multi_avg_fn(-1),
])
def test_errors_and_warnings(make):
    assert outcome(make, torch) == outcome(make, pt)


def test_step_replaced_before_the_scheduler():
    o = optimizer(torch)
    o.step = lambda: None
    s = torch.optim.lr_scheduler.StepLR(o, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        o.step()
        s.step()


def test_resuming_without_initial_lr():
    for m in (torch, pt):
        with pytest.raises(KeyError, match="initial_lr"):
            m.optim.lr_scheduler.StepLR(optimizer(m), 2, last_epoch=3)


def test_last_epoch():
    rates = []
    for m in (torch, pt):
        o = optimizer(m)
        for group in o.param_groups:
            group["initial_lr"] = 0.4
        s = m.optim.lr_scheduler.CosineAnnealingLR(o, 8, last_epoch=3)
        rates.append([s.get_last_lr()])
        for _ in range(4):
            o.step()
            s.step()
            rates[-1].append(s.get_last_lr())
    assert rates[0] == rates[1]


def test_adam_betas_cycle():
    betas = []
    for m in (torch, pt):
        o = optimizer(m, name="Adam")
        s = m.optim.lr_scheduler.OneCycleLR(o, 0.1, 8)
        betas.append([])
        for _ in range(7):
            o.step()
            s.step()
            betas[-1].append([g["betas"] for g in o.param_groups])
    assert betas[0] == betas[1]


def test_tensor_lr_is_kept():
    for m in (torch, pt):
        lr = m.tensor(0.5)
        o = m.optim.SGD([m.zeros(1).requires_grad_()], lr=lr)
        s = m.optim.lr_scheduler.StepLR(o, 1)
        o.step()
        s.step()
        assert o.param_groups[0]["lr"] is lr and float(lr) == pytest.approx(0.05) and float(s.base_lrs[0]) == 0.5


def test_callable_objects_in_state():
    class Factor:
        def __init__(self):
            self.k = 3

        def __call__(self, epoch):
            return self.k
    s = torch.optim.lr_scheduler.LambdaLR(optimizer(torch, 1), Factor())
    assert s.state_dict()["lr_lambdas"] == [{"k": 3}]
    t = torch.optim.lr_scheduler.LambdaLR(optimizer(torch, 1), Factor())
    t.load_state_dict({**s.state_dict(), "lr_lambdas": [{"k": 5}]})
    assert t.lr_lambdas[0].k == 5


def test_swalr():
    for options in ({}, {"anneal_epochs": 0}, {"anneal_epochs": 4, "anneal_strategy": "linear"}):
        rates = []
        for m in (torch, pt):
            o = optimizer(m)
            s = m.optim.swa_utils.SWALR(o, 0.02, **options)
            rates.append([s.get_last_lr()])
            for _ in range(12):
                o.step()
                s.step()
                rates[-1].append(s.get_last_lr())
            rates[-1].append(s.state_dict())
        for a, b in zip(*rates, strict=True):
            assert a == b


def averaged(m, state, **options):
    swa = m.optim.swa_utils
    model = m.nn.Sequential(m.nn.Linear(3, 4), m.nn.BatchNorm1d(4), m.nn.Linear(4, 2))
    model.load_state_dict({k: m.tensor(v.tolist()) for k, v in state.items()})
    options = {k: getattr(swa, v)() if isinstance(v, str) else v for k, v in options.items()}
    average = swa.AveragedModel(model, **options)
    batches = [m.tensor([[1.0, 2, 3], [0, -1, 2], [i, 1, 1]]) for i in range(3)]
    for i in range(3):
        model(batches[i])
        with m.no_grad():
            for p in model.parameters():
                p.add_(0.1 * (i + 1))
        average.update_parameters(model)
    before = {k: v.tolist() for k, v in average.state_dict().items()}
    swa.update_bn(batches, average)
    return before, {k: v.tolist() for k, v in average.state_dict().items()}, average.training


@pytest.mark.parametrize("options", [{}, {"multi_avg_fn": "get_ema_multi_avg_fn"}, {"avg_fn": "get_ema_avg_fn"},
                                     {"avg_fn": "get_swa_avg_fn"},
                                     {"use_buffers": True}])
def test_averaged_model(options):
    state = pt.nn.Sequential(pt.nn.Linear(3, 4), pt.nn.BatchNorm1d(4), pt.nn.Linear(4, 2)).state_dict()
    ours, theirs = averaged(torch, state, **options), averaged(pt, state, **options)
    assert ours[2] == theirs[2]
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        assert list(a) == list(b)
        for key in a:
            assert pt.allclose(pt.tensor(a[key]), pt.tensor(b[key]), atol=1e-5), key
