"""The pictures of the documents and the numbers on the front pages, drawn from docs/bench.json and from what is told here; committed, so that the documents show them anywhere."""

from __future__ import annotations

import json
from pathlib import Path

from rushlight.notebook.svg import Box, Picture, bars, curves, graph

BENCH = Path(__file__).resolve().parent.parent.parent / "docs" / "bench.json"
_SHORT = {
    "chain of 20 small ops, forward and backward": "20 small ops, forward and backward",
    "one small op, forward, geometric mean over 35 ops": "one small op",
    "training step of a tiny MLP (4-64-64-2, batch 32, Adam)": "training step, tiny MLP",
    "training step of a 784-128-10 MLP, batch 64": "training step, MLP 784-128-10",
    "LeNet-like CNN, batch 64": "training step, LeNet",
    "ResNet-18 on 32x32, batch 16": "training step, ResNet-18",
    "LSTM 128, 64 steps, batch 32": "training step, LSTM",
    "GPT 4x128, 128 tokens, batch 16": "training step, small GPT",
    "encoder inference, 6x384, batch 8x128": "encoder, inference",
    "AdamW over 100 tensors of 64x64": "AdamW, 100 tensors",
    "DataLoader, 2 workers, 200 batches of 64x784": "DataLoader, 2 workers",
    "`import rushlight` (wall) against `import torch`": "import",
    "installed size, with NumPy, against torch's CPU wheel with its dependencies": "installed size",
}


def _rows() -> list[dict[str, object]]:
    return json.loads(BENCH.read_text(encoding="utf-8"))["rows"]


def _front() -> Picture:
    wanted = ("training step, tiny MLP", "training step, LeNet", "training step, small GPT", "training step, ResNet-18", "import", "installed size")
    rows = [(_SHORT[str(row["what"])], float(row["ratio"])) for row in _rows() if _SHORT.get(str(row["what"])) in wanted]   # type: ignore[arg-type]
    rows += [("peak memory of a training", float(row["ratio"])) for row in _rows() if str(row["what"]).startswith("peak memory")]   # type: ignore[arg-type]
    return bars(rows, "rushlight against PyTorch 2.13 on two CPU cores: shorter is better", mark=1.0, mark_text="PyTorch")


def _speed() -> Picture:
    rows = [(_SHORT[str(row["what"])], float(row["ratio"])) for row in _rows() if str(row["what"]) in _SHORT]   # type: ignore[arg-type]
    return bars(rows, "time (or size) of rushlight, as a part of PyTorch's", mark=1.0, mark_text="as PyTorch")


def _memory() -> Picture:
    rows = [(_SHORT[str(row["what"])], row["memory"]) for row in _rows() if row.get("memory") and str(row["what"]) in _SHORT]
    return bars([(name, ours / theirs) for name, (ours, theirs) in rows],   # type: ignore[misc]
                "peak memory of the whole process, as a part of PyTorch's", mark=1.0, mark_text="as PyTorch")


def _sizes() -> Picture:
    """The ratio by the size of the operands, from `python -m bench.sizes`."""
    sizes = json.loads(BENCH.read_text(encoding="utf-8"))["sizes"]
    names = [f"{number >> 20}M" if number >> 20 else f"{number >> 10}k" if number >> 10 else str(number) for number in sizes["numbers"]]
    return curves(sizes["ratios"], "CPU time of one thread as a part of PyTorch's, by the numbers in an operand", names=names, mark=1.0, logarithmic=True,
                  width=720, height=320)


