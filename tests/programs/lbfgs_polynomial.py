"""Polynomial regression: by hand, with autograd, with a custom Function, nn, and LBFGS; prints the formula."""
import math

import torch

torch.manual_seed(2)
x = torch.linspace(-math.pi, math.pi, 200)
y = torch.sin(x)
a, b, c, d = (torch.randn(()) for _ in range(4))
for t in range(200):
    y_pred = a + b * x + c * x ** 2 + d * x ** 3
    grad = 2.0 * (y_pred - y)
    a -= 1e-5 * grad.sum()
    b -= 1e-5 * (grad * x).sum()
    c -= 1e-5 * (grad * x ** 2).sum()
    d -= 1e-5 * (grad * x ** 3).sum()
print(f"Result: y = {a.item():.3f} + {b.item():.3f} x + {c.item():.3f} x^2 + {d.item():.3f} x^3")


class LegendrePolynomial3(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input ** 3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        input, = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input ** 2 - 1)


P3 = LegendrePolynomial3.apply
params = [torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3)]
for t in range(300):
    a, b, c, d = params
    loss = (a + b * P3(c + d * x) - y).pow(2).sum()
    loss.backward()
    with torch.no_grad():
        for p in params:
            p -= 5e-6 * p.grad
            p.grad = None
print(f"legendre {loss.item():.3f}", [round(p.item(), 3) for p in params])
print(torch.autograd.gradcheck(P3, (torch.randn(5, dtype=torch.double, requires_grad=True),)))

powers = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))
model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1))
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=10, line_search_fn="strong_wolfe")
evaluations = 0


def closure():
    global evaluations
    evaluations += 1
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(powers), y, reduction="sum")
    loss.backward()
    return loss


for step in range(5):
    loss = optimizer.step(closure)
    print(f"lbfgs {step} {loss.item():.4f}")
layer = model[0]
print(f"Result: y = {layer.bias.item():.3f} + {layer.weight[0, 0].item():.3f} x + {layer.weight[0, 1].item():.3f} x^2 + {layer.weight[0, 2].item():.3f} x^3")
print(torch.linalg.lstsq(powers[:, ::2], y.unsqueeze(1)).solution.squeeze())
