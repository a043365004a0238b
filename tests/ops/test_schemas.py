"""What a call's arguments may be: PyTorch's TypeError where they fit no form of the function, whatever else is wrong."""

import pytest
import torch

import rushlight as rl
from rushlight.ops.schemas import misfit
from tests.support.two_sides import assert_same_outcome
from tools import make_schemas

CALLS = """
    torch.narrow(torch.ones(2, 3), dim=3, start=0, length=True)
    torch.permute(torch.ones(2, 3, 4, 4), 1)
    torch.ones(2, 3).permute(1, 0)
    torch.ones(2, 2).index_copy_(1, "x", torch.ones(2, 2))
    torch.ones(2, 3).sum(7)
    torch.ones(2, 3).sum(axis=7)
    torch.sum(torch.ones(2, 3), dim=[0, "a"])
    torch.segment_reduce(torch.ones(3), "bilinear", offsets=True, axis=-1, initial=None)
    torch.searchsorted(torch.ones(1, 1, 2), torch.strided, out_int32=True)
    torch.ones(2, 3).index_reduce_(0, torch.tensor([0]), slice(None), "max")
    torch.ones(2).scatter_({}, torch.tensor([0]), 1.5, reduce="fro")
    torch.addmm(torch.ones(2), torch.ones(2), torch.ones(2), alpha=[])
    torch.addmm(torch.ones(2), torch.ones(2), torch.ones(2))
    torch.bincount(torch.ones(3, 3, dtype=torch.bool), ..., -3)
    torch.ones(3).split_with_sizes(3)
    torch.rand(2, 3).movedim(0, 7)
    torch.cumsum(torch.ones(2), torch.tensor(5))
    torch.cumsum(torch.ones(2), 0.5)
    torch.pixel_unshuffle(torch.ones(2, 2), ...)
    torch.linalg.norm(torch.ones(2), {})
    torch.ones(2, 3).masked_fill(1.5, 2)
    torch.ones(2, 3).masked_scatter((1, 2), torch.ones(2, 3))
    torch.ones(2, 3).as_strided(0, [1])
    torch.ones(2, 3).split("cpu")
    torch.ones(2).polygamma(torch.ones(2))
    torch.ones(2, 3, 4).baddbmm([1], torch.ones(2))
    torch.ones(2).divide_([], rounding_mode="max")
    torch.hamming_window(0, "x", 0.1)
    torch.kaiser_window(-1, periodic=slice(None), beta=0.1)
    torch.range(["a"], -2)
    torch.std(torch.ones(2), correction=[1])
    torch.bernoulli(torch.ones(2), torch.ones(2))
    torch.lstm_cell(1.5, torch.ones(2), torch.ones(2), torch.ones(2))
    torch.swapaxes(torch.ones(2, 2), axis0=10 ** 30, axis1=0)
    torch.max_pool2d(torch.ones(3), 2, padding=[1], dilation=[-2, 5, 10 ** 30])
    torch.nn.functional.max_pool2d_with_indices(torch.ones(1, 4), -3, dilation=True)
    torch.nn.functional.max_pool2d(torch.ones(1, 1, 2, 2), 3, 2, 0, 1, ceil_mode=False, return_indices=False)
    torch.linalg.cond(input=torch.ones(1, 4))
    torch.linalg.det(torch.ones(2, 2, dtype=torch.float16))
    torch.linalg.lu_factor(torch.ones(2, 2, dtype=torch.int64))
    torch.cholesky_inverse(torch.ones(2, 2, dtype=torch.int64))
    torch.hsplit(torch.ones(4, 4), indices=[1, 3])
    torch.special.spherical_bessel_j0(x=torch.ones(2))
    torch.ones(3).baddbmm(torch.ones(3), torch.ones(3))
    torch.ones(2, 2).addbmm(torch.ones(2, 2, 2), torch.ones(2, 2))
    torch.ones(2, 2).index_fill(0, torch.ones(1, 1, dtype=torch.int64), 1)
    torch.nn.functional.adaptive_avg_pool2d(torch.ones(3, 3), 1)
    torch.nn.functional.adaptive_avg_pool2d(torch.ones(3, 3), [1, 1])
    torch.nn.functional.adaptive_max_pool2d(torch.ones(3, 3), 1)
    torch.nn.functional.adaptive_avg_pool3d(torch.ones(2, 3, 4, 5), None)
    torch.gru(torch.ones(1, 2, 3), torch.ones(4), torch.ones(4), [], False, 0, 0.5, True, False)
    torch.lstm(torch.ones(1, 2, 3), [], [], True, 0, 0.5, False, False, False)
    torch.rnn_relu_cell(torch.ones(3, 1), torch.ones(3, 1), torch.ones(3, 1), torch.ones(3, 1))
    torch.nn.functional.ctc_loss(torch.ones(3, dtype=torch.int64), torch.ones(3), [1], [1], reduction="floor")
    torch.nn.functional.elu_(torch.ones(3), 2.0, 0.5, input_scale=2)
    torch.nn.functional.celu_(torch.ones(3), 1.5j)
    torch.nn.functional.upsample("", 3)
    torch.histogram(torch.arange(9.0), range=(0.0, 8.0))
    torch.randint_like(torch.zeros(2), torch.tensor(1))
    torch.randint_like(torch.zeros(2), torch.ones(2))
    torch.nn.functional.softmax(torch.ones(0, dtype=torch.int64), 0)
    torch.randn_like(torch.ones(0, 3, dtype=torch.int64))
    torch.cummax(torch.ones(0, 2, dtype=torch.complex64), 0)
    torch.dropout(torch.arange(4), 1.0, True)
    torch.nn.functional.dropout2d(torch.ones(2, 3, 4, 4, dtype=torch.uint8), 1.0, True)
    torch.addcmul(torch.arange(3), torch.arange(3), torch.arange(3), value=1.7)
    torch.arange(5, dtype=torch.uint8).clamp_max(-1)
    torch.arange(5, dtype=torch.uint8).clamp(-3, 300)
    torch.pow(torch.ones(2, dtype=torch.int8), 300)
    torch.isin(torch.ones(2, dtype=torch.bool), torch.ones(2))
    torch.arange(4).nanmean()
    torch.lerp(torch.arange(3), torch.arange(3), 0.5)
    torch.round(torch.arange(3), decimals=0)
    torch.round(torch.tensor([1.25, 2.5]))
    torch.fft.fftshift(torch.ones(2, 2), [])
    torch.fft.fftshift(torch.arange(4.0).reshape(2, 2), [0, 0])
    torch.fft.rfftfreq(-3, pin_memory=False)
    torch.result_type(scalar=2.0, tensor=torch.ones(2))
    torch.broadcast_tensors([torch.ones(2)])
    torch.movedim(torch.ones(3, 1), [1], 1)
    torch.scatter_reduce(torch.ones(3), 0, torch.ones(0), torch.ones(3), "sum")
    torch.ones(0, 3).repeat(-2, 2)
    torch.margin_ranking_loss(torch.ones(2, 3), torch.ones(()), torch.ones(()))
    torch.nn.functional.adaptive_max_pool2d(torch.ones(1, 2, 2, dtype=torch.int64), 1)
    torch.complex(torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16))
    torch.histogramdd(torch.ones(2, 0), [1])
    torch.linalg.lu_factor(torch.ones(2, 0, dtype=torch.int8))
    torch.searchsorted(torch.arange(3), 3, sorter=torch.arange(2))
"""


