"""Function transforms composed with each other and with backward(), over the samples of PyTorch's op database.

Every composition is a function of a namespace: PyTorch computes what is expected; where PyTorch itself refuses, rushlight does with a vmap that is a
loop. ``python -m tests.support.compositions [--ops 'nn.*'] [--compositions 'vmap_*'] [--samples 2]`` runs all and prints
what differs.
"""

import argparse
import fnmatch
import sys

import numpy as np
import torch as pt

import rushlight as rl
from tests.conformance.left_out import GAUGE, TIES, UNDEFINED_VALUES
from tests.conformance.mirror import Copier, Missing
from tests.conformance.ops import OPS, ours_of
from tests.conformance.running import TooSlow, limited, quiet, seed

BATCH = 2
RANDOM = {"bernoulli", "normal", "rand_like", "randn_like", "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
          "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout", "nn.functional.rrelu", "nn.functional.fractional_max_pool2d",
          "nn.functional.fractional_max_pool3d", "nn.functional.multi_head_attention_forward", "svd_lowrank", "pca_lowrank", "multinomial",
          "uniform", "exponential", "cauchy", "geometric", "log_normal"}
# The shape of the result depends on values, values are undefined, or the sample changes what it is given.
NOT_COMPOSED = {"masked_select", "resize_", "resize_as_", "_unsafe_masked_index", "empty_like", "to_sparse", "sparse.sampled_addmm",
                "sparse.mm.reduce", "_segment_reduce", "tensor_split", "as_strided_scatter", "nextafter", "as_strided", "as_strided_copy",
                "native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update"}


class Side:
    """A module with its transforms; `loop` replaces vmap, and the Jacobians that are made of it, by loops."""

    def __init__(self, module, loop=False):
        self.t, func = module, module.func
        self.grad, self.jvp, self.vjp = func.grad, func.jvp, func.vjp
        self.vmap, self.jacrev, self.jacfwd, self.hessian = module.vmap, func.jacrev, func.jacfwd, func.hessian
        if loop:
            self.vmap, self.jacrev, self.jacfwd = looped(module), self.rows, self.columns
            self.hessian = lambda f: self.columns(self.rows(f))

    def rows(self, f, argnums=0):
        """jacrev row by row."""
        def jacobian(*args):
            at = argnums if isinstance(argnums, tuple) else (argnums,)
            y, pull = self.vjp(lambda *x: f(*[x[at.index(i)] if i in at else a for i, a in enumerate(args)]), *[args[i] for i in at])
            found = [pull(e.reshape(y.shape)) for e in self.t.eye(y.numel(), dtype=y.dtype)]
            full = tuple(self.t.stack(column).reshape(y.shape + args[i].shape) for i, column in zip(at, zip(*found)))
            return full if isinstance(argnums, tuple) else full[0]
        return jacobian

    def columns(self, f, argnums=0):
        """jacfwd column by column."""
        def jacobian(*args):
            at = argnums if isinstance(argnums, tuple) else (argnums,)
            full = []
            for i in at:
                def of(x, i=i):
                    return f(*args[:i], x, *args[i + 1:])
                found = [self.jvp(of, (args[i],), (e.reshape(args[i].shape),))[1] for e in self.t.eye(args[i].numel(), dtype=args[i].dtype)]
                full.append(self.t.stack(found, -1).reshape(found[0].shape + args[i].shape))
            return tuple(full) if isinstance(argnums, tuple) else full[0]
        return jacobian


def leaves(value, kind):
    """The tensors of a nested value."""
    if isinstance(value, kind):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [t for each in values for t in leaves(each, kind)]


def looped(module):
    """vmap as a loop over the samples."""
    def vmap(f, in_dims=0, out_dims=0, randomness="error", chunk_size=None):
        def g(*args):
            dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
            def size_of(x, d):
                return x.shape[d] if isinstance(x, module.Tensor) else size_of(x[0], d)
            size = next(size_of(x, d) for x, d in zip(args, dims) if d is not None)
            def pick(x, d, i):
                if isinstance(x, (tuple, list)):
                    return type(x)(pick(each, d, i) for each in x)
                return x.select(d, i)
            rows = [f(*[x if d is None else pick(x, d, i) for x, d in zip(args, dims)]) for i in range(size)]
            return stacked(rows)

        def stacked(rows):
            if isinstance(rows[0], (tuple, list)):
                return tuple(stacked(column) for column in zip(*rows))
            return module.stack(list(rows), out_dims if out_dims >= 0 else out_dims + rows[0].dim() + 1)
        return g
    return vmap


def _all(xs):
    return tuple(range(len(xs)))


