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

from ..vocabulary import Array, ArrayOrNone
from . import native
from .door import is_half, kernel, widened
from .linear import linear

__all__ = ["Steps", "forward", "backward", "loop", "loop_gradient", "rnn_forward", "rnn_backward", "gru_forward", "gru_backward",
           "lstm_forward", "lstm_backward", "lstm_results", "previous_states", "recurrent_weight_grad", "final_state"]


class Steps(list[tuple[int, int]]):
    """(first row, one past the last) of each time step, in the order of processing. (A class of its own passes to kernels as it is.)"""

    @property
    def even(self) -> bool:
        """Whether all steps have the same number of rows."""
        return len({hi - lo for lo, hi in self}) <= 1


_LSTM, _GRU, _RNN_TANH, _RNN_RELU = range(4)               # the modes of native/rnn.cpp


# --- a layer in one direction ------------------------------------------------------------------------------------------------------------

@kernel(composed=True)
def forward(mode: str, steps: Steps, keep: bool, x: Array, h0: Array, c0: ArrayOrNone, w_ih: Array, w_hh: Array, b_ih: Array | None,
            b_hh: Array | None, w_hr: ArrayOrNone) -> tuple[Any, Any]:
    """((y, h_n) or (y, h_n, c_n), what the gradients need) of a layer in one direction.

    mode        "RNN_TANH", "RNN_RELU", "GRU" or "LSTM"
    keep        whether gradients will be asked for
    x           (N, features), packed; h0, c0: (B, H); y is (N, H), or as wide as the projection `w_hr` makes it
    float16 and bfloat16 compute in float32, and what is kept is float32.
    """
    if is_half(x):
        wide: list[Any] = [a if a is None else a.astype(np.float32) for a in (x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr)]
        results, kept = forward(mode, steps, keep, *wide)
        return tuple([each.astype(x.dtype) for each in results]), kept
    if mode == "GRU":
        y, gates, hidden = gru_forward(x, steps, h0, w_ih, w_hh, b_ih, b_hh)
        return (y, final_state(y, h0, steps)), (gates, hidden)
    bias = _add(b_ih, b_hh)
    if mode != "LSTM":
        y = rnn_forward(x, steps, h0, w_ih, w_hh, bias, mode == "RNN_RELU")
        return (y, final_state(y, h0, steps)), ()
    if not keep and w_hr is None:
        y, cells = lstm_results(x, steps, h0, c0, w_ih, w_hh, bias)
        return (y, final_state(y, h0, steps), cells), ()
    y, c, gates, flat = lstm_forward(x, steps, h0, c0, w_ih, w_hh, bias, w_hr)
    return (y, final_state(y, h0, steps), final_state(c, c0, steps)), (c, gates, flat)


@kernel(composed=True)
def backward(mode: str, steps: Steps, wanted: tuple[bool, ...], gy: ArrayOrNone, gh: Array | None, gc: Array | None, x: Array, h0: Array,
             c0: ArrayOrNone, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None, w_hr: ArrayOrNone, y: Array,
             *kept: Array) -> tuple[Any, ...]:
    """The gradients of x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr (None where not `wanted`) from those of y, h_n and c_n (None: zero)."""
    if is_half(x):
        wide: list[Any] = [widened(a) for a in (gy, gh, gc, x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, y)]
        return tuple([a if a is None else a.astype(x.dtype) for a in backward(mode, steps, wanted, *wide, *kept)])
    gh = np.zeros_like(h0) if gh is None else gh
    dc0 = dw_hr = None
    db: Any = None
    if mode == "LSTM":
        gc, (c, gates, flat) = np.zeros_like(c0) if gc is None else gc, kept
        dx_part, db, dh0, dc0, dw_hr = lstm_backward(gy, gh, gc, steps, y, h0, c0, c, gates, flat, w_hh, w_hr)
        dh_part = dx_part
    elif mode == "GRU":
        gates, hidden = kept
        dx_part, dh_part, dh0 = gru_backward(gy, gh, steps, y, h0, gates, hidden, w_hh)
    else:
        dx_part, dh0 = rnn_backward(gy, gh, steps, y, w_hh, mode == "RNN_RELU")
        dh_part = dx_part
    if db is None and (wanted[5] or wanted[6]):
        db = np.add.reduce(dx_part, axis=0)
    db_hh: Any = db if dh_part is dx_part or db is None else np.add.reduce(dh_part, axis=0)
    return (native.matmul(dx_part, w_ih) if wanted[0] else None, dh0, dc0, native.matmul(dx_part.T, x) if wanted[3] else None,
            recurrent_weight_grad(dh_part, y, h0, steps) if wanted[4] else None, db if wanted[5] else None,
            (db_hh.copy() if db_hh is db else db_hh) if wanted[6] else None, dw_hr)


