"""torch.einsum by transposes and matrix products, so that BLAS does the work and gradients follow."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from ..tensor import Tensor
from .arithmetic import mul
from .matmul import bmm, mm
from .public import export
from .shape import permute, reshape

__all__ = ["einsum"]


def einsum(*args: Any) -> Tensor:
    """Sums of products in Einstein's notation: ``einsum("bij,bjk->bik", a, b)``, or with lists of numbers after each operand.

    "..." stands for dimensions that broadcast; a letter that occurs twice in one operand takes the diagonal; without "->" the
    letters that occur once, in alphabetical order, are kept.
    """
    if not args or len(args) == 1 and isinstance(args[0], Tensor):
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts "
                         "list")
    if isinstance(args[0], Tensor):
        equation, operands = _from_lists(args)
    else:
        equation, operands = args[0], list(args[1:])
        if isinstance(equation, bytes):
            equation = equation.decode()
        if not isinstance(equation, str):
            raise TypeError(f"einsum(): argument 'equation' (position 1) must be str, not {type(equation).__name__}")
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
    if not operands:
        raise ValueError("einsum(): must provide at least one operand")
    for position, operand in enumerate(operands):
        if not isinstance(operand, Tensor):
            raise TypeError(f"einsum(): operand {position} must be Tensor, not {type(operand).__name__}")
    inputs, output = _parse(equation, tuple([operand._a.ndim for operand in operands]))
    return _contract(inputs, output, operands)


def _one_by_one(*args: Any) -> tuple[Any, ...]:
    """The arguments as who overrides functions sees them: the equation and every operand."""
    if args and isinstance(args[0], Tensor) and len(args) > 1:
        equation, operands = _from_lists(args)
        return equation, *operands
    return (args[0], *args[1]) if len(args) == 2 and isinstance(args[1], (list, tuple)) else args


einsum.arranged = _one_by_one  # type: ignore[attr-defined]


def _from_lists(args: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The sublist form as an equation."""
    def letters(indices: Any) -> str:
        text = ""
        for i in indices:
            if i is Ellipsis:
                text += "..."
            elif 0 <= i < 52:
                text += chr(ord("A") + i) if i < 26 else chr(ord("a") + i - 26)
            else:
                raise ValueError(f"einsum(): operand subscripts must be in the range [0, 52), but found {i}")
        return text
    count = len(args) // 2
    operands = [args[2 * i] for i in range(count)]
    equation = ",".join(letters(args[2 * i + 1]) for i in range(count))
    if len(args) % 2:
        equation += "->" + letters(args[-1])
    return equation, operands


_Labels = tuple[str, ...]


