"""The private names that PyTorch's test utilities and older programs use: what they do is compared with PyTorch's."""

import gc
import importlib
import weakref
from collections import namedtuple

import numpy as np
import pytest
import torch as T

import rushlight as rl


def both(find):
    """What a function of the library gives on either side, or the class of what it raises and its text."""
    found = []
    for side in (T, rl):
        try:
            found.append(find(side))
        except Exception as error:
            found.append((type(error).__name__, str(error)))
    return found


def same(find):
    theirs, ours = both(find)
    assert ours == theirs


def module_of(side, name):
    return importlib.import_module(f"{side.__name__}.{name}")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "nothing"])
def test_numbers_of_reductions(reduction):
    same(lambda side: module_of(side, "nn._reduction").get_enum(reduction))


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
def test_old_reductions(size_average, reduce):
    same(lambda side: module_of(side, "nn._reduction").legacy_get_string(size_average, reduce, emit_warning=False))


def test_short_names_of_dtypes():
    theirs, ours = (module_of(side, "utils._dtype_abbrs").dtype_abbrs for side in (T, rl))
    assert {str(dtype): name for dtype, name in ours.items()}.items() <= {str(dtype): name for dtype, name in theirs.items()}.items()


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_conversion_of_modules(swap, overwrite):
    def find(side):
        future = module_of(side, "__future__")
        future.set_swap_module_params_on_conversion(swap)
        future.set_overwrite_module_params_on_conversion(overwrite)
        try:
            m = side.nn.Linear(2, 3)
            weight, values = m.weight, m.weight.detach().numpy().copy()
            m(side.ones(1, 2)).sum().backward()
            gradient = weight.grad
            m.double()
            state = side.nn.Linear(2, 3).state_dict()
            kept = m.weight
            m.load_state_dict(state)
            return (m.weight is weight, str(weight.dtype), weight.grad is gradient, str(m.weight.grad.dtype), str(m.weight.dtype), m.weight is kept,
                    bool(np.allclose(m.weight.detach().numpy(), state["weight"].numpy())), values.shape)
        finally:
            future.set_swap_module_params_on_conversion(False)
            future.set_overwrite_module_params_on_conversion(False)
    same(find)


def test_groups_of_tensors():
    def find(side):
        first = [side.ones(1), side.ones(2, dtype=side.float64), side.ones(3)]
        groups = module_of(side, "utils._foreach_utils")._group_tensors_by_device_and_dtype([first, [None, side.ones(1), side.zeros(1)]], True)
        return sorted((str(kind), [[None if t is None else t.tolist() for t in each] for each in lists], places)
                      for (_, kind), (lists, places) in groups.items())
    same(find)


@pytest.mark.parametrize("kind", ["DEFAULT", "NO_OPMATH", "INT_TO_FLOAT", "ALWAYS_BOOL", "COMPLEX_TO_FLOAT", "BOOL_TO_LONG"])
@pytest.mark.parametrize("dtypes", ["bool", "uint8", "float16", "bfloat16 float32", "int64 float16", "complex64", "bool bool", "int8 uint8 float64"])
def test_dtypes_of_elementwise_ops(kind, dtypes):
    def find(side):
        common = module_of(side, "_prims_common")
        tensors = [side.ones(2, dtype=getattr(side, name)) for name in dtypes.split()]
        return [str(each) for each in common.elementwise_dtypes(*tensors, type_promotion_kind=getattr(common.ELEMENTWISE_TYPE_PROMOTION_KIND, kind))]
    same(find)


def test_numerical_jacobians():
    def find(side):
        module = module_of(side, "autograd.gradcheck")
        x = side.tensor([[1., 2.], [3., 4.]], dtype=side.float64, requires_grad=True)
        found = module._get_numerical_jacobian(lambda a: (a ** 2).sum(1), (x,), eps=1e-6)
        return [[np.round(each.detach().numpy(), 4).tolist() for each in row] for row in found], callable(side.autograd.gradcheck)
    same(find)


def test_function_state():
    def find(side):
        c = side._C
        with c.DisableTorchFunctionSubclass():
            inside = c._get_torch_function_state().name
        before = c._len_torch_function_stack()
        with side.overrides.BaseTorchFunctionMode():
            deep = c._len_torch_function_stack() - before
        return inside, c._get_torch_function_state().name, deep
    same(find)


