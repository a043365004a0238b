"""``python -m bench.kernels``: every family of native kernels against its NumPy form (the same code with RUSHLIGHT_NATIVE=0) and PyTorch.

A kernel that does not beat its NumPy form has no reason to be. ``--update-docs`` writes the table into docs/kernels.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from .child import _best_loop, _nothing
from .measure import ROOT, environment

START, END = "<!-- kernels:start -->", "<!-- kernels:end -->"
SIDES = {"rushlight": ("rushlight", {}), "numpy": ("rushlight", {"RUSHLIGHT_NATIVE": "0"}), "torch": ("torch", {})}
Op = Callable[[], Any]


def _both_ways(torch: Any, function: Callable[..., Any], *inputs: Any) -> Op:
    """The function and its gradients."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    g = torch.rand(function(*leaves).shape)

    def step() -> Any:
        for x in leaves:
            x.grad = None
        function(*leaves).backward(g)
    return step


def _module(torch: Any, module: Any, x: Any) -> Op:
    parameters = list(module.parameters())
    x = x.requires_grad_()
    first = module(x)
    pick = (lambda y: y[0]) if isinstance(first, tuple) else (lambda y: y)
    g = torch.rand(pick(first).shape)

    def step() -> Any:
        for p in (x, *parameters):
            p.grad = None
        pick(module(x)).backward(g)
    return step


def elementwise(torch: Any) -> dict[str, Op]:
    """1e6 and 1e4 elements; float32, some float64 and bfloat16."""
    F = torch.nn.functional
    a, b = torch.rand(1_000_000) + 0.5, torch.rand(1_000_000) + 0.5
    s, d, h = a[:10_000].clone(), a.double(), a.bfloat16()
    column = torch.rand(1000, 1)
    m = a.view(1000, 1000)
    ops: dict[str, Op] = {f"{name} 1e6": (lambda f=getattr(torch, name): f(a)) for name in (
        "exp", "log", "tanh", "sigmoid", "sin", "erf", "sqrt", "rsqrt", "abs", "lgamma")}
    ops |= {f"{name} 1e6 double": (lambda f=getattr(torch, name): f(d)) for name in ("exp", "tanh", "sin")}
    ops |= {"add 1e6": lambda: a + b, "add 1e6 bfloat16": lambda: h + h, "mul broadcast": lambda: m * column, "mul transposed": lambda: m * m.t(),
            "pow 1e6": lambda: a ** 2.5, "where 1e6": lambda: torch.where(a > 1, a, b), "clamp 1e6": lambda: a.clamp(0.6, 1.2),
            "exp 1e4": lambda: s.exp(), "add 1e4": lambda: s + s, "to double": lambda: a.double(), "to bfloat16": lambda: a.bfloat16(),
            "gelu both ways": _both_ways(torch, F.gelu, a), "silu both ways": _both_ways(torch, F.silu, a),
            "softplus both ways": _both_ways(torch, F.softplus, a), "dropout 1e6": lambda: F.dropout(a, 0.3)}
    return ops


def rows(torch: Any) -> dict[str, Op]:
    """Reductions, softmax, norms, losses."""
    nn, F = torch.nn, torch.nn.functional
    m = torch.rand(1000, 1000)
    x = torch.rand(2048, 768)
    logits, target = torch.rand(4096, 256), torch.randint(0, 256, (4096,))
    images = torch.rand(16, 64, 32, 32)
    weight = torch.rand(256)
    return {
        "sum": lambda: m.sum(), "sum rows": lambda: m.sum(1), "sum columns": lambda: m.sum(0), "mean columns": lambda: m.mean(0),
        "max rows": lambda: m.max(1), "argmax columns": lambda: m.argmax(0), "var rows": lambda: m.var(1), "logsumexp": lambda: m.logsumexp(1),
        "norm": lambda: m.norm(), "softmax both ways": _both_ways(torch, lambda t: t.softmax(1), x),
        "log_softmax both ways": _both_ways(torch, lambda t: t.log_softmax(1), x),
        "layer_norm both ways": _module(torch, nn.LayerNorm(768), x.clone()), "rms_norm both ways": _module(torch, nn.RMSNorm(768), x.clone()),
        "batch_norm both ways": _module(torch, nn.BatchNorm2d(64), images.clone()),
        "group_norm both ways": _module(torch, nn.GroupNorm(8, 64), images.clone()),
        "cross_entropy both ways": _both_ways(torch, lambda t: F.cross_entropy(t, target), logits),
        "cross_entropy weighted": _both_ways(torch, lambda t: F.cross_entropy(t, target, weight, label_smoothing=0.1), logits),
        "kl_div both ways": _both_ways(torch, lambda t: F.kl_div(t, logits, reduction="batchmean"), logits.log_softmax(1)),
        "mse both ways": _both_ways(torch, lambda t: F.mse_loss(t, logits), logits * 2),
    }


