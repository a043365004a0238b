"""Every layer of torch.nn: printed form, initial values from a seed, forward and backward values, state_dict keys, constructor errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.nn_compare import same

# Constructor; forward's arguments (T.randn draws the same numbers on both sides); () for layers that need none.
LAYERS = """
Linear(3, 4) | T.randn(2, 3)
Linear(3, 4, bias=False) | T.randn(2, 5, 3)
Linear(3, 4) | T.randn(3)
Linear(3, 4, dtype=T.float64) | T.randn(2, 3, dtype=T.float64)
Bilinear(2, 3, 4) | T.randn(5, 2), T.randn(5, 3)
Bilinear(2, 3, 4, bias=False) | T.randn(5, 2), T.randn(5, 3)
Identity(3, a=4) | T.randn(2, 3)
LazyLinear(3) | T.randn(2, 5)
Threshold(0.1, 2.0) | T.randn(3, 4)
ReLU() | T.randn(3, 4)
ReLU(True) | T.randn(3, 4)
RReLU(0.1, 0.2) | T.randn(3, 4)
Hardtanh(-0.5, 0.5) | T.randn(3, 4)
Hardtanh(0, 1, True) | T.randn(3, 4)
ReLU6() | T.randn(3, 4) * 5
ReLU6(True) | T.randn(3, 4)
Sigmoid() | T.randn(3, 4)
Hardsigmoid() | T.randn(3, 4)
Tanh() | T.randn(3, 4)
SiLU() | T.randn(3, 4)
SiLU(True) | T.randn(3, 4)
Mish() | T.randn(3, 4)
Hardswish() | T.randn(3, 4)
ELU(0.3) | T.randn(3, 4)
CELU(0.3) | T.randn(3, 4)
SELU() | T.randn(3, 4)
GLU() | T.randn(3, 4)
GELU() | T.randn(3, 4)
GELU('tanh') | T.randn(3, 4)
Hardshrink() | T.randn(3, 4)
LeakyReLU(0.3) | T.randn(3, 4)
LogSigmoid() | T.randn(3, 4)
Softplus(2, 10) | T.randn(3, 4)
Softshrink() | T.randn(3, 4)
PReLU() | T.randn(3, 4)
PReLU(4) | T.randn(3, 4, 2)
Softsign() | T.randn(3, 4)
Tanhshrink() | T.randn(3, 4)
Softmin(1) | T.randn(3, 4)
Softmax(1) | T.randn(3, 4)
Softmax() | T.randn(3, 4)
Softmax2d() | T.randn(2, 3, 4, 4)
LogSoftmax(-1) | T.randn(3, 4)
Dropout() | T.randn(20, 4)
Dropout(0.2, True) | T.randn(20, 4)
Dropout1d() | T.randn(2, 8, 4)
Dropout2d() | T.randn(2, 8, 4, 4)
Dropout3d() | T.randn(2, 8, 2, 2, 2)
AlphaDropout() | T.randn(20, 4)
FeatureAlphaDropout() | T.randn(4, 6, 3)
Conv1d(4, 6, 3) | T.randn(2, 4, 9)
Conv1d(4, 6, 3, padding='same', dilation=2) | T.randn(2, 4, 9)
Conv1d(4, 6, 3, padding=2, padding_mode='circular') | T.randn(2, 4, 9)
Conv2d(4, 6, 3) | T.randn(2, 4, 7, 7)
Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False) | T.randn(2, 4, 9, 8)
Conv2d(2, 3, 4, padding='same', padding_mode='reflect') | T.randn(2, 2, 7, 7)
Conv2d(2, 3, 3, padding=1, padding_mode='replicate') | T.randn(2, 7, 7)
Conv2d(2, 3, 3, padding='valid') | T.randn(2, 7, 7)
Conv3d(2, 3, 2) | T.randn(1, 2, 4, 4, 4)
ConvTranspose1d(4, 6, 3, 2) | T.randn(2, 4, 5)
ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, False, 2) | T.randn(2, 4, 5, 5)
ConvTranspose2d(4, 6, 3, stride=2) | T.randn(2, 4, 5, 5), (12, 12)
ConvTranspose3d(2, 3, 2) | T.randn(1, 2, 3, 3, 3)
LazyConv1d(3, 2) | T.randn(2, 4, 5)
LazyConv2d(4, 3, groups=2) | T.randn(2, 4, 5, 5)
LazyConv3d(3, 2, bias=False) | T.randn(1, 4, 3, 3, 3)
LazyConvTranspose1d(3, 2) | T.randn(2, 4, 5)
LazyConvTranspose2d(3, 2, 2) | T.randn(2, 4, 5, 5)
LazyConvTranspose3d(3, 2) | T.randn(1, 4, 3, 3, 3)
MaxPool1d(3) | T.randn(2, 3, 9)
MaxPool2d((3, 2), 2, 1, 1, True, True) | T.randn(2, 3, 9, 9)
MaxPool2d(2) | T.randn(2, 3, 8, 8)
MaxPool3d(2) | T.randn(1, 2, 4, 4, 4)
AvgPool1d(3) | T.randn(2, 3, 9)
AvgPool2d(3, 2, 1, True, False, 3) | T.randn(2, 3, 9, 9)
AvgPool2d(2) | T.randn(2, 3, 8, 8)
AvgPool3d((3, 3, 3)) | T.randn(1, 2, 6, 6, 6)
LPPool1d(2, 3, 2, True) | T.rand(2, 3, 9)
LPPool2d(2, 3) | T.rand(2, 3, 9, 9)
LPPool3d(2, 2) | T.rand(1, 2, 4, 4, 4)
AdaptiveAvgPool1d(4) | T.randn(2, 3, 9)
AdaptiveAvgPool2d((None, 3)) | T.randn(2, 3, 9, 9)
AdaptiveAvgPool3d(2) | T.randn(1, 2, 5, 5, 5)
AdaptiveMaxPool1d(4) | T.randn(2, 3, 9)
AdaptiveMaxPool2d(3, True) | T.randn(2, 3, 9, 9)
AdaptiveMaxPool3d(2) | T.randn(1, 2, 5, 5, 5)
MaxUnpool1d(2) | *F.max_pool1d(T.randn(2, 3, 8), 2, return_indices=True)
MaxUnpool2d(2) | *F.max_pool2d(T.randn(2, 3, 8, 8), 2, return_indices=True)
MaxUnpool3d(2) | *F.max_pool3d(T.randn(1, 2, 4, 4, 4), 2, return_indices=True)
FractionalMaxPool2d(2, output_size=3) | T.randn(1, 2, 7, 7)
FractionalMaxPool2d(2, output_ratio=0.5, return_indices=True) | T.randn(1, 2, 8, 8)
FractionalMaxPool3d(2, output_size=2) | T.randn(1, 2, 5, 5, 5)
BatchNorm1d(4) | T.randn(5, 4)
BatchNorm1d(4, momentum=None) | T.randn(5, 4, 3)
BatchNorm2d(4, 1e-3, 0.2, bias=False) | T.randn(5, 4, 3, 3)
BatchNorm2d(4, affine=False, track_running_stats=False) | T.randn(5, 4, 3, 3)
BatchNorm3d(2) | T.randn(3, 2, 2, 2, 2)
SyncBatchNorm(4) | T.randn(5, 4)
LazyBatchNorm1d() | T.randn(5, 4)
LazyBatchNorm2d(affine=False) | T.randn(5, 4, 3, 3)
LazyBatchNorm3d(bias=False) | T.randn(5, 2, 3, 3, 3)
InstanceNorm1d(4) | T.randn(5, 4, 3)
InstanceNorm1d(4, affine=True) | T.randn(4, 3)
InstanceNorm2d(4, affine=True, track_running_stats=True) | T.randn(5, 4, 3, 3)
InstanceNorm3d(2) | T.randn(3, 2, 2, 2, 2)
LazyInstanceNorm1d() | T.randn(5, 4, 3)
LazyInstanceNorm2d(affine=False) | T.randn(5, 4, 3, 3)
LazyInstanceNorm3d() | T.randn(5, 2, 3, 3, 3)
LayerNorm(4) | T.randn(2, 3, 4)
LayerNorm([3, 4], bias=False) | T.randn(2, 3, 4)
LayerNorm(4, elementwise_affine=False) | T.randn(2, 3, 4)
GroupNorm(2, 4) | T.randn(3, 4, 5)
GroupNorm(2, 4, bias=False) | T.randn(3, 4, 5)
GroupNorm(2, 4, affine=False) | T.randn(3, 4, 5)
RMSNorm(4) | T.randn(2, 3, 4)
RMSNorm((3, 4), 1e-3, False) | T.randn(2, 3, 4)
LocalResponseNorm(3) | T.randn(2, 5, 3, 3)
Embedding(5, 3) | T.tensor([[0, 2], [4, 4]])
Embedding(5, 3, padding_idx=-1, scale_grad_by_freq=True) | T.tensor([0, 2, 4, 4])
Embedding(5, 3, max_norm=1.0, norm_type=3.0) | T.tensor([0, 2, 4, 4])
EmbeddingBag(5, 3) | T.tensor([[0, 2], [4, 4]])
EmbeddingBag(5, 3, mode='sum', padding_idx=1) | T.tensor([0, 1, 2, 4]), T.tensor([0, 2])
EmbeddingBag(5, 3, mode='max') | T.tensor([0, 1, 2, 4]), T.tensor([0, 2])
Flatten() | T.randn(2, 3, 4)
Flatten(0, 1) | T.randn(2, 3, 4)
Unflatten(1, (2, 3)) | T.randn(2, 6)
Unflatten(1, T.Size([2, 3])) | T.randn(2, 6)
Fold((4, 4), 2) | T.randn(1, 8, 9)
Unfold(2, stride=2) | T.randn(1, 2, 4, 4)
PixelShuffle(2) | T.randn(1, 8, 3, 3)
PixelUnshuffle(2) | T.randn(1, 2, 4, 4)
ChannelShuffle(2) | T.randn(1, 6, 3)
CosineSimilarity() | T.randn(2, 3), T.randn(2, 3)
PairwiseDistance() | T.randn(2, 3), T.randn(2, 3)
Upsample(4) | T.randn(1, 2, 3)
Upsample(scale_factor=2, mode='bilinear') | T.randn(1, 2, 3, 3)
Upsample(scale_factor=(2, 3), mode='bicubic', align_corners=True) | T.randn(1, 2, 3, 3)
UpsamplingBilinear2d(scale_factor=2) | T.randn(1, 2, 3, 3)
UpsamplingNearest2d(4) | T.randn(1, 2, 3, 3)
ConstantPad1d(2, 3.5) | T.randn(2, 3)
ConstantPad2d((1, 2, 3, 4), 3.5) | T.randn(1, 2, 3, 3)
ConstantPad3d(1, 3.5) | T.randn(1, 2, 3, 3, 3)
ZeroPad1d(2) | T.randn(2, 3)
ZeroPad2d(2) | T.randn(1, 2, 3, 3)
ZeroPad3d(2) | T.randn(1, 2, 3, 3, 3)
ReflectionPad1d(2) | T.randn(2, 4)
ReflectionPad2d(1) | T.randn(1, 2, 3, 3)
ReflectionPad3d(1) | T.randn(1, 2, 3, 3, 3)
ReplicationPad1d(2) | T.randn(2, 4)
ReplicationPad2d(1) | T.randn(1, 2, 3, 3)
ReplicationPad3d(1) | T.randn(1, 2, 3, 3, 3)
CircularPad1d(2) | T.randn(1, 2, 4)
CircularPad2d(1) | T.randn(1, 2, 3, 3)
CircularPad3d(1) | T.randn(1, 2, 3, 3, 3)
AdaptiveLogSoftmaxWithLoss(8, 10, [2, 5], div_value=2.0) | T.randn(6, 8), T.tensor([0, 1, 2, 4, 5, 9])
AdaptiveLogSoftmaxWithLoss(8, 10, [2], div_value=2.0, head_bias=True) | T.randn(8), T.tensor(3)
L1Loss() | T.randn(3, 4), T.randn(3, 4)
L1Loss(size_average=False) | T.randn(3, 4), T.randn(3, 4)
L1Loss(reduce=False) | T.randn(3, 4), T.randn(3, 4)
NLLLoss() | T.randn(3, 4).log_softmax(1), T.tensor([0, 3, 1])
NLLLoss(T.rand(4), ignore_index=1) | T.randn(3, 4).log_softmax(1), T.tensor([0, 3, 1])
PoissonNLLLoss() | T.randn(3, 4), T.rand(3, 4)
PoissonNLLLoss(log_input=False, full=True) | T.rand(3, 4), T.rand(3, 4) * 5
GaussianNLLLoss(full=True) | T.randn(3, 4), T.randn(3, 4), T.rand(3, 4)
KLDivLoss(reduction='batchmean') | T.randn(3, 4).log_softmax(1), T.rand(3, 4)
KLDivLoss(reduction='sum', log_target=True) | T.randn(3, 4), T.randn(3, 4)
MSELoss() | T.randn(3, 4), T.randn(3, 4)
MSELoss(reduction='none') | T.randn(3, 4), T.randn(3, 4)
BCELoss(T.rand(4)) | T.rand(3, 4), T.rand(3, 4)
BCEWithLogitsLoss(pos_weight=T.rand(4)) | T.randn(3, 4), T.rand(3, 4)
HingeEmbeddingLoss(0.5) | T.randn(3, 4), T.randn(3, 4).sign()
MultiLabelMarginLoss() | T.randn(2, 4), T.tensor([[3, 0, -1, 1], [0, -1, 2, 3]])
SmoothL1Loss(beta=0.5) | T.randn(3, 4), T.randn(3, 4)
HuberLoss(delta=0.5) | T.randn(3, 4), T.randn(3, 4)
SoftMarginLoss() | T.randn(3, 4), T.randn(3, 4).sign().long()
CrossEntropyLoss() | T.randn(3, 4), T.tensor([0, 3, 1])
CrossEntropyLoss(T.rand(4), label_smoothing=0.1) | T.randn(3, 4, 2), T.tensor([[0, 3], [1, 1], [2, -100]])
CrossEntropyLoss(reduction='sum') | T.randn(3, 4), T.rand(3, 4)
MultiLabelSoftMarginLoss() | T.randn(3, 4), T.rand(3, 4).round()
CosineEmbeddingLoss(0.1) | T.randn(3, 4), T.randn(3, 4), T.tensor([1., -1., 1.])
MarginRankingLoss(0.1) | T.randn(4), T.randn(4), T.randn(4).sign()
MultiMarginLoss(2, 0.5, T.rand(4)) | T.randn(3, 4), T.tensor([0, 3, 1])
TripletMarginLoss(swap=True) | T.randn(3, 4), T.randn(3, 4), T.randn(3, 4)
TripletMarginWithDistanceLoss(margin=0.5) | T.randn(3, 4), T.randn(3, 4), T.randn(3, 4)
CTCLoss() | T.randn(6, 2, 4).log_softmax(2), T.tensor([[1, 2], [3, 3]]), (6, 6), (2, 2)
CTCLoss(zero_infinity=True, reduction='sum') | T.randn(2, 2, 4).log_softmax(2), T.tensor([[1, 2], [3, 3]]), (2, 2), (2, 2)
LinearCrossEntropyLoss(4, 5) | T.randn(3, 4), T.tensor([0, 3, 1])
LinearCrossEntropyLoss(4, 5, bias=True, out_features=(2, 3)) | T.randn(3, 4), T.randint(0, 5, (3, 2, 3))
""".strip().splitlines()

# Forward and backward, and what the module looks like before and after.
_SETUP = """
m = nn.{constructor}
before = repr(m)
xs = [*({arguments},)]
leaves = [x.requires_grad_() if T.is_tensor(x) and x.is_floating_point() else x for x in xs]
y = m(*[x * 1 if T.is_tensor(x) and x.requires_grad else x for x in xs])
ys = [t for t in (y if isinstance(y, tuple) else (y,)) if t.requires_grad]
total = sum((t * T.linspace(0.5, 1.5, t.numel(), dtype=t.dtype).reshape(t.shape)).sum() for t in ys)
if ys: total.backward()
"""
_RESULT = ("before, repr(m), y, dict(m.state_dict()), [p.grad for p in m.parameters()], "
           "[x.grad for x in xs if T.is_tensor(x) and x.requires_grad], m.training")


@pytest.mark.parametrize("line", LAYERS)
def test_layer(line: str) -> None:
    constructor, arguments = line.split(" | ")
    same(_RESULT, _SETUP.format(constructor=constructor, arguments=arguments), tol=2e-5)


@pytest.mark.parametrize("line", [line for line in LAYERS if any(k in line for k in ("Norm", "Dropout", "RReLU"))])
def test_evaluation_mode(line: str) -> None:
    constructor, arguments = line.split(" | ")
    same("repr(m), m(*xs), m.eval()(*xs), dict(m.state_dict())", f"m = nn.{constructor}\nxs = [*({arguments},)]")


ERRORS = """
Conv2d(3, 4, 3, groups=0)
Conv2d(3, 4, 3, groups=2)
Conv2d(4, 3, 3, groups=2)
Conv2d(4, 4, 3, padding='same', stride=2)
ConvTranspose2d(4, 4, 3, padding_mode='reflect')
ConvTranspose2d(4, 4, 3)(T.zeros(1, 4, 5, 5), output_size=(1, 1))
ConvTranspose2d(4, 4, 3)(T.zeros(1, 4, 5, 5), output_size=(1, 1, 1, 1, 1))
Conv2d(4, 4, 3, padding='same', dilation=2, padding_mode='circular')._reversed_padding_repeated_twice
Conv2d(4, 4, 4, padding='same')._reversed_padding_repeated_twice
Conv2d(4, 4, (3, 2), padding=(1, 2))._reversed_padding_repeated_twice
Conv2d(0, 4, 3)
Conv2d(4, 4, (3, 3, 3))
Conv2d(4, 4, [3, 3])
Conv2d(4, 4, 3, stride=0)
Linear(0, 3)
Linear(-1, 3)
Dropout(-1)
Dropout(2, True)
Embedding(3, 4, padding_idx=3)
Embedding(3, 4, padding_idx=-4)
Embedding(3, 4, padding_idx=-1).padding_idx
Embedding(3, 4, _weight=T.zeros(2, 2))
Embedding.from_pretrained(T.zeros(2))
Embedding.from_pretrained(T.zeros(2, 3)).weight
Embedding(3, 4, 0, 2., 3., True, True)
EmbeddingBag(3, 4, padding_idx=5)
EmbeddingBag(3, 4, 2., 3., True, 'sum', True, None, True, 1)
EmbeddingBag.from_pretrained(T.zeros(2))
EmbeddingBag.from_pretrained(T.zeros(2, 3), freeze=False).weight
GroupNorm(3, 4)
LayerNorm(3.0)
BatchNorm1d(3)(T.zeros(2, 3, 4, 5))
BatchNorm2d(3)(T.zeros(2, 3))
BatchNorm3d(3)(T.zeros(2, 3))
InstanceNorm1d(3)(T.zeros(2, 3, 4, 5))
InstanceNorm2d(3)(T.zeros(2, 3))
InstanceNorm3d(3)(T.zeros(2, 3))
InstanceNorm1d(3, affine=True)(T.zeros(2, 4, 5))
InstanceNorm1d(3)(T.zeros(2, 4, 5)).shape
SyncBatchNorm(3)(T.zeros(2))
SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm1d(2, affine=False))))
Softmax2d()(T.zeros(2, 3))
Hardtanh(2, 1)
Hardtanh(min_value=1, max_value=2)
Sigmoid(1)
Tanh(inplace=True)
FractionalMaxPool2d(3)
FractionalMaxPool2d(3, output_size=2, output_ratio=0.5)
FractionalMaxPool2d(3, output_ratio=1.5)
FractionalMaxPool3d(3)
FractionalMaxPool3d(3, 5).output_size
CircularPad1d(2)(T.zeros(2))
CircularPad2d(2)(T.zeros(2))
CircularPad3d(2)(T.zeros(2))
Unflatten(1, (2, 'a'))
Unflatten('a', (('a', 2), ('b', 3)))
Unflatten(1, 3)
Bilinear(0, 3, 4)
LazyLinear(3).state_dict()
LazyLinear(3).weight
LazyLinear(3).weight.shape
LazyConv2d(3, 3)(T.zeros(2))
LazyConv2d(3, 3)
LazyBatchNorm1d()
CrossMapLRN2d(3, 0.1)(T.randn(2, 7, 3, 3))
CrossMapLRN2d(4, 0.1)(T.randn(2, 7, 3, 3))
CrossMapLRN2d(5, 0.1, 0.5, 2)(T.randn(2, 7, 3, 3))
CrossMapLRN2d(5)
AdaptiveLogSoftmaxWithLoss(4, 10, [])
AdaptiveLogSoftmaxWithLoss(4, 10, [5, 2])
AdaptiveLogSoftmaxWithLoss(4, 10, [5, 10])
AdaptiveLogSoftmaxWithLoss(4, 10, [2])(T.zeros(2, 4), T.zeros(3).long())
AdaptiveLogSoftmaxWithLoss(4, 10, [2])(T.zeros(2, 4), T.zeros(2, 2).long())
AdaptiveLogSoftmaxWithLoss(4, 10, [2])(T.zeros(2, 4), T.full((2,), 10))
AdaptiveLogSoftmaxWithLoss(4, 10, [2])(T.zeros(2, 4), T.tensor(1))
AdaptiveLogSoftmaxWithLoss(8, 10, [2, 5], 2.0).log_prob(T.ones(3, 8))
AdaptiveLogSoftmaxWithLoss(8, 10, [2, 5], 2.0).predict(T.randn(30, 8))
L1Loss(size_average=False, reduce=True).reduction
CrossEntropyLoss(T.ones(3)).state_dict()
BCEWithLogitsLoss(T.ones(3)).state_dict()
MultiMarginLoss(p=3)
MultiMarginLoss(weight=T.zeros(2, 3))
TripletMarginLoss(-1)
TripletMarginWithDistanceLoss(margin=-1)
NLLLoss2d()
PoissonNLLLoss(size_average=True)
Container(a=nn.Linear(1, 1))
LinearCrossEntropyOptions()
LinearCrossEntropyLoss(4, 10, bias=True, out_features=(2, 3)).state_dict().keys()
""".strip().splitlines()


@pytest.mark.parametrize("line", ERRORS)
def test_construction(line: str) -> None:
    same("nn." + line)


def test_padding_choices_are_named() -> None:
    # The order of a set in the text differs from run to run.
    same("nn.Conv2d(4, 4, 3, padding='foo')", text=False)
    same("nn.Conv2d(4, 4, 3, padding_mode='foo')", text=False)


def test_signatures_and_constants() -> None:
    import inspect
    for name in pt.nn.modules.__all__:
        theirs, ours = getattr(pt.nn, name), getattr(rl.nn, name)
        if name.startswith(("RNN", "LSTM", "GRU", "Transformer", "MultiheadAttention", "Container")):
            continue
        want, got = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
        assert list(want) == list(got), name
        assert [p.default for p in want.values()] == [p.default for p in got.values()], name
        assert [p.kind for p in want.values()] == [p.kind for p in got.values()], name


def test_all_names() -> None:
    missing = [name for name in pt.nn.modules.__all__ if not hasattr(rl.nn, name)]
    assert not missing, missing


def test_lazy_loads_a_state() -> None:
    setup = "m = nn.LazyLinear(3); other = nn.Linear(5, 3); r = m.load_state_dict(other.state_dict())"
    same("r, m, m.weight, m(T.ones(2, 5)), type(m).__name__, copy.deepcopy(nn.LazyLinear(2))", setup)
    same("m.load_state_dict(nn.LazyLinear(3).state_dict()), m", "m = nn.LazyLinear(3)")


def test_training_step_equals() -> None:
    """A small network trains to the same losses."""
    setup = """
m = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(36, 5))
x, y = T.randn(6, 1, 8, 8), T.randint(0, 5, (6,))
losses = []
for _ in range(5):
    m.zero_grad()
    loss = nn.CrossEntropyLoss()(m(x), y)
    loss.backward()
    with T.no_grad():
        for p in m.parameters():
            p -= 0.1 * p.grad
    losses.append(loss.item())
"""
    a, b = {"T": rl, "nn": rl.nn}, {"T": pt, "nn": pt.nn}
    for names in (a, b):
        names["T"].manual_seed(0)
        exec(setup, names)
    assert np.allclose(a["losses"], b["losses"], rtol=1e-4)
