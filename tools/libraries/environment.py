"""The two environments: the libraries are installed once, in the linked one; PyTorch's side reads them from there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LIST = Path(__file__).with_name("distributions.txt")
# Of an environment with PyTorch, what has the name; the rest comes from the linked environment first.
PYTORCH = ("torch", "torchgen", "functorch", "torch-*.dist-info")


def groups() -> list[list[tuple[str, str]]]:
    """(requirement, module) of every library, as they are installed together."""
    blocks = "\n".join(line for line in LIST.read_text().splitlines() if not line.startswith("#")).split("\n\n")
    return [[(line.split()[0], line.split()[1]) for line in block.splitlines() if line] for block in blocks]


def distributions() -> Iterator[tuple[str, str]]:
    """(distribution, module) of every library."""
    for group in groups():
        for requirement, module in group:
            yield requirement.partition("[")[0], module


def _call(*command: str | Path) -> bool:
    """Run a command that may use a package index; False where it failed, whose end is printed."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        print(f"{' '.join(str(each) for each in command[:6])}: {(done.stderr or done.stdout).strip()[-600:]}", flush=True)
    return not done.returncode


def make(folder: str) -> None:
    """FOLDER/ours and FOLDER/theirs. A library that can't be installed is told, and the others go on."""
    place = Path(folder).resolve()
    ours, theirs = place / "ours", place / "theirs"
    python = ours / "bin" / "python"
    if not (_call(sys.executable, "-m", "venv", "--clear", ours) and _call(python, "-m", "pip", "install", ROOT) and _call(ours / "bin" / "rushlight", "link")):
        raise SystemExit("no linked environment")
    for group in groups():
        names = [requirement for requirement, _ in group]
        print("installing", *names, flush=True)
        if not _call(python, "-m", "pip", "install", *names):
            for name in names:
                _call(python, "-m", "pip", "install", name)
    if not _call(ours / "bin" / "rushlight", "link", "--check") or not _call(python, "-m", "pip", "check"):
        print("the environment is not as it was linked", flush=True)
    _beside(theirs, ours)


def _beside(theirs: Path, ours: Path) -> None:
    """An environment with the PyTorch of this interpreter and the libraries of `ours`: one set of versions on both sides."""
    import torch
    if "+rushlight" in torch.__version__:
        raise SystemExit("PyTorch's side needs PyTorch in the interpreter that makes the environments")
    _call(sys.executable, "-m", "venv", "--clear", "--without-pip", theirs)
    source = Path(torch.__file__).parent.parent
    library = next(theirs.glob("lib/python*/site-packages"))
    for pattern in PYTORCH:
        for found in source.glob(pattern):
            (library / found.name).symlink_to(found)
    (library / "others.pth").write_text(f"{next(ours.glob('lib/python*/site-packages'))}\n{source}\n")
