"""torch.einsum by transposes and matrix products, so that BLAS does the work and gradients follow."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .define import export

__all__ = ["einsum"]


def einsum(*args: Any) -> Tensor:
    """Sums of products in Einstein's notation: ``einsum("bij,bjk->bik", a, b)``, or with lists of numbers after each operand.

    "..." stands for dimensions that broadcast; a letter that occurs twice in one operand takes the diagonal; without "->" the
    letters that occur once, in alphabetical order, are kept.
    """
    if not args:
        raise ValueError("einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list")
    if isinstance(args[0], Tensor):
        equation, operands = _from_lists(args)
    else:
        equation, operands = args[0], list(args[1:])
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
    if not operands:
        raise ValueError("einsum(): must provide at least one operand")
    for position, operand in enumerate(operands):
        if not isinstance(operand, Tensor):
            raise TypeError(f"einsum(): operand {position} must be Tensor, not {type(operand).__name__}")
    inputs, output = _parse(equation, operands)
    return _contract(inputs, output, operands)


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


def _parse(equation: str, operands: list[Any]) -> tuple[list[list[str]], list[str]]:
    """Labels per operand and of the output; the dimensions of "..." are labelled "0", "1", ... from the right."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum(): {'fewer' if len(terms) > len(operands) else 'more'} operands were provided than specified in the equation")
    inputs = []
    widest = 0
    for position, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        labels = _labels(term)
        named = [label for label in labels if label != "..."]
        extra = operand._a.ndim - len(named)
        if "..." in labels:
            if extra < 0:
                raise RuntimeError(f"einsum(): the number of subscripts in the equation ({len(named)}) is more than the number of dimensions "
                                   f"({operand._a.ndim}) for operand {position}")
            widest = max(widest, extra)
            at = labels.index("...")
            labels[at:at + 1] = [str(i) for i in range(extra - 1, -1, -1)]
        elif extra:
            raise RuntimeError(f"einsum(): the number of subscripts in the equation ({len(named)}) does not match the number of dimensions "
                               f"({operand._a.ndim}) for operand {position}" + (" and no ellipsis was given" if extra > 0 else ""))
        inputs.append(labels)
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
    return inputs, output


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


def _sizes(inputs: list[list[str]], operands: list[Any]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for position, (labels, operand) in enumerate(zip(inputs, operands, strict=True)):
        for label, size in zip(labels, operand._a.shape, strict=True):
            have = sizes.get(label, 1)
            if have != size and have != 1 and size != 1:
                raise RuntimeError(f"einsum(): subscript {label} has size {size} for operand {position} which does not broadcast with previously "
                                   f"seen size {have}")
            sizes[label] = size if have == 1 else have
    return sizes


def _contract(inputs: list[list[str]], output: list[str], operands: list[Any]) -> Tensor:
    sizes = _sizes(inputs, operands)
    tensors = []
    for labels, operand in zip(inputs, operands, strict=True):
        tensors.append(_diagonals(list(labels), operand))
    # Sum away at once what only one operand has; then multiply from left to right.
    for i, (labels, t) in enumerate(tensors):
        others = {label for j, (ls, _) in enumerate(tensors) if j != i for label in ls} | set(output)
        tensors[i] = _summed(labels, t, others)
    labels, result = tensors[0]
    for i in range(1, len(tensors)):
        later = {label for ls, _ in tensors[i + 1:] for label in ls} | set(output)
        labels, result = _pair(labels, result, *tensors[i], later, sizes)
    labels, result = _summed(labels, result, set(output))
    if labels != output:
        result = result.permute([labels.index(label) for label in output])
    return result


def _diagonals(labels: list[str], t: Tensor) -> tuple[list[str], Tensor]:
    """Repeated labels of one operand: its diagonal."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if t._a.shape[first] != t._a.shape[second]:
                raise RuntimeError(f"einsum(): subscript {label} is repeated for operand but the sizes don't match, {t._a.shape[second]} != "
                                   f"{t._a.shape[first]}")
            t = t.diagonal(0, first, second)
            labels = [x for i, x in enumerate(labels) if i not in (first, second)] + [label]
    return labels, t


def _summed(labels: list[str], t: Tensor, keep: set[str]) -> tuple[list[str], Tensor]:
    gone = [i for i, label in enumerate(labels) if label not in keep]
    if not gone:
        return labels, t
    return [label for label in labels if label in keep], t.sum(gone)


def _pair(la: list[str], a: Tensor, lb: list[str], b: Tensor, later: set[str], sizes: dict[str, int]) -> tuple[list[str], Tensor]:
    """Contract two operands: labels of both that are needed later are a batch, the others of both are summed."""
    # A broadcast dimension (size 1 against n) can't be part of the product: it is left to the side that has it in full.
    for label in [x for x in la if x in lb]:
        i, j = la.index(label), lb.index(label)
        if a._a.shape[i] != b._a.shape[j]:
            if a._a.shape[i] == 1:
                a, la = a.squeeze(i), [x for x in la if x != label]
            else:
                b, lb = b.squeeze(j), [x for x in lb if x != label]
    la, a = _summed(la, a, later | set(lb))
    lb, b = _summed(lb, b, later | set(la))
    shared = [x for x in la if x in lb]
    batch = [x for x in shared if x in later]
    inner = [x for x in shared if x not in later]
    free_a, free_b = [x for x in la if x not in shared], [x for x in lb if x not in shared]
    if not inner:
        return _outer(la, a, lb, b, batch, free_a, free_b)
    size_a, size_b = dict(zip(la, a._a.shape, strict=True)), dict(zip(lb, b._a.shape, strict=True))
    n_batch, n_inner = _count(size_a, batch), _count(size_a, inner)
    left = a.permute([la.index(x) for x in batch + free_a + inner]).reshape(n_batch, _count(size_a, free_a), n_inner)
    right = b.permute([lb.index(x) for x in batch + inner + free_b]).reshape(n_batch, n_inner, _count(size_b, free_b))
    r = left.bmm(right) if batch else left.squeeze(0).mm(right.squeeze(0))
    shape = [size_a[x] for x in batch] + [size_a[x] for x in free_a] + [size_b[x] for x in free_b]
    return batch + free_a + free_b, r.reshape(shape)


def _count(sizes: dict[str, int], labels: list[str]) -> int:
    n = 1
    for label in labels:
        n *= sizes[label]
    return n


def _outer(la: list[str], a: Tensor, lb: list[str], b: Tensor, batch: list[str], free_a: list[str], free_b: list[str]) -> Any:
    """Nothing to sum: an elementwise product with broadcasting."""
    a = a.permute([la.index(x) for x in batch + free_a])
    b = b.permute([lb.index(x) for x in batch + free_b])
    a = a.reshape(list(a._a.shape) + [1] * len(free_b))
    b = b.reshape(list(b._a.shape[:len(batch)]) + [1] * len(free_a) + list(b._a.shape[len(batch):]))
    return batch + free_a + free_b, a * b


export(einsum)
