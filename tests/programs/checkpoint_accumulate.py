"""Gradient checkpointing, accumulation and clipping; mixed precision on the CPU; EMA and SWA."""
import torch
import torch.nn as nn
from torch.optim.swa_utils import SWALR, AveragedModel
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

torch.manual_seed(8)


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.ff = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * d, d))

    def forward(self, x):
        return x + self.ff(self.norm(x))


class Deep(nn.Module):
    def __init__(self, d=16, n=4, use=False):
        super().__init__()
        self.blocks = nn.ModuleList(Block(d) for _ in range(n))
        self.head = nn.Linear(d, 1)
        self.use = use

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.use else block(x)
        return self.head(x)


x, y = torch.randn(32, 16), torch.randn(32, 1)
results = []
for use in (False, True):
    torch.manual_seed(1)
    model = Deep(use=use)
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    results.append([p.grad.clone() for p in model.parameters()])
    print(f"{use} {loss.item():.5f}")
print(all(torch.allclose(a, b) for a, b in zip(*results)))
seq = nn.Sequential(*[nn.Linear(16, 16) for _ in range(4)])
xx = x.clone().requires_grad_()
checkpoint_sequential(seq, 2, xx, use_reentrant=False).sum().backward()
print(f"{xx.grad.norm():.4f}")

model = Deep()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
accumulation = 4
optimizer.zero_grad(set_to_none=True)
for i, (bx, by) in enumerate(zip(x.chunk(8), y.chunk(8))):
    loss = nn.functional.mse_loss(model(bx), by) / accumulation
    loss.backward()
    if (i + 1) % accumulation == 0:
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(f"{i} {loss.item() * accumulation:.4f} {norm.item():.4f}")
swa, schedule = AveragedModel(model), SWALR(optimizer, swa_lr=0.005, anneal_epochs=2)
ema = AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
for step in range(4):
    optimizer.zero_grad()
    loss = nn.functional.huber_loss(model(x), y)
    loss.backward()
    optimizer.step()
    schedule.step()
    swa.update_parameters(model)
    ema.update_parameters(model)
    print(f"{loss.item():.4f} {optimizer.param_groups[0]['lr']:.5f}")
model.eval(), swa.eval(), ema.eval()
with torch.no_grad():
    print(*(f"{m(x).mean().item():.4f}" for m in (model, swa, ema)), swa.n_averaged.item())
with torch.autocast("cpu", dtype=torch.bfloat16):
    out = model.head(x)
print(out.dtype, f"{out.float().mean().item():.2f}")
