"""Measured tiles of convolution and attention: a file that ``python -m bench.gpu_day`` writes on a GPU, read where a kernel is chosen.

``tiles.json`` beside this module, or the file that RUSHLIGHT_CUDA_TILES names, has one entry per compute capability:

    {"90": {"gpu": "NVIDIA H200",
            "conv": [{"kernel": "gather", "method": "half", "rows": 128, "columns": 50176, "tile": [128, 128, 64, 64, 128, 4]}],
            "attention": [{"kernel": "forward", "single": false, "size": 64, "shape": [2, 64]}]}}

Without a file, or without an entry for the GPU at hand, the kernels' modules reckon. A measured convolution speaks for those of about its
size only.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from math import log2
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from . import driver

__all__ = ["FILE", "VARIABLE", "attention", "conv", "use"]

FILE, VARIABLE = Path(__file__).with_name("tiles.json"), "RUSHLIGHT_CUDA_TILES"
_FAR = 2.0          # how far apart, in doublings of rows and columns together, sizes may be for one's tile to serve the other
_FIELDS: dict[str, dict[str, Any]] = {
    "conv": {"kernel": ("gather", "correlate"), "method": ("half", "tf32"), "rows": int, "columns": int, "tile": 6},
    "attention": {"kernel": ("forward", "backward"), "single": bool, "size": (32, 64, 128), "shape": 2}}
_given: dict[str, Any] | None = None


class _Table(NamedTuple):
    """What was measured on one kind of GPU: (kernel, method) -> [(log2 rows, log2 columns, tile)]; (kernel, single, size) -> shape."""

    conv: dict[tuple[str, str], list[tuple[float, float, tuple[int, ...]]]]
    attention: dict[tuple[str, bool, int], tuple[int, ...]]


def use(tables: dict[str, Any] | None) -> dict[str, Any] | None:
    """Take this dictionary in the file's place, or the file again (None); returns what was given before."""
    global _given
    previous, _given = _given, tables
    _table.cache_clear()
    conv.cache_clear()
    return previous


def _read() -> dict[str, Any]:
    if _given is not None:
        return _given
    path = os.environ.get(VARIABLE) or FILE
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        if path is not FILE:
            raise FileNotFoundError(f"{VARIABLE} names {path}, which is not there") from None
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is not a table of tiles: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not a table of tiles: it holds a {type(found).__name__}")
    return found


def _checked(part: str, entry: Any) -> dict[str, Any]:
    """An entry that has all its fields, or ValueError."""
    for name, wanted in _FIELDS[part].items():
        value: Any = entry.get(name) if isinstance(entry, dict) else None
        if isinstance(wanted, tuple):
            fits = value in wanted
        elif wanted is bool:
            fits = isinstance(value, bool)
        elif wanted is int:
            fits = type(value) is int and value > 0
        else:
            fits = isinstance(value, list) and len(value) == wanted and all(type(each) is int and each > 0 for each in value)
        if not fits:
            raise ValueError(f"the table of tiles: {part} has {entry!r:.200}, in which {name} is wrong")
    return entry


@lru_cache(maxsize=16)
def _table(module: ModuleType, device: int) -> _Table:
    found, table = _read().get(str(module.cuda.Device(device).compute_capability), {}), _Table({}, {})
    for entry in found.get("conv", ()):
        _checked("conv", entry)
        table.conv.setdefault((entry["kernel"], entry["method"]),
                              []).append((log2(entry["rows"]), log2(entry["columns"]), tuple(entry["tile"])))
    for entry in found.get("attention", ()):
        _checked("attention", entry)
        table.attention[entry["kernel"], entry["single"], entry["size"]] = tuple(entry["shape"])
    return table


@lru_cache(maxsize=512)
def conv(module: ModuleType, device: int, kernel: str, method: str, rows: int, columns: int) -> tuple[int, ...] | None:
    """The tile (the numbers of `implicit_gemm.Tile`) that was fastest for a result of about this size; None where nothing near was
    measured."""
    near = [(abs(log2(max(rows, 1)) - r) + abs(log2(max(columns, 1)) - c),
             tile) for r, c, tile in _table(module, device).conv.get((kernel, method), ())]
    distance, tile = min(near, default=(_FAR + 1, None), key=lambda one: one[0])
    return tile if distance <= _FAR else None


def attention(kernel: str, single: bool, size: int) -> tuple[int, ...] | None:
    """For "forward" (16 queries of a warp how many times, keys in a tile), for "backward" (elements of a tile, tiles in memory at once), or
    None."""
    module = driver.needed()
    return _table(module, module.cuda.runtime.getDevice()).attention.get((kernel, single, size))
