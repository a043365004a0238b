"""NumPy's functions on arrays without memory: the shapes, dtypes and views that NumPy gives. PyTorch's database of ops: tests/meta/opinfo.py."""

import warnings

import numpy as np
import pytest

from rushlight.meta.array import MetaArray, fresh
from rushlight.meta.functions import RULES

CALLS = """
np.add(a, 1); np.add(a, b); np.greater(a, 0); np.exp(i); np.matmul(a, a.T); a @ b; np.add.reduce(a, 1); np.add.reduce(a, (0, 1), keepdims=True)
np.maximum.reduce(a, -1); np.add.accumulate(a, 1); np.add.reduceat(a, [0, 1], 1); np.where(a > 0, a, 0.0); np.clip(a, 0, 1); np.sum(a); np.mean(i, 0); np.std(a, axis=1)
np.max(a, 1, keepdims=True); np.argmax(a, 1); np.count_nonzero(a, 0); np.cumsum(i, 0); np.sort(a, 0); np.argsort(a); np.diff(a); np.diff(a, axis=0, n=2)
np.zeros_like(a); np.full_like(a, 2, shape=(2, 2)); np.arange(5, like=a); np.arange(1, 7, 2, like=a); np.eye(3, like=a); np.tri(3, like=a); np.linspace(0, 1, 4) if True else a
a.reshape(2, 6); a.T.reshape(-1); a[1]; a[:, ::-1]; a[None, 1:]; a[..., 0]; a[[0, 2]]; a[[0, 2], [1, 1]]; a[:, [0, 1]]; a[np.ix_([0, 1], [2, 3])]; c[[0], :, [1]]; c[:, [0, 1], 0]
np.swapaxes(a, 0, 1); np.moveaxis(c, 0, -1); np.expand_dims(a, (0, 2)); np.squeeze(a[:1]); np.broadcast_to(b, (5, 4)); np.concatenate([a, a], 1); np.stack([a, a], -1)
np.split(a, 2, 1)[1]; np.array_split(a, 2)[0]; np.roll(a, 1); np.pad(a, ((1, 0), (2, 3))); np.tile(a, (2, 1, 2)); np.repeat(a, 2, 1); np.repeat(a, [1, 0, 2], 0); np.tril(a)
np.flip(a, 1); np.diagonal(c, 0, 0, 2); np.trace(a); np.take(a, [0, 1], 1); np.take_along_axis(a, i[:, :2], 1); np.searchsorted(b, a); np.isin(a, b); np.tensordot(a, a, ([1], [1]))
np.dot(c, b); np.dot(a, a.T); np.einsum("ij,kj->ik", a, a); np.outer(b, b); np.linalg.inv(c[:, :, :3]); np.linalg.svd(a)[0]; np.linalg.svd(a, full_matrices=False)[2]
np.linalg.qr(a)[1]; np.linalg.qr(a, mode="complete")[0]; np.linalg.det(c[:, :, :3]); np.linalg.slogdet(c[:, :, :3])[0]; np.linalg.eigh(a[:, :3])[0]; np.linalg.eigvals(a[:, :3] + 0j)
np.linalg.solve(a[:, :3], a); np.fft.fft(a); np.fft.rfft(a, 6, 0); np.fft.irfft(a + 0j); np.fft.fftn(c, axes=(0, 2)); a.real; (a + 1j).imag; a.view(np.int32); np.frexp(a)[1]
np.unravel_index(i, (3, 4))[1]; np.nan_to_num(a); np.round(a, 1); a.astype(np.float16) + np.float32(1); np.isnan(a); np.atleast_2d(b); np.meshgrid(b, b)[0]; np.divmod(i, 2)[0]
"""


def calls():
    return [each.strip() for each in CALLS.replace("\n", ";").split(";") if each.strip()]


def arguments(make):
    return {"np": np, "a": make((3, 4), np.float32), "b": make((4,), np.float32), "c": make((3, 3, 4), np.float64), "i": make((3, 4), np.int64)}


