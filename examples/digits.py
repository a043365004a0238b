"""Train a small CNN on scikit-learn's handwritten digits (1797 real 8x8 images). An ordinary PyTorch script: it imports torch.

    rushlight run examples/digits.py --output demo-output     # on rushlight
    python examples/digits.py --output demo-output            # on PyTorch: the same numbers

Writes OUTPUT/digits.png (loss and accuracy curves, confusion matrix) and OUTPUT/checkpoint.pt, from which the next run goes on.
"""

import argparse
import os
import sys
import time

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class DigitNet(nn.Module):
    """Two blocks of convolution, batch norm and pooling, then two linear layers with dropout."""

    def __init__(self, width=32, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.dropout = nn.Dropout(0.3)
        self.fc1 = nn.Linear(2 * width * 2 * 2, 128)
        self.fc2 = nn.Linear(128, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = self.dropout(torch.flatten(x, 1))
        x = self.dropout(F.relu(self.fc1(x)))
        return self.fc2(x)


def load_data():
    """Training and test sets: images (N, 1, 8, 8) in [0, 1] and labels."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    split = train_test_split(images, digits.target, test_size=0.2, random_state=0, stratify=digits.target)
    train_x, test_x, train_y, test_y = (torch.from_numpy(np.ascontiguousarray(part)) for part in split)
    return TensorDataset(train_x, train_y), TensorDataset(test_x, test_y)


def train_epoch(model, loader, optimizer, show):
    model.train()
    total, correct, count = 0.0, 0, 0
    progress = tqdm(loader, leave=False, disable=not show)
    for images, labels in progress:
        optimizer.zero_grad()
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        correct += (logits.argmax(1) == labels).sum().item()
        count += len(labels)
        progress.set_postfix(loss=f"{total / count:.4f}")
    return total / count, correct / count


@torch.no_grad()
def evaluate(model, loader):
    """Mean loss, accuracy, and the confusion matrix (rows: true digit, columns: predicted)."""
    model.eval()
    total, matrix = 0.0, torch.zeros(10, 10, dtype=torch.int64)
    for images, labels in loader:
        logits = model(images)
        total += F.cross_entropy(logits, labels, reduction="sum").item()
        pairs = labels * 10 + logits.argmax(1)
        matrix += torch.bincount(pairs, minlength=100).view(10, 10)
    count = matrix.sum().item()
    return total / count, matrix.diag().sum().item() / count, matrix


def plot(history, matrix, path):
    figure, (losses, accuracies, confusion) = plt.subplots(1, 3, figsize=(15, 4.5))
    epochs = range(1, len(history) + 1)
    losses.plot(epochs, [h["train_loss"] for h in history], label="training")
    losses.plot(epochs, [h["test_loss"] for h in history], label="test")
    losses.set(title="cross-entropy", xlabel="epoch")
    losses.legend()
    accuracies.plot(epochs, [100 * h["train_accuracy"] for h in history], label="training")
    accuracies.plot(epochs, [100 * h["test_accuracy"] for h in history], label="test")
    accuracies.set(title="accuracy (%)", xlabel="epoch")
    accuracies.legend()
    confusion.imshow(matrix.numpy(), cmap="Blues")
    confusion.set(title="confusion matrix (test)", xlabel="predicted", ylabel="true", xticks=range(10), yticks=range(10))
    for i in range(10):
        for j in range(10):
            n = int(matrix[i, j])
            if n:
                confusion.text(j, i, n, ha="center", va="center", color="white" if n > 20 else "black")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="demo-output", help="folder for the picture and the checkpoint")
    parser.add_argument("--fresh", action="store_true", help="start anew even if there is a checkpoint")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    os.makedirs(args.output, exist_ok=True)
    checkpoint_path = os.path.join(args.output, "checkpoint.pt")
    train_set, test_set = load_data()
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=256)

    model = DigitNet()
    # The default eps of 1e-8 makes full steps of the rounding noise in gradients that are zero; with 1e-5 two machines print the same
    # losses.
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr, eps=1e-5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    history = []
    if os.path.exists(checkpoint_path) and not args.fresh:
        checkpoint = torch.load(checkpoint_path)
        if len(checkpoint["history"]) < args.epochs:
            model.load_state_dict(checkpoint["model"])
            optimizer.load_state_dict(checkpoint["optimizer"])
            scheduler.load_state_dict(checkpoint["scheduler"])
            torch.set_rng_state(checkpoint["rng"])
            history = checkpoint["history"]
            print(f"resumed from {checkpoint_path} after epoch {len(history)}")

    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(train_set)} training and {len(test_set)} test images")
    for epoch in range(len(history) + 1, args.epochs + 1):
        start = time.perf_counter()
        train_loss, train_accuracy = train_epoch(model, train_loader, optimizer, show=not args.quiet and sys.stderr.isatty())
        scheduler.step()
        seconds = time.perf_counter() - start
        test_loss, test_accuracy, matrix = evaluate(model, test_loader)
        history.append({"train_loss": train_loss, "train_accuracy": train_accuracy, "test_loss": test_loss, "test_accuracy": test_accuracy})
        print(f"epoch {epoch:2d}  train loss {train_loss:.4f}  accuracy {100 * train_accuracy:6.2f}%   "
              f"test loss {test_loss:.4f}  accuracy {100 * test_accuracy:6.2f}%   {seconds:.2f} s", flush=True)
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
                    "rng": torch.get_rng_state(), "history": history}, checkpoint_path)

    test_loss, test_accuracy, matrix = evaluate(model, test_loader)
    picture = os.path.join(args.output, "digits.png")
    plot(history, matrix, picture)
    print(f"test accuracy {100 * test_accuracy:.2f}%  ({picture})")


if __name__ == "__main__":
    main()
