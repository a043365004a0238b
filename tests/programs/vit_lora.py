"""Vision transformer with patch embedding and class token, LoRA fine-tuning, mixture of experts, KV-cache decoding, beam search."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(12)


class PatchEmbed(nn.Module):
    def __init__(self, img=8, patch=2, cin=3, dim=16):
        super().__init__()
        self.proj = nn.Conv2d(cin, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, (img // patch) ** 2 + 1, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x):
        x = self.proj(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed


class ViT(nn.Module):
    def __init__(self, classes=4, dim=16):
        super().__init__()
        self.embed = PatchEmbed(dim=dim)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(dim, 4, 32, dropout=0.0, activation=F.gelu, batch_first=True), 2)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x):
        return self.head(self.norm(self.encoder(self.embed(x))[:, 0]))


x, y = torch.randn(32, 3, 8, 8), torch.randint(0, 4, (32,))
x[torch.arange(32), :, y, y] += 2.0
model = ViT()
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
for epoch in range(8):
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"vit {loss.item():.3f}")


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, r: int = 2, alpha: float = 4.0):
        super().__init__()
        self.base, self.scale = base, alpha / r
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(r, base.in_features) / math.sqrt(r))
        self.B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + (x @ self.A.T @ self.B.T) * self.scale

    def merge(self):
        merged = nn.Linear(self.base.in_features, self.base.out_features)
        with torch.no_grad():
            merged.weight.copy_(self.base.weight + self.B @ self.A * self.scale)
            merged.bias.copy_(self.base.bias)
        return merged


for p in model.parameters():
    p.requires_grad_(False)
model.head = LoRALinear(model.head)
trainable = [n for n, p in model.named_parameters() if p.requires_grad]
optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.1)
for _ in range(5):
    loss = F.cross_entropy(model(x), y.flip(0))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    before = model(x)
    model.head = model.head.merge()
    print(trainable, f"{loss.item():.3f}", torch.allclose(before, model(x), atol=1e-5))


class MoE(nn.Module):
    def __init__(self, d=8, n=4, k=2):
        super().__init__()
        self.gate, self.k = nn.Linear(d, n, bias=False), k
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, d)) for _ in range(n)])

    def forward(self, x):
        weights, chosen = torch.topk(self.gate(x), self.k)
        weights = F.softmax(weights, dim=1, dtype=torch.float).to(x.dtype)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, nth = torch.where(chosen == i)
            out[rows] += weights[rows, nth, None] * expert(x[rows])
        load = torch.zeros(len(self.experts)).scatter_add_(0, chosen.flatten(), torch.ones(chosen.numel()))
        return out, load.var(unbiased=False)


moe = MoE()
inputs = torch.randn(20, 8)
out, balance = moe(inputs)
(out.pow(2).mean() + 0.01 * balance).backward()
print(f"moe {out.norm():.4f} {balance:.3f}", moe.gate.weight.grad.abs().sum() > 0)

emb, wq, wk, wv, wo = nn.Embedding(12, 8), *(nn.Linear(8, 8, bias=False) for _ in range(3)), nn.Linear(8, 12)


@torch.no_grad()
def step(token, cache):
    h = emb(token)
    k, v = wk(h), wv(h)
    if cache is not None:
        k, v = torch.cat([cache[0], k], 1), torch.cat([cache[1], v], 1)
    a = torch.softmax(wq(h) @ k.transpose(1, 2) / 8 ** 0.5, -1) @ v
    return F.log_softmax(wo(a[:, -1]), -1), (k, v)


beams, scores, cache = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1), None
for _ in range(5):
    logp, cache = step(beams[:, -1:], cache)
    total = (scores.unsqueeze(1) + logp).view(-1)
    scores, index = total.topk(3)
    parent = torch.div(index, 12, rounding_mode="floor")
    beams = torch.cat([beams[parent], (index % 12).unsqueeze(1)], 1)
    cache = tuple(c[parent] for c in cache)
print(beams.tolist(), scores)
cos, sin = torch.cos(torch.outer(torch.arange(5.0), 1 / 100 ** (torch.arange(0, 8, 2) / 8))), torch.sin(torch.outer(torch.arange(5.0), 1 / 100 ** (torch.arange(0, 8, 2) / 8)))
q = torch.randn(1, 5, 8)
a, b = q[..., 0::2], q[..., 1::2]
rotated = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
freqs = torch.polar(torch.ones_like(cos), torch.atan2(sin, cos))
print(torch.allclose(rotated, torch.view_as_real(torch.view_as_complex(q.view(1, 5, 4, 2)) * freqs).flatten(2), atol=1e-5))
