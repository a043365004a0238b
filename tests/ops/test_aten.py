"""`torch.ops.aten` against PyTorch's: the operators that PyTorch itself calls while it runs its database of samples, and the objects around them."""

import functools

import pytest
import torch
import torch.testing._internal.common_methods_invocations as database
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import rushlight as rl
from tests.support.common import assert_same, to_rl

ours, theirs = rl.ops.aten, torch.ops.aten
OPS = [info for info in database.op_db if torch.float32 in info.dtypes and info.variant_test_name != "multi_dot"]
PARTS = 12

# What is not computed from the arguments alone, or has no values: fresh memory, and what needs a dispatcher.
# as_strided looks at memory outside of the copies; eigenvectors have any sign; matrix_exp's sample is too large for float32.
NO_VALUES = {"as_strided", "linalg_eig", "linalg_matrix_exp", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "empty_permuted", "resize_", "resize_as_", "set_"}


def _copied(value):
    if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        return value
    copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype) if 0 not in value.stride() else value.clone()
    return copy.copy_(value.resolve_conj().resolve_neg()) if copy.numel() else copy


class Recorder(TorchDispatchMode):
    """Notes each operator of aten that is called, with copies of what it got and gave."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen = [], {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = tree_map(_copied, (args, kwargs))
        result = function(*args, **kwargs)
        name, _, overload = str(function).removeprefix("aten.").partition(".")
        random = torch.Tag.nondeterministic_seeded in function.tags
        if function.namespace == "aten" and name not in NO_VALUES and not random and self.seen.setdefault(function, 0) < 4:
            self.seen[function] += 1
            self.calls.append((name, overload, given, tree_map(_copied, result)))
        return result


def calls_of(part):
    """The calls behind the samples of one part of PyTorch's database."""
    with Recorder() as recorder:
        for info in OPS[part::PARTS]:
            for sample, _ in zip(info.sample_inputs("cpu", torch.float32, requires_grad=False), range(4)):
                before = len(recorder.calls)
                try:
                    info.op(sample.input, *sample.args, **sample.kwargs)
                except (RuntimeError, NotImplementedError, AssertionError, TypeError):
                    del recorder.calls[before:]
    return recorder.calls


def supported(name, overload):
    return hasattr(ours, name) and hasattr(getattr(ours, name), overload)


@pytest.mark.parametrize("part", range(PARTS))
def test_what_pytorch_calls(part):
    compared, wrong = 0, []
    for name, overload, (args, kwargs), expected in calls_of(part):
        if name == "_sparse_mm_reduce_impl":         # of CSR matrices, which NumPy, through which sides are compared, has not
            continue
        if not supported(name, overload) or any(isinstance(each, torch.layout | torch.memory_format) for each in kwargs.values()):
            continue
        try:
            result = getattr(getattr(ours, name), overload)(*to_rl(list(args)), **to_rl({k: v for k, v in kwargs.items() if not isinstance(v, torch.device)}))
            expected = tuple(expected) if isinstance(expected, list) and isinstance(result, tuple) else expected
            assert_same(result, expected, rtol=1e-4, atol=1e-5)
            compared += 1
        except Exception as error:
            wrong.append(f"{name}.{overload}: {type(error).__name__} {str(error)[:200]}")
    assert not wrong, "\n".join(wrong)
    assert compared > 60


# --- names ----------------------------------------------------------------------------------------------------------------------------

@functools.cache
def registered():
    """PyTorch's operators of aten: name -> overloads."""
    found = {}
    for full in torch._C._dispatch_get_all_op_names():
        namespace, _, name = full.partition("::")
        if namespace == "aten":
            name, _, overload = name.partition(".")
            found.setdefault(name, set()).add(overload or "default")
    return found


def test_every_operator_is_one_in_pytorch():
    assert [name for name in dir(ours) if name not in registered()] == []
    assert len(dir(ours)) > 880


def test_overloads_are_pytorchs():
    from rushlight.ops.overloads import is_out
    for name in dir(ours):
        mine, all_of_them = set(getattr(ours, name).overloads()), registered()[name]
        assert mine <= all_of_them, (name, mine - all_of_them)
        # PyTorch generates forms that write into memory for nearly all; and there are no generators or dtypes of products by overload here.
        missing = {each for each in all_of_them - mine if not is_out(each) and "generator" not in each and each != "dtype"}
        assert not missing, (name, missing)


@pytest.mark.parametrize("name, overload", [
    ("add", "Tensor"), ("exp", "default"), ("exp", "out"), ("sum", "dim_IntList"), ("max", "dim_max"), ("linalg_det", "default"), ("special_ndtr", "out"),
    ("fft_fft", "default"), ("add_", "Scalar"), ("relu_", "default"), ("__and__", "Tensor"), ("slice", "Tensor"), ("to", "dtype")])
