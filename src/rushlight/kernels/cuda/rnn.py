"""Recurrent layers: per time step one product of cuBLAS and one kernel that does everything else.

As in kernels/rnn.py, sequences come packed and `steps` says which rows belong to which step. Forward, the product of all inputs is one
call, and the gates' sums grow in its result; a step adds the product with the last state to its rows (one launch), and one kernel adds the
biases, applies the nonlinearities, and writes the activations, the new states and the output (one launch). Backward, one kernel turns the
gradients of a step's output and state into those of its gates' sums, and one product carries them to the state before; the gradients of the
weights are one product each over all steps. So there are two launches per step and direction, four with projections, and nothing waits for
the GPU:
a layer can be recorded as a CUDA graph.

What is kept for the backward pass has the layer's dtype; running states and gradients are in the arithmetic type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...vocabulary import Array, ArrayOrNone, NumpyDtype
from ..rnn import Steps
from . import driver
from .matmul import matmul, pointer_product, product_into
from .source import ACCUMULATE, THREADS, Kernel, blocks

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["forward", "backward"]

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}

# Thread i computes unit `col` of row `row`. `width` is the number of units, `outs` the size of the output: less than `width` with
# projections, whose product then writes y and state. `before` (may be null) gets the state before the step.
_HEAD = r"""
__device__ __forceinline__ float tanh_(float x) { return tanhf(x); }
__device__ __forceinline__ double tanh_(double x) { return tanh(x); }
__device__ __forceinline__ A sigmoid_(A x) { return (A)1 / ((A)1 + exp_(-x)); }
__device__ __forceinline__ A bias_of(const T* a, const T* b, int i) { return (a ? load(a[i]) : (A)0) + (b ? load(b[i]) : (A)0); }
#define UNIT                                                                          \
    int i = blockIdx.x * blockDim.x + threadIdx.x;                                    \
    if (i >= rows * width) return;                                                    \
    int row = i / width, col = i - row * width;
