"""torch.cuda on the stand-in: devices, streams, events, memory, graphs, pinned memory, generators, errors; on a real GPU where there is one."""

import contextlib
import gc

import pytest

import rushlight as torch
from tests.support import cuda_standin

STANDIN = not torch.cuda.is_available() or hasattr(torch.cuda.driver.cupy(), "cublas_of_the_standin")
several = pytest.mark.skipif(not STANDIN and torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.fixture(autouse=True)
def cuda():
    with cuda_standin.cuda() if STANDIN else contextlib.nullcontext() as module:
        yield module


def test_devices():
    assert torch.cuda.is_available() and torch.cuda.is_initialized() and torch.cuda.current_device() == 0
    properties = torch.cuda.get_device_properties(0)
    assert properties.name == torch.cuda.get_device_name() and "_CudaDeviceProperties(name=" in repr(properties)
    assert torch.cuda.get_device_capability("cuda:0") == (properties.major, properties.minor)
    assert properties.total_memory > 0 and properties.multi_processor_count > 0
    torch.cuda.synchronize()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.zeros(1, device=f"cuda:{torch.cuda.device_count()}")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.cuda.set_device(17)
    with pytest.raises(AssertionError, match="Invalid device id"):
        torch.cuda.get_device_properties(17)
    with pytest.raises(ValueError, match="Expected a cuda device"):
        torch.cuda.synchronize("cpu")
    assert torch.cuda.current_device() == 0


@several
def test_two_devices():
    x = torch.arange(3.0, device="cuda:1")
    assert str(x.device) == "cuda:1" and x.get_device() == 1 and torch.cuda.current_device() == 0
    y = (x * 2 + 1).exp().sum()
    assert str(y.device) == "cuda:1" and torch.cuda.current_device() == 0
    w = torch.ones(3, 2, device="cuda:1", requires_grad=True)
    torch.nn.functional.softmax(x[None] @ w, 1).pow(2).sum().backward()
    assert str(w.grad.device) == "cuda:1"
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device.*cuda:1.*cuda:0|Expected all tensors.*cuda:0.*cuda:1"):
        x + torch.ones(3, device="cuda:0")
    assert x.to("cuda:0").tolist() == x.tolist() and str(x.to("cuda:0").device) == "cuda:0"
    with torch.cuda.device(1):
        assert torch.cuda.current_device() == 1 and str(torch.zeros(1, device="cuda").device) == "cuda:1"
    with torch.cuda.device_of(x):
        assert torch.cuda.current_device() == 1
    with torch.cuda.device(-1), torch.cuda.device(None):
        assert torch.cuda.current_device() == 0
    model = torch.nn.Linear(3, 2).to("cuda:1")
    assert str(model(x).device) == "cuda:1"
    a, b = (torch.randn(3, device=f"cuda:{i}", generator=torch.Generator(f"cuda:{i}").manual_seed(1)) for i in (0, 1))
    assert a.tolist() == b.tolist()


@pytest.mark.parametrize("call", [
    lambda t, x, y: t.cat([x, y]), lambda t, x, y: x @ y, lambda t, x, y: t.nn.functional.linear(x, y), lambda t, x, y: t.where(x > 0, x, y),
    lambda t, x, y: t.stack([x, y]), lambda t, x, y: x.add_(y), lambda t, x, y: t.addmm(x, y, y), lambda t, x, y: t.nn.functional.mse_loss(x, y),
    lambda t, x, y: t.nn.functional.cross_entropy(x, t.zeros(2, dtype=t.long)), lambda t, x, y: t.maximum(x, y), lambda t, x, y: x == y])
def test_mixed_devices_are_refused_by_every_op(call):
    x, y = torch.ones(2, 2, device="cuda"), torch.ones(2, 2)
    with pytest.raises(RuntimeError, match="device"):
        call(torch, x, y)
    assert x.tolist() == [[1, 1], [1, 1]]


def test_streams_and_events():
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    s = torch.cuda.Stream()
    assert s != torch.cuda.current_stream() and s.device == torch.device("cuda:0")
    with torch.cuda.stream(s):
        assert torch.cuda.current_stream() == s
        first.record()
        x = torch.ones(4, device="cuda") * 2
        last.record()
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    with pytest.raises(ValueError, match="enable_timing"):
        first.elapsed_time(torch.cuda.Event())
    torch.cuda.current_stream().wait_stream(s)
    last.wait()
    last.synchronize()
    assert last.query() and s.query() and first.elapsed_time(last) >= 0 and x.tolist() == [2] * 4
    with pytest.raises(ValueError, match="recorded"):
        first.elapsed_time(torch.cuda.Event(enable_timing=True))
    with s:
        assert torch.cuda.current_stream() == s
    s.synchronize()


def test_memory():
    gc.collect()              # what earlier tests left
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    x = torch.zeros(1000, 1000, device="cuda")
    assert torch.cuda.memory_allocated() - before >= x.nbytes and torch.cuda.memory_reserved() >= torch.cuda.memory_allocated()
    peak = torch.cuda.max_memory_allocated()
    del x
    assert torch.cuda.memory_allocated() == before and torch.cuda.max_memory_allocated() == peak >= before + 4_000_000
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() == before
    stats = torch.cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == before and stats["allocation.all.freed"] >= 1 and "num_ooms" in stats
    assert "allocated bytes" in torch.cuda.memory_summary()
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total
    pointer = torch.cuda.caching_allocator_alloc(1024) if not STANDIN else None
    if pointer:
        torch.cuda.caching_allocator_delete(pointer)
    with pytest.raises(RuntimeError, match="no block"):
        torch.cuda.caching_allocator_delete(12345)


def test_out_of_memory_leaves_everything_as_it_was():
    x = torch.ones(10, device="cuda")
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory"):
            torch.zeros(1 << 26, device="cuda")
        with pytest.raises(torch.cuda.OutOfMemoryError):
            x.expand(1 << 22, 10) + 1
        assert x.tolist() == [1] * 10 and issubclass(torch.cuda.OutOfMemoryError, RuntimeError)
        assert (x + 1).tolist() == [2] * 10 and torch.cuda.memory_stats()["num_ooms"] >= 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    with pytest.raises(ValueError, match="Invalid fraction"):
        torch.cuda.set_per_process_memory_fraction(2.0)


def test_pinned_memory_and_copies():
    x = torch.arange(6.0).view(2, 3)
    assert not x.is_pinned()
    p = x.pin_memory()
    assert p.is_pinned() and p.pin_memory() is p and p.tolist() == x.tolist() and p[1].is_pinned() and not p.clone().is_pinned()
    y = p.to("cuda", non_blocking=True)
    assert y.is_cuda and y.tolist() == x.tolist()
    z = y.to("cpu", non_blocking=True)
    torch.cuda.synchronize()
    assert z.tolist() == x.tolist()
    assert x.cuda(non_blocking=True).tolist() == x.tolist()
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        y.pin_memory()
    target = torch.zeros(2, 3, device="cuda")
    assert target.copy_(x, non_blocking=True).tolist() == x.tolist()


def test_generators():
    torch.cuda.manual_seed(5)
    a = torch.rand(8, device="cuda")
    state = torch.cuda.get_rng_state()
    assert state.dtype == torch.uint8 and state.numel() == 16 and not state.is_cuda
    b = torch.rand(8, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(8, device="cuda"), b)
    torch.cuda.manual_seed_all(5)
    assert torch.equal(torch.rand(8, device="cuda"), a) and torch.cuda.initial_seed() == 5
    g = torch.Generator("cuda").manual_seed(5)
    assert g.device == torch.device("cuda:0") and g.get_offset() == 0 and torch.equal(torch.rand(8, device="cuda", generator=g), a)
    assert g.get_offset() == 4
    other = g.clone_state()
    for draw in (lambda g: torch.randn(3, device="cuda", generator=g), lambda g: torch.randperm(5, device="cuda", generator=g),
                 lambda g: torch.zeros(4, device="cuda", dtype=torch.float64).exponential_(generator=g),
                 lambda g: torch.randint(9, (4,), device="cuda", generator=g), lambda g: torch.empty(5, device="cuda").cauchy_(generator=g),
                 lambda g: torch.rand(2, 3, device="cuda", generator=g, dtype=torch.float16), lambda g: torch.full((6,), 0.5, device="cuda").bernoulli(generator=g)):
        assert torch.equal(draw(g), draw(other))
    assert len(torch.cuda.get_rng_state_all()) == torch.cuda.device_count()
    with pytest.raises(RuntimeError, match="multiple of 4"):
        g.set_offset(3)
    with pytest.raises(RuntimeError, match="wrong size"):
        g.set_state(torch.zeros(5056, dtype=torch.uint8))
    torch.manual_seed(9)
    with torch.random.fork_rng():
        a = torch.rand(3, device="cuda")
    assert torch.equal(torch.rand(3, device="cuda"), a)


def test_cpu_streams_on_request():
    torch.cuda.random.use_cpu_streams()
    try:
        torch.manual_seed(3)
        on_device = torch.nn.Linear(4, 3, device="cuda").weight
        torch.manual_seed(3)
        assert torch.equal(on_device.cpu(), torch.nn.Linear(4, 3).weight)
    finally:
        torch.cuda.random.use_cpu_streams(False)


def test_amp():
    layer = torch.nn.Linear(3, 2, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        y = layer(torch.ones(1, 3, device="cuda"))
        assert y.dtype == torch.bfloat16 and y.softmax(-1).dtype == torch.float32
    with torch.autocast("cuda"):
        assert layer(torch.ones(1, 3, device="cuda")).dtype == torch.float16
    optimizer, scaler = torch.optim.SGD(layer.parameters(), lr=0.1), torch.amp.GradScaler("cuda")
    scaler.scale(y.float().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    layer.weight.grad[0, 0] = float("inf")
    before = layer.weight.detach().clone()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(before, layer.weight) and scaler.get_scale() == 2.0 ** 15


def test_graphs():
    x = torch.ones(4, device="cuda")
    x.mul(2)
    torch.cuda.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        y = x * 2
    x.fill_(3)
    g.replay()
    assert y.tolist() == [6] * 4


def test_graph_errors():
    g = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="preceding successful capture"):
        g.replay()
    with pytest.raises(RuntimeError, match="non-default stream"):
        g.capture_begin()
    with pytest.raises(RuntimeError, match="Unknown capture error mode"):
        g.capture_begin(capture_error_mode="none")
    with pytest.raises(RuntimeError, match="pool"):
        g.pool()
    x = torch.ones(2, device="cuda")
    with torch.cuda.graph(g):
        y = x + 1
    with pytest.raises(RuntimeError, match="already owns a captured graph"):
        with torch.cuda.graph(g):
            pass
    g.replay()
    assert y.tolist() == [2, 2]
    other = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="capturing"):
        with torch.cuda.graph(other):
            (x + 1).sum().item()
    assert not torch.cuda.is_current_stream_capturing() and (x + 1).tolist() == [2, 2]


def test_graphs_share_memory_and_draw_on():
    g, h = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    torch.cuda.manual_seed(5)
    expected = [torch.rand(6, device="cuda").tolist() for _ in range(3)]
    torch.cuda.manual_seed(5)
    with torch.cuda.graph(g):
        assert torch.cuda.is_current_stream_capturing()
        drawn = torch.rand(6, device="cuda")
    with torch.cuda.graph(h, pool=g.pool()):
        doubled = drawn * 2
    assert h.pool() == g.pool() != torch.cuda.graph_pool_handle() and torch.cuda.default_generators[0].get_offset() == 0
    for wanted in expected:                      # each replay continues the stream
        g.replay()
        h.replay()
        assert drawn.tolist() == wanted and doubled.tolist() == [2 * v for v in wanted]
    own = torch.Generator(device="cuda").manual_seed(5)
    k = torch.cuda.CUDAGraph()
    k.register_generator_state(own)
    with torch.cuda.graph(k):
        drawn = torch.rand(6, device="cuda", generator=own)
    k.replay()
    assert drawn.tolist() == expected[0] and own.get_offset() == 4
    k.reset()
    with pytest.raises(RuntimeError, match="replay"):
        k.replay()


def test_a_training_step_as_a_graph():
    def model():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).to("cuda")
    data = [torch.randn(5, 3, device="cuda") for _ in range(4)]
    plain, graphed = model(), model()
    graphed.load_state_dict(plain.state_dict())
    x = data[0].clone()
    for p in graphed.parameters():
        p.grad = torch.zeros_like(p)
    g = torch.cuda.CUDAGraph()
    graphed(x).square().mean().backward()        # what is set up at first use
    with torch.cuda.graph(g):
        for p in graphed.parameters():
            p.grad.zero_()
        loss = graphed(x).square().mean()
        loss.backward()
        with torch.no_grad():
            for p in graphed.parameters():
                p -= 0.1 * p.grad
    for batch in data:
        x.copy_(batch)
        g.replay()
        plain.zero_grad()
        wanted = plain(batch).square().mean()
        wanted.backward()
        with torch.no_grad():
            for p in plain.parameters():
                p -= 0.1 * p.grad
        assert abs(loss.item() - wanted.item()) < 1e-6
    for a, b in zip(graphed.parameters(), plain.parameters()):
        assert torch.allclose(a, b)


