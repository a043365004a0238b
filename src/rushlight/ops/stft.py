"""The short-time Fourier transform and its inverse."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..tensor import Tensor, wrap
from .complex_parts import view_as_real
from .creation import ones
from .errors import not_a_tensor
from .fft import c2c, c2r, r2c
from .padding import constant_pad_nd, pad
from .public import op
from .record import record

__all__: list[str] = []


def _window(name: str, window: Tensor | None, win_length: int, n_fft: int, like: Tensor) -> Tensor:
    """The window, checked, and filled up with zeros on both sides to n_fft."""
    if window is not None and window._a.shape != (win_length,):
        raise RuntimeError(f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but got window with size "
                           f"{list(window._a.shape)}")
    if window is not None and window._kind.device is not like._kind.device:
        raise RuntimeError(f"{name}: input and window must be on the same device, but are on {like._kind.device} and {window._kind.device}")
    if window is None:
        window = ones(win_length, dtype=like._kind.dtype.to_real(), device=like._kind.device)
    if win_length == n_fft:
        return window
    left = (n_fft - win_length) // 2
    return constant_pad_nd(window, [left, n_fft - win_length - left])


def _check_types(name: str, sizes: tuple[Any, ...], window: Any, flags: tuple[Any, ...], optional_flags: tuple[Any, ...],
                 length: Any = None) -> None:
    """PyTorch's TypeError for an argument of another type."""
    for label, value in zip(("n_fft", "hop_length", "win_length", "length"), (*sizes, length), strict=True):
        if (value is not None or label == "n_fft") and (isinstance(value, (bool, float)) or not hasattr(value, "__index__")):
            raise TypeError(f"{name}(): argument '{label}' must be int, not {type(value).__name__}")
    if window is not None and not isinstance(window, Tensor):
        raise TypeError(f"{name}(): argument 'window' must be Tensor, not {type(window).__name__}")
    for value in (*flags, *[each for each in optional_flags if each is not None]):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name}() received an invalid combination of arguments - got {type(value).__name__} where a bool was expected")