"""
_RNN = Kernel("rnn_step", _HEAD + r"""
extern "C" __global__ void kernel(T* y, const T* b1, const T* b2, T* state, T* before, int rows, int width, int relu) {
    UNIT
    if (before) before[i] = state[i];
    A v = load(y[i]) + bias_of(b1, b2, col);
    v = relu ? max_(v, (A)0) : tanh_(v);
    store(y + i, v);
    state[i] = y[i];
}
""")
_RNN_BACK = Kernel("rnn_step_gradient", _HEAD + r"""
extern "C" __global__ void kernel(const T* gy, const A* carry, const T* y, T* dz, int rows, int width, int relu) {
    UNIT
    A g = carry[i] + (gy ? load(gy[i]) : (A)0), v = load(y[i]);
    store(dz + i, relu ? (v > (A)0 ? g : (A)0) : g * ((A)1 - v * v));
}
""")
_GRU = Kernel("gru_step", _HEAD + r"""
extern "C" __global__ void kernel(T* gates, const A* part, const T* b1, const T* b2, T* hidden, T* y, T* state, T* before, int rows, int width) {
    UNIT
    T* g = gates + (long long)row * 3 * width + col;
    const A* p = part + (long long)row * 3 * width + col;
    A r = sigmoid_(load(g[0]) + p[0] + bias_of(b1, b2, col));
    A z = sigmoid_(load(g[width]) + p[width] + bias_of(b1, b2, col + width));
    A h = p[2 * width] + (b2 ? load(b2[col + 2 * width]) : (A)0);
    A n = tanh_(load(g[2 * width]) + (b1 ? load(b1[col + 2 * width]) : (A)0) + r * h);
    A last = load(state[i]);
    store(g, r); store(g + width, z); store(g + 2 * width, n);
    store(hidden + i, h);
    before[i] = state[i];
    store(y + i, n + z * (last - n));
    state[i] = y[i];
}
""")
# `carry` comes in as the gradient of the state and leaves as z times it; the product adds the rest.
_GRU_BACK = Kernel("gru_step_gradient", _HEAD + r"""
extern "C" __global__ void kernel(const T* gy, A* carry, const T* gates, const T* hidden, const T* before, T* dx, T* dh, int rows, int width) {
    UNIT
    long long at = (long long)row * 3 * width + col;
    A r = load(gates[at]), z = load(gates[at + width]), n = load(gates[at + 2 * width]);
    A g = carry[i] + (gy ? load(gy[i]) : (A)0);
    A dn = g * ((A)1 - z) * ((A)1 - n * n), dr = dn * load(hidden[i]) * r * ((A)1 - r), dz = g * (load(before[i]) - n) * z * ((A)1 - z);
    store(dx + at, dr); store(dx + at + width, dz); store(dx + at + 2 * width, dn);
    store(dh + at, dr); store(dh + at + width, dz); store(dh + at + 2 * width, dn * r);
    carry[i] = g * z;
}
""")
_LSTM = Kernel("lstm_step", _HEAD + r"""
extern "C" __global__ void kernel(T* gates, const T* b1, const T* b2, A* cell, T* cell_before, T* inner, T* state, T* before, int rows, int width,
                                  int outs) {
    UNIT
    T* p = gates + (long long)row * 4 * width + col;
    A in = sigmoid_(load(p[0]) + bias_of(b1, b2, col)), forget = sigmoid_(load(p[width]) + bias_of(b1, b2, col + width));
    A g = tanh_(load(p[2 * width]) + bias_of(b1, b2, col + 2 * width)), out = sigmoid_(load(p[3 * width]) + bias_of(b1, b2, col + 3 * width));
    store(p, in); store(p + width, forget); store(p + 2 * width, g); store(p + 3 * width, out);
    A c = cell[i];
    store(cell_before + i, c);
    c = forget * c + in * g;
    cell[i] = c;
    store(inner + i, out * tanh_(c));
    if (before && col < outs) before[row * outs + col] = state[row * outs + col];
    if (outs == width) state[i] = inner[i];
}
""")
_LSTM_BACK = Kernel("lstm_step_gradient", _HEAD + r"""
extern "C" __global__ void kernel(const T* gy, const A* carry, A* cell, const T* gates, const T* cell_before, T* dz, int rows, int width) {
    UNIT
    long long at = (long long)row * 4 * width + col;
    A in = load(gates[at]), forget = load(gates[at + width]), g = load(gates[at + 2 * width]), out = load(gates[at + 3 * width]);
    A last = load(cell_before[i]), t = tanh_(forget * last + in * g);
    A up = carry[i] + (gy ? load(gy[i]) : (A)0), dc = cell[i] + up * out * ((A)1 - t * t);
    store(dz + at, dc * g * in * ((A)1 - in));
    store(dz + at + width, dc * last * forget * ((A)1 - forget));
    store(dz + at + 2 * width, dc * in * ((A)1 - g * g));
    store(dz + at + 3 * width, up * t * out * ((A)1 - out));
    cell[i] = dc * forget;
}
""")
_SUM = Kernel("rnn_output_gradient", r"""
extern "C" __global__ void kernel(const T* gy, const A* carry, T* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) store(out + i, carry[i] + (gy ? load(gy[i]) : (A)0));
}
""")


def _dense(a: CupyArray | None) -> CupyArray | None:
    return None if a is None else a if a.flags.c_contiguous else a.copy()


def _rows(a: CupyArray | None) -> Callable[[int], int]:
    """The address of a row of an array; always the null pointer for None."""
    base, step = (0, 0) if a is None else (a.data.ptr, a.strides[0])
    return lambda row: base + row * step


def _walk(steps: Iterable[tuple[int, int]], width: int) -> Iterator[tuple[int, int, tuple[int], tuple[np.int32, np.int32]]]:
    """(first row, number of rows, grid, arguments rows and width) of the steps that have rows."""
    ready: dict[int, Any] = {}
    for lo, hi in steps:
        n = hi - lo
        if n:
            if n not in ready:
                ready[n] = (blocks(n * width),), (np.int32(n), np.int32(width))
            yield lo, n, *ready[n]


def _running(dtype: NumpyDtype) -> NumpyDtype:
    """The dtype of running states and gradients."""
    return np.dtype(np.float64 if ACCUMULATE[dtype.name] == "double" else np.float32)


def forward(mode: str, steps: Steps, keep: bool, x: CupyArray, h0: CupyArray, c0: ArrayOrNone, w_ih: CupyArray, w_hh: CupyArray,
            b_ih: CupyArray | None, b_hh: CupyArray | None, w_hr: CupyArray | None) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    """((y, h_n) or (y, h_n, c_n), what the backward pass needs, which costs nothing more) of one layer in one direction; x: (N,
    features)."""
    if not steps:
        return NotImplemented
    sums = matmul(x, w_ih.T)
    state: CupyArray = h0.copy()        # runs along: the rows of sequences that have ended keep their last state
    biases = [_dense(b) for b in (b_ih, b_hh)]
    pointers = [0 if b is None else b.data.ptr for b in biases]
    before = None if steps.even and mode != "GRU" else driver.needed().empty((x.shape[0], h0.shape[1]), x.dtype)
    if mode == "LSTM":
        return _lstm_forward(steps, sums, state, c0, w_hh, pointers, w_hr, before)
    if mode == "GRU":
        return _gru_forward(steps, sums, state, w_hh, pointers, before)
    name, width = x.dtype.name, h0.shape[1]
    kernel, product, relu = _RNN(name), pointer_product(w_hh.T, name, True), np.int32(mode == "RNN_RELU")
    y, last, now = _rows(sums), _rows(before), state.data.ptr
    for lo, n, grid, sizes in _walk(steps, width):
        product(now, width, n, y(lo), width)
        kernel(grid, (THREADS,), (y(lo), *pointers, now, last(lo), *sizes, relu))
    return (sums, state), (before,)


def _gru_forward(steps: Steps, sums: CupyArray, state: CupyArray, w_hh: CupyArray, biases: list[int],
                 before: CupyArray | None) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    module, name, width = driver.needed(), sums.dtype.name, state.shape[1]
    y, hidden = module.empty_like(before), module.empty_like(before)
    part = module.empty((len(state), 3 * width), _running(sums.dtype))
    kernel, product = _GRU(name), pointer_product(w_hh.T, part.dtype.name, False)
    gates, h, out, last, now = _rows(sums), _rows(hidden), _rows(y), _rows(before), state.data.ptr
    for lo, n, grid, sizes in _walk(steps, width):
        product(now, width, n, part.data.ptr, 3 * width)
        kernel(grid, (THREADS,), (gates(lo), part.data.ptr, *biases, h(lo), out(lo), now, last(lo), *sizes))
    return (y, state), (sums, hidden, before)


def _lstm_forward(steps: Steps, sums: CupyArray, state: CupyArray, c0: Array, w_hh: CupyArray, biases: list[int], w_hr: CupyArray | None,
                  before: CupyArray | None) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    module, dtype, name = driver.needed(), sums.dtype, sums.dtype.name
    width, outs, total = c0.shape[1], state.shape[1], len(sums)
    cell: Any = c0.astype(_running(dtype), order="C")
    cells = module.empty((total, width), dtype)
    y = module.empty((total, outs), dtype)
    inner = y if w_hr is None else module.empty((total, width), dtype)       # o tanh(c), which projections turn into y
    kernel, product = _LSTM(name), pointer_product(w_hh.T, name, True)
    project = None if w_hr is None else pointer_product(w_hr.T, name, False)
    gates, c, m, out, last, now = _rows(sums), _rows(cells), _rows(inner), _rows(y), _rows(before), state.data.ptr
    for lo, n, grid, sizes in _walk(steps, width):
        product(now, outs, n, gates(lo), 4 * width)
        kernel(grid, (THREADS,), (gates(lo), *biases, cell.data.ptr, c(lo), m(lo), now, last(lo), *sizes, np.int32(outs)))
        if project is not None:
            project(m(lo), width, n, out(lo), outs)
            state[:n] = y[lo:lo + n]
    return (y, state, cell.astype(dtype)), (sums, cells, before, None if w_hr is None else inner)


def backward(mode: str, steps: Steps, wanted: tuple[bool, ...], gy: CupyArray | None, gh: CupyArray | None, gc: CupyArray | None,
             x: CupyArray, h0: CupyArray, c0: CupyArray | None, w_ih: CupyArray, w_hh: CupyArray, b_ih: CupyArray | None,
             b_hh: CupyArray | None, w_hr: CupyArray | None, y: CupyArray,
             *kept: CupyArray) -> tuple[Array | None, ...]:
    """The gradients of x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr (None where not `wanted`) from those of y, h_n and c_n (None: zero)."""
    gy = None if gy is None else _dense(gy.reshape(y.shape))
    carry: Any
    cell: Any
    carry, cell = (None if start is None else driver.needed().zeros(start.shape, _running(x.dtype)) if each is None
                   else each.astype(_running(x.dtype), order="C") for each, start in ((gh, h0), (gc, c0)))
    dz = driver.needed().empty((len(x), w_hh.shape[0]), x.dtype)
    dx_part, before, dw_hr = dz, kept[0], None
    product = pointer_product(w_hh, carry.dtype.name, mode == "GRU")
    if mode == "LSTM":
        before = kept[2]
        dw_hr = _lstm_backward(steps, gy, carry, cell, kept, dz, y, w_hr, product)
    elif mode == "GRU":
        before = kept[2]
        dx_part = _gru_backward(steps, gy, carry, kept, dz, product)
    else:
        width = h0.shape[1]
        kernel, relu = _RNN_BACK(x.dtype.name), np.int32(mode == "RNN_RELU")
        above, out, into, up = _rows(gy), _rows(y), _rows(dz), carry.data.ptr
        for lo, n, grid, sizes in _walk(reversed(steps), width):
            kernel(grid, (THREADS,), (above(lo), up, out(lo), into(lo), *sizes, relu))
            product(into(lo), width, n, up, width)
    db_ih, db_hh = _bias_gradients(dx_part, dz, wanted[5], wanted[6])
    return (matmul(dx_part, w_ih) if wanted[0] else None, carry.astype(x.dtype), None if cell is None else cell.astype(x.dtype),
            matmul(dx_part.T, x) if wanted[3] else None, _recurrent_gradient(dz, steps, y, h0, before) if wanted[4] else None, db_ih, db_hh,
            dw_hr() if dw_hr is not None and wanted[7] else None)


def _gru_backward(steps: Steps, gy: CupyArray | None, carry: CupyArray, kept: tuple[CupyArray, ...], dz: CupyArray,
                  product: Callable[[int, int, int, int, int], None]) -> CupyArray:
    """Fills dz, the gradient of the recurrent products; returns that of the input's."""
    sums, hidden, before = kept
    width, dx = carry.shape[1], driver.needed().empty_like(dz)
    kernel = _GRU_BACK(dz.dtype.name)
    above, gates, h, last, of_x, into, up = *map(_rows, (gy, sums, hidden, before, dx, dz)), carry.data.ptr
    for lo, n, grid, sizes in _walk(reversed(steps), width):
        kernel(grid, (THREADS,), (above(lo), up, gates(lo), h(lo), last(lo), of_x(lo), into(lo), *sizes))
        product(into(lo), 3 * width, n, up, width)
    return dx


