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

from . import native

__all__ = ["rnn_forward", "rnn_backward", "gru_forward", "gru_backward", "lstm_forward", "lstm_backward", "previous_states",
           "final_state", "turn", "turn_back"]

Steps = list[tuple[int, int]]
_library = native.library
_LSTM, _GRU, _RNN_TANH, _RNN_RELU = range(4)               # the modes of native/rnn.cpp


def _native(x: Any) -> bool:
    return _library is not None and x.__class__ is np.ndarray and x.dtype.char in "fd"


def _loop(mode: int, steps: Steps, w: Any, h0: Any, c0: Any, *arrays: Any) -> None:
    """Run a loop over time of native/rnn.cpp: forward with six more arrays, backward with ten."""
    run = _library.rnn_forward if len(arrays) == 6 else _library.rnn_backward
    run(mode, np.array(steps, np.int64).reshape(-1, 2), np.ascontiguousarray(w), np.ascontiguousarray(h0),
        None if c0 is None else np.ascontiguousarray(c0), *arrays)


def _contiguous(gradient: Any) -> Any:
    return None if gradient is None else np.ascontiguousarray(gradient)


def previous_states(y: Any, start: Any, steps: Steps) -> Any:
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


def _before(values: Any, start: Any, last: tuple[int, int] | None, n: int) -> Any:
    """The first n rows of the state before a step: those of the last step, and initial ones for sequences that begin now."""
    if last is None:
        return start[:n]
    rows = last[1] - last[0]
    if rows >= n:
        return values[last[0]:last[0] + n]
    return np.concatenate((values[last[0]:last[1]], start[rows:n]))


def final_state(y: Any, start: Any, steps: Steps) -> Any:
    """The last state of each sequence: (B, H)."""
    result = np.array(start)
    for lo, hi in steps if len({hi - lo for lo, hi in steps}) > 1 else steps[-1:]:
        result[:hi - lo] = y[lo:hi]
    return result


def _input_part(x: Any, w: Any, bias: Any) -> Any:
    z = x @ w.T
    if bias is not None:
        z += bias
    return z


def _sigmoid_of_half(z: Any) -> None:
    """sigmoid(2 z), where tanh(z) is what `z` holds now, in place."""
    z *= 0.5
    z += 0.5


# --- RNN ---------------------------------------------------------------------------------------------------------------------------------

def rnn_forward(x: Any, steps: Steps, h0: Any, w_ih: Any, w_hh: Any, bias: Any, relu: bool) -> Any:
    """y (N, H) with y_t = tanh(W_ih x_t + W_hh y_{t-1} + bias), or relu of it."""
    y = _input_part(x, w_ih, bias)
    if _native(y):
        _loop(_RNN_RELU if relu else _RNN_TANH, steps, w_hh, h0, None, None, y, None, None, None, None)
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


def rnn_backward(gy: Any, gh: Any, steps: Steps, y: Any, w_hh: Any, relu: bool) -> tuple[Any, Any]:
    """(gradient of the sum before the nonlinearity (N, H), gradient of h0) from those of y (or None) and of the final state."""
    dz = np.empty_like(y)
    carry = np.array(gh, order="C")
    if _native(y):
        _loop(_RNN_RELU if relu else _RNN_TANH, steps, w_hh, carry, None, None, y, None, None, None, _contiguous(gy), carry, None, dz, None)
        return dz, carry
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

