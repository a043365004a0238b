"""Matrix products, einsum and linalg, compared with torch."""

import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same_behaviour, both


def leaf(*shape):
    return pt.randn(shape, dtype=pt.float64, requires_grad=True)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)),
                                    ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
                                    ((2, 3), (5, 3, 4))])
def test_matmul(shapes):
    def run(m, a, b):
        y = a @ b
        gs = m.autograd.grad(y, (a, b), m.ones_like(y), create_graph=True)
        return y, gs, m.autograd.grad(sum((x * x).sum() for x in gs), (a, b), allow_unused=True)
    pt.manual_seed(0)
    assert_same_behaviour(run, leaf(*shapes[0]), leaf(*shapes[1]))


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (4, 5)), ((5, 2, 3), (4, 3)), ((5, 2, 3), (4, 3, 4)), ((2, 3), (4,)), ((), (3,))])
def test_matmul_errors(shapes):
    assert_same_behaviour(lambda m, a, b: a @ b, pt.zeros(shapes[0]), pt.zeros(shapes[1]), text=True)


@pytest.mark.parametrize("call", [
    lambda m, a, b, v: m.mm(a, b), lambda m, a, b, v: m.mv(a, v), lambda m, a, b, v: m.dot(v, v), lambda m, a, b, v: m.outer(v, v),
    lambda m, a, b, v: m.addmm(b[:3], a, b), lambda m, a, b, v: m.addmm(b[0], a, b, beta=0.5, alpha=2), lambda m, a, b, v: m.addmv(a[:, 0], a, v),
    lambda m, a, b, v: m.addr(a, a[:, 0], v), lambda m, a, b, v: m.bmm(a[None], b[None]), lambda m, a, b, v: m.baddbmm(b[None, :3], a[None], b[None]),
    lambda m, a, b, v: m.tensordot(a, b, 1), lambda m, a, b, v: m.tensordot(a, b, ([1], [0])), lambda m, a, b, v: m.kron(a, b),
    lambda m, a, b, v: m.inner(a, v), lambda m, a, b, v: m.nn.functional.linear(a, b.t()), lambda m, a, b, v: m.nn.functional.linear(a, b.t(), b[0]),
    lambda m, a, b, v: m.linalg.multi_dot([a, b, b[0]]), lambda m, a, b, v: m.chain_matmul(a, b), lambda m, a, b, v: m.vdot(v, v),
    lambda m, a, b, v: m.addbmm(b[:3], a[None], b[None]),
])
def test_products(call):
    pt.manual_seed(0)

    def run(m, a, b, v):
        y = call(m, a, b, v)
        return y, m.autograd.grad((y * y).sum(), (a, b, v), allow_unused=True)
    assert_same_behaviour(run, leaf(3, 4), leaf(4, 5), leaf(4))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int64", "uint8", "complex64", "bool"])
def test_matmul_dtypes(dtype):
    d = getattr(pt, dtype)
    a, b = (pt.arange(6).view(2, 3) % 2).to(d), (pt.arange(12).view(3, 4) % 3).to(d)
    assert_same_behaviour(lambda m, a, b: a @ b, a, b)
    assert_same_behaviour(lambda m, a, b: a @ b.float(), a, b) if dtype != "complex64" else None


EQUATIONS = {"bij,bjk->bik": ((2, 3, 4), (2, 4, 5)), "ij,jk": ((3, 4), (4, 5)), "ii->i": ((3, 3),), "ii": ((3, 3),),
             "...ij,...jk->...ik": ((2, 1, 3, 4), (5, 4, 2)), "i,j->ij": ((3,), (4,)), "bhid,bhjd->bhij": ((2, 2, 3, 4), (2, 2, 5, 4)),
             "ij,ij,jk->ik": ((3, 4), (3, 4), (4, 2)), "ij->ji": ((3, 4),), "i,i->": ((3,), (3,)), "ijk->": ((2, 3, 4),), "ij,j->i": ((3, 4), (4,)),
             "ib,ib,b->i": ((3, 4), (3, 4), (4,)), "a,b,c->cba": ((2,), (3,), (4,)), "ij,k": ((2, 3), (4,)), "i...,i...->...": ((3, 2), (3, 2))}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation):
    def run(m, *operands):
        y = m.einsum(equation, *operands)
        return y, m.autograd.grad((y * y).sum(), operands)
    pt.manual_seed(0)
    assert_same_behaviour(run, *[leaf(*shape) for shape in EQUATIONS[equation]])