@pytest.mark.parametrize("expression", [
    "a + t", "a * t", "a - t", "a < t", "a & b", "t + a", "t * a", "t < a", "t >= a", "a == t", "np.float32(2) * t", "t / a"])
def test_arrays_and_tensors(expression):
    def find(side):
        names = {"np": np, "a": np.array([1., 2.]), "t": side.tensor([1., 3.]), "b": side.tensor([1, 2])}
        try:
            found = eval(expression, names)
        except TypeError:
            return TypeError
        return found.tolist(), str(found.dtype)
    same(find)


def test_hooks_say_what_they_returned():
    def find(side):
        m, x = side.nn.Sigmoid(), side.ones(2, 2, requires_grad=True)
        texts = []
        for register, hook in (("register_full_backward_pre_hook", lambda *_: ()), ("register_backward_hook", lambda *_: ())):
            with getattr(m, register)(hook), pytest.raises(RuntimeError) as error:
                m(x).sum().backward()
            texts.append(str(error.value).partition("(")[2])
        return texts
    same(find)


def test_load_hook_does_not_keep_its_module():
    gc.disable()
    try:
        m = rl.nn.Linear(2, 2)
        m._register_load_state_dict_pre_hook(lambda module, *_: None, with_module=True)
        m.register_load_state_dict_pre_hook(lambda *_: None)
        weak = weakref.ref(m)
        del m
        assert weak() is None
    finally:
        gc.enable()


def test_handle_knows_its_dict():
    m = rl.nn.Linear(2, 2)
    handle = m.register_forward_hook(lambda *_: None)
    assert handle.id in handle.hooks_dict_ref()
    handle.remove()
    assert handle.id not in handle.hooks_dict_ref()


def test_references_are_the_ops():
    refs = importlib.import_module("rushlight._refs")
    x = rl.tensor([1.5, -2.])
    assert refs.abs(x).tolist() == [1.5, 2.] and refs.nn.functional.relu(x).tolist() == [1.5, 0.]
    assert refs._conversions.int(x).tolist() == [1, -2] and refs.fft.fft(x).tolist() == rl.fft.fft(x).tolist()
    assert refs.T(rl.ones(2, 3)).shape == (3, 2)
    with pytest.raises(AttributeError, match="no op"):
        refs.nothing                                                                                # noqa: B018


def test_tensors_by_size_and_type():
    def find(side):
        utils = module_of(side, "_utils")
        given = [side.ones(4), side.ones(2, dtype=side.float64), side.ones(4), side.ones(1)]
        groups = [[t.numel() for t in each] for each in utils._take_tensors(given, 24)]
        return groups, [str(t.dtype) for t in utils._reorder_tensors_as([given[1], given[0]], [given[0], given[1]])]
    same(find)


def test_quantisation_schemes_are_names():
    for name in ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric"):
        assert str(getattr(rl, name)) == str(getattr(T, name)) and isinstance(getattr(rl, name), rl.qscheme)


def test_products_of_lists():
    a, b = [rl.ones(2, 3), rl.ones(1, 2)], [rl.ones(3, 1), rl.ones(2, 2)]
    assert [x.tolist() for x in rl._foreach_mm(a, b)] == [[[3.], [3.]], [[2., 2.]]]


@pytest.mark.parametrize("expression", [
    "F.avg_pool2d(x.ones(1, 0, 4, 4), 2)", "F.avg_pool3d(x.ones(1, 0, 4, 4, 4), 2)", "F.avg_pool1d(x.ones(1, 1, 0), 2)",
    "F.cross_entropy(x.ones(3, 5), x.ones(3, 5).long())", "F.cross_entropy(x.ones(3, 5, 2), x.ones(3, 5, 2).long())",
    "x.isclose(x.ones(2), x.ones(2), x.tensor(1.5), x.tensor(1)).tolist()", "x.allclose(x.zeros(2), x.ones(2), x.tensor(0), x.tensor(.5))",
    "x.optim.lr_scheduler.EPOCH_DEPRECATION_WARNING", "x.storage._dtype_to_storage_type_map()[x.float32]",
    "x.storage._storage_type_to_dtype_map()['LongStorage'].itemsize", "x.utils.data.DataLoader([1], multiprocessing_context='fork')"])
