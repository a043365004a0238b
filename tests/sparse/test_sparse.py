"""Sparse tensors against PyTorch's: making, printing, arithmetic, gradients, errors."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch as pt

from tests.support.common import rl, to_numpy
from tests.support.expressions import tables

warnings.filterwarnings("ignore", message="Sparse CSR tensor support|Sparse invariant checks")


def described(t):
    """What has to agree: layout, shape, dtype, whether it is coalesced, and all elements."""
    if not isinstance(t, (rl.Tensor, pt.Tensor)):
        return [described(each) for each in t] if isinstance(t, (list, tuple)) and not hasattr(t, "numel") and t and hasattr(t[0], "shape") else str(t)
    dense = t.detach().to_dense()
    return str(t.layout), tuple(t.shape), str(t.dtype), t.requires_grad, to_numpy(dense)


def assert_equal(ours, theirs):
    """The same description; numbers to float32's accuracy."""
    if isinstance(theirs, np.ndarray):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
    else:
        assert ours == theirs


def coo(torch, dtype=None):
    return torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3., 4., 5.], (2, 3), dtype=dtype or torch.float32).coalesce()


def uncoalesced(torch):
    return torch.sparse_coo_tensor([[1, 0, 1, 1], [2, 1, 2, 0]], [1., -2., 3., 0.5], (2, 3))


def hybrid(torch):
    return torch.sparse_coo_tensor([[0, 2, 2]], [[1., 2.], [3., 4.], [5., 6.]], (3, 2))


def csr(torch):
    return torch.sparse_csr_tensor([0, 1, 3], [2, 0, 2], [3., 4., 5.], (2, 3))


def csc(torch):
    return torch.sparse_csc_tensor([0, 1, 1, 3], [1, 0, 1], [4., 3., 5.], (2, 3))


def empty(torch):
    return torch.sparse_coo_tensor(size=(2, 3))


TABLES = tables(__file__)
KINDS = {f.__name__: f for f in (coo, uncoalesced, hybrid, csr, csc, empty)}
SAME_LAYOUT = ["x @ x.t()", "torch.sparse.mm(x, x.t())", "torch.mm(x.t(), x)", "x + x.abs()", "x * x.abs()"]


def evaluate(torch, expression, make):
    x = make(torch)
    D = torch.arange(float(x.numel())).reshape(x.shape) / 4 - 1
    names = {"torch": torch, "x": x, "D": D, "E": torch.linspace(-1, 1, 6).reshape(3, 2), "v": torch.tensor([1., -2., .5]), "w": torch.tensor([1., -2.]),
             "B": torch.ones(2, 2), "copy": copy, "pickle": pickle}
    try:
        return described(eval(expression, names))
    except Exception as error:  # noqa: BLE001
        return error


def cases():
    for kind in KINDS:
        for expression in TABLES["EVERYWHERE"]:
            yield kind, expression
    for kind in ("coo", "uncoalesced", "hybrid", "empty"):
        for expression in TABLES["COO_ONLY"]:
            yield kind, expression
    for kind in ("coo", "uncoalesced", "csr", "csc", "empty"):
        for expression in TABLES["MATRICES"]:
            yield kind, expression
    for kind in ("coo", "uncoalesced", "csr"):
        for expression in SAME_LAYOUT:
            yield kind, expression


@pytest.mark.parametrize("kind, expression", list(cases()), ids=str)
def test_like_torch(kind, expression):
    theirs, ours = evaluate(pt, expression, KINDS[kind]), evaluate(rl, expression, KINDS[kind])
    if isinstance(theirs, Exception):
        # Where PyTorch has no kernel we may have one; what is an error of the caller there is one here.
        if isinstance(ours, Exception):
            assert isinstance(ours, (RuntimeError, IndexError, TypeError)), repr(ours)
        return
    assert not isinstance(ours, Exception), f"{ours!r} instead of {theirs}"
    assert_equal(ours, theirs)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "complex64", "bool"])
