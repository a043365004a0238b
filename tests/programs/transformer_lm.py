"""Transformer language model: nn.TransformerEncoder with positional encoding, causal mask, warm-up schedule, evaluation."""
import math

import torch
from torch import Tensor, nn

torch.manual_seed(0)
vocab, d_model, bptt = 29, 32, 12


class PositionalEncoding(nn.Module):
    def __init__(self, d_model: int, dropout: float = 0.1, max_len: int = 64):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(max_len, 1, d_model)
        pe[:, 0, 0::2] = torch.sin(position * div_term)
        pe[:, 0, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[:x.size(0)])


class TransformerModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos_encoder = PositionalEncoding(d_model)
        layer = nn.TransformerEncoderLayer(d_model, 4, 64, 0.1, activation="gelu", norm_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.embedding = nn.Embedding(vocab, d_model)
        self.linear = nn.Linear(d_model, vocab)
        self.init_weights()

    def init_weights(self) -> None:
        self.embedding.weight.data.uniform_(-0.1, 0.1)
        self.linear.bias.data.zero_()
        self.linear.weight.data.uniform_(-0.1, 0.1)

    def forward(self, src: Tensor, mask: Tensor) -> Tensor:
        src = self.pos_encoder(self.embedding(src) * math.sqrt(d_model))
        return self.linear(self.transformer_encoder(src, mask))


stream = (torch.arange(600) * 7 + torch.arange(600) // 5) % vocab
seq_len = stream.size(0) // 10
train = stream[:seq_len * 10].view(10, seq_len).t().contiguous()
model = TransformerModel()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 8, 1.0) * 0.97 ** step)
mask = nn.Transformer.generate_square_subsequent_mask(bptt)
print(mask[:3, :4])
for epoch in range(3):
    model.train()
    total = 0.0
    for i in range(0, train.size(0) - 1 - bptt, bptt):
        x, y = train[i:i + bptt], train[i + 1:i + 1 + bptt].reshape(-1)
        loss = criterion(model(x, mask).view(-1, vocab), y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        total += loss.item()
    print(f"epoch {epoch} lr {scheduler.get_last_lr()[0]:.5f} loss {total / 4:.3f}")
model.eval()
with torch.no_grad():
    out = model(train[:bptt], mask)
    print(f"{criterion(out.view(-1, vocab), train[1:1 + bptt].reshape(-1)):.4f}")
    print(out[-1, 0].topk(3))
print([name for name, _ in model.named_parameters()][:5], len(model.state_dict()))
