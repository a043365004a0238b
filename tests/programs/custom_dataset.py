"""Custom Dataset, transforms, a collate function with padding, samplers and worker processes."""
import random

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    WeightedRandomSampler,
    get_worker_info,
    random_split,
)


class Sequences(Dataset):
    def __init__(self, n, transform=None):
        g = torch.Generator().manual_seed(5)
        self.items = [torch.randn(int(torch.randint(2, 7, (), generator=g)), 3, generator=g) for _ in range(n)]
        self.transform = transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        x = self.items[i]
        if self.transform:
            x = self.transform(x)
        return {"x": x, "label": i % 2, "name": f"item{i}"}


class Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x * self.by


def collate(batch):
    lengths = torch.tensor([len(b["x"]) for b in batch])
    return pad_sequence([b["x"] for b in batch], batch_first=True), lengths, torch.tensor([b["label"] for b in batch]), [b["name"] for b in batch]


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, self.n, step))


if __name__ == "__main__":
    torch.manual_seed(11)
    random.seed(11)
    data = Sequences(20, Scale(2.0))
    for workers in (0, 2):
        torch.manual_seed(11)
        for x, lengths, labels, names in DataLoader(data, batch_size=6, shuffle=True, collate_fn=collate, num_workers=workers):
            print(tuple(x.shape), lengths.tolist(), labels.tolist(), names[0], f"{x.sum():.4f}")
    train, valid = random_split(data, [0.8, 0.2], generator=torch.Generator().manual_seed(1))
    print(len(train), len(valid), valid.indices)
    both = ConcatDataset([train, Subset(data, range(3))])
    print(len(both), both[17]["name"])
    sampler = WeightedRandomSampler([0.9 if i % 2 else 0.1 for i in range(20)], 10)
    print([i for i in sampler])
    print(sorted(int(v) for batch in DataLoader(Count(9), batch_size=2, num_workers=2) for v in batch))
    nested = next(iter(DataLoader([{"a": (i, torch.ones(2) * i), "b": [str(i)]} for i in range(4)], batch_size=4)))
    print(nested)
    x, lengths, _, _ = next(iter(DataLoader(data, batch_size=4, collate_fn=collate)))
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    print(packed.batch_sizes, packed.sorted_indices)
    gru = torch.nn.GRU(3, 5, bidirectional=True, batch_first=True)
    out, h = gru(packed)
    out, n = pad_packed_sequence(out, batch_first=True)
    print(out.shape, n.tolist(), f"{out.sum():.4f} {h.sum():.4f}")
