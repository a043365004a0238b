"""Indexing, setitem, selection, gather/scatter, index_* and clamp against torch."""

import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.expressions import check, check_error

READ = """
x[0]|x[-1]|x[1, 2]|x[1, 2, 3]|x[-1, -1, -1]|v[2]|v[-1]|x[1:]|x[:1]|x[0:2:2]|x[:, 1:3]|x[:, ::2]|x[..., 0]|x[0, ..., 1]|x[...]|x[:]|x[:, 0]|x[:, :, -1]
x[None]|x[:, None]|x[0, None, 1:]|x[None, ..., None]|x[-10:10]|x[3:1]|x[2:]|x[T.tensor(0):T.tensor(1)]|x[np.int64(1)]|x[T.tensor(1)]|x[T.tensor(1), 0]
s[None]|s[...]|s[()]|x[()]|e[:0]|e[:, 1]|x[True]|x[False]|x[True, 0]|x[0, True]|s[True]|s[T.tensor(False)]|x[T.tensor(True)]|x[0, True, [0, 1]]
x[[0, 1]]|x[[1, 1, 0]]|x[[]]|x[:, [0, 2]]|x[..., [0, 1]]|x[[0, 1], [1, 2]]|x[[0, 1], :, [1, 2]]|x[0, :, [0, 1]]|x[[0], :, [0, 1]]|x[:, [0, 1], [0, 1]]
x[[0, 1], None, [0, 1]]|x[[0, 1], :, None, [0, 1]]|x[None, [0, 1]]|x[0, [0, 1], None]|x[[[0, 1], [1, 0]],]|m[k]|m[k, 1]|m[k, 1:3]|m[k, k]|m[:, n]|m[-k]|m[k.int()]
x[n[:, None], k[None]]|x[n, :, T.tensor([[1], [2]])]|x[n, ..., n]|x[1:, [0, 2], ::2]|x[range(2)]|x[np.array([1, 0])]|m[np.array([True, False, True])]|x[(0, 1),]
m[b]|x[B]|x[:, b]|x[B[:, 0, 0]]|x[:, B[0, :, 0]]|x[B[0, :, 0][None].expand(2, 3)]|x[1, b]|x[:, :, b[0]]|x[B > 5]|m[i > 100]|v[v > 0]|m[u[:3]]|x[[True, False]]|m[b[:, 0], 1]
m[b[:, 0], k[:1]]|m[[2, -1]]|x[[0, 1.7]]|x[((0, 1), (1, 2))]|x[[slice(0, 1), 0]]|x[[[0], [1]]]|x[[k[:1] * 0, n[:1]]]|s[None][[0, 0]]|e[[], 1]|e[:, [1, 1]]
z[0]|z[:, [1, 1]]|z[z.real > 0]|i[1]|i[:, k]|b[0]|b[b]|i[b]|x[k[:0]]|m.t()[k]|x.transpose(0, 2)[:, n]|x[..., None, [0]]|x[[0, 1], ..., [0, 1]]|m[k.view(3, 1), n]
m[T.tensor([[0, 0], [1, 2]])]|v[T.tensor([[0, 0], [1, 2]])]|v[[4, 4, 4]]|x[:, 1][:, n]|x[n][n]|m[1][2]|x[T.tensor(1, dtype=T.uint8)]|x[:, T.tensor([1, 1, 2])]
""".replace("\n", "|").strip("|").split("|")

