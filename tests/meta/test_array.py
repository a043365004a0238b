"""Tensors on the meta device: what they say of themselves, and what they refuse."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.meta.array import MetaArray, fresh, order_of

GB = 1 << 30


def outline(t):
    return tuple(t.shape), str(t.dtype).partition(".")[2], tuple(t.stride()), t.device.type, t.storage_offset()


EXPRESSIONS = """
x + x; x * 2; x.t() + x.t(); x.t() * y; x @ x.t(); x.sum(); x.sum(0); x.mean(1, keepdim=True); x.reshape(2, 6); x.t().reshape(6, 2); x.view(12)
x[1:]; x[:, ::2]; x[None]; x[1, 2]; x[..., 1]; x[[0, 2]]; x[[0, 1], [1, 2]]; x[:, [0, 1]]; x.expand(2, 3, 4); x.permute(1, 0); x.T; x.flip(0)
x.unsqueeze(1); x.squeeze(); x.diagonal(); x.as_strided((2, 2), (1, 2), 1); x.chunk(2, 1)[1]; x.split(2)[1]; x.unbind(1)[2]; x.narrow(1, 1, 2)
x.double(); x.to(T.float16); x.long() + x; x > 0; x.t().contiguous(); x.t().clone(); x.t().double(); T.cat([x, x], 1); T.stack([x, x], 1)
x.softmax(-1); x.max(1)[0]; x.max(1)[1]; x.argmax(); x.sort(1)[0]; x.topk(2)[1]; x.cumsum(0); T.where(x > 0, x, 1.0); x.masked_fill(x > 0, 0.0)
T.zeros_like(x.t()); T.empty_like(x, dtype=T.int64); x.new_zeros(3); T.rand_like(x); T.full((2, 3), 7, device="meta"); T.arange(5, device="meta")
T.linspace(0, 1, 5, device="meta"); T.eye(3, device="meta"); T.randn(2, 3, device="meta"); T.randperm(4, device="meta"); T.tensor([1.0, 2], device="meta")
T.tensor(3, device="meta"); x.exp(); x.gelu() if hasattr(x, "gelu") else T.nn.functional.gelu(x); T.nn.functional.linear(x, y.t()); x.norm(); x.std(0)
T.nn.functional.conv2d(T.empty(2, 3, 8, 8, device="meta"), T.empty(4, 3, 3, 3, device="meta"), padding=1)
T.nn.functional.max_pool2d(T.empty(2, 3, 8, 8, device="meta"), 2); T.nn.functional.layer_norm(x, (4,)); T.einsum("ij,kj->ik", x, x); x.tril(); x.roll(1, 0)
T.nn.functional.conv2d(T.empty(2, 3, 8, 8, device="meta").to(memory_format=T.channels_last), T.empty(4, 3, 3, 3, device="meta"))
T.nn.functional.scaled_dot_product_attention(*[T.empty(2, 4, 5, 8, device="meta")] * 3); T.nn.functional.embedding(x.long(), T.empty(9, 5, device="meta"))
T.nn.functional.cross_entropy(x, x[:, 0].long()); x.gather(1, x.long()[:, :2]); x.index_select(0, x[0].long()[:2]); x.scatter(1, x.long(), 0.0)
x.add_(1); x.zero_(); x[0].fill_(1); x.normal_(); x.t().mul_(2); x.copy_(c); x.clamp(0, 1); x.float(); x.repeat(2, 3); x.repeat_interleave(2)
T.nn.functional.interpolate(T.empty(1, 2, 4, 4, device="meta"), scale_factor=2); T.nn.functional.pad(x, (1, 2)); T.fft.fft(x); x + c.sum(); x.conj(); x.prod()
T.linalg.svd(x)[0]; T.linalg.qr(x)[1]; T.linalg.inv(x[:, :3]); T.linalg.eigh(x[:, :3])[1]; T.linalg.solve(x[:, :3], x); x.bernoulli(); T.multinomial(x, 2)
"""


def expressions():
    return [each.strip() for each in EXPRESSIONS.replace("\n", ";").split(";") if each.strip()]


def evaluated(text, torch):
    x = torch.empty(3, 4, device="meta")
    scope = {"T": torch, "x": x, "y": torch.empty(4, 3, device="meta"), "c": torch.ones(3, 4)}
    return eval(text, scope)


@pytest.mark.parametrize("text", expressions())
def test_outlines(text):
    assert outline(evaluated(text, rl)) == outline(evaluated(text, pt))


REFUSED = """
x.item(); x[0, 0].item(); float(x[0, 0]); int(x[0, 0]); bool(x[0, 0]); x.tolist(); x.numpy(); x.cpu(); x.to("cpu"); c.copy_(x); x + c; c + x; x.equal(x)
T.allclose(x, x); x.nonzero(); x.unique(); x[x > 0]; T.masked_select(x, x > 0); x.argwhere(); x.long().view(-1).bincount(); T.nn.functional.one_hot(x.long())
x.repeat_interleave(x[:, 0].long(), 0); np.asarray(x); x.share_memory_(); T.Generator("meta"); x.set_(c); x.pin_memory(); x @ x; x + x[:, :3]; x.view(5)
T.cat([x, x[:, :2]]); x.untyped_storage().tolist(); T.load(f, map_location="nowhere")
"""


@pytest.mark.parametrize("text", [each.strip() for each in REFUSED.replace("\n", ";").split(";") if each.strip() and "nowhere" not in each])
def test_refused(text):
    def error(torch):
        with pytest.raises(Exception) as caught:
            eval(text, {"T": torch, "np": np, "x": torch.empty(3, 4, device="meta"), "c": torch.ones(3, 4)})
        return caught.value
    ours, theirs = error(rl), error(pt)
    assert isinstance(ours, type(theirs)), (ours, theirs)


def test_no_memory():
    code = """