@op(method=True)
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None,
         center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
         return_complex: bool | None = None, align_to_window: bool | None = None) -> Tensor:
    """The Fourier transforms of windowed frames of a signal: (batch, frequencies, frames), complex.

    input           (time) or (batch, time)
    n_fft           the length of a frame
    hop_length      the distance between frames (default: n_fft // 4)
    window          win_length values (default: ones); win_length is n_fft unless given
    center          pad the signal by n_fft // 2 at both ends by `pad_mode`, so that frame t is centred at t * hop_length
    normalized      divide by sqrt(n_fft)
    onesided        only the n_fft // 2 + 1 first frequencies (default for real signals)
    return_complex  False gives real and imaginary parts in a last dimension of 2 (deprecated by PyTorch)
    align_to_window frames start where the window does (only without `center`)
    """
    if center and align_to_window:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    if not isinstance(input, Tensor):
        raise AttributeError(f"{type(input).__name__!r} object has no attribute 'dim'")
    x = input
    if center:
        shape = input._a.shape
        x = pad(input.reshape((1,) * (3 - len(shape)) + shape), [n_fft // 2, n_fft // 2], pad_mode)
        x = x.reshape(x._a.shape[x._a.ndim - len(shape):])
    _check_types("stft", (n_fft, hop_length, win_length), window, (normalized,), (onesided, return_complex, align_to_window))
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    if not input._kind.differentiable:
        raise RuntimeError("stft: expected a tensor of floating point or complex values")
    if not 1 <= input._a.ndim <= 2:
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, got one of {input._a.ndim} dimensions")
    is_complex = input._kind.is_complex or (window is not None and window._kind.is_complex)
    if return_complex is None:
        if not is_complex:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs, and will further require that "
                               "return_complex=True in a future PyTorch release.")
        return_complex = True
    x = x if input._a.ndim == 2 else x.unsqueeze(0)
    length = x._a.shape[1]
    if not 0 < n_fft <= length:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {length}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"stft: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(f"stft: expected 0 < win_length <= n_fft, but got win_length={win_length}")
    if onesided and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    weights = _window("stft", window, win_length, n_fft, x)
    if align_to_window:
        left = (n_fft - win_length) // 2
        x = constant_pad_nd(x, [left, n_fft - win_length - left])
    frames = x.unfold(1, n_fft, hop) * weights
    scaling = "root" if normalized else "none"
    if is_complex or onesided is False:
        spectrum = c2c(frames, (2,), scaling, True)
    else:
        spectrum = r2c(frames, (2,), scaling)
    spectrum = spectrum.transpose(1, 2)
    if input._a.ndim == 1:
        spectrum = spectrum.squeeze(0)
    return spectrum if return_complex else view_as_real(spectrum)


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Add frames (batch, count, n) up at distance `hop`: the adjoint of unfolding a signal into frames."""
    batch, count, n = frames._a.shape
    pieces = -(-n // hop)
    total = np.zeros((batch, count + pieces - 1, hop), frames._kind.np, like=frames._a)
    for i in range(pieces):        # the i-th piece of hop values of each frame lands i places further on
        piece = frames._a[:, :, i * hop:(i + 1) * hop]
        total[:, i:i + count, :piece.shape[2]] += piece
    signal = total.reshape(batch, -1)[:, :n + hop * (count - 1)]
    return record(wrap(signal, frames._kind), "UnfoldBackwardBackward0", (frames,), lambda g: g.unfold(1, n, hop))


@op(method=True)
def istft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Tensor | None = None,
          center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
          return_complex: bool = False) -> Tensor:
    """The signal whose `stft` (with the same arguments) is nearest to the input: overlapping frames are averaged with their windows.

    input   (frequencies, frames) or (batch, frequencies, frames), complex
    length  the number of samples to return; RuntimeError where the windows leave a sample of them uncovered
    """
    if not isinstance(input, Tensor):
        raise not_a_tensor("istft", "input", 1, input)
    _check_types("istft", (n_fft, hop_length, win_length), window, (center, normalized, return_complex), (onesided,), length)
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    if not input._kind.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft with return_complex=True.")
    if input._a.ndim < 2:
        raise IndexError(f"istft: expected a tensor with 2 or 3 dimensions, but got {input._a.ndim}")
    if input._a.ndim > 3:
        raise RuntimeError(f"istft: expected a tensor with 2 or 3 dimensions, but got {input._a.ndim}")
    if not input._a.size:
        raise RuntimeError("istft: input tensor cannot be empty.")
    frequencies = input._a.shape[-2]
    if onesided is None:
        onesided = frequencies != n_fft
    expected = n_fft // 2 + 1 if onesided else n_fft
    if frequencies != expected:
        raise RuntimeError(f"istft: expected the frequency dimension of the input to be {expected} "
                           f"({'n_fft // 2 + 1' if onesided else 'n_fft'}, as onesided={onesided}), but got {frequencies}")
    if not 0 < hop <= win_length:
        raise RuntimeError(f"istft: expected 0 < hop_length <= win_length, but got hop_length={hop}, win_length={win_length}")
    if not 0 < win_length <= n_fft:
        raise RuntimeError(f"istft: expected 0 < win_length <= n_fft, but got win_length={win_length}")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if not return_complex and window is not None and window._kind.is_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    weights = _window("istft", window, win_length, n_fft, input)
    x = (input if input._a.ndim == 3 else input.unsqueeze(0)).transpose(1, 2)
    scaling = "root" if normalized else "n"
    if return_complex:
        frames = c2c(x, (2,), scaling, False)
    else:
        frames = c2r(x if onesided else x.narrow(2, 0, n_fft // 2 + 1), (2,), scaling, n_fft)
    y = _overlap_add(frames * weights, hop)
    count = x._a.shape[1]
    envelope = _overlap_add((weights * weights).expand(1, count, n_fft), hop)
    y, envelope, missing = _cut(y, envelope, n_fft // 2 if center else 0, length, center)
    if not bool((np.abs(envelope._a) > 1e-11).all()):
        raise RuntimeError("istft: window overlap add min: the windows leave some samples uncovered (hop_length too large, or a window "
                           "with zeros at the ends without center=True)")
    y = y / envelope
    if missing > 0:
        warnings.warn("The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. Please "
                      "check your center and hop_length settings.", stacklevel=3)
        y = constant_pad_nd(y, [0, missing])
    return y if input._a.ndim == 3 else y.squeeze(0)


def _cut(y: Tensor, envelope: Tensor, start: int, length: int | None, center: bool) -> tuple[Tensor, Tensor, int]:
    """The part of the overlapped frames that is asked for, and how many samples there are too few."""
    have = y._a.shape[1]
    end = start + length if length is not None else have - start if center else have
    stop = min(end, have)
    return y[:, start:stop], envelope[:, start:stop], end - stop