def _add(a: Array | None, b: Array | None) -> Array | None:
    return a if b is None else b if a is None else a + b


# --- the loops over time -----------------------------------------------------------------------------------------------------------------

@kernel
def loop(mode: int, steps: Steps, w_hh: Array, h0: Array, c0: ArrayOrNone, gates: ArrayOrNone, y: Array, c: ArrayOrNone, flat: ArrayOrNone,
         hidden: ArrayOrNone, b_hn: Array | None, x: Array | None, w_ih: ArrayOrNone, bias: Array | None) -> None:
    """Fill y, c, flat (tanh(c)) and hidden; `gates` hold the input's part before and the gates after, which for an RNN y does.

    An LSTM given x, w_ih and a bias computes the input's part itself. Without `flat` it keeps nothing: c (B, H) holds the cells before and
    after, and `gates` may be missing.
    """
    if mode == _GRU:
        _gru_loop(steps, w_hh, h0, gates, y, hidden, b_hn)
    elif mode != _LSTM:
        _rnn_loop(steps, w_hh, h0, y, mode == _RNN_RELU)
    else:
        if x is not None:
            gates = np.matmul(x, w_ih.T, out=gates)
            gates += bias
        if flat is not None:
            _lstm_loop(steps, w_hh, h0, c0, gates, y, c, flat, None)
        else:
            cells = np.empty_like(y)
            _lstm_loop(steps, w_hh, h0, c, gates, y, cells, np.empty_like(y), None)
            c[...] = final_state(cells, c, steps)


@kernel
def loop_gradient(mode: int, steps: Steps, w_hh: Array, h0: Array, c0: ArrayOrNone, gates: ArrayOrNone, y: Array, c: ArrayOrNone,
                  flat: ArrayOrNone, hidden: ArrayOrNone, gy: ArrayOrNone, carry: Array, carry_c: ArrayOrNone, dz: Array, dn: Array | None,
                  db: Array | None) -> None:
    """And back: fill dz, the gradients of the gates' sums, and a GRU's dn; add the sum of dz's rows to db. `carry` and `carry_c` hold the
    gradients of the final states before and of the initial ones after."""
    gy = _flat(gy)
    if mode == _LSTM:
        _lstm_backward_loop(gy, carry, carry_c, steps, c0, c, gates, flat, w_hh, dz, None, None)
        db += np.add.reduce(dz, axis=0)
    elif mode == _GRU:
        _gru_backward_loop(gy, carry, steps, previous_states(y, h0, steps), gates, hidden, w_hh, dz, dn)
    else:
        _rnn_backward_loop(gy, carry, steps, y, w_hh, dz, mode == _RNN_RELU)


def _flat(gradient: Any) -> Any:
    return None if gradient is None else gradient.reshape(-1, gradient.shape[-1])


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


def _input_part(x: Array, w: Array, bias: Array | None) -> Array:
    # On the library's threads: NumPy's own, which wait busily for a while, would take the loop's place on the processors.
    return native.matmul(x, w.T) if bias is None else linear(x, w, bias)


def _sigmoid_of_half(z: Array) -> None:
    """sigmoid(2 z), where tanh(z) is what `z` holds now, in place."""
    z *= 0.5
    z += 0.5


# --- RNN ---------------------------------------------------------------------------------------------------------------------------------

