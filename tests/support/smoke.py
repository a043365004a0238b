"""A small program as users write them: training, saving, loading batches. Prints the losses; run in environments that the test suite can't enter.

``python smoke.py [MODULE ...]`` makes the named modules unimportable first, and ``threads`` among them lets no thread start, as in a browser's Python.
"""

import io
import sys

blocked = set(sys.argv[1:])


class Blocked:
    """A finder that has none of them."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def no_thread(*args, **kwargs):
    """What a Python without threads does."""
    raise RuntimeError("can't start new thread")


if blocked:
    for name in [name for name in sys.modules if name.partition(".")[0] in blocked]:
        del sys.modules[name]
    sys.meta_path.insert(0, Blocked())
    if "threads" in blocked:
        import _thread
        import threading
        _thread.start_new_thread = threading._start_new_thread = no_thread

import rushlight as torch

torch.manual_seed(0)
nn, F = torch.nn, torch.nn.functional
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10), nn.Dropout(0.1), nn.GELU(), nn.Linear(10, 3))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
x, y = torch.randn(12, 1, 8, 8), torch.randint(0, 3, (12,))
losses = []
for _ in range(5):
    for images, labels in torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=6):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    losses.append(round(float(loss), 4))
file = io.BytesIO()
torch.save(model.state_dict(), file)
file.seek(0)
model.load_state_dict(torch.load(file))
assert torch.allclose(torch.linalg.inv(torch.eye(3) * 2), torch.eye(3) / 2) and losses[-1] < losses[0], losses
assert torch.allclose(torch.fft.ifft(torch.fft.fft(x)).real, x, atol=1e-6) and x.sort().values.shape == x.shape
assert not blocked & set(sys.modules), blocked & set(sys.modules)
print("losses", *losses)
