"""`DistributedDataParallel`: each process computes its part of the batch, and gradients become the mean over all processes while backward
runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...autograd.grad_mode import no_grad
from ...homes import settle
from ...vocabulary import Device
from .._torch import torch
from ..modules.module import Module

__all__ = ["DistributedDataParallel"]

_FIRST = 1 << 20            # bytes of the first bucket: small, so that its gradients leave early


class Bucket:
    """Gradients of one dtype that go to the other processes together. `waits` are the places of the parameters that are not ready yet."""

    def __init__(self, index: int, parameters: list[Any]) -> None:
        self.index, self.parameters = index, parameters
        first = parameters[0]
        ends = np.cumsum([p.numel() for p in parameters]).tolist()
        self.buffer = torch.zeros(ends[-1], dtype=first.dtype, device=first.device)
        self.views = [self.buffer[end - p.numel():end].view(p.shape) for p, end in zip(parameters, ends, strict=True)]
        self.reset()

    def reset(self) -> None:
        """Before a backward pass."""
        self.waits = set(range(len(self.parameters)))
        self.unused: set[int] = set()
        self.work: Any = None


def _nothing() -> None:
    """To wait for what is done."""


class GradBucket:
    """What a communication hook gets: one bucket."""

    def __init__(self, bucket: Bucket, last: bool) -> None:
        self._bucket, self._last = bucket, last

    def index(self) -> int:
        """The bucket's place in the order of sending."""
        return self._bucket.index

    def buffer(self) -> Any:
        """Its gradients, flat, of this process."""
        return self._bucket.buffer

    def set_buffer(self, tensor: Any) -> None:
        """Put other values into it."""
        self._bucket.buffer.copy_(tensor)

    def gradients(self) -> list[Any]:
        """Its gradients, each in its shape: views of the buffer."""
        return list(self._bucket.views)

    def parameters(self) -> list[Any]:
        """The parameters they are of."""
        return list(self._bucket.parameters)

    def is_last(self) -> bool:
        """Whether it is the last one of the pass."""
        return self._last


class _DDPJoinHook:
    """A process that is done answers the others' forward and backward passes (it is a JoinHook by its methods: that class is loaded with
    `Join` only)."""

    def __init__(self, ddp: DistributedDataParallel) -> None:
        self.ddp = ddp

    def main_hook(self) -> None:
        """One pass of the others."""
        ddp = self.ddp
        syncs = torch.zeros(1, device=ddp.join_device)          # whether they are outside of no_sync()
        torch.distributed.all_reduce(syncs, group=ddp.process_group)
        if ddp.require_forward_param_sync and ddp.broadcast_buffers:
            buffers = ddp._buffers_to_share()
            if buffers:
                ddp._from_first(buffers, ddp._someone_at_work(False))
        if syncs.item():
            ddp._answer()

    def post_hook(self, is_last_joiner: bool) -> None:
        """All take the parameters and buffers of a process that was among the last."""
        tensors = [*self.ddp.module.parameters(), *self.ddp._buffers_to_share()]
        self.ddp._from_first(tensors, self.ddp._someone_at_work(is_last_joiner))