def rnn_forward(x: Array, steps: Steps, h0: Array, w_ih: Array, w_hh: Array, bias: Array | None, relu: bool) -> Any:
    """y (N, H) with y_t = tanh(W_ih x_t + W_hh y_{t-1} + bias), or relu of it."""
    y = _input_part(x, w_ih, bias)
    loop(_RNN_RELU if relu else _RNN_TANH, steps, w_hh, h0, None, None, y, None, None, None, None, None, None, None)
    return y


def _rnn_loop(steps: Steps, w_hh: Array, h0: Array, y: Array, relu: bool) -> None:
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


def rnn_backward(gy: ArrayOrNone, gh: Any, steps: Steps, y: Array, w_hh: Array, relu: bool) -> tuple[Any, Any]:
    """(gradient of the sum before the nonlinearity (N, H), gradient of h0) from those of y (or None) and of the final state."""
    dz, carry = np.empty_like(y), np.array(gh, order="C")
    loop_gradient(_RNN_RELU if relu else _RNN_TANH, steps, w_hh, carry, None, None, y, None, None, None, gy, carry, None, dz, None, None)
    return dz, carry


def _rnn_backward_loop(gy: ArrayOrNone, carry: Array, steps: Steps, y: Array, w_hh: Array, dz: Array, relu: bool) -> None:
    slope = (y > 0).astype(y.dtype) if relu else 1 - y * y
    for lo, hi in reversed(steps):
        dh = carry[:hi - lo]
        if gy is not None:
            dh += gy[lo:hi]
        row = dz[lo:hi]
        np.multiply(dh, slope[lo:hi], row)
        np.matmul(row, w_hh, dh)


# --- GRU ---------------------------------------------------------------------------------------------------------------------------------

def gru_forward(x: Array, steps: Steps, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None, b_hh: Array | None) -> tuple[Any, ...]:
    """(y (N, H), the gates r, z, n (N, 3H), W_hn h + b_hn (N, H)) with r, z = sigmoid(...), n = tanh(W_in x + b_in + r (W_hn h + b_hn)),
    y_t = (1 - z) n + z y_{t-1}. Weights are stacked in the order r, z, n."""
    size = w_hh.shape[1]
    gates = _input_part(x, w_ih, b_ih)
    b_hn = None
    if b_hh is not None:
        gates[:, :2 * size] += b_hh[:2 * size]
        b_hn = b_hh[2 * size:]
    y, hidden = np.empty_like(gates[:, :size], order="C"), np.empty_like(gates[:, :size], order="C")
    loop(_GRU, steps, w_hh, h0, None, gates, y, None, None, hidden, b_hn, None, None, None)
    return y, gates, hidden


def _gru_loop(steps: Steps, w_hh: Array, h0: Array, gates: Array, y: Array, hidden: Array, b_hn: Array | None) -> None:
    size = w_hh.shape[1]
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


def gru_backward(gy: Array, gh: Any, steps: Steps, y: Array, h0: Array, gates: Array, hidden: Array, w_hh: Array) -> tuple[Any, Any, Any]:
    """(gradients of the input's part (N, 3H), of the hidden part (N, 3H), of h0)."""
    size = w_hh.shape[1]
    dh_part = np.empty_like(gates)
    dn = np.empty_like(y)
    carry = np.array(gh, order="C")
    loop_gradient(_GRU, steps, w_hh, h0, None, gates, y, None, None, hidden, gy, carry, None, dh_part, dn, None)
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
    """Whether the product with the input belongs into the loop: where both weights stay in a processor's cache."""
    return batch >= 8 and w_ih.nbytes + w_hh.nbytes <= 1 << 20


def _bias_of(bias: Array | None, w: Array) -> Array:
    return np.zeros(len(w), w.dtype) if bias is None else bias


def lstm_results(x: Array, steps: Steps, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array | None) -> tuple[Any, Any]:
    """(y, the final cells) where no gradients will be wanted: nothing else is kept."""
    y, c = np.empty((len(x), h0.shape[1]), x.dtype), np.array(c0, order="C")
    if _in_loop(len(h0), w_ih, w_hh):
        loop(_LSTM, steps, w_hh, h0, c, None, y, c, None, None, None, x, w_ih, _bias_of(bias, w_ih))
    else:
        loop(_LSTM, steps, w_hh, h0, c, _input_part(x, w_ih, bias), y, c, None, None, None, None, None, None)
    return y, c


