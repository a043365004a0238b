"""What ``python -m bench --device cuda`` measures. As in workloads.py, each row is one function ``(torch, device) -> step``; it takes sizes too,
so that the tests can run it small. `moved` is how many bytes a step has to move at least: the table then shows the share of the GPU's measured
copy bandwidth, for both frameworks.
"""

from __future__ import annotations

from typing import Any

from .workloads import Row, Step, chain, small_ops

MIB = 1 << 20


def add(torch: Any, device: str, n: int = 64 * MIB) -> Step:
    """a + b on 64 Mi floats."""
    torch.manual_seed(0)
    a, b = (torch.rand(n, device="cpu").to(device) for _ in range(2))
    return lambda: a + b


def gelu(torch: Any, device: str, n: int = 64 * MIB) -> Step:
    """gelu of 64 Mi bfloat16 numbers, forward and backward."""
    torch.manual_seed(0)
    x = torch.rand(n, device="cpu").to(device, torch.bfloat16).requires_grad_()
    g = torch.ones(n, dtype=torch.bfloat16, device=device)

    def step() -> Any:
        x.grad = None
        torch.nn.functional.gelu(x).backward(g)
        return x.grad[:1024].float()

    return step


def softmax(torch: Any, device: str, rows: int = 8192, columns: int = 4096) -> Step:
    """softmax over 8192 rows of 4096 floats, forward and backward."""
    torch.manual_seed(0)
    x = torch.rand(rows, columns, device="cpu").to(device).requires_grad_()
    g = torch.rand(rows, columns, device="cpu").to(device)

    def step() -> Any:
        x.grad = None
        x.softmax(1).backward(g)
        return x.grad[0]

    return step


def layer_norm(torch: Any, device: str, rows: int = 16384, columns: int = 1024) -> Step:
    """layer_norm over 16384 rows of 1024 bfloat16 numbers, forward and backward."""
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(columns).to(device, torch.bfloat16)
    x = torch.rand(rows, columns, device="cpu").to(device, torch.bfloat16).requires_grad_()
    g = torch.rand(rows, columns, device="cpu").to(device, torch.bfloat16)

    def step() -> Any:
        x.grad = norm.weight.grad = norm.bias.grad = None
        norm(x).backward(g)
        return norm.bias.grad.float()[:8]

    return step


def _matmul(torch: Any, device: str, n: int, dtype: str) -> Step:
    torch.manual_seed(0)
    a, b = (torch.rand(n, n, device="cpu").to(device, getattr(torch, dtype)) for _ in range(2))
    return lambda: (a @ b)[0, :8].float()


def matmul_fp32(torch: Any, device: str, n: int = 4096) -> Step:
    """4096 x 4096 float32 matrices, without TF32."""
    torch.set_float32_matmul_precision("highest")
    return _matmul(torch, device, n, "float32")


def matmul_bf16(torch: Any, device: str, n: int = 8192) -> Step:
    """8192 x 8192 bfloat16 matrices."""
    return _matmul(torch, device, n, "bfloat16")


def _resnet(torch: Any, device: str, counts: tuple[int, ...], bottleneck: bool, batch: int, size: int, width: int,
            autocast: Any = None) -> Step:
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inside: int, middle: int, stride: int) -> None:
            super().__init__()
            outside = middle * 4 if bottleneck else middle
            sizes = [(inside, middle, 1, 1), (middle, middle, 3, stride), (middle, outside, 1, 1)] if bottleneck else [
                (inside, middle, 3, stride), (middle, middle, 3, 1)]
            layers: list[Any] = []
            for i, o, kernel, step in sizes:
                layers += [nn.Conv2d(i, o, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
            self.body = nn.Sequential(*layers[:-1])
            self.relu = nn.ReLU()
            self.shortcut = nn.Identity() if stride == 1 and inside == outside else nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

        def forward(self, x: Any) -> Any:
            return self.relu(self.body(x) + self.shortcut(x))

    torch.manual_seed(0)
    with torch.device("cpu"):
        layers: list[Any] = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        inside = width
        for stage, count in enumerate(counts):
            for i in range(count):
                layers.append(Block(inside, width << stage, 2 if i == 0 and stage else 1))
                inside = (width << stage) * (4 if bottleneck else 1)
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 1000))
        x, y = torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))
    model = model.to(device)
    x, y = x.to(device), y.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> Any:
        optimizer.zero_grad()
        with torch.autocast(str(device).split(":")[0], dtype=autocast, enabled=autocast is not None):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.float()

    return step