class DistributedDataParallel(Module):
    """Wraps a module as ``.module``. Every process has a replica; after backward all have the mean of their gradients.

    process_group           the processes (default: all)
    broadcast_buffers       buffers become rank 0's before each forward
    bucket_cap_mb           gradients leave in buckets of about this size, as soon as they are there (25)
    find_unused_parameters  parameters that an output does not depend on count as ready; else a pass that leaves one out is an error
    static_graph            the first pass tells which parameters are used, for all passes
    gradient_as_bucket_view ``.grad`` is then memory of the bucket, which saves a copy
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0, broadcast_buffers: bool = True,
                 init_sync: bool = True, process_group: Any = None, bucket_cap_mb: float | None = None,
                 find_unused_parameters: bool = False,
                 check_reduction: bool = False, gradient_as_bucket_view: bool = False, static_graph: bool = False,
                 delay_all_reduce_named_params: Any = None, param_to_hook_all_reduce: Any = None, mixed_precision: Any = None,
                 device_mesh: Any = None, skip_all_reduce_unused_params: bool = False) -> None:
        super().__init__()
        for name, value in (("delay_all_reduce_named_params", delay_all_reduce_named_params), ("mixed_precision", mixed_precision),
                            ("param_to_hook_all_reduce", param_to_hook_all_reduce), ("device_mesh", device_mesh),
                            ("skip_all_reduce_unused_params", skip_all_reduce_unused_params or None)):
            if value is not None:
                raise NotImplementedError(f"DistributedDataParallel({name}=...) is missing in rushlight: leave it out"
                                          + (", and use torch.autocast" if name == "mixed_precision" else ""))
        dist = torch.distributed
        self.process_group = dist.distributed_c10d._get_default_group() if process_group is None else process_group
        ignored = set(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(name, p) for name, p in module.named_parameters() if name not in ignored]
        parameters = [p for _, p in named if p.requires_grad]
        if not parameters:
            raise RuntimeError("DistributedDataParallel is not needed when a module doesn't have any parameters that require a gradient.")
        if any(isinstance(p, torch.nn.parameter.UninitializedParameter) for p in parameters):
            raise RuntimeError("Modules with uninitialized parameters can't be used with `DistributedDataParallel`. Run a dummy forward "
                               "pass to "
                               "correctly initialize the modules")
        self.module, self.dim, self.device_ids, self.output_device = module, dim, _devices(device_ids, parameters), output_device
        self.broadcast_buffers, self.find_unused_parameters = broadcast_buffers, find_unused_parameters
        self.gradient_as_bucket_view, self.static_graph = gradient_as_bucket_view, static_graph
        self.bucket_bytes_cap = int((25 if bucket_cap_mb is None else bucket_cap_mb) * (1 << 20))
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self._names = {id(p): name for name, p in named}
        self._ignored = ignored
        self._hook: Any = None
        self._hook_state: Any = None
        self._static_unused: set[int] | None = None
        self._collecting = self._started = False
        self._join_config: Any = None           # set by Join while its context lasts
        self._divisor, self._divides_by_all = 0, True
        if init_sync:
            self._same_shapes(named)
            self._from_first([p for _, p in named] + self._buffers_to_share())
        self._buckets = self._filled(parameters)
        self._places = {id(p): (bucket, i) for bucket in self._buckets for i, p in enumerate(bucket.parameters)}
        self._handles = [p.register_post_accumulate_grad_hook(self._ready) for p in parameters]
        self._next = 0

    # --- making it ------------------------------------------------------------------------------------------------------------------------

    def _filled(self, parameters: Sequence[Any]) -> list[Bucket]:
        """Buckets of the parameters from last to first, which is about the order in which backward gets to them."""
        buckets, open_ = [], {}
        for p in reversed(parameters):
            kind = (p.dtype, p.device)
            group, size = open_.get(kind, ([], 0))
            group.append(p)
            size += p.numel() * p.element_size()
            if size >= (self.bucket_bytes_cap if buckets else min(_FIRST, self.bucket_bytes_cap)):
                buckets.append(group)
                open_.pop(kind, None)
            else:
                open_[kind] = (group, size)
        return [Bucket(i, group) for i, group in enumerate(buckets + [group for group, _ in open_.values()])]

    def _same_shapes(self, named: Sequence[tuple[str, Any]]) -> None:
        own = [(name, tuple(p.shape), str(p.dtype), p.requires_grad) for name, p in named]
        said: list[Any] = [None] * self.process_group.size()
        torch.distributed.all_gather_object(said, own, self.process_group)
        for rank, theirs in enumerate(said):
            if theirs != own:
                wrong = next((pair for pair in zip(own, theirs, strict=False) if pair[0] != pair[1]), (f"{len(own)} parameters",
                                                                                                       f"{len(theirs)}"))
                raise RuntimeError(f"DDP expects the same model across all ranks, but rank {self.process_group.rank()} has {wrong[0]} "
                                   "where rank "
                                   f"{rank} has {wrong[1]}")

    def _buffers_to_share(self) -> list[Any]:
        return [b for name, b in self.module.named_buffers() if name not in self._ignored]

    def _from_first(self, tensors: Sequence[Any], root: int = 0) -> None:
        """Give all processes the values of one."""
        with no_grad():
            works = [torch.distributed.broadcast(t.detach(), group=self.process_group, group_src=root, async_op=True) for t in tensors]
            for work in works:
                work.wait()

    # --- forward --------------------------------------------------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's forward, its outputs watched for what they depend on where that was asked for."""
        syncs = torch.is_grad_enabled() and self.require_backward_grad_sync
        if syncs:
            self._begin()
        if self._join_config is not None:
            self._notify(syncs)
        else:
            self._divisor = 0
        if self.require_forward_param_sync and self.broadcast_buffers:
            buffers = self._buffers_to_share()
            if buffers:
                self._from_first(buffers, self._someone_at_work(True) if self._join_config is not None else 0)
        if self.device_ids:
            inputs, kwargs = _moved(inputs, self.device_ids[0]), _moved(kwargs, self.device_ids[0])
        output = self.module(*inputs, **kwargs)
        if torch.is_grad_enabled():
            self.require_forward_param_sync = self.require_backward_grad_sync
        if syncs:
            self._watch(output)
        return output

    def _begin(self) -> None:
        if self._started and self._next < len(self._buckets):
            names = [self._names[id(bucket.parameters[i])] for bucket in self._buckets for i in sorted(bucket.waits)]
            raise RuntimeError(
                "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates that your "
                "module has "
                f"parameters that were not used in producing loss: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}. Pass "
                "find_unused_parameters=True to DistributedDataParallel, or have all outputs of forward take part in calculating loss.")
        for bucket in self._buckets:
            bucket.reset()
        self._next, self._started, self._collecting = 0, False, True

    def _watch(self, output: Any) -> None:
        """Find the parameters that no output depends on."""
        if not (self.find_unused_parameters or self.static_graph):
            return
        if self._static_unused is None or not self.static_graph:
            reached = _reached(output)
            self._static_unused = {id(p) for bucket in self._buckets for p in bucket.parameters if id(p._node) not in reached}
        for key in self._static_unused:
            bucket, i = self._places[key]
            bucket.unused.add(i)

    # --- backward -------------------------------------------------------------------------------------------------------------------------

    def _ready(self, parameter: Any) -> None:
        """A parameter's gradient is there. Buckets leave in their order, which all processes share."""
        if not (self.require_backward_grad_sync and self._collecting):
            return
        bucket, i = self._places[id(parameter)]
        if i not in bucket.waits:
            raise RuntimeError(f"Expected to mark a variable ready only once, but {self._names[id(parameter)]} got a gradient twice in one "
                               "iteration: "
                               "a second backward through the same forward needs no_sync() for the first")
        self._started = True
        bucket.waits.discard(i)
        self._send()

    def _send(self) -> None:
        while self._next < len(self._buckets):
            bucket = self._buckets[self._next]
            if not bucket.waits <= bucket.unused:
                return
            self._fill(bucket)
            bucket.work = self._begun(bucket)
            self._next += 1
        self._finish()

    def _fill(self, bucket: Bucket) -> None:
        with no_grad():
            for p, view in zip(bucket.parameters, bucket.views, strict=True):
                if p.grad is None:
                    view.zero_()
                elif p.grad is not view:
                    view.copy_(p.grad)

    def _begun(self, bucket: Bucket) -> Callable[[], Any]:
        """Begin to reduce a bucket; a function that waits for it."""
        if self._hook is None:
            bucket.buffer.div_(self._divisor or self.process_group.size())
            if bucket.index == len(self._buckets) - 1:          # nothing is left to run beside it: no thread has to be woken
                torch.distributed.all_reduce(bucket.buffer, group=self.process_group)
                return _nothing
            work = torch.distributed.all_reduce(bucket.buffer, group=self.process_group, async_op=True)
            return work.wait
        future = self._hook(self._hook_state, GradBucket(bucket, bucket.index == len(self._buckets) - 1))
        if not hasattr(future, "wait"):
            raise RuntimeError(f"a communication hook has to return a torch.futures.Future of the bucket's tensor, not "
                               f"{type(future).__name__}")
        return lambda: self._take(bucket, future.wait())

    @staticmethod
    def _take(bucket: Bucket, value: Any) -> None:
        value = value[0] if isinstance(value, (list, tuple)) else value
        if value is not bucket.buffer:
            bucket.buffer.copy_(value.view_as(bucket.buffer))

    def _finish(self) -> None:
        """Wait for all buckets, and give the parameters their gradients. One that no process used keeps what it had."""
        used = self._used_anywhere()
        with no_grad():
            for bucket in self._buckets:
                bucket.work()
                for p, view in zip(bucket.parameters, bucket.views, strict=True):
                    if used is not None and id(p) not in used:
                        continue
                    if self.gradient_as_bucket_view:
                        if p.grad is not view:
                            p.grad = view
                    elif p.grad is None:
                        p.grad = view.clone()
                    else:
                        p.grad.copy_(view)
        self._collecting = False

    def _used_anywhere(self) -> set[int] | None:
        """The parameters that got a gradient in any process; None where all did."""
        if not (self.find_unused_parameters or self.static_graph):
            return None
        order = [p for bucket in self._buckets for p in bucket.parameters]
        own = torch.tensor([i not in bucket.waits for bucket in self._buckets for i in range(len(bucket.parameters))], dtype=torch.uint8)
        torch.distributed.all_reduce(own, torch.distributed.ReduceOp.MAX, self.process_group)
        return {id(p) for p, used in zip(order, own.tolist(), strict=True) if used}

    # --- what programs call ---------------------------------------------------------------------------------------------------------------

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it gradients only add up in this process; the next backward outside makes the mean of all that has been added."""
        before = self.require_backward_grad_sync
        self.require_backward_grad_sync = False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def register_comm_hook(self, state: Any, hook: Callable[[Any, GradBucket], Any]) -> None:
        """Have ``hook(state, bucket)`` reduce the gradients: it returns a Future of the bucket's tensor, the mean over the processes."""
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self._hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self._hook, self._hook_state = hook, state

    def _register_builtin_comm_hook(self, comm_hook_type: Any) -> None:
        raise NotImplementedError("DistributedDataParallel._register_builtin_comm_hook: use register_comm_hook with a hook of "
                                  "torch.distributed.algorithms.ddp_comm_hooks.default_hooks")

    def _set_static_graph(self) -> None:
        """The graph is the same in all iterations from now on."""
        self.static_graph = True

    # --- uneven inputs --------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def join(self, divide_by_initial_world_size: bool = True, enable: bool = True,
             throw_on_early_termination: bool = False) -> Iterator[None]:
        """Context around the loop over batches, whose number may differ between processes: those that are done answer the others.

        divide_by_initial_world_size  gradients are divided by the number of all processes; False: by that of those still at work
        throw_on_early_termination    RuntimeError in all processes when the first is done
        """
        with torch.distributed.algorithms.join.Join([self], enable, throw_on_early_termination,
                                                    divide_by_initial_world_size=divide_by_initial_world_size):
            yield

    def join_hook(self, **kwargs: Any) -> Any:
        """What `Join` calls in a process that is done."""
        self._divides_by_all = kwargs.get("divide_by_initial_world_size", True)
        return _DDPJoinHook(self)

    @property
    def join_device(self) -> Any:
        """Where the parameters are."""
        return next(self.module.parameters()).device

    @property
    def join_process_group(self) -> Any:
        """The processes."""
        return self.process_group

    def _notify(self, syncs: bool) -> None:
        """Tell the processes that are done that this one goes on, and whether gradients will be reduced."""
        work = torch.distributed.algorithms.join.Join.notify_join_context(self)
        if work is not None:
            count = int(work.result()[0].item())
            self._divisor = 0 if self._divides_by_all else count
        torch.distributed.all_reduce(torch.tensor([float(syncs)], device=self.join_device), group=self.process_group)

    def _answer(self) -> None:
        """One backward pass of the others, to which this process has nothing to add."""
        for bucket in self._buckets:
            bucket.reset()
            bucket.buffer.zero_()
            bucket.work = self._begun(bucket)
        self._next = len(self._buckets)
        self._finish()

    def _someone_at_work(self, here: bool) -> int:
        """The highest rank that says "here"."""
        rank = torch.tensor([self.process_group.rank() if here else -1], device=self.join_device)
        torch.distributed.all_reduce(rank, torch.distributed.ReduceOp.MAX, self.process_group)
        return int(rank.item())

    @staticmethod
    def _set_params_and_buffers_to_ignore_for_model(module: Module, params_and_buffers_to_ignore: Sequence[str]) -> None:
        module._ddp_params_and_buffers_to_ignore = list(params_and_buffers_to_ignore)  # type: ignore[assignment]

    def __getstate__(self) -> Any:
        raise RuntimeError("DDP Pickling/Unpickling are only supported for the module inside: save ddp.module.state_dict()")