WRITE = """
x[0] = 1; r = x * x|x[0] = x[1]; r = x * x|x[:, 1] = 2.5; r = x * m|x[..., 0] = v[:3]; r = x * x|x[0, 0, 0] = s; r = x * x|x[0] = m; r = x * x|x[:] = m; r = x * 2
x[0:1] = m[None, None]; r = x * x|x[None] = 0; r = x * 1|x[b[None].expand(2, 3, 4)] = 0; r = x * x|x[B] = 7; r = x * x|x[B] = s; r = x * x|x[:, b] = 1; r = x * x
x[B] = x[B] * 2; r = x * x|m[k[:2]] = 3; r = m * m|m[n] = m[:2] * 2; r = m * m|m[:, n] = v[:1]; r = m * m|m[n, n] = v[:2]; r = m * m|x[:, n] = m[:2]; r = x * x
x[n, :, n] = v[:3]; r = x * x|x[0, n] = 1; r = x * x|x[0][n] = 1; r = x * x|x[True] = 3; r = x * 1|x[False] = 3; r = x * 1|m[[0, 2], 1:3] = s; r = m * m
y = x[0]; y[0] = 5; r = (x * x, y * y)|y = x.view(6, 4); y[n] = 1; r = x * y.view(2, 3, 4)|x[0, 1:] *= 2; r = x * x|x[:, [0, 2]] += 1; r = x * x|x[B] -= 1; r = x * x
m[b] = v[:1]; r = m * m|y = m.t(); y[0] = v[:3]; r = m * m|y = m.diagonal(); y[1:] = 0; r = m * m|i[0] = 2.7; r = i|i[b] = -1; r = i|i[k] = i[:1] + 0; r = i|b[0] = False; r = b
i[0] = T.tensor(2.7); r = i|z[0] = 1; r = z * z|z[:, 1] = 2j; r = z * z|z[0] = x[0, 0, :3]; r = z * z|v[1:4] = v[0:3] * 1; r = v|v[...] = 1; r = v * 2|s[()] = 5; r = s * v
s[...] = v[0]; r = s * s|y = T.zeros(3, dtype=T.float64); y[1] = v[0]; r = y * y|y = T.zeros(2, 2, dtype=T.float64); y[0, :] = v[:2]; y[1, 1] = y[0, 0] * 2; r = y * y
y = T.zeros(3, 4, dtype=T.float64); y[b] = m[b]; r = y * m|y = T.zeros(4, dtype=T.float64); w = y[1:3]; w[0] = v[2]; r = (y * y, w * w)|x[0] = T.ones(1, 3, 4); r = x * x
y = T.zeros(3); y[0] = v[1]; r = y|y = T.zeros(2, 3, dtype=T.float64); y[:, T.tensor([True, False, True])] = v[:2]; r = y * y|u[0] = 9; r = u|i[1, 1:3] = T.tensor([7, 8]); r = i
""".replace("\n", "|").strip("|").split("|")

