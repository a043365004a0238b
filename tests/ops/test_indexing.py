"""Indexing, setitem, selection, gather/scatter, index_* and clamp against torch."""

import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.expressions import check, check_error, tables

TABLES = tables(__file__)
OTHER_TEXT = {"x[[0]] = T.ones(1)", "m.masked_fill(b, \"a\")", "T.where(b, m)", "m.clamp(\"a\")", "m.clamp_min(None)", "i[0] = 2**70", "T.where(1, m, m)", "T.masked_fill(1, b, 2)",
              "m.masked_scatter(b, i)", "i.clamp_(1.5)", "x.unbind()[0].zero_()", "T.nonzero(3)", "T.gather(1, 0, G)", "m.masked_scatter(i, m)"}


@pytest.mark.parametrize("expression", TABLES["READ"])
def test_getitem(expression):
    check(expression, strides=expression not in ("x.transpose(0, 2)[:, n]", "x[0, None, 1:]", "e[:, 1]", "x[[0, 1], None, [0, 1]]"))


@pytest.mark.parametrize("expression", TABLES["WRITE"])
def test_setitem(expression):
    check(expression, names=False)


@pytest.mark.parametrize("expression", TABLES["SELECTION"])
def test_selection(expression):
    check(expression)


@pytest.mark.parametrize("expression", TABLES["IN_PLACE"])
def test_in_place(expression):
    check(expression, names=False)


@pytest.mark.parametrize("expression", TABLES["ERRORS"])
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


def test_errors_that_programs_match():
    for module in (rl, pt):
        x, i = module.ones(3, 3), module.zeros(3, 3, dtype=module.int32)
        with pytest.raises(TypeError, match="does not support deleting items"):
            del x[0]
        for index in (i, i.float()):
            with pytest.raises(RuntimeError, match="dtype of indices should be Long"):
                module.take_along_dim(x, index, 0)
        with pytest.raises(IndexError, match="index is out of bounds for dimension with size 0"):
            module.ones(2, 0)[:, [0, 1]]
        with pytest.raises(RuntimeError, match="scalar type Long"):
            module.nonzero(x, out=module.zeros(2))
        with pytest.raises(RuntimeError, match="does not support the out kwarg when as_tuple"):
            module.nonzero(x, as_tuple=True, out=i)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_the_first_of_equal_rows_of_a_bag_has_the_gradient(dtype, options):
    found = []
    for m in (pt, rl):
        weight = (m.arange(24).reshape(8, 3) * 5 % 4).to(getattr(m, dtype)).requires_grad_()
        bags = m.nn.functional.embedding_bag(m.tensor([0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 0, 3]), weight, m.tensor([0, 3, 3, 7, 8]), mode="max", **options)
        (bags * m.arange(1, 16).reshape(5, 3)).sum().backward()
        found.append((bags.tolist(), weight.grad.tolist()))
    assert found[1] == found[0]


def test_maxima_of_empty_bags_have_a_gradient():
    for m in (pt, rl):
        weight = m.ones(4, 3, requires_grad=True)
        bags = m.nn.functional.embedding_bag(m.tensor([[1, 1], [1, 1]]), weight, mode="max", padding_idx=1)
        bags.sum().backward()
        assert bags.tolist() == [[0.0] * 3] * 2 and weight.grad.tolist() == [[0.0] * 3] * 4
