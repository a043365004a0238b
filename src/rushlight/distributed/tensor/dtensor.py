"""`DTensor`: a tensor that lies on the processes of a mesh. Every process holds a local tensor, which carries the graph.

Functions reach `__torch_function__`, which finds their rule (`rules.py`): where the inputs have to lie, and where the result then does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import rushlight as torch

from ... import services
from ...homes import settle
from ...size import Size
from ...tensor import Tensor
from .. import collectives
from ..device_mesh import DeviceMesh, current_mesh
from .moving import Leave, Move, gradient_placements, local_shape, move
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = ["DTensor", "Spec", "distribute_module", "distribute_tensor"]

_new = object.__new__


class _Local(threading.local):
    inside: str = ""  # the function without a rule of its own that runs


STATE = _Local()


class Spec:
    """Where a tensor lies: mesh, placements, the whole tensor's shape."""

    __slots__ = ("mesh", "placements", "shape")

    def __init__(self, mesh: DeviceMesh, placements: Sequence[Placement], shape: Sequence[int]) -> None:
        self.mesh, self.placements, self.shape = mesh, tuple(placements), tuple(shape)


def normal(placements: Sequence[Placement] | None, mesh: DeviceMesh, ndim: int) -> tuple[Placement, ...]:
    """Placements, checked, with dimensions that count from the front."""
    if placements is None:
        return tuple(Replicate() for _ in range(mesh.ndim))
    if len(placements) != mesh.ndim:
        raise ValueError(
            f"`placements` must have the same length as `device_mesh.ndim`! Found placements length: {len(placements)}, and "
            f"device_mesh.ndim: {mesh.ndim}."
        )
    found = []
    for p in placements:
        if not isinstance(p, Placement):
            raise RuntimeError(f"a placement has to be Shard, Replicate or Partial, not {type(p).__name__}")
        if isinstance(p, Shard):
            if not -ndim <= p.dim < ndim:
                raise IndexError(f"Shard({p.dim}): a tensor of {ndim} dimensions has no dimension {p.dim}")
            p = Shard(p.dim % ndim)
        found.append(p)
    return tuple(found)


def mesh_of(mesh: DeviceMesh | None) -> DeviceMesh:
    """The mesh given, or that of ``with mesh:``."""
    found = current_mesh() if mesh is None else mesh
    if found is None:
        raise RuntimeError("No device mesh is currently active: give device_mesh, or say `with mesh:`")
    return found


