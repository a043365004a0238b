"""torch.amp against PyTorch's: which dtype comes out of which op, values and gradients, nesting, decorators, GradScaler."""

import pickle
import threading
import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, to_numpy, to_rl

MODULES = (rl, pt)


def dtypes_of(value):
    return [dtypes_of(each) for each in value] if isinstance(value, (list, tuple)) else str(value.dtype)


def _x(m, *shape, dtype="float32"):
    m.manual_seed(0)
    return m.rand(*shape).to(getattr(m, dtype))


# name -> function(module, x) of a tensor maker x(*shape, dtype=...)
OPS = {
    "mm": lambda m, x: m.mm(x(3, 4), x(4, 2)),
    "matmul": lambda m, x: x(2, 3, 4) @ x(4, 2),
    "matmul method": lambda m, x: x(3, 4).matmul(x(4)),
    "bmm": lambda m, x: m.bmm(x(2, 3, 4), x(2, 4, 2)),
    "addmm": lambda m, x: m.addmm(x(2), x(3, 4), x(4, 2)),
    "addbmm": lambda m, x: m.addbmm(x(3, 2), x(2, 3, 4), x(2, 4, 2)),
    "baddbmm": lambda m, x: m.baddbmm(x(2, 3, 2), x(2, 3, 4), x(2, 4, 2)),
    "linear": lambda m, x: m.nn.functional.linear(x(3, 4), x(5, 4), x(5)),
    "Linear": lambda m, x: m.nn.Linear(4, 5)(x(3, 4)),
    "conv1d": lambda m, x: m.nn.functional.conv1d(x(1, 2, 5), x(3, 2, 3)),
    "Conv2d": lambda m, x: m.nn.Conv2d(2, 3, 3)(x(1, 2, 5, 5)),
    "conv_transpose2d": lambda m, x: m.nn.functional.conv_transpose2d(x(1, 2, 5, 5), x(2, 3, 3, 3)),
    "prelu": lambda m, x: m.nn.PReLU()(x(3, 4)),
    "attention": lambda m, x: m.nn.functional.scaled_dot_product_attention(x(1, 2, 3, 4), x(1, 2, 3, 4), x(1, 2, 3, 4)),
    "einsum": lambda m, x: m.einsum("ij,jk->ik", x(3, 4), x(4, 2)),
    "mv": lambda m, x: m.mv(x(3, 4), x(4)),
    "MultiheadAttention": lambda m, x: m.nn.MultiheadAttention(4, 2)(x(5, 3, 4), x(5, 3, 4), x(5, 3, 4)),
    "LSTM": lambda m, x: m.nn.LSTM(4, 3)(x(5, 2, 4))[0],
    "RNN": lambda m, x: m.nn.RNN(4, 3)(x(5, 2, 4))[0],
    "GRU": lambda m, x: m.nn.GRU(4, 3)(x(5, 2, 4))[0],
    "LSTMCell": lambda m, x: m.nn.LSTMCell(4, 3)(x(2, 4)),
    "add": lambda m, x: x(3) + x(3, dtype="bfloat16"),
    "softmax": lambda m, x: x(3, dtype="bfloat16").softmax(0),
    "layer_norm": lambda m, x: m.nn.functional.layer_norm(x(3, dtype="bfloat16"), (3,)),
    "sum": lambda m, x: x(3, dtype="bfloat16").sum(),
    "prod": lambda m, x: x(3, dtype="bfloat16").prod(),
    "prod dim": lambda m, x: m.prod(x(3, 2, dtype="bfloat16"), 1),
    "exp": lambda m, x: x(3, dtype="bfloat16").exp(),
    "mse_loss": lambda m, x: m.nn.functional.mse_loss(x(3, dtype="bfloat16"), x(3)),
    "cross_entropy": lambda m, x: m.nn.functional.cross_entropy(x(3, 4, dtype="bfloat16"), m.tensor([0, 1, 2])),
    "binary_cross_entropy": lambda m, x: m.nn.functional.binary_cross_entropy(x(3, dtype="bfloat16"), x(3, dtype="bfloat16")),
    "bce with logits": lambda m, x: m.nn.BCEWithLogitsLoss()(x(3, dtype="bfloat16"), x(3)),
    "kl_div": lambda m, x: m.nn.functional.kl_div(x(3, 2, dtype="bfloat16"), x(3, 2, dtype="bfloat16"), reduction="sum"),
    "huber_loss": lambda m, x: m.nn.functional.huber_loss(x(3, dtype="bfloat16"), x(3, dtype="bfloat16")),
    "trace": lambda m, x: m.trace(x(3, 3, dtype="bfloat16")),
    "reflect": lambda m, x: m.nn.functional.pad(x(1, 2, 5, dtype="bfloat16"), (1, 1), mode="reflect"),
    "constant pad": lambda m, x: m.nn.functional.pad(x(1, 2, 5, dtype="bfloat16"), (1, 1)),
    "avg_pool3d": lambda m, x: m.nn.functional.avg_pool3d(x(1, 1, 4, 4, 4, dtype="bfloat16"), 2),
    "max_pool2d": lambda m, x: m.nn.functional.max_pool2d(x(1, 1, 4, 4, dtype="bfloat16"), 2),
    "cat": lambda m, x: m.cat([x(3), x(3, dtype="bfloat16")]),
    "cat of one dtype": lambda m, x: m.cat([x(3, dtype="bfloat16"), x(3, dtype="bfloat16")]),
    "cat bfloat16 and float16": lambda m, x: m.cat([x(3, dtype="bfloat16"), x(3, dtype="float16")]),
    "stack": lambda m, x: m.stack([x(3), x(3, dtype="bfloat16")]),
    "fft": lambda m, x: m.fft.rfft(x(4, dtype="bfloat16")),
    "inverse": lambda m, x: m.linalg.inv(m.eye(3, dtype=m.bfloat16)),
    "float64 stays": lambda m, x: x(3, 4, dtype="float64") @ x(4, 2, dtype="float64"),
    "integers stay": lambda m, x: m.ones(2, 2, dtype=m.int64) @ m.ones(2, 2, dtype=m.int64),
    "out of several": lambda m, x: (x(3, 4) @ x(4, 2)).relu() * x(3, 2),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", OPS)
def test_dtypes_and_values(name, dtype):
    if (name, dtype) == ("LSTM", "float16"):
        pytest.skip("PyTorch's float16 LSTM needs a processor with AVX512-FP16")
    results = []
    for m in MODULES:
        m.manual_seed(0)
        try:
            with m.autocast("cpu", dtype=getattr(m, dtype)):
                results.append(OPS[name](m, lambda *a, m=m, **k: _x(m, *a, **k)))
        except RuntimeError as error:
            results.append(error)
        assert not m.is_autocast_enabled("cpu")
    if "primitive descriptor" in str(results[1]):
        pytest.skip("PyTorch's reduced-precision LSTM needs another processor than this one")
    if isinstance(results[1], Exception):
        assert isinstance(results[0], RuntimeError) and str(results[1]) in str(results[0])
        return
    assert dtypes_of(results[0]) == dtypes_of(results[1])
    if name not in ("GRU", "LSTM", "LSTMCell"):      # whose matrix products are float32 here
        assert_same(results[0], results[1], rtol=2e-2, atol=2e-2)


def test_code_is_restored():
    from rushlight.ops.interception import python_function
    exp = python_function(rl.exp)
    before = rl.mm.__wrapped__.__code__, rl.nn.functional.linear.__code__, exp.__code__
    with rl.autocast("cpu"):
        assert rl.nn.functional.linear.__code__ is not before[1]
        assert rl.nn.functional.linear.__code__.co_name == "linear"
        assert exp.__code__ is before[2]            # an op that cuda's list alone has
    assert (rl.mm.__wrapped__.__code__, rl.nn.functional.linear.__code__, exp.__code__) == before


def test_training_step():
    results = []
    for m in MODULES:
        m.manual_seed(0)
        model = m.nn.Sequential(m.nn.Linear(8, 16), m.nn.ReLU(), m.nn.Linear(16, 3))
        x, y = m.randn(20, 8), m.arange(20) % 3
        optimizer = m.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            with m.autocast("cpu"):
                logits = model(x)
                loss = m.nn.functional.cross_entropy(logits, y)
            assert logits.dtype is m.bfloat16 and loss.dtype is m.float32
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert model[0].weight.grad.dtype is m.float32
        results.append(losses)
    np.testing.assert_allclose(*results, rtol=2e-3)


def test_nesting_and_state():
    for m in MODULES:
        a, b = m.ones(2, 2), m.ones(2, 2)
        seen = []
        with m.autocast("cpu"):
            seen.append((a @ b).dtype)
            with m.autocast("cpu", enabled=False):
                seen.append((a @ b).dtype)
                assert not m.is_autocast_enabled("cpu")
                with m.autocast("cpu", dtype=m.float16):
                    seen.append((a @ b).dtype)
                    assert m.get_autocast_dtype("cpu") is m.float16 and m.get_autocast_cpu_dtype() is m.float16
            assert m.get_autocast_dtype("cpu") is m.bfloat16
            seen.append((a @ b).dtype)
            assert m.is_autocast_enabled("cpu") and m.is_autocast_cpu_enabled() and not m.is_autocast_enabled()
        seen.append((a @ b).dtype)
        assert seen == [m.bfloat16, m.float32, m.float16, m.bfloat16, m.float32]
        assert m.amp.is_autocast_available("cpu") and m.amp.is_autocast_available("cuda") and not m.amp.is_autocast_available("mkldnn")
        assert m.get_autocast_gpu_dtype() is m.float16 and m.is_autocast_cache_enabled()


def test_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), rl.autocast("cpu"):
        raise ZeroDivisionError
    assert (rl.ones(2, 2) @ rl.ones(2, 2)).dtype is rl.float32
    with rl.autocast("cpu"):
        with pytest.raises(RuntimeError):
            rl.ones(2, 3) @ rl.ones(2, 3)
        assert (rl.ones(2, 2) @ rl.ones(2, 2)).dtype is rl.bfloat16


