"""What a pass is: it takes a graph module and gives one, and says whether it changed it."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

__all__ = ["PassResult", "PassBase"]


class PassResult(NamedTuple):
    """What a pass gives."""

    graph_module: Any
    modified: bool


class PassBase(abc.ABC):
    """Base class of passes: define ``call``; ``requires`` and ``ensures`` may check the module before and after."""

    def __call__(self, graph_module: Any) -> PassResult | None:
        self.requires(graph_module)
        result = self.call(graph_module)
        self.ensures(graph_module)
        return result

    @abc.abstractmethod
    def call(self, graph_module: Any) -> PassResult | None:
        """The pass."""

    def requires(self, graph_module: Any) -> None:  # noqa: B027 - may be left out
        """Raise where the module is not what the pass needs."""

    def ensures(self, graph_module: Any) -> None:  # noqa: B027 - may be left out
        """Raise where the pass has not done what it should."""
