"""Character-level RNN: names to classes with a hand-made RNN cell, and generation with an LSTM."""
import math
import string

import torch
import torch.nn as nn

torch.manual_seed(3)
letters = string.ascii_lowercase + " .,;'"
data = {"one": ["anna", "hanna", "annaba", "nana"], "two": ["otto", "lotto", "toto", "motto"], "three": ["kiki", "mimi", "riki", "titi"]}
categories = list(data)


def to_tensor(line):
    t = torch.zeros(len(line), 1, len(letters))
    for i, c in enumerate(line):
        t[i][0][letters.find(c)] = 1
    return t


class RNN(nn.Module):
    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.hidden_size = n_hidden
        self.i2h = nn.Linear(n_in, n_hidden)
        self.h2h = nn.Linear(n_hidden, n_hidden)
        self.h2o = nn.Linear(n_hidden, n_out)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, x, hidden):
        hidden = torch.tanh(self.i2h(x) + self.h2h(hidden))
        return self.softmax(self.h2o(hidden)), hidden

    def init_hidden(self):
        return torch.zeros(1, self.hidden_size)


rnn = RNN(len(letters), 24, len(categories))
criterion = nn.NLLLoss()
for epoch in range(12):
    total = 0.0
    for k, category in enumerate(categories):
        for line in data[category]:
            hidden = rnn.init_hidden()
            rnn.zero_grad()
            for ch in to_tensor(line):
                output, hidden = rnn(ch, hidden)
            loss = criterion(output, torch.tensor([k]))
            loss.backward()
            for p in rnn.parameters():
                p.data.add_(p.grad.data, alpha=-0.1)
            total += loss.item()
    if epoch % 3 == 2:
        print(f"epoch {epoch}: {total:.4f}")
with torch.no_grad():
    for word in ("anan", "tomo", "siki"):
        hidden = rnn.init_hidden()
        for ch in to_tensor(word):
            output, hidden = rnn(ch, hidden)
        values, index = output.topk(2, 1, True)
        print(word, [(round(v.item(), 3), categories[i.item()]) for v, i in zip(values[0], index[0])])

text = "the quick brown fox. the quick brown dog. " * 2
ids = torch.tensor([letters.index(c) for c in text])


class Generator(nn.Module):
    def __init__(self, n, hidden=32):
        super().__init__()
        self.embed = nn.Embedding(n, 16)
        self.lstm = nn.LSTM(16, hidden, num_layers=2, batch_first=True, dropout=0.1)
        self.out = nn.Linear(hidden, n)

    def forward(self, x, state=None):
        y, state = self.lstm(self.embed(x), state)
        return self.out(y), state


model = Generator(len(letters))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
state = None
for step in range(30):
    start = (step * 7) % (len(ids) - 25)
    x, y = ids[start:start + 24].unsqueeze(0), ids[start + 1:start + 25].unsqueeze(0)
    logits, state = model(x, state)
    state = tuple(s.detach() for s in state)
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), y)
    optimizer.zero_grad()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 9:
        print(f"step {step} loss {loss:.4f} ppl {math.exp(loss):.3f} norm {norm:.3f}")
model.eval()
out, token, state = [], torch.tensor([[letters.index("t")]]), None
with torch.no_grad():
    for _ in range(20):
        logits, state = model(token, state)
        token = torch.multinomial(torch.softmax(logits[:, -1] / 0.8, dim=-1), 1)
        out.append(letters[token.item()])
print("generated", len(out))