def test_graphed_callables():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2, device="cuda")
    twin = torch.nn.Linear(3, 2, device="cuda")
    twin.load_state_dict(layer.state_dict())
    x, y = torch.randn(4, 3, device="cuda"), torch.randn(4, 2, device="cuda", requires_grad=True)
    step, scale = torch.cuda.make_graphed_callables((layer, lambda a: {"out": a.sin() * 2}), ((x,), (y,)))
    assert step is layer
    for seed in range(3):
        torch.manual_seed(seed)
        batch = torch.randn(4, 3, device="cuda")
        out, wanted = scale(layer(batch))["out"], twin(batch).sin() * 2
        assert torch.allclose(out, wanted)
        (out * out.detach()).sum().backward()
        (wanted * wanted.detach()).sum().backward()
        assert torch.allclose(layer.weight.grad, twin.weight.grad) and torch.allclose(layer.bias.grad, twin.bias.grad)
    layer.eval()
    assert torch.allclose(layer(torch.ones(7, 3, device="cuda")), twin(torch.ones(7, 3, device="cuda")))      # no graph for evaluation: any shape
    with pytest.raises(TypeError, match="tensors"):
        torch.cuda.make_graphed_callables(lambda a: a, (3,))
    twin.register_forward_hook(lambda *a: None)
    with pytest.raises(RuntimeError, match="hooks"):
        torch.cuda.make_graphed_callables(twin, (x,))


