"""What is measured: the rows of the design's budget table. Each is one function ``(torch, device) -> step``.

The module that is passed as `torch` is rushlight or PyTorch: the code is the same. A step does one unit of work and returns a tensor whose value
after the first step has to agree between the two, so that both are known to compute the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Step = Callable[[], Any]
Setup = Callable[[Any, str], Any]


class Row(NamedTuple):
    """One line of the table. `unit` is 's' for a step, 'ops' for a set of timed operations; `training` rows have a memory budget.

    What a step cannot do without, for the roofline (Williams, Waterman and Patterson, 2009): `moved` bytes read and written, or `flops`
    floating-point operations of its products and convolutions; 0 where neither is the limit.
    """

    name: str
    title: str
    budget: float | None
    setup: Setup
    unit: str = "s"
    training: bool = False
    moved: float = 0.0
    flops: float = 0.0


def small_ops(torch: Any, device: str) -> dict[str, Step]:
    """35 operations on 64 floats each, with gradient recording."""
    F = torch.nn.functional
    torch.manual_seed(0)
    a = (torch.rand(64) + 0.5).to(device).requires_grad_()
    b = (torch.rand(64) + 0.5).to(device).requires_grad_()
    m = (torch.rand(8, 8) + 0.5).to(device).requires_grad_()
    n = (torch.rand(8, 8) + 0.5).to(device).requires_grad_()
    mask = a.detach() > 1
    index = torch.arange(8).to(device)
    return {
        "add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "div": lambda: a / b,
        "add number": lambda: a + 1.0, "mul number": lambda: a * 2.0, "pow": lambda: a ** 2, "neg": lambda: -a,
        "exp": lambda: a.exp(), "log": lambda: a.log(), "sqrt": lambda: a.sqrt(), "tanh": lambda: a.tanh(),
        "sigmoid": lambda: a.sigmoid(), "relu": lambda: F.relu(a), "sin": lambda: a.sin(), "abs": lambda: a.abs(),
        "clamp": lambda: a.clamp(0.6, 1.2), "maximum": lambda: torch.maximum(a, b), "greater": lambda: a > b,
        "where": lambda: torch.where(mask, a, b), "sum": lambda: a.sum(), "mean": lambda: a.mean(), "sum of rows": lambda: m.sum(1),
        "max of rows": lambda: m.max(1), "matmul": lambda: m @ n, "softmax": lambda: m.softmax(1),
        "log_softmax": lambda: m.log_softmax(1), "cat": lambda: torch.cat((a, b)), "stack": lambda: torch.stack((a, b)),
        "view": lambda: a.view(8, 8), "transpose": lambda: m.transpose(0, 1), "unsqueeze": lambda: a.unsqueeze(0),
        "slice": lambda: a[8:24], "index_select": lambda: m.index_select(0, index), "zeros_like": lambda: torch.zeros_like(a),
    }


def chain(torch: Any, device: str) -> Step:
    """20 operations on 64 floats one after the other, and the gradients back."""
    torch.manual_seed(0)
    x = torch.rand(64).to(device).requires_grad_()
    w = torch.rand(64).to(device).requires_grad_()

    def step() -> Any:
        y = x
        for _ in range(5):
            y = (y * w + x).tanh() - w
        loss = y.sum()
        x.grad = w.grad = None
        loss.backward()
        return x.grad.sum()

    return step


def _training(torch: Any, model: Any, optimizer: Any, loss_of: Callable[[], Any]) -> Step:
    model.train()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss

    return step


def _classifier(torch: Any, model: Any, x: Any, classes: int, device: str, optimizer: str = "Adam", **options: Any) -> Step:
    y = torch.randint(0, classes, (x.shape[0],)).to(device)
    x, model = x.to(device), model.to(device)
    criterion = torch.nn.CrossEntropyLoss()
    return _training(torch, model, getattr(torch.optim, optimizer)(model.parameters(), **options), lambda: criterion(model(x), y))


def tiny_mlp(torch: Any, device: str) -> Step:
    """4-64-64-2, batch 32, Adam."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    return _classifier(torch, model, torch.randn(32, 4), 2, device, lr=1e-3)


