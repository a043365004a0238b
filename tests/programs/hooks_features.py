"""Feature extraction with hooks, gradient hooks, Grad-CAM, and saved-tensor hooks."""
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(4)
model = nn.Sequential(OrderedDict([
    ("conv1", nn.Conv2d(3, 8, 3, padding=1)), ("relu1", nn.ReLU()), ("pool1", nn.MaxPool2d(2)),
    ("conv2", nn.Conv2d(8, 12, 3, padding=1)), ("relu2", nn.ReLU()), ("gap", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("fc", nn.Linear(12, 5))]))
features, gradients = {}, {}
handles = []
for name, module in model.named_children():
    handles.append(module.register_forward_hook(lambda m, i, o, name=name: features.__setitem__(name, o.detach())))
handles.append(model.conv2.register_full_backward_hook(lambda m, gi, go: gradients.__setitem__("conv2", go[0])))
handles.append(model.fc.register_forward_pre_hook(lambda m, args: (args[0] * 1.1,)))
x = torch.randn(2, 3, 8, 8, requires_grad=True)
out = model(x)
out[0, out[0].argmax()].backward()
for name, f in features.items():
    print(f"{name:6s} {tuple(f.shape)} mean {f.mean():.4f}")
cam = F.relu((gradients["conv2"].mean((2, 3), keepdim=True) * features["conv2"]).sum(1))
cam = F.interpolate(cam.unsqueeze(1), size=(8, 8), mode="bilinear", align_corners=False)[0, 0]
print(cam[::3, ::3])
print(f"saliency {x.grad.abs().max():.4f}, zero for the other image: {x.grad[1].abs().sum().item()}")
for h in handles:
    h.remove()
print(len(model.conv1._forward_hooks))
seen = []
w = torch.randn(3, requires_grad=True)
h = w.register_hook(lambda g: seen.append(g.clone()) or g * 2)
(w ** 2).sum().backward()
print(torch.allclose(w.grad, 4 * w.detach()), len(seen))
h.remove()
middle = w.exp()
middle.retain_grad()
middle.sum().backward()
print(middle.grad, middle.grad_fn.name(), [type(fn).__name__ for fn, _ in middle.grad_fn.next_functions])
packed = []
with torch.autograd.graph.saved_tensors_hooks(lambda t: (packed.append(t.shape), t.half())[1], lambda t: t.float()):
    y = (w * w).sin().sum()
y.backward()
print(packed)


class Spy(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        print("calling", type(self.inner).__name__, [tuple(a.shape) for a in args])
        return self.inner(*args, **kwargs)


model.fc = Spy(model.fc)
model(torch.zeros(1, 3, 8, 8))
print([n for n, _ in model.named_modules()][-3:])
with torch.autograd.set_detect_anomaly(True):
    try:
        torch.sqrt(torch.tensor(-1.0, requires_grad=True)).backward()
    except RuntimeError as error:
        print(str(error))
