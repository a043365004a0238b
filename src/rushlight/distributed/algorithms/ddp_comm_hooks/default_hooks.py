"""Communication hooks for `DistributedDataParallel.register_comm_hook`: the mean of a bucket, also in half the bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rushlight as torch

from ....homes import settle

__all__ = ["allreduce_hook", "bf16_compress_hook", "bf16_compress_wrapper", "fp16_compress_hook", "fp16_compress_wrapper"]


def _mean(process_group: Any, tensor: Any) -> Any:
    dist = torch.distributed
    group = dist.group.WORLD if process_group is None else process_group
    tensor.div_(group.size())
    return dist.all_reduce(tensor, group=group, async_op=True).get_future().then(lambda future: future.value()[0])


def allreduce_hook(process_group: Any, bucket: Any) -> Any:
    """The mean of the bucket over the group (None: the world)."""
    return _mean(process_group, bucket.buffer())


def _compressed(process_group: Any, bucket: Any, dtype: Any) -> Any:
    buffer = bucket.buffer()
    return _mean(process_group, buffer.to(dtype)).then(lambda future: buffer.copy_(future.value()))


def fp16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """The mean, sent as float16."""
    return _compressed(process_group, bucket, torch.float16)


def bf16_compress_hook(process_group: Any, bucket: Any) -> Any:
    """The mean, sent as bfloat16."""
    return _compressed(process_group, bucket, torch.bfloat16)


def _wrapper(hook: Callable[[Any, Any], Any], dtype: Any) -> Callable[[Any, Any], Any]:
    def compressed(state: Any, bucket: Any) -> Any:
        whole = bucket._bucket.buffer
        bucket._bucket.buffer = whole.to(dtype)
        future = hook(state, bucket)

        def back(done: Any) -> Any:
            value = done.value()
            value = value[0] if isinstance(value, (list, tuple)) else value
            bucket._bucket.buffer = whole
            return whole.copy_(value)
        return future.then(back)
    return compressed


def fp16_compress_wrapper(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Another hook, whose bucket is float16."""
    return _wrapper(hook, torch.float16)


def bf16_compress_wrapper(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Another hook, whose bucket is bfloat16."""
    return _wrapper(hook, torch.bfloat16)


settle("distributed.algorithms.ddp_comm_hooks.default_hooks", globals())
