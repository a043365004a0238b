"""torchaudio's compiled operators on NumPy: recursive filters, the RNN transducer's loss, forced alignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import from_numpy
from ..library import Library
from ..tensor import Tensor

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_LIBRARY, _PROBES = Library("torchaudio", "DEF"), Library("_torchaudio", "DEF")
_BLOCK = 64             # samples that a recursive filter makes at once


def _operator(schema: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _LIBRARY.impl(_LIBRARY.define(schema), function, "CPU")
        return function
    return register


_PROBES.impl(_PROBES.define("is_align_available() -> bool"), lambda: True, "default")
_PROBES.impl(_PROBES.define("cuda_version() -> int?"), lambda: None, "default")


# --- filters --------------------------------------------------------------------------------------------------------------------------


def _responses(a: Array, length: int) -> Array:
    """What earlier outputs y[-1], ..., y[-p] alone lead to: (channels, p, length)."""
    order = a.shape[1]
    y = np.zeros((a.shape[0], order, order + length))
    y[:, np.arange(order), order - 1 - np.arange(order)] = 1
    for n in range(length):
        y[:, :, order + n] = -(y[:, :, n:order + n][..., ::-1] * a[:, None]).sum(-1)
    return y[:, :, order:]


def _recursive(x: Array, a: Array, past: Array) -> Array:
    """y[n] = x[n] - a[0] y[n-1] - a[1] y[n-2] - ..., by blocks, each one product of matrices. x is (channels, batch, n), a (channels, p),
    and past (channels, batch, p) has y[-1], y[-2], ..."""
    order, total = a.shape[1], x.shape[2]
    if order == 0 or total == 0:
        return x
    block = min(_BLOCK, total) if np.isfinite(x).all() else 1        # what isn't finite must not reach the samples before it
    response = _responses(a, block)
    impulse = np.concatenate([np.ones((len(a), 1)), response[:, 0, :-1]], 1)
    lag = np.arange(block) - np.arange(block)[:, None]             # (from, to)
    within = np.where(lag >= 0, impulse[:, np.abs(lag)], 0.0)
    out = np.empty_like(x)
    for start in range(0, total, block):
        n = min(block, total - start)
        y = x[:, :, start:start + n] @ within[:, :n, :n] + past @ response[:, :, :n]
        out[:, :, start:start + n] = y
        past = np.concatenate([y[:, :, ::-1], past], 2)[:, :, :order]
    return out


@_operator("_lfilter_core_loop(Tensor input_signal_windows, Tensor a_coeff_flipped, Tensor(a!) padded_output_waveform) -> Tensor(a!)")
def lfilter_core_loop(input_signal_windows: Tensor, a_coeff_flipped: Tensor, padded_output_waveform: Tensor) -> Tensor:
    """The feedback of a filter, written behind the (order - 1) samples that the output begins with. RuntimeError for sizes that don't
    fit."""
    order, samples = a_coeff_flipped.size(1), input_signal_windows.size(2)
    if padded_output_waveform.size(2) != samples + order - 1:
        raise RuntimeError(f"the padded output has to have {samples + order - 1} samples, got {padded_output_waveform.size(2)}")
    x, y = (each.detach().numpy().astype(np.float64).transpose(1, 0, 2) for each in (input_signal_windows, padded_output_waveform))
    a = a_coeff_flipped.detach().numpy().astype(np.float64)[:, ::-1]
    made = _recursive(x, a[:, 1:], y[:, :, :order - 1][:, :, ::-1])
    padded_output_waveform[:, :, order - 1:] = from_numpy(made.transpose(1, 0, 2)).to(padded_output_waveform.dtype)
    return padded_output_waveform


@_operator("_overdrive_core_loop(Tensor waveform, Tensor temp, Tensor(a!) last_in, Tensor(b!) last_out, Tensor(c!) output_waveform) "
           "-> (Tensor(a!), Tensor(b!), Tensor(c!))")
def overdrive_core_loop(waveform: Tensor, temp: Tensor, last_in: Tensor, last_out: Tensor,
                        output_waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SoX's overdrive after its clipping: a filter against a constant part, mixed with what came in."""
    driven = temp.detach().numpy().astype(np.float64)
    change = np.diff(driven, axis=1, prepend=last_in.detach().numpy()[:, None])
    high = _recursive(change[None], np.array([[-0.995]]), last_out.detach().numpy().astype(np.float64)[None, :, None])[0]
    output_waveform.copy_(from_numpy(waveform.detach().numpy() * 0.5 + high * 0.75))
    if driven.shape[1]:
        last_in.copy_(from_numpy(driven[:, -1]))
        last_out.copy_(from_numpy(high[:, -1]))
    return last_in, last_out, output_waveform


# --- sequences ------------------------------------------------------------------------------------------------------------------------


@_operator("rnnt_loss_forward(Tensor logits, Tensor targets, Tensor logit_lengths, Tensor target_lengths, int blank, float clamp, "
           "bool fused_log_softmax) -> (Tensor, Tensor)")
def rnnt_loss_forward(logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int, clamp: float,
                      fused_log_softmax: bool) -> tuple[Tensor, Tensor]:
    """(costs, their gradients by the logits). RuntimeError for shapes, lengths and labels that don't fit."""
    _check_transducer(logits, targets, logit_lengths, target_lengths, blank)
    scores = logits.detach().numpy().astype(np.float64)
    denominators = np.logaddexp.reduce(scores, axis=3, keepdims=True) if fused_log_softmax else 0.0
    log_probs, costs, gradient = scores - denominators, np.zeros(len(scores)), np.zeros_like(scores)
    for k, (t, u) in enumerate(zip(logit_lengths.tolist(), target_lengths.tolist(), strict=True)):
        costs[k], gradient[k, :t, :u + 1] = _transduced(log_probs[k, :t, :u + 1], targets[k, :u].numpy(), blank, fused_log_softmax)
    if clamp > 0:
        gradient = gradient.clip(-clamp, clamp)
    return from_numpy(costs).to(logits.dtype), from_numpy(gradient).to(logits.dtype)