@lru_cache(1024)
def _parse(equation: str, dims: tuple[int, ...]) -> tuple[tuple[_Labels, ...], _Labels]:
    """Labels per operand and of the output; the dimensions of "..." are labelled "0", "1", ... from the right."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(dims):
        raise RuntimeError(f"einsum(): {'fewer' if len(terms) > len(dims) else 'more'} operands were provided than specified in the "
                           "equation")
    inputs = []
    widest = 0
    for position, (term, ndim) in enumerate(zip(terms, dims, strict=True)):
        labels = _labels(term)
        named = [label for label in labels if label != "..."]
        extra = ndim - len(named)
        if "..." in labels:
            if extra < 0:
                raise RuntimeError(f"einsum(): the number of subscripts in the equation ({len(named)}) is more than the number of "
                                   f"dimensions ({ndim}) for operand {position}")
            widest = max(widest, extra)
            at = labels.index("...")
            labels[at:at + 1] = [str(i) for i in range(extra - 1, -1, -1)]
        elif extra:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({len(named)}) does not match the number of dimensions "
                               f"({ndim}) for operand {position}" + (" and no ellipsis was given" if extra > 0 else ""))
        inputs.append(tuple(labels))
    ellipsis = [str(i) for i in range(widest - 1, -1, -1)]
    if arrow:
        output = _labels(right)
        if "..." in output:
            at = output.index("...")
            output[at:at + 1] = ellipsis
        for label in output:
            if output.count(label) > 1:
                raise RuntimeError(f"einsum(): output subscript {label} appears more than once in the output")
            if not any(label in labels for labels in inputs):
                raise RuntimeError(f"einsum(): output subscript {label} does not appear in the equation for any input operand")
    else:
        everything = [label for labels in inputs for label in labels]
        output = ellipsis + sorted(label for label in set(everything) if everything.count(label) == 1 and not label.isdigit())
    return tuple(inputs), tuple(output)


def _labels(term: str) -> list[str]:
    labels: list[str] = []
    i = 0
    while i < len(term):
        if term.startswith("...", i):
            if "..." in labels:
                raise RuntimeError("einsum(): found '.' for operand for which an ellipsis was already found")
            labels.append("...")
            i += 3
            continue
        if not term[i].isalpha():
            raise RuntimeError(f"einsum(): invalid subscript given at index {i} in the equation string, subscripts must be in [a-zA-Z]")
        labels.append(term[i])
        i += 1
    return labels


def _check_sizes(inputs: tuple[_Labels, ...], operands: list[Any]) -> None:
    """One label has one size everywhere, or 1."""
    sizes: dict[str, int] = {}
    for position, (labels, operand) in enumerate(zip(inputs, operands, strict=True)):
        for label, size in zip(labels, operand._a.shape, strict=True):
            have = sizes.get(label, 1)
            if have != size and have != 1 and size != 1:
                raise RuntimeError(f"einsum(): subscript {label} has size {size} for operand {position} which does not broadcast with "
                                   f"previously seen size {have}")
            sizes[label] = size if have == 1 else have


def _contract(inputs: tuple[_Labels, ...], output: _Labels, operands: list[Any]) -> Tensor:
    if len(operands) == 2:
        direct = _direct(inputs[0], operands[0]._a.shape, inputs[1], operands[1]._a.shape, output)
        if direct is not None:
            r = _multiply(direct[0], *operands)
            return r if direct[1] is None else permute(r, direct[1])
    _check_sizes(inputs, operands)
    tensors = []
    for labels, operand in zip(inputs, operands, strict=True):
        tensors.append(_diagonals(labels, operand) if len(set(labels)) < len(labels) else (labels, operand))
    # Sum away at once what only one operand has; then multiply from left to right.
    for i, (labels, t) in enumerate(tensors):
        others = {label for j, (ls, _) in enumerate(tensors) if j != i for label in ls}
        tensors[i] = _summed(labels, t, others.union(output))
    labels, result = tensors[0]
    for i in range(1, len(tensors)):
        later = frozenset(output).union(*[ls for ls, _ in tensors[i + 1:]])
        labels_b, other = tensors[i]
        labels, result = _pair(labels, result, labels_b, other, later)
    labels, result = _summed(labels, result, set(output))
    if labels != output:
        result = result.permute([labels.index(label) for label in output])
    return result


def _diagonals(labels: _Labels, t: Tensor) -> tuple[_Labels, Tensor]:
    """Repeated labels of one operand: its diagonal."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if t._a.shape[first] != t._a.shape[second]:
                raise RuntimeError(f"einsum(): subscript {label} is repeated for operand but the sizes don't match, {t._a.shape[second]} "
                                   f"!= {t._a.shape[first]}")
            t = t.diagonal(0, first, second)
            labels = (*[x for i, x in enumerate(labels) if i not in (first, second)], label)
    return labels, t


def _summed(labels: _Labels, t: Tensor, keep: set[str] | frozenset[str]) -> tuple[_Labels, Tensor]:
    gone = [i for i, label in enumerate(labels) if label not in keep]
    if not gone:
        return labels, t
    return tuple([label for label in labels if label in keep]), t.sum(gone)


class _Product(NamedTuple):
    """How two operands become matrices, batches of them, or factors, and what their product is. What changes nothing is None."""

    function: Callable[[Tensor, Tensor], Tensor]
    left: tuple[Any, Any]       # (permutation, shape)
    right: tuple[Any, Any]
    shape: list[int] | None
    labels: _Labels


