"""Modules and functions to trace, made for one of the two packages (`torch`): what they print has to be the same."""

from types import SimpleNamespace

# One statement each: what is recorded of a call, for all kinds of functions.
STATEMENTS = """
s.b + x
s.c * x
s.w - x
torch.ones(3) + x
x + s.c
s.b.add(x)
3 - x
-x
abs(x)
~x
x % 2
x << 1
x ^ 1
x @ s.b
s.b @ x
s.b == x
s.b > x
s.b ** x
2 ** x
s.b / x
s.b // x
s.b & x
x[..., None, 1:x.size(0)]
x.chunk(2, dim=1)[0]
x.pow(2).sum().sqrt()
x.mean(dim=(2, 3), keepdim=True)
x.to(torch.float16)
x.permute(0, 2, 1).contiguous()
x.reshape(x.shape[0], -1)
x.masked_fill(x == 0, float("-inf"))
x.add_(1)
s.b.view(x.size(0), -1)
s.lin(x)
torch.zeros((x.shape[0], 3))
torch.cat([x, s.b])
torch.stack((x, x), 1)
torch.relu(x)
torch.where(x > 0, x, s.b)
torch.full((x.size(0),), 1.5)
torch.arange(x.size(0))
torch.softmax(x, -1)
torch.dropout(x, 0.5, True)
torch.clamp(x, min=0, max=6)
torch.topk(x, 3, dim=-1)
torch.max(x, dim=1)
torch.flatten(x, 1)
torch.bmm(x, x)
torch.split(x, 2)
torch.norm(x)
torch.unique(x)
torch.stft(x, 4)
torch.tensordot(x, x)
torch.cdist(x, x)
torch.einsum("i,j", x, x)
torch.meshgrid(x, x, indexing="ij")
torch.block_diag(x, x)
torch.atleast_1d(x)
torch.broadcast_tensors(x, x)
torch.linalg.inv(x)
torch.fft.fft(x)
torch.lu(x)
torch.conv2d(x, s.w)
torch.bernoulli(x)
torch.zeros_like(x, dtype=torch.float64)
torch.finfo(torch.float32).eps + x
F.relu(x)
F.relu_(x)
F.gelu(x, approximate="tanh")
F.silu(x)
F.sigmoid(x)
F.tanh(x)
F.logsigmoid(x)
F.threshold(x, 1.0, 2.0)
F.hardtanh(x)
F.celu(x)
F.softmax(x, -1)
F.log_softmax(x, 1)
F.gumbel_softmax(x)
F.dropout(x, training=s.training)
F.linear(x, s.w)
F.bilinear(x, x, s.w)
F.conv2d(x, s.w, padding=1)
F.conv_transpose2d(x, s.w)
F.max_pool1d(x, 2)
F.max_pool2d(x, 2)
F.max_pool2d(x, 2, return_indices=True)
F.adaptive_max_pool2d(x, 3)
F.fractional_max_pool2d(x, 2, output_size=2)
F.avg_pool1d(x, 2)
F.avg_pool2d(x, 2)
F.adaptive_avg_pool1d(x, 1)
F.adaptive_avg_pool2d(x, (1, 1))
F.lp_pool2d(x, 2.0, 2)
F.max_unpool2d(x, x, 2)
F.interpolate(x, scale_factor=2)
F.upsample(x, 2)
F.grid_sample(x, x)
F.affine_grid(x, [1, 1, 2, 2])
F.pad(x, (1, 1))
F.unfold(x, 3)
F.fold(x, 2, 2)
F.pixel_shuffle(x, 2)
F.batch_norm(x, None, None)
F.layer_norm(x, (3,))
F.group_norm(x, 2)
F.instance_norm(x)
F.rms_norm(x, (3,))
F.local_response_norm(x, 2)
F.normalize(x)
F.embedding(x, s.w)
F.embedding_bag(x, s.w)
F.one_hot(x)
F.scaled_dot_product_attention(x, x, x)
F.multi_head_attention_forward(x, x, x, 3, 1, x, x, None, None, False, 0.0, x, x)
F.mse_loss(x, x)
F.l1_loss(x, x)
F.cross_entropy(x, x)
F.nll_loss(x, x)
F.kl_div(x, x)
F.binary_cross_entropy_with_logits(x, x)
F.triplet_margin_loss(x, x, x)
F.cosine_similarity(x, x)
F.pairwise_distance(x, x)
F.pdist(x)
F.prelu(x, s.w)
F.leaky_relu(x, 0.1)
F.hardswish(x, inplace=True)
F.softplus(x)
""".strip().split("\n")