def _lstm_backward(steps: Steps, gy: CupyArray | None, carry: CupyArray, cell: CupyArray, kept: tuple[CupyArray, ...], dz: CupyArray,
                   y: CupyArray, w_hr: CupyArray | None, product: Callable[[int, int, int, int, int], None]) -> Callable[[], Array] | None:
    """Fills dz, the gradient of the gates' sums; with projections, returns a function that gives the gradient of w_hr."""
    sums, cells, _, inner = kept
    width, outs, name = cell.shape[1], carry.shape[1], dz.dtype.name
    kernel, above, gates, c, into, up = _LSTM_BACK(name), *map(_rows, (gy, sums, cells, dz)), carry.data.ptr
    if w_hr is None:
        for lo, n, grid, sizes in _walk(reversed(steps), width):
            kernel(grid, (THREADS,), (above(lo), up, cell.data.ptr, gates(lo), c(lo), into(lo), *sizes))
            product(into(lo), 4 * width, n, up, outs)
        return None
    outputs, wide = driver.needed().empty_like(y), driver.needed().empty_like(cell)
    total, project, output = _SUM(name), pointer_product(w_hr, wide.dtype.name, False), _rows(outputs)
    for lo, n, grid, sizes in _walk(reversed(steps), width):
        total((blocks(n * outs),), (THREADS,), (above(lo), up, output(lo), np.int32(n * outs)))
        project(output(lo), outs, n, wide.data.ptr, width)
        kernel(grid, (THREADS,), (0, wide.data.ptr, cell.data.ptr, gates(lo), c(lo), into(lo), *sizes))
        product(into(lo), 4 * width, n, up, outs)
    return lambda: matmul(outputs.T, inner)


def _bias_gradients(dx_part: CupyArray, dz: CupyArray, need_ih: bool, need_hh: bool) -> tuple[Array | None, Array | None]:
    ih = dx_part.sum(0) if need_ih else None
    if not need_hh:
        return ih, None
    return ih, dz.sum(0) if dx_part is not dz or ih is None else ih.copy()


def _recurrent_gradient(dz: CupyArray, steps: Steps, y: CupyArray, h0: CupyArray, before: CupyArray | None) -> CupyArray:
    """The gradient of w_hh: dz' times the states before. Where all steps have the same rows, those are h0 and y, one step apart."""
    if before is not None:
        return matmul(dz.T, before)
    (first, after), batch = steps[0], steps[0][1] - steps[0][0]
    out = driver.needed().empty((dz.shape[1], y.shape[1]), dz.dtype)
    product_into(out, dz[first:after].T, h0)
    if len(steps) > 1 and batch:
        now, earlier = (dz[batch:], y[:-batch]) if first == 0 else (dz[:-batch], y[batch:])      # reversed: the last step is the first
        product_into(out, now.T, earlier, True)
    return out
