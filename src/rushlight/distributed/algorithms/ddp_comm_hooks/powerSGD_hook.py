"""PowerSGD (Vogels, Karimireddy, Jaggi 2019): gradients travel as products of two thin matrices, and what is lost joins the next ones."""

from __future__ import annotations

from typing import Any

import numpy as np

import rushlight as torch

from ....homes import settle
from .default_hooks import allreduce_hook

__all__ = ["PowerSGDState", "powerSGD_hook"]


class PowerSGDState:
    """What PowerSGD remembers from step to step.

    process_group               the processes (None: all)
    matrix_approximation_rank   columns of the thin matrices
    start_powerSGD_iter         steps before it begins, in which gradients travel whole
    min_compression_rate        a gradient that does not become smaller by more than this factor travels whole
    use_error_feedback          what was lost is added to the next gradient
    warm_start                  each step begins with the last one's matrices; else with random ones
    orthogonalization_epsilon   added to a column's length before it is divided by it
    random_seed                 for the first matrices, the same in all processes
    """

    def __init__(self, process_group: Any, matrix_approximation_rank: int = 1, start_powerSGD_iter: int = 1000,
                 min_compression_rate: float = 2, use_error_feedback: bool = True, warm_start: bool = True,
                 orthogonalization_epsilon: float = 0, random_seed: int = 0, compression_stats_logging_frequency: int = 10_000,
                 batch_tensors_with_same_shape: bool = False) -> None:
        if (use_error_feedback or warm_start) and start_powerSGD_iter <= 1:
            raise ValueError("Expect `start_powerSGD_iter` > 1 if `use_error_feedback` or `warm_start` is enabled: "
                             "DDP makes its buckets in the first steps")
        self.process_group, self.matrix_approximation_rank = process_group, matrix_approximation_rank
        self.start_powerSGD_iter, self.min_compression_rate = start_powerSGD_iter, min_compression_rate
        self.use_error_feedback, self.warm_start = use_error_feedback, warm_start
        self.orthogonalization_epsilon = orthogonalization_epsilon
        self.batch_tensors_with_same_shape = batch_tensors_with_same_shape
        self.compression_stats_logging_frequency = max(1, compression_stats_logging_frequency)
        self.rng = np.random.RandomState(random_seed)
        self.error_dict: dict[int, Any] = {}
        self.p_memory_dict: dict[int, Any] = {}
        self.q_memory_dict: dict[int, Any] = {}
        self.iter = 0
        self.total_numel_before_compression = self.total_numel_after_compression = 0

    def compression_stats(self) -> tuple[float, int, int]:
        """(factor, elements before, elements that travelled), in all steps so far."""
        before, after = self.total_numel_before_compression, self.total_numel_after_compression
        return (before / after if after else 0.0), before, after

    def maybe_increase_iter(self, bucket: Any) -> None:
        """Count a step with its last bucket."""
        if bucket.is_last():
            self.iter += 1

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "process_group"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.process_group = torch.distributed.group.WORLD


def _orthogonalize(matrix: Any, epsilon: float) -> None:
    """Make the columns orthonormal, in place: one after the other, or by QR where there are more than two."""
    if matrix.shape[1] > 2 and matrix.dtype in (torch.float32, torch.float64):
        matrix.copy_(torch.linalg.qr(matrix)[0])
        return
    for i in range(matrix.shape[1]):
        column, rest = matrix[:, i:i + 1], matrix[:, i + 1:]
        column.div_(torch.norm(column, dim=0, keepdim=True) + epsilon)
        rest.sub_((column * rest).sum(0, keepdim=True) * column)


