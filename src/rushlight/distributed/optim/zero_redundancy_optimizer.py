"""`ZeroRedundancyOptimizer`: each process steps its share of the parameters and holds the optimizer's state for those only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rushlight as torch

from ...autograd.grad_mode import no_grad
from ...homes import settle
from ...optim.optimizer import Optimizer
from .. import collectives, objects
from ..algorithms.join import Joinable, JoinHook
from ..groups import default_group, get_global_rank, the_group

__all__ = ["ZeroRedundancyOptimizer"]


class _ZeroJoinHook(JoinHook):
    """A process that is done goes on to step its share: the others need it."""

    def __init__(self, zero: ZeroRedundancyOptimizer) -> None:
        self.zero = zero

    def main_hook(self) -> None:
        self.zero.step()


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """Wraps an optimizer's class: memory for its state is about 1/N in each of N processes.

    params           as for any optimizer; the same in all processes
    optimizer_class  e.g. ``torch.optim.Adam``; `defaults` are its options
    process_group    the processes (default: all)

    ``consolidate_state_dict(to)`` (on all processes) has to come before ``state_dict()``.
    """

    def __init__(self, params: Any, optimizer_class: Callable[..., Optimizer], process_group: Any = None,
                 parameters_as_bucket_view: bool = False, overlap_with_ddp: bool = False, **defaults: Any) -> None:
        for name, value in (("parameters_as_bucket_view", parameters_as_bucket_view), ("overlap_with_ddp", overlap_with_ddp)):
            if value:
                raise NotImplementedError(f"ZeroRedundancyOptimizer({name}=True) is missing in rushlight: leave it out, which computes the "
                                          "same")
        if isinstance(params, torch.Tensor):
            raise TypeError("`params` argument should be an iterable of Tensors or dicts, but got a Tensor")
        given = list(params)
        if not given:
            raise ValueError("ZeroRedundancyOptimizer got an empty parameter list")
        if any(not isinstance(each, (torch.Tensor, dict)) for each in given):
            raise TypeError(f"`params` argument should be an iterable of Tensors or dicts, but got {[type(p).__name__ for p in given]}")
        self.process_group = default_group() if process_group is None else the_group(process_group)
        self.rank, self.world_size = self.process_group.rank(), self.process_group.size()
        self._class, self._all_states, self._ready = optimizer_class, None, False
        super().__init__(given, defaults)
        self._ready = True
        self._share_out()

    # --- who has what ---------------------------------------------------------------------------------------------------------------------

    def _everything(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"]]

    def _share_out(self) -> None:
        """Large parameters first, each to the process that has least: the same result everywhere, without a word."""
        sizes, self._owner = [0] * self.world_size, {}
        for group in self.param_groups:
            for p in sorted(group["params"], key=lambda p: p.numel(), reverse=True):
                rank = sizes.index(min(sizes))
                sizes[rank] += p.numel()
                self._owner[id(p)] = rank
        own = [{**group, "params": [p for p in group["params"] if self._owner[id(p)] == self.rank]} for group in self.param_groups]
        old = self.__dict__.get("optim")
        self.optim = self._class(own, **self.defaults)
        if old is not None:
            self.optim.state.update(old.state)
        self._options(self.optim.param_groups, self.param_groups)       # defaults of the class
        self.state = self.optim.state

    @staticmethod
    def _options(source: list[dict[str, Any]], to: list[dict[str, Any]]) -> None:
        for a, b in zip(source, to, strict=True):
            b.update((name, value) for name, value in a.items() if name != "params")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, which are shared out anew; all processes do."""
        super().add_param_group(param_group)
        if self._ready:
            self._share_out()

    # --- steps ----------------------------------------------------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Step this process's share, and give all processes the others'."""
        self._options(self.param_groups, self.optim.param_groups)
        loss = self.optim.step(closure, **kwargs) if closure is not None else self.optim.step(**kwargs)
        self._options(self.optim.param_groups, self.param_groups)
        self._spread()
        return loss

    def _spread(self) -> None:
        """Every process sends what it stepped, in one message per dtype."""
        shares: dict[Any, list[Any]] = {}
        for p in self._everything():
            shares.setdefault((self._owner[id(p)], p.dtype, p.device), []).append(p)
        with no_grad():
            sent = []
            for (owner, _, _), parameters in shares.items():
                flat = torch.cat([p.detach().reshape(-1) for p in parameters])
                work = collectives.broadcast(flat, group=self.process_group, group_src=owner, async_op=True)
                sent.append((owner, parameters, flat, work))
            for owner, parameters, flat, work in sent:
                work.wait()
                if owner != self.rank:
                    for p, values in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                        p.copy_(values.view(p.shape))

    # --- joining, saving ------------------------------------------------------------------------------------------------------------------

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """For `Join`: a process that is done goes on to step."""
        return _ZeroJoinHook(self)

    @property
    def join_device(self) -> Any:
        """Where the parameters are."""
        return self._everything()[0].device

    @property
    def join_process_group(self) -> Any:
        """The processes."""
        return self.process_group

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Collect all states on one process (its rank in the group). All processes call this."""
        self._options(self.param_groups, self.optim.param_groups)
        found: list[Any] | None = [None] * self.world_size if self.rank == to else None
        objects.gather_object(self.optim.state_dict(), found, dst=get_global_rank(self.process_group, to), group=self.process_group)
        self._all_states = found

    def _places(self, rank: int) -> list[int]:
        """The places among all parameters of those that a process has, in its own order."""
        return [i for i, p in enumerate(self._everything()) if self._owner[id(p)] == rank]

    def state_dict(self) -> dict[str, Any]:
        """The state of all parameters, as the wrapped optimizer's own; RuntimeError where it has not been collected."""
        if self._all_states is None:
            raise RuntimeError(f"Optimizer state has not been consolidated on rank {self.rank}: call "
                               f"consolidate_state_dict(to={self.rank}) on all ranks first")
        found = super().state_dict()
        state: dict[int, Any] = {}
        for rank, local in enumerate(self._all_states):
            places = self._places(rank)
            state.update((places[i], value) for i, value in local["state"].items())
        found["state"] = dict(sorted(state.items()))
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of all parameters; each process keeps its share."""
        own, places = self.optim.state_dict(), self._places(self.rank)
        own["state"] = {i: state_dict["state"][place] for i, place in enumerate(places) if place in state_dict["state"]}
        self._options(state_dict["param_groups"], own["param_groups"])
        self.optim.load_state_dict(own)
        self._options(self.optim.param_groups, self.param_groups)
        self.state = self.optim.state


settle("distributed.optim.zero_redundancy_optimizer", globals(), ["ZeroRedundancyOptimizer"])