def test_objects_look_like_pytorchs(name, overload):
    mine, other = getattr(getattr(ours, name), overload), getattr(getattr(theirs, name), overload)
    for function in (str, repr, lambda o: o.__name__, lambda o: o.name(), lambda o: o.namespace, lambda o: o._schema.name, lambda o: o._schema.overload_name,
                     lambda o: str(o.overloadpacket), lambda o: repr(o.overloadpacket), lambda o: o.overloadpacket.__name__, lambda o: o._opname,
                     lambda o: o._overloadname, lambda o: o.overloadpacket._qualified_op_name, lambda o: o.__module__):
        assert function(mine) == function(other)
    assert getattr(getattr(ours, name), overload) is mine and getattr(ours, name) is mine.overloadpacket


def test_schema_names_the_arguments():
    for name, overload in (("addcmul", "default"), ("roll", "default"), ("add", "Tensor"), ("soft_margin_loss", "default"), ("addcmul", "out")):
        mine, other = (getattr(getattr(module, name), overload)._schema.arguments for module in (ours, theirs))
        assert [(a.name, a.kwarg_only) for a in mine] == [(a.name, a.kwarg_only) for a in other]
    assert str(ours.addcmul.default._schema) == "aten::addcmul(self, tensor1, tensor2, *, value=1)"


# --- calls that PyTorch's own functions do not make: composite operators ----------------------------------------------------------------

CALLS = """
aten.matmul.default(x, y)
aten.linear.default(x, y, v)
aten.softmax.int(x, 1)
aten.log_softmax.int(x, 0, torch.float64)
aten.mse_loss.default(x, y, 0)
aten.mse_loss.default(x, y, reduction=2)
aten.l1_loss.default(x, y)
aten.cross_entropy_loss.default(x, i, v.abs(), 1, -100, 0.1)
aten.nll_loss_nd.default(x, i, None, 2, 1)
aten.nll_loss_forward.default(x, i, v, 1, 1)
aten.binary_cross_entropy_with_logits.default(x, y.sigmoid(), None, v, 1)
aten.kl_div.default(x, y, 1, log_target=True)
aten.huber_loss.default(x, y, 1, 0.5)
aten.triplet_margin_loss.default(x, y, x + 1, 1.0, 2.0, 1e-6, False, 1)
aten.margin_ranking_loss.default(v, -v, v.sign(), 0.1, 1)
aten.multi_margin_loss.default(x, i)
aten.layer_norm.default(x, [3], v, v, 1e-5, True)
aten.batch_norm.default(x, v, v, None, None, True, 0.1, 1e-5, False)
aten.instance_norm.default(x[None], None, None, None, None, True, 0.1, 1e-5, False)
aten.group_norm.default(x[None], 1, None, None, 1e-5, False)
aten.elu.default(x, 2.0, 3.0, 0.5)
aten.conv2d.padding(x[None, None], y[None, None, :2, :2], None, [1, 1], "same")
aten.tensordot.default(x, y, [0, 1], [0, 1])
aten.linalg_pinv.default(x, 0.1)
aten.linalg_matrix_rank.default(x, 0.5)
aten.pinverse.default(x, 0.1)
aten.unflatten.int(x, 0, [3, 1])
aten.sum.dim_IntList(x, [0], True, dtype=torch.float64)
aten.max.dim(x, 1)
aten.std.correction(x, [1], correction=0)
aten.sort.stable(x, stable=True, dim=0)
aten.where.self(x > 0, x, y)
aten.pow.Tensor_Scalar(x, 2)
aten.pow.Scalar(2, x)
aten.add.Scalar(x, 2, 3)
aten.rsub.Scalar(x, 2, 3)
aten.eq.Scalar(x, 1)
aten.bitwise_and.Scalar_Tensor(3, i)
aten.index.Tensor(x, [None, i])
aten.index_put.default(x, [i], v, True)
aten.scatter.value_reduce(x, 0, i[None], 2.0, reduce="add")
aten.arange.start_step(0, 6, 2)
aten.full.default([2, 3], 7)
aten.zeros.default([2])
aten.scalar_tensor.default(3.0)
aten.reshape.default(x, [9])
aten.expand.default(v, [2, 3])
aten.view.default(x, [1, 9])
aten.view.dtype(x, torch.int32)
aten.to.dtype(x, torch.float64)
aten._to_copy.default(x, dtype=torch.float64)
aten.size.int(x, 1)
aten.dim.default(x)
aten.item.default(v[0])
aten.clamp.Tensor(x, v, v + 1)
aten.clip.default(x, -0.1, 0.1)
aten.meshgrid.indexing([v, v], indexing="xy")
aten.atleast_2d.Sequence([v, x])
aten.einsum.default("ij,jk->ik", [x, y])
aten.chunk.default(x, 2)
aten.convolution.default(x[None, None], y[None, None, :2, :2], None, [1], [0], [1], False, [0], 1)
aten.block_diag.default([x, y])
aten.unique_consecutive.default(i)
aten.where.default(x > 0)
aten.tensor_split.indices(x, [1])
aten.split.sizes(x, [1, 2])
aten.norm.ScalarOpt_dim(x, 2, [0], True)
aten.linalg_vector_norm.default(x, 3.0, [1])
aten.special_expit.default(x)
aten.special_xlogy.other_scalar(x.abs(), 2)
aten.special_chebyshev_polynomial_t.n_scalar(x, 3)
aten.fft_rfft.default(v)
aten.stft.default(x.flatten(), 4, return_complex=True)
aten.unique_dim.default(x, 0)
aten._unique2.default(i, True, True)
aten.upsample_bilinear2d.vec(x[None, None], None, True, [2.0, 2.0])
aten.upsample_nearest2d.default(x[None, None], [5, 4])
aten.adaptive_max_pool2d.default(x[None], [2, 2])
aten.max_unpool2d.default(aten.max_pool2d_with_indices.default(x[None], [2, 2])[0], aten.max_pool2d_with_indices.default(x[None], [2, 2])[1], [3, 3])
aten.reflection_pad1d.default(x, [1, 2])
aten.im2col.default(x[None, None], [2, 2], [1, 1], [0, 0], [1, 1])
aten.grid_sampler.default(x[None, None], x[None, :, :2, None].expand(1, 3, 2, 2), 0, 1, False)
aten.affine_grid_generator.default(x[None, :2], [1, 1, 2, 2], False)
aten.add_.Tensor(x, y, alpha=2)
aten.mul_.Scalar(x, 2)
aten.silu_.default(x)
aten.copy_.default(x, v)
aten.exp.out(x, out=y)
aten.add.out(x, y, alpha=2, out=y)
aten.max.dim_max(x, 0, max=v, max_values=i)
aten.sort.values(x, 0, values=y, indices=torch.empty(0, dtype=torch.int64))
aten.add(x, 2)
aten.mul.Tensor(self=x, other=y)
""".strip().split("\n")


