"""Recurrent layers on arrays: the loops over time of RNN, GRU and LSTM, forward and backward.

Sequences come packed: `x` is (N, features), all time steps one after the other, and `steps` says which rows are which: a list of
(first row, one past the last row), in the order in which they are processed. Step t has as many rows as there are sequences longer
than t, so the first rows of a step continue the first rows of the step before; a plain (T, B, features) tensor is the case in which
all steps have B rows. Everything that does not depend on the previous step (products with the input, biases, factors of the
derivatives) is computed for all steps at once, so that the loops hold little more than one matrix product per step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vocabulary import Array
from . import native

__all__ = ["rnn_forward", "rnn_backward", "gru_forward", "gru_backward", "lstm_forward", "lstm_backward", "lstm_results", "previous_states",
           "recurrent_weight_grad", "final_state"]

Steps = list[tuple[int, int]]
_library = native.library
_LSTM, _GRU, _RNN_TANH, _RNN_RELU = range(4)               # the modes of native/rnn.cpp


def _native(x: Array) -> bool:
    return _library is not None and x.__class__ is np.ndarray and x.dtype.char in "fd"


def _loop_forward(mode: int, steps: Steps, w: Array, h0: Array, c0: Array, gates: Array, y: Array, c: Any, flat: Any,
                  hidden: Array | None = None, b_hn: Any = None,
                  *given: Any) -> None:
    """Run the loop over time of native/rnn.cpp; an LSTM's input, its weight and the bias may follow."""
    _library.rnn_forward(mode, np.array(steps, np.int64).reshape(-1, 2), _contiguous(w), _contiguous(h0), _contiguous(c0), gates, y, c, flat, hidden,
                         _contiguous(b_hn), *map(_contiguous, given or (None, None, None)))


def _loop_backward(mode: int, steps: Steps, w: Array, h0: Array, c0: Array, gates: Array, y: Array, c: Any, flat: Any, hidden: Array,
                   gy: Array, *results: Any) -> None:
    """And back: the results are the carried gradients of h and c, dz, a GRU's dn, and the sum of dz's rows (or None)."""
    _library.rnn_backward(mode, np.array(steps, np.int64).reshape(-1, 2), _contiguous(w), _contiguous(h0), _contiguous(c0), gates, y, c, flat, hidden,
                          _with_rows(gy), *results)


def _with_rows(gradient: Any) -> Any:
    """A gradient (N, H) or (T, B, H), whose rows at least lie as a piece."""
    return gradient if gradient is None or gradient.strides[-1] == gradient.itemsize else np.ascontiguousarray(gradient)


def _flat(gradient: Any) -> Any:
    return None if gradient is None else gradient.reshape(-1, gradient.shape[-1])


def _contiguous(array: Array) -> Any:
    return None if array is None else np.ascontiguousarray(array)


def previous_states(y: Array, start: Any, steps: Steps) -> Any:
    """For each row of `y` the state before it: (N, H). `start` is the initial state (B, H)."""
    result = np.empty_like(y)
    before = start
    for lo, hi in steps:
        n = hi - lo
        shared = min(n, len(before))
        result[lo:lo + shared] = before[:shared]
        if shared < n:
            result[lo + shared:hi] = start[shared:n]
        before = y[lo:hi]
    return result


def _before(values: Array, start: Array, last: tuple[int, int] | None, n: int) -> Array:
    """The first n rows of the state before a step: those of the last step, and initial ones for sequences that begin now."""
    if last is None:
        return start[:n]
    rows = last[1] - last[0]
    if rows >= n:
        return values[last[0]:last[0] + n]
    return np.concatenate((values[last[0]:last[1]], start[rows:n]))


def recurrent_weight_grad(dz: Array, y: Array, start: Any, steps: Steps) -> Any:
    """dz' times the state before each row, the gradient of W_hh: without a copy of the states where all sequences are equally long."""
    count = len(start)
    if len(steps) < 2 or len(steps) * count != len(y):
        return native.matmul(dz.T, previous_states(y, start, steps))
    late, early = slice(count, None), slice(0, -count)     # rows that have a step before them, and the rows of those steps
    if steps[0][0] != 0:                                   # from the last step to the first
        late, early = early, late
    result = native.matmul(dz[late].T, y[early])
    if start.any():
        result += native.matmul(dz[steps[0][0]:steps[0][1]].T, start)
    return result