def test_printing(make, dtype):
    def text(torch):
        return repr(make(torch).to(getattr(torch, dtype)))
    assert text(rl) == text(pt)


def test_printing_with_history_and_many_elements():
    def texts(torch):
        values = torch.tensor([3., 4., 5.], requires_grad=True)
        x = torch.sparse_coo_tensor(torch.tensor([[0, 1, 1], [2, 0, 2]]), values, (2, 3))
        y = torch.sparse_csr_tensor([0, 1, 3], [2, 0, 2], values, (2, 3))
        many = torch.arange(4000.).reshape(2000, 2).to_sparse()
        return [repr(each) for each in (x, x.coalesce(), y, x.detach().requires_grad_(), many, many.to_sparse_csr(), torch.sparse_coo_tensor(size=(2, 0)),
                                        torch.tensor(5.).to_sparse())]
    assert texts(rl) == texts(pt)


GRADIENTS = {
    "mm": lambda torch, x, d: torch.sparse.mm(x, d).square().sum(),
    "operator": lambda torch, x, d: (x @ d).square().sum(),
    "dense_sparse": lambda torch, x, d: (d.t() @ x.t()).square().sum(),
    "mv": lambda torch, x, d: (x @ d[:, 0]).square().sum(),
    "addmm": lambda torch, x, d: torch.addmm(torch.ones(2, 2), x, d, beta=2, alpha=3).square().sum(),
    "sparse_addmm": lambda torch, x, d: torch.sparse.addmm(torch.ones(2, 2), x, d).square().sum(),
    "to_dense": lambda torch, x, d: x.to_dense().square().sum() + d.sum(),
    "double": lambda torch, x, d: x.double().to_dense().square().sum() + d.sum(),
    "values": lambda torch, x, d: x.values().pow(3).sum() + d.sum(),
    "scaled": lambda torch, x, d: (x * 3).to_dense().square().sum() + d.sum(),
    "times_dense": lambda torch, x, d: (x * d.t()).to_dense().square().sum(),
    "plus_dense": lambda torch, x, d: (d.t() + x).square().sum(),
    "transposed": lambda torch, x, d: (x.t().to_dense() * d).sum(),
    "relu": lambda torch, x, d: torch.relu(x).to_dense().square().sum() + d.sum(),
    "sum": lambda torch, x, d: x.sum() * 2 + d.sum(),
    "csr": lambda torch, x, d: (x.to_sparse_csr() @ d).square().sum(),
    "masked": lambda torch, x, d: d.t().sparse_mask(x.detach()).to_dense().square().sum() + x.sum(),
    "from_dense": lambda torch, x, d: d.to_sparse().to_dense().square().sum() + x.sum(),
}
COO_GRADIENTS = {
    "product": lambda torch, x, d: torch.sparse.mm(x, x.t()).to_dense().square().sum() + d.sum(),
    "added": lambda torch, x, d: (x + x * 2).to_dense().square().sum() + d.sum(),
    "sparse_sum": lambda torch, x, d: torch.sparse.sum(x, 0).to_dense().square().sum() + d.sum(),
    "softmax": lambda torch, x, d: (torch.sparse.softmax(x, 1).to_dense() * d.t()).sum(),
    "log_softmax": lambda torch, x, d: (torch.sparse.log_softmax(x, 0).to_dense() * d.t()).sum(),
    "product_of_two": lambda torch, x, d: (x * x).to_dense().square().sum() + d.sum(),
    "coalesced": lambda torch, x, d: (x + x).coalesce().to_dense().square().sum() + d.sum(),
    "index_select": lambda torch, x, d: x.index_select(0, torch.tensor([1, 0])).to_dense().square().sum() + d.sum(),
    "cat": lambda torch, x, d: torch.cat([x, x * 2]).to_dense().square().sum() + d.sum(),
}


