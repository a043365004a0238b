"""Modules that PyTorch scripts or traces for the tests of TorchScript archives, and the archives of them."""

import enum
import io
from typing import Final, NamedTuple

import torch as pt

import rushlight as rl


def archive(module, how="script", inputs=()):
    """The bytes of the archive of a module of PyTorch's."""
    made = pt.jit.script(module) if how == "script" else pt.jit.trace(module, inputs, check_trace=False, strict=False)
    file = io.BytesIO()
    pt.jit.save(made, file)
    return file.getvalue()


def both(content):
    """(PyTorch's module, ours) from one archive."""
    return pt.jit.load(io.BytesIO(content)), rl.jit.load(io.BytesIO(content))


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: pt.Tensor
    n: int


@pt.jit.script
class Counter:
    def __init__(self, start: int):
        self.total = start
        self.seen: list[int] = []

    def add(self, by: int) -> int:
        self.total += by
        self.seen.append(by)
        return self.total


@pt.jit.interface
class Scaling(pt.nn.Module):
    def forward(self, x: pt.Tensor) -> pt.Tensor:
        pass


class Twice(pt.nn.Module):
    def forward(self, x: pt.Tensor) -> pt.Tensor:
        return x * 2


class Language(pt.nn.Module):
    """One method for each part of the language; each returns what tests compare."""

    names: list[str]
    table: dict[str, int]
    width: Final[int]
    maybe: int | None
    scaling: Scaling

    def __init__(self):
        super().__init__()
        self.linear = pt.nn.Linear(3, 3)
        self.layers = pt.nn.ModuleList([pt.nn.Linear(3, 3), pt.nn.Linear(3, 3)])
        self.scaling = Twice()
        self.names, self.table, self.width, self.maybe = ["a\n\"é", "b\\"], {"x": 1}, 3, None
        self.color, self.limit, self.several, self.numbers = Color.RED, float("inf"), (1, 2.5, "x"), [1, 2]
        self.kept = [pt.ones(2)]
        self.register_buffer("offset", pt.arange(3.))
        self.kind, self.place, self.root = pt.float64, pt.device("cpu"), 1 + 2j
        self._level = 5

    @property
    def level(self) -> int:
        return self._level

    @level.setter
    def level(self, value: int) -> None:
        self._level = value

    def forward(self, x: pt.Tensor, flag: bool = True, factor: float = 1.5):
        x = self.scaling.forward(self.linear(x)) * factor + self.offset
        for i, layer in enumerate(self.layers):
            x = layer(x) + i
        return x if flag else -x

    @pt.jit.export
    def loops(self, xs: list[pt.Tensor], bound: int):
        total, i = 0.0, 0
        while i < bound:
            i += 1
            if i == 2:
                continue
            if i > 5:
                break
            total += float(i)
        for x in xs:
            total += float(x.sum())
        pairs = [(k, v) for k, v in {"a": 1, "b": 2}.items()]
        return total, i, pairs, [j * 2 for j in range(1, 7, 2)], [x + 1 for x in xs]

    @pt.jit.export
    def values(self, text: str, n: int, numbers: list[int]):
        table: dict[str, int] = {"one": 1}
        table["n"] = n
        numbers.append(n)
        numbers[0] = 9
        del numbers[1]
        first = numbers[0] if 9 in numbers and "a" in text else -1
        words = text.upper().split("B")
        joined = "-".join(words) + f"{n}:{text}" + "%d" % n + text[1:] + text[0]  # noqa: UP031
        arithmetic = (n // 2, n / 2, n % 4, -n, abs(-n), max(n, 2), min([n, 3]), n ** 2, int(2.7), float(n), n << 2, n & 6 | 1, n ^ 3)
        return table, numbers, first, joined, arithmetic, sorted(table.keys()), len(text), table.get("two", 7), numbers.pop(), numbers[::-1]

    @pt.jit.export
    def tensors(self, x: pt.Tensor, maybe: pt.Tensor | None):
        y = x.clone()
        y[0] = 3
        y[1:] += 1
        z = pt.zeros(3, dtype=pt.float64, device=x.device) + x.to(pt.float64).sum() + x.to(y).mean()
        if maybe is None:
            maybe = x[None, ..., 0]
        if x.shape[0] > 1 and x.dtype == pt.float32 and x.device.type == "cpu":
            z = z * 2
        with pt.no_grad():
            w = x + 1
        listed: list[float] = x[0].tolist()
        return y, z, maybe, w, listed, x[x > 0.5], pt.cat([x, y], 1), x.size(), x.dtype, pt.full([2], 3), x.unbind(0), x.numel(), x.argmax(1)

    @pt.jit.export
    def classes(self, point: Point, color: Color):
        counter = Counter(3)
        counter.add(point.n)
        if color == Color.BLUE:
            return Point(point.x + counter.total, n=counter.add(2)), len(counter.seen)
        if color == self.color:
            self.table["hits"] = 4
        return Point(x=point.x, n=color.value), self.table["x"]

    @pt.jit.export
    def attributes(self, by: int):
        self.level = self.level + by
        self.numbers.append(by)
        self.offset = self.offset + by
        future = pt.jit.fork(self.forward, self.offset, True, 2.0)
        return self.level, self.numbers, self.limit, self.several, self.names, self.kind, self.root, pt.jit.wait(future), self.width, self.maybe

    @pt.jit.export
    def failing(self, n: int) -> int:
        assert n > 2, f"bad {n} value"
        if n > 10:
            raise ValueError("too large")
        return n


class Hooked(pt.nn.Module):
    """Scripted hooks, a shared layer, a parameter without gradient, and a parameter under two names."""

    def __init__(self):
        super().__init__()
        self.layer = pt.nn.Linear(2, 2)
        self.again, self.weight = self.layer, self.layer.weight
        self.constant = pt.nn.Parameter(pt.ones(3), requires_grad=False)

        def after(self, input: tuple[pt.Tensor], output: pt.Tensor) -> pt.Tensor:
            return output + 1

        def before(self, input: tuple[pt.Tensor]) -> tuple[pt.Tensor]:
            return (input[0] * 2,)
        self.layer.register_forward_hook(after)
        self.layer.register_forward_pre_hook(before)
        self.register_forward_hook(after)

    def forward(self, x):
        return self.layer(x) + self.again(x) + self.weight.sum() * self.constant[0]


class Block(pt.nn.Module):
    """A residual block of a small ResNet."""

    def __init__(self, channels, stride):
        super().__init__()
        self.conv1, self.bn1 = pt.nn.Conv2d(channels, 2 * channels, 3, stride, 1, bias=False), pt.nn.BatchNorm2d(2 * channels)
        self.conv2, self.bn2 = pt.nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1, bias=False), pt.nn.BatchNorm2d(2 * channels)
        self.down = pt.nn.Sequential(pt.nn.Conv2d(channels, 2 * channels, 1, stride, bias=False), pt.nn.BatchNorm2d(2 * channels))
        self.relu = pt.nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.down(x))