def _tensor() -> Picture:
    """How a tensor, a node and a kernel meet."""
    return graph([
        Box(["torch.mul(x, w)", "what a program calls"], []),
        Box(["the op", "ops/elementwise.py: one definition", "promotion, broadcasting, out="], [(0, "")], 1),
        Box(["the door", "kernels/door.py: the fastest form", "for these arrays"], [(1, "arrays")], 2),
        Box(["native", "native/*.cpp"], [(2, "plain float arrays")], 2),
        Box(["NumPy twin", "kernels/*.py"], [(2, "everything else")], 2),
        Box(["CUDA kernel", "kernels/cuda/*.py"], [(2, "arrays on a GPU")], 2),
        Box(["Tensor", "_a: the array · _kind: dtype and device", "_v: version · _node: what made it"], [(3, ""), (4, ""), (5, "")], 0),
        Box(["Node MulBackward0", "autograd/graph.py: gradient, saved x and w", "edges to the nodes of x and w"], [(1, "where a gradient is asked for"), ], 3),
        Box(["backward()", "autograd/engine.py: nodes from the last to the first", "each gradient goes along the edges"], [(6, ".node"), (7, "")], 3),
    ], "how a tensor, a node and a kernel meet")


def _floors() -> Picture:
    """Which floor imports which: only downwards."""
    return graph([
        Box(["nn, optim, distributions, func, sparse, cuda", "what is made of ops"], [], 0),
        Box(["ops", "every op, one definition each"], [(0, "")], 1),
        Box(["storage, printing, autograd.api", "what a tensor can do beside computing"], [(1, "")], 1),
        Box(["tensor", "an array, a kind, a node, a version"], [(2, "")], 2),
        Box(["autograd.engine, autograd.graph", "nodes, edges, the backward pass"], [(3, "")], 3),
        Box(["kind, dtypes, devices, size", "what a tensor is made of"], [(4, "")], 3),
        Box(["kernels", "functions of arrays, which know no tensor"], [(5, "")], 2),
    ], "the floors: each imports only what lies below")


# The front pages' lines: a row of the benchmark, and what is said of it in either language.
_LINES = {
    "training step of a tiny MLP (4-64-64-2, batch 32, Adam)": ("a training step of a tiny MLP", "小 MLP 的一步训练"),
    "LeNet-like CNN, batch 64": ("a training step of a small CNN", "小 CNN 的一步训练"),
    "GPT 4x128, 128 tokens, batch 16": ("a training step of a small GPT", "小 GPT 的一步训练"),
    "`import rushlight` (wall) against `import torch`": ("the import", "导入"),
    "installed size, with NumPy, against torch's CPU wheel with its dependencies": ("the installed size, with NumPy", "安装大小(含 NumPy)"),
}
_START, _END = "<!-- numbers:start -->", "<!-- numbers:end -->"


def _lines(chinese: bool) -> str:
    rows = {str(row["what"]): row for row in _rows()}
    lines = []
    for what, (english, other) in _LINES.items():
        row = rows[what]
        ours, theirs = (_amount(float(row[side]), str(row["unit"])) for side in ("rushlight", "torch"))   # type: ignore[arg-type]
        times = f"{float(row['torch']) / float(row['rushlight']):.1f}"   # type: ignore[arg-type]
        lines.append(f"* {other}:{ours},PyTorch {theirs},是它的 1/{times}" if chinese
                     else f"* {english}: {ours}, PyTorch {theirs}, {times} times {'smaller' if row['unit'] == 'MB' else 'faster'}")
    return "\n".join(lines)


def _amount(value: float, unit: str) -> str:
    if unit == "MB":
        return f"{value:.0f} MB"
    return next(f"{value / size:.3g} {name}" for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")) if value >= size)


def _with_lines(page: Path, chinese: bool) -> str:
    before, _, rest = page.read_text(encoding="utf-8").partition(_START)
    return f"{before}{_START}\n{_lines(chinese)}\n{_END}{rest.partition(_END)[2]}"


PICTURES = {"front": _front, "speed": _speed, "memory": _memory, "sizes": _sizes, "tensor": _tensor, "floors": _floors}


def draw_all(root: Path, check: bool = False) -> list[str]:
    """Draw every picture, and write the front pages' lines; the names of the files that were not so. `check` writes nothing."""
    stale = []
    made = {root / "docs" / "pictures" / f"{name}.svg": draw().alone() + "\n" for name, draw in PICTURES.items()}
    made |= {root / name: _with_lines(root / name, name == "README.zh.md") for name in ("README.md", "README.zh.md")}
    for file, text in made.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(file.name)
            if not check:
                file.write_text(text, encoding="utf-8")
    return stale