def gradients(torch, f, make, through_values):
    d = torch.linspace(-1, 2, 6).reshape(3, 2).requires_grad_()
    x = make(torch)
    if through_values:
        v = x.values().clone().requires_grad_()
        if x.is_sparse:
            f(torch, torch.sparse_coo_tensor(x.indices(), v, x.shape, is_coalesced=True), d).backward()
        else:
            f(torch, torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), v, x.shape), d).backward()
        return described(v.grad), described(d.grad.to_dense())
    x.requires_grad_()
    f(torch, x, d).backward()
    return str(x.grad.layout), described(x.grad.to_dense()), described(d.grad.to_dense())


@pytest.mark.parametrize("through_values", [False, True])
@pytest.mark.parametrize("name", [*GRADIENTS, *COO_GRADIENTS])
@pytest.mark.parametrize("make", [coo, csr], ids=["coo", "csr"])
def test_gradients(make, name, through_values):
    f = GRADIENTS.get(name) or COO_GRADIENTS[name]
    try:
        theirs = gradients(pt, f, make, through_values)
    except Exception:  # noqa: BLE001
        if make is coo and not through_values and name not in ("index_select", "cat"):
            raise
        return              # no kernel for it in PyTorch
    assert_equal(gradients(rl, f, make, through_values), theirs)


@pytest.mark.parametrize("name", ["mm", "to_dense", "softmax", "product", "times_dense", "added"])
def test_gradgradcheck(name):
    """Second derivatives, for which PyTorch often has no kernel: by differences."""
    f = GRADIENTS.get(name) or COO_GRADIENTS[name]

    def through(v, d):
        return f(rl, rl.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], v, (2, 3), is_coalesced=True), d)
    v = rl.tensor([3., 4., 5.], dtype=rl.float64, requires_grad=True)
    d = rl.linspace(-1, 2, 6, dtype=rl.float64).reshape(3, 2).requires_grad_()
    assert rl.autograd.gradcheck(through, (v, d))
    assert rl.autograd.gradgradcheck(through, (v, d))




@pytest.mark.parametrize("expression", TABLES["ERRORS"])
def test_errors(expression):
    theirs, ours = evaluate(pt, expression, coo), evaluate(rl, expression, coo)
    assert isinstance(theirs, Exception), f"not an error in PyTorch: {theirs}"
    assert isinstance(ours, type(theirs)) or (isinstance(ours, NotImplementedError) and isinstance(theirs, RuntimeError)), repr(ours)


@pytest.mark.parametrize("text", ["sparse_coo_tensor([[0, 5]], [1., 2.], (3,))", "sparse_coo_tensor([[0, -1]], [1., 2.], (3,))",
                                  "sparse_csr_tensor([0, 1, 3], [2, 0, 9], [3., 4., 5.], (2, 4))",
                                  "sparse_csr_tensor([0, 1, 2], [2, 0, 2], [3., 4., 5.], (2, 4))",
                                  "sparse_csr_tensor([1, 1, 3], [2, 0, 2], [3., 4., 5.], (2, 4))",
                                  "sparse_csr_tensor([0, 1, 3], [2, 2, 0], [3., 4., 5.], (2, 4))",
                                  "sparse_coo_tensor([[1, 1]], [1., 2.], (3,), is_coalesced=True)"])
def test_invariants(text):
    """PyTorch checks these when it is asked to; without being asked only what is in bounds is wrong without an error here."""
    with pytest.raises(RuntimeError) as theirs:
        eval("pt." + text[:-1] + ", check_invariants=True)")
    with pytest.raises(RuntimeError) as ours:
        eval("rl." + text[:-1] + ", check_invariants=True)")
    assert str(ours.value).split(" (")[0][:30] == str(theirs.value).split(" (")[0][:30]


def test_invariants_switch():
    switch = rl.sparse.check_sparse_tensor_invariants
    assert not switch.is_enabled()
    rl.sparse_csr_tensor([0, 1, 3], [2, 2, 0], [3., 4., 5.], (2, 4))
    with switch():
        assert switch.is_enabled()
        with pytest.raises(RuntimeError, match="sorted and distinct"):
            rl.sparse_csr_tensor([0, 1, 3], [2, 2, 0], [3., 4., 5.], (2, 4))
    assert not switch.is_enabled()


