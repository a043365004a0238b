"""Modules and functions that the tests of torch.jit save by name."""

import rushlight as torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.encoder = torch.nn.TransformerEncoderLayer(2, 1, dim_feedforward=4, batch_first=True)
        self.register_buffer("offset", torch.ones(2))
        self.factor = 3

    def forward(self, x):
        if x.sum() > 1e9:
            return x
        return self.encoder(self.linear(x).unsqueeze(0)).squeeze(0) + self.offset

    @torch.jit.export
    def scaled(self, n):
        return n * self.factor


def increase(x):
    return x + 1