@pytest.mark.parametrize("call", [line.strip() for line in CALLS.strip().splitlines()])
def test_calls_end_alike(call):
    assert_same_outcome(lambda torch: eval(call, {"torch": torch}))


def test_what_may_be_an_argument():
    x = rl.ones(2)
    assert misfit("cumsum", (x, 0), {}) is None and misfit("cumsum", (x, rl.tensor(0)), {}) is None and misfit("cumsum", (x,), {"axis": 0}) is None
    assert "position 2" in str(misfit("cumsum", (x, 0.5), {})) and "position 1" in str(misfit("cumsum", (x, True), {}, True))
    assert misfit("view", (x, 1, 2), {}, True) is None and misfit("permute", (x, (1, 0)), {}) is None
    assert misfit("addmm", (x, x, x), {"beta": rl.tensor(2.0), "out": x}) is None and isinstance(misfit("addmm", (x, x), {}), TypeError)
    assert misfit("no_such_operator", (object(),), {}) is None


def test_the_file_is_what_the_tool_writes(tmp_path, monkeypatch):
    before = make_schemas.TARGET.read_text()
    monkeypatch.setattr(make_schemas, "TARGET", tmp_path / "schemas.txt")
    make_schemas.main()
    theirs = dict(line.split(" ", 1) for line in (tmp_path / "schemas.txt").read_text().splitlines())
    ours = dict(line.split(" ", 1) for line in before.splitlines())
    assert {name: set(value.split()) for name, value in ours.items()} == {name: set(value.split()) for name, value in theirs.items()}
    assert torch.__version__.startswith("2.13")
