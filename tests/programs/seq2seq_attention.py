"""Translation with a GRU encoder and an attention decoder (Bahdanau), teacher forcing, padding and masking."""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim

random.seed(1)
torch.manual_seed(1)
SOS, EOS, PAD, V, H, MAX = 0, 1, 2, 15, 24, 8


class EncoderRNN(nn.Module):
    def __init__(self, input_size, hidden_size, dropout_p=0.1):
        super().__init__()
        self.embedding = nn.Embedding(input_size, hidden_size, padding_idx=PAD)
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, x):
        return self.gru(self.dropout(self.embedding(x)))


class BahdanauAttention(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.Wa = nn.Linear(hidden_size, hidden_size)
        self.Ua = nn.Linear(hidden_size, hidden_size)
        self.Va = nn.Linear(hidden_size, 1)

    def forward(self, query, keys, mask):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys))).squeeze(2).unsqueeze(1)
        scores = scores.masked_fill(mask.unsqueeze(1), float("-inf"))
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class AttnDecoderRNN(nn.Module):
    def __init__(self, hidden_size, output_size):
        super().__init__()
        self.embedding = nn.Embedding(output_size, hidden_size)
        self.attention = BahdanauAttention(hidden_size)
        self.gru = nn.GRU(2 * hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, output_size)

    def forward(self, keys, hidden, mask, target=None):
        token = torch.empty(keys.size(0), 1, dtype=torch.long).fill_(SOS)
        outputs, attentions = [], []
        for i in range(MAX):
            query = hidden.permute(1, 0, 2)
            context, w = self.attention(query, keys, mask)
            y, hidden = self.gru(torch.cat((self.embedding(token), context), dim=2), hidden)
            y = self.out(y)
            outputs.append(y)
            attentions.append(w)
            token = target[:, i].unsqueeze(1) if target is not None else y.topk(1)[1].squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), torch.cat(attentions, dim=1)


def pair():
    words = [random.randint(3, V - 1) for _ in range(random.randint(3, MAX - 1))]
    return words + [EOS] + [PAD] * (MAX - 1 - len(words)), words[::-1] + [EOS] + [PAD] * (MAX - 1 - len(words))


pairs = [pair() for _ in range(96)]
src, tgt = (torch.tensor(each) for each in zip(*pairs))
encoder, decoder = EncoderRNN(V, H), AttnDecoderRNN(H, V)
opts = [optim.Adam(m.parameters(), lr=0.01) for m in (encoder, decoder)]
criterion = nn.NLLLoss(ignore_index=PAD)
for epoch in range(6):
    total = 0
    for i in range(0, 96, 32):
        s, t = src[i:i + 32], tgt[i:i + 32]
        for o in opts:
            o.zero_grad()
        keys, hidden = encoder(s)
        out, _ = decoder(keys, hidden, s == PAD, t)
        loss = criterion(out.view(-1, out.size(-1)), t.view(-1))
        loss.backward()
        for o in opts:
            o.step()
        total += loss.item()
    print(f"{epoch} {total / 3:.4f}")
encoder.eval()
decoder.eval()
with torch.no_grad():
    keys, hidden = encoder(src[:2])
    out, attention = decoder(keys, hidden, src[:2] == PAD)
print(out.argmax(-1))
print(attention[0].sum(-1), attention.shape)