# Each: (side, out, scalar, xs, ts) -> tensors. `out` gives a real tensor, `scalar` a number, of one sample; xs are batches of its arguments, ts of
# tangents.

def vmap_(s, out, scalar, xs, ts):
    return s.vmap(out)(*xs)


def vmap_dims(s, out, scalar, xs, ts):
    moved = [x.movedim(0, -1) for x in xs]
    return s.vmap(out, in_dims=-1, out_dims=-1, chunk_size=1)(*moved)


def vmap_grad(s, out, scalar, xs, ts):
    return s.vmap(s.grad(scalar, argnums=_all(xs)))(*xs)


def vmap_vjp(s, out, scalar, xs, ts):
    def f(*x):
        y, pull = s.vjp(out, *x)
        return y, pull(y.cos())
    return s.vmap(f)(*xs)


def vmap_jvp(s, out, scalar, xs, ts):
    return s.vmap(lambda x, t: s.jvp(out, x, t))(xs, ts)


def vmap_jvp_shared(s, out, scalar, xs, ts):
    return s.vmap(lambda x, t: s.jvp(out, x, t), in_dims=(None, 0))(tuple(x[0] for x in xs), ts)


def vmap_jacrev(s, out, scalar, xs, ts):
    return s.vmap(s.jacrev(out, argnums=_all(xs)))(*xs)


def vmap_jacfwd(s, out, scalar, xs, ts):
    return s.vmap(s.jacfwd(out, argnums=_all(xs)))(*xs)


def vmap_hessian(s, out, scalar, xs, ts):
    return s.vmap(s.hessian(scalar))(*xs)


def vmap_vmap(s, out, scalar, xs, ts):
    """Each sample of the first argument with each of the others."""
    if len(xs) == 1:
        return s.vmap(s.vmap(lambda x, c: out(x * c), (None, 0)), (0, None))(xs[0], xs[0].new_tensor([1.0, 1.1, 1.2]))
    rest = (0,) * (len(xs) - 1)
    return s.vmap(s.vmap(out, (None, *rest)), (0, *[None] * len(rest)))(*xs)


def vmap_vmap_grad(s, out, scalar, xs, ts):
    f = s.grad(lambda x, c, *rest: scalar(x * c, *rest), argnums=(0, 1))
    none = (None,) * (len(xs) - 1)
    return s.vmap(s.vmap(f, (None, 0, *none)), (0, None, *[0] * len(none)))(xs[0], xs[0].new_tensor([1.0, 1.1, 1.2]), *xs[1:])


def grad_vmap(s, out, scalar, xs, ts):
    return s.grad(lambda *x: s.vmap(out)(*x).sin().sum(), argnums=_all(xs))(*xs)


def grad_vmap_shared(s, out, scalar, xs, ts):
    """A gradient by what all samples share, beside plain terms and terms of another vmap."""
    def loss(w):
        a, b = (s.vmap(lambda c: scalar(w * c, *[x[0] for x in xs[1:]]))(w.new_tensor(v)) for v in ([1.0, 1.1], [0.9, 1.0, 1.2]))
        return a.sum() + b.sin().sum() + scalar(w, *[x[1] for x in xs[1:]])
    return s.grad(loss)(xs[0][0])


def jacrev_vmap(s, out, scalar, xs, ts):
    return s.jacrev(s.vmap(out))(*xs)


def jacfwd_vmap(s, out, scalar, xs, ts):
    return s.jacfwd(s.vmap(out))(*xs)


def jvp_vmap(s, out, scalar, xs, ts):
    return s.jvp(s.vmap(out), xs, ts)


def vmap_jvp_grad(s, out, scalar, xs, ts):
    return s.vmap(lambda x, t: s.jvp(s.grad(scalar, argnums=_all(xs)), x, t))(xs, ts)


def vmap_grad_jvp(s, out, scalar, xs, ts):
    return s.vmap(lambda x, t: s.grad(lambda *v: s.jvp(out, v, t)[1].sin().sum(), argnums=_all(xs))(*x))(xs, ts)


def jacfwd_vmap_grad(s, out, scalar, xs, ts):
    return s.jacfwd(lambda w: s.vmap(s.grad(lambda c, *rest: scalar(w * c, *rest)), (0, *[None] * (len(xs) - 1)))(
        w.new_tensor([1.0, 1.1]), *[x[0] for x in xs[1:]]))(xs[0][0])


def vmap_grad_vmap(s, out, scalar, xs, ts):
    def f(*x):
        return s.grad(lambda w: s.vmap(lambda c: scalar(w * c, *x[1:]))(w.new_tensor([1.0, 1.1, 1.2])).sum() + scalar(w, *x[1:]))(x[0])
    return s.vmap(f)(*xs)