def resnet18(torch: Any, device: str, batch: int = 64, size: int = 224, width: int = 64) -> Step:
    """ResNet-18, batch 64 of 224x224, SGD with momentum."""
    return _resnet(torch, device, (2, 2, 2, 2), False, batch, size, width)


def resnet50(torch: Any, device: str, batch: int = 32, size: int = 224, width: int = 64) -> Step:
    """ResNet-50, batch 32 of 224x224, SGD with momentum."""
    return _resnet(torch, device, (3, 4, 6, 3), True, batch, size, width)


def resnet50_bf16(torch: Any, device: str, batch: int = 64, size: int = 224, width: int = 64) -> Step:
    """ResNet-50 under bfloat16 autocast, batch 64 of 224x224, SGD with momentum."""
    return _resnet(torch, device, (3, 4, 6, 3), True, batch, size, width, torch.bfloat16)


def _conv(torch: Any, device: str, dtype: str, batch: int, channels: int, size: int) -> Step:
    torch.manual_seed(0)
    x, w = (torch.randn(*shape, device="cpu").to(device, getattr(torch, dtype)).requires_grad_()
            for shape in ((batch, channels, size, size), (channels, channels, 3, 3)))
    g = torch.ones(batch, channels, size, size, dtype=x.dtype, device=device)

    def step() -> Any:
        x.grad = w.grad = None
        torch.nn.functional.conv2d(x, w, padding=1).backward(g)
        return w.grad[0, 0].float()

    return step


def conv(torch: Any, device: str, batch: int = 64, channels: int = 128, size: int = 28) -> Step:
    """3x3 convolution of 128 channels, batch 64 of 28x28 float32 (TF32, both sides' default), forward and backward."""
    return _conv(torch, device, "float32", batch, channels, size)


def conv_bf16(torch: Any, device: str, batch: int = 64, channels: int = 128, size: int = 28) -> Step:
    """The same in bfloat16."""
    return _conv(torch, device, "bfloat16", batch, channels, size)


def batch_norm(torch: Any, device: str, batch: int = 64, channels: int = 64, size: int = 112) -> Step:
    """Batch norm in training, 64 channels, batch 64 of 112x112 floats, forward and backward."""
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(channels).to(device)
    x, g = (torch.rand(batch, channels, size, size, device="cpu").to(device) for _ in range(2))
    x.requires_grad_()

    def step() -> Any:
        x.grad = norm.weight.grad = norm.bias.grad = None
        norm(x).backward(g)
        return norm.bias.grad[:8]

    return step


