"""Collating: a list of samples becomes a batch. Containers keep their type and are collated place by place."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import rushlight as torch

from ....vocabulary import NumpyDtypeLike

if TYPE_CHECKING:
    from ....tensor import Tensor

__all__ = ["collate", "collate_float_fn", "collate_int_fn", "collate_numpy_array_fn", "collate_numpy_scalar_fn", "collate_str_fn",
           "collate_tensor_fn", "default_collate", "default_collate_fn_map", "default_convert", "map_containers"]

CollateMap = dict[type | tuple[type, ...], Callable[..., Any]]


def _rebuilt(sample: Any, values: dict[Any, Any] | list[Any]) -> Any:
    """A container like `sample` with other values (a dict for mappings, else a list). Falls back to plain dicts and lists."""
    kind = type(sample)
    try:
        if kind is dict or kind is list:
            return values
        if isinstance(sample, Mapping):
            if not isinstance(sample, MutableMapping):
                return kind(values)
            clone = copy.copy(sample)  # keeps what a subclass holds besides its items, e.g. a default factory
            clone.update(values)
            return clone
        if isinstance(sample, MutableSequence):
            clone = copy.copy(sample)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return kind(values)
    except TypeError:  # the type can't hold these values, or is not made from an iterable
        return values


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def map_containers(function: Callable[[Any], Any], data: Any) -> Any:
    """Apply `function` to every leaf of nested mappings, namedtuples, tuples and sequences. A plain tuple becomes a list."""
    if isinstance(data, Mapping):
        return _rebuilt(data, {key: map_containers(function, value) for key, value in data.items()})
    if _is_namedtuple(data):
        return type(data)(*[map_containers(function, value) for value in data])
    if isinstance(data, tuple):
        return [map_containers(function, value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt(data, [map_containers(function, value) for value in data])
    return function(data)


def _convert_leaf(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "SUOV":
        return torch.as_tensor(value)
    return value


def default_convert(data: Any) -> Any:
    """NumPy arrays and scalars become tensors, within nested containers too; everything else stays. Used where ``batch_size=None``."""
    return map_containers(_convert_leaf, data)


def collate_tensor_fn(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Tensors of one shape, stacked along a new first dimension."""
    return torch.stack(batch, 0)


def collate_numpy_array_fn(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Arrays of one shape, stacked to a tensor. TypeError for strings and objects."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(_refusal(batch[0].dtype))
    return collate([torch.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """NumPy's scalars as a tensor of their dtype."""
    return torch.as_tensor(batch)


def collate_float_fn(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Python's floats as a float64 tensor."""
    return torch.tensor(batch, dtype=torch.float64)


def collate_int_fn(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Python's ints (or bools) as a tensor."""
    return torch.tensor(batch)


def collate_str_fn(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Sequence[Any]:
    """Strings and bytes stay a list."""
    return batch


default_collate_fn_map: CollateMap = {
    torch.Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


np_str_obj_array_pattern = re.compile(r"[SaUO]")      # dtypes of arrays that become no tensors


def _refusal(found: NumpyDtypeLike) -> str:
    return (f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {found}. Give a collate_fn of "
            "your own")


def collate(batch: list[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    """A batch of samples, by the functions of `collate_fn_map` (type or tuple of types -> function), containers place by place.

    The map is asked for the exact type of the first sample, then for its base classes in the map's order. TypeError for other types.
    """
    sample = batch[0]
    kind = type(sample)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is None:
            function = next((found for wanted, found in collate_fn_map.items() if isinstance(sample, wanted)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(sample, Mapping):
        return _rebuilt(sample, {key: collate([entry[key] for entry in batch], collate_fn_map=collate_fn_map) for key in sample})
    if _is_namedtuple(sample):
        return kind(*[collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)])
    if isinstance(sample, Sequence):
        size = len(sample)
        if any(len(entry) != size for entry in batch):
            raise RuntimeError("each element in list of batch should be of equal size, and they have the sizes "
                               + ", ".join(str(len(entry)) for entry in batch[:20]))
        columns = [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)]
        return columns if isinstance(sample, tuple) else _rebuilt(sample, columns)
    raise TypeError(_refusal(kind))


def default_collate(batch: list[Any]) -> Any:
    """Samples to a batch: tensors and arrays are stacked, numbers become tensors, strings lists, containers place by place.

    A list of dicts gives a dict of batches, of tuples a list of batches, of namedtuples such a namedtuple. TypeError for other types.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
