"""What a call gives on one side, in a form that can be sent and compared; as a program, a worker that evaluates calls from its standard input.

``python -m tests.attacks.outcomes torch|rushlight`` reads a call a line and writes a pickled outcome after its length.
"""

import os
import pickle
import struct
import sys
import tempfile
import traceback
import warnings
from math import inf, nan
from zlib import crc32

import numpy as np

MEMORY = 3 << 30      # what a worker may ask for beside what it has at its start


def builder(torch):
    """T: a tensor of a shape and dtype, laid out in memory in some way, whose values follow from a number."""
    def make(dtype, shape, layout, values, seed):
        base = tuple(shape)
        if layout == "t":
            base = base[::-1]
        elif layout == "s" and base:
            base = (*base[:-1], 2 * base[-1])
        elif layout == "e" and base:
            base = (1, *base[1:])
        elif layout == "o" and base:
            base = (base[0] + 1, *base[1:])
        x = torch.from_numpy(_values(values, base, dtype, seed)).to(getattr(torch, dtype))
        if layout == "t" and base:
            return x.permute(*range(len(base))[::-1])
        if layout == "s" and base:
            return x[..., ::2]
        if layout == "e" and base:
            return x.expand(shape)
        return x[1:] if layout == "o" and base else x
    return make


def _values(values, shape, dtype, seed):
    draw = np.random.default_rng([seed, crc32(repr((values, shape)).encode())])
    if values == "index":
        return draw.integers(0, 3, shape)
    if values == "zero":
        return np.zeros(shape)
    if dtype == "bool":
        return draw.integers(0, 2, shape) > 0
    if dtype.startswith(("int", "uint")):
        limit = np.iinfo(dtype)
        low, high = {"some": (0 if dtype == "uint8" else -4, 5), "large": (0, min(limit.max, 1000))}.get(values, (limit.min, limit.max))
        return np.asarray(draw.integers(low, high, shape), dtype)
    x = draw.standard_normal(shape)
    if dtype.startswith("complex"):
        x = x + 1j * draw.standard_normal(shape)
    if values == "large":
        x = x * 1e4
    elif values == "extreme" and x.size:
        flat = np.asarray(x).reshape(-1)
        flat[draw.integers(0, flat.size, 1 + flat.size // 3)] = draw.choice([inf, -inf, nan, 0.0, -0.0, 1e30, 1e-30])
        x = flat.reshape(shape)
    return np.asarray(x)


def plain(value, torch, depth=0):
    """A result that does not know its side."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:
            return "sparse", str(value.layout), tuple(value.shape)
        x = value.detach().resolve_conj().resolve_neg() if hasattr(value, "resolve_neg") else value.detach()
        name = str(x.dtype).removeprefix("torch.")
        if x.numel() > 1 << 16:
            return "tensor", name, tuple(x.shape), None
        if name not in ("float64", "complex128", "bool") and not name.startswith(("int", "uint")):
            x = x.to(torch.complex128 if name.startswith("complex") else torch.float64)
        return "tensor", name, tuple(x.shape), x.cpu().numpy().copy()
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        return value
    if isinstance(value, (list, tuple)) and depth < 3:
        return [plain(each, torch, depth + 1) for each in value]
    return "object", type(value).__name__


def outcome(call, torch, scope):
    """("value", result) or ("error", names of its classes, text, where it was raised)."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", plain(eval(call, dict(scope)), torch)
        except (Exception, RecursionError) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            names = [each.__name__ for each in type(error).__mro__ if each not in (object, BaseException, Exception)]
            return "error", names, str(error)[:2000], f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}"


def work(side):
    """Evaluate what comes in, until nothing comes any more."""
    import resource
    torch = __import__(side)
    torch.set_num_threads(1)
    scope = {"torch": torch, "T": builder(torch), "inf": inf, "nan": nan}
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            data = pickle.dumps(outcome(line.strip(), torch, scope))
        except MemoryError:
            data = pickle.dumps(("error", ["MemoryError"], "out of memory", ""))
        out.write(struct.pack("<Q", len(data)) + data)
        out.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:       # a call that saves gets a word for a path
        sys.path[0] = os.path.abspath(sys.path[0])
        os.chdir(folder)
        work(sys.argv[1])