class _Parts:
    """A bucket's gradients: those that travel as two thin matrices, and the others."""

    def __init__(self, state: PowerSGDState, bucket: Any) -> None:
        self.thin: list[tuple[Any, int]] = []           # (matrix, rank)
        self.whole: list[Any] = []
        for tensor in bucket.gradients():
            matrix = tensor.view(tensor.shape[0], -1) if tensor.dim() else tensor.view(1, 1)
            n, m = matrix.shape
            rank = min(n, m, state.matrix_approximation_rank)
            state.total_numel_before_compression += n * m
            if (n + m) * rank * state.min_compression_rate < n * m:
                self.thin.append((matrix, rank))
                state.total_numel_after_compression += (n + m) * rank
            else:
                self.whole.append(tensor)
                state.total_numel_after_compression += n * m

    def matrices(self, memory: Any, which: int) -> list[Any]:
        """Views of a flat memory: a thin matrix per gradient (`which`: 0 for rows of the gradient, 1 for columns)."""
        views, start = [], 0
        for matrix, rank in self.thin:
            size = matrix.shape[which] * rank
            views.append(memory[start:start + size].view(matrix.shape[which], rank))
            start += size
        return views

    def size(self, which: int) -> int:
        return sum(matrix.shape[which] * rank for matrix, rank in self.thin)


def _first_qs(state: PowerSGDState, qs: list[Any]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state.rng.randint(1_000_000_000))
        for q in qs:
            q.copy_(torch.randn(1, *q.shape, dtype=q.dtype)[0])


def powerSGD_hook(state: PowerSGDState, bucket: Any) -> Any:
    """The mean of a bucket's gradients, each as a product of two thin matrices (a hook for ``register_comm_hook``).

    The matrices travel while backward waits: only the gradients that travel whole go beside it.
    """
    dist, flat = torch.distributed, bucket.buffer()
    if state.iter < state.start_powerSGD_iter:
        state.maybe_increase_iter(bucket)
        return allreduce_hook(state.process_group, bucket)
    group = dist.group.WORLD if state.process_group is None else state.process_group
    index, before = bucket.index(), None
    with torch.no_grad():
        if state.use_error_feedback:
            if index in state.error_dict:
                flat.add_(state.error_dict[index])
            before = flat.detach().clone()
        parts = _Parts(state, bucket)
        whole = torch.cat([t.reshape(-1) for t in parts.whole]) if parts.whole else flat.new_empty(0)
        work = dist.all_reduce(whole, group=group, async_op=True)
        fresh = not state.warm_start or index not in state.p_memory_dict
        if fresh:
            state.p_memory_dict[index], state.q_memory_dict[index] = flat.new_empty(parts.size(0)), flat.new_empty(parts.size(1))
        p_memory, q_memory = state.p_memory_dict[index], state.q_memory_dict[index]
        ps, qs = parts.matrices(p_memory, 0), parts.matrices(q_memory, 1)
        if fresh:
            _first_qs(state, qs)
        for (matrix, _), p, q in zip(parts.thin, ps, qs, strict=True):
            _orthogonalize(q, state.orthogonalization_epsilon)
            p.copy_(matrix @ q)
        dist.all_reduce(p_memory, group=group)
        for (matrix, _), p, q in zip(parts.thin, ps, qs, strict=True):
            _orthogonalize(p, state.orthogonalization_epsilon)
            q.copy_(matrix.t() @ p)
        dist.all_reduce(q_memory, group=group)
        q_memory.div_(group.size())
        for (matrix, _), p, q in zip(parts.thin, ps, qs, strict=True):
            matrix.copy_(p @ q.t())
        work.wait()
        for tensor, mean in zip(parts.whole, whole.div_(group.size()).split([t.numel() for t in parts.whole]), strict=True):
            tensor.copy_(mean.view(tensor.shape))
        if before is not None:
            state.error_dict[index] = before - flat
    if not state.warm_start:
        state.p_memory_dict.clear()
        state.q_memory_dict.clear()
    state.maybe_increase_iter(bucket)
    future: Any = torch.futures.Future()
    future.set_result(flat)
    return future


settle("distributed.algorithms.ddp_comm_hooks.powerSGD_hook", globals())