SELECTION = """
T.where(b, m, m * 2)|T.where(b, m, 0)|T.where(b, 1, m)|T.where(b, 1, 2)|T.where(b, 1.0, 2)|T.where(b[0], x, s)|T.where(b, i, 1.5)|T.where(b, i, m)|T.where(b)|m.where(b, -1)
T.where(b, True, False)|T.where(b, T.tensor(1.0), m)|m.masked_fill(b, 2)|m.masked_fill(b, s)|m.masked_fill(b[None], 1)|x.masked_fill(b, 0)|i.masked_fill(b, 2.5)
m.masked_fill(b[:1], True)|m.masked_select(b)|m.masked_select(b[0])|x.masked_select(b)|s.masked_select(b)|m.masked_scatter(b, x)|x.masked_scatter(B, x * 2)|m.masked_scatter(b[0], x)
T.nonzero(b)|b.nonzero(as_tuple=True)|T.argwhere(b)|T.nonzero(T.tensor(3))|T.nonzero(T.tensor(3), as_tuple=True)|m.take(G)|m.take(-k)|v.take(T.tensor(0))|s.take(k * 0)
m.put(k, v[:3])|m.put(k, v[:3], True)|m.put(G, x.view(-1)[:8].view(2, 4), accumulate=True)|T.take_along_dim(m, G, 0)|T.take_along_dim(m, k)|T.take_along_dim(x, n[:, None, None], 2)
m.index_select(0, k)|x.index_select(2, k)|m.index_select(1, n.int())|m.t().index_select(0, k)|s.index_select(0, n[1:])
x.select_scatter(m, 0, 1)|x.select_scatter(x[:, :, 0], 2, -1)|x.slice_scatter(x[:, :2] * 2, 1, 1)|x.slice_scatter(x[:, :, :2], 2, 0, 4, 2)|m.diagonal_scatter(v[:3])|x.diagonal_scatter(x[0, :2].t(), 1, 0, 1)
m.gather(0, G)|m.gather(1, G)|m.gather(-1, G[:, :1])|x.gather(1, G[None])|m.gather(0, G.int())|v.gather(0, k)|s.gather(0, T.tensor(0))|s.gather(0, k * 0)|m.gather(1, G[:0])
m.scatter(0, G, x[0, :2])|m.scatter(1, G[:, :1], s.item())|m.scatter(0, G[:1], x[0, :1])|m.scatter(0, G[:1], 3)|m.scatter(0, G[:1], value=2.5)|v.scatter(0, k[:2], v[1:3])|m.scatter(0, G[:0], x[0, :0])
m.scatter_add(0, G, x[0, :2])|m.scatter_add(1, G, x[0, :2])|x.scatter_add(2, G[None, :, :3], x[:1, :2, :3])|v.scatter_add(0, k, v[2:])|m.scatter_add(0, G.int(), m[1:])|i.scatter_add(0, G, i)|m.t().scatter_add(0, G.t(), m[1:].t())
m.scatter_reduce(0, G, x[0, :2], "sum")|m.scatter_reduce(0, G, x[0, :2], "mean")|m.scatter_reduce(0, G, x[0, :2], "amax")|m.scatter_reduce(1, G, x[0, :2], "amin")|m.scatter_reduce(0, G, x[0, :2], "prod")
m.scatter_reduce(0, G, x[0, :2], "sum", include_self=False)|m.scatter_reduce(0, G, x[0, :2], "mean", include_self=False)|m.scatter_reduce(0, G, x[0, :2], "amax", include_self=False)
m.scatter_reduce(0, G, x[0, :2], "prod", include_self=False)|m.scatter_reduce(0, G, x[0, :2], "amin", include_self=False)|v.scatter_reduce(0, T.tensor([0, 0, 1]), v[:3], "mean")
i.scatter_reduce(0, G, i, "amax")|i.scatter_reduce(0, G, i, "mean")|i.scatter_reduce(0, G, i, "prod", include_self=False)|T.zeros(4).scatter_reduce(0, k, T.ones(3), "amax", include_self=False)
m.index_add(0, n, x[0, :2])|m.index_add(0, k, x[0], alpha=2)|x.index_add(2, k, x[..., :3])|m.index_add(1, n, x[0, :, :2])|i.index_add(0, k, i)|s.index_add(0, n[1:], s)|m.t().index_add(0, n, x[0, :, :2].t())
m.index_copy(0, n, x[0, :2])|x.index_copy(1, n, x[:, 1:])|m.index_fill(0, n, 2)|m.index_fill(1, n, s)|m.index_fill(0, -n, 1)|i.index_fill(1, n, 2.5)|m.index_put((k[:2],), v[:4])
m.index_put((n, n), v[:2])|m.index_put((k,), x[0], accumulate=True)|m.index_put((k, k), v[:3], accumulate=True)|m.index_put((b,), s)|x.index_put((n, k[:2]), m[:2], accumulate=True)
m.index_reduce(0, k, x[0], "prod")|m.index_reduce(0, k, x[0], "mean")|m.index_reduce(0, k, x[0], "amax")|m.index_reduce(1, n, x[0, :, :2], "amin", include_self=False)
m.clamp(0)|m.clamp(-0.5, 0.5)|m.clamp(max=0.3)|m.clamp(min=m.t().contiguous().view(3, 4))|m.clamp(x[0], x[1])|m.clamp(max=s)|m.clip(0, 1)
m.clamp(T.tensor(0.0), 1)|m.clamp(0.5, -0.5)|m.clamp_min(0.1)|m.clamp_max(0.2)|m.clamp_min(x[0])|m.clamp_max(s)|i.clamp(2, 5)|i.clamp(1.5)|b.clamp(0, 1)|i.clamp_max(2.5)|i.clamp(T.tensor(1.5))
i.clamp(max=True)|T.tensor([float("nan"), 1.0, -2.0]).clamp(0, 1)|T.tensor([float("nan"), 1.0]).clamp(min=T.tensor([0.0, float("nan")]))|m.float().clamp(0.1, 0.7)|m.half().clamp(0.1, 0.7)
s.masked_fill(T.tensor(True), 2)|m.index_select(0, k[:0])|m.gather(1, G[:, :0])|T.gather(m, dim=0, index=G)|T.scatter(m, 0, G[:1], 2)|T.index_select(m, dim=1, index=n)|T.masked_select(m, b)
""".replace("\n", "|").strip("|").split("|")

