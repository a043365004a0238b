"""Neural style transfer (Gram matrices, LBFGS on the image), FGSM and PGD attacks, saliency, total variation, DeepDream octaves."""
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

torch.manual_seed(31)
cnn = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=False), nn.AvgPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(inplace=False)).eval()


class Normalization(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean.clone().detach().view(-1, 1, 1), std.clone().detach().view(-1, 1, 1)

    def forward(self, img):
        return (img - self.mean) / self.std


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class ContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


class StyleLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = gram_matrix(target).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


content, style = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 12, 12)
model, content_losses, style_losses = nn.Sequential(Normalization(torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))), [], []
for i, layer in enumerate(cnn.children()):
    model.add_module(f"layer_{i}", layer)
    if isinstance(layer, nn.Conv2d):
        target = model(style).detach()
        model.add_module(f"style_{i}", StyleLoss(target))
        style_losses.append(model[-1])
    if i == 3:
        model.add_module("content", ContentLoss(model(content).detach()))
        content_losses.append(model[-1])
input_img = content.clone().requires_grad_(True)
model.requires_grad_(False)
optimizer = optim.LBFGS([input_img])
run = [0]
while run[0] <= 20:
    def closure():
        with torch.no_grad():
            input_img.clamp_(0, 1)
        optimizer.zero_grad()
        model(input_img)
        loss = sum(s.loss for s in style_losses) * 1e4 + sum(c.loss for c in content_losses)
        loss.backward()
        run[0] += 1
        if run[0] in (1, 5):
            print(f"run {run[0]}: {loss.item():.3f}")
        return loss
    optimizer.step(closure)
print("done", run[0] > 20, tuple(input_img.shape))

classifier = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3))
x, y = torch.rand(24, 1, 6, 6), torch.arange(24) % 3
x[torch.arange(24), 0, y, y] += 1
opt = optim.Adam(classifier.parameters(), lr=1e-2)
for _ in range(40):
    opt.zero_grad()
    F.cross_entropy(classifier(x), y).backward()
    opt.step()
accuracy = {}
for eps in (0.0, 0.05, 0.2):
    adv = x.clone().requires_grad_(True)
    F.nll_loss(F.log_softmax(classifier(adv), 1), y).backward()
    adv = torch.clamp(adv + eps * adv.grad.sign(), 0, 2).detach()
    accuracy[eps] = round((classifier(adv).argmax(1) == y).float().mean().item(), 2)
print(accuracy)
delta = torch.zeros_like(x, requires_grad=True)
for _ in range(5):
    F.cross_entropy(classifier(x + delta), y).backward()
    delta.data = (delta + 0.05 * delta.grad.detach().sign()).clamp(-0.15, 0.15)
    delta.grad.zero_()
print(f"pgd {F.cross_entropy(classifier(x + delta), y).item():.3f} {delta.abs().max().item():.3f}")
dream = torch.rand(1, 3, 8, 8)
for octave in range(2):
    dream = F.interpolate(dream, scale_factor=1.25, mode="bicubic", align_corners=False, recompute_scale_factor=True)
    for _ in range(3):
        d = dream.detach().requires_grad_()
        loss = cnn(d)[:, 3].mean()
        loss.backward()
        g = d.grad
        dream = d.detach() + 0.1 * g / (g.abs().mean() + 1e-8)
    tv = (dream[..., 1:, :] - dream[..., :-1, :]).abs().mean() + (dream[..., 1:] - dream[..., :-1]).abs().mean()
    print(tuple(dream.shape), f"{loss.item():.4f} {tv.item():.3f}")
