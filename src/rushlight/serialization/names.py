"""Under which names things stand in files: PyTorch's, both when writing and when reading.

Files name classes and functions as ``module name``. What has another place here than there is listed in `_HOMES` (classes that are
public in both) and `rebuilders` (the functions that make tensors); dtypes and storage classes follow from their own tables.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

from .. import dtypes as _dtype
from ..storage import LEGACY_STORAGES

__all__ = ["full_names", "our_object", "torch_name"]

_OURS = __name__.partition(".")[0]

# Where PyTorch keeps the classes that it shows in its public namespaces.
_HOMES = {
    "torch": "Tensor Size device dtype",
    "torch.storage": "TypedStorage UntypedStorage",
    "torch._C": "Generator",
    "torch.nn.parameter": "Parameter Buffer UninitializedParameter UninitializedBuffer",
    "torch.amp.autocast_mode": "autocast",
    "torch.amp.grad_scaler": "GradScaler",
    "torch.nn.modules.module": "Module",
    "torch.nn.modules.container": "ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "torch.nn.modules.linear": "Bilinear Identity LazyLinear Linear",
    "torch.nn.modules.activation": "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish "
                                   "MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus "
                                   "Softshrink Softsign Tanh Tanhshrink Threshold",
    "torch.nn.modules.adaptive": "AdaptiveLogSoftmaxWithLoss",
    "torch.nn.modules.batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d SyncBatchNorm",
    "torch.nn.modules.channelshuffle": "ChannelShuffle",
    "torch.nn.modules.conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv1d LazyConv2d LazyConv3d "
                             "LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d",
    "torch.nn.modules.distance": "CosineSimilarity PairwiseDistance",
    "torch.nn.modules.dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "torch.nn.modules.flatten": "Flatten Unflatten",
    "torch.nn.modules.fold": "Fold Unfold",
    "torch.nn.modules.instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d LazyInstanceNorm1d LazyInstanceNorm2d "
                                     "LazyInstanceNorm3d",
    "torch.nn.modules.loss": "BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss HingeEmbeddingLoss "
                             "HuberLoss KLDivLoss L1Loss MSELoss MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss "
                             "MultiMarginLoss NLLLoss NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss "
                             "TripletMarginWithDistanceLoss",
    "torch.nn.modules.normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "torch.nn.modules.padding": "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d "
                                "ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d "
                                "ZeroPad3d",
    "torch.nn.modules.pixelshuffle": "PixelShuffle PixelUnshuffle",
    "torch.nn.modules.pooling": "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d "
                                "AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d "
                                "LPPool3d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d",
    "torch.nn.modules.rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
    "torch.nn.modules.sparse": "Embedding EmbeddingBag",
    "torch.nn.modules.transformer": "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer",
    "torch.nn.modules.upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
    "torch.nn.utils.rnn": "PackedSequence",
    "torch.optim.optimizer": "Optimizer",
    **{f"torch.optim.{name.lower()}": name for name in
       ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD", "LBFGS", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")},
    "torch.optim.sparse_adam": "SparseAdam",
    "torch.utils.hooks": "RemovableHandle",
    "torch.utils.data.dataloader": "DataLoader",
    "torch.utils.data.dataset": "ChainDataset ConcatDataset Dataset IterableDataset StackDataset Subset TensorDataset",
    "torch.utils.data.distributed": "DistributedSampler",
    "torch.utils.data.sampler": "BatchSampler RandomSampler Sampler SequentialSampler SubsetRandomSampler WeightedRandomSampler",
}


@cache
def _home_of() -> dict[str, str]:
    """Class name -> PyTorch's module."""
    return {name: module for module, names in _HOMES.items() for name in names.split()}


@cache
def rebuilders() -> dict[tuple[str, str], Any]:
    """PyTorch's functions that make tensors from their parts, by the name they have in files, and ours."""
    from . import rebuild
    utils = {"_rebuild_tensor": rebuild.tensor_v1, "_rebuild_tensor_v2": rebuild.tensor_v2, "_rebuild_tensor_v3": rebuild.tensor_v3,
             "_rebuild_meta_tensor_no_storage": rebuild.meta_tensor, "_rebuild_parameter": rebuild.parameter,
             "_rebuild_parameter_with_state": rebuild.parameter_with_state, "_rebuild_sparse_tensor": rebuild.sparse_tensor}
    return {**{("torch._utils", name): function for name, function in utils.items()},
            ("torch._tensor", "_rebuild_from_type_v2"): rebuild.from_type, ("torch.serialization", "_get_layout"): rebuild.layout}


def torch_name(obj: Any, name: str | None = None) -> tuple[str, str] | None:
    """(module, name) under which PyTorch knows one of our classes, functions or dtypes; None for what is not ours."""
    if isinstance(obj, _dtype.dtype):
        return "torch", obj.name
    module = getattr(obj, "__module__", None) or ""
    name = name or getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
    if module == "torch" and LEGACY_STORAGES.get(name) is obj:
        return module, name
    root = module.partition(".")[0]
    if root not in (_OURS, "torch") or (root == "torch" and _find(module, name) is not obj):
        return None
    for key, function in rebuilders().items():
        if function is obj:
            return key
    home = _home_of().get(name)
    if home is not None and _find(home, name) is obj:
        return home, name
    # What has no listed place is named by the highest namespace that shows it: a.b.c.X is X of a.b when a.b has it.
    path = best = "torch" + module[len(root):]
    while "." in path:
        path = path.rpartition(".")[0]
        if _find(path, name) is obj:
            best = path
    return best, name


def full_names(obj: Any) -> set[str]:
    """The dotted names by which files may refer to a class or function."""
    named = torch_name(obj)
    names = {f"{obj.__module__}.{obj.__qualname__}"}
    if named is not None:
        names.add(".".join(named))
    return names


def our_object(module: str, name: str) -> Any:
    """What PyTorch's ``module name`` means here. AttributeError where rushlight has no such thing."""
    found = rebuilders().get((module, name))
    if found is None and module == "torch":
        found = _dtype.DTYPES.get(name) or LEGACY_STORAGES.get(name)
    if found is None:
        found = _find(module, name)
    if found is None:
        raise AttributeError(f"the file refers to {module}.{name}, which {_OURS} does not have")
    return found


def _find(module: str, name: str) -> Any:
    """Look for an attribute in the module of ours with the same path, then in the packages above it."""
    path = _OURS + module[len("torch"):]
    while path:
        found = _module(path)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None and not _is_module(found):
            return found
        path = path.rpartition(".")[0]
    return None


def _module(path: str) -> Any:
    found = sys.modules.get(path)
    if found is None:
        try:
            found = import_module(path)
        except ModuleNotFoundError as error:
            if not path.startswith(error.name or "?"):
                raise
    return found


def _is_module(value: Any) -> bool:
    return isinstance(value, type(sys))
