"""`ParameterGroup`: the parameters of one module of FSDP, which every process holds a part of. They are gathered together before the module
runs, forward and backward, and let go after it; their gradients are summed up and cut together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rushlight as torch

from ...autograd.grad_mode import LOCAL, no_grad
from .. import collectives
from ..device_mesh import DeviceMesh
from ..reduce_op import ReduceOp
from ..tensor import DTensor, Replicate, Shard, distribute_tensor

__all__ = ["MixedPrecisionPolicy", "ParameterGroup", "Schedule"]


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """param_dtype: of the gathered parameters and inputs; reduce_dtype: of the gradients on their way; output_dtype: of what comes out;
    cast_forward_inputs: whether inputs are cast."""

    param_dtype: Any = None
    reduce_dtype: Any = None
    output_dtype: Any = None
    cast_forward_inputs: bool = True


class _Parameter:
    """One parameter: its part, and the whole, whose memory comes and goes."""

    def __init__(self, module: Any, name: str, p: Any, group: ParameterGroup) -> None:
        self.places = [(module, name)]
        placements = [Replicate()] * (group.mesh.ndim - 1) + [Shard(0)]
        self.sharded = (
            p if isinstance(p, DTensor) else torch.nn.Parameter(distribute_tensor(p.detach(), group.mesh, placements), p.requires_grad)
        )
        self.shape = tuple(self.sharded.shape)
        if not self.shape:
            raise ValueError(f"fully_shard: {name} is a scalar, which cannot be cut: make it of the shape (1,)")
        self.rows = -(-self.shape[0] // group.size)
        self.count = self.rows * (self.sharded.numel() // self.shape[0] if self.shape[0] else 0)  # elements of a padded part
        dtype = group.policy.param_dtype if self.sharded.dtype.is_floating_point else None
        self.dtype = dtype or self.sharded.dtype
        self.full = torch.nn.Parameter(torch.empty(0, dtype=self.dtype), self.sharded.requires_grad)
        self.nothing = self.full._a

    def show(self, which: Any) -> None:
        for module, name in self.places:
            module._parameters[name] = which

    def part(self, whole: Any, world: int) -> Any:
        """A gradient in padded rows, a line for each process."""
        flat = whole.reshape(-1)
        missing = self.count * world - flat.numel()
        return (torch.cat([flat, flat.new_zeros(missing)]) if missing else flat).view(world, -1)


class Schedule:
    """What the groups below one root share: the order in which they ran forward, and what the backward pass under way reaches."""

    def __init__(self) -> None:
        self.order: list[ParameterGroup] = []
        self.root: ParameterGroup | None = None
        self.backward: Any = None  # the engine's order of nodes that `reached` is of
        self.reached: set[int] = set()
        self.ahead: set[int] = set()  # ids of the groups that a backward pass gathered ahead of their turn

    def forward(self, groups: Sequence[ParameterGroup]) -> None:
        """A forward pass begins. What backward gathered in vain is of parameters before their step."""
        for group in groups:
            if id(group) in self.ahead and group.work is not None:
                group.reshard()
        self.ahead.clear()
        self.order.clear()

    def nodes(self) -> set[int]:
        """The ids of the nodes of the backward pass that is under way."""
        if LOCAL.backward is not self.backward:
            self.backward = LOCAL.backward
            order, waiting = LOCAL.backward
            self.reached = {id(node) for node in waiting}
        return self.reached

    def before(self, group: ParameterGroup) -> ParameterGroup | None:
        """The group that ran before this one, which backward comes to next."""
        at = self.order.index(group) if group in self.order else 0
        return self.order[at - 1] if at else None


class ParameterGroup:
    """The parameters of one module. `mesh`: one dimension to cut along, or two, of which the first holds copies."""

    def __init__(
        self, modules: list[Any], ignored: set[int], mesh: DeviceMesh, policy: MixedPrecisionPolicy, reshard_after_forward: bool
    ) -> None:
        self.mesh, self.policy, self.reshard_after_forward = mesh, policy, reshard_after_forward
        self.shards = mesh.get_group(mesh.ndim - 1)
        self.copies = mesh.get_group(0) if mesh.ndim == 2 else None
        self.size = self.shards.size()
        self.schedule = Schedule()
        self.syncs, self.in_backward, self.whole, self.reshard_after_backward = True, False, False, True
        self.work: Any = None  # a gathering under way: (buffer per dtype, work)
        self.waits: set[int] = set()
        self.left: Any = None  # the backward pass that it has been through
        self.parameters: list[_Parameter] = []
        self.next_forward: list[ParameterGroup] = []
        self.automatic = False  # whether the outermost module keeps its parameters for backward
        found: dict[int, _Parameter] = {}
        for module in modules:
            for name, p in list(module._parameters.items()):
                if p is None or id(p) in ignored:
                    continue
                if id(p) in found:
                    found[id(p)].places.append((module, name))
                    continue
                found[id(p)] = each = _Parameter(module, name, p, self)
                self.parameters.append(each)
                if each.full.requires_grad:
                    each.full.register_post_accumulate_grad_hook(self._arrived(each))
        for each in self.parameters:
            each.show(each.sharded)

    # --- whole and parts ------------------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to gather, beside the program."""
        if self.whole or self.work is not None or not self.parameters:
            return
        self.work = []
        with no_grad():
            for dtype in dict.fromkeys(each.dtype for each in self.parameters):
                parts = []
                for each in self.parameters:
                    if each.dtype is dtype:
                        local = each.sharded._local_tensor.detach().reshape(-1).to(dtype)
                        parts.append(
                            torch.cat([local, local.new_zeros(each.count - local.numel())]) if local.numel() < each.count else local
                        )
                own = parts[0] if len(parts) == 1 else torch.cat(parts)
                out = own.new_empty(self.size * own.numel())
                self.work.append((dtype, out, collectives.all_gather_into_tensor(out, own, self.shards, async_op=True)))

    def unshard(self) -> None:
        """Put the whole parameters into the module."""
        if self.whole:
            return
        self.begin()
        with no_grad():
            for dtype, out, work in self.work or ():
                work.wait()
                lines, start = out.view(self.size, -1), 0
                for each in self.parameters:
                    if each.dtype is dtype:
                        rows = lines[:, start : start + each.count].reshape(self.size * each.rows, *each.shape[1:])
                        each.full._a = rows[: each.shape[0]]._a
                        start += each.count
        self.work, self.whole = None, True
        for each in self.parameters:
            each.show(each.full)

    def reshard(self) -> None:
        """Let the whole parameters go."""
        for _, _, work in self.work or ():
            work.wait()
        self.work, self.whole = None, False
        for each in self.parameters:
            each.full._a = each.nothing
            each.show(each.sharded)

    # --- backward -------------------------------------------------------------------------------------------------------------------------

    def enter_backward(self) -> None:
        """The gradient of the module's output is there."""
        if self.in_backward:
            return
        self.in_backward = True
        reached = self.schedule.nodes()
        self.waits = {i for i, each in enumerate(self.parameters) if each.full.requires_grad and id(each.full._node) in reached}
        self.unshard()
        before = self.schedule.before(self)
        if before is not None and before.left is not LOCAL.backward and id(before) not in self.schedule.ahead:
            self.schedule.ahead.add(id(before))
            before.begin()

    def _arrived(self, parameter: _Parameter) -> Callable[[Any], None]:
        def hook(p: Any) -> None:
            if not self.in_backward:  # no output of the module is part of this pass's graph: it was used by itself
                return
            self.waits.discard(self.parameters.index(parameter))
            if not self.waits:
                self._leave_backward()

        return hook

    def _leave_backward(self) -> None:
        """All gradients are there: each process gets its part of the mean."""
        self.in_backward, self.left = False, LOCAL.backward
        if self.syncs:
            with no_grad():
                for dtype in dict.fromkeys(each.dtype for each in self.parameters if each.full.requires_grad):
                    self._reduce([each for each in self.parameters if each.dtype is dtype and each.full.requires_grad])
        if self.reshard_after_backward:
            self.reshard()

    def _reduce(self, parameters: list[_Parameter]) -> None:
        lines = []
        for each in parameters:
            grad = each.full.grad
            if grad is None:
                grad = torch.zeros(each.shape, dtype=each.dtype)
            lines.append(each.part(grad.to(self.policy.reduce_dtype or each.dtype), self.size))
            each.full.grad = None
        whole = lines[0] if len(lines) == 1 else torch.cat(lines, 1)
        out = whole.new_empty(whole.shape[1])
        collectives.reduce_scatter_tensor(out, whole.contiguous(), ReduceOp.AVG, self.shards)
        if self.copies is not None:
            collectives.all_reduce(out, ReduceOp.AVG, self.copies)
        start = 0
        for each in parameters:
            local = each.sharded._local_tensor
            grad = out[start : start + local.numel()].view(local.shape).to(each.sharded.dtype)
            grad = grad.clone() if len(parameters) > 1 else grad
            local.grad = grad if local.grad is None else local.grad + grad
            start += each.count