def _leaf(t):
    return t.detach().clone().requires_grad_()


def backward(s, out, scalar, xs, ts):
    """backward() through two vmaps beside a plain term."""
    w, rest = _leaf(xs[0][0]), [_leaf(x) for x in xs[1:]]
    a = s.vmap(lambda c, *r: scalar(w * c, *r))(xs[0].new_tensor([1.0, 1.1]), *rest)
    b = s.vmap(lambda c: scalar(w * c, *[r[1] for r in rest]))(xs[0].new_tensor([0.9, 1.0, 1.2]))
    (a.sum() + b.sin().sum() + scalar(w, *[r[0] for r in rest])).backward()
    return [w.grad, *[r.grad for r in rest]]


def backward_vmap_grad(s, out, scalar, xs, ts):
    w = _leaf(xs[0][0])
    g = s.vmap(s.grad(lambda c, *r: scalar(w * c, *r)))(xs[0].new_tensor([1.0, 1.1]), *xs[1:])
    (g.sin().sum() + scalar(w, *[x[0] for x in xs[1:]])).backward()
    return [g.detach(), w.grad]


def backward_vmap_jvp(s, out, scalar, xs, ts):
    w = _leaf(xs[0][0])
    y, d = s.vmap(lambda c, *r: s.jvp(lambda k: out(w * k, *r), (c,), (c * 2,)))(xs[0].new_tensor([1.0, 1.1]), *xs[1:])
    (d.sin().sum() + y.sum()).backward()
    return [d.detach(), w.grad]


def backward_jacrev(s, out, scalar, xs, ts):
    """Jacobians in a loop, each with levels of its own."""
    w = _leaf(xs[0][0])
    loss = sum(s.jacrev(lambda c, k=k: out(w * c, *[x[k] for x in xs[1:]]))(xs[0].new_tensor(1.0 + 0.1 * k)).sin().sum() for k in range(BATCH))
    loss.backward()
    return w.grad


def backward_jacobian(s, out, scalar, xs, ts):
    w = _leaf(xs[0][0])
    jacobian = s.t.autograd.functional.jacobian
    loss = sum(jacobian(lambda c, k=k: out(w * c, *[x[k] for x in xs[1:]]), _leaf(xs[0].new_tensor(1.0 + 0.1 * k)), create_graph=True,
                        vectorize=True).sin().sum() for k in range(BATCH))
    loss.backward()
    return w.grad


def grads_batched(s, out, scalar, xs, ts):
    w = _leaf(xs[0][0])
    y = out(w, *[x[0] for x in xs[1:]])
    v = s.t.stack([y.detach().cos(), y.detach().sin() + 1, y.detach() * 0 + 2])
    g, = s.t.autograd.grad(y, w, v, is_grads_batched=True, create_graph=True)
    (g.sin().sum() + y.sin().sum()).backward()
    return [g.detach(), w.grad]


COMPOSITIONS = {f.__name__.rstrip("_"): f for f in (
    vmap_, vmap_dims, vmap_grad, vmap_vjp, vmap_jvp, vmap_jvp_shared, vmap_jacrev, vmap_jacfwd, vmap_hessian, vmap_vmap, vmap_vmap_grad, grad_vmap,
    grad_vmap_shared, jacrev_vmap, jacfwd_vmap, jvp_vmap, vmap_jvp_grad, vmap_grad_jvp, jacfwd_vmap_grad, vmap_grad_vmap, backward,
    backward_vmap_grad, backward_vmap_jvp, backward_jacrev, backward_jacobian, grads_batched)}


class Unsuitable(Exception):
    """A sample that says nothing about composition."""


