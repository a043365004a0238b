"""Views, joins and rearrangements against torch: values, strides, node names, first and second gradients, errors."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.expressions import check, check_error, tables

TABLES = tables(__file__)
# Expressions whose text may differ: PyTorch lists all overloads, prints a vector in lines, or names an internal.
OTHER_TEXT = {"x.expand(2, 5, 4)", "x.view(1, 2.5)", "T.conj(1)", "T.meshgrid(v, v.float(), indexing=\"ij\")",
              "x.split(1)[0].mul_(2)", "T.cat(m)", "T.stack(m)", "T.atleast_1d(1)", "T.tril_indices(-1, 2)"}


@pytest.mark.parametrize("expression", TABLES["VIEWS"])
def test_views(expression):
    check(expression, names=not any(word in expression for word in ("sum_to_size", "unsafe", "T.view_as_complex(x")))


@pytest.mark.parametrize("expression", TABLES["COPIES"])
def test_copies(expression):
    check(expression, names=False)


@pytest.mark.parametrize("expression", TABLES["IN_PLACE"])
def test_in_place_through_views(expression):
    check(expression)


@pytest.mark.parametrize("expression", TABLES["ERRORS"])
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


def _joins(m):
    turned = m.arange(6.0).view(2, 3).t()
    image = m.arange(120.0).view(2, 3, 4, 5).to(memory_format=m.channels_last)
    volume = m.arange(720.0).view(2, 3, 4, 5, 6).to(memory_format=m.channels_last_3d)
    many = m.zeros(3, 2, 4).transpose(0, 2)
    return [m.cat([turned, turned]), m.cat([turned, turned], 1), m.cat([turned]), m.hstack([turned] * 2), m.cat([many] * 2, 2), m.cat([turned.long()] * 2),
            *[m.stack([turned] * 3, dim) for dim in (0, 1, 2)], m.cat([image] * 2), m.cat([image] * 2, 1), m.cat([image, image.contiguous()], 1),
            *[m.stack([image] * 2, dim) for dim in (0, 1, 3, 4)], m.cat([volume] * 2), m.vstack([image] * 2), m.column_stack([turned] * 2)]


def test_what_is_joined_lies_in_order():
    """Contiguous, so that it can be viewed; images with the channels last stay such."""
    for ours, theirs in zip(_joins(rl), _joins(pt), strict=True):
        assert ours.shape == theirs.shape and ours.stride() == theirs.stride() and ours.tolist() == theirs.tolist()


def test_views_as_wider_dtypes_need_fitting_strides():
    for module in (rl, pt):
        x = module.arange(16, dtype=module.int16).as_strided((4, 4, 2), (2, 1, 1))
        with pytest.raises(RuntimeError, match=r"self.stride\(1\) must be divisible by 2"):
            x.view(module.int32)
        assert module.empty(3, 0, 4)[:, :, ::2].shape == module.empty(3, 0, 4)[:, :, ::2].view(module.int32).shape
    nothing = rl.ones(4, 0)[:, ::3]
    assert nothing.view(rl.uint8).data_ptr() == nothing.data_ptr()
    assert rl.ones(0, 4).expand(0, 4).view(rl.uint8).shape == pt.ones(0, 4).expand(0, 4).view(pt.uint8).shape


@pytest.mark.parametrize("shape, dim, keepdim", [((), None, False), ((3,), None, False), ((3,), 0, True), ((2, 3), 1, False), ((2, 3), None, True), ((2, 3), 0, True)])
def test_no_quantiles(shape, dim, keepdim):
    ours, theirs = (m.quantile(m.ones(shape), m.tensor([]), dim, keepdim=keepdim) for m in (rl, pt))
    assert tuple(ours.shape) == tuple(theirs.shape)


INT_MM = {"product": (100, 100), "unsigned": ("u", 100), "float": ("f", 1), "second": (1, "u"), "vector": ("v", 1), "sizes": ("t", 1)}


@pytest.mark.parametrize("name", INT_MM)
def test_products_of_int8_in_int32(name):
    def call(m):
        made = {"u": lambda s: m.full(s, 200, dtype=m.uint8), "f": lambda s: m.ones(s), "v": lambda s: m.ones(4, dtype=m.int8),
                "t": lambda s: m.ones(s[::-1], dtype=m.int8)}
        a, b = (made[v](s) if v in made else m.full(s, v, dtype=m.int8) for v, s in zip(INT_MM[name], ((3, 4), (4, 2)), strict=True))
        try:
            r = m._int_mm(a, b)
            assert m._int_mm(a, b, out=(out := m.empty(3, 2, dtype=m.int32))) is out and out.tolist() == r.tolist()
            with pytest.raises(RuntimeError, match="kInt"):
                m._int_mm(a, b, out=m.empty(3, 2))
            return str(r.dtype), r.tolist()
        except RuntimeError as error:
            return str(error).replace("unsigned char", "uint8")
    assert call(rl) == call(pt)
