"""`FxGraphDrawer`: graphs as pictures, with Graphviz."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import Any

from ...nn.parameter import Parameter
from ...settings import typename
from ..codegen import _parse_stack_trace
from ..graph_module import GraphModule, _get_attr
from ..names import spelled
from ..node import Node, _format_arg
from .shape_prop import TensorMetadata

__all__ = ["FxGraphDrawer"]

_COLORS = {"placeholder": "AliceBlue", "call_module": "LemonChiffon1", "get_attr": "LightGrey", "output": "PowderBlue"}
_BOX = {"style": '"filled,rounded"', "fontcolor": "#000000"}


def _escaped(text: str) -> str:
    return text.replace("{", r"\{").replace("}", r"\}")


class FxGraphDrawer:
    """Draws a module's graph, and those of graph modules inside: ``FxGraphDrawer(gm, "name").get_dot_graph().write_svg("file.svg")``.

    ignore_getattr                  leave out nodes that fetch attributes
    ignore_parameters_and_buffers   leave out the parameters and buffers of called modules
    skip_node_names_in_args         show only those arguments that are no nodes
    parse_stack_trace               show the line of the program that made a node
    dot_graph_shape                 the shape of the boxes ("record")
    normalize_args                  show all arguments by their names

    RuntimeError without the package pydot.
    """

    def __init__(self, graph_module: GraphModule, name: str, ignore_getattr: bool = False, ignore_parameters_and_buffers: bool = False,
                 skip_node_names_in_args: bool = True, parse_stack_trace: bool = False, dot_graph_shape: str | None = None,
                 normalize_args: bool = False) -> None:
        try:
            import pydot  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError as error:
            raise RuntimeError("FXGraphDrawer requires the pydot package to be installed. Please install pydot through your favorite "
                               "Python package manager.") from error
        self._pydot, self._name = pydot, name
        self.dot_graph_shape, self.normalize_args = dot_graph_shape or "record", normalize_args
        self._ignore_getattr, self._ignore_values = ignore_getattr, ignore_parameters_and_buffers
        self._skip_nodes, self._origins = skip_node_names_in_args, parse_stack_trace
        self._dot_graphs = {name: self._to_dot(graph_module, name)}
        for node in graph_module.graph.nodes:
            if node.op == "call_module" and isinstance(inside := _get_attr(graph_module, node.target), GraphModule):
                key = f"{name}_{node.target}"
                self._dot_graphs[key] = self._to_dot(inside, key)

    def get_dot_graph(self, submod_name: str | None = None) -> Any:
        """The drawing (a ``pydot.Dot``) of the module, or of a graph module inside."""
        return self._dot_graphs[self._name if submod_name is None else f"{self._name}_{submod_name}"]

    def get_main_dot_graph(self) -> Any:
        """The drawing of the module."""
        return self.get_dot_graph()

    def get_submod_dot_graph(self, submod_name: str) -> Any:
        """The drawing of a graph module inside."""
        return self.get_dot_graph(submod_name)

    def get_all_dot_graphs(self) -> dict[str, Any]:
        """All drawings by name."""
        return self._dot_graphs

    def _style(self, node: Node) -> dict[str, str]:
        color = _COLORS.get(node.op)
        if color is None:                               # the same for the same function, in every picture
            digest = hashlib.md5(node._pretty_print_target(node.target).encode(), usedforsecurity=False).hexdigest()
            color = f'"{int(digest[:4], 16) / 65536:.3f} 0.25 1.0"'
        return {"shape": self.dot_graph_shape, "fillcolor": color, **_BOX}

    def _label(self, module: GraphModule, node: Node) -> str:
        """What stands in a node's box."""
        rows = [f"name=%{node.name}", f"op_code={node.op}\n"]
        if node.op == "call_module":
            leaf = _get_attr(module, node.target)
            constants = [f"{each}: {getattr(leaf, each)}" for each in getattr(leaf, "__constants__", ())]
            rows[-1] += rf"\n{_escaped(typename(leaf))}\n"
            rows.append(r"\n".join(constants) + r"\n")
        else:
            target = node.target if isinstance(node.target, str) else spelled(node.target)
            rows.append(rf"target={_escaped(target)}\n")
            args, kwargs = self._arguments(node)
            rows += [row for row in (self._row("args=(", args, ")"), self._row("kwargs={", kwargs, "}")) if row]
            rows.append(rf"num_users={len(node.users)}\n")
        rows += self._rows_of_value(node.meta.get("tensor_meta"))
        frame = _parse_stack_trace(node.stack_trace) if self._origins and node.stack_trace else None
        if frame is not None:
            rows.append(rf"file={'/'.join(frame.file.split('/')[-2:])}:{frame.lineno} {frame.code}\n")
        return "{" + "|".join(rows) + "}"

    def _arguments(self, node: Node) -> tuple[Any, Any]:
        found = node.normalized_arguments(None,
                                          normalize_to_only_use_kwargs=True) if self.normalize_args and node.op == "call_function" else None
        return (node.args, node.kwargs) if found is None else (found.args, found.kwargs)

    def _row(self, opening: str, values: Any, closing: str) -> str:
        if isinstance(values, dict):
            texts = [f"{key}: {_format_arg(each, max_list_len=8)}" for key, each in values.items()]
        else:
            texts = [_format_arg(each, max_list_len=8) for each in values]
        texts = [each for each in texts if not (self._skip_nodes and "%" in each)]
        if not texts:
            return ""
        many = len(texts) > 1
        return _escaped(opening + (r"\l" if many else "") + (r",\n" if many else ",").join(texts)
                        + (r",\n" if many else ",") + closing + (r"\l" if many else ""))

    def _rows_of_value(self, value: Any) -> list[str]:
        if value is None:
            return []
        if isinstance(value, TensorMetadata):
            return [rf"dtype={value.dtype}\n", rf"shape={tuple(value.shape)}\n", rf"requires_grad={value.requires_grad}\n",
                    rf"stride={value.stride}\n"]
        if isinstance(value, (list, tuple, dict)):
            return [row for each in (value.values() if isinstance(value, dict) else value) for row in self._rows_of_value(each)]
        raise RuntimeError(f"Unsupported tensor meta type {type(value)}")

    def _to_dot(self, module: GraphModule, name: str) -> Any:
        pydot = self._pydot
        dot = pydot.Dot(name, rankdir="TB")
        shown = [node for node in module.graph.nodes if not (self._ignore_getattr and node.op == "get_attr")]
        for node in shown:
            dot.add_node(pydot.Node(node.name, label=self._label(module, node), **self._style(node)))
            if node.op == "call_module" and not self._ignore_values:
                leaf = _get_attr(module, node.target)
                if not isinstance(leaf, GraphModule):
                    self._add_values(dot, node, leaf)
        for node in shown:
            for user in node.users:
                dot.add_edge(pydot.Edge(node.name, user.name))
        return dot

    def _add_values(self, dot: Any, node: Node, leaf: Any) -> None:
        """Boxes for the parameters and buffers of a called module."""
        for name, value in chain(leaf.named_parameters(), leaf.named_buffers()):
            full = f"{node.name}.{name}"
            what = "parameter" if isinstance(value, Parameter) else "buffer"
            label = rf"{{{full}|op_code=get_{what}\l{value.dtype}{list(value.shape)}\n}}"
            dot.add_node(self._pydot.Node(full, label=label, shape=self.dot_graph_shape, fillcolor="Salmon", **_BOX))
            dot.add_edge(self._pydot.Edge(full, node.name))
