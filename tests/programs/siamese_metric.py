"""Metric learning and contrastive training: a siamese net, NT-Xent, memory bank, knowledge distillation, mixup, k-means."""
import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(77)
centers = torch.randn(4, 10) * 2
y = torch.arange(64) % 4
x = centers[y] + torch.randn(64, 10)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.Hardswish(), nn.Linear(32, 8))
        self.projector = nn.Linear(8, 4, bias=False)

    def forward(self, x):
        h = self.body(x)
        return h, F.normalize(self.projector(h), dim=1)


def nt_xent(a, b, temperature=0.5):
    z = torch.cat([a, b])
    sim = z @ z.t() / temperature
    sim.fill_diagonal_(float("-inf"))
    n = a.size(0)
    target = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return F.cross_entropy(sim, target)


online = Encoder()
momentum = copy.deepcopy(online)
for p in momentum.parameters():
    p.requires_grad_(False)
queue = F.normalize(torch.randn(16, 4), dim=1)
optimizer = torch.optim.NAdam(online.parameters(), lr=5e-3)
for epoch in range(5):
    for i in torch.randperm(64).chunk(4):
        noise1, noise2 = torch.randn(2, len(i), 10) * 0.2
        _, q = online(x[i] + noise1)
        with torch.no_grad():
            _, k = momentum(x[i] + noise2)
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.t()], 1) / 0.2
        loss = F.cross_entropy(logits, torch.zeros(len(i), dtype=torch.long)) + nt_xent(q, online(x[i] + noise2)[1])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(momentum.parameters(), online.parameters()):
                a.mul_(0.9).add_(b, alpha=0.1)
            queue = torch.cat([k, queue])[:16]
    print(f"{epoch} {loss.item():.4f}")
online.eval()
with torch.no_grad():
    h, z = online(x)
    d = torch.cdist(h, h) + torch.eye(64) * 1e6
    print(f"nearest neighbour accuracy {(y[d.argmin(1)] == y).float().mean():.3f}")
    means = torch.zeros(4, 8).index_add_(0, y, h) / torch.bincount(y).unsqueeze(1)
    assign = (h.unsqueeze(1) - means).pow(2).sum(-1).argmin(1)
    print(torch.stack([torch.bincount(y[assign == k], minlength=4) for k in range(4)]))
teacher, student = nn.Linear(10, 4), nn.Linear(10, 4)
optimizer = torch.optim.RAdam([{"params": teacher.parameters()}, {"params": student.parameters(), "lr": 0.02}], lr=0.05)
for step in range(20):
    lam = torch.distributions.Beta(torch.tensor(1.0), torch.tensor(1.0)).mean
    perm = torch.randperm(64)
    mixed = lam * x + (1 - lam) * x[perm]
    t = teacher(mixed)
    s = student(mixed)
    loss = lam * F.cross_entropy(t, y) + (1 - lam) * F.cross_entropy(t, y[perm])
    soft = F.kl_div(F.log_softmax(s / 2, 1), F.softmax(t.detach() / 2, 1), reduction="batchmean") * 4
    (loss + soft).backward()
    optimizer.step()
    optimizer.zero_grad()
print(f"{loss.item():.4f} {soft.item():.4f} {(student(x).argmax(1) == y).float().mean().item():.3f}")
pairs = torch.combinations(torch.arange(4), r=2)
print(pairs.T, F.margin_ranking_loss(h[:4, 0], h[4:8, 0], torch.ones(4)).item() >= 0, F.cosine_embedding_loss(h[:4], h[4:8], torch.tensor([1, -1, 1, -1])).item() >= 0)
