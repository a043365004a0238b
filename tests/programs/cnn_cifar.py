"""The CIFAR tutorial's network with batch norm, Adam, a step schedule and a confusion matrix."""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

torch.manual_seed(0)
classes = ("plane", "car", "bird", "cat")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 3 * 3, 32)
        self.fc2 = nn.Linear(32, len(classes))

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc2(F.relu(self.fc1(x)))


y = torch.randint(len(classes), (256,))
templates = torch.randn(len(classes), 3, 16, 16)
x = templates[y] + 1.5 * torch.randn(256, 3, 16, 16)
net = Net()
criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
optimizer = optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
for epoch in range(4):
    running = 0.0
    for i in torch.randperm(256).split(32):
        optimizer.zero_grad()
        loss = criterion(net(x[i]), y[i])
        loss.backward()
        optimizer.step()
        running += loss.item()
    scheduler.step()
    print(f"[{epoch + 1}] loss: {running / 8:.4f} lr: {scheduler.get_last_lr()}")
net.eval()
with torch.no_grad():
    predicted = net(x).argmax(1)
matrix = torch.zeros(4, 4, dtype=torch.int64)
for t, p in zip(y, predicted):
    matrix[t, p] += 1
print(matrix)
for name, row in zip(classes, matrix):
    print(f"Accuracy for class: {name:5s} is {100 * row.max().item() / row.sum().item():.1f} %")
print(net.bn1.running_mean, net.bn1.num_batches_tracked)
