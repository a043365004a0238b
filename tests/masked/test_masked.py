"""torch.masked against PyTorch's: reductions and normalisations with masks, MaskedTensor."""

import warnings

import pytest
import torch as pt
import torch.masked  # noqa: F401

import rushlight as rl
import rushlight.masked  # noqa: F401
from tests.support.common import assert_same, to_rl

MODULES = (rl, pt)
X = pt.tensor([[[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]], [[2.0, 2.5, -0.5], [1.0, -3.0, 0.25]]], dtype=pt.float64)
MASKS = {"none": None, "some": X > 0, "row": pt.tensor([True, False, True]), "empty row": pt.tensor([[[True], [False]], [[True], [True]]])}
NAMES = {"sum": {}, "prod": {}, "amax": {}, "amin": {}, "mean": {}, "logsumexp": {}, "var": {}, "std": {}, "norm": {}, "var of all": {"unbiased": False},
         "std with correction": {"correction": 2}, "norm of order 1": {"ord": 1.0}, "norm of order -inf": {"ord": -float("inf")},
         "sum in float32": {"dtype": "float32"}}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", NAMES)
def test_reductions(name, mask):
    for dim in (None, 0, -1, (0, 2)):
        for keepdim in (False, True):
            results = []
            for module, convert in ((rl, to_rl), (pt, lambda v: v)):
                x = convert(X.clone().requires_grad_())
                options = {key: getattr(module, value) if key == "dtype" else value for key, value in NAMES[name].items()}
                out = getattr(module.masked, name.split()[0])(x, dim=dim, keepdim=keepdim, mask=convert(MASKS[mask]), **options)
                results.append([out, *module.autograd.grad(out.sum(), [x])] if mask in ("none", "some") else [out.detach()])
            assert_same(results[0], results[1])


@pytest.mark.parametrize("mask", ["none", "some", "row"])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "softmax", "log_softmax", "softmin", "argmax", "argmin", "median"])
def test_along_a_dimension(name, mask):
    for dim in (0, 1, -1):
        results = []
        for module, convert in ((rl, to_rl), (pt, lambda v: v)):
            given = convert(MASKS[mask])
            out = getattr(module.masked, name)(convert(X), dim=dim, mask=given)
            if name == "log_softmax" and given is not None:
                out = out.masked_fill(~given, 0.0)          # what is masked out is not defined
            results.append(out.nan_to_num(7.0) if out.is_floating_point() else out)
        assert_same(results[0], results[1])


def test_normalize_logaddexp_and_integers():
    for mask in (None, X > 0):
        assert_same(rl.masked.normalize(to_rl(X), 2.0, 1, mask=to_rl(mask)), pt.masked.normalize(X, 2.0, 1, mask=mask))
        assert_same(rl.masked.logaddexp(to_rl(X), to_rl(X), input_mask=to_rl(mask)), pt.masked.logaddexp(X, X, input_mask=mask))
    i = (X * 2).to(pt.int32)
    for name in ("sum", "prod", "amax", "amin", "median", "cumsum", "argmax", "var"):
        options = {"dim": 1}
        assert_same(getattr(rl.masked, name)(to_rl(i), **options), getattr(pt.masked, name)(i, **options), what=name)
    for module in MODULES:
        ones = module.ones(2, 3, dtype=module.int64)
        with pytest.raises(ValueError):
            module.masked.mean(ones)
        with pytest.raises(ValueError):
            module.masked.median(ones, 1, mask=module.zeros(2, 3, dtype=module.bool))
        with pytest.raises(AssertionError):
            module.masked.var(module.ones(2), unbiased=True, correction=1)
        with pytest.raises(IndexError):
            module.masked.sum(module.ones(2), 5)
        with pytest.raises(RuntimeError):
            module.masked.sum(module.ones(2, 2), (0, 0))


