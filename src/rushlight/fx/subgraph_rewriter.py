"""`replace_pattern`: parts of a graph exchanged for others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..nn.modules.module import Module
from ._symbolic_trace import symbolic_trace
from .graph import Graph
from .graph_module import GraphModule, _assign_attr, _get_attr, _has_attr
from .node import Node
from .passes.utils.matcher_utils import InternalMatch, SubgraphMatcher

__all__ = ["Match", "replace_pattern", "replace_pattern_with_filters", "ReplacedPatterns"]


class Match(NamedTuple):
    """Where a pattern stood: the pattern's last node, and which of the pattern's nodes was which of the graph's."""

    anchor: Node
    nodes_map: dict[Node, Node]


@dataclass
class ReplacedPatterns:
    """The same, with the nodes that are there now."""

    anchor: Node
    nodes_map: dict[Node, Node]
    replacements: list[Node]


def replace_pattern(gm: GraphModule, pattern: Any, replacement: Any) -> list[Match]:
    """Exchange every part of a module's graph that does what `pattern` does for what `replacement` does. Both are functions (or modules)
    with the same parameters, all of which the pattern uses.

    Parts are found by who uses whose result, names don't matter; of parts that overlap the first is exchanged. The module is recompiled.
    """
    return [Match(each.anchor, each.nodes_map) for each in replace_pattern_with_filters(gm, pattern, replacement)]


def replace_pattern_with_filters(gm: GraphModule, pattern: Any, replacement: Any = None,
                                 match_filters: list[Callable[..., bool]] | None = None, ignore_literals: bool = False,
                                 replacement_callback: Callable[..., Graph] | None = None,
                                 node_name_match: str = "") -> list[ReplacedPatterns]:
    """The same, with more say.

    match_filters         ``f(match, graph, pattern's graph)`` of all has to be true for a part to be exchanged
    ignore_literals       whether numbers and the like may differ
    replacement_callback  ``f(match, graph, pattern's graph)`` gives the replacement's graph for each part
    node_name_match       nodes whose names contain it match any node
    """
    graph, pattern_graph = gm.graph, _graph_of(pattern)
    matcher = SubgraphMatcher(pattern_graph, match_output=False, match_placeholder=False, remove_overlapping_matches=True,
                              ignore_literals=ignore_literals)
    matches = [each for each in matcher.match(graph, node_name_match=node_name_match)
               if all(accept(each, graph, pattern_graph) for accept in match_filters or ())]
    common = None
    if replacement is not None:
        common = _graph_of(replacement)
    elif replacement_callback is None:
        raise AssertionError("Must provide either a replacement GraphModule or a replacement callback")
    changed: dict[Node, Node] = {}
    done = []
    for match in matches:
        chosen = common if replacement_callback is None else replacement_callback(match, graph, pattern_graph)
        done.append(_replace(graph, match, pattern_graph, chosen, changed))
    gm.recompile()
    if isinstance(replacement, Module):
        _take_attributes(gm, replacement)
    return done


def _graph_of(source: Any) -> Graph:
    return source if isinstance(source, Graph) else source.graph if isinstance(source, GraphModule) else symbolic_trace(source).graph


def _replace(graph: Graph, match: InternalMatch, pattern: Graph, replacement: Any, changed: dict[Node, Node]) -> ReplacedPatterns:
    """Exchange one part. `changed` says which results of earlier parts are other nodes by now."""
    inputs = [n for n in replacement.nodes if n.op == "placeholder"]
    if len(match.placeholder_nodes) != len(inputs):
        raise AssertionError(f"Placeholder count mismatch: {len(match.placeholder_nodes)} vs {len(inputs)}")
    values: dict[Node, Any] = {}
    for i, (new, old) in enumerate(zip(inputs, match.placeholder_nodes, strict=True)):
        values[new] = old
        if isinstance(old, Node) and old in changed:
            values[new] = match.placeholder_nodes[i] = changed[old]
            key = next(pn for pn, gn in match.nodes_map.items() if gn is old)
            match.nodes_map[key] = changed[old]
    with graph.inserting_before(_place_for(graph, match)):
        results = graph.graph_copy(replacement, values)
    results = (results,) if isinstance(results, Node) else results
    if len(match.returning_nodes) != len(results):
        raise AssertionError(f"Returning nodes count mismatch: {len(match.returning_nodes)} vs {len(results)}")
    for old, new in zip(match.returning_nodes, results, strict=True):
        old.replace_all_uses_with(new)
        changed[old] = new
    for node in reversed(pattern.nodes):
        if node.op not in ("placeholder", "output"):
            graph.erase_node(match.nodes_map[node])
    added = [node for node in values.values() if not any(node is each for each in match.placeholder_nodes)]
    return ReplacedPatterns(anchor=match.anchors[0], nodes_map=match.nodes_map, replacements=added)


def _place_for(graph: Graph, match: InternalMatch) -> Node:
    """Before which node the replacement goes: the first that uses a result; the one after the last result where nobody does."""
    users = {user for node in match.returning_nodes for user in node.users}
    return min(users) if users else max(match.returning_nodes).next


def _take_attributes(gm: GraphModule, replacement: Module) -> None:
    """Copy the submodules, parameters and buffers that the replacement brought."""
    gm.delete_all_unused_submodules()
    if isinstance(replacement, GraphModule):
        replacement.graph.lint()
    for node in gm.graph.nodes:
        if node.op not in ("call_module", "get_attr") or _has_attr(gm, node.target):
            continue
        if not _has_attr(replacement, node.target):
            raise RuntimeError(f'Attempted to create a "{node.op}" node during subgraph rewriting with target {node.target}, but the '
                               'referenced '
                               "attribute does not exist in the replacement GraphModule")
        _assign_attr(copy.deepcopy(_get_attr(replacement, node.target)), gm, node.target)
    gm.graph.lint()