def _check_transducer(logits: Tensor, targets: Tensor, logit_lengths: Tensor, target_lengths: Tensor, blank: int) -> None:
    if logits.dim() != 4 or targets.dim() != 2 or logit_lengths.dim() != 1 or target_lengths.dim() != 1:
        raise RuntimeError("logits have to have 4 dimensions, targets 2, the lengths 1")
    if len({each.size(0) for each in (logits, targets, logit_lengths, target_lengths)}) != 1:
        raise RuntimeError("logits, targets and lengths have to be of one batch")
    if any(str(each.dtype).rpartition(".")[2] != "int32" for each in (targets, logit_lengths, target_lengths)):
        raise RuntimeError("targets and lengths have to be int32")
    if not 0 <= blank < logits.size(3):
        raise RuntimeError("blank must be within [0, logits.shape[-1])")
    if logits.size(1) != logit_lengths.max().item() or logits.size(2) != target_lengths.max().item() + 1 or targets.size(1) != target_lengths.max().item():
        raise RuntimeError("the sizes of logits and targets have to be the longest lengths (and one more label in logits)")


def _transduced(log_probs: Array, labels: Array, blank: int, fused: bool) -> tuple[float, Array]:
    """(cost, gradient) of one sequence of shape (T, U + 1, classes): over all ways through the lattice, forward and backward. In the log
    semiring a row is a cumulative sum, since one step to the right multiplies by the label's probability."""
    steps, places = log_probs.shape[:2]
    at = np.arange(places - 1)
    empty, emit = log_probs[:, :, blank], log_probs[:, at, labels]
    along = np.concatenate([np.zeros((steps, 1)), np.cumsum(emit, 1)], 1)
    alpha, beta = np.empty((steps, places)), np.empty((steps, places))
    alpha[0], below = along[0], np.full(places, -np.inf)
    for t in range(1, steps):
        alpha[t] = np.logaddexp.accumulate(alpha[t - 1] + empty[t - 1] - along[t]) + along[t]
    below[-1] = 0.0                                 # the last blank leaves the lattice
    for t in range(steps - 1, -1, -1):
        below = beta[t] = np.logaddexp.accumulate((below + empty[t] + along[t])[::-1])[::-1] - along[t]
    beyond = np.full((steps, places), -np.inf)
    beyond[:-1], beyond[-1, -1] = beta[1:], 0.0
    total = beta[0, 0]
    gradient = np.exp(alpha[:, :, None] + log_probs + beta[:, :, None] - total) if fused else np.zeros_like(log_probs)
    gradient[:, :, blank] -= np.exp(alpha + empty + beyond - total)
    gradient[:, at, labels] -= np.exp(alpha[:, :-1] + emit + beta[:, 1:] - total)
    return -total, gradient


@_operator("forced_align(Tensor log_probs, Tensor targets, Tensor input_lengths, Tensor target_lengths, int blank) -> (Tensor, Tensor)")
def forced_align(log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """(the likeliest way of CTC through the labels, log_probs). RuntimeError for more than one sequence, and where the labels don't fit."""
    if log_probs.dim() != 3 or targets.dim() != 2 or log_probs.size(0) != 1 or targets.size(0) != 1:
        raise RuntimeError("forced_align takes log_probs of shape (1, T, C) and targets of shape (1, L)")
    steps, length = int(input_lengths[0]), int(target_lengths[0])
    if steps != log_probs.size(1) or length != targets.size(1):
        raise RuntimeError("the lengths have to be the sizes of log_probs and targets")
    labels = targets[0].detach().numpy()
    repeats = int((labels[1:] == labels[:-1]).sum())
    if steps < length + repeats:
        raise RuntimeError(f"targets length is too long for CTC. Found log_probs length: {steps}, targets length: {length}, and number of "
                           f"repeats: {repeats}")
    states = np.full(2 * length + 1, blank, labels.dtype)
    states[1::2] = labels
    jumps = np.zeros(len(states), bool)             # from a label to the next, without a blank between them
    jumps[3::2] = labels[1:] != labels[:-1]
    path = _likeliest(log_probs[0].detach().numpy()[:, states], jumps)
    return from_numpy(states[path][None]), log_probs


def _likeliest(scores: Array, jumps: Array) -> Array:
    """The states (T,) of the best way from the first two states to the last two: each step stays, goes on by one, or by two where
    `jumps`."""
    steps, count = scores.shape
    back = np.zeros((steps, count), np.int64)
    best = np.where(np.arange(count) < 2, scores[0], -np.inf)
    for t in range(1, steps):
        one, two = np.full(count, -np.inf), np.full(count, -np.inf)
        one[1:], two[2:] = best[:-1], best[:-2]
        two[~jumps] = -np.inf
        back[t] = np.where((two > one) & (two > best), 2, np.where((one > best) & (one > two), 1, 0))
        best = np.choose(back[t], (best, one, two)) + scores[t]
    path = np.empty(steps, np.int64)
    path[-1] = count - 1 if count == 1 or best[-1] > best[-2] else count - 2
    for t in range(steps - 1, 0, -1):
        path[t - 1] = path[t] - back[t, path[t]]
    return path