def gpt2(torch: Any, device: str, batch: int = 8, tokens: int = 1024, width: int = 768, layers: int = 12, vocabulary: int = 50304) -> Step:
    """GPT-2 small (12 layers of width 768) on 8 x 1024 tokens under bfloat16 autocast, AdamW."""
    nn, F = torch.nn, torch.nn.functional
    heads = max(1, width // 64)

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x: Any) -> Any:
            shape = x.shape
            q, k, v = (part.view(shape[0], shape[1], heads, width // heads).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(shape))
            return x + self.mlp(self.norm2(x))

    torch.manual_seed(0)
    with torch.device("cpu"):
        model = nn.ModuleDict({"tokens": nn.Embedding(vocabulary, width), "places": nn.Embedding(tokens, width),
                               "blocks": nn.Sequential(*[Block() for _ in range(layers)]), "norm": nn.LayerNorm(width),
                               "head": nn.Linear(width, vocabulary, bias=False)})
        ids = torch.randint(0, vocabulary, (batch, tokens + 1))
    model, ids = model.to(device), ids.to(device)
    places = torch.arange(tokens, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> Any:
        optimizer.zero_grad()
        with torch.autocast(str(device).split(":")[0], dtype=torch.bfloat16):
            x = model["blocks"](model["tokens"](ids[:, :-1]) + model["places"](places))
            loss = F.cross_entropy(model["head"](model["norm"](x)).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        return loss.float()

    return step


def adam(torch: Any, device: str, count: int = 400, size: int = 256) -> Step:
    """Adam over 400 tensors of 256x256."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size, size, device="cpu").to(device)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = torch.randn(size, size, device="cpu").to(device)
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def step() -> Any:
        optimizer.step()
        return parameters[0].detach()[0]

    return step


def graph(torch: Any, device: str, length: int = 20) -> Step:
    """A chain of 20 small ops recorded once as a CUDA graph: what is left when launching costs nothing."""
    torch.manual_seed(0)
    x = torch.rand(64, device="cpu").to(device)
    recorded, y = torch.cuda.CUDAGraph(), x
    for _ in range(3):
        y = x * 1.5                              # kernels have to be compiled before they are recorded
        y = (y + x).tanh()
    torch.cuda.synchronize()
    with torch.cuda.graph(recorded):
        y = x
        for _ in range(length // 2):
            y = (y + x).tanh()

    def step() -> Any:
        recorded.replay()
        return y

    return step


def graph_or_eager(torch: Any, device: str, length: int = 20) -> Step:
    """The same chain, ours as a CUDA graph, PyTorch's op by op: what a graph saves a program that was bound by launching."""
    if torch.__name__ == "rushlight":
        return graph(torch, device, length)
    torch.manual_seed(0)
    x = torch.rand(64, device="cpu").to(device)

    def step() -> Any:
        y = x
        for _ in range(length // 2):
            y = (y + x).tanh()
        return y

    return step


# Sizes with which the rows run anywhere, in a moment.
SMALL: dict[str, dict[str, int]] = {
    "add": {"n": 100}, "gelu": {"n": 2000}, "softmax": {"rows": 3, "columns": 40}, "layer_norm": {"rows": 3, "columns": 16},
    "matmul_fp32": {"n": 9}, "matmul_bf16": {"n": 9}, "adam": {"count": 3, "size": 4}, "resnet18": {"batch": 2, "size": 32, "width": 4},
    "resnet50": {"batch": 2, "size": 32, "width": 2}, "resnet50_bf16": {"batch": 2, "size": 32, "width": 2},
    "conv": {"batch": 2, "channels": 4, "size": 5}, "conv_bf16": {"batch": 2, "channels": 4, "size": 5},
    "batch_norm": {"batch": 2, "channels": 3, "size": 4}, "gpt2": {"batch": 2, "tokens": 5, "width": 16, "layers": 2, "vocabulary": 11}}

GPU_ROWS = [
    Row("ops", "one small op, forward, geometric mean over 35 ops", 1.5, small_ops, unit="ops"),
    Row("chain", "chain of 20 small ops, forward and backward", 1.5, chain),
    Row("graph", "chain of 20 small ops as a CUDA graph", None, graph),
    Row("graph_or_eager", "the same, ours as a CUDA graph, PyTorch's op by op", 0.5, graph_or_eager),
    Row("add", "add of 64 Mi float32", 1.0, add, moved=3 * 4 * 64 * MIB),
    Row("gelu", "gelu of 64 Mi bfloat16, forward and backward", 1.0, gelu, moved=5 * 2 * 64 * MIB),
    Row("softmax", "softmax of 8192x4096 float32, forward and backward", 1.0, softmax, moved=5 * 4 * 8192 * 4096),
    Row("layer_norm", "layer_norm of 16384x1024 bfloat16, forward and backward", 1.0, layer_norm, moved=5 * 2 * 16384 * 1024),
    Row("matmul_fp32", "matmul of 4096x4096 float32", 1.05, matmul_fp32),
    Row("matmul_bf16", "matmul of 8192x8192 bfloat16", 1.05, matmul_bf16),
    Row("resnet18", "ResNet-18 training step, batch 64 of 224x224", None, resnet18, training=True),
    Row("resnet50", "ResNet-50 training step, batch 32 of 224x224", 1.2, resnet50, training=True),
    Row("resnet50_bf16", "ResNet-50 training step, bfloat16 autocast, batch 64 of 224x224", 1.2, resnet50_bf16, training=True),
    Row("conv", "3x3 convolution of 128 channels, batch 64 of 28x28, TF32, forward and backward", None, conv),
    Row("conv_bf16", "the same in bfloat16", None, conv_bf16),
    Row("batch_norm", "batch norm of 64x64x112x112 float32, forward and backward", 1.0, batch_norm, moved=8 * 4 * 64 * 64 * 112 * 112),
    Row("gpt2", "GPT-2 small training step, bfloat16 autocast, 8x1024 tokens", 1.1, gpt2, training=True),
    Row("adam", "Adam over 400 tensors of 256x256", None, adam, moved=7 * 4 * 400 * 256 * 256),
]
