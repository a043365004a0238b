"""`SubgraphMatcher`: where in a graph another one, a pattern, stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ....ops.aten import OpOverload
from ....tensor import Tensor
from ...graph import Graph
from ...graph_module import _get_attr
from ...node import Node
from .fuser_utils import validate_partition

__all__ = ["SubgraphMatcher", "InternalMatch"]


@dataclass
class InternalMatch:
    """One place: which node of the graph is which of the pattern's.

    anchors            the pattern's nodes from which the match was found
    nodes_map          node of the pattern -> node of the graph
    placeholder_nodes  what the pattern's inputs are in the graph
    returning_nodes    what the pattern's results are
    name_node_map      names that the pattern gives to nodes (`matcher_with_name_node_map_utils`)
    """

    anchors: list[Node]
    nodes_map: dict[Node, Node] = field(default_factory=dict)
    placeholder_nodes: list[Node] = field(default_factory=list)
    returning_nodes: list[Node] = field(default_factory=list)
    name_node_map: dict[str, Node] = field(default_factory=dict)

    def __copy__(self) -> InternalMatch:
        return InternalMatch(self.anchors, self.nodes_map.copy(), self.placeholder_nodes.copy(), self.returning_nodes.copy())


class SubgraphMatcher:
    """Finds a pattern in graphs, by who uses whose result.

    pattern                     the graph to look for
    match_output                whether the graph's output has to be where the pattern's is
    match_placeholder           whether inputs have to be inputs; else they are whatever the graph has there
    remove_overlapping_matches  whether of matches that share nodes only the first is kept
    ignore_literals             whether numbers and the like may differ

    ValueError for an empty pattern, AssertionError for one with nodes that nobody uses.
    """

    def __init__(self, pattern: Graph, match_output: bool = False, match_placeholder: bool = False, remove_overlapping_matches: bool = True,
                 ignore_literals: bool = False) -> None:
        self.pattern, self.match_output, self.match_placeholder = pattern, match_output, match_placeholder
        self.remove_overlapping_matches, self.ignore_literals = remove_overlapping_matches, ignore_literals
        if not len(pattern.nodes):
            raise ValueError("SubgraphMatcher cannot be initialized with an empty pattern")
        if any(not n.users and n.op != "output" and not n.is_impure() for n in pattern.nodes):
            raise AssertionError("SubgraphMatcher cannot be initialized with an pattern with dead code")
        self.pattern_placeholder_nodes = [n for n in pattern.nodes if n.op == "placeholder"]
        output = next(iter(reversed(pattern.nodes)))
        self.pattern_returning_nodes = output.all_input_nodes
        self.pattern_anchors = [output] if match_output else [n for n in output.all_input_nodes if len(n.users) == 1]

    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        """The matches in a graph, in its order: nothing outside of a match uses what is inside (but its results), and computing a match at
        once would make no cycle. `node_name_match`: nodes whose names contain it match any node."""
        candidates = [(anchor, [n for n in graph.nodes if self._nodes_are_equal(anchor, n, node_name_match)])
                      for anchor in self.pattern_anchors]
        candidates = [(anchor, nodes) for anchor, nodes in candidates if nodes]
        found: list[InternalMatch] = []
        if candidates:
            self._extend(InternalMatch(anchors=self.pattern_anchors), candidates, node_name_match, found)
        found = [each for each in found if self._is_contained(each.nodes_map) and validate_partition(_computing(each))]
        return self._remove_overlapping_matches(found) if self.remove_overlapping_matches else found

    def _extend(self, match: InternalMatch, candidates: list[tuple[Node, list[Node]]], name: str, found: list[InternalMatch]) -> None:
        """Try all places of the first anchor, and for each those of the others."""
        if not candidates:
            if all(n in match.nodes_map for n in (*self.pattern_placeholder_nodes, *self.pattern_returning_nodes)):
                match.placeholder_nodes = [match.nodes_map[n] for n in self.pattern_placeholder_nodes]
                match.returning_nodes = [match.nodes_map[n] for n in self.pattern_returning_nodes]
                found.append(match)
            return
        anchor, nodes = candidates[0]
        for node in nodes:
            attempt = match.__copy__()
            if self._match_nodes(anchor, node, attempt, name):
                self._extend(attempt, candidates[1:], name, found)

    def _match_nodes(self, pn: Node, gn: Node, match: InternalMatch, node_name_match: str = "") -> bool:
        """Whether a node, and all before it that the pattern asks for, is the pattern's; noted in the match."""
        if pn in match.nodes_map:
            return match.nodes_map[pn] is gn
        if any(gn is each for each in match.nodes_map.values()) or not self._nodes_are_equal(pn, gn, node_name_match):
            return False
        before = match.nodes_map.copy()
        match.nodes_map[pn] = gn
        if pn.op == "placeholder":
            return True
        pairs = self._paired_arguments(pn, gn)
        if pairs is not None and self._match_args(*pairs, match):
            return True
        match.nodes_map.clear()
        match.nodes_map.update(before)
        return False

    def _match_args(self, args1: Any, args2: Any, match: InternalMatch) -> bool:
        return len(args1) == len(args2) and all(self._match_arg(a, b, match) for a, b in zip(args1, args2, strict=True))

    def _match_arg(self, a: Any, b: Any, match: InternalMatch) -> bool:
        if isinstance(a, Node) and isinstance(b, Node):
            return self._match_nodes(a, b, match)
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
            return self._match_args(a, b, match)
        return self._match_literals(a, b, match) or self.ignore_literals

    def _match_literals(self, pn: Any, gn: Any, match: InternalMatch) -> bool:
        if isinstance(pn, Node):
            if pn.op != "placeholder":
                return False
            if pn in match.nodes_map:
                return bool(match.nodes_map[pn] == gn)
            match.nodes_map[pn] = gn
            return True
        return not isinstance(gn, Node) and type(gn) is type(pn) and gn == pn

    def _paired_arguments(self, pn: Node, gn: Node) -> tuple[list[Any], list[Any]] | None:
        """The arguments of both nodes in the same order; None where they were called differently."""
        if len(pn.args) == len(gn.args) and list(pn.kwargs) == list(gn.kwargs):
            return [*pn.args, *pn.kwargs.values()], [*gn.args, *gn.kwargs.values()]
        if pn.op == "call_function" and isinstance(pn.target, OpOverload):
            return _by_schema(pn), _by_schema(gn)
        return None

    def _nodes_are_equal(self, pn: Node, gn: Node, node_name_match: str = "") -> bool:
        """Whether a node does what one of the pattern does, its arguments aside."""
        if (pn.op == "placeholder" and not self.match_placeholder) or (node_name_match and node_name_match in gn.name):
            return True
        if pn.op != gn.op:
            return False
        if pn.op == "get_attr":
            return self._match_attributes(pn, gn)
        return pn.op in ("placeholder", "output") or pn.target == gn.target

    def _match_attributes(self, pn: Node, gn: Node) -> bool:
        """Whether both fetch tensors of the same class; their values may differ."""
        a, b = (_get_attr(n.graph.owning_module, n.target) for n in (pn, gn))
        if type(a) is not type(b):
            return False
        if not isinstance(a, Tensor):
            raise RuntimeError(f"Unsupported type {a} when matching attributes")
        return True

    def _is_contained(self, nodes_map: dict[Node, Node]) -> bool:
        """Whether nothing outside uses what is inside, but for the results."""
        inside = {gn: pn for pn, gn in nodes_map.items() if pn.op != "placeholder"}
        return all(user in inside for gn, pn in inside.items() if pn not in self.pattern_returning_nodes for user in gn.users)

    def _remove_overlapping_matches(self, matches: list[InternalMatch]) -> list[InternalMatch]:
        kept: list[InternalMatch] = []
        taken: set[Node] = set()
        for match in matches:
            nodes = _computing(match)
            if taken.isdisjoint(nodes):
                kept.append(match)
                taken.update(nodes)
        return kept


def _computing(match: InternalMatch) -> list[Node]:
    """The nodes of the graph that compute what the pattern does."""
    return [gn for pn, gn in match.nodes_map.items() if pn.op not in ("placeholder", "output")]


def _by_schema(node: Node) -> list[Any]:
    """All arguments of an operator's call, defaults included."""
    found = []
    for i, each in enumerate(node.target._schema.arguments):
        if each.name in node.kwargs:
            found.append(node.kwargs[each.name])
        else:
            found.append(node.args[i] if not each.kwarg_only and i < len(node.args) else each.default_value)
    return found
