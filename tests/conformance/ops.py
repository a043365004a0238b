"""op_db: every sample of every op, in all the forms in which it can be called, with first and second gradients."""

import numpy as np
import torch as pt
from torch.testing._internal.common_methods_invocations import op_db

import rushlight as rl

from .compare import Differs, agree, to_numpy
from .left_out import COARSE, GAUGE, NO_GRADIENT, OUT_NOT_WRITTEN, TIES, UNDEFINED_VALUES, left_out
from .mirror import Copier, Missing, attribute, function, mirror
from .running import TooSlow, attempt, describe, limited, quiet, seed, seeded

DTYPES = ("float32", "float64", "int64", "bool", "complex64", "bfloat16")
CHECKS = ("forward", "method", "operator", "inplace", "out", "grad", "gradgrad")


def full_name(op):
    """An op's name with that of its variant."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


OPS = {full_name(op): op for op in op_db if not left_out(op)}


def namespace(name):
    """The namespace that an op is counted in."""
    for prefix in ("nn.functional", "linalg", "fft", "special", "signal.windows", "masked", "sparse", "torch.ops.aten"):
        if name.startswith(prefix + "."):
            return prefix
    return "torch, Tensor"


def run_op(op, limit=None, only_dtypes=DTYPES):
    """Yield (dtype, index of the sample, None or (check, text)) for the cases of an op. At most `limit` samples per dtype."""
    for name in only_dtypes:
        dtype = getattr(pt, name)
        if dtype not in op.supported_dtypes("cpu"):
            continue
        grad = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
        seed()
        with quiet():
            samples = list(op.sample_inputs("cpu", dtype, requires_grad=grad))
        for index in chosen(len(samples), limit):
            with quiet():
                verdict = run_sample(op, samples[index], name, grad)
            if verdict != "skip":
                yield name, index, verdict


def chosen(count, limit):
    """The indices to run: all, or `limit` of them spread evenly."""
    if limit is None or count <= limit:
        return range(count)
    return sorted({round(i * (count - 1) / (limit - 1)) for i in range(limit)} if limit > 1 else {0})


def run_sample(op, sample, dtype, grad):
    """None where all checks agree, (check, text) of the first that does not, "skip" where PyTorch itself refuses the sample."""
    try:
        with limited():
            return _Case(op, sample, dtype, grad).run()
    except TooSlow as error:
        return "time", str(error)


def ours_of(op):
    """Our function of an op: that of its callable, else what has its name."""
    try:
        return function(op.op)
    except Missing:
        return attribute(f"torch.{op.name}")


class _Case:
    def __init__(self, op, sample, dtype, grad):
        self.op, self.sample, self.dtype, self.differentiable = op, sample, dtype, grad
        self.values = op.name not in UNDEFINED_VALUES
        self.gauge = op.name in GAUGE
        self.loose = COARSE.get(op.name, 1.0)

    def run(self):
        if self.theirs(self.op.op)[1] is not None:
            return "skip"
        for check in CHECKS:
            try:
                getattr(self, check)()
            except TooSlow:
                raise
            except (Differs, Missing) as error:
                return check, str(error)
            except Exception as error:  # noqa: BLE001
                return check, describe(error)
        return None

    # --- calls ---

    def inputs(self, ours, grad=False):
        copy = Copier(ours, grad)
        return copy(self.sample.input), copy(tuple(self.sample.args)), copy(dict(self.sample.kwargs))

    def theirs(self, f, **more):
        x, args, kwargs = self.inputs(False)
        return attempt(f, x, *args, **kwargs, **more)

    def ours(self, f, **more):
        x, args, kwargs = self.inputs(True)
        return seeded(f, x, *args, **kwargs, **more)

    def processed(self, ours, theirs):
        if self.op.name in TIES:
            return self._by_value(ours, rl.Tensor), self._by_value(theirs, pt.Tensor)
        if not self.gauge:
            return ours, theirs
        process = self.sample.output_process_fn_grad
        return mirror(process)(ours), process(theirs)

    def _by_value(self, result, kind):
        """Indices replaced by what they point at: those of equal elements may come in any order."""
        position = TIES[self.op.name]
        if position is None:
            return result
        args, kwargs = self.sample.args, self.sample.kwargs
        dim = args[position] if len(args) > position else kwargs.get("dim", -1)
        input = Copier(kind is rl.Tensor, False)(self.sample.input)
        items = [result] if isinstance(result, kind) else list(result)
        at = items[-1]
        items[-1] = input.gather(dim, at) if at.ndim == input.ndim else input.gather(dim, at.unsqueeze(dim)).squeeze(dim)
        return items

    # --- checks ---

    def forward(self):
        theirs, _ = self.theirs(self.op.op)
        ours = self.ours(ours_of(self.op))
        agree(*self.processed(ours, theirs), loose=self.loose, values=self.values)

    def _variant(self, f):
        if f is None or f is self.op.op:
            return
        theirs, refused = self.theirs(f)
        if refused is None:
            agree(*self.processed(self.ours(function(f)), theirs), values=self.values)

    def method(self):
        self._variant(self.op.method_variant)

    def operator(self):
        self._variant(self.op.operator_variant)

    def inplace(self):
        for f in (self.op.inplace_variant, self.op.inplace_operator_variant):
            if f is None or not isinstance(self.sample.input, pt.Tensor):
                continue
            x, args, kwargs = self.inputs(False)
            theirs, refused = attempt(f, x, *args, **kwargs)
            y, args, kwargs = self.inputs(True)
            ours, error = attempt(function(f), y, *args, **kwargs)
            if refused is not None:
                if error is None:
                    raise Differs(f"in place: no error, PyTorch raises {describe(refused)}")
                continue
            if error is not None:
                raise error
            agree(ours, theirs, values=self.values)
            agree(y, x, "input afterwards", values=self.values)

    def out(self):
        if not self.op.supports_out or self.op.name in OUT_NOT_WRITTEN:
            return
        expected, _ = self.theirs(self.op.op)
        single = isinstance(expected, pt.Tensor)
        if not single and not (isinstance(expected, (tuple, list)) and all(isinstance(t, pt.Tensor) for t in expected)):
            return
        their_outs = [pt.empty_like(t) for t in ([expected] if single else expected)]
        our_outs = [rl.empty(tuple(t.shape), dtype=mirror(t.dtype)) for t in their_outs]
        theirs, refused = self.theirs(self.op.op, out=their_outs[0] if single else tuple(their_outs))
        if refused is not None:
            return
        ours = self.ours(ours_of(self.op), out=our_outs[0] if single else tuple(our_outs))
        if theirs is not None:
            agree(*self.processed(ours, theirs), "out", loose=self.loose, values=self.values)
        written = (our_outs[0], their_outs[0]) if single else (our_outs, their_outs)
        if self.gauge and not single:
            return
        agree(*self.processed(*written), "out tensor", loose=self.loose, values=self.values)

    def _recorded(self, ours):
        """(inputs that require grad, outputs that do) of one side."""
        copy = Copier(ours, True)
        x, args, kwargs = copy(self.sample.input), copy(tuple(self.sample.args)), copy(dict(self.sample.kwargs))
        result = seeded(ours_of(self.op) if ours else self.op.op, x, *args, **kwargs)
        process = self.sample.output_process_fn_grad
        result = (mirror(process) if ours else process)(result)
        kind = rl.Tensor if ours else pt.Tensor
        inputs = [t for t in _flat([x, args, kwargs], kind) if t.requires_grad]
        return list({id(t): t for t in inputs}.values()), _flat(result, kind)

    def grad(self):
        if self.differentiable and self.values:
            self._gradients(False)

    def gradgrad(self):
        if self.differentiable and self.values and self.op.supports_gradgrad and self.dtype in ("float64", "complex64"):
            self._gradients(True)

    def _distinct(self):
        """Whether no two elements of the input are equal."""
        values = to_numpy(self.sample.input)
        return np.unique(values).size == values.size

    def _gradients(self, double):
        if self.op.name in NO_GRADIENT or (self.op.name in TIES and not self._distinct()):
            return
        their_in, their_out = self._recorded(False)
        wanted = [t.requires_grad for t in their_out]
        if not their_in or not any(wanted):
            return
        our_in, our_out = self._recorded(True)
        if [t.requires_grad for t in our_out] != wanted:
            raise Differs(f"requires_grad of the outputs: {[t.requires_grad for t in our_out]} instead of {wanted}")
        their_out, our_out = [[t for t in outs if t.requires_grad] for outs in (their_out, our_out)]
        theirs_up = [_cotangent(t, i).requires_grad_(double) for i, t in enumerate(their_out)]
        ours_up = [mirror(t) for t in theirs_up]
        theirs, refused = attempt(pt.autograd.grad, their_out, their_in, theirs_up, allow_unused=True, create_graph=double)
        if refused is not None:
            return
        ours = seeded(rl.autograd.grad, our_out, our_in, ours_up, allow_unused=True, create_graph=double)
        _agree_gradients(ours, theirs, their_in)
        if double:
            self._second(ours, our_in + ours_up, theirs, their_in + theirs_up)

    def _second(self, ours, our_in, theirs, their_in):
        pairs = [(a, b) for a, b in zip(ours, theirs) if b is not None and b.requires_grad]
        if not pairs:
            return
        theirs_up = [_cotangent(b, 10 + i) for i, (_, b) in enumerate(pairs)]
        second, refused = attempt(pt.autograd.grad, [b for _, b in pairs], their_in, theirs_up, allow_unused=True)
        if refused is not None:
            return
        ups = [(a, mirror(up)) for (a, _), up in zip(pairs, theirs_up) if a is not None and a.requires_grad]
        mine = [None] * len(our_in) if not ups else seeded(rl.autograd.grad, [a for a, _ in ups], our_in, [up for _, up in ups],
                                                           allow_unused=True)
        _agree_gradients(mine, second, their_in)


def _flat(value, kind):
    if isinstance(value, kind):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [t for each in value for t in _flat(each, kind)]
    return []


def _cotangent(t, i):
    """A gradient to start from, the same in every run."""
    random = np.random.default_rng(i)
    a = random.standard_normal(tuple(t.shape))
    if t.is_complex():
        a = a + 1j * random.standard_normal(tuple(t.shape))
    return pt.from_numpy(np.asarray(a)).to(t.dtype)


def _agree_gradients(ours, theirs, inputs):
    for i, (a, b, t) in enumerate(zip(ours, theirs, inputs)):
        if a is None and b is None:
            continue
        if b is None:
            b = pt.zeros_like(t)
        elif a is None:
            a = mirror(pt.zeros_like(t))
        agree(a, b, f"gradient {i}", loose=10.0)
