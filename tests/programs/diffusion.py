"""DDPM on two-dimensional data: sinusoidal time embeddings, noise schedule, EMA, ancestral sampling; and score matching by double backward."""
import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
T = 20
betas = torch.linspace(1e-3, 0.2, T)
alphas = 1.0 - betas
alphas_bar = torch.cumprod(alphas, dim=0)
alphas_prev = F.pad(alphas_bar[:-1], (1, 0), value=1.0)
posterior_variance = betas * (1.0 - alphas_prev) / (1.0 - alphas_bar)


def extract(a, t, shape):
    return a.gather(-1, t).reshape(t.shape[0], *((1,) * (len(shape) - 1)))


class SinusoidalPositionEmbeddings(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, time):
        half = self.dim // 2
        e = torch.exp(torch.arange(half, device=time.device) * -(math.log(10000) / (half - 1)))
        e = time[:, None] * e[None, :]
        return torch.cat((e.sin(), e.cos()), dim=-1)


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(SinusoidalPositionEmbeddings(16), nn.Linear(16, 32), nn.SiLU())
        self.inp, self.mid, self.out = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, x, t):
        h = F.silu(self.inp(x) + self.time(t))
        return self.out(h + F.silu(self.mid(h)))


@torch.inference_mode()
def sample(model, n):
    x = torch.randn(n, 2)
    for i in reversed(range(T)):
        t = torch.full((n,), i, dtype=torch.long)
        mean = (x - extract(betas, t, x.shape) * model(x, t) / torch.sqrt(1.0 - extract(alphas_bar, t, x.shape))) / torch.sqrt(extract(alphas, t, x.shape))
        x = mean if i == 0 else mean + torch.sqrt(extract(posterior_variance, t, x.shape)) * torch.randn_like(x)
    return x


angle = torch.rand(256) * 2 * math.pi
data = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(256, 2)
model = Denoiser()
ema = copy.deepcopy(model).requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(60):
    x0 = data[torch.randint(0, 256, (64,))]
    t = torch.randint(0, T, (64,)).long()
    noise = torch.randn_like(x0)
    xt = extract(alphas_bar.sqrt(), t, x0.shape) * x0 + extract((1 - alphas_bar).sqrt(), t, x0.shape) * noise
    loss = F.smooth_l1_loss(noise, model(xt, t))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for e, p in zip(ema.parameters(), model.parameters()):
            e.lerp_(p, 0.1)
    if step % 20 == 19:
        print(f"step {step} loss {loss.item():.4f}")
samples = sample(ema, 64)
print(samples.shape, f"radius {samples.norm(dim=1).mean():.2f}", samples.requires_grad)

energy = nn.Sequential(nn.Linear(2, 24), nn.Softplus(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(energy.parameters(), lr=1e-2)
for step in range(30):
    x = data[:64].clone().requires_grad_(True)
    score = torch.autograd.grad(-energy(x).sum(), x, create_graph=True)[0]
    v = torch.randn_like(x)
    hvp = torch.autograd.grad((score * v).sum(), x, create_graph=True)[0]
    loss = ((v * hvp).sum(1) + 0.5 * score.pow(2).sum(1)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 9:
        print(f"score matching {step} {loss.item():.4f}")