def lstm_forward(x: Array, steps: Steps, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array | None,
                 w_hr: ArrayOrNone) -> tuple[Any, ...]:
    """(y (N, P), c (N, H), gates (N, 4H) as i, f, g, o, tanh(c)) with c_t = f c_{t-1} + i g and y_t = W_hr (o tanh(c_t)), W_hr None: 1."""
    size = w_hh.shape[0] // 4
    y, c, flat = np.empty((len(x), h0.shape[1]), x.dtype), np.empty((len(x), size), x.dtype), np.empty((len(x), size), x.dtype)
    if w_hr is not None:
        gates = _input_part(x, w_ih, bias)
        _lstm_loop(steps, w_hh, h0, c0, gates, y, c, flat, w_hr)
    elif _in_loop(len(h0), w_ih, w_hh):
        gates = np.empty((len(x), 4 * size), x.dtype)
        loop(_LSTM, steps, w_hh, h0, c0, gates, y, c, flat, None, None, x, w_ih, _bias_of(bias, w_ih))
    else:
        gates = _input_part(x, w_ih, bias)
        loop(_LSTM, steps, w_hh, h0, c0, gates, y, c, flat, None, None, None, None, None)
    return y, c, gates, flat


def _lstm_loop(steps: Steps, w_hh: Array, h0: Array, c0: Array, gates: Array, y: Array, c: Array, flat: Array, w_hr: ArrayOrNone) -> None:
    size = w_hh.shape[0] // 4
    w = w_hh.copy()
    for sigmoids in (slice(0, 2 * size), slice(3 * size, None)):
        gates[:, sigmoids] *= 0.5                          # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2
        w[sigmoids] *= 0.5
    w = w.T
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


def lstm_backward(gy: ArrayOrNone, gh: Any, gc: Any, steps: Steps, y: Array, h0: Array, c0: Array, c: Array, gates: Array, flat: Array,
                  w_hh: Array, w_hr: ArrayOrNone) -> tuple[Any, ...]:
    """(gradient of the gates' sums (N, 4H), the sum of its rows, gradients of h0, of c0, of W_hr or None)."""
    dz, dh0, dc0 = np.empty_like(gates), np.array(gh, order="C"), np.array(gc, order="C")
    if w_hr is None:
        db = np.zeros(gates.shape[1], gates.dtype)
        loop_gradient(_LSTM, steps, w_hh, h0, c0, gates, y, c, flat, None, gy, dh0, dc0, dz, None, db)
        return dz, db, dh0, dc0, None
    outputs, size = np.empty_like(y), c.shape[1]
    _lstm_backward_loop(_flat(gy), dh0, dc0, steps, c0, c, gates, flat, w_hh, dz, outputs, w_hr)
    return dz, np.add.reduce(dz, axis=0), dh0, dc0, outputs.T @ (gates[:, 3 * size:] * flat)


def _lstm_backward_loop(gy: ArrayOrNone, carry: Array, carry_c: Array, steps: Steps, c0: Array, c: Array, gates: Array, flat: Array,
                        w_hh: Array, flat_dz: Array, outputs: ArrayOrNone, w_hr: ArrayOrNone) -> None:
    """`outputs` gets the gradients of what a projection makes."""
    size = c.shape[1]
    i, f, g, o = (gates[:, k * size:(k + 1) * size] for k in range(4))
    for_o = flat * o * (1 - o)
    for_c = o * (1 - flat * flat)
    factors = np.empty((len(c), 3, size), c.dtype)
    np.multiply(g * i, 1 - i, factors[:, 0])
    np.multiply(previous_states(c, c0, steps) * f, 1 - f, factors[:, 1])
    np.multiply(i, 1 - g * g, factors[:, 2])
    dz = flat_dz.reshape(len(c), 4, size)
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
