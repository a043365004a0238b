"""``torch.distributed.checkpoint``: states saved by many processes, loaded by as many others."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...unsupported import attribute_of
from .errors import CheckpointException
from .saving import async_save, load, load_state_dict, save, save_state_dict
from .storage import FileSystemReader, FileSystemWriter

__all__ = [
    "CheckpointException",
    "FileSystemReader",
    "FileSystemWriter",
    "async_save",
    "load",
    "load_state_dict",
    "save",
    "save_state_dict",
]

_others = attribute_of("distributed.checkpoint", "docs/distributed.md lists what is there")


def __getattr__(name: str) -> Any:
    if name == "state_dict":
        return import_module(".state_dict", __name__)
    return _others(name)