def quiet(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


MT_CALLS = {
    "repr": lambda m, t: repr(t),
    "exp": lambda m, t: m.exp(t),
    "method": lambda m, t: t.sqrt(),
    "add": lambda m, t: t + t,
    "number": lambda m, t: 2 * t - 1,
    "function": lambda m, t: m.mul(t, t),
    "compare": lambda m, t: t > 2,
    "integers": lambda m, t: (t * 100).long(),
    "one masked out": lambda m, t: t[0, 1],
    "sum": lambda m, t: t.sum(),
    "sum of rows": lambda m, t: t.sum(1),
    "mean": lambda m, t: t.mean(1),
    "amax": lambda m, t: t.amax(1),
    "reshape": lambda m, t: t.reshape(3, 2),
    "index": lambda m, t: t[0],
    "negative": lambda m, t: -t,
    "where it counts": lambda m, t: t.get_mask(),
    "filled": lambda m, t: t.to_tensor(-1),
    "divide": lambda m, t: t / t,
    "shape": lambda m, t: [tuple(t.shape), str(t.dtype), t.ndim, t.numel()],
}


@pytest.mark.parametrize("name", MT_CALLS)
def test_masked_tensors(name):
    shown = []
    for module in MODULES:
        def run(module=module):
            t = module.masked.masked_tensor(module.tensor([[1.0, 2, 3], [4, 5, 6]]), module.tensor([[True, False, True], [False, False, True]]))
            return repr(MT_CALLS[name](module, t))
        shown.append(quiet(run))
    assert shown[0] == shown[1]


def test_masked_tensor_gradients_and_errors():
    for module in MODULES:
        def run(module=module):
            M = module.masked
            data, mask = module.tensor([1.0, 2.0]), module.tensor([True, False])
            t = M.masked_tensor(data, mask, requires_grad=True)
            (t * t).sum().backward()
            assert float(t.grad.get_data()[0]) == 2 and M.is_masked_tensor(t) and not M.is_masked_tensor(data)
            with pytest.raises(ValueError, match="Input masks must match"):
                t + M.masked_tensor(data, module.tensor([True, True]))
            with pytest.raises(TypeError):
                M.masked_tensor(data, data)
            with pytest.raises(ValueError):
                M.masked_tensor(data, module.ones(3, dtype=module.bool))
            x = module.tensor([1.0, 3.0], requires_grad=True)
            M.as_masked_tensor(x, mask).sum().backward()
            assert float(x.grad.get_data()[0] if module is pt else x.grad[0]) == 1 and (module is pt or float(x.grad[1]) == 0)
        quiet(run)
    t = quiet(lambda: rl.masked.masked_tensor(rl.ones(2), rl.tensor([True, False])))
    with pytest.raises(TypeError, match="get_data"):
        rl.cumsum(t, 0)
    with pytest.warns(UserWarning, match="prototype"):
        rl.masked.masked_tensor(rl.ones(2), rl.tensor([True, False]))


SPARSE = {"coo": lambda t: t.to_sparse(), "csr": lambda t: t.to_sparse_csr(), "strided": lambda t: t}
K = pt.tensor([[True, False, True, False], [False, False, True, True], [True, True, False, True]])
S = pt.tensor([[1.5, 0.0, -2.0, 3.0], [0.0, 0.0, 4.0, -1.0], [2.0, 0.0, 0.5, 0.0]], dtype=pt.float64)


@pytest.mark.parametrize("layout, name", [(layout, name) for layout in ("coo", "csr") for name in ("sum", "prod", "amax", "amin", "mean")
                                          if (layout, name) != ("coo", "mean")])
@pytest.mark.parametrize("mask", SPARSE)
def test_reductions_of_sparse_tensors_are_sparse(layout, name, mask):
    for options in ({"keepdim": True}, {"dim": 0, "keepdim": True}, {"dim": 1, "keepdim": True}, {}):
        if layout == "csr" and not options:
            continue
        results = []
        for module, convert in ((rl, to_rl), (pt, lambda v: v)):
            function, given = getattr(module.masked, name), convert(K)
            out = function(SPARSE[layout](convert(S)), mask=SPARSE[mask](given), **options)
            counts = module.masked._output_mask(function, convert(S), mask=given, **options)
            results.append([str(out.layout), module.where(counts, out.to_dense(), 0.0), counts])
        assert results[0].pop(0) == results[1].pop(0)
        assert_same(*results)


def test_what_masked_operations_refuse_of_sparse_tensors():
    for module, convert in ((rl, to_rl), (pt, lambda v: v)):
        coo, csr = convert(S).to_sparse(), convert(S).to_sparse_csr()
        for name in ("prod", "amax", "mean", "softmax", "var", "median", "cumsum"):
            with pytest.raises(ValueError):
                getattr(module.masked, name)(coo, dim=1)
        for name, error in (("sum", RuntimeError), ("amax", AssertionError)):
            with pytest.raises(error, match="keepdim=False"):
                getattr(module.masked, name)(csr, mask=csr.bool())


def test_masks_of_inputs_and_results():
    for layout, of in SPARSE.items():
        for mask in (K, K[:, :1], K[0], S):
            results = [module.masked._input_mask(of(convert(S)), mask=convert(mask)) for module, convert in ((rl, to_rl), (pt, lambda v: v))]
            assert str(results[0].layout) == str(results[1].layout)
            assert_same(results[0].to_dense(), results[1].to_dense(), what=layout)
    for module, convert in ((rl, to_rl), (pt, lambda v: v)):
        with pytest.raises(ValueError, match="requires explicit mask"):
            module.masked._input_mask(convert(S))
        with pytest.raises(IndexError, match="dimensionality higher"):
            module.masked._input_mask(convert(S), mask=module.ones(1, 3, 4))
        with pytest.raises(ValueError, match="expected masked operation"):
            module.masked._output_mask(module.masked.logaddexp, convert(S), mask=convert(K))
        assert module.masked._canonical_dim((-1, 0), 2) == (0, 1) and module.masked._canonical_dim(None, 0) == ()


@pytest.mark.cpu_only          # compares printed text
def test_identities():
    for name in ("sum", "prod", "amax", "amin", "argmin", "median", "mean", "logsumexp", "cumprod"):
        for dtype in ("float64", "int32", "uint8", "complex64"):
            results = []
            for module in MODULES:
                try:
                    value = module.masked._reduction_identity(name, module.zeros(2, dtype=getattr(module, dtype)))
                    results.append(None if value is None else [repr(value), str(value.dtype)])
                except (TypeError, NotImplementedError) as error:
                    results.append(type(error))
            assert results[0] == results[1], (name, dtype)
    results = [module.masked._combine_input_and_mask(module.masked.amax, convert(S), convert(K)) for module, convert in ((rl, to_rl), (pt, lambda v: v))]
    assert_same(*results)


@pytest.mark.parametrize("layout", ["coo", "csr", "hybrid"])
def test_where_of_sparse_tensors(layout):
    of = {**SPARSE, "hybrid": lambda t: t.to_sparse(1)}[layout]
    results = []
    for module, convert in ((rl, to_rl), (pt, lambda v: v)):
        out = module.masked._where(of(convert(K)), of(convert(S)), module.tensor(7.0, dtype=module.float64))
        results.append([out.to_dense(), out.values() if layout == "csr" else out.coalesce().values()])
    assert_same(*results)
