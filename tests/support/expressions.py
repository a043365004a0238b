"""Evaluate one expression on both sides (`T` is torch or rushlight) and compare values, strides, node names, gradients and errors."""

import warnings
from pathlib import Path

import numpy as np
import torch as pt

import rushlight as rl
from tests.support import common
from tests.support.common import assert_same, to_rl


def tables(file):
    """The sections of the .txt file beside a test file: [NAME], then one expression a line; # begins a comment."""
    found, section = {}, None
    for line in Path(file).with_suffix(".txt").read_text().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            section.append(line)
    return found


def variables(T, dtype="float64"):
    """The tensors that expressions may name; float ones come from an op, so that they may be changed in place."""
    rng = np.random.default_rng(3)

    def make(*shape, d=dtype):
        t = pt.from_numpy(rng.normal(size=shape)).to(getattr(pt, d))
        leaf = (t if T is pt else to_rl(t)).requires_grad_()
        return leaf, leaf * 1

    leaves = {}
    env = {"T": T, "np": np}
    for name, shape in (("x", (2, 3, 4)), ("m", (3, 4)), ("v", (5,)), ("s", ()), ("e", (0, 3))):
        leaves[name], env[name] = make(*shape)
    leaves["z"], env["z"] = make(2, 3, d="complex128")
    env |= {"i": T.arange(12).reshape(3, 4), "b": T.arange(12).reshape(3, 4) % 3 == 0, "B": T.arange(24).reshape(2, 3, 4) % 3 == 1,
            "k": T.tensor([2, 0, 2]), "n": T.tensor([1, 0]), "G": T.tensor([[0, 1, 2, 1], [2, 2, 0, 0]]), "u": T.arange(4, dtype=T.uint8) % 2}
    return leaves, env


def _floats(result):
    if isinstance(result, (tuple, list)):
        return [t for each in result for t in _floats(each)]
    return [result] if hasattr(result, "grad_fn") and result.requires_grad else []


def _loss(T, outputs, squared=True):
    total = 0
    for number, t in enumerate(outputs):
        if t is None or not t.requires_grad:
            continue
        weight = pt.linspace(0.5, 2.0, max(t.numel(), 1), dtype=pt.float64)[:t.numel()].reshape(tuple(t.shape)) + number
        weight = weight if T is pt else to_rl(weight)
        if t.is_complex():
            t = T.view_as_real(t.resolve_conj())
            weight = weight[..., None]
        total = total + ((t * t if squared else t) * weight).sum()
    return total


def evaluate(T, expression, gradients=True):
    """(result, node names, gradients) of an expression or statement list; statements leave the result in `r`."""
    leaves, env = variables(T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if ";" in expression or "\n" in expression:
            exec(expression, env)
            result = env["r"]
        else:
            result = eval(expression, env)
    outputs = _floats(result) if gradients else []
    names = [type(t.grad_fn).__name__ for t in _floats(result)]
    first, second, plain = [], [], []
    if outputs:
        used = list(leaves.values())
        first = T.autograd.grad(_loss(T, outputs), used, create_graph=True, allow_unused=True)
        second = [None] * len(used)
        if any(g is not None and g.requires_grad for g in first):
            second = T.autograd.grad(_loss(T, first), used, allow_unused=True, retain_graph=True)
        _loss(T, outputs, squared=False).backward()
        plain = [leaf.grad for leaf in used]
    return result, names, [None if g is None else g.detach() for g in first], list(second), plain


def check(expression, *, strides=True, names=True, gradients=True):
    """Assert that both sides agree."""
    theirs, ours = evaluate(pt, expression, gradients), evaluate(rl, expression, gradients)
    assert_same(ours[0], theirs[0], strides=strides, what=expression)
    if names:
        assert ours[1] == theirs[1], f"{expression}: {ours[1]} instead of {theirs[1]}"
    for label, a, b in zip(("gradient", "second gradient", "backward"), ours[2:], theirs[2:]):
        assert len(a) == len(b), f"{expression}: {label}"
        for one, other in zip(a, b):
            if one is None or other is None:     # "no gradient" and "zero gradient" are the same
                assert (one is None or not one.any()) and (other is None or not other.any()), f"{expression}: {label} {one} {other}"
            else:
                assert_same(one.detach(), other.detach(), what=f"{expression}: {label}")


def error_of(T, expression):
    """The class name and message of the exception that an expression raises."""
    _, env = variables(T)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(compile(expression, "expression", "exec"), env)
        except Exception as error:  # noqa: BLE001
            return [c.__name__ for c in type(error).__mro__], str(error).split("\n")[0]
    raise AssertionError(f"{expression}: no error ({T.__name__})")


def check_error(expression, text=True):
    """Assert that both sides raise the same class (ours may be a subclass) and, if asked, the same text."""
    theirs, ours = error_of(pt, expression), error_of(rl, expression)
    if common.DEVICE != "cpu" and "trapped" in ours[1]:      # the device stops, as it does under PyTorch
        return
    assert theirs[0][0] in ours[0], f"{expression}: {ours} instead of {theirs[0][0]}: {theirs[1]}"
    if text:
        assert ours[1] == theirs[1], expression