class DTensor(Tensor):
    """A tensor on a mesh. Make one with `distribute_tensor` or `DTensor.from_local`."""

    _local_tensor: Any
    _spec: Spec

    @staticmethod
    def __new__(cls, local: Any = None, spec: Any = None, **given: Any) -> Any:  # type: ignore[misc]
        if not isinstance(spec, Spec):
            raise TypeError(
                "a DTensor is made by distribute_tensor(tensor, mesh, placements) or DTensor.from_local"
            )
        return wrapped(local, spec)

    def __init__(self, *given: Any, **named: Any) -> None:
        """Nothing: `__new__` has made it."""

    # --- the slots of a tensor, which are the local one's ---------------------------------------------------------------------------------

    @property
    def _a(self) -> Any:  # type: ignore[override]
        if STATE.inside:
            raise NotImplementedError(f"{STATE.inside} has no rule for DTensor in rushlight: use to_local() or full_tensor() before it")
        return self._local_tensor._a

    @_a.setter
    def _a(self, value: Any) -> None:
        self._local_tensor._a = value

    _kind = property(lambda self: self._local_tensor._kind)  # type: ignore[assignment]

    @property
    def _node(self) -> Any:  # type: ignore[override]
        return self._local_tensor._node

    @_node.setter
    def _node(self, value: Any) -> None:
        self._local_tensor._node = value

    @property
    def _ver(self) -> Any:  # type: ignore[override]
        return self._local_tensor._ver

    @_ver.setter
    def _ver(self, value: Any) -> None:
        self._local_tensor._ver = value

    _view = property(lambda self: self._local_tensor._view)  # type: ignore[assignment]

    @property
    def _grad(self) -> Any:  # type: ignore[override]
        grad = self._local_tensor._grad
        return None if grad is None else wrapped(grad, Spec(self.device_mesh, gradient_placements(self.placements), self._spec.shape))

    @_grad.setter
    def _grad(self, value: Any) -> None:
        if isinstance(value, DTensor):
            value = value.redistribute(self.device_mesh, gradient_placements(self.placements))._local_tensor
        self._local_tensor._grad = value

    grad = _grad  # type: ignore[assignment]

    # --- what it is -----------------------------------------------------------------------------------------------------------------------

    device_mesh = property(lambda self: self._spec.mesh)
    placements = property(lambda self: self._spec.placements)
    shape = property(lambda self: Size(self._spec.shape))  # type: ignore[assignment]
    ndim = property(lambda self: len(self._spec.shape))  # type: ignore[assignment]
    requires_grad = property(lambda self: self._local_tensor.requires_grad, lambda self, value: self._local_tensor.requires_grad_(value))  # type: ignore[assignment]
    is_leaf = property(lambda self: self._local_tensor.is_leaf)  # type: ignore[assignment]
    grad_fn = property(lambda self: self._local_tensor.grad_fn)  # type: ignore[assignment]
    dtype = property(lambda self: self._local_tensor.dtype)  # type: ignore[assignment]
    device = property(lambda self: self._local_tensor.device)  # type: ignore[assignment]

    def size(self, dim: int | None = None) -> Any:
        """The whole tensor's size."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self._spec.shape)

    ndimension = dim

    def numel(self) -> int:
        """The number of elements of the whole tensor."""
        return int(np.prod(self._spec.shape))

    nelement = numel

    def stride(self, dim: int | None = None) -> Any:
        """The strides that the whole tensor would have."""
        order = sorted(range(self.ndim), key=lambda d: (self._local_tensor.stride(d), self._local_tensor.shape[d] == 1), reverse=True)
        found, step = [0] * self.ndim, 1
        for d in reversed(order):
            found[d] = step
            step *= max(self._spec.shape[d], 1)
        return tuple(found) if dim is None else found[dim]

    def __len__(self) -> int:
        return self._spec.shape[0]

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Record what is computed from it."""
        self._local_tensor.requires_grad_(requires_grad)
        return self

    def register_hook(self, hook: Callable[[Any], Any]) -> Any:
        """Call ``hook(gradient)``, a DTensor, in backward."""
        spec = Spec(self.device_mesh, gradient_placements(self.placements), self._spec.shape)

        def local(grad: Any) -> Any:
            found = hook(wrapped(grad, spec))
            return found._local_tensor if isinstance(found, DTensor) else found

        return self._local_tensor.register_hook(local)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], Any]) -> Any:
        """Call ``hook(self)`` when its gradient is there."""
        return self._local_tensor.register_post_accumulate_grad_hook(lambda local: hook(self))

    def backward(self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
        """Backward from here, in every process."""
        whole = self.redistribute(placements=gradient_placements(self.placements))
        if isinstance(gradient, DTensor):
            gradient = gradient.redistribute(self.device_mesh, whole.placements)._local_tensor
        if inputs is not None:
            inputs = [
                each._local_tensor if isinstance(each, DTensor) else each for each in ([inputs] if isinstance(inputs, Tensor) else inputs)
            ]
        whole._local_tensor.backward(gradient, retain_graph, create_graph, inputs)

    # --- in and out -----------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def from_local(
        local_tensor: Any,
        device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None,
        *,
        run_check: bool = False,
        shape: Any = None,
        stride: Any = None,
        grad_placements: Sequence[Placement] | None = None,
    ) -> DTensor:
        """A DTensor of every process's local tensor.

        placements   where that lies (None: replicated)
        run_check    replicated tensors become those of the first process
        shape        the whole shape, where the parts are uneven (then with `stride`)
        """
        mesh = mesh_of(device_mesh)
        if isinstance(local_tensor, DTensor):
            raise RuntimeError("the local_tensor argument only accepts torch.Tensor but got DTensor")
        placements = normal(placements, mesh, local_tensor.dim())
        if (shape is None) != (stride is None):
            raise RuntimeError("Please pass both shape and stride at the same time.")
        if shape is None:
            sizes = list(local_tensor.shape)
            for i, p in enumerate(placements):
                if isinstance(p, Shard):
                    sizes[p.dim] *= mesh.size(i)
            shape = sizes
        elif local_shape(shape, mesh, placements) != tuple(local_tensor.shape):
            raise ValueError(
                f"from_local: a part of {tuple(shape)} under {placements} has the shape "
                f"{local_shape(shape, mesh, placements)} here, not {tuple(local_tensor.shape)}"
            )
        if run_check:
            for i, p in enumerate(placements):
                if isinstance(p, Replicate):
                    collectives.broadcast(local_tensor.detach(), group=mesh.get_group(i), group_src=0)
        if local_tensor.requires_grad:
            given = gradient_placements(placements)
            wanted = given if grad_placements is None else normal(grad_placements, mesh, local_tensor.dim())
            local = Leave.apply(local_tensor, tuple(shape), mesh, given, wanted)
        else:
            local = local_tensor.detach()
        return wrapped(local, Spec(mesh, placements, shape))

    def to_local(self, *, grad_placements: Sequence[Placement] | None = None) -> Any:
        """This process's tensor. `grad_placements`: where its gradient will lie (default: where this lies)."""
        if not torch.is_grad_enabled() or not self.requires_grad:
            return self._local_tensor.detach() if self._local_tensor._node is None else self._local_tensor
        own = gradient_placements(self.placements)
        given = own if grad_placements is None else normal(grad_placements, self.device_mesh, self.dim())
        return Leave.apply(self._local_tensor, self._spec.shape, self.device_mesh, given, own)

    def full_tensor(self, *, grad_placements: Sequence[Placement] | None = None) -> Any:
        """The whole tensor, in every process."""
        return self.redistribute(placements=[Replicate()] * self.device_mesh.ndim).to_local(grad_placements=grad_placements)

    def redistribute(
        self,
        device_mesh: DeviceMesh | None = None,
        placements: Sequence[Placement] | None = None,
        *,
        async_op: bool = False,
        forward_dtype: Any = None,
        backward_dtype: Any = None,
    ) -> DTensor:
        """The same tensor under other placements of the same mesh."""
        if forward_dtype is not None or backward_dtype is not None:
            raise NotImplementedError("redistribute(forward_dtype=..., backward_dtype=...): convert with .to(dtype) before and after")
        if device_mesh is not None and device_mesh != self.device_mesh:
            raise NotImplementedError("redistribute to another mesh is not supported: go over full_tensor() and distribute_tensor")
        if placements is None:
            raise RuntimeError("placements is needed for redistribute!")
        to = normal(placements, self.device_mesh, self.dim())
        if any(isinstance(b, Partial) and a != b for a, b in zip(self.placements, to, strict=True)):
            raise RuntimeError(
                f"Can not redistribute from {self.placements} to {to}, redistributing to Partial is for internal use only!"
            )
        return placed(self, to)

    # --- values ---------------------------------------------------------------------------------------------------------------------------

    def item(self) -> Any:
        """The value of a tensor of one element."""
        return self.full_tensor().item()

    def tolist(self) -> Any:
        """The whole tensor's values."""
        return self.full_tensor().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Not there: the memory of the whole is nowhere (RuntimeError)."""
        raise RuntimeError("a DTensor has no array of its own: use to_local().numpy() or full_tensor().numpy()")

    def __array__(self, *given: Any, **named: Any) -> Any:
        return self.numpy()

    def __bool__(self) -> bool:
        return bool(self.full_tensor())

    def __float__(self) -> float:
        return float(self.full_tensor())

    def __repr__(self, **how: Any) -> str:  # type: ignore[override]
        return f"DTensor(local_tensor={self._local_tensor}, device_mesh={self.device_mesh}, placements={self.placements})"

    def __format__(self, form: str) -> str:
        return format(self.full_tensor(), form) if self.dim() == 0 else repr(self)

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = wrapped(self._local_tensor.detach().clone(), self._spec)
        made.__dict__.update((k, v) for k, v in self.__dict__.items() if k not in ("_local_tensor", "_spec"))
        made.requires_grad_(self.requires_grad)
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise NotImplementedError("a DTensor cannot be pickled: torch.distributed.checkpoint saves it, or save full_tensor()")


def wrapped(local: Any, spec: Spec) -> DTensor:
    """A DTensor around a local tensor."""
    services.watch()
    made = _new(DTensor)
    made._local_tensor, made._spec = local, spec
    return made


def placed(tensor: DTensor, to: tuple[Placement, ...]) -> DTensor:
    """The tensor under these placements; itself where they are its own."""
    if to == tensor.placements:
        return tensor
    spec = tensor._spec
    if torch.is_grad_enabled() and tensor.requires_grad:
        local = Move.apply(tensor._local_tensor, spec.shape, spec.mesh, spec.placements, to)
    else:
        local = move(tensor._local_tensor.detach(), spec.shape, spec.mesh, spec.placements, to)
    return wrapped(local, Spec(spec.mesh, to, spec.shape))


def distribute_tensor(
    tensor: Any, device_mesh: DeviceMesh | None = None, placements: Sequence[Placement] | None = None, *, src_data_rank: int | None = 0
) -> DTensor:
    """Lay a tensor on a mesh. The values are those of the process `src_data_rank` of each line of the mesh; None: every process's own."""
    mesh = mesh_of(device_mesh)
    if isinstance(tensor, DTensor):
        if tensor.device_mesh != mesh:
            raise ValueError(f"Cannot distribute a DTensor with device mesh {tensor.device_mesh} to a different device mesh {mesh}.")
        if placements is not None and tuple(normal(placements, mesh, tensor.dim())) != tensor.placements:
            raise ValueError(
                f"Cannot distribute a DTensor with placements {tensor.placements} to a different placements {placements}. do you "
                "want to call `redistribute` instead?"
            )
        return tensor
    if not tensor.is_leaf:
        raise RuntimeError("`distribute_tensor` should be used to distribute leaf tensors! but found non-leaf tensor!")
    to = normal(placements, mesh, tensor.dim())
    if any(isinstance(p, Partial) for p in to):
        raise RuntimeError("distribute_tensor lays tensors out as Shard or Replicate, not as Partial")
    local = tensor.detach()
    if src_data_rank is not None and mesh.get_coordinate() is not None:
        local = local.clone(memory_format=torch.contiguous_format)
        for i in range(mesh.ndim):
            collectives.broadcast(local, group=mesh.get_group(i), group_src=src_data_rank)
    local = move(local, tensor.shape, mesh, [Replicate()] * mesh.ndim, to)
    made = wrapped(local.detach(), Spec(mesh, to, tensor.shape)).requires_grad_(tensor.requires_grad)
    return torch.nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else made


