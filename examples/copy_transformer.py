"""Teach an encoder-decoder Transformer to copy its input: the first example of "The Annotated Transformer", with its label smoothing.

    rushlight run examples/copy_transformer.py
    python examples/copy_transformer.py

Ends when greedy decoding copies a batch of fresh sequences without a mistake; exits with 1 if it never does.
"""

import argparse
import math
import sys
import time

import torch
from torch import nn

PAD, START = 0, 1


class LabelSmoothing(nn.Module):
    """KL divergence from a smoothed target: `confidence` on the right word, the rest spread over the others but padding."""

    def __init__(self, size, padding_idx, smoothing=0.0):
        super().__init__()
        self.criterion = nn.KLDivLoss(reduction="sum")
        self.padding_idx, self.confidence, self.smoothing, self.size = padding_idx, 1.0 - smoothing, smoothing, size

    def forward(self, log_probabilities, target):
        truth = torch.full_like(log_probabilities, self.smoothing / (self.size - 2))
        truth.scatter_(1, target.unsqueeze(1), self.confidence)
        truth[:, self.padding_idx] = 0
        truth.masked_fill_((target == self.padding_idx).unsqueeze(1), 0.0)
        return self.criterion(log_probabilities, truth.detach())


class PositionalEncoding(nn.Module):
    """Adds sines and cosines of the position."""

    def __init__(self, width, longest=64):
        super().__init__()
        position = torch.arange(longest).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        table = torch.zeros(longest, width)
        table[:, 0::2] = torch.sin(position * frequency)
        table[:, 1::2] = torch.cos(position * frequency)
        self.register_buffer("table", table.unsqueeze(0))

    def forward(self, x):
        return x + self.table[:, :x.size(1)]


class CopyModel(nn.Module):
    def __init__(self, vocabulary, width=64, heads=4, layers=2):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = PositionalEncoding(width)
        self.transformer = nn.Transformer(width, heads, layers, layers, 4 * width, dropout=0.0, batch_first=True)
        self.project = nn.Linear(width, vocabulary)
        self.width = width
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def represent(self, tokens):
        return self.position(self.embed(tokens) * math.sqrt(self.width))

    def forward(self, source, target):
        mask = nn.Transformer.generate_square_subsequent_mask(target.size(1))
        hidden = self.transformer(self.represent(source), self.represent(target), tgt_mask=mask)
        return torch.log_softmax(self.project(hidden), dim=-1)

    @torch.no_grad()
    def greedy(self, source):
        """Decode one word at a time, each the most probable."""
        memory = self.transformer.encoder(self.represent(source))
        words = torch.full((source.size(0), 1), START, dtype=torch.long)
        for _ in range(source.size(1) - 1):
            mask = nn.Transformer.generate_square_subsequent_mask(words.size(1))
            hidden = self.transformer.decoder(self.represent(words), memory, tgt_mask=mask)
            best = self.project(hidden[:, -1]).argmax(-1, keepdim=True)
            words = torch.cat([words, best], dim=1)
        return words


def batch(size, length, vocabulary):
    """Random words 1..vocabulary-1; every sequence begins with START."""
    data = torch.randint(1, vocabulary, (size, length))
    data[:, 0] = START
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=11)
    parser.add_argument("--length", type=int, default=10)
    parser.add_argument("--max-steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    model = CopyModel(args.vocabulary)
    criterion = LabelSmoothing(args.vocabulary, PAD, smoothing=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 100, (100 / (step + 1)) ** 0.5))
    start = time.perf_counter()
    for step in range(1, args.max_steps + 1):
        model.train()
        data = batch(32, args.length, args.vocabulary)
        log_probabilities = model(data, data[:, :-1])
        target = data[:, 1:].reshape(-1)
        loss = criterion(log_probabilities.reshape(-1, args.vocabulary), target) / target.numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % 50 == 0:
            model.eval()
            test = batch(100, args.length, args.vocabulary)
            wrong = (model.greedy(test) != test).sum().item()
            print(f"step {step:4d}  loss {loss.item():.4f}  wrong words {wrong} of {test.numel()}  {time.perf_counter() - start:.1f} s",
                  flush=True)
            if wrong == 0:
                print(f"copies 100 fresh sequences without a mistake after {step} steps")
                print("source:", test[0].tolist())
                print("copy:  ", model.greedy(test[:1])[0].tolist())
                return 0
    print("did not learn to copy without a mistake")
    return 1


if __name__ == "__main__":
    sys.exit(main())
