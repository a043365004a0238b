"""Stage "checks": what a stand-in without time or concurrency can't tell: streams, events, copies, graphs, memory, and training as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from .plan import Case, Context, Failed, Skipped

Check = Callable[[Any, Context], dict[str, Any]]
CHECKS: list[tuple[str, Check, bool]] = []


def check(name: str, quick: bool = False) -> Callable[[Check], Check]:
    """A case of this stage."""
    def add(function: Check) -> Check:
        CHECKS.append((name, function, quick))
        return function
    return add


def cases(context: Context) -> list[Case]:
    """All checks, each with the library and default settings."""
    return [Case(name, lambda context, function=function: _run(function, context), quick) for name, function, quick in CHECKS]


def _run(function: Check, context: Context) -> dict[str, Any]:
    import rushlight as torch
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    found = function(torch, context)
    torch.cuda.synchronize()
    return found


def _same(ours: Any, wanted: Any, tolerance: float, what: str = "results") -> float:
    a, b = (each.detach().cpu().double() for each in (ours, wanted))
    error = float((a - b).norm() / b.norm().clamp(min=1e-6))
    if not error <= tolerance:
        raise Failed(f"{what} differ by {error:.2e}, more than {tolerance:.0e}")
    return error


@check("gradcheck in double", quick=True)
def _gradients(torch: Any, context: Context) -> dict[str, Any]:
    F = torch.nn.functional

    def leaf(*shape: int) -> Any:
        return torch.randn(*shape, dtype=torch.float64, device="cuda", requires_grad=True)
    works: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "conv2d": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), (leaf(1, 2, 5, 4), leaf(3, 2, 3, 3))),
        "linear": (F.linear, (leaf(3, 4), leaf(2, 4), leaf(2))), "softmax": (lambda x: x.softmax(1), (leaf(3, 5),)),
        "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), (leaf(3, 4), leaf(4), leaf(4))),
        "gelu": (F.gelu, (leaf(7),)), "attention": (F.scaled_dot_product_attention, (leaf(1, 1, 3, 4), leaf(1, 1, 3, 4), leaf(1, 1, 3, 4)))}
    for name, (function, inputs) in works.items():
        if not torch.autograd.gradcheck(function, inputs, atol=1e-5):
            raise Failed(f"gradcheck of {name}")
    return {"functions": len(works)}


def _net(torch: Any) -> Any:
    nn = torch.nn
    torch.manual_seed(3)
    with torch.device("cpu"):
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 32), nn.GELU(),
                             nn.LayerNorm(32), nn.Linear(32, 10))


def _train(torch: Any, device: str, steps: int, autocast: Any = None) -> tuple[list[float], Any]:
    model = _net(torch).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    data = torch.Generator().manual_seed(5)
    x, y = torch.randn(16, 3, 8, 8, generator=data, device="cpu").to(device), torch.randint(0, 10, (16,), generator=data, device="cpu").to(device)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses, model


@check("ten training steps as on the CPU", quick=True)
def _training(torch: Any, context: Context) -> dict[str, Any]:
    steps = 2 if context.quick else 4 if context.standin else 10
    ours, wanted = (_train(torch, device, steps)[0] for device in ("cuda", "cpu"))
    worst = max(abs(a - b) for a, b in zip(ours, wanted))
    if worst > 1e-3 or ours[-1] >= ours[0]:
        raise Failed(f"losses {ours}, on the CPU {wanted}")
    return {"difference": worst, "first": ours[0], "last": ours[-1]}


@check("training under autocast, bfloat16")
def _autocast(torch: Any, context: Context) -> dict[str, Any]:
    steps = 3 if context.standin else 10
    losses, model = _train(torch, "cuda", steps, torch.bfloat16)
    plain = _train(torch, "cuda", steps)[0]
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()) or abs(losses[-1] - plain[-1]) > 0.3:
        raise Failed(f"losses {losses}, without autocast {plain}")
    return {"last": losses[-1], "without": plain[-1]}


@check("gradient scaler, float16")
def _scaler(torch: Any, context: Context) -> dict[str, Any]:
    model, scaler = _net(torch).to("cuda"), torch.amp.GradScaler("cuda", init_scale=2.0 ** 10)
    optimizer, x, losses = torch.optim.SGD(model.parameters(), lr=0.05), torch.randn(16, 3, 8, 8, device="cuda"), []
    y = torch.arange(16, device="cuda") % 10
    for _ in range(8):
        optimizer.zero_grad()
        with torch.autocast("cuda"):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss))
    if not losses[-1] < losses[0]:
        raise Failed(f"losses {losses}")
    return {"first": losses[0], "last": losses[-1], "scale": scaler.get_scale()}


@check("a graph: capture, replay, numbers that go on", quick=True)
def _graph(torch: Any, context: Context) -> dict[str, Any]:
    x, w = torch.randn(64, 64, device="cuda"), torch.randn(64, 64, device="cuda")
    # The stand-in runs no formulas: gelu's NumPy twin looks at its numbers, and a capture holds no copy to the host.
    function = torch.tanh if context.standin else torch.nn.functional.gelu
    for _ in range(2):
        function(x @ w)
        torch.rand(6, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.manual_seed(5)
    expected = [torch.rand(6, device="cuda") for _ in range(3)]
    torch.cuda.manual_seed(5)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = function(x @ w)
        drawn = torch.rand(6, device="cuda")
    for number, wanted in enumerate(expected):
        x.fill_(0.1 * (number + 1))
        graph.replay()
        _same(y, function(x @ w), 1e-6, "a replay's products")
        if not torch.equal(drawn, wanted):
            raise Failed(f"replay {number} drew {drawn.tolist()}, not {wanted.tolist()}")
    return {"replays": len(expected)}


@check("a training step as a graph")
def _graphed_step(torch: Any, context: Context) -> dict[str, Any]:
    layer = torch.nn.Linear(32, 32).to("cuda")
    twin = torch.nn.Linear(32, 32).to("cuda")
    twin.load_state_dict(layer.state_dict())
    step = torch.cuda.make_graphed_callables(layer, (torch.randn(8, 32, device="cuda"),))
    for _ in range(3):
        x = torch.randn(8, 32, device="cuda")
        layer.zero_grad()
        twin.zero_grad()
        step(x).square().sum().backward()
        twin(x).square().sum().backward()
        error = _same(layer.weight.grad, twin.weight.grad, 1e-5, "gradients")
    return {"difference": error}


@check("streams wait for one another", quick=True)
def _streams(torch: Any, context: Context) -> dict[str, Any]:
    n = 64 if context.standin else 4096
    a, side = torch.ones(n, n, device="cuda"), torch.cuda.Stream()
    out = torch.zeros(n, n, device="cuda")
    torch.cuda.synchronize()
    for _ in range(4):
        b = a @ a
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        out.copy_(b)
        done = torch.cuda.Event()
        done.record()
    torch.cuda.current_stream().wait_event(done)
    total = float((out - n).abs().max())
    if total:
        raise Failed(f"what the side stream copied is off by {total}")
    return {"elements": n * n}


@check("events measure time")
def _events(torch: Any, context: Context) -> dict[str, Any]:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    n = 256 if context.standin else 4096
    a = torch.rand(n, n, device="cuda")
    (a @ a).sum()
    torch.cuda.synchronize()
    first.record()
    for _ in range(5):
        a @ a
    last.record()
    at_once = last.query()
    last.synchronize()
    took = first.elapsed_time(last)
    if not 0.05 < took < 5000 or at_once and not context.standin:
        raise Failed(f"five products took {took} ms; finished when they had just been launched: {at_once}")
    return {"milliseconds": took}


@check("pinned copies in both directions", quick=True)
def _pinned(torch: Any, context: Context) -> dict[str, Any]:
    n = 1 << (12 if context.standin else 26)
    host = torch.arange(n, dtype=torch.float32).pin_memory()
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    there = host.to("cuda", non_blocking=True)
    last.record()
    back = (there + 1).to("cpu", non_blocking=True)
    torch.cuda.synchronize()
    if not host.is_pinned() or not torch.equal(back, host + 1):
        raise Failed("what came back is not what went there, plus one")
    return {"GB/s to the GPU": n * 4 / max(first.elapsed_time(last), 1e-6) / 1e6}


@check("a copy from pageable memory may be overwritten at once")
def _pageable(torch: Any, context: Context) -> dict[str, Any]:
    host = torch.ones(1 << 24)
    there = host.to("cuda", non_blocking=True)
    host.zero_()
    torch.cuda.synchronize()
    if float(there.sum()) != host.numel():
        raise Failed("the copy saw what was written after it")
    return {}


@check("memory figures", quick=True)
def _memory(torch: Any, context: Context) -> dict[str, Any]:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    x = torch.zeros(1 << 20, device="cuda")
    during, free = torch.cuda.memory_allocated() - before, torch.cuda.mem_get_info()
    del x
    after, peak = torch.cuda.memory_allocated() - before, torch.cuda.max_memory_allocated() - before
    if not (during >= 1 << 22 and after == 0 and peak >= during and 0 < free[0] <= free[1]):
        raise Failed(f"allocated {during}, after it {after}, at most {peak}, free {free}")
    return {"allocated": during, "free": free[0], "total": free[1], "reserved": torch.cuda.memory_reserved()}


@check("out of memory is an error, and the GPU goes on")
def _out_of_memory(torch: Any, context: Context) -> dict[str, Any]:
    if context.standin:
        raise Skipped("the stand-in has the host's memory")
    total, x = torch.cuda.mem_get_info()[1], torch.ones(1000, device="cuda")
    try:
        torch.empty(total * 2, dtype=torch.uint8, device="cuda")
    except torch.cuda.OutOfMemoryError as error:
        text = str(error)
    else:
        raise Failed("twice the GPU's memory was given")
    if float((x + 1).sum()) != 2000:
        raise Failed("the GPU does not go on")
    return {"message": text[:80]}


@check("half of the memory, freed and taken again")
def _large(torch: Any, context: Context) -> dict[str, Any]:
    if context.standin:
        raise Skipped("the stand-in has the host's memory")
    size = torch.cuda.mem_get_info()[0] // 2
    for _ in range(3):
        x = torch.zeros(size, dtype=torch.uint8, device="cuda")
        x[-1] = 7
        if int(x[-1]) != 7:
            raise Failed("the last byte is lost")
        del x
    torch.cuda.empty_cache()
    return {"bytes": size}


@check("more than 2 ** 31 elements")
def _many(torch: Any, context: Context) -> dict[str, Any]:
    if context.standin or torch.cuda.mem_get_info()[0] < 16 << 30:
        raise Skipped("needs 16 GiB of a GPU's memory")
    n = (1 << 31) + 5
    x = torch.ones(n, dtype=torch.bfloat16, device="cuda")
    y = x + x
    last = y[-3:].float().tolist()
    del x, y
    torch.cuda.empty_cache()
    if last != [2.0] * 3:
        raise Failed(f"the last elements are {last}")
    return {"elements": n}


@check("memory shared with PyTorch, both ways")
def _dlpack(torch: Any, context: Context) -> dict[str, Any]:
    from .draws import pytorch
    if context.standin:
        raise Skipped("the stand-in's memory is no GPU's")
    theirs_of = pytorch(context)
    ours = torch.arange(6.0, device="cuda")
    theirs = theirs_of.from_dlpack(ours)
    theirs.mul_(2)
    theirs_of.cuda.synchronize()
    back = torch.from_dlpack(theirs)
    if ours.tolist() != [0, 2, 4, 6, 8, 10] or back.data_ptr() != ours.data_ptr():
        raise Failed(f"{ours.tolist()}, at {ours.data_ptr():#x} and {back.data_ptr():#x}")
    return {}


@check("an index out of range stops a process of its own")
def _assertion(torch: Any, context: Context) -> dict[str, Any]:
    if context.standin:
        raise Skipped("the stand-in raises at once")
    code = ("import rushlight as torch\ntry:\n    torch.nn.functional.embedding(torch.tensor([9], device='cuda'), torch.zeros(3, 2, device='cuda')).sum().item()\n"
            "    torch.cuda.synchronize()\nexcept RuntimeError as error:\n    print('caught', str(error)[:200])\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25)
    if "caught" not in done.stdout:
        raise Failed(f"no error: {done.stdout}{done.stderr}"[-600:])
    return {"message": done.stdout.strip()}
