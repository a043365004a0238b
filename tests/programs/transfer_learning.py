"""Transfer learning: frozen body, new head, parameter groups, saving and loading checkpoints, strict=False, schedulers' states."""
import copy
import os
import tempfile

import torch
import torch.nn as nn

torch.manual_seed(21)


class Residual(nn.Module):
    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)) if cin != cout or stride != 1 else nn.Identity()

    def forward(self, x):
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.down(x))


def resnet(classes):
    m = nn.Sequential()
    m.add_module("stem", nn.Conv2d(3, 8, 3, padding=1))
    m.add_module("layer1", Residual(8, 8))
    m.add_module("layer2", Residual(8, 16, 2))
    m.add_module("pool", nn.AdaptiveAvgPool2d((1, 1)))
    m.add_module("flatten", nn.Flatten())
    m.add_module("fc", nn.Linear(16, classes))
    return m


for m in (model := resnet(10)).modules():
    if isinstance(m, nn.Conv2d):
        nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
for name, p in model.named_parameters():
    p.requires_grad = name.startswith("layer2")
model.fc = nn.Linear(model.fc.in_features, 3)
print(sum(p.requires_grad for p in model.parameters()), "trained of", len(list(model.parameters())))
x, y = torch.randn(24, 3, 8, 8), torch.randint(0, 3, (24,))
optimizer = torch.optim.SGD([{"params": [p for n, p in model.named_parameters() if p.requires_grad and n.startswith("layer2")], "lr": 1e-3},
                             {"params": model.fc.parameters()}], lr=1e-1, momentum=0.9, weight_decay=1e-4, nesterov=True)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.01, 0.2], total_steps=10)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
best, best_loss = None, float("inf")
folder = tempfile.mkdtemp()
path = os.path.join(folder, "checkpoint.pt")
for epoch in range(6):
    model.train()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y, weight=torch.tensor([1.0, 2.0, 0.5]))
    loss.backward()
    optimizer.step()
    scheduler.step()
    if loss.item() < best_loss:
        best_loss, best = loss.item(), copy.deepcopy(model.state_dict())
    print(f"{epoch} {loss.item():.4f}", [round(g["lr"], 5) for g in optimizer.param_groups])
    if epoch == 3:
        torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "loss": loss}, path)
plateau.step(1.0), plateau.step(1.0), plateau.step(1.0)
print([round(g["lr"], 6) for g in optimizer.param_groups])
other = resnet(3)
checkpoint = torch.load(path)
print(checkpoint["epoch"], f"{checkpoint['loss'].item():.4f}", other.load_state_dict(checkpoint["model"]))
optimizer.load_state_dict(checkpoint["optimizer"])
scheduler.load_state_dict(checkpoint["scheduler"])
print(scheduler.last_epoch, len(optimizer.state_dict()["state"]))
result = resnet(3).load_state_dict({k: v for k, v in best.items() if not k.startswith("fc")}, strict=False)
print(result)
try:
    resnet(4).load_state_dict(best)
except RuntimeError as error:
    print(error)
model.load_state_dict(best)
model.eval()
with torch.no_grad():
    print(model(x)[:2])