def final_state(y: Array, start: Array, steps: Steps) -> Array:
    """The last state of each sequence: (B, H)."""
    result = np.array(start)
    for lo, hi in steps if len({hi - lo for lo, hi in steps}) > 1 else steps[-1:]:
        result[:hi - lo] = y[lo:hi]
    return result


def _input_part(x: Array, w: Array, bias: Array) -> Array:
    # On the library's threads: NumPy's own, which wait busily for a while, would take the loop's place on the processors.
    return native.matmul(x, w.T) if bias is None else native.linear(x, w, bias)


def _sigmoid_of_half(z: Array) -> None:
    """sigmoid(2 z), where tanh(z) is what `z` holds now, in place."""
    z *= 0.5
    z += 0.5


# --- RNN ---------------------------------------------------------------------------------------------------------------------------------

def rnn_forward(x: Array, steps: Steps, h0: Array, w_ih: Array, w_hh: Array, bias: Array | None, relu: bool) -> Any:
    """y (N, H) with y_t = tanh(W_ih x_t + W_hh y_{t-1} + bias), or relu of it."""
    y = _input_part(x, w_ih, bias)
    if _native(y):
        _loop_forward(_RNN_RELU if relu else _RNN_TANH, steps, w_hh, h0, None, None, y, None, None)
        return y
    w = w_hh.T
    last = None
    for lo, hi in steps:
        row = y[lo:hi]
        row += _before(y, h0, last, hi - lo) @ w
        if relu:
            np.maximum(row, 0, out=row)
        else:
            np.tanh(row, row)
        last = (lo, hi)
    return y


def rnn_backward(gy: Array, gh: Any, steps: Steps, y: Array, w_hh: Array, relu: bool) -> tuple[Any, Any]:
    """(gradient of the sum before the nonlinearity (N, H), gradient of h0) from those of y (or None) and of the final state."""
    dz = np.empty_like(y)
    carry = np.array(gh, order="C")
    if _native(y):
        _loop_backward(_RNN_RELU if relu else _RNN_TANH, steps, w_hh, carry, None, None, y, None, None, None, gy, carry, None, dz, None, None)
        return dz, carry
    gy = _flat(gy)
    slope = (y > 0).astype(y.dtype) if relu else 1 - y * y
    for lo, hi in reversed(steps):
        dh = carry[:hi - lo]
        if gy is not None:
            dh += gy[lo:hi]
        row = dz[lo:hi]
        np.multiply(dh, slope[lo:hi], row)
        np.matmul(row, w_hh, dh)
    return dz, carry


# --- GRU ---------------------------------------------------------------------------------------------------------------------------------

def gru_forward(x: Array, steps: Steps, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None) -> tuple[Any, Any,
                Any]:
    """(y (N, H), the gates r, z, n (N, 3H), W_hn h + b_hn (N, H)) with r, z = sigmoid(...), n = tanh(W_in x + b_in + r (W_hn h + b_hn)),
    y_t = (1 - z) n + z y_{t-1}. Weights are stacked in the order r, z, n."""
    size = w_hh.shape[1]
    gates = _input_part(x, w_ih, b_ih)
    b_hn = None
    if b_hh is not None:
        gates[:, :2 * size] += b_hh[:2 * size]
        b_hn = b_hh[2 * size:]
    y, hidden = np.empty_like(gates[:, :size], order="C"), np.empty_like(gates[:, :size], order="C")
    if _native(gates):
        _loop_forward(_GRU, steps, w_hh, h0, None, gates, y, None, None, hidden, b_hn)
        return y, gates, hidden
    gates[:, :2 * size] *= 0.5                             # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2
    w = w_hh.T.copy()
    w[:, :2 * size] *= 0.5
    product = np.empty((len(h0), 3 * size), y.dtype)
    last = None
    for lo, hi in steps:
        n = hi - lo
        before, row, part = _before(y, h0, last, n), gates[lo:hi], product[:n]
        np.matmul(before, w, part)
        rz, new, h = row[:, :2 * size], row[:, 2 * size:], hidden[lo:hi]
        rz += part[:, :2 * size]
        np.tanh(rz, rz)
        _sigmoid_of_half(rz)
        if b_hn is None:
            h[...] = part[:, 2 * size:]
        else:
            np.add(part[:, 2 * size:], b_hn, h)
        out = y[lo:hi]
        np.multiply(row[:, :size], h, out)
        new += out
        np.tanh(new, new)
        np.subtract(before, new, out)
        out *= row[:, size:2 * size]
        out += new
        last = (lo, hi)
    return y, gates, hidden


