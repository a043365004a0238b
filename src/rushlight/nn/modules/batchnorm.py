"""Batch normalisation, its lazy forms, and SyncBatchNorm."""

from __future__ import annotations

from typing import Any

from ...homes import place
from ...tensor import Tensor
from ...vocabulary import Device, Dtype
from .. import functional as F
from .. import init
from .._torch import torch
from ..parameter import Parameter, UninitializedBuffer, UninitializedParameter
from .lazy import LazyModuleMixin
from .module import Module

__all__ = ["BatchNorm1d", "LazyBatchNorm1d", "BatchNorm2d", "LazyBatchNorm2d", "BatchNorm3d", "LazyBatchNorm3d", "SyncBatchNorm"]


class _NormBase(Module):
    """What batch and instance norm share: scale, shift, and running statistics."""

    _version = 2
    __constants__ = ["track_running_stats", "momentum", "eps", "num_features", "affine"]
    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Device = None, dtype: Dtype = None, *, bias: bool = True) -> None:
        super().__init__()
        options = {"device": device, "dtype": dtype}
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(torch.empty(num_features, **options)) if affine else None)
        self.register_parameter("bias", Parameter(torch.empty(num_features, **options)) if affine and bias else None)
        track = track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features, **options) if track else None)
        self.register_buffer("running_var", torch.ones(num_features, **options) if track else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long, device=device) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()  # type: ignore[union-attr]
            self.running_var.fill_(1)  # type: ignore[union-attr]
            self.num_batches_tracked.zero_()  # type: ignore[union-attr]

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, statistics as before any batch."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say what inputs it takes: define _check_input_dim")

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.bias is not None}, "
                f"track_running_stats={self.track_running_stats}")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[Any, Any], strict: bool,
                              missing_keys: list[str],
                              unexpected_keys: list[str], error_msgs: list[Any]) -> None:
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            # Version 1 did not count batches.
            count = self.num_batches_tracked
            known = count is not None and not count.is_meta
            state_dict[key] = count if known else torch.tensor(0, dtype=torch.long)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)


class _BatchNorm(_NormBase):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Device = None, dtype: Dtype = None, *, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        buffers = self._buffers
        mean, var = buffers["running_mean"], buffers["running_var"]
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            count = buffers["num_batches_tracked"]
            if count is not None:
                count.add_(1)
                if self.momentum is None:
                    factor = 1.0 / float(count)     # cumulative average
        training = self.training or (mean is None and var is None)
        # In training the running statistics are only written, and only if they are tracked.
        if self.training and not self.track_running_stats:
            mean = var = None
        own = self._parameters
        try:
            return F.batch_norm(input, mean, var, own["weight"], own["bias"], training, factor, self.eps)
        except KeyError:
            return F.batch_norm(input, mean, var, self.weight, self.bias, training, factor, self.eps)


class _LazyNormBase(LazyModuleMixin, _NormBase):
    """A norm that takes num_features from its first input (dimension 1)."""

    weight: Any
    bias: Any

    def __init__(self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
                 device: Device = None, dtype: Dtype = None, *, bias: bool = True) -> None:
        # affine and statistics come below, uninitialised.
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=bias)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = torch.tensor(0, dtype=torch.long, device=device)

    def reset_parameters(self) -> None:
        """Set the initial values, once there is something to fill."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """Take the number of features from the first input."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        for t in (self.weight, self.bias, self.running_mean, self.running_var):
            if t is not None and (t is self.weight or t is self.bias or self.track_running_stats):
                t.materialize((self.num_features,))
        self.reset_parameters()


def _check(self: Module, input: Tensor) -> None:
    """The input must have one of the numbers of dimensions in ``self.dims``."""
    if input.dim() not in self.dims:
        raise ValueError("expected " + " or ".join(f"{d}D" for d in self.dims) + f" input (got {input.dim()}D input)")


