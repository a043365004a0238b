"""``torch.testing._utils``: helpers of tests that draw random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import random

__all__ = ["freeze_rng_state", "wrapper_set_seed"]


@contextmanager
def freeze_rng_state() -> Iterator[None]:
    """A context that leaves the random generator as it found it."""
    with random.fork_rng():
        yield


def wrapper_set_seed(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``op(*args, **kwargs)`` with the seed 42, the generator then as it was; functions that draw agree with themselves so."""
    with freeze_rng_state():
        random.manual_seed(42)
        return op(*args, **kwargs)
