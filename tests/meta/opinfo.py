"""Every sample of PyTorch's own database of ops on the meta device, here and there: shape, dtype, strides, and whether it is refused.

``python -m tests.meta.opinfo [name ...] [--samples N]`` prints what differs.
"""

import argparse
import collections
import warnings

import torch as pt
from torch.utils import _pytree as pytree

import rushlight as rl

from ..conformance.mirror import Copier, Missing
from ..conformance.ops import OPS, chosen, ours_of
from ..conformance.running import limited, quiet, seed

DTYPES = ("float32", "int64", "bfloat16", "complex64", "bool")


def to_meta(value, torch, tree):
    """All tensors of a structure on the meta device, with their strides."""
    def moved(t):
        if not isinstance(t, torch.Tensor):
            return t
        r = torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")
        return r.requires_grad_() if t.requires_grad else r
    return tree.tree_map(moved, value)


def outline(value, torch, tree):
    """Shapes, dtypes and strides of what a function returned."""
    return [(tuple(t.shape), str(t.dtype).partition(".")[2], strides(t), t.device.type, t.requires_grad) if isinstance(t, torch.Tensor) else type(t).__name__
            for t in leaves(value, torch)]


def leaves(value, torch):
    """What is inside of tuples, named ones too, lists and dictionaries."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        return [leaf for each in value for leaf in leaves(each, torch)]
    return [value]


def strides(t):
    """The strides of dimensions where they mean something."""
    return tuple(step for n, step in zip(t.shape, t.stride()) if n > 1) if t.numel() else ()


def attempted(f, torch, tree, args, kwargs):
    """The outline of a result, or the class of the error."""
    try:
        return outline(f(*args, **kwargs), torch, tree)
    except Exception as error:  # noqa: BLE001
        return error


def run_op(op, dtypes=DTYPES, samples=None):
    """Yield (dtype, index, ours, theirs) for the samples where the two sides differ, and (dtype, index, None, None) where they agree."""
    for name in dtypes:
        dtype = getattr(pt, name)
        if dtype not in op.supported_dtypes("cpu"):
            continue
        grad = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
        seed()
        with quiet():
            found = list(op.sample_inputs("cpu", dtype, requires_grad=grad))
        for index in chosen(len(found), samples):
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield name, index, *run_sample(op, found[index])


def run_sample(op, sample):
    """(ours, theirs), or (None, None) where they agree."""
    with limited():
        theirs = attempted(op.op, pt, pytree, *to_meta(((sample.input, *sample.args), dict(sample.kwargs)), pt, pytree))
        try:
            f = ours_of(op)
        except Missing as error:
            return error, theirs
        copy = Copier(True, True)
        inputs = (copy(sample.input), *copy(tuple(sample.args))), copy(dict(sample.kwargs))
        ours = attempted(f, rl, rl.utils._pytree, *to_meta(inputs, rl, rl.utils._pytree))
    if isinstance(theirs, Exception) and isinstance(ours, Exception):
        return None, None
    if not isinstance(theirs, Exception) and not isinstance(ours, Exception) and theirs == ours:
        return None, None
    return ours, theirs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--dtypes", nargs="*", default=DTYPES)
    options = parser.parse_args()
    counts = collections.Counter()
    for name, op in sorted(OPS.items()):
        if options.names and not any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in options.names):
            continue
        bad = []
        try:
            for dtype, index, ours, theirs in run_op(op, options.dtypes, options.samples):
                kind = "agree" if ours is None and theirs is None else "refused" if isinstance(ours, Exception) else "allowed" if isinstance(
                    theirs, Exception) else "differs"
                counts[kind] += 1
                if kind != "agree":
                    bad.append((kind, dtype, index, ours, theirs))
        except Exception as error:  # noqa: BLE001
            bad.append(("harness", "", 0, error, ""))
        if bad:
            kind, dtype, index, ours, theirs = bad[0]
            def shown(x):
                return f"{type(x).__name__}: {str(x)[:130]}".replace("\n", " ") if isinstance(x, Exception) else str(x)[:150]
            print(f"{name} {len(bad)} {kind} [{dtype} {index}] ours {shown(ours)} | theirs {shown(theirs)}", flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main()
