"""Recurrent layers: one node per layer and direction, with the backward pass through time on arrays (`kernels/rnn.py`).

``torch.lstm``, ``gru``, ``rnn_tanh``, ``rnn_relu`` and the cells. For a differentiable backward pass (create_graph=True) a node
computes its layer anew out of plain ops and differentiates that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.grad_mode import LOCAL
from ..dims import wrap_dim
from ..dtypes import float32
from ..kernels import rnn as K
from ..tensor import Tensor, wrap
from ..vocabulary import Array
from .matmul import linear
from .public import export
from .recompute import recomputed_grad, taken
from .record import record
from .registry import FUNCTIONS

__all__ = ["layer", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"]


def step_rows(batch_sizes: Sequence[int], reverse: bool) -> K.Steps:
    """(first row, one past the last) of each time step of packed data, in the order of processing."""
    rows, at = K.Steps(), 0
    for size in batch_sizes:
        rows.append((at, at + size))
        at += size
    if reverse:
        rows.reverse()
    return rows


def layer(mode: str, x: Tensor, batch_sizes: Sequence[int], h0: Tensor, c0: Tensor | None, weights: Sequence[Tensor | None],
          reverse: bool = False, leading: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
    """One layer in one direction: (y, h_n), with c_n for an LSTM.

    mode         "RNN_TANH", "RNN_RELU", "GRU" or "LSTM"
    x            (N, features): packed, time step after time step; batch_sizes[t] rows belong to step t
    h0, c0       (B, H)
    weights      w_ih, w_hh, b_ih, b_hh, w_hr; the last three may be None
    leading      (T, B) where all sequences are equally long and y is to be (T, B, features)
    """
    inputs = (x, h0, c0, *weights)
    steps, kind = step_rows(batch_sizes, reverse), x._kind
    recorded = (LOCAL.grad or LOCAL.dual) and any(t is not None and t._node is not None for t in inputs)
    found = K.forward(mode, steps, recorded, *(None if t is None else t._a for t in inputs)) if kind.is_floating else NotImplemented
    if found is NotImplemented:
        y, *finals = _composed(mode, inputs, steps)
        return y if leading is None else y.view(*leading, y.shape[1]), *finals
    results, kept = found
    width = results[0].shape[1]
    if leading is not None:
        results = (results[0].reshape(*leading, width), *results[1:])
    outs = tuple(wrap(array, kind) for array in results)
    if not recorded:
        return outs
    tensors = tuple(t for t in inputs if t is not None)
    # The closures below must not hold arrays: what they need is saved, so that it is freed with the node.
    present, was_kept = [t is not None for t in inputs], [array is not None for array in kept]
    wanted = tuple([t is not None and t._node is not None for t in inputs])
    count, shape = len(tensors), results[0].shape

    def restored(saved: Sequence[Any], there: list[bool]) -> list[Any]:
        given = iter(saved)
        return [next(given) if each else None for each in there]

    def array_grad(g: Array, *saved: Any) -> tuple[Any, ...]:
        grads = taken(K.backward(mode, steps, wanted, *g, *(None,) * (3 - len(g)), *restored(saved[:count], present),
                                 saved[count].reshape(-1, width), *restored(saved[count + 1:], was_kept)))
        return tuple(each for each, there in zip(grads, present, strict=True) if there)

    def grad(g: Any, *saved: Any) -> tuple[Any, ...]:
        def again(*tensors: Tensor) -> tuple[Tensor, ...]:
            y, *finals = _composed(mode, restored(tensors, present), steps)
            return y.view(shape), *finals
        return recomputed_grad(again, saved[:count], g)
    saved = (wrap(array, kind if array.dtype == kind.np else kind.with_dtype(float32)) for array in kept if array is not None)
    return record(outs, "RnnLayerBackward0", tensors, grad, (*tensors, outs[0], *saved), array_grad)


# --- out of plain ops --------------------------------------------------------------------------------------------------------------------

def _composed(mode: str, inputs: Sequence[Tensor | None], steps: list[Any]) -> tuple[Tensor, ...]:
    """The same layer as ordinary ops on tensors: differentiable as often as one likes, on any device."""
    x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr = inputs
    cat = FUNCTIONS["cat"]
    part = linear(x, w_ih, b_ih)
    ys: list[Any] = [None] * len(steps)
    for lo, hi in steps:
        n = hi - lo
        h_now, hidden = h[:n], linear(h[:n], w_hh, b_hh)
        if mode == "LSTM":
            i, f, g, o = (part[lo:hi] + hidden).chunk(4, 1)
            c_new = f.sigmoid() * c[:n] + i.sigmoid() * g.tanh()
            y = o.sigmoid() * c_new.tanh()
            if w_hr is not None:
                y = linear(y, w_hr)
            c = c_new if n == len(c) else cat((c_new, c[n:]))
        elif mode == "GRU":
            xr, xz, xn = part[lo:hi].chunk(3, 1)
            hr, hz, hn = hidden.chunk(3, 1)
            z = (xz + hz).sigmoid()
            new = (xn + (xr + hr).sigmoid() * hn).tanh()
            y = new + z * (h_now - new)
        else:
            y = part[lo:hi] + hidden
            y = y.relu() if mode == "RNN_RELU" else y.tanh()
        h = y if n == len(h) else cat((y, h[n:]))
        ys[_position(steps, lo)] = y
    return (cat(ys), h, c) if mode == "LSTM" else (cat(ys), h)


def _position(steps: list[Any], lo: int) -> int:
    """Which time step begins at row `lo`."""
    return sorted(first for first, _ in steps).index(lo)


# --- the functions -----------------------------------------------------------------------------------------------------------------------

def _stack(mode: str, x: Tensor, batch_sizes: Sequence[int], hx: tuple[Tensor, ...], params: Sequence[Tensor], has_biases: bool,
           num_layers: int,
           dropout: float,
           train: bool, bidirectional: bool, leading: tuple[int, int] | None = None) -> tuple[Tensor, ...]:
    """All layers over packed data: (y, h_n) or (y, h_n, c_n); y (T, B, features) where `leading` is (T, B)."""
    cat, stack = FUNCTIONS["cat"], FUNCTIONS["stack"]
    lstm_mode = mode == "LSTM"
    hidden, cells = hx if lstm_mode else (hx, None)
    directions = 2 if bidirectional else 1
    groups = _weights(params, has_biases, num_layers * directions, lstm_mode)
    finals: list[tuple[Tensor, ...]] = []
    for index in range(num_layers):
        outputs = []
        for direction in range(directions):
            at = index * directions + direction
            y, *final = layer(mode, x, batch_sizes, hidden[at], cells[at] if lstm_mode else None, groups[at], direction == 1, leading)
            outputs.append(y)
            finals.append(tuple(final))
        y = outputs[0] if directions == 1 else cat(outputs, -1)
        if dropout and train and index < num_layers - 1:
            y = FUNCTIONS["dropout"](y, dropout, True)
        x = y if y.dim() == 2 else y.view(-1, y.shape[-1])
    return y, *(stack(column) for column in zip(*finals, strict=True))


def _weights(params: Sequence[Tensor], has_biases: bool, count: int, lstm_mode: bool) -> list[tuple[Any, ...]]:
    """The flat list of weights, cut into (w_ih, w_hh, b_ih, b_hh, w_hr) per layer and direction."""
    plain = 4 if has_biases else 2
    each, rest = divmod(len(params), count)
    if rest or each not in ((plain, plain + 1) if lstm_mode else (plain,)):
        raise RuntimeError(f"got {len(params)} weights for {count} layers and directions{'' if has_biases else ' without biases'}, which "
                           f"need {plain} each" + (" (5 with projections)" if lstm_mode and has_biases else ""))
    groups = []
    for i in range(count):
        group = list(params[i * each:(i + 1) * each])
        biases = group[2:4] if has_biases else [None, None]
        groups.append((group[0], group[1], *biases, group[plain] if each > plain else None))
    return groups


def _run(mode: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, ...]:
    """Sort out the two signatures: (input, hx, params, ..., batch_first) and, packed, (data, batch_sizes, hx, params, ...)."""
    names = ["input", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first"]
    packed = "batch_sizes" in kwargs or (len(args) > 3 and isinstance(args[3], (list, tuple))) or (len(args) == 3 and "params" in kwargs)
    if packed:
        names = ["data", "batch_sizes", *names[1:-1]]
    given = dict(zip(names, args, strict=False)) | kwargs
    missing = [name for name in names if name not in given]
    if missing or len(given) != len(names):
        wrong = f"missing {', '.join(missing)}" if missing else f"unexpected {', '.join(sorted(set(given) - set(names)))}"
        raise TypeError(f"{mode.lower()}(): {wrong}; the arguments are {', '.join(names)}")
    options = (given["params"], given["has_biases"], given["num_layers"], given["dropout"], given["train"], given["bidirectional"])
    if not packed and given["batch_first"] and isinstance(given["input"], Tensor):
        for dim in (0, 1):
            wrap_dim(dim, given["input"].dim())
    _check_counts(mode, given["hx"], *options[:3], options[5])
    _check_types(mode, given[names[0]], given["hx"], given["params"])
    if packed:
        return _stack(mode, given["data"], given["batch_sizes"].tolist(), given["hx"], *options)
    x = given["input"]
    if given["batch_first"]:
        x = x.transpose(0, 1)
    steps, batch = x.shape[:2]
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    y, *finals = _stack(mode, x.reshape(steps * batch, x.shape[2]), [batch] * steps, given["hx"], *options, (steps, batch))
    return y.transpose(0, 1) if given["batch_first"] else y, *finals


def _size(t: Tensor, dim: int) -> int:
    """A size; PyTorch's IndexError where there is no such dimension."""
    return t.shape[wrap_dim(dim, t.dim())]