class ResNet(pt.nn.Module):
    """What torchvision's ResNets are made of, smaller."""

    def __init__(self):
        super().__init__()
        self.stem = pt.nn.Sequential(pt.nn.Conv2d(3, 4, 7, 2, 3, bias=False), pt.nn.BatchNorm2d(4), pt.nn.ReLU(inplace=True),
                                     pt.nn.MaxPool2d(3, 2, 1))
        self.blocks, self.pool, self.head = pt.nn.Sequential(Block(4, 1), Block(8, 2)), pt.nn.AdaptiveAvgPool2d((1, 1)), pt.nn.Linear(16, 5)

    def forward(self, x: pt.Tensor) -> pt.Tensor:
        return self.head(pt.flatten(self.pool(self.blocks(self.stem(x))), 1))


class Recurrent(pt.nn.Module):
    """An LSTM and a GRU over embedded words."""

    def __init__(self):
        super().__init__()
        self.words, self.lstm = pt.nn.Embedding(7, 4), pt.nn.LSTM(4, 5, 2, batch_first=True, bidirectional=True)
        self.gru = pt.nn.GRU(10, 3, batch_first=True)

    def forward(self, words: pt.Tensor, state: tuple[pt.Tensor, pt.Tensor] | None = None):
        x, state = self.lstm(self.words(words), state)
        return self.gru(x)[0], state


class Encoder(pt.nn.Module):
    """A transformer's encoder with a mask."""

    def __init__(self):
        super().__init__()
        self.layers = pt.nn.TransformerEncoder(pt.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2)
        self.norm = pt.nn.LayerNorm(8)

    def forward(self, x: pt.Tensor, mask: pt.Tensor | None = None):
        return self.norm(self.layers(x, mask=mask))