@pytest.mark.parametrize("name", ["sparse_bsr_tensor", "sparse_bsc_tensor"])
def test_block_layouts_are_refused_by_name(name):
    with pytest.raises(NotImplementedError, match=name):
        getattr(rl, name)([0, 1], [0], [[[1.]]])
    with pytest.raises(NotImplementedError, match="to_sparse_bsr"):
        rl.ones(2, 2).to_sparse_bsr((1, 1))


@pytest.mark.parametrize("make", [coo, uncoalesced, csr], ids=lambda f: f.__name__)
def test_no_method_gives_a_wrong_result(make):
    """Every method of Tensor on a sparse tensor raises, or gives what it gives on the dense one."""
    skip = {"values", "indices", "coalesce", "backward", "normal_", "uniform_", "bernoulli_", "bernoulli", "random_", "exponential_", "storage_offset",
            "stride", "is_contiguous", "new_empty", "type", "is_sparse", "requires_grad_", "data_ptr", "to_sparse", "sparse_dim", "dense_dim", "cuda", "pin_memory", "cfloat", "cdouble"}
    tried = 0
    for name in dir(rl.Tensor):
        if name.startswith("_") or name in skip:
            continue
        for args in ((), ("x",), (0,), (1,), (0, 1), (2.0,), ("dense",), (1, 0, 1)):
            x = make(rl)
            dense = x.to_dense()
            if not callable(getattr(rl.Tensor, name)) or "div" in name and args == (0,):      # 0 / 0 is nan only where an element is specified
                continue
            try:
                ours = getattr(x, name)(*[x.clone() if a == "x" else rl.ones(2, 3) if a == "dense" else a for a in args])
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, AssertionError):
                continue
            if not isinstance(ours, rl.Tensor):
                continue
            try:
                theirs = getattr(dense, name)(*[dense.clone() if a == "x" else rl.ones(2, 3) if a == "dense" else a for a in args])
            except Exception:  # noqa: BLE001
                continue
            tried += 1
            assert str(ours.dtype) == str(theirs.dtype), (name, args)
            assert rl.allclose(ours.to_dense().double(), theirs.to_dense().double(), equal_nan=True), (name, args)
    assert tried > 50


@pytest.mark.parametrize("make", [coo, uncoalesced, hybrid, csr, csc, empty], ids=lambda f: f.__name__)
def test_files_both_ways(make, tmp_path):
    for saver, loader in ((rl, pt), (pt, rl), (rl, rl)):
        saver.save({"x": make(saver)}, tmp_path / "x.pt")
        x = loader.load(tmp_path / "x.pt")["x"]
        assert_equal(described(x), described(make(loader)))


def test_sparse_tensors_are_tensors():
    x = coo(rl)
    assert isinstance(x, rl.Tensor) and rl.is_tensor(x) and x.is_leaf and x.layout is rl.sparse_coo and not rl.ones(2).is_sparse
    assert x._values().data_ptr() == x._values().data_ptr()
    x._values().mul_(2)
    assert x.to_dense().tolist() == [[0, 0, 6], [8, 0, 10]]
    p = rl.nn.Parameter(x)
    assert isinstance(p, rl.nn.Parameter) and p.requires_grad and p.is_sparse


def test_large_and_thin():
    """Shapes whose dense form would never fit."""
    def run(torch):
        i = torch.tensor([[0, 10**9, 5], [3, 3, 10**9]])
        x = torch.sparse_coo_tensor(i, torch.tensor([1., 2., 3.]), (2 * 10**9, 2 * 10**9))
        y = (x + x.t()).coalesce()
        return y.indices().tolist(), y.values().tolist(), torch.sparse.sum(x, 0).coalesce().indices().tolist()
    assert run(rl) == run(pt)