def mlp(torch: Any, device: str) -> Step:
    """784-128-10, batch 64, Adam."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    return _classifier(torch, model, torch.randn(64, 784), 10, device, lr=1e-3)


def lenet(torch: Any, device: str) -> Step:
    """Two 5x5 convolutions with pooling and three linear layers on 28x28, batch 64, SGD with momentum."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return _classifier(torch, model, torch.randn(64, 1, 28, 28), 10, device, "SGD", lr=0.01, momentum=0.9)


def resnet18(torch: Any, device: str) -> Step:
    """ResNet-18 in its form for 32x32 images (3x3 stem, no first pooling), batch 16, SGD with momentum."""
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(outside)
            self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(outside)
            self.relu = nn.ReLU()
            self.shortcut = nn.Identity() if stride == 1 and inside == outside else nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

        def forward(self, x: Any) -> Any:
            y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
            return self.relu(y + self.shortcut(x))

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    layers += [Block(*width) for width in widths]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    return _classifier(torch, model, torch.randn(16, 3, 32, 32), 10, device, "SGD", lr=0.01, momentum=0.9)


def lstm(torch: Any, device: str) -> Step:
    """An LSTM of 128 units over 64 steps and a linear layer on its last output, batch 32, Adam."""
    nn = torch.nn

    class Last(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(128, 128, batch_first=True)
            self.head = nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    return _classifier(torch, Last(), torch.randn(32, 64, 128), 10, device, lr=1e-3)


def gpt(torch: Any, device: str) -> Step:
    """A decoder of 4 blocks of width 128 with 4 heads, 128 tokens, batch 16, vocabulary 256, AdamW."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(128), nn.LayerNorm(128)
            self.qkv, self.out = nn.Linear(128, 384), nn.Linear(128, 128)
            self.mlp = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))

        def forward(self, x: Any) -> Any:
            batch, tokens, width = x.shape
            q, k, v = (part.view(batch, tokens, 4, 32).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.mlp(self.norm2(x))

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(256, 128), nn.Embedding(128, 128)
            self.blocks = nn.Sequential(*[Block() for _ in range(4)])
            self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 256, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
            return self.head(self.norm(self.blocks(x)))

    torch.manual_seed(0)
    model = Model().to(device)
    ids = torch.randint(0, 256, (16, 129)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return _training(torch, model, optimizer, lambda: F.cross_entropy(model(ids[:, :-1]).reshape(-1, 256), ids[:, 1:].reshape(-1)))


def encoder(torch: Any, device: str) -> Step:
    """nn.TransformerEncoder: 6 layers of width 384 with 6 heads, inference on 8 x 128 tokens."""
    nn = torch.nn
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(384, 6, 1536, activation="gelu", batch_first=True)
    model = nn.TransformerEncoder(layer, 6).to(device).eval()
    x = torch.randn(8, 128, 384).to(device)

    def step() -> Any:
        with torch.no_grad():
            return model(x).square().mean()

    return step


def adamw(torch: Any, device: str) -> Step:
    """optimizer.step() alone."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(64, 64).to(device)) for _ in range(100)]
    for parameter in parameters:
        parameter.grad = torch.randn(64, 64).to(device)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)

    def step() -> Any:
        optimizer.step()
        return parameters[0]

    return step


def dataloader(torch: Any, device: str) -> Step:
    """One pass over 12800 samples of 784 floats in shuffled batches of 64, two worker processes that stay."""
    data = torch.utils.data
    torch.manual_seed(0)
    dataset = data.TensorDataset(torch.rand(12800, 784), torch.randint(0, 10, (12800,)))
    loader = data.DataLoader(dataset, batch_size=64, shuffle=True, num_workers=2, persistent_workers=True)

    def step() -> Any:
        for x, _ in loader:
            last = x.to(device)
        return last

    return step


