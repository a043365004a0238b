"""`backward` and `grad`: what users call to differentiate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import services
from ..tensor import Tensor, attach, wrap
from ..vocabulary import Array
from . import engine
from .engine import run
from .grad_mode import LOCAL
from .graph import AccumulateGrad, Port, array_of, wrap_array

if TYPE_CHECKING:
    from ..autograd.saved_hooks import GradientEdge

__all__ = ["backward", "grad"]


def _tensors(value: Sequence[Any] | Tensor | str) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) or hasattr(value, "__next__") else (value,)


def _root(tensor: Any, gradient: Any, graph: bool, batched: bool = False) -> Any:
    """The gradient to start from: what was given, checked, or 1 for a one-element tensor. An array, or a tensor if `graph`."""
    node = None if tensor.__class__ is _Edge else tensor._node
    made = None if engine.observer is None or node is None else engine.observer([(node, None)])
    graph = graph or made is not None
    if tensor.__class__ is _Edge:
        if gradient is None:
            raise NotImplementedError("the gradient of a GradientEdge can't be created implicitly: give grad_outputs (grad_tensors)")
        return gradient if graph else gradient._a
    if tensor._kind.sparse or gradient is not None and getattr(gradient, "_kind", tensor._kind).sparse:
        return _sparse_root(tensor, gradient, graph)
    if gradient is None:
        if tensor._a.size != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        if not tensor._kind.is_floating:
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {tensor._kind.dtype}")
        if made is not None:
            return made.ones(tensor)
        kind = tensor._kind
        ones = kind.xp.ones(tensor._a.shape, kind.np)
        if not graph:
            return ones
        return wrap(ones, kind)
    if not hasattr(gradient, "_kind"):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    if gradient._a.shape != tensor._a.shape:
        raise RuntimeError(f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of "
                           f"{tensor.shape}.")
    if gradient._kind.is_complex and not tensor._kind.is_complex:
        raise RuntimeError(f"For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
                           f"grad_output[0] has a dtype of {gradient.dtype} and output[0] has a dtype of {tensor.dtype}.")
    if gradient._kind is not tensor._kind:
        gradient = gradient.to(device=tensor._kind.device, dtype=tensor._kind.dtype)
    return gradient if graph else gradient._a


def _sparse_root(tensor: Any, gradient: Any, graph: bool) -> Any:
    """The same where the output or its gradient is sparse."""
    if gradient is None:
        raise RuntimeError("grad can be implicitly created only for scalar outputs: give backward() a gradient, or take .to_dense() first")
    if gradient.shape != tensor.shape:
        raise RuntimeError(f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has a shape of "
                           f"{tensor.shape}.")
    return gradient if graph else array_of(gradient)


class _Edge:
    """A GradientEdge in the place of a tensor."""

    __slots__ = ("_node",)
    retains_grad = False

    def __init__(self, edge: GradientEdge) -> None:
        self._node = edge.node if edge.node.outputs == 1 else Port(edge.node, edge.output_nr)


def _places(value: Sequence[Tensor] | Tensor) -> tuple[Any, ...]:
    """Tensors, and edges of the graph (autograd.graph.GradientEdge), to differentiate (by)."""
    given = (value,) if hasattr(value, "ownership_token") else _tensors(value)
    return tuple([_Edge(t) if hasattr(t, "ownership_token") else t for t in given])


def _edge(tensor: Tensor) -> Any:
    if tensor._node is None:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    return tensor._node


def backward(tensors: Tensor | list[Tensor], grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
             grad_variables: Any = None, inputs: list[Tensor] | None = None) -> None:
    """Add the gradients of `tensors` to the ``.grad`` of the leaves (or of `inputs`). See `Tensor.backward`."""
    if LOCAL.dual:       # in forward mode, gradients have tangents too (forward.py)
        create_graph = True
    places = _places(tensors)
    if grad_variables is not None:
        grad_tensors = grad_variables
    gradients = (None,) * len(places) if grad_tensors is None else _tensors(grad_tensors)
    if len(gradients) != len(places):
        raise RuntimeError(f"got {len(places)} tensors and {len(gradients)} gradients")
    edges = None
    ends: tuple[Any, ...] = ()
    if inputs is not None:
        ends = _places(inputs)
        if not ends:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        for i, t in enumerate(ends):
            if t._node is None:
                raise RuntimeError(f"One of the differentiated Tensors (input {i}) does not require grad")
        edges = [t._node for t in ends]
    roots = [(_edge(t), _root(t, g, create_graph)) for t, g in zip(places, gradients, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    found = run(roots, create_graph, retain, edges, accumulate=True)
    if edges is not None:
        _keep_non_leaf(ends, found, create_graph)


def _backward(self: Tensor, gradient: Tensor | str | None = None, retain_graph: bool | None = None, create_graph: bool = False,
              inputs: list[Tensor] | None = None) -> None:
    """Compute the gradients of the leaves of this tensor's graph, and add them to their ``.grad``.

    gradient      d(loss)/d(self), of self's shape; may be left out for a one-element tensor
    retain_graph  keep the graph for another backward (default: create_graph)
    create_graph  record the backward pass, for higher derivatives
    inputs        only these tensors' ``.grad``
    """
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


_backward.__name__ = _backward.__qualname__ = "backward"
attach(_backward)


def _keep_non_leaf(inputs: tuple[Any, ...], found: list[Any], graph: bool) -> None:
    """backward(inputs=...) fills ``.grad`` of non-leaf tensors too."""
    for t, g in zip(inputs, found, strict=True):
        if g is not None and t.__class__ is not _Edge and t._node.__class__ is not AccumulateGrad and not t.retains_grad:
            g = g.clone() if graph or isinstance(g, Tensor) else wrap_array(g.copy())
            t._grad = g if t._grad is None else t._grad + g


def grad(outputs: Sequence[Tensor] | Tensor, inputs: Sequence[Tensor] | Tensor, grad_outputs: Sequence[Any] | Tensor | None = None,
         retain_graph: bool | None = None, create_graph: bool = False,
         only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False,
         materialize_grads: bool = False) -> tuple[Any, ...]:
    """The gradients of `outputs` with respect to `inputs`, without touching any ``.grad``.

    grad_outputs      gradients to start from, one per output (None for a one-element output)
    allow_unused      inputs that don't matter get None (an error otherwise)
    is_grads_batched  every grad_output has an extra first dimension; so have the results (one pass for all slices, as under vmap)
    materialize_grads inputs that don't matter get zeros
    """
    outputs, inputs = _places(outputs), _places(inputs)
    if LOCAL.dual:
        create_graph = True
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    if allow_unused is False and materialize_grads:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False.")
    allow_unused = materialize_grads if allow_unused is None else allow_unused
    given = (None,) * len(outputs) if grad_outputs is None else _tensors(grad_outputs)
    if len(given) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(given)} gradients")
    retain = create_graph if retain_graph is None else retain_graph
    for t in inputs:
        if not hasattr(t, "_node"):
            raise RuntimeError(f"all inputs have to be Tensors or GradientEdges, but got {type(t).__name__}")
        if t._node is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    if is_grads_batched:
        return services.batched_gradients(outputs, inputs, given, retain, create_graph, allow_unused, materialize_grads)
    edges = [t._node for t in inputs]
    roots = [(_edge(t), _root(t, g, create_graph)) for t, g in zip(outputs, given, strict=True)]
    found = run(roots, create_graph, retain, edges, accumulate=False)
    return tuple(_result(i, t, g, create_graph, allow_unused, materialize_grads)
                 for i, (t, g) in enumerate(zip(inputs, found, strict=True)))


def _result(index: int, t: Tensor, g: Array | Tensor | None, graph: bool, allow_unused: bool, materialize: bool) -> Any:
    if g is None:
        if materialize and t.__class__ is not _Edge:
            zeros = wrap(t._kind.xp.zeros(t._a.shape, t._kind.np), t._kind)
            return zeros.requires_grad_() if graph else zeros
        if not allow_unused:
            raise RuntimeError(f"The differentiated Tensor at index {index} appears to not have been used in the graph. Set "
                               "allow_unused=True if this is the desired behavior.")
        return None
    return g if graph or isinstance(g, Tensor) else wrap_array(g)
