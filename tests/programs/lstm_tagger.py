"""Part-of-speech tagging with an LSTM, a CRF forward algorithm by hand, time-series regression with a GRU and Conv1d."""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

torch.manual_seed(1)
training = [("The dog ate the apple".split(), ["DET", "NN", "V", "DET", "NN"]), ("Everybody read that book".split(), ["NN", "V", "DET", "NN"])]
words, tags = {}, {"DET": 0, "NN": 1, "V": 2}
for sentence, _ in training:
    for w in sentence:
        words.setdefault(w, len(words))


def sequence(items, to):
    return torch.tensor([to[w] for w in items], dtype=torch.long)


class LSTMTagger(nn.Module):
    def __init__(self, e, h):
        super().__init__()
        self.hidden_dim = h
        self.word_embeddings = nn.Embedding(len(words), e)
        self.lstm = nn.LSTM(e, h, bidirectional=True)
        self.hidden2tag = nn.Linear(2 * h, len(tags))

    def forward(self, sentence):
        out, _ = self.lstm(self.word_embeddings(sentence).view(len(sentence), 1, -1))
        return self.hidden2tag(out.view(len(sentence), -1))


def log_sum_exp(vec):
    top = vec.max()
    return top + torch.log(torch.sum(torch.exp(vec - top)))


def crf_forward(emissions, transitions):
    alpha = emissions[0]
    for e in emissions[1:]:
        alpha = torch.stack([log_sum_exp(alpha + transitions[k]) + e[k] for k in range(len(tags))])
    return log_sum_exp(alpha)


def crf_score(emissions, labels, transitions):
    score = emissions[0, labels[0]]
    for i in range(1, len(labels)):
        score = score + transitions[labels[i], labels[i - 1]] + emissions[i, labels[i]]
    return score


model = LSTMTagger(6, 6)
transitions = nn.Parameter(torch.randn(3, 3) * 0.1)
optimizer = optim.SGD([*model.parameters(), transitions], lr=0.1, weight_decay=1e-4)
for epoch in range(15):
    total = 0.0
    for sentence, labels in training:
        model.zero_grad(set_to_none=False)
        emissions, y = model(sequence(sentence, words)), sequence(labels, tags)
        loss = F.nll_loss(F.log_softmax(emissions, dim=1), y) + crf_forward(emissions, transitions) - crf_score(emissions, y, transitions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    if epoch % 5 == 4:
        print(f"{epoch} {total:.4f}")
with torch.no_grad():
    print(model(sequence(training[0][0], words)).argmax(1), torch.logsumexp(transitions, 1))


class Forecast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), nn.Conv1d(1, 8, 3), nn.ELU(), nn.BatchNorm1d(8), nn.AvgPool1d(2))
        self.gru = nn.GRU(8, 12, 2, batch_first=True)
        self.cell = nn.LSTMCell(12, 12)
        self.fc = nn.Linear(12, 1)

    def forward(self, x, future=3):
        h, _ = self.gru(self.conv(x.unsqueeze(1)).transpose(1, 2))
        y, state, out = h[:, -1], None, []
        for _ in range(future):
            state = self.cell(y, state)
            y = state[0]
            out.append(self.fc(y))
        return torch.cat(out, 1)


time = torch.arange(0, 200) * 0.1
wave = torch.sin(time) + 0.5 * torch.cos(2.3 * time)
windows = wave.unfold(0, 23, 5)
model = Forecast()
optimizer = optim.Adam(model.parameters(), lr=0.01)
scheduler = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5)
for epoch in range(10):
    optimizer.zero_grad()
    loss = nn.MSELoss()(model(windows[:, :20]), windows[:, 20:])
    loss.backward()
    optimizer.step()
    scheduler.step()
    if epoch % 3 == 0:
        print(f"{epoch} {loss.item():.5f} {optimizer.param_groups[0]['lr']:.6f}")
print(windows.shape, model(windows[:2, :20]).detach().shape)
