"""WGAN with gradient penalty (double backward), spectral norm, and a RealNVP normalizing flow with masked coupling layers."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import autograd

torch.manual_seed(3)
G = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 2))
D = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 16)), nn.LeakyReLU(0.2), nn.Linear(16, 1))
opt_g = torch.optim.RMSprop(G.parameters(), lr=1e-2)
opt_d = torch.optim.Adam(D.parameters(), lr=1e-2, betas=(0.0, 0.9))


def gradient_penalty(real, fake):
    alpha = torch.rand(real.size(0), 1).expand_as(real)
    x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    out = D(x)
    g, = autograd.grad(outputs=out, inputs=x, grad_outputs=torch.ones_like(out), create_graph=True, retain_graph=True, only_inputs=True)
    return ((g.norm(2, dim=1) - 1) ** 2).mean() * 10


for step in range(12):
    real = torch.randn(32, 2) * 0.3 + torch.tensor([1.0, -1.0])
    fake = G(torch.randn(32, 4))
    gp = gradient_penalty(real, fake.detach())
    loss_d = D(fake.detach()).mean() - D(real).mean() + gp
    opt_d.zero_grad()
    loss_d.backward()
    opt_d.step()
    if step % 3 == 2:
        loss_g = -D(G(torch.randn(32, 4))).mean()
        opt_g.zero_grad()
        loss_g.backward()
        opt_g.step()
        print(f"{step} D {loss_d.item():.4f} gp {gp.item():.4f} G {loss_g.item():.4f}")


class Coupling(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)
        self.s = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2), nn.Tanh())
        self.t = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, x):
        xm = x * self.mask
        s, t = self.s(xm) * (1 - self.mask), self.t(xm) * (1 - self.mask)
        return xm + (1 - self.mask) * (x * s.exp() + t), s.sum(-1)

    def inverse(self, z):
        zm = z * self.mask
        s, t = self.s(zm) * (1 - self.mask), self.t(zm) * (1 - self.mask)
        return zm + (1 - self.mask) * (z - t) * (-s).exp()


class RealNVP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Coupling(m) for m in torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(2, 1))

    def log_prob(self, x):
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return total - 0.5 * (x ** 2).sum(-1) - torch.log(torch.tensor(2 * torch.pi))

    def sample(self, z):
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z


x = torch.randn(256, 2)
x = torch.stack([x[:, 0], x[:, 0] ** 2 + 0.3 * x[:, 1]], 1)
flow = RealNVP()
optimizer = torch.optim.Adamax(flow.parameters(), lr=2e-2)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
for step in range(30):
    loss = -flow.log_prob(x).mean()
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
    optimizer.step()
    scheduler.step()
    if step % 10 == 9:
        print(f"nll {loss.item():.4f}")
with torch.no_grad():
    z = x
    for layer in flow.layers:
        z, _ = layer(z)
    print(torch.allclose(flow.sample(z), x, atol=1e-4), [n for n, _ in flow.named_buffers()])


def integrate(f, y, t):
    ys = [y]
    for a, b in zip(t[:-1], t[1:]):
        h = b - a
        k1 = f(a, y)
        k2 = f(a + h / 2, y + h / 2 * k1)
        k3 = f(a + h / 2, y + h / 2 * k2)
        k4 = f(b, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        ys.append(y)
    return torch.stack(ys)


A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
t = torch.linspace(0, 2, 15)
truth = integrate(lambda _, y: (y ** 3) @ A, torch.tensor([[2.0, 0.0]]), t)
net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.Rprop(net.parameters(), lr=1e-2)
for step in range(15):
    loss = F.l1_loss(integrate(lambda _, y: net(y ** 3), truth[0], t), truth)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"ode {loss.item():.4f}")