IN_PLACE = """
m.masked_fill_(b, 2); r = m * m|m.masked_fill_(b, s); r = m * m|x[0].masked_fill_(b, 0); r = x * x|m.masked_scatter_(b, x); r = m * m|m.put_(k, v[:3]); r = m * m
m.scatter_(0, G, x[0, :2]); r = m * m|m.scatter_(0, G[:1], 5); r = m * m|m.scatter_add_(0, G, x[0, :2]); r = m * m|m.scatter_reduce_(0, G, x[0, :2], "amax"); r = m * m|m.index_add_(0, k, x[0]); r = m * m
m.index_copy_(0, n, x[0, :2]); r = m * m|m.index_fill_(0, n, 3); r = m * m|m.index_put_((n,), s); r = m * m|x[0].index_put_((n, n), v[:2], accumulate=True); r = x * x|m.clamp_(-0.5, 0.5); r = m * m
x[0].clamp_(min=0); r = x * x|m.clip_(max=0); r = m * m|m.clamp_min_(0.1); r = m * 2|m.clamp_max_(x[0]); r = m * m|i.clamp_(2, 4); r = i|i.masked_fill_(b, 9); r = i|m.index_reduce_(0, k, x[0], "mean"); r = m * m
i.index_add_(0, k, i.clone()); r = i|y = T.zeros(3, 4, dtype=T.float64); y.scatter_(1, G, x[0, :2]); r = y * y|y = T.zeros(5, dtype=T.float64); y[1:4].index_add_(0, k, v[:3]); r = y * v
""".replace("\n", "|").strip("|").split("|")