def _products(*sizes: tuple[float, float, float], training: bool = True) -> float:
    """Floating-point operations of products (rows, inside, outside), with those of both gradients; the first one's input has none."""
    one = [2.0 * rows * inside * outside for rows, inside, outside in sizes]
    return 3.0 * sum(one) - one[0] if training else sum(one)


def _lenet_flops() -> float:
    return _products((64 * 784, 25, 6), (64 * 100, 150, 16), (64, 400, 120), (64, 120, 84), (64, 84, 10))


def _resnet18_flops() -> float:
    sizes = [(16 * 1024, 27, 64)]
    inside, pixels = 64, 1024
    for outside in (64, 128, 256, 512):
        if outside != inside:
            pixels //= 4
            sizes.append((16 * pixels, inside, outside))        # the shortcut
        sizes += [(16 * pixels, 9 * inside, outside), *[(16 * pixels, 9 * outside, outside)] * 3]
        inside = outside
    return _products(*sizes, (16, 512, 10))


def _gpt_flops() -> float:
    tokens = 16 * 128
    scores = [(16 * 4 * 128, 32, 128 / 2)] * 2                  # q k' and p v, half of them masked
    return _products(*[(tokens, 128, 384), *scores, (tokens, 128, 128), (tokens, 128, 512), (tokens, 512, 128)] * 4, (tokens, 128, 256))


def _encoder_flops() -> float:
    tokens = 8 * 128
    scores = [(8 * 6 * 128, 64, 128)] * 2
    return _products(*[(tokens, 384, 1152), *scores, (tokens, 384, 384), (tokens, 384, 1536), (tokens, 1536, 384)] * 6, training=False)


ROWS = [
    Row("ops", "one small op, forward, geometric mean over 35 ops", 0.5, small_ops, unit="ops"),
    Row("chain", "chain of 20 small ops, forward and backward", 0.4, chain),
    Row("tiny_mlp", "training step of a tiny MLP (4-64-64-2, batch 32, Adam)", 0.25, tiny_mlp, training=True, flops=_products((32, 4, 64), (32, 64, 64), (32, 64, 2))),
    Row("mlp", "training step of a 784-128-10 MLP, batch 64", 0.6, mlp, training=True, flops=_products((64, 784, 128), (64, 128, 10))),
    Row("lenet", "LeNet-like CNN, batch 64", 0.9, lenet, training=True, flops=_lenet_flops()),
    Row("resnet18", "ResNet-18 on 32x32, batch 16", 1.0, resnet18, training=True, flops=_resnet18_flops()),
    Row("lstm", "LSTM 128, 64 steps, batch 32", 0.7, lstm, training=True, flops=_products((32 * 64, 128, 512), (32 * 64, 128, 512), (32, 128, 10))),
    Row("gpt", "GPT 4x128, 128 tokens, batch 16", 0.8, gpt, training=True, flops=_gpt_flops()),
    Row("encoder", "encoder inference, 6x384, batch 8x128", 0.9, encoder, flops=_encoder_flops()),
    Row("adamw", "AdamW over 100 tensors of 64x64", 0.2, adamw, moved=100 * 64 * 64 * 4 * 7.0),
    Row("dataloader", "DataLoader, 2 workers, 200 batches of 64x784", None, dataloader),
]
IMPORT_TITLE, IMPORT_BUDGET = "`import rushlight` (wall) against `import torch`", 0.12
IMPORTS_TITLE = "the same with nn.functional, optim and utils.data"
SIZE_TITLE, SIZE_BUDGET = "installed size, with NumPy, against torch's CPU wheel with its dependencies", 0.12
MEMORY_TITLE, MEMORY_BUDGET = "peak memory of each training above", 0.8