class BatchNorm1d(_BatchNorm):
    """Normalises each feature of (N, C) or (N, C, L) over the batch: (x - mean) / sqrt(var + eps) * weight + bias.

    momentum             how much of a batch's statistics enters the running ones; None averages over all batches
    affine               learn weight and bias (`bias` False: only weight)
    track_running_stats  False: batch statistics in evaluation too
    """

    dims = (2, 3)
    _check_input_dim = _check


class LazyBatchNorm1d(_LazyNormBase, _BatchNorm):
    """A BatchNorm1d that takes num_features from its first input."""

    cls_to_become = BatchNorm1d
    dims = (2, 3)
    _check_input_dim = _check


class BatchNorm2d(_BatchNorm):
    """Normalises each channel of (N, C, H, W); arguments as in `BatchNorm1d`."""

    dims = (4,)
    _check_input_dim = _check


class LazyBatchNorm2d(_LazyNormBase, _BatchNorm):
    """A BatchNorm2d that takes num_features from its first input."""

    cls_to_become = BatchNorm2d
    dims = (4,)
    _check_input_dim = _check


class BatchNorm3d(_BatchNorm):
    """Normalises each channel of (N, C, D, H, W); arguments as in `BatchNorm1d`."""

    dims = (5,)
    _check_input_dim = _check


class LazyBatchNorm3d(_LazyNormBase, _BatchNorm):
    """A BatchNorm3d that takes num_features from its first input."""

    cls_to_become = BatchNorm3d
    dims = (5,)
    _check_input_dim = _check


class SyncBatchNorm(_BatchNorm):
    """Batch norm whose statistics cover the batches of all processes of `process_group` (default: the world);
    in one process it is ordinary batch norm."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, process_group: Any | None = None, device: Device = None, dtype: Dtype = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *) -> (N, C, *)"""
        group = self._group()
        if group is None:
            return super().forward(input)
        self._check_input_dim(input)
        return self._over(group, input)

    def _group(self) -> Any:
        """The processes whose batches count; None where it is this one's only."""
        if not (self.training or not self.track_running_stats):
            return None
        from sys import modules
        distributed = modules.get(place("distributed"))
        if distributed is None or not distributed.is_initialized():
            return None
        group = distributed.group.WORLD if self.process_group is None else self.process_group
        return group if isinstance(group, distributed.ProcessGroup) and group.size() > 1 else None

    def _over(self, group: Any, input: Tensor) -> Tensor:
        """Normalise by the mean and the variance of all processes' batches, which may differ in size."""
        from importlib import import_module
        all_reduce = import_module(place("distributed.nn.functional")).all_reduce
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        dims, shape = [d for d in range(x.dim()) if d != 1], [-1 if d == 1 else 1 for d in range(x.dim())]
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums = all_reduce(torch.cat([x.sum(dims), count]), group=group)
        total = float(sums[-1].detach())
        if total <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.size()}")
        mean = sums[:-1] / total
        centred = x - mean.view(shape)
        var = all_reduce((centred * centred).sum(dims), group=group) / total
        self._remember(mean.detach(), var.detach() * (total / (total - 1)))
        out = centred * (var + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape)
        if self.bias is not None:
            out = out + self.bias.view(shape)
        return out.to(input.dtype)

    def _remember(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics on."""
        if not (self.training and self.track_running_stats):
            return
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            for running, now in ((self.running_mean, mean), (self.running_var, var)):
                running.mul_(1 - share).add_(now.to(running.dtype), alpha=share)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Replace every BatchNorm*d in a module by a SyncBatchNorm with the same values."""
        result = module
        if isinstance(module, _BatchNorm):
            result = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats, process_group,
                         bias=module.bias is not None)
            if module.affine:
                result.weight, result.bias = module.weight, module.bias
            result.running_mean = module.running_mean
            result.running_var = module.running_var
            result.num_batches_tracked = module.num_batches_tracked
            result.training = module.training
        for name, child in module.named_children():
            result.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return result
