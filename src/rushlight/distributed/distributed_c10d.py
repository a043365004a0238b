"""``torch.distributed.distributed_c10d``: the same names as ``torch.distributed``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..homes import place
from ..unsupported import attribute_of
from .collectives import *  # noqa: F403
from .errors import *  # noqa: F403
from .groups import *  # noqa: F403
from .groups import _get_default_group, _state
from .memory import check_list as _check_tensor_list  # noqa: F401
from .messages import *  # noqa: F403
from .objects import *  # noqa: F403
from .reduce_op import ReduceOp, reduce_op  # noqa: F401
from .rendezvous import register_rendezvous_handler, rendezvous  # noqa: F401
from .stores import FileStore, HashStore, PrefixStore, Store, TCPStore  # noqa: F401
from .work import Work  # noqa: F401

__all__ = ["_get_default_group", "_get_default_store", "_rank_not_in_group"]

_absent = attribute_of("distributed.distributed_c10d", "docs/distributed.md lists what is there")


def __getattr__(name: str) -> Any:
    package = vars(import_module(place("distributed")))
    return package[name] if name in package else _absent(name)


def _get_default_store() -> Store:
    """The default group's store."""
    return _get_default_group().get_group_store()


def _rank_not_in_group(group: object) -> bool:
    """Whether this process is no member of a group."""
    from .groups import the_group
    return the_group(group) is None


_world = _state
