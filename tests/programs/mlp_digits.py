"""The MNIST tutorial's shape: an MLP with train and test loops, on synthetic images."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(42)


def make(n):
    y = torch.randint(0, 10, (n,))
    x = torch.randn(n, 1, 8, 8) * 0.5
    x[torch.arange(n), 0, y % 8, :] += 1.0 + (y >= 8).float().unsqueeze(1)
    return TensorDataset(x, y)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.stack = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.1), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x):
        return self.stack(self.flatten(x))


device = "cuda" if torch.cuda.is_available() else "cpu"
train_loader = DataLoader(make(512), batch_size=64, shuffle=True)
test_loader = DataLoader(make(128), batch_size=64)
model = Net().to(device)
print(model)
print(sum(p.numel() for p in model.parameters() if p.requires_grad), "parameters")
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(loader):
    model.train()
    for batch, (X, y) in enumerate(loader):
        X, y = X.to(device), y.to(device)
        loss = loss_fn(model(X), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if batch % 4 == 0:
            print(f"loss: {loss.item():>7f}  [{(batch + 1) * len(X):>5d}/{len(loader.dataset):>5d}]"[:14])


def test(loader):
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for X, y in loader:
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    print(f"Accuracy: {100 * correct / len(loader.dataset):>0.1f}%, Avg loss: {test_loss / len(loader):>8.4f}")


for epoch in range(3):
    print(f"Epoch {epoch + 1}")
    train(train_loader)
    test(test_loader)
probabilities = F.softmax(model(next(iter(test_loader))[0][:2]), dim=1)
print(probabilities.detach())
print(probabilities.max(1))
