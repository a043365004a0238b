"""The pool and the allocator under several Python threads at once, under changes of the number of threads, and after a fork.

`make sanitize` runs this file under ThreadSanitizer.
"""

import subprocess
import sys
import threading

import numpy as np
import pytest

import rushlight as torch
from rushlight.kernels import native

pytestmark = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")
F = torch.nn.functional


def _trained(make):
    """The gradients of a fresh model, as one array."""
    def compute():
        model, x = make()
        model(x).square().sum().backward()
        return np.concatenate([p.grad.numpy().ravel() for p in model.parameters()])
    return compute


def _draw(*shape):
    return torch.tensor(np.random.default_rng(0).standard_normal(shape).astype("f4"))


def _module(kind, *args, **options):
    module = kind(*args, **options)
    for i, p in enumerate(module.parameters()):
        p.data.copy_(torch.tensor(np.random.default_rng(i).standard_normal(p.shape).astype("f4") * 0.1))
    return module


class _Output(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


BIG, SQUARE, IMAGE, ROWS = _draw(300_000), _draw(150, 150), _draw(8, 4, 24, 24), _draw(300, 400)
HEADS = _draw(2, 4, 70, 16)
KERNELS = {
    "elementwise": lambda: (BIG * 2 + BIG).numpy(),
    "sum": lambda: np.stack([ROWS.sum(0).sum().numpy(), ROWS.sum(1).sum().numpy()]),
    "softmax": lambda: ROWS.softmax(1).numpy(),
    "matmul": lambda: (SQUARE @ SQUARE).numpy(),
    "sort": lambda: BIG.sort().values.numpy(),
    "cumsum": lambda: ROWS.cumsum(0).numpy(),
    "conv": _trained(lambda: (_module(torch.nn.Conv2d, 4, 6, 3), IMAGE)),
    "pool": lambda: F.max_pool2d(IMAGE, 2).numpy(),
    "norm": _trained(lambda: (_module(torch.nn.LayerNorm, 400), ROWS)),
    "lstm": _trained(lambda: (_Output(_module(torch.nn.LSTM, 12, 16)), _draw(9, 5, 12))),
    "attention": lambda: F.scaled_dot_product_attention(HEADS, HEADS, HEADS, is_causal=True).numpy(),
}


def _together(*works):
    """Run functions in threads; the first error is raised here."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_in_several_python_threads(name):
    compute = KERNELS[name]
    want = compute()

    def work():
        for _ in range(4):
            np.testing.assert_allclose(compute(), want, rtol=1e-4, atol=1e-4)
    _together(work, work, work)


def test_all_kernels_side_by_side_while_the_number_of_threads_changes():
    expected = {name: compute() for name, compute in KERNELS.items()}
    before = torch.get_num_threads()

    def work(names):
        for name in names:
            np.testing.assert_allclose(KERNELS[name](), expected[name], rtol=1e-4, atol=1e-4, err_msg=name)

    def change():
        for n in (1, 4, 2, 3, 1, 2) * 3:
            torch.set_num_threads(n)
            work(["elementwise"])
    names = list(KERNELS)
    try:
        _together(lambda: work(names), lambda: work(names[::-1]), lambda: work(names[5:] + names[:5]), change)
    finally:
        torch.set_num_threads(before)


def test_the_allocator_in_several_threads():
    def work():
        for i in range(40):
            blocks = [np.full(20_000 + 1000 * i, j, "f4") for j in range(4)]
            assert all((block == j).all() for j, block in enumerate(blocks))

    def clean():
        for _ in range(60):
            torch.cpu.empty_cache()
            assert torch.cpu.memory_stats()["cached_bytes"] >= 0
    _together(work, work, clean)


FORK = """
import os, sys
import numpy as np
from rushlight.kernels import native
add = native.elementwise(np.add)
a = np.arange(500_000, dtype="f4")
assert add(a, a)[-1] == 2 * a[-1]                 # the pool has threads now
child = os.fork()
if child == 0:
    ok = np.array_equal(add(a, a), a * 2)         # its own pool: no hang
    os._exit(0 if ok else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_fork_after_threads_have_started():
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60).returncode == 0
