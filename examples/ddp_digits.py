"""Train a small network on scikit-learn's handwritten digits in several processes. An ordinary PyTorch script: it imports torch.

    rushlight run --nproc 2 examples/ddp_digits.py      # on rushlight
    torchrun --standalone --nproc-per-node 2 examples/ddp_digits.py

Every process takes its share of each batch; DistributedDataParallel makes the mean of the gradients, so that all have the same weights.
"""

import argparse

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def load_data():
    """Training and test sets: images (N, 64) in [0, 1] and labels."""
    digits = load_digits()
    images, labels = torch.from_numpy((digits.data / 16.0).astype(np.float32)), torch.from_numpy(digits.target)
    return TensorDataset(images[:1500], labels[:1500]), TensorDataset(images[1500:], labels[1500:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=60, help="samples per step, of all processes together")
    args = parser.parse_args()
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    train, test = load_data()
    sampler = DistributedSampler(train, shuffle=True, seed=0)
    loader = DataLoader(train, batch_size=args.batch // size, sampler=sampler)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        total = torch.zeros(2)
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += torch.tensor([loss.item(), 1.0])
        dist.all_reduce(total)
        if rank == 0:
            x, y = test.tensors
            with torch.no_grad():
                right = (model.module(x).argmax(1) == y).float().mean().item()
            print(f"epoch {epoch + 1}  train loss {total[0] / total[1]:.4f}  test accuracy {right:.1%}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