def test_texts_that_programs_match(expression):
    def find(side):
        return eval(expression, {"x": side, "F": side.nn.functional})
    theirs, ours = both(find)
    if isinstance(theirs, tuple) and "avg_pool1d" in expression:        # PyTorch names the 2-d pool that computes it
        theirs, ours = theirs[:1], ours[:1]
    assert ours == theirs


def test_tolerance_that_requires_grad():
    for side in (T, rl):
        with pytest.raises(TypeError):
            side.isclose(side.ones(2), side.ones(2), side.tensor(1.5), side.tensor(1., requires_grad=True))


@pytest.mark.parametrize("deep", [False, True])
def test_view_made_without_grad(deep):
    def find(side):
        x = side.ones(2, 2, requires_grad=True).clone()
        with side.no_grad():
            y = x[0]
        with pytest.raises(RuntimeError) as error:
            (y[0:1] if deep else y).mul_(2)
        return "a view of a view" in str(error.value), "inside the no_grad block" in str(error.value)
    same(find)


def test_results_with_names_are_trees():
    def find(side):
        pytree = module_of(side, "utils._pytree")
        found = side.max(side.tensor([[1., 3.], [4., 2.]]), dim=0)
        leaves, spec = pytree.tree_flatten(found)
        again = pytree.tree_unflatten(leaves, spec)
        Point = namedtuple("Point", "x y")
        same_spec = pytree.tree_structure(Point(1, 2)) == pytree.TreeSpec(namedtuple, Point, [pytree.tree_structure(0)] * 2)
        return [t.tolist() for t in leaves], type(again) is type(found), again.values.tolist(), same_spec
    same(find)


@pytest.mark.parametrize("stream", [None, 1, object()])
def test_streams_of_capsules(stream):
    def find(side):
        return type(side.ones(2).__dlpack__(stream=stream)).__name__
    same(find)


@pytest.mark.parametrize("amount", [0, 0.34, 19, 1.1, -10, "many"])
def test_amounts_to_prune(amount):
    def find(side):
        prune = module_of(side, "nn.utils.prune")
        prune._validate_pruning_amount_init(amount)
        prune._validate_pruning_amount(amount, 18)
        return prune._compute_nparams_toprune(amount, 17)
    same(find)


def test_what_a_sample_of_vmap_stands_for():
    def find(side):
        found, inner = [], module_of(side, "_C._functorch") if side is rl else side._C._functorch

        def look(x):
            found.append((inner.is_batchedtensor(x), inner.maybe_get_bdim(x), tuple(inner.get_unwrapped(x).shape), inner.maybe_get_level(x) > 0))
            return x
        side.func.vmap(look)(side.zeros(3, 2))
        plain = side.zeros(2, 6, 3)
        return found, inner.is_batchedtensor(plain), inner.maybe_get_level(plain), [
            inner.reshape_dim_into(a, b, plain).shape for a in range(-3, 3) for b in range(-2, 2)], [
            tuple(inner.reshape_dim_outof(a, n, plain).shape) for a, n in ((0, 2), (1, 3), (-2, 2), (2, 1))]
    same(find)
    def values(side):
        x, inner = side.arange(24).reshape(2, 3, 4), module_of(rl, "_C._functorch") if side is rl else side._C._functorch
        return inner.reshape_dim_into(0, 1, x).tolist(), inner.reshape_dim_outof(2, 2, x).tolist()
    same(values)
    for side in (T, rl):
        with pytest.raises(RuntimeError):
            (module_of(rl, "_C._functorch") if side is rl else side._C._functorch).reshape_dim_outof(1, 4, side.zeros(2, 6))


def test_vmap_says_what_runs_sample_by_sample():
    x = rl.rand(2, 2, 2)
    inner = module_of(rl, "_C._functorch")
    assert rl._C._debug_only_are_vmap_fallback_warnings_enabled() is T._C._debug_only_are_vmap_fallback_warnings_enabled() is False
    rl._C._debug_only_display_vmap_fallback_warnings(True)
    try:
        with pytest.warns(UserWarning, match="There is a performance drop"):
            rl.func.vmap(lambda v: rl.histc(v, 2))(x)
        inner._set_vmap_fallback_enabled(False)
        with pytest.raises(RuntimeError, match="Batching rule not implemented"):
            rl.func.vmap(lambda v: rl.histc(v, 2))(x)
    finally:
        inner._set_vmap_fallback_enabled(True)
        rl._C._debug_only_display_vmap_fallback_warnings(False)
    assert inner._is_vmap_fallback_enabled()


