"""What scripts ask of their environment: seeds, flags, devices, dtypes, threads, pickling, jit and compile, warnings, versions."""
import copy
import io
import os
import pickle
import random
import tempfile
import warnings
from collections import OrderedDict

import numpy as np
import torch
import torch.backends.cudnn as cudnn
import torch.nn as nn
from torch import Tensor
from torch.nn.modules.utils import _pair
from torch.optim.optimizer import Optimizer
from torch.utils.data import default_collate


def set_seed(seed: int = 0) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
    cudnn.deterministic = True
    cudnn.benchmark = False


set_seed(5)
torch.use_deterministic_algorithms(True, warn_only=True)
torch.set_float32_matmul_precision("high")
device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
print(device, device.type, torch.cuda.device_count(), torch.get_default_dtype(), isinstance(torch.__version__, str), torch.version.cuda is None)
torch.set_default_dtype(torch.float64)
print(torch.ones(2).dtype, torch.tensor([1.5]).dtype, torch.tensor(3).dtype)
torch.set_default_dtype(torch.float32)
state = torch.get_rng_state()
a = torch.rand(3)
torch.set_rng_state(state)
print(torch.equal(a, torch.rand(3)), torch.initial_seed())
with torch.random.fork_rng():
    torch.manual_seed(1)
    torch.rand(5)
print(torch.rand(2))


class CosineWarmup(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer: Optimizer, warmup: int, total: int, last_epoch: int = -1):
        self.warmup, self.total = warmup, total
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        step = self.last_epoch
        return [b * (step / self.warmup if step < self.warmup else 0.5 * (1 + np.cos(np.pi * (step - self.warmup) / (self.total - self.warmup)))) for b in self.base_lrs]


class Lion(Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99)):
        super().__init__(params, dict(lr=lr, betas=betas))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if not s:
                    s["m"] = torch.zeros_like(p)
                update = s["m"].mul(group["betas"][0]).add(p.grad, alpha=1 - group["betas"][0])
                p.add_(update.sign_(), alpha=-group["lr"])
                s["m"].lerp_(p.grad, 1 - group["betas"][1])


net = nn.Sequential(OrderedDict(fc1=nn.Linear(4, 8), act=nn.ReLU(), fc2=nn.Linear(8, 2)))
opt = Lion(net.parameters(), lr=0.01)
sched = CosineWarmup(opt, 2, 10)
lrs = []
for _ in range(6):
    opt.zero_grad()
    net(torch.randn(5, 4)).pow(2).mean().backward()
    opt.step()
    sched.step()
    lrs.append(round(float(sched.get_last_lr()[0]), 5))
print(lrs, len(opt.state_dict()["state"]), opt.state_dict()["param_groups"][0]["params"])
clone = copy.deepcopy(net)
restored = pickle.loads(pickle.dumps(net))
x = torch.randn(3, 4)
print(torch.equal(net(x), clone(x)), torch.equal(net(x), restored(x)), net.fc1.weight.data_ptr() != clone.fc1.weight.data_ptr())
buffer = io.BytesIO()
torch.save(net.state_dict(), buffer)
buffer.seek(0)
print(net.load_state_dict(torch.load(buffer, map_location="cpu", weights_only=True)))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "m.pth")
    torch.save({"net": net.state_dict(), "args": {"lr": 0.1, "name": "x"}, "history": [1.0, 2.0]}, path)
    loaded = torch.load(path)
    print(loaded["args"], loaded["history"], list(loaded["net"]), os.path.getsize(path) > 500)
scripted = torch.jit.script(net) if hasattr(torch, "jit") else net
compiled = torch.compile(net) if False else net
print(torch.allclose(scripted(x), net(x)), torch.allclose(compiled(x), net(x)))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    nn.functional.mse_loss(torch.ones(2, 1), torch.ones(2))
    torch.tensor(torch.ones(1))
print([w.category.__name__ for w in caught], _pair(3), isinstance(x, Tensor), Tensor is torch.Tensor)
print(default_collate([{"a": 1, "b": torch.zeros(2)}, {"a": 2, "b": torch.ones(2)}]))
print(torch.finfo(torch.float32).eps, torch.iinfo(torch.int32).max, torch.float32.itemsize, torch.float16.is_floating_point, torch.result_type(torch.ones(1, dtype=torch.int8), 1.5))
h, b16 = x.half(), x.bfloat16()
print(h.dtype, b16.dtype, (h + 1.0).dtype, (b16 * h).dtype, torch.allclose(b16.float(), x, atol=0.02), x.int().dtype, x.to(torch.uint8).sum().dtype)
net.register_buffer("steps", torch.tensor(0))
net.half()
print({k: str(v.dtype) for k, v in net.state_dict().items()})
net.float().requires_grad_(False)
print(any(p.requires_grad for p in net.parameters()), net.training, net.eval().training, repr(net.act), next(net.parameters()).is_cuda)
print(torch.typename(x), torch.is_floating_point(x), torch.numel(x), torch.get_num_threads() >= 1, torch.is_grad_enabled(), str(torch.strided), x.is_contiguous())
assert all(isinstance(m, nn.Module) for m in net.modules())
print([type(m).__name__ for m in net.modules()], [n for n, _ in net.named_children()], len(list(net.buffers())))