@pytest.mark.parametrize("equation, shapes", [("ij,jk->il", ((3, 4), (4, 5))), ("ij", ((3,),)), ("i1->i", ((3, 3),)), ("ij,jk->ik", ((3, 4), (5, 5))),
                                              ("ij->ii", ((3, 4),)), ("ij,jk", ((3, 4),))])
def test_einsum_errors(equation, shapes):
    ours, theirs = both(lambda m, *t: m.einsum(equation, *t), *[pt.zeros(s) for s in shapes])
    assert type(ours) is type(theirs)


def test_einsum_sublists():
    assert_same_behaviour(lambda m, a, b: m.einsum(a, [0, 1], b, [1, 2], [0, 2]), pt.randn(2, 3), pt.randn(3, 4))


def spd(m, x):
    return x @ x.mT + 3 * m.eye(3, dtype=x.dtype)


LINALG = {
    "inv": lambda m, a: m.linalg.inv(a), "det": lambda m, a: m.linalg.det(a), "slogdet": lambda m, a: m.linalg.slogdet(a)[1],
    "cholesky": lambda m, a: m.linalg.cholesky(spd(m, a)), "qr": lambda m, a: tuple(m.linalg.qr(a)), "svdvals": lambda m, a: m.linalg.svdvals(a),
    "eigvalsh": lambda m, a: m.linalg.eigvalsh(a + a.mT), "eigvals": lambda m, a: m.linalg.eigvals(a).abs(), "pinv": lambda m, a: m.linalg.pinv(a),
    "matrix_power": lambda m, a: m.linalg.matrix_power(a, 3), "matrix_power -2": lambda m, a: m.linalg.matrix_power(a, -2),
    "matrix_exp": lambda m, a: m.linalg.matrix_exp(a), "nuc": lambda m, a: m.linalg.matrix_norm(a, "nuc"), "norm 2": lambda m, a: m.linalg.matrix_norm(a, 2),
    "norm 1": lambda m, a: m.linalg.matrix_norm(a, 1, keepdim=True), "vector_norm": lambda m, a: m.linalg.vector_norm(a, 3, dim=-1),
    "norm": lambda m, a: m.linalg.norm(a[0]), "cond": lambda m, a: m.linalg.cond(a), "logdet": lambda m, a: m.logdet(spd(m, a)),
    "trace": lambda m, a: a[0].trace(), "svd": lambda m, a: (lambda u, s, v: (u * s.unsqueeze(-2)) @ v)(*m.linalg.svd(a, full_matrices=False)),
    "svd vectors": lambda m, a: (lambda u, s, v: u.abs() + v.abs() + s)(*m.linalg.svd(a)),
    "eigh": lambda m, a: (lambda w, v: (v.abs(), w))(*m.linalg.eigh(a + a.mT)), "cov": lambda m, a: a[0].cov(), "corrcoef": lambda m, a: a[0].corrcoef(),
    "solve": lambda m, a: m.linalg.solve(a, a[..., :2] * 2 + 1), "solve_triangular": lambda m, a: m.linalg.solve_triangular(a, a[..., :2] + 1, upper=True),
    "vander": lambda m, a: m.linalg.vander(a[0, 0]), "cross": lambda m, a: m.linalg.cross(a, a + 1), "lstsq": lambda m, a: m.linalg.lstsq(a, a[..., :1]).solution,
}


@pytest.mark.parametrize("name", LINALG)
def test_linalg(name):
    def run(m, a):
        y = LINALG[name](m, a)
        total = sum((v * v.detach()).abs().sum() for v in (y if isinstance(y, tuple) else (y,)))
        return y, m.autograd.grad(total, a)
    pt.manual_seed(0)
    assert_same_behaviour(run, leaf(2, 3, 3))


@pytest.mark.parametrize("call", [
    lambda m: m.linalg.inv(m.zeros(2, 2)), lambda m: m.linalg.cholesky(-m.eye(2)), lambda m: m.linalg.solve(m.zeros(2, 2), m.ones(2)),
    lambda m: m.linalg.inv(m.zeros(2, 3)), lambda m: m.linalg.det(m.ones(2, 2, dtype=m.int64)), lambda m: m.linalg.svd(m.ones(2)),
])
def test_linalg_errors(call):
    with pytest.raises(RuntimeError):
        call(pt)
    with pytest.raises(RuntimeError):
        call(rl)