def test_decorator():
    for m in MODULES:
        @m.autocast("cpu")
        def f(x, m=m):
            """doc"""
            return x @ x, m.is_autocast_enabled("cpu")
        result, enabled = f(m.ones(2, 2))
        assert result.dtype is m.bfloat16 and enabled and f.__doc__ == "doc" and not m.is_autocast_enabled("cpu")
        with pytest.raises(TypeError, match="requires a callable"):
            m.autocast("cpu")(3)


def test_other_threads_are_not_affected():
    seen = []
    with rl.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append((rl.ones(2, 2) @ rl.ones(2, 2)).dtype))
        thread.start()
        thread.join()
    assert seen == [rl.float32]


def test_weights_are_cast_once():
    w = rl.ones(2, 2, requires_grad=True)
    x = rl.ones(2, 2)
    with rl.autocast("cpu"):
        first, second = (x @ w).grad_fn.next_functions[1][0], (x @ w).grad_fn.next_functions[1][0]
        assert first is second
        with rl.autocast("cpu", cache_enabled=False):
            assert (x @ w).grad_fn.next_functions[1][0] is not first
        rl.clear_autocast_cache()
        assert (x @ w).grad_fn.next_functions[1][0] is not first
    with rl.autocast("cpu"):
        assert (x @ w).grad_fn.next_functions[1][0] is not first