def _check_counts(mode: str, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int, bidirectional: bool) -> None:
    """As many hidden states and weights as layers and directions, by PyTorch's order of checks."""
    need, each = num_layers * (2 if bidirectional else 1), 4 if has_biases else 2
    if mode == "LSTM":
        if len(hx) != 2:
            raise RuntimeError("lstm expects two hidden states")
        each += _size(hx[0], 2) != _size(hx[1], 2)
        states = min(_size(hx[0], 0), _size(hx[1], 0))
    else:
        states = _size(hx, 0)
    if len(params) % each:
        raise RuntimeError("got an incorrect number of RNN parameters")
    if bidirectional and (states % 2 or len(params) // each % 2):
        raise RuntimeError("Odd number of params or hiddens given to a bidirectional RNN")
    if states != need or need < 1:
        raise RuntimeError(f"Expected more hidden states in stacked_rnn: there are {states} for {need} layers and directions")
    if len(params) != need * each:
        raise RuntimeError(f"Expected more weights in stacked_rnn: there are {len(params)} for {need} layers and directions, which need "
                           f"{each} each")


def _check_types(mode: str, x: Tensor, hx: tuple[Tensor, ...], params: Sequence[Tensor]) -> None:
    weight = params[0]
    if x.dtype is not weight.dtype:
        raise ValueError(f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                         f"input.to({weight.dtype}), or convert model: model.to({x.dtype})")
    for t in hx if mode == "LSTM" else (hx,):
        if t.dtype is not x.dtype:
            raise ValueError(f"RNN hidden state dtype ({t.dtype}) does not match input dtype ({x.dtype}). Convert it: hx.to({x.dtype})")
        if t.device != x.device:
            raise RuntimeError(f"Input and hidden tensors are not at the same device, found input tensor at {x.device} and hidden tensor "
                               f"at {t.device}")
    if _size(x, -1) != _size(weight, 1):
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {weight.shape[1]}, got {x.shape[-1]}")


@export(guard=True)
def lstm(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> (output, h_n, c_n)

    lstm(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional): packed sequences.
    hx is (h_0, c_0); params are the weights layer by layer: w_ih, w_hh, b_ih, b_hh (if has_biases), w_hr (with projections).
    """
    return _run("LSTM", args, kwargs)                      # type: ignore[return-value]


@export(guard=True)
def gru(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """gru(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> (output, h_n); packed as `lstm`."""
    return _run("GRU", args, kwargs)                       # type: ignore[return-value]


@export(guard=True)
def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """rnn_tanh(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> (output, h_n); or as `lstm`."""
    return _run("RNN_TANH", args, kwargs)                  # type: ignore[return-value]


@export(guard=True)
def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """rnn_relu(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) -> (output, h_n); or as `lstm`."""
    return _run("RNN_RELU", args, kwargs)                  # type: ignore[return-value]


def _check_cell(mode: str, x: Tensor, states: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor) -> None:
    gates = {"LSTM": 4, "GRU": 3}.get(mode, 1)
    if mode == "LSTM" and len(states) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    hidden = _size(w_hh, 1)
    if _size(w_ih, 0) != gates * hidden:
        raise RuntimeError(f"weight_ih first dim must be {gates} * hidden_size = {gates * hidden}, but got {w_ih.shape[0]}")
    for each in (x, *states, w_ih):
        if each.dim() != 2:
            raise RuntimeError(f"a cell's input, states and weights are matrices, but got one of {each.dim()} dimensions")
    if x.shape[1] != w_ih.shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {w_ih.shape[1]}")
    for index, state in enumerate(states):
        if state.shape[0] != x.shape[0]:
            raise RuntimeError(f"Input batch size {x.shape[0]} doesn't match hidden{index} batch size {state.shape[0]}")
        if state.shape[1] != w_hh.shape[1]:
            raise RuntimeError(f"hidden{index} has inconsistent hidden_size: got {state.shape[1]}, expected {w_hh.shape[1]}")
    for t in (*states, w_ih):
        if t.dtype is not x.dtype:
            raise RuntimeError(f"expected input, hidden state and weights of one dtype, got {x.dtype} and {t.dtype}")


def _cell(mode: str, x: Tensor, states: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any) -> tuple[Tensor, ...]:
    _check_cell(mode, x, states, w_ih, w_hh)
    c0 = states[1] if mode == "LSTM" else None
    return layer(mode, x, (x.shape[0],), states[0], c0, (w_ih, w_hh, b_ih, b_hh, None))


@export(guard=True)
def lstm_cell(input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
              b_hh: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: (h, c), each (B, H), from the input (B, I) and hx = (h, c)."""
    y, _, c = _cell("LSTM", input, hx, w_ih, w_hh, b_ih, b_hh)
    return y, c


@export(guard=True)
def gru_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """One step of a GRU: h (B, H) from the input (B, I) and the state hx (B, H)."""
    return _cell("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@export(guard=True)
def rnn_tanh_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """One step of an RNN: tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return _cell("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@export(guard=True)
def rnn_relu_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None) -> Tensor:
    """One step of an RNN: relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return _cell("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
