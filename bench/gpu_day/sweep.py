"""Stage "sweep": convolutions and attention with every tile that may be the best one; the fastest are written to ``tiles.json``.

The table is in the form that rushlight.kernels.cuda.tiles reads: put it beside that module, or name it in RUSHLIGHT_CUDA_TILES. It is written anew
after every case. A tile whose result is not the usual one's is reported, and never written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import plan
from .plan import Case, Context, Failed, Skipped

# Images, channels, outputs, size, kernel, stride: the layers of ResNets and U-Nets.
SHAPES = ((64, 64, 64, 56, 3, 1), (64, 128, 128, 28, 3, 1), (64, 256, 256, 14, 3, 1), (64, 512, 512, 7, 3, 1), (64, 128, 128, 56, 3, 2), (64, 3, 64, 224, 7, 2),
          (8, 128, 128, 128, 3, 1))
SMALL = (1, 8, 16, 6, 3, 1)
TILES = ((128, 128, 64, 64, 128, 4), (64, 128, 32, 64, 128, 4), (64, 64, 32, 32, 128, 4), (128, 128, 64, 64, 128, 3), (128, 128, 64, 32, 256, 3),
         (128, 64, 64, 32, 128, 4), (64, 64, 32, 32, 128, 6))
METHODS = {"half": "bfloat16", "tf32": "float32"}
FORWARD = ((2, 64), (1, 64), (2, 32), (1, 128))
BACKWARD = ((64, 2), (32, 2), (64, 1), (32, 1))
ATTENTION = ((False, 64), (False, 128), (True, 64))
AGAIN = ("conv", "conv_bf16", "gpt2", "resnet50_bf16")
TOLERANCE = 2e-2


def cases(context: Context) -> list[Case]:
    """Attention and convolution by shape, then the rows that use them with the table that came out."""
    if context.standin:
        found = [Case("conv small half", lambda context: conv("half", SMALL, TILES[1:3], context), quick=True),
                 Case("attention small bfloat16", lambda context: attention(False, 64, context))]
    else:
        found = [Case(f"attention {'float32' if single else 'bfloat16'} {size}",
                      lambda context, single=single, size=size: attention(single, size, context)) for single, size in ATTENTION]
        found += [Case(f"conv {method} " + "x".join(map(str, shape)), lambda context, method=method, shape=shape: conv(method, shape, TILES, context))
                  for shape in SHAPES for method in METHODS]
    found.append(Case("the table is read", _read_back, quick=True))
    return found + [Case(f"with the table: {name}", lambda context, name=name: _again(name, context)) for name in (AGAIN[:1] if context.standin else AGAIN)]


def candidates() -> list[tuple[Any, str]]:
    """(kernel, dtype) of all that is tried here, for the stage that compiles."""
    from rushlight.kernels.cuda import attention as family
    from rushlight.kernels.cuda.implicit_gemm import Tile, tiled
    found = [(tiled(name, method, Tile(*tile)), dtype) for method, dtype in METHODS.items() for tile in TILES for name in ("gather", "correlate")]
    for single, size in ATTENTION:
        for name, shapes in (("attention", FORWARD), ("attention_query_gradient", BACKWARD), ("attention_key_gradient", BACKWARD)):
            found += [(family._kernel(name, size, int(single), shape)[0], "float32" if single else "bfloat16") for shape in shapes]
    return found


def capability() -> str:
    """The key of this GPU in the table."""
    from rushlight.kernels.cuda import driver
    module = driver.needed()
    return str(module.cuda.Device(module.cuda.runtime.getDevice()).compute_capability)


def keep(context: Context, part: str, entries: list[dict[str, Any]]) -> None:
    """Add entries to the table on disk; a newer one takes the place of an older one for the same work."""
    import rushlight
    path = context.out / plan.TILES
    table = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    mine = table.setdefault(capability(), {"gpu": rushlight.cuda.get_device_name(), "conv": [], "attention": []})

    def work(entry: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(value for key, value in entry.items() if key not in ("tile", "shape"))
    mine[part] = [entry for entry in mine[part] if work(entry) not in {work(each) for each in entries}] + entries
    path.with_suffix(".new").write_text(json.dumps(table, indent=1), encoding="utf-8")
    os.replace(path.with_suffix(".new"), path)


@contextmanager
def _asked(module: Any, name: str, answer: Callable[..., Any]) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, answer)
    try:
        yield
    finally:
        setattr(module, name, original)


def _largest_block() -> int:
    """Bytes of shared memory that a block may take here."""
    from rushlight.kernels.cuda import driver
    module = driver.needed()
    return int(module.cuda.Device().attributes.get("MaxSharedMemoryPerBlockOptin", 99 << 10))


def _fastest(work: Callable[[], Any], with_choice: Callable[[Any], Any], choices: list[Any], context: Context) -> tuple[Any, dict[str, float], list[str]]:
    """(the best choice, microseconds by choice, problems); the first choice, None, is what the reckoning says."""
    import rushlight as torch
    from bench.child import _time_events
    times: dict[Any, float] = {}
    problems: list[str] = []
    usual: Any = None
    for choice in [None, *choices]:
        if context.left() < 3:
            problems.append("not all choices were reached")
            break
        try:
            with with_choice(choice):
                result = work().detach().float().clone()
                if usual is None:
                    usual = result
                error = float((result - usual).norm() / usual.norm().clamp(min=1e-6))
                if not error <= TOLERANCE:
                    problems.append(f"{choice} differs by {error:.2e}")
                    continue
                times[choice] = _time_events(torch, work, 0.002 if context.standin else 0.05)["seconds"]
        except Exception as error:  # noqa: BLE001  a shape that the GPU refuses is only left out
            problems.append(f"{choice}: {type(error).__name__}: {error}"[:300])
    shown = {str(choice): round(seconds * 1e6, 2) for choice, seconds in times.items()}
    measured = {choice: seconds for choice, seconds in times.items() if choice is not None}
    return (min(measured, key=measured.__getitem__) if measured else None), shown, problems


def conv(method: str, shape: tuple[int, ...], tiles_tried: tuple[tuple[int, ...], ...], context: Context) -> dict[str, Any]:
    """The three products of one convolution with every tile."""
    import rushlight as torch
    from rushlight.kernels.cuda import tiles
    from rushlight.kernels.cuda.implicit_gemm import Tile
    images, channels, outputs, size, kernel, stride = shape
    torch.backends.cudnn.allow_tf32 = True
    x, w = (torch.randn(*each, device="cuda").to(getattr(torch, METHODS[method])).requires_grad_()
            for each in ((images, channels, size, size), (outputs, channels, kernel, kernel)))
    fitting = [tile for tile in tiles_tried if Tile(*tile).shared <= _largest_block()]
    figures: dict[str, Any] = {}
    problems, entries = [], []
    for name, product, work in _products(torch, x, w, stride, kernel // 2, context.quick):
        asked: list[tuple[int, int]] = []

        def answer(tile: Any, product: str = product, asked: list[tuple[int, int]] = asked) -> Any:
            def reply(module: Any, device: int, kernel: str, method: str, rows: int, columns: int) -> Any:
                if kernel != product:
                    return None
                asked.append((rows, columns))
                return tile
            return _asked(tiles, "conv", reply)
        best, times, wrong = _fastest(work, answer, fitting, context)
        figures[name] = times
        problems += wrong
        if best is not None:
            entries.append({"kernel": product, "method": method, "rows": asked[0][0], "columns": asked[0][1], "tile": list(best)})
    keep(context, "conv", entries)
    return _report(figures, problems, len(entries))


def _products(torch: Any, x: Any, w: Any, stride: int, around: int, quick: bool) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """The name, the kernel and the work of each product of a convolution."""
    def forward() -> Any:
        with torch.no_grad():
            return torch.nn.functional.conv2d(x, w, None, stride, around)
    yield "forward", "gather", forward
    if not quick:
        y = torch.nn.functional.conv2d(x, w, None, stride, around)
        g = torch.randn(*y.shape, device="cuda").to(y.dtype)
        yield "input gradient", "gather", lambda: torch.autograd.grad(y, x, g, retain_graph=True)[0]
        yield "weight gradient", "correlate", lambda: torch.autograd.grad(y, w, g, retain_graph=True)[0]


def attention(single: bool, size: int, context: Context) -> dict[str, Any]:
    """Forward and backward with every shape of tile, on 8 x 12 heads of 1024 tokens, causal."""
    import rushlight as torch
    from rushlight.kernels.cuda import tiles
    torch.set_float32_matmul_precision("high")
    heads, tokens = (1, 70) if context.standin else (12, 1024)
    kind = torch.float32 if single else torch.bfloat16
    q, k, v = leaves = [torch.randn(heads * 2 // 3 or 1, heads, tokens, size, device="cuda").to(kind).requires_grad_() for _ in range(3)]
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    g = torch.randn(*y.shape, device="cuda").to(kind)

    def forward() -> Any:
        with torch.no_grad():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def backward() -> Any:
        return torch.cat(torch.autograd.grad(y, leaves, g, retain_graph=True))
    figures: dict[str, Any] = {}
    problems, entries = [], []
    for name, work, shapes in (("forward", forward, FORWARD), ("backward", backward, BACKWARD)):
        def answer(shape: Any, name: str = name) -> Any:
            return _asked(tiles, "attention", lambda kernel, single, size: shape if kernel == name else None)
        best, times, wrong = _fastest(work, answer, list(shapes), context)
        figures[name] = times
        problems += wrong
        if best is not None:
            entries.append({"kernel": name, "single": single, "size": size, "shape": list(best)})
    keep(context, "attention", entries)
    torch.set_float32_matmul_precision("highest")
    return _report(figures, problems, len(entries))


def _report(figures: dict[str, Any], problems: list[str], written: int) -> dict[str, Any]:
    """Failed where no choice was measured, or one computed something else; what only did not fit is told."""
    if not written or any("differs" in problem for problem in problems):
        raise Failed("\n".join(problems) or "nothing was measured", figures)
    return figures | ({"left out": problems} if problems else {})


def _table(context: Context) -> dict[str, Any]:
    path = context.out / plan.TILES
    if not path.exists():
        raise Skipped("no tile was measured")
    return json.loads(path.read_text(encoding="utf-8"))


def _read_back(context: Context) -> dict[str, Any]:
    """The file gives back what was written, through the code that chooses."""
    from rushlight.kernels.cuda import driver, tiles
    table = _table(context)
    before = tiles.use(table)
    try:
        for entry in table[capability()]["conv"]:
            found = tiles.conv(driver.needed(), 0, entry["kernel"], entry["method"], entry["rows"], entry["columns"])
            if found != tuple(entry["tile"]):
                raise Failed(f"{entry}: the code finds {found}")
        for entry in table[capability()]["attention"]:
            if tiles.attention(entry["kernel"], entry["single"], entry["size"]) != tuple(entry["shape"]):
                raise Failed(f"{entry}: the code finds another shape")
    finally:
        tiles.use(before)
    return {part: len(table[capability()][part]) for part in ("conv", "attention")}


def _again(name: str, context: Context) -> dict[str, Any]:
    """A row of the benchmark with the table, and what it took without."""
    from bench import gpu
    from rushlight.kernels.cuda import tiles

    from . import timing
    table = _table(context)
    row = next(row for row in gpu.GPU_ROWS if row.name == name)
    before = next((record["figures"].get("ours") for record in plan.results(context.out) if record["stage"] == "timing" and record["case"] == name), None)
    previous = tiles.use(table)
    try:
        figures = timing.measure(row, context)
    finally:
        tiles.use(previous)
    return figures | {"without the table": before}
