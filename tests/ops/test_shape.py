"""Views, joins and rearrangements against torch: values, strides, node names, first and second gradients, errors."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.expressions import check, check_error

VIEWS = """
x.view(-1)|x.view(4, 6)|x.view((2, 12))|x.view(3, -1, 2)|x.reshape(6, 4)|x.transpose(0, 1).reshape(-1)|x.reshape(x.shape)|e.view(3, 0)|s.view(1, 1)
x.flatten()|x.flatten(1)|x.flatten(0, 1)|s.flatten()|x.ravel()|x.transpose(0, 2).ravel()|x.unflatten(2, (2, -1))|v.unflatten(0, (5, 1))|x.view_as(x)
x.squeeze()|x[:1].squeeze()|x[:1].squeeze(0)|x.squeeze(0)|x[:1, :1].squeeze((0, 1))|s.squeeze()|s.squeeze(0)|x.unsqueeze(0)|x.unsqueeze(-1)
s.unsqueeze(0)|x.mT.unsqueeze(1)|x.reshape_as(T.zeros(6, 4))|x.transpose(0, 1)|x.transpose(-1, 0)|x.swapaxes(0, 1)|x.swapdims(0, 1)|s.transpose(0, 0)
m.t()|v.t()|m.T|s.T|x.mT|m.H|x.mH|z.mH|z.H|z.adjoint()|x.permute(2, 0, 1)|x.permute((1, 0, 2))|x.permute(-1, 0, 1)|s.permute(())|x.movedim(0, 2)
x.moveaxis((0, 1), (2, 0))|x.movedim(-1, 0)|m.expand(2, 3, 4)|m.expand(2, -1, -1)|v.view(5, 1).expand(5, 3)|s.expand(2, 3)|v.expand(5)
x[:1].expand_as(x)|T.broadcast_to(m, (2, 3, 4))|T.broadcast_tensors(m, x)|x.narrow(1, 1, 2)|x.narrow(0, -1, 1)|x.select(1, 2)|x.select(-1, -1)
x.diagonal()|x.diagonal(1, 1, 2)|x.diagonal(-1, 0, 2)|m.diagonal(2)|v.unfold(0, 3, 1)|x.unfold(2, 2, 2)|m.unfold(0, 2, 1)|m.T.unfold(0, 2, 2)|s.unfold(0, 1, 1)
m.as_strided((2, 3), (2, 1))|m.as_strided((2, 2), (1, 1), 3)|m.t().as_strided((3,), (2,))|T.as_strided(x[0], (2,), (3,), 1)
x.real|z.real|z.imag|T.view_as_real(z)|T.view_as_complex(x.view(2, 6, 2))|T.view_as_complex(T.view_as_real(z) * 2)|T.real(z)|T.imag(z)
x.split(1)|x.split(3, 2)|x.split([1, 2], 1)|T.split(x, [1, 3], dim=2)|x.chunk(2, 2)|x.chunk(5, 1)|x.tensor_split(2, 1)|x.tensor_split((1, 2), 2)
x.tensor_split(T.tensor([1]), 1)|x.hsplit(3)|x.vsplit(2)|x.dsplit([1])|v.hsplit([2])|x.unbind()|x.unbind(2)|e.split(1)|e.chunk(2)|e.unbind()|e.split(0)
v.split(5)|x.unsafe_chunk(2)|x.unsafe_split(1)|x.sum_to_size(1, 3, 1)|x.sum_to_size(3, 4)|x.sum_to_size(2, 3, 4)|T.atleast_1d(s)|T.atleast_2d(v)
T.atleast_3d(v)|T.atleast_3d(m)|T.atleast_2d(s, v)|T.swapaxes(m, 0, 1)|x.expand(2, 3, 4)|x.transpose(0, 1).flatten()|x.transpose(1, 2).view(2, 2, 2, 3)
x.unflatten(-1, [2, 2])|x.view(2, 1, 3, 4).squeeze(1)|x.squeeze(dim=0)|T.squeeze(x[:, :1], dim=1)|T.unsqueeze(m, dim=1)|T.movedim(x, 0, 1)|T.flatten(x, start_dim=1)
""".replace("\n", "|").strip("|").split("|")

COPIES = """
x.flip(0)|x.flip(0, 2)|x.flip((1,))|x.flip(())|m.fliplr()|m.flipud()|m.rot90()|m.rot90(2)|x.rot90(-1, (0, 2))|x.rot90(3, [1, 2])|x.roll(1)|x.roll(2, 1)
x.roll((1, -1), (0, 2))|s.roll(1)|x.repeat(2, 1, 1)|v.repeat(2)|m.repeat(2, 1, 3)|s.repeat(3)|m.repeat(0, 1)|m.tile(2)|m.tile((2, 1, 2))|x.tile(2)
x.repeat_interleave(2)|x.repeat_interleave(2, 0)|x.repeat_interleave(3, dim=2)|m.repeat_interleave(k, 0)|T.repeat_interleave(k)|m.repeat_interleave(T.tensor([2]), 0)
m.repeat_interleave(k, 0, output_size=4)|m.tril()|m.tril(-1)|x.triu(1)|i.tril()|i.triu(-1)|b.tril()|T.tril_indices(3, 4)|T.triu_indices(4, 3, 1)
T.tril_indices(3, 3, -1)|v.diag_embed()|m.diag_embed(1)|m.diag_embed(-1, 0, 2)|v.diag(1)|v.diag(-2)|v.diagflat()|m.diagflat(1)|s.diagflat()
T.meshgrid(v, v[:2], indexing="ij")|T.meshgrid(v, v[:2], v[:3], indexing="xy")|T.meshgrid([v, s], indexing="ij")|T.meshgrid(v, indexing="xy")
T.cartesian_prod(v, v[:2])|T.cartesian_prod(v)|T.combinations(v)|T.combinations(v, 3)|T.combinations(v, with_replacement=True)|T.combinations(v, 0)
T.block_diag(m, v, s)|T.block_diag(i, m)|T.cat([x, x * 2])|T.cat([x, x], 2)|T.cat([x, x], dim=-2)|T.cat((m, i))|T.cat([b, i])|T.cat([v[:0], m])|T.cat([e, m[:, :3]])
T.cat([x, x[:, :1]], 1)|T.concat([x, x])|T.concatenate([v, v], axis=0)|T.stack([x, x * 2])|T.stack([x, x], 1)|T.stack([x, x], dim=-1)|T.stack([s, s * 3])|T.stack([m, i])
T.hstack([m, m])|T.hstack([v, v])|T.hstack([s, s])|T.vstack([v, v])|T.row_stack([m, m])|T.dstack([v, v])|T.dstack([m, m])|T.column_stack([v, v])|T.column_stack([m, m[:, 0]])
T.column_stack([s, s])|z.conj()|z.conj_physical()|x.conj()|T.cat([z, m[:2, :3]])|T.flip(x, dims=[0])|T.roll(x, shifts=1, dims=0)|T.broadcast_shapes((2, 1), (3,), 3)
T.fill(m, 2.0)|T.diag(v)|m.narrow_copy(0, 1, 2)|T.cat([x.half(), x.float()])|T.cat([T.zeros(0), T.zeros(0)])|T.permute_copy(x, (2, 0, 1))|T.view_copy(m, (4, 3))|T.select_copy(x, 1, 2)|T.unbind_copy(m)|T.slice_copy(m, 1, 0, 4, 2)
T.nonzero_static(b, size=6)|T.nonzero_static(b, size=2)|T.stack([e, e])|T.cat([e, e])
""".replace("\n", "|").strip("|").split("|")

IN_PLACE = """
m.squeeze_(); r = m * m|y = x[:1] * 1; y.squeeze_(0); r = y * y|m.unsqueeze_(0); r = m * 2|m.t_(); r = m * m|m.transpose_(0, 1); r = m @ m.t()
m.swapdims_(0, 1); r = m * 1|m.zero_(); r = m * x|m.fill_(2); r = m * x|m.fill_(s); r = m * m|x[0].fill_(3.0); r = x * x|x[:, 1].zero_(); r = x * x
m.fill_diagonal_(1.5); r = m * m|y = x[0].t(); y.mul_(2); r = x * x|y = x.view(6, 4)[2]; y.add_(x[1, 1]); r = (x * x, y * y)|a, c = x.split([1, 2], 1); r = a * c
y = x.permute(2, 0, 1)[1:3]; y *= m[:, 0]; r = x * x|y = x.diagonal(0, 1, 2); y.exp_(); r = x * 1|y = v.unfold(0, 2, 2); y.mul_(3); r = v * v
y = m.expand(2, 3, 4)[0]; y.mul_(2); r = m * m|y = z.real; y.mul_(2); r = z * z|y = T.view_as_real(z); y[..., 1] = 0; r = z * z|m.tril_(); r = m * m
y = m.unsqueeze(0).squeeze(0); y.sin_(); r = m * y|y = m.as_strided((2, 2), (4, 1)); y.mul_(3); r = m * m|m.clone().swapaxes_(0, 1).mul_(2); r = m * 1
y = m.movedim(0, 1); y.copy_(m.t() * 2); r = m.t() * y|x.unflatten(2, (2, 2))[..., 0].neg_(); r = x * x
""".replace("\n", "|").strip("|").split("|")

# Expressions whose text may differ: PyTorch lists all overloads, prints a vector in lines, or names an internal.
ERRORS = """
x.view(5)|x.view(-1, -1)|x.view(-2, 3)|x.reshape(-2)|x.view(7, -1)|x.transpose(0, 1).view(-1)|T.zeros(0).view(0, -1)|x.expand(2, 5, 4)|x.expand(-1, -1, -1, -1)
x.squeeze(5)|x.squeeze((0, 0))|x.unsqueeze(9)|x.permute(0, 1)|x.permute(0, 0, 1)|x.permute(0, 1, 7)|x.t()|x.transpose(0, 5)|x.movedim((0, 1), (0,))|x.movedim((0, 0), (0, 1))
x.narrow(0, 1, 5)|x.narrow(0, 5, 1)|s.narrow(0, 0, 1)|x.narrow(0, 0, -1)|x.select(0, 9)|x.select(9, 0)|s.select(0, 0)|x.unfold(0, 5, 1)|x.unfold(0, 1, 0)|x.diagonal(0, 1, 1)
x.chunk(0)|x.split(0)|x.split([1, 4])|x.split(-1)|s.split(1)|s.chunk(1)|s.unbind()|x.unbind(5)|x.tensor_split(0)|s.tensor_split(1)|x.hsplit(2)|m.dsplit(2)|v.vsplit(1)
x.unflatten(0, (3, 3))|x.unflatten(0, ())|x.flatten(2, 1)|x.repeat(2)|x.roll((1, 2), 0)|x.flip(0, 0)|x.flip(7)|x.rot90(1, (0, 0))|v.rot90()|x.rot90(1, (0,))|v.fliplr()
m.repeat_interleave(T.tensor([1, 2]), 0)|m.repeat_interleave(-1)|m.repeat_interleave(T.tensor([1.0]), 0)|T.cartesian_prod(m)|T.combinations(m)|T.combinations(v, -1)
T.block_diag(x)|T.diag(x)|v.tril()|T.broadcast_tensors(m, x[:, :2])|x.sum_to_size(5)|m.as_strided((2,), (1, 2))|m.as_strided((2,), (-1,))
T.view_as_real(x)|x.imag|v.mT|v.H|x.H|v.mH|v.adjoint()|T.cat([])|T.cat([m, v])|T.cat([m, m[:, :2]])|T.cat([s, s])|T.cat(m)|T.cat([1, 2])|T.cat([m, 1])|T.cat([m, m], 5)
T.stack([m, v])|T.stack([])|T.stack([m, m], 4)|T.stack(m)|T.hstack([])|T.column_stack([])|s.view(T.int8)|m.t().view(T.complex128)
m.resize_(3)|T.zeros(3).expand(2, 3).add_(1)|T.zeros(1).expand(4).copy_(T.ones(4))|x.view(1, 2.5)|v.fill_diagonal_(1)|x.fill_diagonal_(1)
m.fill_(v)|T.ones(2, 3, requires_grad=True).t_()|T.ones(2, requires_grad=True).fill_(1)|T.ones(2, requires_grad=True).zero_()|x.split(1)[0].mul_(2)|T.tril_indices(-1, 2)
T.view_as_complex(m)|T.view_as_complex(i)|T.meshgrid(v, v.float(), indexing="ij")|T.meshgrid(v, v, indexing="foo")|T.conj(1)|T.squeeze(1)|T.transpose([1], 0, 0)|T.atleast_1d(1)
""".replace("\n", "|").strip("|").split("|")
OTHER_TEXT = {"x.expand(2, 5, 4)", "x.view(1, 2.5)", "T.conj(1)", "T.meshgrid(v, v.float(), indexing=\"ij\")",
              "x.split(1)[0].mul_(2)", "T.cat(m)", "T.stack(m)", "T.atleast_1d(1)", "T.tril_indices(-1, 2)"}


@pytest.mark.parametrize("expression", VIEWS)
def test_views(expression):
    check(expression, names=not any(word in expression for word in ("sum_to_size", "unsafe", "T.view_as_complex(x")))


@pytest.mark.parametrize("expression", COPIES)
def test_copies(expression):
    check(expression, names=False)


@pytest.mark.parametrize("expression", IN_PLACE)
def test_in_place_through_views(expression):
    check(expression)


@pytest.mark.parametrize("expression", ERRORS)
def test_errors(expression):
    check_error(expression, text=expression not in OTHER_TEXT)


def test_positions_and_storage_scatter():
    check("T.unravel_index(k, (2, 3))", strides=False)
    check("i.as_strided_scatter(i[:2, :2], (2, 2), (4, 1), 1)")


def test_views_share_memory_and_version():
    x = rl.arange(24.0).reshape(2, 3, 4)
    for make in (lambda t: t[0], lambda t: t.view(-1), lambda t: t.permute(2, 1, 0), lambda t: t.expand(2, 3, 4), lambda t: t.diagonal(),
                 lambda t: t.unfold(2, 2, 1), lambda t: t.as_strided((3,), (1,)), lambda t: t.view(rl.int32), lambda t: t.unbind(1)[2],
                 lambda t: t.chunk(2)[1], lambda t: t.squeeze(), lambda t: t.T):
        y = make(x)
        assert y.untyped_storage() is x.untyped_storage()
        before = y._version
        x.add_(1)
        assert y._version == before + 1
        assert y._base is x or y._base is x._base


@pytest.mark.parametrize("have", ["float32", "float64", "int64", "int8", "bool", "complex64", "float16"])
@pytest.mark.parametrize("want", ["int32", "uint8", "float16", "complex64", "int64"])
def test_view_as_dtype(have, want):
    source = np.arange(32).reshape(4, 8).astype(getattr(pt, have).to_complex().is_complex and "complex64" if have == "complex64" else have)
    theirs, ours = pt.from_numpy(source), rl.from_numpy(source)
    try:
        expected = theirs.view(getattr(pt, want))
    except RuntimeError as error:
        with pytest.raises(RuntimeError) as info:
            ours.view(getattr(rl, want))
        assert str(info.value) == str(error)
        return
    r = ours.view(getattr(rl, want))
    assert tuple(r.shape) == tuple(expected.shape) and r.dtype == getattr(rl, want)
    assert r.numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint8", "bool", "complex128", "bfloat16"])
def test_all_dtypes(dtype):
    for expression in ("a.flip(0)", "a.tril()", "T.cat([a, a], 1)", "a.repeat(2, 2)", "a.roll(1)", "a.t().reshape(-1)", "T.stack([a, a])", "a.diag_embed()",
                       "a.unfold(1, 2, 1)", "a.expand(2, 2, 3)", "a.rot90()"):
        results = []
        for T in (pt, rl):
            a = T.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(T, dtype))
            results.append(eval(expression, {"a": a, "T": T}))
        assert str(results[0].dtype) == str(results[1].dtype)
        assert results[0].tolist() == results[1].tolist(), (expression, dtype)
        assert results[0].stride() == results[1].stride(), (expression, dtype)


def test_resize_keeps_elements_and_grows():
    for T in (pt, rl):
        t = T.arange(6.0)
        assert t.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
        assert t.resize_(6).tolist() == [0, 1, 2, 3, 4, 5]
        assert t.resize_(3, 3).flatten()[:6].tolist() == [0, 1, 2, 3, 4, 5]
        assert t.resize_as_(T.zeros(2)).tolist() == [0, 1]


def test_expanded_rows_may_be_written_but_not_the_whole():
    for T in (pt, rl):
        t = T.zeros(3)
        t.expand(2, 3)[0].add_(1)
        t.unsqueeze(0).expand(1, 3).add_(1)
        assert t.tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="single memory location"):
            t.expand(2, 3).add_(1)


def test_iterating_and_unpacking():
    rows = [row.tolist() for row in rl.arange(6).reshape(3, 2)]
    assert rows == [[0, 1], [2, 3], [4, 5]]
    a, c = rl.arange(2)
    assert a.item() == 0 and c.item() == 1 and a.ndim == 0
    with pytest.raises(TypeError, match="iteration over a 0-d tensor"):
        iter(rl.tensor(1.0))
