"""A small U-Net: skip connections, upsampling, dice loss, IoU, group norm, gradients through interpolation."""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(5)


class DoubleConv(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.GroupNorm(2, cout), nn.SiLU(inplace=True), nn.Conv2d(cout, cout, 3, padding=1, padding_mode="reflect"), nn.SiLU())

    def forward(self, x):
        return self.net(x)


class Up(nn.Module):
    def __init__(self, cin, cout, bilinear):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True) if bilinear else nn.ConvTranspose2d(cin, cin, 2, stride=2)
        self.conv = DoubleConv(cin + cout, cout)

    def forward(self, x, skip):
        x = self.up(x)
        dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
        x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc, self.d1, self.d2 = DoubleConv(1, 4), DoubleConv(4, 8), DoubleConv(8, 16)
        self.u1, self.u2, self.out = Up(16, 8, True), Up(8, 4, False), nn.Conv2d(4, 1, 1)

    def forward(self, x):
        a = self.inc(x)
        b = self.d1(F.max_pool2d(a, 2))
        c = self.d2(F.avg_pool2d(b, 2))
        return self.out(self.u2(self.u1(c, b), a))


def dice_loss(logits, target, smooth=1.0):
    p = torch.sigmoid(logits).flatten(1)
    t = target.flatten(1)
    inter = (p * t).sum(1)
    return (1 - (2 * inter + smooth) / (p.sum(1) + t.sum(1) + smooth)).mean()


yy, xx = torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij")
centers = torch.randint(3, 11, (16, 2))
masks = torch.stack([((yy - c[0]) ** 2 + (xx - c[1]) ** 2 < 9).float() for c in centers]).unsqueeze(1)
images = masks + 0.3 * torch.randn_like(masks)
model = UNet()
optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, momentum=0.5)
scaler_losses = []
for epoch in range(6):
    perm = torch.randperm(16)
    for i in range(0, 16, 8):
        x, m = images[perm[i:i + 8]], masks[perm[i:i + 8]]
        logits = model(x)
        loss = F.binary_cross_entropy_with_logits(logits, m, pos_weight=torch.tensor(2.0)) + dice_loss(logits, m)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scaler_losses.append(round(loss.item(), 3))
print(scaler_losses)
with torch.no_grad():
    p = model(images) > 0
    m = masks.bool()
    iou = (p & m).sum((1, 2, 3)).float() / (p | m).sum((1, 2, 3)).clamp(min=1)
print(f"{iou.mean():.3f}", p.shape, p.dtype, p.float().mean((0, 1)).sum(0).topk(2).indices.tolist())
print(sum(p.numel() for p in model.parameters()), [tuple(p.shape) for p in model.u2.up.parameters()])
theta = torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.2]]])
grid = F.affine_grid(theta, (1, 1, 6, 6), align_corners=False)
print(F.grid_sample(images[:1], grid, align_corners=False)[0, 0, :2])
