"""Taking a part of a graph out into a module, and putting a module in."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

from ...graph import Graph
from ...graph_module import GraphModule
from ...node import Node
from ..tools_common import NodeList, legalize_graph

__all__ = ["topo_sort", "validate_partition", "fuse_as_graphmodule", "insert_subgm", "erase_nodes", "fuse_by_partitions"]


def topo_sort(nodes: NodeList) -> NodeList:
    """The nodes, each after those of them that it uses."""
    waiting = {node: sum(each in set(nodes) for each in node.all_input_nodes) for node in nodes}
    ready = deque(node for node, count in waiting.items() if not count)
    ordered: NodeList = []
    while ready:
        node = ready.popleft()
        ordered.append(node)
        for user in node.users:
            if user in waiting:
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
    if len(ordered) != len(nodes):
        raise AssertionError("topological sorted nodes doesn't have same length as input nodes")
    return ordered


def validate_partition(partition: NodeList) -> bool:
    """Whether the nodes can be computed at once: nothing outside uses one of them and is used by another."""
    inside = set(partition)
    last = max(partition, default=None)
    waiting = [user for node in partition for user in node.users if user not in inside]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node in inside:
            return False
        if node not in seen and last is not None and node < last:       # what comes after all of them leads back to none
            seen.add(node)
            waiting.extend(node.users)
    return True


def fuse_as_graphmodule(gm: GraphModule, nodes: NodeList, module_name: str, partition_lookup_table: Any = None, *,
                        always_return_tuple: bool = False) -> tuple[GraphModule, tuple[Node, ...], tuple[Node, ...]]:
    """(the nodes as a module, the nodes that are its inputs, those whose values it returns)."""
    if any(node.graph.owning_module is not gm or node._erased for node in nodes):
        raise AssertionError(f"nodes of another module, or erased ones, can't be fused in {gm._get_name()}")
    if not validate_partition(nodes):
        raise AssertionError("Invalid partition, found dependency cycles")
    graph = Graph()
    env: dict[Node, Node] = {}
    inside, inputs = set(nodes), []

    def at(node: Node) -> Node:
        if node not in env:
            inputs.append(node)
            env[node] = graph.placeholder(node.name, node.type)
            env[node].meta = copy.copy(node.meta)
        return env[node]
    for node in nodes:
        for each in node.all_input_nodes:
            if each not in inside:
                at(each)
        env[node] = graph.node_copy(node, at)
    returned = [node for node in nodes if any(user not in inside for user in node.users)]
    values = tuple([env[node] for node in returned])
    graph.output(values[0] if len(values) == 1 and not always_return_tuple else values)
    graph.lint()
    return GraphModule(gm, graph, class_name=module_name), tuple(inputs), tuple(returned)


def insert_subgm(gm: GraphModule, sub_gm: GraphModule, orig_inputs: tuple[Node, ...], orig_outputs: tuple[Node, ...]) -> GraphModule:
    """Call a module made by `fuse_as_graphmodule` where its nodes' values are used."""
    name = sub_gm.__class__.__name__
    gm.add_submodule(name, sub_gm)
    last = max(orig_outputs, default=None)
    with gm.graph.inserting_after(last) if last is not None else gm.graph.inserting_before(gm.graph.output_node()):
        call = gm.graph.call_module(name, args=orig_inputs)
    single = len(orig_outputs) == 1 and not isinstance(sub_gm.graph.output_node().args[0], tuple)
    if single:
        orig_outputs[0].replace_all_uses_with(call, propagate_meta=True)
    else:
        import operator
        with gm.graph.inserting_after(call):
            picked = [gm.graph.call_function(operator.getitem, (call, i)) for i in range(len(orig_outputs))]
        for old, new in zip(orig_outputs, picked, strict=True):
            old.replace_all_uses_with(new, propagate_meta=True)
        call.meta["val"] = tuple([each.meta.get("val") for each in orig_outputs])
    return gm


def erase_nodes(gm: GraphModule, nodes: NodeList) -> None:
    """Take nodes out of the graph, users first."""
    for node in sorted(nodes, reverse=True):
        gm.graph.erase_node(node)


def fuse_by_partitions(gm: GraphModule, partitions: list[Any], prefix: str = "fused_", always_return_tuple: bool = False) -> GraphModule:
    """Have each list (or dict) of nodes be one call of a module."""
    for i, each in enumerate(partitions):
        nodes = topo_sort(list(each))
        sub, inputs, outputs = fuse_as_graphmodule(gm, nodes, prefix + str(i), always_return_tuple=always_return_tuple)
        insert_subgm(gm, sub, inputs, outputs)
        erase_nodes(gm, nodes)
    legalize_graph(gm)
    gm.recompile()
    return gm
