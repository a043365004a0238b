"""optim_db: every optimizer and configuration, with the schedulers listed there: six steps with the same gradients give the same numbers."""

import numpy as np
import torch as pt
from torch.testing._internal.common_optimizers import (
    OptimizerErrorEnum,
    _get_optim_inputs_including_global_cliquey_kwargs,
    optim_db,
)

from .compare import Differs, agree, same_error
from .mirror import Copier, Missing, function, mirror
from .running import TooSlow, attempt, describe, limited, quiet, seed

DTYPES = ("float32", "float64", "complex64", "bfloat16")
OPTIMIZERS = {info.name: info for info in optim_db}
STEPS = 6
_LOOSE = {"Muon": 1e6}      # its matrices are made orthogonal in bfloat16


def run_optimizer(info, limit=None):
    """Yield (dtype, index of the configuration, None or (check, text))."""
    for name in DTYPES:
        dtype = getattr(pt, name)
        if dtype.is_complex and (not info.supports_complex or info.only_supports_sparse_grads):
            continue
        seed()
        configurations = _get_optim_inputs_including_global_cliquey_kwargs("cpu", dtype, info)
        schedulers = [None, *(info.scheduler_inputs if info.scheduler_inputs else [])]
        cases = [(config, None) for config in configurations] + [(configurations[0], each) for each in schedulers if each]
        for index, (config, scheduler) in enumerate(cases[:limit]):
            with quiet():
                verdict = _guarded(_compare, info, config, scheduler, dtype)
            if verdict != "skip":
                yield name, index, verdict


def _guarded(f, *args):
    try:
        with limited():
            return f(*args)
    except TooSlow as error:
        return "time", str(error)
    except (Differs, Missing) as error:
        return "values", str(error)
    except Exception as error:  # noqa: BLE001
        return "call", describe(error)


def _arrays(dtype, step, sparse):
    """Parameters (step 0) or gradients."""
    random = np.random.default_rng(step)
    made = []
    for shape in ((5, 3), (4, 2)):
        a = random.standard_normal(shape) + (1j * random.standard_normal(shape) if dtype.is_complex else 0)
        t = pt.from_numpy(np.asarray(a)).to(dtype)
        if sparse and step:
            t = t * (pt.arange(shape[0]) % 2 == 0).to(dtype)[:, None]
            t = t.to_sparse(1)
        made.append(t)
    return made


class _Run:
    """One side's optimizer at work."""

    def __init__(self, info, config, schedulers, dtype, ours):
        self.ours, self.dtype, self.sparse = ours, dtype, info.only_supports_sparse_grads
        self.copy = Copier(ours, False)
        convert = mirror if ours else (lambda value: value)
        self.params = [self.copy(t).requires_grad_() for t in _arrays(dtype, 0, False)]
        cls = function(info.optim_cls) if ours else info.optim_cls
        self.optimizer = cls(self.params, **convert(dict(config.kwargs)))
        self.schedulers = [convert(make)(self.optimizer) for make in schedulers or ()]
        self.closure = self._loss if info.step_requires_closure else None

    def _loss(self):
        self.optimizer.zero_grad()
        loss = sum(((p - 0.5) ** 2 * (i + 1)).abs().sum() for i, p in enumerate(self.params))
        loss.backward()
        return loss

    def step(self, n):
        if self.closure is None:
            for p, grad in zip(self.params, _arrays(self.dtype, n, self.sparse)):
                p.grad = Copier(self.ours, False)(grad)
            self.optimizer.step()
        else:
            self.optimizer.step(self.closure)
        for scheduler in self.schedulers:
            if type(scheduler).__name__ == "ReduceLROnPlateau":
                scheduler.step(1.0)
            else:
                scheduler.step()


def _compare(info, config, schedulers, dtype):
    theirs, refused = attempt(_Run, info, config, schedulers, dtype, False)
    if refused is not None:
        return "skip"
    reached = []
    for n in range(1, STEPS + 1):
        if attempt(theirs.step, n)[1] is not None:
            return "skip"
        reached.append([p.detach().clone() for p in theirs.params])
    ours = _Run(info, config, schedulers, dtype, True)
    for n, params in enumerate(reached, 1):
        ours.step(n)
        agree([p.detach() for p in ours.params], params, f"parameters after step {n}", loose=_LOOSE.get(info.name, 10.0))
    mine, wanted = ours.optimizer.state_dict(), theirs.optimizer.state_dict()
    if info.name == "LBFGS":      # what it remembers near the minimum is rounding noise, and so is when it stops
        mine, wanted = ({**each, "state": {i: sorted(state) for i, state in each["state"].items()}} for each in (mine, wanted))
    agree(mine, wanted, "state_dict", loose=_LOOSE.get(info.name, 10.0))
    agree(repr(ours.optimizer), repr(theirs.optimizer), "repr")
    return None


def run_optimizer_errors(info):
    """Yield ("error", index, None or ("error", text)) for the error inputs of an optimizer."""
    if info.optim_error_inputs_func is None:
        return
    seed()
    for index, case in enumerate(info.optim_error_inputs_func("cpu", pt.float32)):
        with quiet():
            verdict = _guarded(_error, info, case)
        if verdict != "skip":
            yield "error", index, verdict


def _error(info, case):
    def everything(ours):
        given = case.optimizer_error_input
        copy = Copier(ours, True)
        params = [pt.nn.Parameter(pt.ones(2, 3))] if given.params is None else given.params
        made = copy(params)
        for original, mine in zip(params if isinstance(params, list) else [], made if isinstance(params, list) else []):
            if isinstance(original, pt.Tensor) and original.grad is not None:
                mine.grad = copy(original.grad)
        optimizer = (function(info.optim_cls) if ours else info.optim_cls)(made, **copy(dict(given.kwargs)))
        if case.error_on == OptimizerErrorEnum.STEP_ERROR:
            optimizer.step()
    _, theirs = attempt(everything, False)
    if theirs is None:
        return "skip"
    _, ours = attempt(everything, True)
    if ours is None:
        return "error", f"no error, PyTorch raises {describe(theirs)}"
    return None if same_error(ours, theirs) else ("error", f"{describe(ours)} instead of {describe(theirs)}")


