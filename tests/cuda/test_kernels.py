"""CUDA kernels: each source is compiled by NVRTC for every supported architecture, and run on the host (cuda_emulator.py) against NumPy."""

import ctypes
import glob
import importlib
import os
import pkgutil
import site

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels import cuda as cuda_kernels
from rushlight.kernels.cuda import elementwise, matmul, softmax, source
from tests.support import cuda_standin

ARCHITECTURES = ("sm_80", "sm_90")


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module


# --- NVRTC -------------------------------------------------------------------------------------------------------------------------------

def _nvrtc():
    """NVIDIA's run-time compiler, from its pip package or a CUDA toolkit; None where there is none."""
    folders = [os.path.join(each, "nvidia", "*", "lib") for each in (*site.getsitepackages(), site.getusersitepackages())]
    folders += ["/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib"]
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "libnvrtc.so.1*"))):
            try:
                return ctypes.CDLL(path)
            except OSError:
                continue
    return None


NVRTC = _nvrtc()


def compile_for(text, name, architecture):
    """The compiler's log; AssertionError where the source does not compile."""
    program = ctypes.c_void_p()
    assert NVRTC.nvrtcCreateProgram(ctypes.byref(program), text.encode(), f"{name}.cu".encode(), 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17"]
    result = NVRTC.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    NVRTC.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    NVRTC.nvrtcGetProgramLog(program, log)
    NVRTC.nvrtcDestroyProgram(ctypes.byref(program))
    assert result == 0, f"{name} for {architecture}:\n{log.value.decode()[:3000]}\n{text}"
    return log.value.decode()


def sources():
    """All kernels: those that exist by themselves, and one of every form that formulas and optimizers make."""
    for module in pkgutil.iter_modules(cuda_kernels.__path__):
        importlib.import_module(f"{cuda_kernels.__name__}.{module.name}")
    found = dict(source.all_sources())
    for name, formula in elementwise.FORMULAS.items():
        dtypes = elementwise.FLOATS if name in ("add", "gelu", "less") else ("float32",)
        for dtype in dtypes:
            for ndim in (-1, 3) if name in ("add", "less", "gelu") else (-1,):
                kernel = source.Kernel(f"formula_{name}_{ndim + 1}", formula.source(dtype, "a" * formula.inputs, ndim), (dtype,))
                found[kernel.entry(dtype)] = kernel.source(dtype)
    return found


@pytest.mark.skipif(NVRTC is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles(architecture):
    _step_all_optimizers("cuda")
    every = sources()
    assert len(every) > 150
    for name, text in every.items():
        compile_for(text, name, architecture)


@pytest.mark.skipif(NVRTC is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
def test_a_kernel_that_does_not_compile_is_noticed():
    with pytest.raises(AssertionError, match="undefined"):
        compile_for('extern "C" __global__ void k(float* x) { x[0] = nothing; }', "k", "sm_90")


def _step_all_optimizers(device):
    results = {}
    for name in ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adagrad", "Adadelta", "ASGD"):
        values = [np.random.default_rng(i).normal(size=shape) for i, shape in enumerate(((3, 4), (5,), (2, 2, 2)))]
        params = [rl.tensor(v, dtype=rl.float32, device=device, requires_grad=True) for v in values]
        optimizer = getattr(rl.optim, name)(params, lr=0.05, **({"momentum": 0.9} if name == "SGD" else {}), weight_decay=0.0 if name == "Rprop" else 0.01) \
            if name != "Rprop" else rl.optim.Rprop(params, lr=0.05)
        for step in range(3):
            for p, v in zip(params, values):
                p.grad = rl.tensor(np.cos(v * (step + 1)), dtype=rl.float32, device=device)
            optimizer.step()
        results[name] = [p.detach().cpu().numpy() for p in params]
    return results


def test_optimizers_step_as_on_the_cpu():
    ours, expected = _step_all_optimizers("cuda"), _step_all_optimizers("cpu")
    for name in expected:
        for a, b in zip(ours[name], expected[name]):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6, err_msg=name)


# --- against NumPy -----------------------------------------------------------------------------------------------------------------------

def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape, axis", [((5, 7), 1), ((3, 300), -1), ((4, 5, 6), 1), ((2, 3), 0), ((3, 1), 1)])
def test_softmax(cupy, name, shape, axis):
    from rushlight.kernels import softmax as twin
    x, g = normal(*shape) * 3, normal(*shape, seed=1)
    y = getattr(softmax, name)(cupy.asarray(x), axis)
    np.testing.assert_allclose(y.get(), getattr(twin, name)(x, axis), rtol=2e-6, atol=1e-6)
    gx = getattr(softmax, f"{name}_backward")(cupy.asarray(g), y, axis)
    np.testing.assert_allclose(gx.get(), getattr(twin, f"{name}_backward")(g, y.get(), axis), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("shape_a, shape_b", [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (1, 6, 4, 5)), ((1, 4), (4, 1)),
                                              ((3, 0), (0, 2)), ((0, 3), (3, 2))])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("transposed", ["", "a", "b", "ab", "step"])
def test_matmul(cupy, shape_a, shape_b, dtype, transposed):
    import ml_dtypes
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    a, b = normal(*shape_a).astype(kind), normal(*shape_b, seed=1).astype(kind)

    def on_device(array, name):
        if name in transposed:
            return cupy.asarray(np.ascontiguousarray(array.swapaxes(-1, -2))).swapaxes(-1, -2)
        if transposed == "step":
            return cupy.asarray(np.repeat(array, 2, -1))[..., ::2]
        return cupy.asarray(array)
    r = matmul.matmul(on_device(a, "a"), on_device(b, "b"))
    tolerance = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 1.6e-2}[dtype]
    np.testing.assert_allclose(r.get().astype(np.float64), a.astype(np.float64) @ b.astype(np.float64), rtol=tolerance, atol=tolerance)
    assert r.dtype == kind


@pytest.mark.standin
def test_tf32_follows_the_settings(cupy):
    from tests.support.cuda_emulator import cublas
    a = cupy.asarray(normal(2, 2))
    try:
        for setting, wanted in (("highest", cublas.CUBLAS_COMPUTE_32F), ("high", cublas.CUBLAS_COMPUTE_32F_FAST_TF32)):
            rl.set_float32_matmul_precision(setting)
            matmul.matmul(a, a)
            assert cublas.CALLS[-1][1] == wanted
        rl.backends.cuda.matmul.allow_tf32 = False
        assert rl.get_float32_matmul_precision() == "highest"
        rl.backends.cuda.matmul.allow_tf32 = True
        matmul.matmul(a, a)
        assert rl.backends.cuda.matmul.allow_tf32 and cublas.CALLS[-1][1] == cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    finally:
        rl.set_float32_matmul_precision("highest")


@pytest.mark.standin
def test_every_formula_computes_what_its_ufunc_computes(cupy):
    """All formulas in one translation unit: compiling each on its own takes long."""
    from tests.support.cuda_emulator import RawKernel
    chosen = {name: elementwise.FORMULAS[name] for name in elementwise.UFUNCS if hasattr(np, name)}
    kernels = {name: source.Kernel(f"one_{name}", formula.source("float32", "a" * formula.inputs, -1), ("float32",)) for name, formula in chosen.items()}
    unit = "".join(f"namespace n{i} {{\n{kernel.source('float32')}\n#undef kernel\n}}\nusing n{i}::{kernel.entry('float32')};\n" for i, kernel in enumerate(kernels.values()))
    positive = ("log", "log2", "log10", "log1p", "sqrt", "power", "arccosh")
    for name, kernel in kernels.items():
        ufunc, inputs = getattr(np, name), chosen[name].inputs
        values = [normal(37, seed=i) for i in range(inputs)]
        if name in positive:
            values = [np.abs(v) + 1 for v in values]
        elif name in ("arcsin", "arccos", "arctanh"):
            values = [np.tanh(v) for v in values]
        elif name == "equal":
            values[1][::2] = values[0][::2]
        values[0][5] = np.nan
        expected = ufunc(*values)
        out = cupy.empty(37, expected.dtype)
        RawKernel(unit, kernel.entry("float32"))((1,), (64,), (*[cupy.asarray(v) for v in values], out, np.int64(37)))
        np.testing.assert_allclose(out.get(), expected, rtol=4e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_formulas_on_every_layout(cupy, dtype):
    import ml_dtypes
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    a, b = normal(6, 8).astype(kind), normal(8, seed=1).astype(kind)
    formula = elementwise.FORMULAS["add"]

    def check(x, y):
        expected = (np.asarray(x.get() if hasattr(x, "get") else x, np.float64) + np.asarray(y.get() if hasattr(y, "get") else y, np.float64)).astype(kind)
        r = formula(x, y)
        assert r.dtype == kind and r.shape == expected.shape
        np.testing.assert_array_equal(r.get().astype(np.float64), expected.astype(np.float64))
        return r
    x, y = cupy.asarray(a), cupy.asarray(b)
    check(x, x)
    check(x, y)                                      # broadcast
    assert check(x.T, x.T).strides == x.T.strides    # the layout stays
    check(x[:, 1:], x[:, :-1])                       # unaligned, strided
    check(x[1:, 3], x[:-1, 2])
    check(x.reshape(-1)[1:], x.reshape(-1)[1:])      # dense, not on 16 bytes
    check(x, 0.5)
    assert formula(x, cupy.asarray(a.astype(np.float64 if dtype != "float64" else np.float32))) is NotImplemented
    out = cupy.empty((6, 8), kind)
    assert formula(x, x, out=out) is out and (out.get() == formula(x, x).get()).all()


def test_a_traced_function_is_one_kernel(cupy):
    def function(g, y):
        return g * (1 - y * y) + np.where(y > 0, np.sqrt(np.abs(y)), -g) * np.where(np.logical_xor(y > 1, g > 0), 1.0, np.inf)
    formula = elementwise.formula_of(function, 2)
    g, y = normal(10), normal(10, seed=1)
    np.testing.assert_allclose(formula(cupy.asarray(g), cupy.asarray(y)).get(), function(g, y), rtol=1e-6)
    assert elementwise.formula_of(lambda a: a if a.any() else -a, 1) is None


def test_names_of_formulas_do_not_depend_on_their_place():
    """What is on disk under a kernel's name serves as long as its text is the same, wherever the formula stands."""
    first = elementwise.formula_of(lambda x, y: (x - y) * (x - y), 2)
    second = elementwise.formula_of(
        lambda a, b: (a - b) * (a - b), 2)
    other = elementwise.formula_of(lambda x, y: (x - y) * (y - x), 2)
    assert first is second and first.name == "formula_" + first.name[8:] and first.name[8:].isalnum() and other.name != first.name
    assert first.text.count("x - y") + first.before.count("x - y") == 1, "what is used twice is computed once"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("function", ["x.tanh()", "x.sigmoid()", "F.relu(x)", "F.gelu(x)", "F.gelu(x, approximate='tanh')", "F.silu(x)", "F.mish(x)",
                                      "x.exp()", "x.sin()", "x.erf()", "x.abs()", "x.clamp(-1, 1)", "(x * x.detach())"])
def test_a_gradient_is_one_kernel(function, dtype):
    from tests.support.cuda_emulator import LAUNCHES
    values, arriving = np.linspace(-3, 3, 24).reshape(4, 6), np.linspace(1, 2, 24).reshape(4, 6)
    grads = []
    for device in ("cuda", "cpu"):
        x = rl.tensor(values, dtype=getattr(rl, dtype), device=device, requires_grad=True)
        y = eval(function, {"x": x, "F": rl.nn.functional})
        g = rl.tensor(arriving, dtype=getattr(rl, dtype), device=device)
        before = sum(LAUNCHES.values())
        y.backward(g)
        assert sum(LAUNCHES.values()) - before == (device == "cuda")
        grads.append(x.grad.float().cpu().numpy())
    np.testing.assert_allclose(*grads, **({"rtol": 2e-6, "atol": 1e-6} if dtype == "float32" else {"rtol": 1.6e-2, "atol": 1e-3}))


def test_formulas_with_numbers_are_one_kernel():
    """What `fuse` fuses on the CPU is a kernel here: the numbers are its parameters."""
    from tests.support.cuda_emulator import LAUNCHES
    F = rl.nn.functional
    from rushlight.kernels import native
    named = () if native.library is None else (F.leaky_relu, F.softplus, F.hardtanh, F.hardswish)
    for function in (F.elu, F.logsigmoid, *named):
        grads = []
        for device in ("cuda", "cpu"):
            x = rl.linspace(-3, 3, 24, device="cpu").to(device).requires_grad_()
            before = sum(LAUNCHES.values())
            y = function(x)
            y.backward(rl.ones_like(y))
            assert sum(LAUNCHES.values()) - before == 2 * (device == "cuda"), function.__name__
            grads.append(x.grad.cpu().numpy())
        np.testing.assert_allclose(*grads, rtol=2e-6, atol=1e-6, err_msg=function.__name__)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_many_gradients_in_few_launches(dtype):
    """Clipping by norm takes two launches of ours over all tensors, the gradient scaler's unscaling with its check one."""
    from tests.support.cuda_emulator import LAUNCHES

    def launches(name):
        return sum(n for key, n in LAUNCHES.items() if key.startswith(name))
    results = []
    for device in ("cuda", "cpu"):
        params = [rl.nn.Parameter(rl.zeros(shape, dtype=getattr(rl, dtype), device=device)) for shape in ((3, 4), (0,), (5,), (100, 90))]
        for i, p in enumerate(params):
            p.grad = rl.tensor(normal(*p.shape, seed=i), device="cpu").to(device, p.dtype)
        before = launches("multi_")
        total = rl.nn.utils.clip_grad_norm_(params, 1.0)
        assert launches("multi_") - before == 2 * (device == "cuda")
        results.append([float(total), *[p.grad.clone().float().cpu().numpy() for p in params]])
        before = launches("multi_unscale")
        found, version = rl.zeros((), device=device), params[0].grad._version
        unscale = rl._amp_foreach_non_finite_check_and_unscale_
        unscale([p.grad for p in params], found, rl.full((), 0.5, device=device))
        assert launches("multi_unscale") - before == (device == "cuda") and found.item() == 0 and params[0].grad._version > version
        params[3].grad[7, 7] = float("inf")
        unscale([p.grad for p in params], found, rl.full((), 0.5, device=device))
        assert found.item() == 1
        results[-1] += [p.grad.clone().float().cpu().numpy() for p in params]
    tolerance = {"float32": 1e-5, "float64": 1e-12, "bfloat16": 1.6e-2}[dtype]
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_step_uses_the_kernels(dtype):
    """Norms, attention, losses, embedding, dropout and the optimizer, forward and backward, against the CPU."""
    from tests.support.cuda_emulator import LAUNCHES
    F = rl.nn.functional

    def run(device):
        rl.manual_seed(0)
        model = rl.nn.ModuleDict({"e": rl.nn.Embedding(7, 8), "n": rl.nn.LayerNorm(8), "a": rl.nn.Linear(8, 24), "g": rl.nn.GroupNorm(2, 8),
                                  "b": rl.nn.BatchNorm1d(8), "h": rl.nn.Linear(8, 7)}).to(device, getattr(rl, dtype))
        optimizer = rl.optim.AdamW(model.parameters(), lr=1e-2)
        ids = rl.tensor([[1, 2, 3, 0], [4, 5, 6, 6]], device=device)
        losses = []
        for _ in range(3):
            x = model["n"](model["e"](ids))
            q, k, v = model["a"](x).chunk(3, -1)
            x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = model["b"](model["g"](F.gelu(x).transpose(1, 2))).transpose(1, 2)
            loss = F.cross_entropy(model["h"](x).flatten(0, 1), ids.flatten().roll(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses
    before = dict(LAUNCHES)
    ours, expected = run("cuda"), run("cpu")
    np.testing.assert_allclose(ours, expected, rtol=1e-4 if dtype == "float32" else 3e-2)
    used = {name.rsplit("_", 1)[0] for name in LAUNCHES if LAUNCHES[name] != before.get(name, 0)}
    assert {"take_rows", "add_rows", "norm_rows", "norm_rows_input_gradient", "norm_rows_weight_gradient", "attention_32", "attention_key_gradient_32",
            "norm_channel_statistics", "norm_channel_input_gradient", "cross_entropy", "cross_entropy_backward"} <= used
    assert any(name.startswith("optimizer_Adam") for name in used)
