"""``torch.distributed.device_mesh``: the processes laid out in a grid, with a group along every dimension.

A `DeviceMesh` made for some ranks is made by all processes: they make its groups together. Slices by name share the groups of the mesh
they are cut from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import rushlight as torch

from ..homes import settle
from ..unsupported import attribute_of
from . import groups
from .groups import ProcessGroup, get_rank, get_world_size, init_process_group, is_initialized, new_group

__all__ = ["DeviceMesh", "init_device_mesh"]

_entered: list[DeviceMesh] = []


def current_mesh() -> DeviceMesh | None:
    """The mesh of the innermost ``with mesh:``."""
    return _entered[-1] if _entered else None


def _device_type(device_type: str) -> str:
    if not isinstance(device_type, str):
        raise TypeError(f"device_type has to be a string, not {type(device_type).__name__}")
    if ":" in device_type:
        raise RuntimeError(f"a mesh spans devices of one type and takes no index: got {device_type!r}, give device.type")
    return torch.device(device_type).type


def _names(names: Sequence[str] | None, ndim: int) -> tuple[str, ...] | None:
    if names is None:
        return None
    names = tuple(names)
    if len(set(names)) != len(names):
        raise RuntimeError(f"every name in mesh_dim_names has to be unique, but a name is repeated in {names}")
    if len(names) != ndim:
        raise RuntimeError(f"the mesh and mesh_dim_names should have the same length: {ndim} dimensions, {len(names)} names")
    return names


class DeviceMesh:
    """Ranks in a grid.

    device_type     "cpu" or "cuda"
    mesh            the ranks: a tensor, an array or nested lists of integers; those along a dimension ascend
    mesh_dim_names  a name per dimension, for ``mesh["name"]``
    """

    device_type: str
    mesh_dim_names: tuple[str, ...] | None

    def __init__(self, device_type: str, mesh: Any, *, mesh_dim_names: Sequence[str] | None = None, backend_override: Any = None,
                 _init_backend: bool = True, _rank: int | None = None) -> None:
        if backend_override is not None:
            raise NotImplementedError("DeviceMesh(backend_override=...): all groups run on the engine that init_process_group chose")
        ranks = np.asarray(mesh.numpy() if isinstance(mesh, torch.Tensor) else mesh)
        if ranks.dtype.kind not in "iu":
            ranks = ranks.astype(np.int64)
        if ranks.ndim == 0:
            raise ValueError("a mesh needs at least one dimension")
        if not is_initialized():
            init_process_group()
        if ranks.size and (ranks.min() < 0 or ranks.max() >= get_world_size()):
            raise RuntimeError(f"Mesh should not be bigger than default world size {get_world_size()}, but found {ranks.size} ranks, up to "
                               f"{ranks.max()}!")
        if any((np.diff(ranks, axis=d) <= 0).any() for d in range(ranks.ndim)):
            raise ValueError(f"the ranks along each dimension of a mesh have to ascend, but they are {ranks.tolist()}")
        self._fill(_device_type(device_type), ranks, _names(mesh_dim_names, ranks.ndim), None)
        self._groups: list[Any] = [_groups_along(ranks, d) for d in range(ranks.ndim)] if _init_backend else []

    def _fill(self, device_type: str, ranks: Any, names: tuple[str, ...] | None, root: DeviceMesh | None) -> None:
        self.device_type, self.mesh_dim_names, self._ranks, self._root = device_type, names, ranks.astype(np.int32), root
        found = np.argwhere(ranks == get_rank())
        self._coordinate = tuple(found[0].tolist()) if len(found) else None
        self._flattened: dict[str, DeviceMesh] = {}

    def _cut(self, ranks: Any, names: tuple[str, ...] | None, its_groups: list[Any]) -> DeviceMesh:
        """A mesh of some of this one's ranks."""
        made = object.__new__(DeviceMesh)
        made._fill(self.device_type, ranks, names, self._root or self)
        made._groups = its_groups
        return made

    # --- what it is -----------------------------------------------------------------------------------------------------------------------

    @property
    def mesh(self) -> Any:
        """The ranks, as a tensor."""
        return torch.from_numpy(self._ranks.copy())

    @property
    def shape(self) -> tuple[int, ...]:
        """How many ranks there are along each dimension."""
        return self._ranks.shape

    @property
    def ndim(self) -> int:
        """How many dimensions there are."""
        return self._ranks.ndim

    def size(self, mesh_dim: int | None = None) -> int:
        """How many ranks there are, or along one dimension."""
        return self._ranks.size if mesh_dim is None else self._ranks.shape[mesh_dim]

    def get_rank(self) -> int:
        """This process's rank in the world."""
        return get_rank()

    def get_coordinate(self) -> tuple[int, ...] | None:
        """This process's place in the grid; None where it has none."""
        return self._coordinate

    def _dim(self, dim: int | str | None, what: str) -> int:
        if dim is None:
            if self.ndim > 1:
                raise RuntimeError(f"this DeviceMesh has {self.ndim} dimensions: give {what} the `mesh_dim` that is meant"
                                   + (", or take get_all_groups()" if what == "get_group" else ""))
            return 0
        if isinstance(dim, str):
            if self.mesh_dim_names is None or dim not in self.mesh_dim_names:
                raise KeyError(f"Mesh dimension {dim!r} does not exist. There are {self.mesh_dim_names}")
            return self.mesh_dim_names.index(dim)
        return dim

    def get_local_rank(self, mesh_dim: int | str | None = None) -> int:
        """This process's place along one dimension."""
        dim = self._dim(mesh_dim, "get_local_rank")
        if self._coordinate is None:
            raise RuntimeError(f"rank {get_rank()} is not part of {self!r}")
        return self._coordinate[dim]

    def get_group(self, mesh_dim: int | str | None = None) -> ProcessGroup:
        """The group of the processes that are on a line with this one along a dimension."""
        if not self._groups:
            raise RuntimeError("this DeviceMesh has no process groups: it was made with _init_backend=False")
        if mesh_dim is None and self.ndim == 1:
            return self._groups[0]
        if isinstance(mesh_dim, str) and mesh_dim not in (self.mesh_dim_names or ()) and mesh_dim in (self._root or self)._flattened:
            return (self._root or self)._flattened[mesh_dim]._groups[0]
        return self._groups[self._dim(mesh_dim, "get_group")]

    def get_all_groups(self) -> list[ProcessGroup]:
        """The groups of all dimensions."""
        return [self.get_group(d) for d in range(self.ndim)]

    # --- parts of it ----------------------------------------------------------------------------------------------------------------------

    def __getitem__(self, mesh_dim_names: str | tuple[str, ...]) -> DeviceMesh:
        """The part along some dimensions, by their names, that this process is in."""
        if self.mesh_dim_names is None:
            raise RuntimeError("Cannot slice a DeviceMesh without mesh_dim_names!")
        names = (mesh_dim_names,) if isinstance(mesh_dim_names, str) else tuple(mesh_dim_names)
        if names == self.mesh_dim_names:
            return self
        flattened = (self._root or self)._flattened
        if len(names) == 1 and names[0] in flattened:
            return flattened[names[0]]
        if not names or any(name not in self.mesh_dim_names for name in names):
            raise KeyError(f"Invalid mesh_dim_names {names} specified. Valid mesh_dim_names are {[*self.mesh_dim_names, *flattened]}.")
        dims = [self.mesh_dim_names.index(name) for name in names]
        if dims != sorted(set(dims)):
            raise KeyError(f"Invalid mesh_dim_names {names} specified: they have to stand in the mesh's order, {self.mesh_dim_names}")
        if self._coordinate is None:
            raise RuntimeError(f"rank {get_rank()} is not part of {self!r}: it has no part of it")
        where = tuple(slice(None) if d in dims else self._coordinate[d] for d in range(self.ndim))
        return self._cut(self._ranks[where], names, [self._groups[d] for d in dims] if self._groups else [])

    def _flatten(self, mesh_dim_name: str | None = None) -> DeviceMesh:
        """All ranks of this mesh in one dimension, under a name of its own. All processes call this."""
        root = self._root or self
        name = "_".join(self.mesh_dim_names or ()) if mesh_dim_name is None else mesh_dim_name
        if root.mesh_dim_names is None or self.mesh_dim_names is None:
            raise RuntimeError("Cannot flatten a DeviceMesh without mesh_dim_names!")
        if name in root.mesh_dim_names and (name,) != self.mesh_dim_names:
            raise ValueError(f"{name} already exists for submesh of the root mesh {root!r}: a flattened mesh needs another name")
        if self.ndim == 1:
            return self
        if name not in root._flattened:
            dims = [root.mesh_dim_names.index(each) for each in self.mesh_dim_names]
            others = [d for d in range(root.ndim) if d not in dims]
            lines = root._ranks.transpose(*others, *dims).reshape(-1, self.size())
            root._flattened[name] = root._cut(self._ranks.reshape(-1), (name,), [_groups_along(lines, 1)])
        return root._flattened[name]

    @staticmethod
    def from_group(group: Any, device_type: str, mesh: Any = None, *, mesh_dim_names: Sequence[str] | None = None) -> DeviceMesh:
        """A mesh of a group that there is; of several groups, one per dimension, with the ranks in `mesh`."""
        given = [group] if isinstance(group, ProcessGroup) else list(group)
        if not given:
            raise ValueError("Expects at least one ProcessGroup to be passed")
        if mesh is None:
            if len(given) > 1:
                raise ValueError("Must pass mesh if passing multiple ProcessGroups")
            mesh = given[0]._ranks
        made = DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names, _init_backend=False)
        if made.ndim != len(given):
            raise ValueError(f"a mesh of {made.ndim} dimensions needs as many ProcessGroups, not {len(given)}")
        made._groups = given
        return made

    # --- a value --------------------------------------------------------------------------------------------------------------------------

    def _key(self) -> tuple[Any, ...]:
        return self.device_type, self.mesh_dim_names, self._ranks.shape, self._ranks.tobytes(), groups._state.begun

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DeviceMesh) and self._key() == other._key())

    def __hash__(self) -> int:
        return hash(self._key())

    def __enter__(self) -> DeviceMesh:
        _entered.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _entered.pop()

    def __repr__(self) -> str:
        shape = ", ".join(f"{n}={s}" for n, s in zip(self.mesh_dim_names, self.shape)) if self.mesh_dim_names else \
            ", ".join(map(str, self.shape)) + ("," if self.ndim == 1 else "")
        return f"DeviceMesh(({shape}), '{self.device_type}', stride={tuple(_steps(self._ranks))})"

    def __reduce__(self) -> Any:
        raise TypeError("a DeviceMesh belongs to its process and cannot be pickled: make one in each process")


