"""Write `src/rushlight/absent/names.txt`: the modules of the installed PyTorch that rushlight has not, and what is in them.

All public modules below `ROOTS`, and whatever `tests/compat/imports.txt` asks for. Modules and names that rushlight has are left out.
"""

from __future__ import annotations

import contextlib
import enum
import io
import pkgutil
import sys
import types
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from rushlight import absent

ROOT = Path(__file__).resolve().parent.parent
NAMES = ROOT / "src/rushlight/absent/names.txt"
ROOTS = ("distributed", "ao", "onnx", "export", "fx", "quantization", "nn.parallel", "nn.qat", "nn.quantized", "nn.intrinsic",
         "nn.quantizable", "utils.data.datapipes", "nested")
NEVER = ("__main__", "test", "templates", "flight_recorder", "passes", "pt2_archive", "ns", "experimental", "reference")


def public_modules() -> Iterator[str]:
    """The paths of PyTorch's modules below the roots that can be imported here."""
    for root in ROOTS:
        if load(root) is None:
            continue
        yield root
        for found in pkgutil.walk_packages(import_module(f"torch.{root}").__path__, f"torch.{root}.", onerror=lambda name: None):
            path = found.name.removeprefix("torch.")
            if path != "distributed.rpc.api" and not any(part.startswith("_") or part in NEVER for part in path[len(root):].split(".")):
                yield path


def load(path: str) -> types.ModuleType | None:
    """PyTorch's module, or None where it can't be imported."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(f"torch.{path}")
    except BaseException:
        return None


def described(name: str, value: object) -> str | None:
    """An entry of the table."""
    if isinstance(value, type):
        if issubclass(value, enum.Enum) and list(value):
            return f"{name}{{{','.join(each.name for each in value)}}}"
        return name + "!" if issubclass(value, BaseException) else name
    if isinstance(value, (int, str, float, bool, type(None))) and " " not in repr(value):
        return f"{name}={value!r}"
    return None if isinstance(value, types.ModuleType) else f"{name}()"


def asked() -> dict[str, set[str]]:
    """What libraries import: path -> names."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "tests/compat/imports.txt").read_text(encoding="utf-8").splitlines():
        module, _, name = line.partition(" ")
        path = module.partition(".")[2]
        found.setdefault(path, set()).update({name} - {""})
        if load(f"{path}.{name}".strip(".")) is not None:
            found.setdefault(f"{path}.{name}".strip("."), set())
    return found


def main() -> None:
    """Write the table."""
    absent.table = dict         # what rushlight has without it
    wanted = asked()
    lines = []
    for path in sorted({*public_modules(), *wanted} - {""}):
        ours = present(path)
        if (module := load(path)) is None or (ours is not None and not getattr(vars(ours).get("__getattr__"), "absent", False)):
            continue
        own = [name for name in dir(module) if not name.startswith("_") and is_own(module, getattr(module, name), name)]
        names = {*(getattr(module, "__all__", ()) or ()), *own, *wanted.get(path, ())}
        entries = [entry for name in sorted(names) if hasattr(module, name) and not hasattr(ours, name) and
                   (entry := described(name, getattr(module, name)))]
        if entries or ours is None:
            lines.append(f"{path}: {' '.join(entries)}".rstrip(": ") + (":" if not entries else ""))
    paths = [line.partition(":")[0].split(".") for line in lines]
    parents = {".".join(parts[:n]) for parts in paths for n in range(1, len(parts))}
    there = {line.partition(":")[0] for line in lines}
    lines += [f"{path}:" for path in sorted(parents - there) if present(path) is None]
    NAMES.write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
    print(f"{len(lines)} modules, {NAMES.stat().st_size:,} bytes")


def is_own(module: types.ModuleType, value: object, name: str) -> bool:
    """Whether a module defines this: a class or function of its own, or a name for a type."""
    if isinstance(value, types.UnionType) or (type(value).__module__ == "typing" and hasattr(value, "__args__")):
        return name[0].isupper()
    return getattr(value, "__module__", None) == module.__name__


def present(path: str) -> types.ModuleType | None:
    """rushlight's own module of that path, if it has one."""
    try:
        return import_module(f"rushlight.{path}")
    except ModuleNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
