"""What passes share."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

from ...tensor import Tensor
from ..graph import Graph
from ..graph_module import GraphModule
from ..node import Node

__all__ = ["get_acc_ops_name", "get_node_target", "is_node_output_tensor", "legalize_graph", "stable_topological_sort", "NodeList",
           "NodeSet", "Names", "CALLABLE_NODE_OPS"]

Tensors = Any
NodeList = list[Node]
NodeSet = set[Node]
Names = list[str]
CALLABLE_NODE_OPS = {"call_module", "call_function", "call_method"}


def get_acc_ops_name(k: Callable[..., Any] | str) -> str:
    """A target as one name: "torch.relu" for a function."""
    if isinstance(k, str):
        return k
    from ..names import spelled
    return spelled(k)


def get_node_target(submodules: Any, node: Node) -> str:
    """What a node calls, as one name: a module's class, a function's or a method's name."""
    if node.op not in CALLABLE_NODE_OPS:
        raise AssertionError("Expect op types of " + ", ".join(sorted(CALLABLE_NODE_OPS)) + f", but found {node.op}")
    if node.op == "call_module":
        module = submodules[node.target] if isinstance(submodules, dict) else submodules.get_submodule(node.target)
        return str(type(module)).removeprefix("<class '").removesuffix("'>")
    return get_acc_ops_name(node.target)


def is_node_output_tensor(node: Node) -> bool:
    """Whether `meta` says that a node's value is a tensor."""
    kind = node.meta.get("type")
    return isinstance(kind, type) and issubclass(kind, Tensor)


def _sorted_copy(gm: GraphModule, newest_first: bool) -> GraphModule:
    waiting = {node: len(node.all_input_nodes) for node in gm.graph.nodes}
    ready = deque(node for node, count in waiting.items() if not count)
    graph = Graph()
    env: dict[Node, Node] = {}
    graph._codegen = copy.copy(gm.graph._codegen)
    output = None
    while ready:
        node = ready.popleft()
        if node.op == "output":
            output = node
        else:
            env[node] = graph.node_copy(node, lambda n: env[n])
        freed = []
        for user in node.users:
            waiting[user] -= 1
            if not waiting[user]:
                freed.append(user)
        for each in freed:
            if newest_first and each.op in ("placeholder", "get_attr"):
                ready.appendleft(each)
            else:
                ready.append(each)
    if len(env) + (output is not None) < len(gm.graph.nodes):
        raise RuntimeError(f"Input graph has cycles, unable to add {[node for node, count in waiting.items() if count]}")
    if output is not None:
        env[output] = graph.node_copy(output, lambda n: env[n])
    gm.graph = graph
    return gm


def legalize_graph(gm: GraphModule) -> GraphModule:
    """Put the nodes in an order in which each comes after those that it uses. RuntimeError where there is none."""
    return _sorted_copy(gm, newest_first=True)


def stable_topological_sort(gm: GraphModule) -> GraphModule:
    """The same, changing the order no more than is needed."""
    placed: set[Node] = set()
    waiting: dict[Node, list[Node]] = {}
    pending = list(reversed(gm.graph.nodes))
    cursor: Node | None = None
    outputs = []
    while pending:
        node = pending.pop()
        if node.op == "output":
            outputs.append(node)
            continue
        missing = [each for each in node.all_input_nodes if each not in placed]
        if missing:
            waiting.setdefault(missing[-1], []).append(node)
            continue
        placed.add(node)
        if cursor is not None and cursor.next is not node:
            cursor.append(node)
        cursor = node
        pending.extend(reversed(waiting.pop(node, [])))
    if waiting:
        raise RuntimeError("Input graph has cycles")
    for each in outputs:
        if cursor is not None and cursor.next is not each:
            cursor.append(each)
        cursor = each
    return gm