def test_bad_arguments():
    for m in MODULES:
        with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
            m.autocast(1)
        with pytest.raises(RuntimeError):
            m.autocast("nonsense")
        with pytest.warns(UserWarning, match="Disabling autocast"), m.autocast("cpu", dtype=m.float32):
            assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.float32
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with m.autocast("cuda"):
                assert not m.is_autocast_enabled("cuda")
        assert "CUDA is not available" in str(caught[0].message)


def test_custom_functions():
    for m in MODULES:
        class F(m.autograd.Function):
            @staticmethod
            @m.amp.custom_fwd(device_type="cpu", cast_inputs=m.float32)
            def forward(ctx, x, m=m):
                ctx.save_for_backward(x)
                ctx.seen = m.is_autocast_enabled("cpu")
                return x @ x

            @staticmethod
            @m.amp.custom_bwd(device_type="cpu")
            def backward(ctx, g, m=m):
                assert m.is_autocast_enabled("cpu") == ctx.seen
                return g @ ctx.saved_tensors[0].T * 2

        x = m.ones(2, 2, dtype=m.bfloat16, requires_grad=True)
        with m.autocast("cpu"):
            y = F.apply(x)
        assert y.dtype is m.float32 and not y.grad_fn.seen
        y.sum().backward()
        assert x.grad.dtype is m.bfloat16


def test_old_names():
    for m in MODULES:
        with pytest.warns(FutureWarning), m.cpu.amp.autocast():
            assert (m.ones(2, 2) @ m.ones(2, 2)).dtype is m.bfloat16
        with pytest.warns(FutureWarning):
            assert m.cpu.amp.GradScaler().get_scale() == 65536


# --- GradScaler ---------------------------------------------------------------------------------------------------------------------------

def train(m, bad_steps=(), clip=False, **options):
    m.manual_seed(0)
    model = m.nn.Linear(4, 2)
    optimizer = m.optim.Adam(model.parameters(), lr=0.1)
    scaler = m.amp.GradScaler("cpu", **options)
    x = m.randn(6, 4)
    trace = []
    for step in range(8):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        if step in bad_steps:
            loss = loss * float("inf")
        scaler.scale(loss).backward()
        if clip:
            scaler.unscale_(optimizer)
            m.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()
        trace.append((scaler.get_scale(), scaler._get_growth_tracker(), *model.weight.detach().flatten().tolist()))
    return trace, scaler.state_dict()