def gru_backward(gy: Array, gh: Any, steps: Steps, y: Array, h0: Array, gates: Array, hidden: Array, w_hh: Array) -> tuple[Any, Any, Any]:
    """(gradients of the input's part (N, 3H), of the hidden part (N, 3H), of h0)."""
    size = w_hh.shape[1]
    dh_part = np.empty_like(gates)
    dn = np.empty_like(y)
    carry = np.array(gh, order="C")
    if _native(gates):
        _loop_backward(_GRU, steps, w_hh, h0, None, gates, y, None, None, hidden, gy, carry, None, dh_part, dn, None)
    else:
        _gru_backward_loop(_flat(gy), carry, steps, previous_states(y, h0, steps), gates, hidden, w_hh, dh_part, dn)
    dx_part = dh_part.copy()
    dx_part[:, 2 * size:] = dn
    return dx_part, dh_part, carry


def _gru_backward_loop(gy: Array, carry: Any, steps: Steps, before: Array, gates: Array, hidden: Array, w_hh: Array, dh_part: Any,
                       dn: Any) -> None:
    """Fills the gradients of the hidden part and of n's input part; `carry` goes from the gradient of the final state to that of h0."""
    size = w_hh.shape[1]
    r, z, n = gates[:, :size], gates[:, size:2 * size], gates[:, 2 * size:]
    for_z = (before - n) * z * (1 - z)
    for_n = (1 - z) * (1 - n * n)
    for_r = hidden * r * (1 - r)
    product = np.empty_like(carry)
    for lo, hi in reversed(steps):
        m = hi - lo
        dh, part, new = carry[:m], dh_part[lo:hi], dn[lo:hi]
        if gy is not None:
            dh += gy[lo:hi]
        np.multiply(dh, for_n[lo:hi], new)
        np.multiply(new, for_r[lo:hi], part[:, :size])
        np.multiply(dh, for_z[lo:hi], part[:, size:2 * size])
        np.multiply(new, r[lo:hi], part[:, 2 * size:])
        dh *= z[lo:hi]
        dh += np.matmul(part, w_hh, product[:m])


# --- LSTM --------------------------------------------------------------------------------------------------------------------------------
# The gates stand in PyTorch's order i, f, g, o.

def _in_loop(batch: int, w_ih: Array, w_hh: Array) -> bool:
    """Whether the product with the input belongs into the native loop: where both weights stay in a processor's cache."""
    return batch >= 8 and w_ih.nbytes + w_hh.nbytes <= 1 << 20


def lstm_results(x: Array, steps: Steps, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array | None) -> tuple[Any, Any] | None:
    """(y, the final cells) where no gradients will be wanted: nothing else is kept. None where there is no native kernel for it."""
    if not _native(x):
        return None
    y, c = np.empty((len(x), h0.shape[1]), x.dtype), np.array(c0, order="C")
    if _in_loop(len(h0), w_ih, w_hh):
        _loop_forward(_LSTM, steps, w_hh, h0, c, None, y, c, None, None, None, x, w_ih, np.zeros(len(w_ih), x.dtype) if bias is None else bias)
    else:
        _loop_forward(_LSTM, steps, w_hh, h0, c, _input_part(x, w_ih, bias), y, c, None)
    return y, c


