"""What CuPy has: names, parameters, and the type signatures of its ufuncs, read from an installed CuPy (no GPU is needed).

    python tests/support/cupy_surface.py > tests/support/cupy_surface.json

The stand-in (cuda_standin.py) offers exactly that and refuses the rest, so that code which passes on it calls nothing CuPy lacks. The
table is kept in the repository because CuPy is large; where CuPy is installed, a test checks that the table is still true.
"""

import inspect
import json
import types

MODULES = ("", "linalg", "fft", "lib.stride_tricks")


def parameters(function):
    """The parameter names, with * for "any"; None where Python can't tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return ["*" + each.name if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) else each.name for each in found]


def surface():
    """The table for the installed CuPy."""
    import cupy
    table = {"version": cupy.__version__, "functions": {}, "ufuncs": {}, "ndarray": {}, "flags": []}
    for module in MODULES:
        holder = cupy
        for part in filter(None, module.split(".")):
            holder = getattr(holder, part)
        for name in sorted(dir(holder)):
            value = getattr(holder, name)
            path = f"{module}.{name}".lstrip(".")
            if name.startswith("_") or isinstance(value, (type, types.ModuleType)):
                continue
            if type(value).__name__ == "ufunc":
                table["ufuncs"][path] = {"nin": value.nin, "types": list(value.types), "at": bool(getattr(value, "_scatter_op", None)),
                                         "reduce": name in ("add", "multiply")}
            elif callable(value) and not getattr(value, "__module__", "").startswith("numpy"):
                table["functions"][path] = parameters(value)
    for name in dir(cupy.ndarray):
        if not name.startswith("_") or name.startswith("__"):
            value = getattr(cupy.ndarray, name)
            table["ndarray"][name] = parameters(value) if callable(value) else None
    from cupy._core import flags
    table["flags"] = [name for name in dir(flags.Flags) if not name.startswith("_")]
    return table


def dumps(table):
    """The table as JSON, one entry per line."""
    parts = []
    for key, value in sorted(table.items()):
        if isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(value.items()))
            parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


if __name__ == "__main__":
    print(dumps(surface()))