def test_hooks_and_retained_gradients_see_sparse_gradients():
    def run(torch):
        weight = torch.arange(10.).reshape(5, 2).requires_grad_()
        seen = []
        weight.register_hook(lambda g: seen.append(str(g.layout)) or g * 2)
        middle = weight * 1.0
        middle.retain_grad()
        torch.nn.functional.embedding(torch.tensor([1, 3, 1]), weight, sparse=True).sum().backward()
        return seen, weight.grad.to_dense().tolist(), str(weight.grad.layout)
    assert run(rl) == run(pt)


def test_autograd_grad_of_sparse():
    def run(torch):
        weight = torch.arange(10.).reshape(5, 2).requires_grad_()
        out = torch.nn.functional.embedding(torch.tensor([1, 3, 1]), weight, sparse=True)
        g, = torch.autograd.grad(out, weight, torch.ones_like(out))
        x = coo(torch).requires_grad_()
        h, = torch.autograd.grad(torch.sparse.mm(x, torch.ones(3, 2)), x, torch.ones(2, 2))
        return described(g), described(h)
    assert_equal(run(rl), run(pt))


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
@pytest.mark.parametrize("call", [
    lambda m, s: s(m.float32).sin_(), lambda m, s: m.sin(s(m.float32), out=s(m.float32)), lambda m, s: s(m.int32).ceil_(), lambda m, s: s(m.float32).neg_(),
    lambda m, s: m.isposinf(s(m.float32), out=s(m.bool)), lambda m, s: m.sqrt(s(m.int8), out=s(m.float32)), lambda m, s: s(m.int32).tan_(),
    lambda m, s: m.sqrt(s(m.int8), out=s(m.int8)), lambda m, s: s(m.float32).requires_grad_().sin_()], ids=range(9))
def test_functions_of_values_in_place_and_out(call, layout):
    results = []
    for m in (rl, pt):
        try:
            r = call(m, lambda dtype, m=m: getattr(m.eye(2, dtype=dtype), layout)())
            results.append((str(r.layout), str(r.dtype), *r.to_dense().flatten().tolist()))
        except RuntimeError as error:
            results.append((str(error),))
    assert results[0][:2] == results[1][:2] and results[0][2:] == pytest.approx(results[1][2:])


@pytest.mark.parametrize("first, second", [("int8", "uint8"), ("uint8", "int8"), ("int8", "bool"), ("bool", "uint8"), ("float32", "int64")])
def test_differences_of_two_dtypes(first, second):
    def calls(m):
        a, b = m.tensor([100, 0, 1]).to(getattr(m, first)).to_sparse(), m.tensor([200, 3, 0], dtype=m.uint8).to(getattr(m, second)).to_sparse()
        found = []
        for call in (lambda: a - b, lambda: a + b, lambda: m.sub(a, b, alpha=3), lambda: a.to_dense() - b):
            try:
                found.append((str(call().dtype), call().to_dense().tolist()))
            except RuntimeError as error:
                found.append(str(error))
        return found
    assert calls(rl) == calls(pt)


def test_private_names_of_sparse_tensors():
    for m in (rl, pt):
        assert m.eye(2).to_sparse()._coalesced_(False).is_coalesced() is False
        at, one = m.tensor([0, 1, 2]), m.ones(2)
        assert m._validate_sparse_csr_tensor_args(at, m.tensor([0, 1]), one, (2, 2)) is None
        assert m._validate_sparse_compressed_tensor_args(at, m.tensor([0, 1]), one, (2, 2), m.sparse_csc) is None
        assert m._validate_sparse_coo_tensor_args(m.tensor([[0, 1]]), one, (3,)) is None
        with pytest.raises(RuntimeError):
            m._validate_sparse_coo_tensor_args(m.tensor([[0, 5]]), one, (3,))
        with pytest.raises(RuntimeError):
            m._validate_sparse_csc_tensor_args(at, m.tensor([0, 7]), one, (2, 2))
