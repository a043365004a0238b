"""Where the storages of a file go: their own device, or what `map_location` says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..devices import device, resolve
from ..storage import UntypedStorage

__all__ = ["default_restore_location", "location_tag", "register_package", "restorer"]

Tagger = Callable[[Any], "str | None"]
Deserializer = Callable[[Any, str], Any]
Restore = Callable[[UntypedStorage, str], UntypedStorage]


def _on_device(storage: UntypedStorage, location: str) -> UntypedStorage | None:
    kind = location.partition(":")[0]
    if kind not in ("cpu", "cuda", "meta"):
        return None
    try:
        where = resolve(device(location))
    except (RuntimeError, AssertionError, ImportError) as error:
        if kind != "cuda":
            raise
        raise RuntimeError("Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False or the device "
                           f"{location} is not there ({error}). To load the storages to the CPU use "
                           "torch.load(..., map_location=torch.device('cpu')).") from error
    return storage.to(device=where)


# (priority, tag of a storage, storage and tag -> storage), the lowest priority first.
_packages: list[tuple[int, Tagger, Deserializer]] = [(10, lambda storage: str(storage.device), _on_device)]


def register_package(priority: int, tagger: Tagger, deserializer: Deserializer) -> None:
    """Teach `save` and `load` another kind of place. Both functions return None for what is not theirs; low priorities are asked first."""
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage: UntypedStorage) -> str:
    """The name under which the place of a storage is written."""
    for _, tagger, _ in _packages:
        tag = tagger(storage)
        if tag:
            return tag
    raise RuntimeError(f"don't know how to determine data location of {storage.type()}")


def default_restore_location(storage: UntypedStorage, location: str) -> UntypedStorage:
    """The storage at the place that `location` names. RuntimeError for places that nobody knows."""
    for _, _, deserializer in _packages:
        found = deserializer(storage, location)
        if found is not None:
            return found
    raise RuntimeError(f"don't know how to restore data location of {storage.type()} (tagged with {location})")


def restorer(map_location: Any) -> Restore:
    """The function (storage, tag) -> storage that a `map_location` argument means: None, a device, its name, a dict, or a function."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(storage, str(map_location.get(location, location)))
    if isinstance(map_location, (str, device)):
        place = str(map_location)
        return lambda storage, location: default_restore_location(storage, place)
    if not callable(map_location):
        raise TypeError(f"load(): map_location must be a device, its name, a dict of names or a function, not "
                        f"{type(map_location).__name__}")

    def by_function(storage: UntypedStorage, location: str) -> UntypedStorage:
        found = map_location(storage, location)
        return default_restore_location(storage, location) if found is None else found

    return by_function