ERRORS = """
x[5]|x[-3]|x[0, 5]|x[0, 0, 0, 0]|x[[0], [0], [0], [0]]|x[..., 0, 0, 0, 0]|x[:, :, :, :]|s[0]|s[:]|s[[]]|x[1.5]|x[1, 2.5]|x["a"]|x[{}]|x[0:2:0]|x[0:2:-1]|x[[0, -3]]|x[[0, 1], [0, 5]]|x[:, [7]]
x[[0, 1], [0, 1, 2]]|x[T.tensor([7])]|x[T.tensor([1.0])]|x[T.tensor([1], dtype=T.int16)]|x[T.tensor(1.0)]|x[b]|x[:, B[0, 0]]|x[B[..., None]]|x[np.bool_(True)]|x[0] = T.ones(2, 3, 4)|x[0] = T.ones(5)
x[[0]] = T.ones(5, dtype=T.float64)|x[B] = T.ones(3, dtype=T.float64)|x[0] = [1, 2]|x[0] = np.ones(4)|x[0] = 1j|x[5] = 1|x[[5]] = 1|x[0] = "a"|x[0, 0] = None|s[0] = 1|i[0] = 2**70
x[[0]] = T.ones(1)|x[:, [0, 1]] = T.ones(3, 4, dtype=T.float64)|T.ones(3, requires_grad=True)[0] = 1|T.ones(3, requires_grad=True)[[0]] = 1
m.gather(0, k)|m.gather(0, G.double())|m.gather(0, G + 5)|m.gather(0, G - 1)|m.gather(0, T.zeros(2, 9, dtype=T.long))|m.gather(5, G)|m.scatter(0, G, i)|m.scatter(0, k, m)|m.scatter(0, G + 5, m)|m.scatter(0, G.double(), m)
m.scatter(0, T.zeros(2, 9, dtype=T.long), m)|m.scatter(0, G, m, reduce="foo")|m.scatter_reduce(0, G, m, "foo")|m.index_add(0, k, m[:1])|m.index_add(0, k, i)|m.index_add(0, k + 5, m)|m.index_add(0, k.double(), m)
m.index_add(0, G, m)|m.index_add(0, k, m[:, :2])|m.index_copy(0, k, m[:1])|m.index_copy(0, k, i)|m.index_copy(0, k + 5, m)|m.index_copy(0, k.int(), m)|m.index_fill(0, k + 5, 2)|m.index_fill(0, k, v)|m.index_fill(0, k.int(), 2)
m.index_put(k, v)|m.index_put([k, None], v)|m.index_put((k.double(),), v)|m.index_reduce(0, k, m, "foo")|m.index_reduce(0, k, m[:1], "amax")|m.take(k.int())|m.take(k + 99)|m.put(k, v)|m.put(k, i.view(-1)[:3])
T.take_along_dim(m, k, 0)|T.take_along_dim(m, G.double())|m.masked_fill(i, 0)|m.masked_fill(b, v)|m.masked_fill(b[:, :2], 0)|m.masked_fill(b, "a")|i.masked_fill(b, 1j)|m.masked_scatter(b, i)|m.masked_scatter(b, v[:1])
m.masked_scatter(i, m)|m.masked_select(m)|T.where(b, m, m[:, :2])|T.where(m, 1, 2)|T.where(b, m)|m.index_select(0, k + 5)|m.index_select(0, k - 5)|m.index_select(0, G)|m.index_select(0, k.double())|s.index_select(0, n * 0)
m.clamp()|m.clamp("a")|z.clamp(1)|m.clamp(v, v)|m.clamp_min(None)|i.clamp_(1.5)|m.select_scatter(m, 0, 0)|m.slice_scatter(m, 0, 1)|m.diagonal_scatter(v)|T.ones(2, requires_grad=True).clamp_(0)|T.gather(1, 0, G)|T.where(1, m, m)
T.ones(2, requires_grad=True).masked_fill_(T.tensor([True, False]), 0)|T.ones(2, requires_grad=True).index_fill_(0, n, 0)|T.nonzero(3)|T.masked_fill(1, b, 2)|m.index_select(7, k)|x.unbind()[0].zero_()
""".replace("\n", "|").strip("|").split("|")
OTHER_TEXT = {"x[[0]] = T.ones(1)", "m.masked_fill(b, \"a\")", "T.where(b, m)", "m.clamp(\"a\")", "m.clamp_min(None)", "i[0] = 2**70", "T.where(1, m, m)", "T.masked_fill(1, b, 2)",
              "m.masked_scatter(b, i)", "i.clamp_(1.5)", "x.unbind()[0].zero_()", "T.nonzero(3)", "T.gather(1, 0, G)", "m.masked_scatter(i, m)"}


@pytest.mark.parametrize("expression", READ)
def test_getitem(expression):
    check(expression, strides=expression not in ("x.transpose(0, 2)[:, n]", "x[0, None, 1:]", "e[:, 1]", "x[[0, 1], None, [0, 1]]"))


@pytest.mark.parametrize("expression", WRITE)
def test_setitem(expression):
    check(expression, names=False)


@pytest.mark.parametrize("expression", SELECTION)
def test_selection(expression):
    check(expression)


@pytest.mark.parametrize("expression", IN_PLACE)
def test_in_place(expression):
    check(expression, names=False)


@pytest.mark.parametrize("expression", ERRORS)
def test_errors(expression):
    check_error(expression, text=expression not in OTHER_TEXT)


@pytest.mark.parametrize("index", [0, slice(1), (0, 1), (slice(None), 1), None, ..., (0, 1, 2)])
def test_basic_indices_are_views(index):
    x = rl.arange(24.0).reshape(2, 3, 4)
    y = x[index]
    assert y._is_view() and y.untyped_storage() is x.untyped_storage()
    version = x._version
    y += 1
    assert x._version == version + 1
    x[index] = 7
    assert x._version == version + 2 and (y._a == 7).all()


