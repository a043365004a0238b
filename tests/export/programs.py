"""Programs to export, written once for both libraries: ``programs(torch)`` gives name -> (module, args, kwargs, dynamic shapes, args of other sizes or None)."""

from __future__ import annotations

from typing import Any


def layers(torch: Any) -> dict[str, Any]:
    nn, functional = torch.nn, torch.nn.functional

    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.drop = nn.Linear(6, 8), nn.Linear(8, 3), nn.Dropout(0.1)

        def forward(self, x: Any) -> Any:
            return self.second(self.drop(functional.gelu(self.first(x)).tanh()))

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.pool = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.MaxPool2d(2)
            self.mean, self.out = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
            self.register_buffer("scale", torch.full((8,), 2.0), persistent=False)
            self.shift = torch.ones(8)

        def forward(self, x: Any) -> Any:
            self.steps.add_(1)
            h = self.pool(functional.relu(self.norm(self.conv(x)), inplace=True))
            return self.out(torch.flatten(self.mean(h), 1) * self.scale + self.shift).softmax(-1), self.steps * 2

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)

        def forward(self, x: Any) -> Any:
            b, t, c = x.shape
            q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
            q, k, v = [each.view(b, t, 4, c // 4).transpose(1, 2) for each in (q, k, v)]
            weights = ((q @ k.transpose(-2, -1)) / (c // 4) ** 0.5).softmax(-1)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True) + weights @ v
            return x + self.out(y.transpose(1, 2).reshape(b, t, c))

    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(20, 8, padding_idx=0)

        def forward(self, i: Any) -> Any:
            return self.table(i).mean(1)
    return {"Perceptron": Perceptron, "Convolution": Convolution, "Attention": Attention, "Embedded": Embedded}


def functions(torch: Any) -> dict[str, Any]:
    nn, functional = torch.nn, torch.nn.functional

    class Nested(nn.Module):
        def forward(self, d: Any, t: Any, *, scale: Any, flag: bool = True) -> Any:
            x, y = t
            z = d["a"] + d["b"][0] * scale
            if flag:
                z = z - y[:, None]
            return {"z": z, "l": [x.sum(0), (x.mean(-1, keepdim=True), None, 3)]}

    class Sizes(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            n, m = x.shape[0], y.shape[0] * 2 + 1
            return (x.reshape(n * 2, -1), torch.cat([x, x]).view(n * 2, 3, 2), x.sum() / n, functional.pad(x, (1, 1)), torch.zeros(m) + 1, m,
                    functional.interpolate(x[None, None], scale_factor=2), y[1:] * 2)

    class Many(nn.Module):
        def forward(self, x: Any, t: Any) -> Any:
            return (functional.cross_entropy(x, t), functional.log_softmax(x, 1), functional.one_hot(t, 6), functional.silu(x), functional.leaky_relu(x, 0.2),
                    functional.elu(x), functional.group_norm(x[..., None], 2), functional.glu(x), x.clamp(0), x.clamp(min=0, max=1), x.max(1), x.argmax(1), x.topk(2),
                    x.sort(1), x.cumsum(1), torch.einsum("ij,kj->ik", x, x), x.norm(), x.permute(1, 0), x.squeeze(), x.unsqueeze(0), x.flatten(), x.repeat(2, 1),
                    torch.bmm(x[None], x[None].transpose(1, 2)), x.mean(), x.all(), -x, abs(x), ~(x > 0), x % 2, x.sigmoid(), x[:, 1:3], x[..., -1], x[t], x[0], x.T,
                    2 / x, 2 - x, 2 ** x, x ** 2, x.split(2, 1), torch.stack([x, x], 1), x.std(0), torch.where(x > 0, x, 0.0), x.expand(2, *x.shape), x.size(0))

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros(3))

        def forward(self, x: Any) -> Any:
            self.last = self.last + x.sum(0)
            y = x.clone()
            y[0] = 1.0
            y[1] = x[0]
            return y * 2, self.last * 3
    return {"Nested": Nested, "Sizes": Sizes, "Many": Many, "Written": Written}


def programs(torch: Any) -> dict[str, Any]:
    torch.manual_seed(3)
    made, asked, r = {**layers(torch), **functions(torch)}, torch.export.Dim, torch.randn
    batch = {0: asked("batch")}
    return {
        "perceptron": (made["Perceptron"]().eval(), (r(4, 6),), {}, {"x": batch}, (r(7, 6),)),
        "convolution": (made["Convolution"]().eval(), (r(2, 3, 16, 16),), {}, {"x": batch}, (r(5, 3, 16, 16),)),
        "training": (made["Convolution"](), (r(2, 3, 16, 16),), {}, None, None),
        "attention": (made["Attention"](), (r(2, 7, 16),), {}, {"x": {**batch, 1: asked("time")}}, (r(3, 4, 16),)),
        "embedded": (made["Embedded"](), (torch.randint(0, 20, (3, 5)),), {}, {"i": {0: asked.AUTO, 1: asked.AUTO}}, (torch.randint(0, 20, (6, 2)),)),
        "nested": (made["Nested"](), ({"a": r(3, 3), "b": [r(3, 3)]}, (r(2, 3), r(3))), {"scale": torch.tensor(2.0)}, None, None),
        "sizes": (made["Sizes"](), (r(4, 6), r(3)), {}, ({0: asked("n")}, {0: asked("m", min=3)}), (r(7, 6), r(8))),
        "many": (made["Many"](), (r(4, 6), torch.tensor([0, 2, 3, 1])), {}, None, None),
        "written": (made["Written"](), (r(4, 3),), {}, {"x": batch}, (r(6, 3),)),
    }