def test_deterministic_switches():
    def switches(t):
        found = [t.utils.deterministic.fill_uninitialized_memory]
        t._C._set_deterministic_fill_uninitialized_memory(False)
        try:
            found += [t.utils.deterministic.fill_uninitialized_memory, t._C._get_deterministic_fill_uninitialized_memory()]
            t.utils.deterministic.fill_uninitialized_memory = True
            found.append(t._C._get_deterministic_fill_uninitialized_memory())
            with pytest.raises(RuntimeError, match="expected a bool, but got int"):
                t.utils.deterministic.fill_uninitialized_memory = 1
        finally:
            t._C._set_deterministic_fill_uninitialized_memory(True)
        return found
    same(switches)
    same(lambda t: t.use_deterministic_algorithms(1))
    same(lambda t: t.use_deterministic_algorithms(False, warn_only=1))


@pytest.mark.parametrize("call", [lambda t: t.nn.MaxUnpool1d(3, 1)(t.randn(1, 1, 7), t.zeros(1, 1, 7, dtype=t.int64)),
                                  lambda t: t.zeros(4).put_(t.tensor([1]), t.ones(1))])
def test_what_hangs_on_the_order_of_writes_is_no_deterministic_algorithm(call):
    for side in (T, rl):
        side.use_deterministic_algorithms(True)
        try:
            with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
                call(side)
            side.use_deterministic_algorithms(True, warn_only=True)
            with pytest.warns(UserWarning, match="does not have a deterministic implementation"):
                call(side)
            side.zeros(4).put_(side.tensor([1]), side.ones(1), accumulate=True)
        finally:
            side.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_tensors_of_typed_storages():
    same(lambda t: t.tensor(t.arange(3.).storage(), dtype=t.float32).tolist())
    for side in (T, rl):
        with pytest.raises(RuntimeError, match="Expected a Storage of type"):
            side.tensor(side.arange(3.).storage(), dtype=side.int32)
        storage = side.arange(3.).untyped_storage()
        storage.note = 3
        assert storage.note == 3


@pytest.mark.parametrize("side", [T, rl], ids=["pytorch", "rushlight"])
def test_questions_about_a_backward_pass(side):
    seen, C = [], side._C
    x = side.ones(2, requires_grad=True)
    y = x * 2
    z = y * 3
    other = (x * 5).grad_fn

    def look(_):
        seen.append((C._current_graph_task_id() >= 0, C._will_engine_execute_node(y.grad_fn), C._will_engine_execute_node(other),
                     C._autograd._get_current_graph_task_keep_graph()))
        with pytest.raises(RuntimeError, match="expects an grad_fn"):
            C._will_engine_execute_node(y)
    y.register_hook(look)
    z.sum().backward(retain_graph=True)
    z.sum().backward()
    assert seen == [(True, True, False, True), (True, True, False, False)] and C._current_graph_task_id() == -1
    with pytest.raises(RuntimeError, match="during the backward pass"):
        C._will_engine_execute_node(y.grad_fn)


@pytest.mark.parametrize("side", [T, rl], ids=["pytorch", "rushlight"])
def test_functions_for_what_goes_wrong(side):
    functions, x = side._C._functions, side.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="Boom"):
        functions.DelayedError("Boom", 1)(x).sum().backward()
    functions.UndefinedGrad()(x * 2).backward()
    assert x.grad is None or not x.grad.any()
    assert isinstance((x * 2).grad_fn.next_functions[0][0], functions.AccumulateGrad)


@pytest.mark.parametrize("side", [T, rl], ids=["pytorch", "rushlight"])
def test_versions_and_saved_tensor_hooks(side):
    x = side.ones(1)
    view = x[:]
    x.add_(1)
    side._C._autograd._unsafe_set_version_counter((x,), (5,))
    assert x._version == view._version == 5
    with pytest.raises(RuntimeError, match="Cannot set"):
        side._C._autograd._unsafe_set_version_counter((x,), (-1,))
    assert side._C._autograd._saved_tensors_hooks_is_enabled()
    with side.autograd.graph.disable_saved_tensors_hooks("no"):
        assert not side._C._autograd._saved_tensors_hooks_is_enabled()
    reference = side._C._WeakTensorRef(x)
    assert not reference.expired()
    del x, view
    gc.collect()
    assert reference.expired()
