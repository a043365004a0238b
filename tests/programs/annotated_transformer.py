"""The Annotated Transformer: clones, LayerNorm, sublayers, attention, label smoothing, NoamOpt, greedy decoding."""
import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.functional import log_softmax

torch.manual_seed(0)


def clones(module, N):
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


class LayerNorm(nn.Module):
    def __init__(self, features, eps=1e-6):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


class SublayerConnection(nn.Module):
    def __init__(self, size, dropout):
        super().__init__()
        self.norm = LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, sublayer):
        return x + self.dropout(sublayer(self.norm(x)))


def subsequent_mask(size):
    return torch.triu(torch.ones(1, size, size), diagonal=1).type(torch.uint8) == 0


def attention(query, key, value, mask=None, dropout=None):
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


class MultiHeadedAttention(nn.Module):
    def __init__(self, h, d_model, dropout=0.1):
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = clones(nn.Linear(d_model, d_model), 4)
        self.attn = None
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        n = query.size(0)
        query, key, value = [lin(x).view(n, -1, self.h, self.d_k).transpose(1, 2) for lin, x in zip(self.linears, (query, key, value))]
        x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)
        return self.linears[-1](x.transpose(1, 2).contiguous().view(n, -1, self.h * self.d_k))


class FeedForward(nn.Module):
    def __init__(self, d_model, d_ff, dropout=0.1):
        super().__init__()
        self.w_1, self.w_2, self.dropout = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model), nn.Dropout(dropout)

    def forward(self, x):
        return self.w_2(self.dropout(self.w_1(x).relu()))


class DecoderLayer(nn.Module):
    def __init__(self, size, self_attn, feed_forward, dropout):
        super().__init__()
        self.self_attn, self.feed_forward = self_attn, feed_forward
        self.sublayer = clones(SublayerConnection(size, dropout), 2)

    def forward(self, x, mask):
        x = self.sublayer[0](x, lambda x: self.self_attn(x, x, x, mask))
        return self.sublayer[1](x, self.feed_forward)


class LM(nn.Module):
    def __init__(self, vocab, d=16, n=2):
        super().__init__()
        c = copy.deepcopy
        attn, ff = MultiHeadedAttention(4, d), FeedForward(d, 32)
        self.layers = clones(DecoderLayer(d, c(attn), c(ff), 0.1), n)
        self.norm, self.embed, self.proj, self.d = LayerNorm(d), nn.Embedding(vocab, d), nn.Linear(d, vocab), d
        self.register_buffer("pe", torch.sin(torch.arange(0, 20).unsqueeze(1) / 10000 ** (torch.arange(0, d) / d)).unsqueeze(0))

    def forward(self, x, mask):
        h = self.embed(x) * math.sqrt(self.d) + self.pe[:, :x.size(1)].requires_grad_(False)
        for layer in self.layers:
            h = layer(h, mask)
        return log_softmax(self.proj(self.norm(h)), dim=-1)


class LabelSmoothing(nn.Module):
    def __init__(self, size, padding_idx, smoothing=0.0):
        super().__init__()
        self.criterion = nn.KLDivLoss(reduction="sum")
        self.padding_idx, self.confidence, self.smoothing, self.size, self.true_dist = padding_idx, 1.0 - smoothing, smoothing, size, None

    def forward(self, x, target):
        assert x.size(1) == self.size
        true_dist = x.data.clone()
        true_dist.fill_(self.smoothing / (self.size - 2))
        true_dist.scatter_(1, target.data.unsqueeze(1), self.confidence)
        true_dist[:, self.padding_idx] = 0
        mask = torch.nonzero(target.data == self.padding_idx)
        if mask.dim() > 0:
            true_dist.index_fill_(0, mask.squeeze(), 0.0)
        self.true_dist = true_dist
        return self.criterion(x, true_dist.clone().detach())


crit = LabelSmoothing(5, 0, 0.4)
predict = torch.FloatTensor([[0, 0.2, 0.7, 0.1, 0], [0, 0.2, 0.7, 0.1, 0], [0, 0.2, 0.7, 0.1, 0]])
print(crit(x=predict.log(), target=torch.LongTensor([2, 1, 0])), crit.true_dist)
V = 11
model = LM(V)
for p in model.parameters():
    if p.dim() > 1:
        nn.init.xavier_uniform_(p)
criterion = LabelSmoothing(V, 0, 0.1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.5, betas=(0.9, 0.98), eps=1e-9)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 16 ** -0.5 * min(max(step, 1) ** -0.5, max(step, 1) * 20 ** -1.5))
for step in range(40):
    data = torch.randint(1, V, (16, 1)).repeat(1, 8)
    data = (data + torch.arange(8)) % (V - 1) + 1
    out = model(data[:, :-1], subsequent_mask(7))
    norm = (data[:, 1:] != 0).sum()
    loss = criterion(out.contiguous().view(-1, V), data[:, 1:].contiguous().view(-1)) / norm
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    scheduler.step()
    if step % 10 == 9:
        print(f"Epoch Step: {step:6d} | Loss: {loss:6.3f} | Learning Rate: {optimizer.param_groups[0]['lr']:6.1e}")
model.eval()
ys = torch.zeros(1, 1).fill_(3).type(torch.long)
for _ in range(6):
    prob = model(ys, subsequent_mask(ys.size(1)).type_as(ys.data))
    _, next_word = torch.max(prob[:, -1], dim=1)
    ys = torch.cat([ys, torch.zeros(1, 1).type_as(ys).fill_(next_word.data[0])], dim=1)
print(ys, model.layers[0].self_attn.attn.shape)
print(F.softplus(torch.tensor([-1.0, 2.0])), LM(5, 8, 1))