@pytest.mark.parametrize("call", CALLS)
def test_values(call):
    results = []
    for module in (rl, torch):
        module.manual_seed(0)
        names = {"torch": module, "aten": module.ops.aten, "x": module.randn(3, 3), "y": module.randn(3, 3), "v": module.randn(3), "i": module.tensor([0, 2, 1])}
        results.append((eval(call, names), names["x"], names["y"]))
    assert_same(*results, rtol=1e-5, atol=1e-6)
    assert type(results[0][0]) is type(results[1][0]) or not isinstance(results[1][0], tuple | list)


@pytest.mark.parametrize("call, error, text", [
    ("aten.no_such_operator", AttributeError, "no_such_operator"),
    ("aten._fused_adam_", AttributeError, "not supported by rushlight"),
    ("aten.add.no_such_overload", AttributeError, "has no overload name 'no_such_overload'"),
    ("aten.exp.default(x, 3)", RuntimeError, "aten::exp"),
    ("aten.exp.default('a')", RuntimeError, "aten::exp"),
    ("aten.exp.out(x)", RuntimeError, "missing value for argument 'out'"),
    ("aten.exp.default(x, out=x)", RuntimeError, "aten::exp"),
    ("aten.mse_loss.default(x, x, 1, 2, 3)", RuntimeError, "aten::mse_loss"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        eval(call, {"aten": ours, "x": rl.ones(2)})
    if "_fused" not in call:
        with pytest.raises(error):
            eval(call, {"aten": theirs, "x": torch.ones(2)})


def test_gradients_flow_and_programs_can_patch():
    x = rl.ones(3, requires_grad=True)
    ours.mul.Tensor(x, x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert {ours.add.Tensor: 1}[ours.add.Tensor] == 1          # they are keys of decomposition tables


def test_the_operator_is_what_is_public_now():
    places = ours.roll._op.places
    before = places["roll"]
    places["roll"] = lambda x, *args: "another"          # as a device puts its own function in the place
    try:
        assert ours.roll.default(rl.ones(2), 1) == "another"
    finally:
        places["roll"] = before
    assert ours.roll.default(rl.arange(3), 1).tolist() == [2, 0, 1]