def _devices(device_ids: Any, parameters: Sequence[Any]) -> list[Any]:
    kinds = {p.device.type for p in parameters}
    if len(kinds) > 1:
        raise ValueError(f"DistributedDataParallel's input module must be on the same type of devices, but input module parameters locate "
                         f"in {kinds}.")
    if device_ids is None:
        return []
    if len(device_ids) > 1:
        raise ValueError("device_ids can only be None or contain a single element.")
    if kinds == {"cpu"} and device_ids:
        raise ValueError("DistributedDataParallel device_ids and output_device arguments only work with single-device/multiple-device GPU "
                         "modules or CPU "
                         f"modules, but got device_ids {device_ids}, output_device None, and module parameters on the CPU: leave them out.")
    return list(device_ids)


def _moved(value: Any, device: Device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(torch.device("cuda", device) if isinstance(device, int) else device)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_moved(each, device) for each in value)
    return {key: _moved(each, device) for key, each in value.items()} if type(value) is dict else value


def _tensors(value: Any) -> Iterator[Any]:
    """The tensors in nested containers and dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from _tensors(each)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from _tensors(getattr(value, name))


def _reached(output: Any) -> set[int]:
    """The ids of all nodes that the outputs' gradients go through."""
    waiting = [t._node for t in _tensors(output) if t._node is not None]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        node = getattr(node, "node", node)              # a Port stands for its node
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            waiting.extend(edge for edge in node.next if edge is not None)
    return seen


settle("nn.parallel.distributed", globals())
