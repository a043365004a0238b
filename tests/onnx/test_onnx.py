"""`torch.onnx.export` against ONNX Runtime, and `torch.onnx.load` back: the same numbers as eager."""

from __future__ import annotations

import doctest
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rushlight as rl
from rushlight import nn
from rushlight.utils import _pytree as pytree
from tests.dispatching.test_modes import heads

F = nn.functional
r = rl.randn


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, f: Callable[..., Any]) -> None:
        super().__init__()
        self.f = f

    def forward(self, *args: Any) -> Any:
        return self.f(*args)


class Reshaping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(64, 5)

    def forward(self, x: Any) -> Any:
        y = F.max_pool2d(self.conv(x), 2)
        return self.fc(y.view(x.shape[0], -1))


# name -> (the model, its arguments, whether the first dimension of all may change)
CASES: dict[str, Callable[[], tuple[Any, tuple[Any, ...], bool]]] = {
    "perceptron": lambda: (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (r(3, 4),), True),
    "sequences": lambda: (nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2, bias=False)), (r(2, 3, 4),), True),
    "images": lambda: (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
                       (r(2, 3, 10, 10),), True),
    "reshaping": lambda: (Reshaping(), (r(2, 3, 10, 10),), True),
    "layer norm": lambda: (nn.Sequential(nn.LayerNorm(4), nn.Tanh(), nn.Dropout(0.5), nn.Sigmoid(), nn.Softmax(-1)), (r(3, 4),), True),
    "group norm": lambda: (nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.ConvTranspose1d(4, 2, 2, stride=2)), (r(2, 2, 6),), True),
    "other norms": lambda: (nn.Sequential(nn.RMSNorm(4), nn.PReLU(), nn.GLU(-1)), (r(3, 4),), True),
    "instance norm": lambda: (nn.Sequential(nn.InstanceNorm2d(3, affine=True), nn.AvgPool2d(2), nn.ZeroPad2d(1)), (r(2, 3, 4, 4),), True),
    "attention": lambda: (heads(rl), (r(2, 3, 8),), True),
    "causal": lambda: (Of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)), (r(1, 2, 3, 4), r(1, 2, 3, 4), r(1, 2, 3, 4)), True),
    "encoder": lambda: (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), (r(2, 3, 8),), True),
    "cross attention": lambda: (nn.MultiheadAttention(8, 2), (r(3, 2, 8), r(4, 2, 8), r(4, 2, 8)), False),
    "embedding": lambda: (nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3)), (rl.tensor([[1, 2], [3, 4]]),), True),
    "lstm": lambda: (nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True), (r(2, 5, 4),), True),
    "gru": lambda: (nn.GRU(4, 3), (r(5, 2, 4),), False),
    "rnn": lambda: (nn.RNN(4, 3), (r(5, 2, 4),), False),
    "resizing": lambda: (nn.Sequential(nn.Upsample(scale_factor=2), nn.Upsample(size=(7, 9), mode="bilinear"), nn.PixelShuffle(1)), (r(1, 2, 3, 4),), True),
    "activations": lambda: (Of(lambda x: F.elu(x) + F.selu(x) + F.leaky_relu(x) + F.hardswish(x) + F.softplus(x) + F.mish(x) + F.hardtanh(x) + F.relu6(x)
                               + F.logsigmoid(x) + F.celu(x) + F.hardsigmoid(x) + F.gelu(x, approximate="tanh")), (r(3, 4),), True),
    "arithmetic": lambda: (Of(lambda x, y: ((x * 2 + y - 1) / 3 - y ** 2 + (1 - x) + x.exp() * y + (x > 0) * y).abs().sqrt()), (r(3, 4), r(3, 1)), True),
    "integers": lambda: (Of(lambda x: (rl.arange(x.shape[1])[None] + x // 2) % 3), (rl.arange(12).reshape(3, 4),), True),
    "indexing": lambda: (Of(lambda x: x[0] + x[1:].sum(0) + x[:, 1:2].mean() + x[rl.tensor([0, 1])].max()), (r(3, 4),), False),
    "shapes": lambda: (Of(lambda x: rl.cat([x.t().reshape(-1), x.view(x.size(0) * 2, -1).flatten()]).unsqueeze(0).expand(2, -1).contiguous().squeeze()),
                       (r(3, 4),), True),
    "pieces": lambda: (Of(lambda x: rl.stack([a * i for i, a in enumerate(x.chunk(2, 1))]).sum(dim=(0, 1))), (r(3, 4),), True),
    "reductions": lambda: (Of(lambda x: F.softmax(x, -1) + F.log_softmax(x, 0) + x.max(1, keepdim=True)[0] + x.clamp(-1, 1) + x.var(1, keepdim=True) + x.std()
                              + x.argmax(1, keepdim=True)), (r(3, 4),), True),
    "choices": lambda: (Of(lambda x: rl.where(x > 0, x, rl.zeros_like(x)).masked_fill(x < -1, 0.5).gather(1, rl.zeros(3, 1, dtype=rl.long))), (r(3, 4),), False),
    "in place": lambda: (Of(lambda x: (x * 1).add_(1).mul_(2).relu_()), (r(3, 4),), True),
    "containers": lambda: (Of(lambda d: {"a": d["x"] + d["y"], "b": (d["x"] * 2,)}), ({"x": r(2, 3), "y": r(2, 3)},), True),
}


def tensors(value: Any) -> list[Any]:
    return [each for each in pytree.tree_leaves(value) if isinstance(each, rl.Tensor)]


def close(found: Any, wanted: Any) -> None:
    for one, two in zip(found, wanted, strict=True):
        one, two = (each.detach().numpy() if isinstance(each, rl.Tensor) else each for each in (one, two))
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)
        assert one.dtype == two.dtype


@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_and_load_compute_the_same(name: str) -> None:
    pytest.importorskip("onnx", reason="the extra rushlight[onnx]")
    runtime = pytest.importorskip("onnxruntime")
    rl.manual_seed(0)
    model, args, changing = CASES[name]()
    model.eval()
    shapes = pytree.tree_map(lambda each: {0: "n"}, args) if changing else None
    program = rl.onnx.export(model, args, dynamic_shapes=shapes)
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    again = rl.onnx.load(program.model_proto)
    more = pytree.tree_map(lambda each: rl.cat([each, each, each[:1]]), args) if changing else args
    for given in (args, more):
        wanted = tensors(model(*given))
        feed = dict(zip([each.name for each in session.get_inputs()], [each.numpy() for each in tensors(given)], strict=True))
        close(session.run(None, feed), wanted)
        close(tensors(again(*tensors(given))), wanted)


def test_names_axes_and_files(tmp_path: Any) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra rushlight[onnx]")
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    path = tmp_path / "net.onnx"
    rl.onnx.export(net, (r(3, 4),), path, input_names=["features"], output_names=["scores"], opset_version=20, dynamic_axes={"features": {0: "batch"}, "scores": {0: "batch"}})
    model = onnx.load(path)
    assert [each.name for each in model.graph.input] == ["features"] and [each.name for each in model.graph.output] == ["scores"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch" and model.opset_import[0].version == 20
    assert sorted(each.name for each in model.graph.initializer) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert net.training and not rl.onnx.is_in_onnx_export()
    again = rl.onnx.load(path)
    x = r(5, 4)
    close([again(x)], [net(x)])
    loss = again(x).square().mean()
    loss.backward()
    assert all(each.grad is not None for each in again.parameters()) and len(list(again.parameters())) == 4
    with open(path, "rb") as file:
        close([rl.onnx.load(file)(x)], [net(x)])


def test_what_has_no_translation_is_named(tmp_path: Any) -> None:
    pytest.importorskip("onnx", reason="the extra rushlight[onnx]")

    def bessel(x: Any) -> Any:
        return rl.special.bessel_j0(x) + 1
    path = tmp_path / "bad.onnx"
    with pytest.raises(NotImplementedError, match=r"special_bessel_j0|bessel_j0") as error:
        rl.onnx.export(Of(bessel), (r(3),), path)
    assert f"{pathlib.Path(__file__).name}:" in str(error.value) and "in bessel" in str(error.value) and not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="asks for the value"):
        rl.onnx.export(Of(lambda x: x if x.sum() > 0 else -x), (r(3),))
    with pytest.raises(NotImplementedError, match="dropout in training"):
        rl.onnx.export(Of(lambda x: F.dropout(x, 0.5)), (r(3),))
    with pytest.raises(ValueError, match="opset_version"):
        rl.onnx.export(nn.ReLU(), (r(3),), opset_version=9)
    with pytest.raises(ValueError, match="input_names"):
        rl.onnx.export(nn.ReLU(), (r(3),), input_names=["a", "b"])
    with pytest.raises(NotImplementedError, match="external_data"):
        rl.onnx.export(nn.ReLU(), (r(3),), external_data=True)


def test_an_operator_that_is_not_known_is_named() -> None:
    onnx = pytest.importorskip("onnx", reason="the extra rushlight[onnx]")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("StringNormalizer", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value("x", onnx.TensorProto.STRING, [1])], [value("y", onnx.TensorProto.STRING, [1])])
    with pytest.raises(NotImplementedError, match="StringNormalizer"):
        rl.onnx.load(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: rl.onnx.export(nn.ReLU(), (r(3),)), lambda: rl.onnx.load("none.onnx")):
        with pytest.raises(ImportError, match=r"pip install rushlight\[onnx\]"):
            call()


def test_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip("onnx", reason="the extra rushlight[onnx]")
    document = pathlib.Path(__file__).resolve().parents[2] / "docs" / "onnx.md"
    monkeypatch.chdir(tmp_path)
    assert doctest.testfile(str(document), module_relative=False, optionflags=doctest.ELLIPSIS).failed == 0
