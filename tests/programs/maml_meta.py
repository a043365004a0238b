"""MAML by hand and with torch.func, per-sample gradients, ensembling with vmap, hessian-vector products, implicit layers."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, hessian, jacrev, stack_module_state, vmap

torch.manual_seed(9)


class Sine(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1, self.l2 = nn.Linear(1, 16), nn.Linear(16, 1)

    def forward(self, x, params=None):
        if params is None:
            return self.l2(torch.tanh(self.l1(x)))
        return F.linear(torch.tanh(F.linear(x, params[0], params[1])), params[2], params[3])


def task():
    amplitude, phase = torch.rand(1) * 2 + 0.5, torch.rand(1) * 3
    x = torch.rand(20, 1) * 6 - 3
    return x, amplitude * torch.sin(x + phase)


model = Sine()
meta = torch.optim.Adam(model.parameters(), lr=1e-2)
for it in range(8):
    meta.zero_grad()
    outer = 0.0
    for _ in range(3):
        x, y = task()
        params = list(model.parameters())
        loss = F.mse_loss(model(x[:10], params), y[:10])
        grads = torch.autograd.grad(loss, params, create_graph=True)
        fast = [p - 0.1 * g for p, g in zip(params, grads)]
        outer = outer + F.mse_loss(model(x[10:], fast), y[10:])
    outer.backward()
    meta.step()
    if it % 4 == 3:
        print(f"{it} {outer.item() / 3:.4f} {model.l1.weight.grad.norm():.4f}")
params = {k: v.detach() for k, v in model.named_parameters()}
x, y = task()


def loss_fn(params, x, y):
    return F.mse_loss(functional_call(model, params, (x.unsqueeze(0),)).squeeze(0), y)


per_sample = vmap(grad(loss_fn), in_dims=(None, 0, 0))(params, x, y)
total = grad(lambda p: F.mse_loss(functional_call(model, p, (x,)), y))(params)
print({k: tuple(v.shape) for k, v in per_sample.items()}, torch.allclose(per_sample["l1.weight"].mean(0), total["l1.weight"], atol=1e-5))
models = [Sine() for _ in range(3)]
stacked, buffers = stack_module_state(models)
outs = vmap(lambda p, b, x: functional_call(models[0], (p, b), (x,)), in_dims=(0, 0, None))(stacked, buffers, x)
print(outs.shape, torch.allclose(outs[1], models[1](x), atol=1e-6))
f = lambda v: (v ** 3).sum() + v.prod()  # noqa: E731
v = torch.tensor([1.0, 2.0, 3.0])
print(hessian(f)(v), jacrev(lambda v: v.outer(v).sum(0))(v))
w = v.clone().requires_grad_()
g, = torch.autograd.grad(f(w), w, create_graph=True)
hv, = torch.autograd.grad(g @ torch.ones(3), w)
print(hv, torch.allclose(hv, hessian(f)(v) @ torch.ones(3)))
weight = (torch.randn(4, 4) * 0.2).requires_grad_()


class FixedPoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, b):
        z = torch.zeros_like(b)
        for _ in range(50):
            z = torch.tanh(w @ z + b)
        ctx.save_for_backward(w, z)
        return z

    @staticmethod
    def backward(ctx, g):
        w, z = ctx.saved_tensors
        d = 1 - z ** 2
        u = torch.linalg.solve((torch.eye(4) - d[:, None] * w).T, g)
        return (u * d)[:, None] * z[None], u * d


b = torch.randn(4, requires_grad=True)
z = FixedPoint.apply(weight, b)
z.sum().backward()
unrolled = torch.zeros(4)
w2, b2 = weight.detach().requires_grad_(), b.detach().requires_grad_()
for _ in range(60):
    unrolled = torch.tanh(w2 @ unrolled + b2)
unrolled.sum().backward()
print(torch.allclose(weight.grad, w2.grad, atol=1e-4), torch.allclose(b.grad, b2.grad, atol=1e-4), z)