@pytest.mark.parametrize("options", [{}, {"bad_steps": (2, 3)}, {"clip": True}, {"growth_interval": 2, "init_scale": 8.0, "bad_steps": (5,)},
                                     {"growth_interval": 1, "init_scale": 2.0 ** 126}, {"enabled": False}], ids=str)
def test_scaler_training(options):
    ours, theirs = train(rl, **options), train(pt, **options)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4, atol=1e-5)
    assert ours[1] == theirs[1]


def test_scaler_forms_and_errors():
    for m in MODULES:
        scaler = m.amp.GradScaler("cpu", init_scale=4.0)
        parameter = m.nn.Parameter(m.ones(2))
        optimizer = m.optim.SGD([parameter], lr=0.1)
        for call in (lambda: scaler.step(optimizer), scaler.update, lambda: scaler.unscale_(optimizer)):
            with pytest.raises(AssertionError, match="_scale is None"):
                call()
        nested = scaler.scale([m.ones(1), (m.ones(2), m.ones(1))])
        assert nested[1][0].tolist() == [4, 4] and isinstance(nested[1], tuple)
        with pytest.raises(ValueError, match="must be a Tensor or an iterable"):
            scaler.scale(3)
        with pytest.raises(RuntimeError, match="Closure use"):
            scaler.step(optimizer, closure=lambda: 0)
        with pytest.raises(AssertionError, match="No inf checks"):
            scaler.step(optimizer)
        scaler.update(2.0)
        scaler.scale(parameter.sum()).backward()
        scaler.unscale_(optimizer)
        assert parameter.grad.tolist() == [1, 1]
        with pytest.raises(RuntimeError, match="already been called on this optimizer"):
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        with pytest.raises(RuntimeError, match="already been called since"):
            scaler.step(optimizer)
        with pytest.raises(RuntimeError, match="after step"):
            scaler.unscale_(optimizer)
        with pytest.raises(AssertionError, match="pickled"):
            pickle.dumps(scaler)
        scaler.update(m.tensor(16.0))
        copy = pickle.loads(pickle.dumps(scaler))
        assert copy.get_scale() == 16 and copy.state_dict() == scaler.state_dict()
        other = m.amp.GradScaler("cpu")
        other.load_state_dict(scaler.state_dict())
        assert other.get_scale() == 16
        with pytest.raises(RuntimeError, match="empty"):
            other.load_state_dict({})
        for wrong in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
            with pytest.raises(AssertionError):
                m.amp.GradScaler("cpu", **wrong)
        half = m.nn.Parameter(m.ones(2, dtype=m.float16))
        half.grad = m.ones(2, dtype=m.float16)
        with pytest.raises(ValueError, match="FP16 gradients"):
            other.scale(m.ones(1)), other.unscale_(m.optim.SGD([half]))
        with pytest.warns(UserWarning, match="CUDA is not available"):
            assert not m.amp.GradScaler().is_enabled()


def test_amp_ops():
    for found in (0.0, 1.0):
        results = []
        for m in MODULES:
            grads = [m.tensor([2.0, 4.0]), m.tensor([float("inf") if found else 8.0])]
            flag, tracker, scale = m.zeros(()), m.ones((), dtype=m.int32), m.full((), 4.0)
            m._amp_foreach_non_finite_check_and_unscale_(grads, flag, m.full((), 0.5))
            m._amp_update_scale_(scale, tracker, flag, 2.0, 0.5, 2)
            results.append([grads, flag, tracker, scale])
        assert_same(results[0], results[1])


def test_to_rl_keeps_working_under_autocast():
    t = pt.randn(3, 4)
    with rl.autocast("cpu"):
        product = to_rl(t) @ to_rl(t).T
    assert np.allclose(to_numpy(product), (t.bfloat16() @ t.bfloat16().T).float().numpy(), rtol=2e-2, atol=2e-2)


def test_cpu_module():
    for m in MODULES:
        assert m.cpu.is_available() and m.cpu.device_count() == 1 and m.cpu.current_device() == "cpu"
        stream = m.cpu.Stream()
        with m.cpu.stream(stream):
            assert m.cpu.current_stream() is stream
        assert m.cpu.current_stream() is not stream
        m.cpu.synchronize()