@pytest.mark.parametrize("name", ["utilization", "temperature", "memory_snapshot", "memory_usage"])
def test_what_is_missing_says_what_to_use(name):
    with pytest.raises(NotImplementedError, match="nvidia-smi|memory_stats"):
        getattr(torch.cuda, name)()


def test_a_kernel_that_does_not_compile_is_an_error_of_the_device(monkeypatch):
    from rushlight.kernels.cuda.source import Kernel, _registered
    broken = Kernel("broken", 'extern "C" __global__ void kernel(T* x) { x[0] = nothing; }', ("float32",))
    _registered.remove(broken)
    with pytest.raises(torch.cuda.AcceleratorError, match="broken_float32 does not compile"):
        broken("float32")
    assert not broken._ready


@pytest.mark.standin
def test_indices_out_of_range_stop_the_device():
    with pytest.raises(RuntimeError):
        torch.nn.functional.embedding(torch.tensor([9], device="cuda"), torch.zeros(3, 2, device="cuda")).sum().item()
        torch.cuda.synchronize()


@pytest.mark.parametrize("name", ["add", "gelu", "softmax", "layer_norm", "matmul_fp32", "matmul_bf16", "adam", "resnet18", "resnet50", "resnet50_bf16",
                                  "conv", "conv_bf16", "batch_norm", "gpt2"])
def test_bench_workloads_compute_the_same(name):
    import torch as pt

    from bench import gpu
    sizes = gpu.SMALL[name]
    with torch.backends.cudnn.flags(allow_tf32=False):       # normalising two numbers, as a small ResNet does, magnifies any rounding
        ours = float(getattr(gpu, name)(torch, "cuda", **sizes)().detach().double().sum())
    theirs = float(getattr(gpu, name)(pt, "cpu", **sizes)().detach().double().sum())
    torch.set_float32_matmul_precision("highest")
    assert abs(ours - theirs) <= 2e-2 * max(1.0, abs(theirs)), (ours, theirs)
    assert name in {row.name for row in gpu.GPU_ROWS}
