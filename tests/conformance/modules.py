"""module_db: every public module of nn: first parameters, state_dict keys, forward in train and eval mode, gradients."""

import contextlib

import torch as pt
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import rushlight as rl

from .compare import Differs, agree, same_error
from .mirror import Copier, Missing, function
from .ops import _cotangent, _flat
from .running import TooSlow, attempt, describe, limited, quiet, seed, seeded

DTYPES = ("float32", "float64", "complex64", "bfloat16")
MODULES = {info.name: info for info in module_db}
# Modules without dtype-dependent parameters take their dtype from the input.


def run_module(info, limit=None):
    """Yield (dtype and mode, index of the input, None or (check, text))."""
    for name in DTYPES:
        dtype = getattr(pt, name)
        if dtype not in info.dtypes:
            continue
        for training in (True, False):
            seed()
            with quiet():
                inputs = list(info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training))
            for index, case in enumerate(inputs[:limit]):
                with quiet():
                    verdict = _guarded(_compare, info, case, dtype, training)
                if verdict != "skip":
                    yield f"{name} {'train' if training else 'eval'}", index, verdict


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


def _build(cls, case, dtype, ours):
    copy = Copier(ours, True)
    made = seeded(cls, *copy(tuple(case.constructor_input.args)), **copy(dict(case.constructor_input.kwargs)))
    return made.to(getattr(rl, str(dtype).removeprefix("torch.")) if ours else dtype)


def _forward(module, case, training, ours):
    copy = Copier(ours, True)
    args, kwargs = copy(tuple(case.forward_input.args)), copy(dict(case.forward_input.kwargs))
    module.train(training)
    result = seeded(module, *args, **kwargs)
    kind = rl.Tensor if ours else pt.Tensor
    inputs = [t for t in _flat([args, kwargs], kind) if t.requires_grad]
    return result, list({id(t): t for t in inputs}.values())


def _compare(info, case, dtype, training):
    built, refused = attempt(_build, info.module_cls, case, dtype, False)
    if refused is not None or case.forward_input is None:
        return "skip"
    calls, refused = attempt(_forward, built, case, training, False)
    if refused is not None:
        return "skip"
    theirs = _build(info.module_cls, case, dtype, False)
    ours = _build(function(info.module_cls), case, dtype, True)
    state = theirs.state_dict()
    lazy = any(isinstance(t, pt.nn.parameter.UninitializedTensorMixin) for t in state.values())
    if not lazy:
        agree({k: v.detach() for k, v in ours.state_dict().items()}, dict(state), "first parameters")
    elif list(ours.state_dict()) != list(state):
        raise Differs(f"state_dict keys: {list(ours.state_dict())} instead of {list(state)}")
    expected, their_in = _forward(theirs, case, training, False)
    result, our_in = _forward(ours, case, training, True)
    agree(result, expected, "forward", loose=10.0)
    agree(dict(ours.state_dict()), dict(theirs.state_dict()), "state_dict after forward", loose=10.0)
    if repr(ours) != repr(theirs):
        raise Differs(f"repr: {ours!r:.150} instead of {theirs!r:.150}")
    _backward(result, expected, our_in, their_in, ours, theirs)
    return None


def _backward(result, expected, our_in, their_in, ours, theirs):
    their_out = [t for t in _flat(expected, pt.Tensor) if t.requires_grad]
    our_out = [t for t in _flat(result, rl.Tensor) if t.requires_grad]
    if len(their_out) != len(our_out):
        raise Differs(f"{len(our_out)} outputs require grad instead of {len(their_out)}")
    if not their_out:
        return
    ups = [_cotangent(t, i) for i, t in enumerate(their_out)]
    _, refused = attempt(pt.autograd.backward, their_out, ups)
    if refused is not None:
        return
    seeded(rl.autograd.backward, our_out, Copier(True)(ups))
    for what, mine, other in (("input", our_in, their_in), ("parameter", list(ours.parameters()), list(theirs.parameters()))):
        for i, (a, b) in enumerate(zip(mine, other)):
            agree(a.grad, b.grad, f"gradient of {what} {i}", loose=30.0)


def run_module_errors(info):
    """Yield ("error", index, None or (check, text)) for the error inputs of a module."""
    if info.module_error_inputs_func is None:
        return
    seed()
    with quiet(), contextlib.suppress(NotImplementedError):
        cases = list(info.module_error_inputs_func(info, device="cpu", dtype=pt.float32, requires_grad=False, training=True))
        for index, case in enumerate(cases):
            verdict = _guarded(_error, info, case)
            if verdict != "skip":
                yield "error", index, verdict


def _error(info, case):
    def everything(cls, ours):
        module = _build(cls, case.module_error_input, pt.float32, ours)
        if case.error_on == ModuleErrorEnum.FORWARD_ERROR:
            _forward(module, case.module_error_input, True, ours)
    _, theirs = attempt(everything, info.module_cls, False)
    if theirs is None:
        return "skip"
    _, ours = attempt(everything, function(info.module_cls), True)
    if ours is None:
        return "error", f"no error, PyTorch raises {describe(theirs)}"
    return None if same_error(ours, theirs) else ("error", f"{describe(ours)} instead of {describe(theirs)}")
