"""``torch.fx.traceback``: notes about the program that tracers copy into the nodes they make."""

from __future__ import annotations

import copy
import functools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["annotate", "annotate_fn", "preserve_node_meta", "has_preserved_node_meta", "set_stack_trace", "set_grad_fn_seq_nr",
           "reset_grad_fn_seq_nr", "format_stack", "set_current_meta", "get_current_meta", "set_current_replay_node",
           "get_current_replay_node"]

current_meta: dict[str, Any] = {}
_preserve = False
_replayed: Any = None


@contextmanager
def preserve_node_meta(enable: bool = True) -> Iterator[None]:
    """Context: nodes made inside get the notes that hold at that time; an Interpreter inside passes on those of the nodes that it runs."""
    global _preserve, current_meta
    before, notes = _preserve, current_meta.copy()
    try:
        _preserve = enable
        yield
    finally:
        _preserve, current_meta = before, notes


def has_preserved_node_meta() -> bool:
    """Whether nodes get notes now."""
    return _preserve


@contextmanager
def annotate(annotation_dict: dict[str, Any]) -> Iterator[None]:
    """Context: nodes made inside say this in ``meta["custom"]``, as far as notes are preserved."""
    global current_meta
    before = current_meta
    current_meta = {**before, "custom": {**before.get("custom", {}), **annotation_dict}}
    try:
        yield
    finally:
        current_meta = before


def annotate_fn(annotation_dict: dict[str, Any]) -> Callable[[Any], Any]:
    """Decorator: the function runs under `annotate`."""
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def annotated(*args: Any, **kwargs: Any) -> Any:
            with annotate(annotation_dict):
                return function(*args, **kwargs)
        return annotated
    return decorate


@contextmanager
def set_current_meta(node: Any, pass_name: str = "") -> Iterator[None]:
    """Context: what a node's `meta` says holds for the nodes made inside."""
    global current_meta
    if not (_preserve and node.meta):
        yield
        return
    before = current_meta
    try:
        current_meta = node.meta.copy()
        yield
    finally:
        current_meta = before


def get_current_meta() -> dict[str, Any]:
    """The notes that hold now."""
    return current_meta


@contextmanager
def set_current_replay_node(node: Any) -> Iterator[None]:
    """Context: a node is being run again."""
    global _replayed
    before, _replayed = _replayed, node
    try:
        yield
    finally:
        _replayed = before


def get_current_replay_node() -> Any:
    """The node that is being run again, or None."""
    return _replayed


def set_stack_trace(stack: list[str]) -> None:
    """Have nodes say that they come from here."""
    if _preserve and stack:
        current_meta["stack_trace"] = "".join(stack)


def set_grad_fn_seq_nr(seq_nr: int) -> None:
    """Have nodes say that they were made by the backward of the op of this number."""
    if _preserve:
        current_meta["grad_fn_seq_nr"] = [*current_meta.get("grad_fn_seq_nr", []), seq_nr]
        current_meta["in_grad_fn"] = current_meta.get("in_grad_fn", 0) + 1


def reset_grad_fn_seq_nr() -> None:
    """The end of what `set_grad_fn_seq_nr` said last."""
    if _preserve and current_meta.get("in_grad_fn", 0) > 0:
        current_meta["grad_fn_seq_nr"] = current_meta["grad_fn_seq_nr"][:-1]
        current_meta["in_grad_fn"] -= 1


def format_stack() -> list[str]:
    """The stack that nodes would say they come from."""
    if _preserve:
        return [current_meta.get("stack_trace", "")]
    return traceback.format_list(traceback.extract_stack()[:-1])


def copied_notes() -> dict[str, Any]:
    """The notes that a new node takes over."""
    fields = ("nn_module_stack", "torch_fn", "source_fn_stack", "original_aten", "recompute", "ac_graph_id", "from_node", "custom",
              "partitioner_tag", "stack_trace")
    return {key: copy.copy(current_meta[key]) for key in fields if key in current_meta}