class Case:
    """A sample of an op as functions of real tensors, on both sides."""

    def __init__(self, op, sample):
        self.op, self.sample = op, sample
        self.ours = ours_of(op)

    def side(self, ours, loop=False):
        """(side, out, scalar, xs, ts)"""
        module = rl if ours else pt
        copy = Copier(ours, False)
        given = [copy(self.sample.input), copy(tuple(self.sample.args)), copy(dict(self.sample.kwargs))]
        tensors = leaves(given, module.Tensor)
        at = [i for i, t in enumerate(tensors) if t.dtype is module.float64]
        function = self.ours if ours else self.op.op

        def put(value, new):
            if isinstance(value, module.Tensor):
                return next(new)
            if isinstance(value, dict):
                return {key: put(each, new) for key, each in value.items()}
            if type(value) in (list, tuple):
                return type(value)([put(each, new) for each in value])
            return value

        def out(*new):
            now = list(tensors)
            for i, t in zip(at, new):
                now[i] = t
            x, args, kwargs = put(given, iter(now))
            found = [t for t in leaves(function(x, *args, **kwargs), module.Tensor) if t.dtype in (module.float64, module.complex128)]
            if not found:
                raise Unsuitable
            found = [module.view_as_real(t) if t.dtype.is_complex else t for t in found]
            return found[0] if len(found) == 1 else module.cat([t.reshape(-1) for t in found])

        xs = tuple(module.stack([tensors[i] * (1 + 0.05 * k) for k in range(BATCH)]) for i in at)
        rng = np.random.default_rng(0)
        ts = tuple(module.tensor(rng.standard_normal(tuple(x.shape))) for x in xs)
        return Side(module, loop), out, lambda *v: out(*v).sin().sum(), xs, ts


def samples_of(op, count=1):
    """The smallest samples of real tensors with dimensions."""
    with quiet():
        seed()
        found = []
        for sample in op.sample_inputs("cpu", pt.float64, requires_grad=False):
            tensors = leaves([sample.input, sample.args, sample.kwargs], pt.Tensor)
            size = sum(t.numel() for t in tensors if t.dtype is pt.float64)
            if any(t.layout is not pt.strided or t.dtype.is_complex or t.isnan().any() or not t.numel() for t in tensors) or not 0 < size <= 200:
                continue
            found.append((size, len(found), sample))
            if len(found) > 300:
                break
    found.sort(key=lambda each: each[:2])
    return [sample for _, _, sample in found[:: max(1, len(found) // count)][:count]]


def array(t):
    """A result's numbers."""
    return t.detach().resolve_conj().resolve_neg().numpy(force=True)


def check(case, name):
    """None, "skip" where there is nothing to compare with, or what differs."""
    composition = COMPOSITIONS[name]

    def run(*side, **how):
        with quiet(), limited(10):
            return composition(*case.side(*side, **how))
    try:
        expected = run(False)
    except (Unsuitable, TooSlow):
        return "skip"
    except Exception:  # noqa: BLE001
        expected = None
    try:
        found = run(True)
        text = "PyTorch refuses" if expected is None else differs(found, expected)
    except TooSlow:
        return "skip"
    except Exception as error:  # noqa: BLE001
        found, text = None, f"{type(error).__name__}: {str(error)[:150]}"
        if expected is not None:
            return text
    if text is not None:       # PyTorch refuses, or may be wrong: what does a loop say?
        try:
            alone = run(True, loop=True)
        except Exception:  # noqa: BLE001
            return "skip" if expected is None else text
        text = text if found is None else differs(found, alone)
    return text


def differs(found, expected):
    """None, or where two results differ."""
    found, expected = leaves(found, (rl.Tensor, type(None))), leaves(expected, (pt.Tensor, rl.Tensor, type(None)))
    if not expected:
        return "skip"
    if len(found) != len(expected):
        return f"{len(found)} results instead of {len(expected)}"
    for i, (a, b) in enumerate(zip(found, expected)):
        if a is None or b is None:
            if a is not b:
                return f"result {i} is {a} instead of {b}"
            continue
        a, b = array(a), array(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"result {i}: {a.dtype}{a.shape} instead of {b.dtype}{b.shape}"
        if not np.allclose(a, b, 1e-6, 1e-8, equal_nan=True):
            return f"result {i}: {a.ravel()[:4]} instead of {b.ravel()[:4]}"
    return None


def cases(pattern="*", count=1):
    """(name, Case) of the differentiable ops."""
    for name, op in OPS.items():
        if not fnmatch.fnmatch(name, pattern) or op.name in RANDOM | NOT_COMPOSED | UNDEFINED_VALUES | GAUGE | set(TIES):
            continue
        if not op.supports_autograd or not op.supports_dtype(pt.float64, "cpu"):
            continue
        try:
            for sample in samples_of(op, count):
                yield name, Case(op, sample)
        except Missing:
            continue


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ops", default="*")
    parser.add_argument("--compositions", default="*")
    parser.add_argument("--samples", type=int, default=1)
    options = parser.parse_args()
    good = bad = 0
    for name, case in cases(options.ops, options.samples):
        for composition in fnmatch.filter(COMPOSITIONS, options.compositions):
            verdict = check(case, composition)
            if verdict is None:
                good += 1
            elif verdict != "skip":
                bad += 1
                print(f"{composition:20} {name:40} {verdict}", flush=True)
    print(f"{good} agree, {bad} differ")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