def test_advanced_indices_copy():
    x = rl.arange(6.0).reshape(2, 3)
    for index in ([0, 1], (slice(None), [0, 2]), x > 2, True):
        y = x[index]
        assert not y._is_view() and not np.shares_memory(y._a, x._a)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8", "uint8", "int64", "bool", "complex64"])
def test_all_dtypes(dtype):
    for statement in ("r = a[1]", "r = a[:, k]", "r = a[a != 0]", "r = a.clone(); r[k] = 1", "r = a.clone(); r[0, 1:] = a[1, 1:]", "r = a.gather(1, k[None])",
                      "r = a.scatter(1, k[None], a)", "r = a.index_select(1, k)", "r = a.masked_fill(a == 1, 0)", "r = T.where(a == 1, a, a + a)", "r = a.take(k)",
                      "r = a.index_add(1, k, a)", "r = a.scatter_add(1, k[None], a)", "r = a.index_copy(1, T.tensor([2, 0, 1]), a)", "r = a.nonzero()"):
        results = []
        for T in (pt, rl):
            env = {"a": T.tensor([[0, 1, 2], [3, 1, 5]]).to(getattr(T, dtype)), "T": T, "k": T.tensor([1, 0, 1])}
            exec(statement, env)
            results.append(env["r"])
        assert str(results[0].dtype) == str(results[1].dtype), (statement, dtype)
        assert results[0].tolist() == results[1].tolist(), (statement, dtype)


@pytest.mark.parametrize("expression", ["x[T.tensor([1, 0], dtype=T.uint8)]", "x[[slice(0, 1), 0]]"])
def test_warnings(expression):
    messages = []
    for T in (pt, rl):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            eval(expression, {"T": T, "x": T.zeros(2, 3)})
        messages.append([(w.category, str(w.message)[:60]) for w in caught])
    assert messages[0] == messages[1]


def test_repeated_indices_accumulate_for_any_size():
    rng = np.random.default_rng(0)
    for n, rows, columns in ((3, 7, 2), (200, 7, 5), (5, 1000, 3), (300, 20, 1)):
        index, weight = rng.integers(-rows, rows, n), rng.normal(size=(n, columns)).astype(np.float32)
        grads = []
        for T in (pt, rl):
            x = T.zeros(rows, columns, requires_grad=True)
            (x[T.tensor(index)] * T.tensor(weight)).sum().backward()
            grads.append(x.grad.numpy())
        np.testing.assert_allclose(grads[1], grads[0], rtol=1e-5, atol=1e-5)


def test_writing_into_saved_values_is_noticed():
    for T in (pt, rl):
        x = T.ones(3, requires_grad=True) * 2
        y = x * x
        x[0] = 5
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
        mask = T.tensor([True, False, True])
        y = (T.ones(3, requires_grad=True) * 1).masked_fill(mask, 0)
        mask[0] = False
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_no_grad_writes_leave_no_history():
    w = rl.ones(3, requires_grad=True)
    with rl.no_grad():
        w[0] = 5
        w[1:].fill_(2)
        w.clamp_(max=4)
    assert w.is_leaf and w.tolist() == [4, 2, 2]


@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "complex64", "bool"])
def test_row_accumulation_agrees_with_numpy(dtype):
    from rushlight.ops.accumulate import add_rows

    rng = np.random.default_rng(1)
    for rows, columns, n in ((1, 3, 5), (40, 700, 30), (3, 100, 200), (5, 9000, 1), (200, 50, 190)):
        index, values = rng.integers(-rows, rows, n), rng.integers(-3, 4, (n, columns)).astype(dtype)
        ours = rng.integers(0, 3, (rows, columns)).astype(dtype)
        expected = ours.copy()
        np.add.at(expected, index, values)
        kept = values.copy()
        add_rows(ours, index, values)
        assert (ours == expected).all() and (values == kept).all()
