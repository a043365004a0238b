"""What launches every raw kernel: functions of (library, device, dtype) whose results two devices have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Work = Callable[[Any, str, str], list[Any]]
FLOATS = ("float32", "float64", "float16", "bfloat16")
HALVES = ("float16", "bfloat16")
WHOLE = ("int64", "int32", "int16", "int8", "uint8")


def numbers(T: Any, device: str, kind: str, *shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    """Normal numbers as a leaf, the same on every device."""
    import numpy as np
    values = np.random.default_rng(seed).normal(size=shape) * scale
    found = T.tensor(values, dtype=T.float64).to(getattr(T, kind)).to(device)
    return found.requires_grad_() if found.is_floating_point() else found


def both_ways(T: Any, function: Callable[..., Any], *leaves: Any) -> list[Any]:
    """The result and the gradients of all leaves."""
    y = function(*leaves)
    steps = T.arange(y.numel(), dtype=T.float64).view(y.shape)
    y.backward((steps * 0.7).cos().to(y.dtype).to(y.device))
    return [y, *[leaf.grad for leaf in leaves if leaf.requires_grad]]


def _rows(name: str) -> Work:
    def work(T: Any, device: str, kind: str) -> list[Any]:
        found = []
        for shape, axis in (((5, 33), 1), ((4, 3000), 1), ((6, 7, 5), 1), ((40, 9), 0)):
            found += both_ways(T, lambda x, axis=axis: getattr(T, name)(x, axis), numbers(T, device, kind, *shape, scale=3.0))
        return found
    return work


def _layer_norm(T: Any, device: str, kind: str) -> list[Any]:
    F, found = T.nn.functional, []
    for n in (33, 1024):
        x, w, b = (numbers(T, device, kind, *shape, seed=i) for i, shape in enumerate(((70, n), (n,), (n,))))
        found += both_ways(T, lambda x, w, b, n=n: F.layer_norm(x, (n,), w, b), x, w, b)
    x, w = numbers(T, device, kind, 5, 48), numbers(T, device, kind, 48, seed=1)
    return found + both_ways(T, lambda x, w: F.rms_norm(x, (48,), w), x, w)


def _batch_norm(T: Any, device: str, kind: str) -> list[Any]:
    found = []
    for shape in ((6, 5, 7, 9), (32, 16, 28, 28)):
        for training in (True, False):
            x, w, b = numbers(T, device, kind, *shape), *(numbers(T, device, kind, shape[1], seed=i) for i in (1, 2))
            mean, var = T.zeros(shape[1], device=device, dtype=x.dtype), T.ones(shape[1], device=device, dtype=x.dtype)
            found += both_ways(T, lambda x, w, b: T.nn.functional.batch_norm(x, mean, var, w, b, training), x, w, b)      # noqa: B023
            found += [mean, var]
    return found


def _linear(T: Any, device: str, kind: str) -> list[Any]:
    x, w, b = (numbers(T, device, kind, *shape, seed=i) for i, shape in enumerate(((300, 40), (24, 40), (24,))))
    batch = [numbers(T, device, kind, *shape, seed=i) for i, shape in enumerate(((3, 5, 7), (3, 7, 4)))]
    return both_ways(T, T.nn.functional.linear, x, w, b) + both_ways(T, T.matmul, *batch)


def _embedding(T: Any, device: str, kind: str) -> list[Any]:
    ids = T.tensor([[1, 5, 1], [0, 9, 5]], device=device)
    table = numbers(T, device, kind, 10, 33)
    if not table.requires_grad:
        return [T.nn.functional.embedding(ids, table), table.index_select(0, ids[0].to(T.int32))]
    return both_ways(T, lambda w: T.nn.functional.embedding(ids, w, padding_idx=0), table)


def _bounds(T: Any, device: str, kind: str) -> list[Any]:
    ids = T.tensor([2, 0, 1], device=device, dtype=getattr(T, kind))
    table = T.arange(12.0).view(3, 4).to(device)
    return [table.index_select(0, ids) if kind in ("int64", "int32") else table[ids.long()], table[ids.long()]]


def _cross_entropy(T: Any, device: str, kind: str) -> list[Any]:
    F, found = T.nn.functional, []
    y = T.tensor([3, 0, -100, 16, 5], device=device)
    for options in ({}, {"reduction": "none"}, {"reduction": "sum", "label_smoothing": 0.1}, {"weight": T.linspace(0.5, 1.5, 17).to(getattr(T, kind)).to(device)}):
        found += both_ways(T, lambda x, options=options: F.cross_entropy(x, y, **options), numbers(T, device, kind, 5, 17, scale=2.0))
    return found


def _multi_tensor(T: Any, device: str, kind: str) -> list[Any]:
    leaves = [T.nn.Parameter(numbers(T, device, kind, *shape, seed=i).detach()) for i, shape in enumerate(((30, 40), (7,), (3, 3)))]
    for number, leaf in enumerate(leaves):
        leaf.grad = numbers(T, device, kind, *leaf.shape, seed=number + 9).detach()
    norm = T.nn.utils.clip_grad_norm_(leaves, 1.0)
    found = [norm, *[leaf.grad.clone() for leaf in leaves]]
    if device == "cpu":
        return found + [leaf.grad.clone() * 0.25 for leaf in leaves]
    scaler = T.amp.GradScaler("cuda", init_scale=4.0)
    scaler.scale(T.ones(1, device=device))
    optimizer = T.optim.SGD(leaves, lr=0.1)
    if kind == "float16":
        return found + [leaf.grad.clone() * 0.25 for leaf in leaves]            # unscaling half gradients is refused, as by PyTorch
    scaler.unscale_(optimizer)
    return found + [leaf.grad.clone() for leaf in leaves]


def _pool(T: Any, device: str, kind: str) -> list[Any]:
    F = T.nn.functional
    x = numbers(T, device, kind, 2, 3, 9, 11, scale=20.0)
    ops = (lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, (4, 3)), lambda x: F.adaptive_max_pool2d(x, 4))
    found = [part for op in ops for part in both_ways(T, op, x.detach().clone().requires_grad_())]
    return [*found, F.max_pool2d(x, 2, return_indices=True)[1]]


def _pool_whole(T: Any, device: str, kind: str) -> list[Any]:
    x = T.arange(2 * 3 * 9 * 11).view(2, 3, 9, 11).to(getattr(T, kind)).to(device)
    return [T.nn.functional.max_pool2d(x, 3, 2, 1), *T.nn.functional.max_pool2d(x, 2, return_indices=True)]


def _convolution(shape: tuple[int, ...], outputs: int, kernel: int, stride: int, groups: int = 1) -> Work:
    def work(T: Any, device: str, kind: str) -> list[Any]:
        x, w = numbers(T, device, kind, *shape), numbers(T, device, kind, outputs, shape[1] // groups, kernel, kernel, seed=1, scale=0.1)
        b = numbers(T, device, kind, outputs, seed=2)
        return both_ways(T, lambda x, w, b: T.nn.functional.conv2d(x, w, b, stride, kernel // 2, groups=groups), x, w, b)
    return work


def _tiled(tile: int) -> Work:
    """A convolution through one tile, whatever the reckoning says."""
    def work(T: Any, device: str, kind: str) -> list[Any]:
        from rushlight.kernels.cuda import conv, implicit_gemm
        original = conv._tile
        conv._tile = lambda method, dtype, *rest: implicit_gemm.TILES[method][min(tile, len(implicit_gemm.TILES[method]) - 1)] \
            if method != "plain" or dtype == "float32" else original(method, dtype, *rest)
        try:
            return _convolution((2, 20, 12, 12), 70, 3, 1)(T, device, kind)
        finally:
            conv._tile = original
    return work


def _attention(size: int) -> Work:
    def work(T: Any, device: str, kind: str) -> list[Any]:
        found = []
        for causal in (True, False):
            leaves = [numbers(T, device, kind, 2, 3, 70, size, seed=i) for i in range(3)]
            found += both_ways(T, lambda q, k, v: T.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal), *leaves)      # noqa: B023
        return found
    return work


def _recurrent(name: str, **options: Any) -> Work:
    def work(T: Any, device: str, kind: str) -> list[Any]:
        T.manual_seed(0)
        with T.device("cpu"):
            layer = getattr(T.nn, name)(9, 12, 2, bidirectional=True, **options)
        layer = layer.to(device, getattr(T, kind))
        x = numbers(T, device, kind, 7, 3, 9)
        return both_ways(T, lambda x: layer(x)[0], x) + [parameter.grad for parameter in layer.parameters()]
    return work


def _optimizer(name: str) -> Work:
    def work(T: Any, device: str, kind: str) -> list[Any]:
        leaves = [T.nn.Parameter(numbers(T, device, kind, *shape, seed=i).detach()) for i, shape in enumerate(((30, 40), (7,), (3, 3)))]
        optimizer = getattr(T.optim, name)(leaves, lr=0.01, **({"momentum": 0.9} if name == "SGD" else {}))
        for step in range(3):
            for number, leaf in enumerate(leaves):
                leaf.grad = numbers(T, device, kind, *leaf.shape, seed=number + 9 * step).detach()
            optimizer.step()
        return leaves
    return work


def _elementwise(T: Any, device: str, kind: str) -> list[Any]:
    x, y = numbers(T, device, kind, 6, 40), numbers(T, device, kind, 40, seed=1)
    positive = numbers(T, device, kind, 6, 40).detach().abs() + 0.5
    found = [x + y, x * y, x / (y.abs() + 1), x - 2, x[:, 1:] + x[:, :-1], x.t() + 1, T.maximum(x, y), T.where(x > 0, x, y), positive ** y, T.atan2(x, y)]
    found += [getattr(x, name)() for name in ("exp", "tanh", "sin", "cos", "sigmoid", "erf", "abs", "neg", "floor", "round", "sign", "square", "expm1", "atan")]
    found += [getattr(positive, name)() for name in ("log", "sqrt", "rsqrt", "log1p", "reciprocal", "lgamma")]
    F = T.nn.functional
    for op in (F.gelu, F.silu, F.relu, F.softplus, F.mish, F.elu, F.hardswish, T.tanh, lambda x: x.clamp(-1, 1), lambda x: x * x.exp()):
        found += both_ways(T, op, x.detach().clone().requires_grad_())
    return found


CASES: dict[str, tuple[Work, tuple[str, ...]]] = {
    "elementwise": (_elementwise, FLOATS),
    "softmax": (_rows("softmax"), FLOATS), "log_softmax": (_rows("log_softmax"), FLOATS),
    "layer_norm": (_layer_norm, FLOATS), "batch_norm": (_batch_norm, FLOATS), "cross_entropy": (_cross_entropy, FLOATS),
    "linear": (_linear, (*FLOATS, "tf32")), "embedding": (_embedding, (*FLOATS, *WHOLE, "bool")), "bounds": (_bounds, WHOLE),
    "conv": (_convolution((3, 9, 10, 11), 12, 3, 2), (*FLOATS, "tf32")), "depthwise": (_convolution((2, 6, 9, 8), 6, 3, 1, 6), FLOATS),
    "grouped conv": (_convolution((2, 8, 9, 8), 12, 3, 1, 2), (*FLOATS, "tf32")),
    **{f"conv tile {i}": (_tiled(i), ("float32", "tf32", *HALVES)) for i in range(3)},
    **{f"attention {size}": (_attention(size), ("float32", "tf32", *HALVES)) for size in (32, 64, 128)},
    "pool": (_pool, FLOATS), "pool of integers": (_pool_whole, WHOLE), "multi_tensor": (_multi_tensor, FLOATS),
    "rnn": (_recurrent("RNN"), FLOATS), "gru": (_recurrent("GRU"), FLOATS), "lstm": (_recurrent("LSTM"), FLOATS),
    "lstm projected": (_recurrent("LSTM", proj_size=5), FLOATS),
    **{f"optimizer {name}": (_optimizer(name), ("float32", "bfloat16") if name in ("SGD", "Adam", "AdamW") else ("float32",))
       for name in ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adagrad", "Adadelta", "ASGD")},
}


def _moments(x: Any, mean: float, deviation: float, what: str) -> list[str]:
    """What is wrong with the mean or the deviation of drawn numbers, to six of its own deviations."""
    values = x.double().cpu()
    n = values.numel()
    off = abs(float(values.mean()) - mean) / (deviation / n ** 0.5)
    spread = float(values.std()) / deviation
    return [] if off < 6 and abs(spread - 1) < 0.1 else [f"{what}: mean {float(values.mean()):.4g}, not {mean:.4g}; deviation {float(values.std()):.4g}, not {deviation:.4g}"]


def _floating(T: Any) -> list[str]:
    found = []
    for kind in FLOATS:
        x = T.empty(20000, device="cuda", dtype=getattr(T, kind))
        for name, arguments, mean, deviation in (("uniform_", (), 0.5, 12 ** -0.5), ("normal_", (), 0.0, 1.0), ("exponential_", (2.0,), 0.5, 0.5),
                                                 ("log_normal_", (0.0, 0.25), 1.0317, 0.2620)):
            found += _moments(getattr(x, name)(*arguments), mean, deviation, f"{name} {kind}")
        share = float((x.cauchy_().double() > 0).double().mean())
        found += [] if abs(share - 0.5) < 0.03 else [f"cauchy_ {kind}: {share:.3f} above 0"]
        kept = T.nn.functional.dropout(T.ones(20000, device="cuda", dtype=x.dtype), 0.25)
        found += _moments(kept, 1.0, (1 / 0.75 - 1) ** 0.5, f"dropout {kind}")
        for n in (20001, 20002, 20004):
            found += _moments(T.nn.functional.dropout(T.ones(n, device="cuda", dtype=x.dtype), 0.25), 1.0, (1 / 0.75 - 1) ** 0.5, f"dropout of {n} {kind}")
    return found


def _integers(T: Any) -> list[str]:
    found = []
    for kind in (*WHOLE, *FLOATS):
        x = T.empty(20000, device="cuda", dtype=getattr(T, kind))
        found += _moments(x.random_(0, 100), 49.5, 28.87, f"random_ {kind}")
        found += _moments(x.geometric_(0.5), 2.0, 2 ** 0.5, f"geometric_ {kind}")
        found += _moments(x.bernoulli_(0.25), 0.25, 0.433, f"bernoulli_ {kind}")
        found += _moments(x.bernoulli_(T.full((20000,), 0.25, device="cuda")), 0.25, 0.433, f"bernoulli_ each {kind}")
        x.random_()
    for kind in ("bool", "uint16", "uint32", "uint64"):
        x = T.empty(20000, device="cuda", dtype=getattr(T, kind))
        found += _moments(x.random_(0, 2), 0.5, 0.5, f"random_ {kind}") + _moments(x.bernoulli_(0.25), 0.25, 0.433, f"bernoulli_ {kind}")
        found += _moments(x.bernoulli_(T.full((20000,), 0.25, device="cuda")), 0.25, 0.433, f"bernoulli_ each {kind}")
    found += _moments(T.randint(1 << 40, (20000,), device="cuda").double() / 2.0 ** 40, 0.5, 12 ** -0.5, "randint of 40 bits")
    return found


def _sampling(T: Any) -> list[str]:
    found = []
    for n in (10, 1000, 100_000):
        order = T.randperm(n, device="cuda").sort().values
        found += [] if bool((order == T.arange(n, device="cuda")).all()) else [f"randperm({n}) is no permutation"]
    for kind in FLOATS:
        weights = T.tensor([1.0, 0.0, 3.0], device="cuda", dtype=getattr(T, kind))
        drawn = T.multinomial(weights, 20000, replacement=True)
        found += _moments(drawn, 1.5, 0.75 ** 0.5, f"multinomial {kind}")
        found += _moments(T.poisson(T.full((20000,), 4.0, device="cuda", dtype=weights.dtype)), 4.0, 2.0, f"poisson {kind}")
        found += _moments(T._standard_gamma(T.full((20000,), 4.0, device="cuda", dtype=weights.dtype)), 4.0, 2.0, f"gamma {kind}")
    return found


DRAWS: dict[str, Callable[[Any], list[str]]] = {"floating": _floating, "integers": _integers, "sampling": _sampling}