@lru_cache(1024)
def _product(la: _Labels, shape_a: tuple[int, ...], lb: _Labels, shape_b: tuple[int, ...], later: frozenset[str]) -> _Product:
    """Labels of both that are needed later are a batch, the others of both are summed; without such, factors are multiplied."""
    shared = [x for x in la if x in lb]
    batch, inner = [x for x in shared if x in later], [x for x in shared if x not in later]
    free_a, free_b = [x for x in la if x not in shared], [x for x in lb if x not in shared]
    sizes = dict(zip(lb + la, shape_b + shape_a, strict=True))

    def arranged(labels: _Labels, parts: list[list[str]], shape: list[int]) -> tuple[Any, Any]:
        order = [labels.index(x) for part in parts for x in part]
        return None if order == sorted(order) else order, None if [sizes[labels[i]] for i in order] == shape else shape

    def matrix(labels: _Labels, *parts: list[str]) -> tuple[Any, Any]:
        return arranged(labels, list(parts), [math.prod([sizes[x] for x in part]) for part in (parts if batch else parts[1:])])
    labels = (*batch, *free_a, *free_b)
    if not inner:
        left, right = [sizes[x] for x in batch
                       + free_a] + [1] * len(free_b), [sizes[x] for x in batch] + [1] * len(free_a) + [sizes[x] for x in free_b]
        return _Product(mul, arranged(la, [batch, free_a], left), arranged(lb, [batch, free_b], right if batch else right[len(free_a):]),
                        None, labels)
    whole = len(free_a) == len(free_b) == 1 and len(batch) < 2
    return _Product(bmm if batch else mm, matrix(la, batch, free_a, inner), matrix(lb, batch, inner, free_b),
                    None if whole else [sizes[x] for x in labels], labels)


def _multiply(plan: _Product, a: Tensor, b: Tensor) -> Tensor:
    r = plan.function(_arranged(a, *plan.left), _arranged(b, *plan.right))
    return r if plan.shape is None else reshape(r, plan.shape)


def _arranged(t: Tensor, order: list[int] | None, shape: list[int] | None) -> Tensor:
    """The operand as a factor: always a view where there are gradients, which are those of its memory even if the tensor gets another
    later."""
    if order is not None or shape is None and t._node is not None:
        t = permute(t, tuple(range(t._a.ndim)) if order is None else order)
    return t if shape is None else reshape(t, shape)


def _pair(la: _Labels, a: Tensor, lb: _Labels, b: Tensor, later: frozenset[str]) -> tuple[_Labels, Tensor]:
    """Contract two operands."""
    # A broadcast dimension (size 1 against n) can't be part of the product: it is left to the side that has it in full.
    for label in [x for x in la if x in lb]:
        i, j = la.index(label), lb.index(label)
        if a._a.shape[i] != b._a.shape[j]:
            if a._a.shape[i] == 1:
                a, la = a.squeeze(i), tuple([x for x in la if x != label])
            else:
                b, lb = b.squeeze(j), tuple([x for x in lb if x != label])
    la, a = _summed(la, a, later.union(lb))
    lb, b = _summed(lb, b, later.union(la))
    plan = _product(la, a._a.shape, lb, b._a.shape, later)
    return plan.labels, _multiply(plan, a, b)


@lru_cache(1024)
def _direct(la: _Labels, shape_a: tuple[int, ...], lb: _Labels, shape_b: tuple[int, ...], output: _Labels) -> tuple[_Product, Any] | None:
    """(the product, the permutation after it or None) of two operands that are one product as they are; None for others."""
    sizes, wanted = dict(zip(la, shape_a, strict=True)), set(output)
    if len(sizes) < len(la) or len(set(lb)) < len(lb) or any(sizes.get(x, n) != n for x, n in zip(lb, shape_b, strict=True)):
        return None
    if not set(la) ^ set(lb) <= wanted:
        return None
    plan = _product(la, shape_a, lb, shape_b, frozenset(output))
    return plan, None if plan.labels == output else [plan.labels.index(x) for x in output]


export(einsum)
