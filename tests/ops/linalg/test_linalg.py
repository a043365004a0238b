"""torch.linalg and torch's own linear algebra, compared with torch: values, gradients, second gradients; real and complex, batches, empty."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, both, to_rl


def hermitian(m, a):
    return (a + a.mH) / 2


def positive(m, a):
    n = a.shape[-1]
    return a @ a.mH + n * m.eye(n, dtype=a.dtype)


def vectors(v):
    """Of singular vectors and eigenvectors the part without signs and phases."""
    return (v * v.conj()).real


# name -> (function of (module, tensors), shapes of the tensors)
SQUARE, TALL, WIDE = (2, 4, 4), (2, 5, 3), (2, 3, 5)
CASES = {
    "inv": (lambda m, a: m.linalg.inv(a), [SQUARE]),
    "inv_ex": (lambda m, a: m.linalg.inv_ex(a), [SQUARE]),
    "det": (lambda m, a: m.linalg.det(a), [SQUARE]),
    "slogdet": (lambda m, a: m.linalg.slogdet(a), [SQUARE]),
    "logdet": (lambda m, a: m.logdet(positive(m, a)), [SQUARE]),
    "solve": (lambda m, a, b: m.linalg.solve(a, b), [SQUARE, (2, 4, 3)]),
    "solve of vectors": (lambda m, a, b: m.linalg.solve(a, b), [SQUARE, (2, 4)]),
    "solve, broadcast": (lambda m, a, b: m.linalg.solve(a, b), [SQUARE, (4, 3)]),
    "solve from the right": (lambda m, a, b: m.linalg.solve(a, b, left=False), [SQUARE, (2, 3, 4)]),
    "solve_ex": (lambda m, a, b: m.linalg.solve_ex(a, b), [SQUARE, (2, 4, 3)]),
    "solve_triangular upper": (lambda m, a, b: m.linalg.solve_triangular(positive(m, a), b, upper=True), [SQUARE, (2, 4, 3)]),
    "solve_triangular lower": (lambda m, a, b: m.linalg.solve_triangular(positive(m, a), b, upper=False), [SQUARE, (4, 3)]),
    "solve_triangular right": (lambda m, a, b: m.linalg.solve_triangular(positive(m, a), b, upper=True, left=False), [SQUARE, (2, 3, 4)]),
    "solve_triangular unit": (lambda m, a, b: m.linalg.solve_triangular(a, b, upper=False, unitriangular=True), [SQUARE, (2, 4, 3)]),
    "triangular_solve": (lambda m, a, b: m.triangular_solve(b, positive(m, a), transpose=True), [SQUARE, (2, 4, 3)]),
    "cholesky": (lambda m, a: m.linalg.cholesky(positive(m, a)), [SQUARE]),
    "cholesky upper": (lambda m, a: m.linalg.cholesky(positive(m, a), upper=True), [SQUARE]),
    "cholesky_ex": (lambda m, a: m.linalg.cholesky_ex(positive(m, a)), [SQUARE]),
    "cholesky_solve": (lambda m, a, b: m.cholesky_solve(b, m.linalg.cholesky(positive(m, a))), [SQUARE, (2, 4, 3)]),
    "cholesky_solve upper": (lambda m, a, b: m.cholesky_solve(b, positive(m, a).triu(), upper=True), [SQUARE, (2, 4, 3)]),
    "cholesky_inverse": (lambda m, a: m.cholesky_inverse(positive(m, a).tril()), [SQUARE]),
    "qr square": (lambda m, a: m.linalg.qr(a), [SQUARE]), "qr tall": (lambda m, a: m.linalg.qr(a), [TALL]),
    "qr wide": (lambda m, a: m.linalg.qr(a), [WIDE]), "qr complete": (lambda m, a: m.linalg.qr(a, "complete"), [WIDE]),
    "qr, Q only": (lambda m, a: m.linalg.qr(a)[0], [WIDE]), "qr, R only": (lambda m, a: m.linalg.qr(a)[1], [TALL]),
    "householder_product": (lambda m, a: m.linalg.householder_product(a, m.geqrf(a.detach())[1]), [TALL]),
    "ormqr": (lambda m, a, c: m.ormqr(a, m.geqrf(a.detach())[1], c), [TALL, (2, 5, 4)]),
    "ormqr right": (lambda m, a, c: m.ormqr(a, m.geqrf(a.detach())[1], c, False), [TALL, (2, 4, 5)]),
    "lu": (lambda m, a: m.linalg.lu(a)[1:], [SQUARE]), "lu tall": (lambda m, a: m.linalg.lu(a)[1:], [TALL]),
    "lu wide": (lambda m, a: m.linalg.lu(a)[1:], [WIDE]), "L": (lambda m, a: m.linalg.lu(a)[1], [WIDE]), "U": (lambda m, a: m.linalg.lu(a)[2], [TALL]),
    "lu_factor": (lambda m, a: m.linalg.lu_factor(a)[0], [TALL]), "lu_factor_ex": (lambda m, a: m.linalg.lu_factor_ex(a)[0], [WIDE]),
    "lu_unpack": (lambda m, a: m.lu_unpack(*m.linalg.lu_factor(a))[1:], [SQUARE]),
    "lu_solve": (lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b), [SQUARE, (2, 4, 3)]),
    "lu_solve adjoint": (lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b, adjoint=True), [SQUARE, (2, 4, 3)]),
    "lu_solve right": (lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b, left=False), [SQUARE, (2, 3, 4)]),
    "svd": (lambda m, a: (lambda u, s, vh: (vectors(u), s, vectors(vh), (u * s.unsqueeze(-2)) @ vh))(*m.linalg.svd(a, full_matrices=False)), [TALL]),
    "svd wide": (lambda m, a: (lambda u, s, vh: (vectors(u), s, vectors(vh)))(*m.linalg.svd(a, full_matrices=False)), [WIDE]),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), [WIDE]), "old svd": (lambda m, a: (lambda u, s, v: (vectors(u), s, vectors(v)))(*m.svd(a)), [SQUARE]),
    "eigh": (lambda m, a: (lambda w, v: (w, vectors(v)))(*m.linalg.eigh(hermitian(m, a))), [SQUARE]),
    "eigh U": (lambda m, a: (lambda w, v: (w, vectors(v)))(*m.linalg.eigh(hermitian(m, a), "U")), [SQUARE]),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(hermitian(m, a)), [SQUARE]),
    "eig": (lambda m, a: (lambda w, v: (w.abs().sum(-1), vectors(v).sum(-1)))(*m.linalg.eig(a)), [SQUARE]),
    "pinv tall": (lambda m, a: m.linalg.pinv(a), [TALL]), "pinv wide": (lambda m, a: m.linalg.pinv(a), [WIDE]),
    "pinv of rank 2": (lambda m, a, b: m.linalg.pinv(a @ b), [(2, 5, 2), (2, 2, 4)]),
    "pinv hermitian": (lambda m, a: m.linalg.pinv(hermitian(m, a), hermitian=True), [SQUARE]),
    "matrix_norm nuc": (lambda m, a: m.linalg.matrix_norm(a, "nuc", keepdim=True), [TALL]),
    "matrix_norm 2": (lambda m, a: m.linalg.matrix_norm(a, 2), [TALL]), "matrix_norm -2": (lambda m, a: m.linalg.matrix_norm(a, -2), [TALL]),
    "matrix_norm 1": (lambda m, a: m.linalg.matrix_norm(a, 1), [TALL]), "matrix_norm dims": (lambda m, a: m.linalg.matrix_norm(a, float("inf"), (0, 1)), [TALL]),
    "vector_norm 3": (lambda m, a: m.linalg.vector_norm(a, 3, 1), [TALL]), "vector_norm 0.5": (lambda m, a: m.linalg.vector_norm(a, 0.5), [TALL]),
    "vector_norm 1.5": (lambda m, a: m.linalg.vector_norm(a, 1.5, (0, 1)), [TALL]), "norm": (lambda m, a: m.linalg.norm(a), [TALL]),
    "cond": (lambda m, a: m.linalg.cond(a), [TALL]),
    "matrix_power": (lambda m, a: (m.linalg.matrix_power(a, 5), m.linalg.matrix_power(a, -2), m.linalg.matrix_power(a, 0)), [SQUARE]),
    "matrix_exp": (lambda m, a: m.linalg.matrix_exp(a), [SQUARE]), "matrix_exp large": (lambda m, a: m.linalg.matrix_exp(a * 3), [SQUARE]),
    "multi_dot": (lambda m, a, b, c: m.linalg.multi_dot([a, b, c]), [(3, 4), (4, 5), (5,)]),
    "lstsq gels": (lambda m, a, b: m.linalg.lstsq(a, b, driver="gels")[:2], [TALL, (2, 5, 2)]),
    "lstsq wide": (lambda m, a, b: m.linalg.lstsq(a, b).solution, [WIDE, (2, 3, 2)]),
    "tensorinv": (lambda m, a: m.linalg.tensorinv(a), [(2, 3, 6)]),
    "tensorsolve": (lambda m, a, b: m.linalg.tensorsolve(a, b), [(2, 3, 6), (2, 3)]),
    "tensorsolve dims": (lambda m, a, b: m.linalg.tensorsolve(a, b, dims=(0,)), [(6, 2, 3), (2, 3)]),
    "vander": (lambda m, a: m.linalg.vander(a, N=4), [(2, 3)]),
    "vecdot": (lambda m, a, b: m.linalg.vecdot(a, b, dim=1), [TALL, TALL]), "cross": (lambda m, a, b: m.linalg.cross(a, b), [TALL, TALL]),
    "diagonal": (lambda m, a: m.linalg.diagonal(a, offset=1), [TALL]), "trace": (lambda m, a: m.trace(a), [(3, 3)]),
    "cov": (lambda m, a: m.cov(a, correction=0), [(3, 5)]), "corrcoef": (lambda m, a: m.corrcoef(a), [(3, 5)]),
    "svd_lowrank": (lambda m, a: (m.manual_seed(0), m.svd_lowrank(a, 2)[1])[1], [(2, 6, 4)]),
    "pca_lowrank": (lambda m, a: (m.manual_seed(0), m.pca_lowrank(a, 3)[1])[1], [(2, 6, 4)]),
}


def flat(value):
    if isinstance(value, (tuple, list)):
        return [each for item in value for each in flat(item)]
    return [value]


def run(m, call, *tensors):
    """Results, the gradients under random weights, and the gradients of the gradients."""
    outs = [t for t in flat(call(m, *tensors))]

    def weighted(values):
        total = 0
        for i, t in enumerate(values):
            weights = m.arange(1.0, t.numel() + 1, dtype=m.float64).reshape(t.shape).mul(0.7 + i).sin()
            total = total + ((t * weights).real + (t * weights).imag * 0.5 if t.is_complex() else t * weights).sum()
        return total
    used = [t for t in outs if t.requires_grad and t.numel()]
    gs = m.autograd.grad(weighted(used), tensors, create_graph=True, allow_unused=True)
    seen = [g for g in gs if g is not None and g.requires_grad]
    second = m.autograd.grad(weighted(seen), tensors, allow_unused=True) if seen else ()
    zero = lambda values: [m.zeros_like(t) if g is None else g.detach() for g, t in zip(values, tensors)]
    return [t.detach() for t in outs], zero(gs), zero(second)


@pytest.mark.parametrize("dtype", [pt.float64, pt.complex128], ids=["real", "complex"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, dtype):
    call, shapes = CASES[name]
    pt.manual_seed(len(name))
    tensors = [pt.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]
    theirs = run(pt, call, *tensors)
    ours = run(rl, call, *[to_rl(t) for t in tensors])
    for what, rtol, a, b in zip(("result", "gradient", "second gradient"), (1e-9, 1e-7, 1e-6), ours, theirs):
        for x, y in zip(a, b):
            scale = float(y.abs().max()) if y.numel() else 1.0
            assert_same(x, y.resolve_conj(), rtol=rtol, atol=rtol * 10 * max(scale, 1.0), what=what)


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "solve", "cholesky", "qr square", "qr tall", "lu", "svdvals", "eigvalsh", "pinv tall",
                                  "matrix_exp", "lu_solve", "solve_triangular upper", "svd_lowrank", "matrix_norm 2"])
def test_single_precision(name):
    call, shapes = CASES[name]
    pt.manual_seed(1)
    for dtype in (pt.float32, pt.complex64):
        ours, theirs = both(lambda m, *t: call(m, *t), *[pt.randn(shape, dtype=dtype) for shape in shapes])
        for a, b in zip(flat(ours), flat(theirs)):
            assert_same(a, b, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("call", [
    lambda m, a: m.linalg.inv(a), lambda m, a: m.linalg.det(a), lambda m, a: m.linalg.slogdet(a), lambda m, a: m.linalg.svd(a), lambda m, a: m.linalg.qr(a),
    lambda m, a: m.linalg.eigh(a), lambda m, a: m.linalg.eig(a), lambda m, a: m.linalg.cholesky(a), lambda m, a: m.linalg.lu(a),
    lambda m, a: m.linalg.lu_factor_ex(a), lambda m, a: m.linalg.solve(a, a), lambda m, a: m.linalg.pinv(a), lambda m, a: m.linalg.matrix_exp(a),
    lambda m, a: m.linalg.matrix_rank(a), lambda m, a: m.linalg.ldl_factor_ex(a), lambda m, a: m.linalg.matrix_power(a, 2), lambda m, a: m.linalg.cond(a),
    lambda m, a: m.linalg.solve_triangular(a, a, upper=True), lambda m, a: m.linalg.matrix_norm(a), lambda m, a: m.linalg.svdvals(a),
])
def test_empty(call):
    for shape in ((0, 0), (0, 3, 3), (2, 0, 0)):
        assert_same_behaviour(call, pt.zeros(shape))


@pytest.mark.cpu_only       # gradcheck
def test_values_only():
    """What PyTorch cannot differentiate: it writes in place on the way."""
    pt.manual_seed(0)
    a, v = pt.randn(2, 4, 4, dtype=pt.float64), pt.arange(1, 4)
    for p in ("fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf")):
        assert_same_behaviour(lambda m, a: m.linalg.cond(a, p), a)
        if p != "nuc":       # inf here, nan there
            assert_same_behaviour(lambda m, a: m.linalg.cond(a, p), pt.zeros(2, 2))
    assert_same_behaviour(lambda m, v: (m.vander(v), m.vander(v, 2, True), m.vander(v / 2, 0), m.linalg.vander(v, N=3)), v)
    leaf = rl.randn(3, 3, dtype=rl.float64, requires_grad=True)
    assert rl.autograd.gradcheck(lambda a: rl.linalg.cond(a, 1), (leaf,))


def test_rank():
    a = pt.diag(pt.tensor([1.0, 1e-3, 1e-9, 0]))
    for options in ({}, {"atol": 1e-2}, {"rtol": 1e-2}, {"atol": 1e-10, "rtol": 0.0}, {"hermitian": True}, {"tol": 1e-4}):
        assert_same_behaviour(lambda m, a: m.linalg.matrix_rank(a, **options), a)
        if "tol" not in options:
            assert_same_behaviour(lambda m, a: m.linalg.pinv(a, **options), a)
    assert_same_behaviour(lambda m, a, t: m.linalg.matrix_rank(a.expand(2, 4, 4), atol=t), a, pt.tensor([1e-2, 1e-4]))


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss", None])
def test_lstsq(driver):
    pt.manual_seed(0)
    for a, b in (((5, 3), (5, 2)), ((5, 3), (5,)), ((3, 5), (3, 2)), ((2, 5, 3), (2, 5)), ((2, 5, 3), (2, 5, 1)), ((3, 3), (3, 1))):
        assert_same_behaviour(lambda m, a, b: tuple(m.linalg.lstsq(a, b, driver=driver)), pt.randn(a, dtype=pt.float64), pt.randn(b, dtype=pt.float64))


@pytest.mark.cpu_only       # gradcheck
def test_lobpcg():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, 12, 12))
    a = a @ a.swapaxes(-1, -2)
    b = np.eye(12) + 0.1 * (a[0] / np.abs(a[0]).max())
    rl.manual_seed(0)
    for largest in (True, False):
        e, x = rl.lobpcg(rl.tensor(a), 2, largest=largest, tol=1e-10)
        w = np.linalg.eigvalsh(a)
        np.testing.assert_allclose(e.numpy(force=True), w[:, :-3:-1] if largest else w[:, :2], rtol=1e-6)
        np.testing.assert_allclose((rl.tensor(a) @ x).numpy(force=True), (x * e.unsqueeze(-2)).numpy(force=True), atol=1e-5 * w.max())
    e, x = rl.lobpcg(rl.tensor(a[0]), 3, rl.tensor(b), tol=1e-10)
    np.testing.assert_allclose((rl.tensor(a[0]) @ x).numpy(force=True), (rl.tensor(b) @ x * e).numpy(force=True), atol=1e-4)
    leaf = rl.tensor(a[0]).requires_grad_()
    assert rl.autograd.gradcheck(lambda t: rl.lobpcg((t + t.mT) / 2, 2, tol=1e-12)[0], (leaf,))
    with pytest.raises(ValueError, match="3 x"):
        rl.lobpcg(rl.eye(5), 2)


OUT = {"inv": 1, "det": 1, "cholesky": 1, "svdvals": 1, "eigh": 2, "qr": 2, "svd": 3, "lu": 3, "slogdet": 2, "pinv": 1, "eigvalsh": 1, "lu_factor": 2,
       "inv_ex": 2, "cholesky_ex": 2, "lu_factor_ex": 3, "matrix_norm": 1}


@pytest.mark.parametrize("name", OUT)
def test_out(name):
    a = rl.randn(3, 3, dtype=rl.float64)
    a = a @ a.mT + 3 * rl.eye(3, dtype=rl.float64)
    want = getattr(rl.linalg, name)(a)
    if OUT[name] == 1:
        out = rl.empty(0, dtype=want.dtype)
        assert getattr(rl.linalg, name)(a, out=out) is out and rl.equal(out, want)
    else:
        outs = tuple(rl.empty(0, dtype=each.dtype) for each in want)
        got = getattr(rl.linalg, name)(a, out=outs)
        assert all(rl.equal(x, y) for x, y in zip(outs, want)) and got._fields == want._fields


BAD = [
    "m.linalg.inv(m.zeros(2, 2))", "m.linalg.inv(m.stack([m.eye(2), m.zeros(2, 2)]))", "m.linalg.solve(m.zeros(2, 2), m.ones(2))",
    "m.linalg.cholesky(-m.eye(2))", "m.linalg.cholesky(m.stack([m.eye(2), -m.eye(2)]))", "m.linalg.lu_factor(m.zeros(2, 2))", "m.cholesky(-m.eye(2))",
    "m.linalg.lu(m.eye(2), pivot=False)", "m.linalg.inv(m.zeros(2, 3))", "m.linalg.inv(m.zeros(2))", "m.linalg.det(m.ones(2, 2).long())",
    "m.linalg.inv(m.ones(2, 2).half())", "m.linalg.solve(m.eye(2), m.ones(3, 1))", "m.linalg.solve(m.eye(2), m.ones(2), left=False)",
    "m.linalg.solve(m.eye(2), m.ones(2, 1).double())", "m.linalg.solve_triangular(m.eye(2), m.ones(3, 1), upper=True)",
    "m.linalg.solve_triangular(m.eye(2), m.ones(2), upper=True)", "m.linalg.vander(m.ones(3), N=1)", "m.linalg.cross(m.ones(2, 3), m.ones(3))",
    "m.linalg.cross(m.ones(2, 3), m.ones(2, 4))", "m.linalg.multi_dot([m.eye(2)])", "m.linalg.multi_dot([m.eye(2), m.ones(1, 2, 2), m.eye(2)])",
    "m.linalg.multi_dot([m.ones(2, 3), m.eye(2)])", "m.linalg.householder_product(m.ones(2, 3), m.ones(2))",
    "m.linalg.householder_product(m.ones(3, 2), m.ones(3))", "m.ormqr(m.ones(3, 2), m.ones(2), m.ones(4, 4))", "m.linalg.tensorinv(m.ones(2, 3, 6), ind=0)",
    "m.linalg.tensorinv(m.ones(2, 3, 5))", "m.linalg.tensorsolve(m.ones(2, 3, 5), m.ones(2, 3))", "m.linalg.matrix_power(m.ones(2, 3), 2)",
    "m.linalg.matrix_exp(m.ones(2, 3))", "m.linalg.matrix_exp(m.ones(2, 2).long())", "m.linalg.norm(m.ones(2, 3), ord='x')", "m.linalg.norm(m.ones(3), 'fro')",
    "m.linalg.norm(m.ones(2, 2, 2), 2)", "m.linalg.norm(m.ones(2, 2), 2, dim=(0, 0))", "m.linalg.matrix_norm(m.ones(2, 2), dim=(0,))",
    "m.linalg.matrix_norm(m.ones(2, 2), 3)", "m.linalg.cond(m.ones(2, 3), 1)", "m.linalg.cond(m.ones(2, 2), 'x')", "m.linalg.pinv(m.ones(2, 3), hermitian=True)",
    "m.cholesky_solve(m.ones(2, 1), m.ones(2, 3))", "m.cholesky_inverse(m.ones(2, 3))", "m.lu_unpack(m.eye(2), m.ones(2))",
    "m.linalg.lu_solve(m.eye(2), m.ones(2).int(), m.ones(3, 1))", "m.linalg.lu_solve(m.eye(2), m.ones(2).int(), m.ones(2))", "m.linalg.svd(m.eye(2), driver='x')",
    "m.linalg.eigh(m.eye(2), UPLO='x')", "m.linalg.vecdot(m.ones(2, 3), m.ones(2, 4))", "m.pca_lowrank(m.ones(4, 3), q=5)", "m.linalg.lstsq(m.eye(2), m.ones(3))",
    "m.triangular_solve(m.ones(2, 1), m.ones(2, 3))", "m.linalg.lstsq(m.ones(2), m.ones(2))", "m.linalg.lstsq(m.eye(2), m.ones(2, 1), driver='x')",
    "m.logdet(m.ones(2, 3))", "m.symeig(m.eye(2))", "m.eye(2).solve(m.eye(2))", "m.linalg.eig(m.full((2, 2), float('nan')))", "m.linalg.svd(m.full((2, 2), float('nan')))",
    "m.linalg.qr(m.eye(2), 'x')", "m.linalg.ldl_factor(m.zeros(2, 2))", "m.linalg.inv(3)", "m.cov(m.ones(2, 2, 2))", "m.trace(m.ones(2))",
    "m.linalg.qr(m.ones(3, 2, requires_grad=True), 'complete')[0].sum().backward()", "m.linalg.qr(m.ones(3, 2, requires_grad=True), 'r')[1].sum().backward()",
]


@pytest.mark.parametrize("text", BAD)
def test_errors(text):
    ours, theirs = both(lambda m: eval(text, {"m": m}))
    assert isinstance(theirs, Exception), theirs
    kind = RuntimeError if type(theirs).__name__ == "_LinAlgError" else type(theirs)
    assert isinstance(ours, kind), f"{ours!r} instead of {theirs!r}"
    if type(theirs).__name__ == "_LinAlgError":
        assert isinstance(ours, rl.linalg.LinAlgError) and str(theirs) == str(ours)


def test_gradients_that_depend_on_phases_are_refused():
    a = rl.randn(3, 3, dtype=rl.complex128, requires_grad=True)
    with pytest.raises(RuntimeError, match="phi"):
        rl.linalg.svd(a).U.imag.sum().backward()
    with pytest.raises(RuntimeError, match="phi"):
        rl.linalg.eigh(a + a.mH).eigenvectors.imag.sum().backward()
    with pytest.raises(RuntimeError, match="phi"):
        rl.linalg.eig(a).eigenvectors.imag.sum().backward()