@pytest.mark.parametrize("text", calls())
def test_as_numpy(text):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = eval(text, arguments(lambda shape, dtype: (np.arange(int(np.prod(shape))).reshape(shape) % 3 + np.random.default_rng(0).random(shape)).astype(dtype)))
        ours = eval(text, arguments(fresh))
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    if isinstance(ours, MetaArray) and theirs.base is not None and "linalg" not in text and "fft" not in text and ours.base is not None:
        assert [step for step, n in zip(ours.strides, ours.shape) if n > 1] == [step for step, n in zip(theirs.strides, theirs.shape) if n > 1]


REFUSED = """
np.add(a, b[:3]); np.matmul(a, a); np.concatenate([a, b]); a.reshape(5); np.nonzero(a); np.unique(a); np.bincount(i[0]); a[a > 0]; a + np.ones(4); np.linalg.inv(a); a[[7]]
a[5]; np.stack([a, b]); np.swapaxes(a, 0, 2); a.__setitem__(0, np.ones(3)); np.asarray(a) + 0 if False else a.__array__(); a.get(); a.item(); bool(a)
np.add(a, 1, out=a[:2]); np.copyto(a, c); len(a[0, 0]); np.sum(a, 3)
"""


@pytest.mark.parametrize("text", [each.strip() for each in REFUSED.replace("\n", ";").split(";") if each.strip()])
def test_refused(text):
    with pytest.raises((ValueError, NotImplementedError, RuntimeError, IndexError, TypeError, np.linalg.LinAlgError)):
        eval(text, arguments(fresh))


def test_checks_of_values_pass():
    a = fresh((3,), np.float32)
    assert not (a < 0).any() and (a > 0).all() and not a.min() < 0 and not a.max() >= 5 and a.min() >= 0 and np.all(a == a)
    with pytest.raises(RuntimeError):
        bool(a[0] < 0)


def test_no_form_is_said():
    with pytest.raises(NotImplementedError, match="numpy.vander has no form"):
        np.linalg.cond(fresh((3, 3), np.float32)) if np.linalg.cond in RULES else np.vander(fresh((3,), np.float32))


# What differs from PyTorch's own meta tensors in its database of ops (python -m tests.meta.opinfo): how matrices lie in memory that a later op of
# ours has copied, and what needs values here.
DIFFERENT = """
_segment_reduce.lengths _segment_reduce.offsets as_strided.partial_views chalf cholesky cholesky_inverse cholesky_solve combinations corrcoef cov geqrf index_put
linalg.cholesky linalg.cholesky_ex linalg.householder_product linalg.ldl_solve linalg.lstsq linalg.lstsq.grad_oriented linalg.lu_solve linalg.svd
linspace.tensor_overload logspace.tensor_overload lu_solve nn.functional.ctc_loss nn.functional.embedding_bag nn.functional.gaussian_nll_loss
nn.functional.multilabel_margin_loss nanquantile nonzero_static ormqr pca_lowrank quantile repeat_interleave rot90 svd svd_lowrank triangular_solve
""".split()
QUICK = """
add __getitem__ matmul sum.dim sum softmax cat index_select gather masked_fill sort cumsum where view reshape nn.functional.conv2d nn.functional.layer_norm
nn.functional.max_pool2d nn.functional.cross_entropy nn.functional.embedding linalg.inv fft.rfft scatter_add topk as_strided bernoulli expand
""".split()


def differing(names):
    from .opinfo import OPS, run_op
    return [(name, *case) for name in names if name in OPS for case in run_op(OPS[name], ("float32",), 2) if case[2] is not None or case[3] is not None]


def test_quick_ops_as_pytorch():
    assert not differing(QUICK)


# All ops take minutes: a tenth of them here, `python -m tests.meta.opinfo` runs the whole database.
def test_a_tenth_of_all_ops_as_pytorch():
    from .opinfo import OPS
    assert {name for name, *_ in differing(sorted(OPS)[3::10])} <= set(DIFFERENT)
