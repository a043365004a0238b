"""module_db through archives: PyTorch scripts and traces its modules, both sides load the archive, and the values are compared.

    python -m tests.jit.database [names ...]
"""

import copy
import io
import sys
import warnings

import torch as pt
from torch.testing._internal.common_modules import module_db

import rushlight as rl
from tests.conformance.compare import agree
from tests.conformance.mirror import Copier
from tests.conformance.ops import _flat
from tests.jit.archives import archive


def check(info, limit=None, hows=("script", "trace"), trainings=(True, False)):
    """Yield None for each archive that agrees, and what went wrong for the others; what PyTorch can't script or call is left out."""
    for training in trainings:
        pt.manual_seed(0)
        cases = list(info.module_inputs_func(info, device="cpu", dtype=pt.float32, requires_grad=True, training=training))
        for case in [each for each in cases if each.forward_input is not None][:limit]:
            for how in hows:
                yield from _one(info, case, how, training)


def _one(info, case, how, training):
    args, kwargs = tuple(case.forward_input.args), dict(case.forward_input.kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = info.module_cls(*case.constructor_input.args, **case.constructor_input.kwargs).train(training)
            content = archive(module, how, copy.copy(args)) if how == "script" or not kwargs else None
            theirs = pt.jit.load(io.BytesIO(content))
            their_args = Copier(False, True)(args), Copier(False, True)(kwargs)
            pt.manual_seed(7)
            expected = theirs(*their_args[0], **their_args[1])
        except Exception:  # noqa: BLE001
            return
        try:
            _compare(content, theirs, expected, args, kwargs)
        except Exception as error:  # noqa: BLE001
            yield f"{info.name} {how} {'train' if training else 'eval'}: {type(error).__name__}: {str(error)[:300]}"
        else:
            yield None


def _compare(content, theirs, expected, args, kwargs):
    mine = rl.jit.load(io.BytesIO(content))
    our_args, our_kwargs = Copier(True, True)(args), Copier(True, True)(kwargs)
    rl.manual_seed(7)
    result = mine(*our_args, **our_kwargs)
    agree(result, expected, "forward", loose=10.0)
    agree(dict(mine.state_dict()), dict(theirs.state_dict()), "state", loose=10.0)
    wanted = [t for t in _flat(expected, pt.Tensor) if t.requires_grad and t.is_floating_point()]
    if wanted:
        pt.autograd.backward([t.sum() for t in wanted])
        rl.autograd.backward([t.sum() for t in _flat(result, rl.Tensor) if t.requires_grad and t.is_floating_point()])
        for (name, a), b in zip(mine.named_parameters(), theirs.parameters(), strict=True):
            agree(a.grad, b.grad, f"gradient of {name}", loose=100.0)
    again = io.BytesIO()
    rl.jit.save(mine, again)
    agree(dict(Copier(True)(pt.jit.load(io.BytesIO(again.getvalue())).state_dict())), dict(theirs.state_dict()), "saved again", loose=10.0)


def main(names):
    """Run all modules (or those whose names contain one of `names`) and print what does not agree."""
    good = bad = 0
    for info in module_db:
        if not names or any(each in info.name for each in names):
            for text in check(info):
                good, bad = good + (text is None), bad + (text is not None)
                if text is not None:
                    print(text, flush=True)
    print(f"{good} archives agree, {bad} do not")


if __name__ == "__main__":
    main(sys.argv[1:])