def layers(torch: Any) -> dict[str, Op]:
    """Convolution, pooling, interpolation, recurrent layers, attention, products."""
    nn, F = torch.nn, torch.nn.functional
    images, small = torch.rand(8, 32, 28, 28), torch.rand(32, 1, 28, 28)
    heads = torch.rand(4, 8, 128, 32)
    sequence = torch.rand(32, 32, 64)
    a, b, h = torch.rand(512, 512), torch.rand(16, 128, 64), torch.rand(256, 256).bfloat16()
    grid = torch.rand(8, 28, 28, 2) * 2 - 1
    return {
        "conv 3x3": _module(torch, nn.Conv2d(32, 64, 3, padding=1), images.clone()), "conv 5x5, 1 channel": _module(torch, nn.Conv2d(1, 6, 5), small.clone()),
        "conv 1x1": _module(torch, nn.Conv2d(32, 64, 1), images.clone()), "conv stride 2": _module(torch, nn.Conv2d(32, 64, 3, 2, 1), images.clone()),
        "conv depthwise": _module(torch, nn.Conv2d(32, 32, 3, padding=1, groups=32), images.clone()),
        "conv transposed": _module(torch, nn.ConvTranspose2d(32, 16, 4, 2, 1), images.clone()),
        "conv1d": _module(torch, nn.Conv1d(32, 32, 5, padding=2), torch.rand(8, 32, 512)),
        "conv3d": _module(torch, nn.Conv3d(4, 8, 3, padding=1), torch.rand(2, 4, 12, 16, 16)),
        "max_pool2d": _both_ways(torch, lambda t: F.max_pool2d(t, 2), images), "avg_pool2d": _both_ways(torch, lambda t: F.avg_pool2d(t, 2), images),
        "interpolate bilinear": _both_ways(torch, lambda t: F.interpolate(t, scale_factor=2.0, mode="bilinear"), images),
        "grid_sample": _both_ways(torch, lambda t: F.grid_sample(t, grid, align_corners=False), images),
        "lstm": _module(torch, nn.LSTM(64, 64), sequence.clone()), "gru": _module(torch, nn.GRU(64, 64), sequence.clone()),
        "rnn": _module(torch, nn.RNN(64, 64), sequence.clone()),
        "attention": _both_ways(torch, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), heads, heads, heads),
        "matmul": lambda: a @ a, "matmul transposed": lambda: a.t() @ a, "bmm": lambda: b @ b.transpose(1, 2), "matmul bfloat16": lambda: h @ h,
    }