def library(torch):
    """Every statement, in one module."""
    nn = torch.nn
    lines = "".join(f"        {line}\n" for line in STATEMENTS)
    scope = {"torch": torch, "nn": nn, "F": nn.functional}
    exec(f"class Library(nn.Module):\n    def forward(s, x, y: torch.Tensor = None, *args, **kw):\n{lines}        return {{'a': x, 'k': (y, [s.c])}}, args, kw\n",
         scope)
    made = scope["Library"]()
    made.lin, made.c, made.w = nn.Linear(3, 3), torch.ones(3), nn.Parameter(torch.ones(3))
    made.register_buffer("b", torch.ones(3))
    return made


def modules(torch):
    """Modules with inputs of theirs: name -> (module, shapes of the inputs)."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, n, m, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m)
            self.conv2, self.bn2 = nn.Conv2d(m, m, 3, 1, 1, bias=False), nn.BatchNorm2d(m)
            self.down = None if n == m else nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))

        def forward(self, x):
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + (x if self.down is None else self.down(x)))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            self.layers = nn.ModuleList([Block(8, 8, 1), Block(8, 16, 2)])
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

        def forward(self, x):
            x = self.stem(x)
            for layer in self.layers:
                x = layer(x)
            return self.fc(torch.flatten(self.pool(x), 1))

    class Attention(nn.Module):
        def __init__(self, d=8, heads=2):
            super().__init__()
            self.heads, self.qkv, self.out = heads, nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.register_buffer("scale", torch.tensor((d // heads) ** -0.5))
            self.bias = nn.Parameter(torch.zeros(heads, 1, 1))

        def forward(self, x, mask=None):
            b, n, d = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
            a = (q @ k.transpose(-2, -1) * self.scale + self.bias).softmax(dim=-1)
            return self.out((a @ v).transpose(1, 2).reshape(b, n, d))

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(11, 8)
            self.blocks = nn.ModuleList([nn.ModuleDict({"norm": nn.LayerNorm(8), "mix": Attention()}) for _ in range(2)])
            self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.1), nn.Linear(16, 4))

        def forward(self, ids):
            x = self.embed((ids > 0).long())
            for block in self.blocks:
                x = x + block["mix"](block["norm"](x))
            return {"logits": self.head(x), "hidden": (x, x.mean(1))}

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(4, 6)
            self.shared = nn.Linear(6, 6)
            self.bn = nn.BatchNorm1d(6)

        def forward(self, x, scale: float = 2.0):
            gate = torch.sigmoid(self.a(x))
            y = self.shared(gate * torch.tanh(self.b(x)))
            return self.bn(self.shared(y)) * scale - self.a.weight.sum()

    return {"resnet": (ResNet().eval(), [(2, 3, 8, 8)]), "attention": (Attention(), [(2, 5, 8)]), "encoder": (Encoder().eval(), [(2, 5)]),
            "gated": (Gated().eval(), [(3, 4)]), "sequential": (nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), [(3, 4)]),
            "lstm": (nn.Sequential(nn.LSTM(4, 3)), [(2, 5, 4)])}


def wrong(torch, wrap):
    """Programs that can't be traced, with the class of the error and a part of its text."""
    nn, TraceError = torch.nn, torch.fx.proxy.TraceError

    class Foreign(nn.Module):
        def forward(self, x):
            return torch.nn.functional.linear(x, nn.Parameter(torch.ones(2, 2)))

    class Outside(nn.Module):
        def forward(self, x):
            return OTHER(x)
    OTHER = nn.Linear(2, 2)

    def branch(x):
        return x if x.sum() > 0 else -x

    def loop(x):
        return sum(each for each in x)

    def star(x):
        return torch.stack([*x])

    def length(x):
        return len(x)

    def ranged(x):
        return [x for _ in range(x.shape[0])]

    def key(x):
        return x.add({x: 1})

    def mixed(x):
        return x.add(object())

    return [(branch, TraceError, "cannot be used as inputs to control flow"), (loop, TraceError, "Proxy object cannot be iterated"),
            (star, TraceError, "Proxy object cannot be iterated"), (length, RuntimeError, "'len' is not supported in symbolic tracing"),
            (ranged, TypeError, "cannot be interpreted as an integer"), (key, RuntimeError, "Keys for dictionaries used as an argument"),
            (mixed, NotImplementedError, "argument of type"), (Foreign(), NameError, "parameter is not a member of this module"),
            (Outside(), NameError, "module is not installed as a submodule")]


def functions(torch):
    """Functions for concrete arguments and rewriting."""
    def choose(x, flag, scale=1):
        return x * scale if flag else -x

    def nested(d, y):
        return {"sum": d["a"] + d["b"][0] * y, "rest": [d["b"][1]]}

    def flags(x, flag=None):
        return x if flag is None else -x

    def packed(*args, **kwargs):
        return args[0] + kwargs["k"]
    return SimpleNamespace(choose=choose, nested=nested, flags=flags, packed=packed)


def asserts(x):
    """Checks its input."""
    assert x.sum() > 0
    return x
