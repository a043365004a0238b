"""Graph convolution (Kipf and Welling) on a sparse adjacency matrix, and a TagLM-like label propagation."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parameter import Parameter

torch.manual_seed(42)
n = 34
edges = torch.randint(0, n, (2, 90))
edges = edges[:, edges[0] != edges[1]]
labels = (torch.arange(n) * 3 // n)
same = labels[edges[0]] == labels[edges[1]]
edges = torch.cat([edges[:, same].repeat(1, 1), edges[:, ~same][:, :8]], 1)
edges = torch.cat([edges, edges.flip(0), torch.arange(n).repeat(2, 1)], 1)
adj = torch.sparse_coo_tensor(edges, torch.ones(edges.size(1)), (n, n)).coalesce()
adj = torch.sparse_coo_tensor(adj.indices(), torch.ones_like(adj.values()), (n, n)).coalesce()
degree = torch.sparse.sum(adj, 1).to_dense()
i = adj.indices()
adj = torch.sparse_coo_tensor(i, adj.values() / (degree[i[0]] * degree[i[1]]).sqrt(), (n, n)).coalesce()
print(adj.shape, adj._nnz(), f"{torch.sparse.sum(adj):.4f}")


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(torch.FloatTensor(in_features, out_features))
        self.bias = Parameter(torch.FloatTensor(out_features))
        stdv = 1.0 / (self.weight.size(1) ** 0.5)
        self.weight.data.uniform_(-stdv, stdv)
        self.bias.data.uniform_(-stdv, stdv)

    def forward(self, x, adj):
        return torch.spmm(adj, torch.mm(x, self.weight)) + self.bias

    def __repr__(self):
        return f"{self.__class__.__name__} ({self.in_features} -> {self.out_features})"


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(8, 16), GraphConvolution(16, 3)

    def forward(self, x, adj):
        x = F.dropout(F.relu(self.gc1(x, adj)), 0.3, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


features = torch.randn(n, 8)
model = GCN()
print(model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=5e-4)
train_idx = torch.tensor([0, 5, 13, 18, 25, 30])
for epoch in range(20):
    model.train()
    optimizer.zero_grad()
    out = model(features, adj)
    loss = F.nll_loss(out[train_idx], labels[train_idx])
    loss.backward()
    optimizer.step()
    if epoch % 5 == 4:
        print(f"Epoch: {epoch + 1:04d} loss: {loss.item():.4f} acc: {(out.max(1)[1] == labels).double().mean():.3f}")
model.eval()
csr = adj.to_sparse_csr()
print(torch.allclose(csr @ features, adj @ features, atol=1e-6), csr.crow_indices()[:5])
values = adj.values().clone().requires_grad_()
learned = torch.sparse_coo_tensor(adj.indices(), values, (n, n))
attention = torch.sparse.softmax(learned, dim=1)
torch.sparse.mm(attention, features).square().mean().backward()
print(f"{values.grad.norm():.5f}", attention.to_dense().sum(1)[:4])