def lstm_forward(x: Array, steps: Steps, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array, w_hr: Array | None) -> tuple[Any,
                 ...]:
    """(y (N, P), c (N, H), gates (N, 4H) as i, f, g, o, tanh(c)) with c_t = f c_{t-1} + i g and y_t = W_hr (o tanh(c_t)), W_hr None: 1."""
    size = w_hh.shape[0] // 4
    if w_hr is None and _native(x):
        y, c, flat = (np.empty((len(x), size), x.dtype) for _ in range(3))
        if _in_loop(len(h0), w_ih, w_hh):
            gates = np.empty((len(x), 4 * size), x.dtype)
            given = (x, w_ih, np.zeros(4 * size, x.dtype) if bias is None else bias)
            _loop_forward(_LSTM, steps, w_hh, h0, c0, gates, y, c, flat, None, None, *given)
        else:
            gates = _input_part(x, w_ih, bias)
            _loop_forward(_LSTM, steps, w_hh, h0, c0, gates, y, c, flat)
        return y, c, gates, flat
    gates, w = _input_part(x, w_ih, bias), w_hh.copy()
    for sigmoids in (slice(0, 2 * size), slice(3 * size, None)):
        gates[:, sigmoids] *= 0.5                          # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2
        w[sigmoids] *= 0.5
    w = w.T
    rows = len(x)
    c, flat = np.empty((rows, size), gates.dtype), np.empty((rows, size), gates.dtype)
    y = np.empty((rows, h0.shape[1]), gates.dtype)
    product, term = np.empty((len(h0), 4 * size), gates.dtype), np.empty((len(h0), size), gates.dtype)
    project = None if w_hr is None else w_hr.T
    last = None
    for lo, hi in steps:
        n = hi - lo
        row, now = gates[lo:hi], c[lo:hi]
        row += np.matmul(_before(y, h0, last, n), w, product[:n])
        np.tanh(row, row)
        _sigmoid_of_half(row[:, :2 * size])
        _sigmoid_of_half(row[:, 3 * size:])
        np.multiply(row[:, size:2 * size], _before(c, c0, last, n), now)
        now += np.multiply(row[:, :size], row[:, 2 * size:3 * size], term[:n])
        out = np.tanh(now, flat[lo:hi])
        if project is None:
            np.multiply(row[:, 3 * size:], out, y[lo:hi])
        else:
            np.matmul(np.multiply(row[:, 3 * size:], out, term[:n]), project, y[lo:hi])
        last = (lo, hi)
    return y, c, gates, flat


def lstm_backward(gy: Array, gh: Any, gc: Any, steps: Steps, y: Array, h0: Array, c0: Array, c: Any, gates: Array, flat: Any, w_hh: Array,
                  w_hr: Array | None) -> tuple[Any, ...]:
    """(gradient of the gates' sums (N, 4H), the sum of its rows, gradients of h0, of c0, of W_hr or None)."""
    size = w_hh.shape[0] // 4
    if w_hr is None and _native(gates):
        dz_, dh0, dc0, db = np.empty_like(gates), np.array(gh, order="C"), np.array(gc, order="C"), np.zeros(4 * size, gates.dtype)
        _loop_backward(_LSTM, steps, w_hh, h0, c0, gates, y, c, flat, None, gy, dh0, dc0, dz_, None, db)
        return dz_, db, dh0, dc0, None
    gy = _flat(gy)
    i, f, g, o = (gates[:, k * size:(k + 1) * size] for k in range(4))
    for_o = flat * o * (1 - o)
    for_c = o * (1 - flat * flat)
    factors = np.empty((len(c), 3, size), c.dtype)
    np.multiply(g * i, 1 - i, factors[:, 0])
    np.multiply(previous_states(c, c0, steps) * f, 1 - f, factors[:, 1])
    np.multiply(i, 1 - g * g, factors[:, 2])
    dz = np.empty((len(c), 4, size), c.dtype)
    flat_dz = dz.reshape(len(c), 4 * size)
    carry, carry_c = np.array(gh), np.array(gc)
    outputs = None if w_hr is None else np.empty_like(y)
    term = np.empty_like(carry_c)
    for lo, hi in reversed(steps):
        n = hi - lo
        dh, dc, part = carry[:n], carry_c[:n], dz[lo:hi]
        if gy is not None:
            dh += gy[lo:hi]
        if w_hr is None:
            dm = dh
        else:
            outputs[lo:hi] = dh
            dm = dh @ w_hr
        dc += np.multiply(dm, for_c[lo:hi], term[:n])
        np.multiply(dc[:, None, :], factors[lo:hi], part[:, :3])
        np.multiply(dm, for_o[lo:hi], part[:, 3])
        np.matmul(flat_dz[lo:hi], w_hh, dh)
        dc *= f[lo:hi]
    d_hr = None if w_hr is None else outputs.T @ (o * flat)
    return flat_dz, np.add.reduce(flat_dz, axis=0), carry, carry_c, d_hr