def gru_forward(x: Any, steps: Steps, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> tuple[Any, Any, Any]:
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
        _loop(_GRU, steps, w_hh, h0, None, gates, y, None, None, hidden, _contiguous(b_hn))
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


def gru_backward(gy: Any, gh: Any, steps: Steps, y: Any, h0: Any, gates: Any, hidden: Any, w_hh: Any) -> tuple[Any, Any, Any, Any]:
    """(gradients of the input's part (N, 3H), of the hidden part (N, 3H), of h0; the states before (N, H))."""
    size = w_hh.shape[1]
    before = previous_states(y, h0, steps)
    dh_part = np.empty_like(gates)
    dn = np.empty_like(y)
    carry = np.array(gh, order="C")
    if _native(gates):
        _loop(_GRU, steps, w_hh, h0, None, gates, y, None, None, hidden, _contiguous(gy), carry, None, dh_part, dn)
    else:
        _gru_backward_loop(gy, carry, steps, before, gates, hidden, w_hh, dh_part, dn)
    dx_part = dh_part.copy()
    dx_part[:, 2 * size:] = dn
    return dx_part, dh_part, carry, before


def _gru_backward_loop(gy: Any, carry: Any, steps: Steps, before: Any, gates: Any, hidden: Any, w_hh: Any, dh_part: Any, dn: Any) -> None:
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
# Inside, the gates stand in the order o, i, f, g: the three sigmoids side by side, and i, f, g, whose gradients need dc, too.

def turn(w: Any, size: int) -> Any:
    """Rows of stacked weights from PyTorch's order i, f, g, o to o, i, f, g."""
    return np.concatenate((w[3 * size:], w[:3 * size]))


def turn_back(w: Any, size: int) -> Any:
    """And back."""
    return np.concatenate((w[size:], w[:size]))


def lstm_forward(x: Any, steps: Steps, h0: Any, c0: Any, w_ih: Any, w_hh: Any, bias: Any, w_hr: Any) -> tuple[Any, ...]:
    """(y (N, P), c (N, H), gates (N, 4H) as o, i, f, g, tanh(c)) with c_t = f c_{t-1} + i g and y_t = W_hr (o tanh(c_t)), W_hr None: 1."""
    size = w_hh.shape[0] // 4
    w_ih, w = turn(w_ih, size), turn(w_hh, size)
    gates = _input_part(x, w_ih, None if bias is None else turn(bias, size))
    if w_hr is None and _native(gates):
        y, c, flat = (np.empty((len(x), size), gates.dtype) for _ in range(3))
        _loop(_LSTM, steps, w, h0, c0, gates, y, c, flat, None, None)
        return y, c, gates, flat
    gates[:, :3 * size] *= 0.5                             # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2
    w[:3 * size] *= 0.5
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
        sigmoids = row[:, :3 * size]
        sigmoids *= 0.5
        sigmoids += 0.5
        np.multiply(row[:, 2 * size:3 * size], _before(c, c0, last, n), now)
        now += np.multiply(row[:, size:2 * size], row[:, 3 * size:], term[:n])
        out = np.tanh(now, flat[lo:hi])
        if project is None:
            np.multiply(row[:, :size], out, y[lo:hi])
        else:
            np.matmul(np.multiply(row[:, :size], out, term[:n]), project, y[lo:hi])
        last = (lo, hi)
    return y, c, gates, flat


def lstm_backward(gy: Any, gh: Any, gc: Any, steps: Steps, y: Any, h0: Any, c0: Any, c: Any, gates: Any, flat: Any, w_hh: Any,
                  w_hr: Any) -> tuple[Any, ...]:
    """(gradient of the gates' sums (N, 4H) in the order o, i, f, g, of h0, of c0, of W_hr or None)."""
    size = w_hh.shape[0] // 4
    w = turn(w_hh, size)
    if w_hr is None and _native(gates):
        dz_, dh0, dc0 = np.empty_like(gates), np.array(gh, order="C"), np.array(gc, order="C")
        _loop(_LSTM, steps, w, h0, c0, gates, y, c, flat, None, _contiguous(gy), dh0, dc0, dz_, None)
        return dz_, dh0, dc0, None
    o, i, f, g = (gates[:, k * size:(k + 1) * size] for k in range(4))
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
        np.multiply(dm, for_o[lo:hi], part[:, 0])
        np.multiply(dc[:, None, :], factors[lo:hi], part[:, 1:])
        np.matmul(flat_dz[lo:hi], w, dh)
        dc *= f[lo:hi]
    d_hr = None if w_hr is None else outputs.T @ (o * flat)
    return flat_dz, carry, carry_c, d_hr