import resource, rushlight as T
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
x = T.empty(200_000, 131_072, device="meta")            # 100 GB
assert x.untyped_storage().nbytes() == 200_000 * 131_072 * 4
y = (x * 2 + x.sum(0)).softmax(-1)
layer = T.nn.Linear(131_072, 200_000, device="meta")
z = layer(x[:10])
z.sum().backward()
assert layer.weight.grad.shape == (200_000, 131_072) and layer.weight.grad.is_meta
x.add_(1).normal_()
x[:, ::2] = 0
assert T.cat([x, x]).shape[0] == 400_000 and x.t().contiguous().stride() == (200_000, 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_random_number_is_drawn():
    rl.manual_seed(3)
    before = rl.get_rng_state()
    rl.rand(3, device="meta")
    x = rl.empty(3, 4, device="meta").normal_().uniform_()
    x.bernoulli_(0.5), rl.nn.functional.dropout(x), rl.multinomial(x, 1), rl.randperm(5, device="meta"), rl.randint(3, (4,), device="meta")
    rl.nn.Linear(3, 4, device="meta"), rl.nn.LSTM(3, 4, device="meta"), rl.poisson(x)
    assert (rl.get_rng_state() == before).all()


def test_views_share_a_storage_and_history():
    x = rl.empty(3, 4, device="meta", requires_grad=True)
    y = x * 1
    v = y[1:]
    assert v.untyped_storage() is y.untyped_storage() and v.storage_offset() == 4 and v._base is y
    v.mul_(2)
    assert y.grad_fn.name() == "CopySlices" and v._version == y._version == 1
    y.sum().backward()
    assert x.grad.shape == (3, 4) and x.grad.is_meta
    with pytest.raises(RuntimeError):
        x.add_(1)


def test_saved_and_loaded():
    buffer = io.BytesIO()
    rl.save({"a": rl.empty(2, 3, device="meta"), "b": rl.ones(2)}, buffer)
    again = rl.load(io.BytesIO(buffer.getvalue()))
    assert again["a"].is_meta and again["a"].shape == (2, 3) and not again["b"].is_meta
    there = pt.load(io.BytesIO(buffer.getvalue()))
    assert there["a"].is_meta and there["a"].shape == (2, 3)
    everything = rl.load(io.BytesIO(buffer.getvalue()), map_location="meta")
    assert everything["b"].is_meta and everything["b"].shape == (2,)


def test_contexts_and_defaults():
    with rl.device("meta"):
        assert rl.empty(2).is_meta and rl.nn.Linear(2, 3).weight.is_meta
        assert rl.arange(3).is_meta and rl.ones(2, device="cpu").device.type == "cpu"
    assert not rl.empty(2).is_meta
    rl.set_default_device("meta")
    try:
        assert rl.randn(2, 2).is_meta and rl.tensor([1, 2]).is_meta
    finally:
        rl.set_default_device(None)


def test_modules():
    with rl.device("meta"):
        net = rl.nn.Sequential(rl.nn.Linear(4, 8), rl.nn.BatchNorm1d(8), rl.nn.ReLU(), rl.nn.Linear(8, 2))
    assert all(p.is_meta for p in net.parameters())
    assert net(rl.empty(5, 4, device="meta")).shape == (5, 2)
    with pytest.raises(NotImplementedError, match="to_empty"):
        net.to("cpu")
    real = rl.nn.Sequential(rl.nn.Linear(4, 8), rl.nn.BatchNorm1d(8), rl.nn.ReLU(), rl.nn.Linear(8, 2))
    net.load_state_dict(real.state_dict(), assign=True)
    x = rl.randn(3, 4)
    assert (net.eval()(x) == real.eval()(x)).all()
    empty = rl.nn.Linear(4, 3, device="meta").to_empty(device="cpu")
    assert empty.weight.device.type == "cpu" and empty.weight.shape == (3, 4)
    skipped = rl.nn.utils.skip_init(rl.nn.Linear, 4, 3)
    assert skipped.weight.device.type == "cpu" and isinstance(skipped.weight, rl.nn.Parameter)
    assert rl.nn.Linear(4, 3).to("meta").weight.is_meta


def test_printed():
    for torch in (rl, pt):
        x = torch.empty(3, 4, device="meta")
        assert repr(x) == "tensor(..., device='meta', size=(3, 4))"
        assert x.type() == "torch.meta.FloatTensor" and f"{x[0, 0]}" == "tensor(..., device='meta', size=())"
        assert x.data_ptr() == 0 and x.get_device() == -1


def test_order_follows_operands():
    a = fresh((2, 3, 4), np.float32, (2, 0, 1))
    assert isinstance(a, MetaArray) and a.strides == (12, 4, 24)
    assert order_of(a.shape, (a, a)) == [2, 0, 1] and order_of(a.shape, (fresh(a.shape, np.float32), a)) == [0, 1, 2]
    assert a.reshape(6, 4).base is a and a.reshape(4, 6).base is None and a[1].base is a and a[1].data.ptr - a.data.ptr == 12


def test_autograd():
    def run(torch):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
                                  torch.nn.Linear(36, 10)).to("meta")
        loss = torch.nn.functional.cross_entropy(net(torch.empty(2, 3, 8, 8, device="meta")), torch.empty(2, dtype=torch.long, device="meta"))
        loss.backward()
        optimizer = torch.optim.AdamW(net.parameters())
        optimizer.step()
        return [outline(p.grad) for p in net.parameters()] + [outline(loss)]
    assert run(rl) == run(pt)