def _steps(ranks: Any) -> Iterator[int | tuple[()]]:
    """How far apart neighbours are along each dimension; (), as PyTorch prints it, where there is one rank."""
    for d in range(ranks.ndim):
        lane = ranks[tuple(slice(None) if each == d else 0 for each in range(ranks.ndim))]
        yield int(lane[1] - lane[0]) if len(lane) > 1 else ()


def _groups_along(ranks: Any, dim: int) -> Any:
    """The group that this process is in of those along a dimension; None where it is in none. All processes make all of them."""
    own = None
    for line in np.moveaxis(ranks, dim, -1).reshape(-1, ranks.shape[dim]).tolist():
        found = groups.default_group() if line == list(range(get_world_size())) else new_group(line)
        own = found if get_rank() in line else own
    return own


def init_device_mesh(device_type: str, mesh_shape: Sequence[int], *, mesh_dim_names: Sequence[str] | None = None,
                     backend_override: Any = None) -> DeviceMesh:
    """A mesh of the world's first ranks in this shape. All processes call this; init_process_group() is called if nobody did."""
    _device_type(device_type)
    shape = tuple(mesh_shape)
    names = _names(mesh_dim_names, len(shape))
    return DeviceMesh(device_type, np.arange(int(np.prod(shape))).reshape(shape), mesh_dim_names=names, backend_override=backend_override)


__getattr__ = attribute_of("distributed.device_mesh", "docs/distributed.md lists what is there")

settle("distributed.device_mesh", globals())