def indexing(torch: Any) -> dict[str, Op]:
    """Selection, sorting, scans, random numbers, optimizers."""
    nn = torch.nn
    x = torch.rand(1000, 1000)
    long = torch.rand(300_000)
    index = torch.randint(0, 1000, (5000,))
    places = torch.randint(0, 1000, (1000, 1000))
    tokens = torch.randint(0, 5000, (64, 128))
    empty = torch.empty(1_000_000)
    parameters = [nn.Parameter(torch.rand(64, 64)) for _ in range(50)]
    for p in parameters:
        p.grad = torch.rand(64, 64)
    ops: dict[str, Op] = {
        "embedding both ways": _both_ways(torch, lambda w: torch.nn.functional.embedding(tokens, w), torch.rand(5000, 64)),
        "index_select": lambda: x.index_select(0, index), "gather": lambda: x.gather(1, places), "scatter_add": lambda: torch.zeros(1000, 1000).scatter_add_(1, places, x),
        "index_add": lambda: torch.zeros(1000, 1000).index_add_(0, index, x[:1].expand(5000, 1000)), "masked_select": lambda: x[x > 0.5],
        "nonzero": lambda: (x > 0.5).nonzero(), "sort": lambda: long.sort(), "argsort rows": lambda: x.argsort(1), "topk": lambda: long.topk(10),
        "unique": lambda: places.unique(), "bincount": lambda: index.bincount(), "searchsorted": lambda: torch.searchsorted(x[0].sort().values, x[1]),
        "cumsum rows": lambda: x.cumsum(1), "cumsum columns": lambda: x.cumsum(0), "cummax": lambda: x.cummax(1), "cumprod": lambda: x.cumprod(1),
        "copy transposed": lambda: x.t().contiguous(), "cat": lambda: torch.cat((x, x), 1),
        "rand": lambda: empty.uniform_(), "randn": lambda: empty.normal_(), "randint": lambda: torch.randint(0, 10, (100_000,)),
        "bernoulli": lambda: empty.bernoulli_(0.3), "randperm": lambda: torch.randperm(100_000),
        "multinomial": lambda: torch.multinomial(x[0], 100),
    }
    for name, options in (("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {}), ("RMSprop", {}), ("Adagrad", {})):
        ops[f"{name} step"] = getattr(torch.optim, name)(parameters, **options).step
    return ops


FAMILIES = {"elementwise": elementwise, "rows": rows, "layers": layers, "indexing": indexing}


def _measure_here(framework: str, family: str, seconds: float) -> None:
    torch = importlib.import_module(framework)
    importlib.import_module(f"{framework}.nn")
    importlib.import_module(f"{framework}.optim")
    torch.set_num_threads(2)
    torch.manual_seed(0)
    print(json.dumps({name: _best_loop(op, seconds, _nothing, 1) for name, op in FAMILIES[family](torch).items()}))


def measure(families: list[str], rounds: int, seconds: float) -> dict[str, dict[str, float]]:
    """Per op the best time of each side over the rounds, in seconds: {op: {side: time}}."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for family in families:
            for side, (framework, extra) in SIDES.items():
                command = [sys.executable, "-m", "bench.kernels", "--child", framework, family, "--seconds", str(seconds)]
                done = subprocess.run(command, env={**environment(2), **extra}, cwd=ROOT, capture_output=True, text=True, timeout=600)
                if done.returncode:
                    raise RuntimeError(f"{side}, {family}: {done.stderr.strip().splitlines()[-1]}")
                for name, took in json.loads(done.stdout.splitlines()[-1]).items():
                    mine = best.setdefault(name, {})
                    mine[side] = min(took, mine.get(side, took))
    return best


def table(best: dict[str, dict[str, float]]) -> list[str]:
    """Markdown lines: the op, its time, and the ratios to NumPy's form and to PyTorch."""
    lines = ["| op | native | of NumPy's time | of PyTorch's time |", "| --- | --- | --- | --- |"]
    for name, took in best.items():
        lines.append(f"| {name} | {took['rushlight'] * 1e6:.0f} us | {took['rushlight'] / took['numpy']:.2f} | {took['rushlight'] / took['torch']:.2f} |")
    return lines


def main() -> int:
    """Exit code 0; 1 where an op is slower than its NumPy form."""
    parser = argparse.ArgumentParser(prog="python -m bench.kernels", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--families", default=",".join(FAMILIES), help="with commas between: " + ", ".join(FAMILIES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1, help="time per op and process")
    parser.add_argument("--update-docs", action="store_true", help="rewrite the table in docs/kernels.md")
    parser.add_argument("--child", nargs=2, metavar=("FRAMEWORK", "FAMILY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _measure_here(*arguments.child, arguments.seconds)
        return 0
    best = measure(arguments.families.split(","), arguments.rounds, arguments.seconds)
    lines = table(best)
    print("\n".join(lines))
    if arguments.update_docs:
        path = ROOT / "docs" / "kernels.md"
        before, _, rest = path.read_text(encoding="utf-8").partition(START)
        path.write_text(f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    slower = [name for name, took in best.items() if took["rushlight"] > took["numpy"] * 1.05]
    if slower:
        print("slower than their NumPy form:", ", ".join(slower))
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