def distribute_module(
    module: Any,
    device_mesh: DeviceMesh | None = None,
    partition_fn: Callable[[str, Any, DeviceMesh], None] | None = None,
    input_fn: Callable[[Any, Any, DeviceMesh], Any] | None = None,
    output_fn: Callable[[Any, Any, DeviceMesh], Any] | None = None,
) -> Any:
    """Make a module's parameters DTensors: by ``partition_fn(name, submodule, mesh)``, others replicated. `input_fn` and `output_fn`
    change what goes in and comes out."""
    mesh = mesh_of(device_mesh)
    for name, submodule in module.named_modules():
        if partition_fn is not None:
            partition_fn(name, submodule, mesh)
        for key, p in list(submodule._parameters.items()):
            if p is not None and not isinstance(p, DTensor):
                submodule.register_parameter(key, torch.nn.Parameter(distribute_tensor(p.detach(), mesh), p.requires_grad))
        for key, b in list(submodule._buffers.items()):
            if b is not None and not isinstance(b, DTensor):
                submodule._buffers[key] = distribute_tensor(b, mesh)
    if input_fn is not None:
        module.register_forward_pre_hook(lambda self, inputs: input_fn(self, inputs, mesh))
    if output_fn is not None:
        module.register_forward_hook(lambda self, inputs, outputs: output_fn(self, outputs, mesh))
    return module


settle("distributed.tensor", globals(), ["DTensor", "distribute_module", "distribute_tensor"])
