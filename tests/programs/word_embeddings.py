"""N-gram language model, CBOW, and skip-gram with negative sampling and sparse gradients."""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

torch.manual_seed(1)
text = """when forty winters shall besiege thy brow and dig deep trenches in thy beauty's field thy youth's proud livery so gazed on now
will be a totter'd weed of small worth held then being asked where all thy beauty lies where all the treasure of thy lusty days""".split()
vocab = sorted(set(text))
ix = {w: i for i, w in enumerate(vocab)}
ngrams = [([text[i - 2], text[i - 1]], text[i]) for i in range(2, len(text))]


class NGram(nn.Module):
    def __init__(self, vocab_size, dim, context):
        super().__init__()
        self.embeddings = nn.Embedding(vocab_size, dim)
        self.linear1 = nn.Linear(context * dim, 32)
        self.linear2 = nn.Linear(32, vocab_size)

    def forward(self, inputs):
        embeds = self.embeddings(inputs).view((1, -1))
        return F.log_softmax(self.linear2(F.relu(self.linear1(embeds))), dim=1)


model = NGram(len(vocab), 10, 2)
loss_function, optimizer = nn.NLLLoss(), optim.SGD(model.parameters(), lr=0.01)
for epoch in range(3):
    total = 0
    for context, target in ngrams:
        model.zero_grad()
        loss = loss_function(model(torch.tensor([ix[w] for w in context], dtype=torch.long)), torch.tensor([ix[target]]))
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"{total:.3f}")
print(model.embeddings.weight[ix["beauty's"]])

bag = nn.EmbeddingBag(len(vocab), 10, mode="mean")
classifier = nn.Linear(10, len(vocab))
optimizer = optim.Adagrad([*bag.parameters(), *classifier.parameters()], lr=0.1)
contexts = torch.tensor([[ix[text[i + d]] for d in (-2, -1, 1, 2)] for i in range(2, len(text) - 2)])
targets = torch.tensor([ix[text[i]] for i in range(2, len(text) - 2)])
for epoch in range(5):
    optimizer.zero_grad()
    loss = F.cross_entropy(classifier(bag(contexts)), targets)
    loss.backward()
    optimizer.step()
print(f"cbow {loss.item():.4f}")

center, context = nn.Embedding(len(vocab), 8, sparse=True), nn.Embedding(len(vocab), 8, sparse=True)
optimizer = optim.SparseAdam([*center.parameters(), *context.parameters()], lr=0.05)
counts = torch.bincount(torch.tensor([ix[w] for w in text])).float().pow(0.75)
for epoch in range(5):
    pairs = torch.tensor([[ix[text[i]], ix[text[i + 1]]] for i in range(len(text) - 1)])
    noise = torch.multinomial(counts, len(pairs) * 3, replacement=True).view(len(pairs), 3)
    v, u, n = center(pairs[:, 0]), context(pairs[:, 1]), context(noise)
    positive = F.logsigmoid((v * u).sum(1))
    negative = F.logsigmoid(-torch.bmm(n, v.unsqueeze(2)).squeeze(2)).sum(1)
    loss = -(positive + negative).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"skip-gram {loss.item():.4f} {center.weight.grad.coalesce()._nnz()}")
similarity = F.cosine_similarity(center.weight[ix["thy"]].unsqueeze(0), center.weight, dim=1)
print(similarity.topk(3).values)
