"""How tensors, modules and optimizers look in a notebook (``_repr_html_``). Everything that a program names is escaped.

In a plain terminal, IPython's included, there is no HTML: `html_form` gives None there, and the front end shows the text.
"""

from __future__ import annotations

import sys
from html import escape
from math import prod
from typing import Any

from .. import services
from ..nn.modules.module import Module
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from ..vocabulary import Shape

__all__ = ["html_form"]

_CELL = "padding:.15em .7em;text-align:left;border-bottom:1px solid rgba(128,128,128,.3)"
_TABLE = "border-collapse:collapse;font-size:.9em;margin:.3em 0"
_MOST_ROWS = 200


@services.html_of.given
def html_form(value: Tensor | Module | Optimizer) -> str | None:
    """The HTML of a tensor, a module or an optimizer; None in a terminal, where the text is shown."""
    if _in_terminal():
        return None
    if isinstance(value, Tensor):
        return _tensor(value)
    return _module(value) if isinstance(value, Module) else _optimizer(value)


def _in_terminal() -> bool:
    """Whether IPython runs in a terminal. Whoever else asks for HTML, a notebook or a generator of pages, wants it."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return type(running).__name__ == "TerminalInteractiveShell"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table of texts; what is beyond the most rows is counted."""
    left = len(rows) - _MOST_ROWS
    shown = rows[:_MOST_ROWS] + ([[f"… and {left} more"] + [""] * (len(head) - 1)] if left > 0 else [])
    lines = ["".join(f'<th style="{_CELL}">{escape(cell)}</th>' for cell in head)]
    lines += ["".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in row) for row in shown]
    return f'<table style="{_TABLE}">' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _fold(summary: str, inside: str, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{summary}</summary>{inside}</details>"


def _shape(shape: Shape) -> str:
    return " × ".join(map(str, shape)) or "scalar"


def _bytes(count: int) -> str:
    for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count} B"


def _name(value: object) -> str:
    return str(value).removeprefix("torch.")


def _tensor(tensor: Tensor) -> str:
    facts = [_shape(tuple(tensor.shape)), _name(tensor.dtype), str(tensor.device), _bytes(tensor.numel() * tensor.element_size())]
    if tensor.grad_fn is not None:
        facts.append(tensor.grad_fn.name())
    elif tensor.requires_grad:
        facts.append("requires grad")
    head = f"<b>{escape(type(tensor).__name__)}</b> " + escape(" · ".join(facts))
    return _fold(head, f"<pre>{escape(repr(tensor))}</pre>", tensor.numel() <= 64)


def _module(module: Module) -> str:
    parameters = list(module.named_parameters())
    count = sum(parameter.numel() for _, parameter in parameters)
    frozen = sum(parameter.numel() for _, parameter in parameters if not parameter.requires_grad)
    size = sum(each.numel() * each.element_size() for each in (*module.parameters(), *module.buffers()))
    facts = [f"{count:,} parameters", _bytes(size), "training" if module.training else "eval"]
    facts += [f"{frozen:,} frozen"] if frozen else []
    head = f"<b>{escape(type(module).__name__)}</b> " + escape(" · ".join(facts))
    rows = [[name, _shape(tuple(each.shape)), _name(each.dtype), f"{each.numel():,}", "yes" if each.requires_grad else "no"]
            for name, each in parameters]
    rows += [[name, _shape(tuple(each.shape)), _name(each.dtype), f"{each.numel():,}", "buffer"] for name, each in module.named_buffers()]
    inside = _table(["parameter", "shape", "dtype", "numbers", "gradient"], rows) if rows else ""
    return _fold(head, inside + _fold("modules", f"<pre>{escape(repr(module))}</pre>"))


def _optimizer(optimizer: Optimizer) -> str:
    groups = optimizer.param_groups
    count = sum(prod(each.shape) for group in groups for each in group["params"])
    head = f"<b>{escape(type(optimizer).__name__)}</b> {escape(f'{count:,} parameters · {len(groups)} group' + 's' * (len(groups) != 1))}"
    names = list(dict.fromkeys(name for group in groups for name in group if name != "params"))
    rows = [[name, *(_setting(group.get(name)) for group in groups)] for name in names]
    rows.insert(0, ["tensors", *(str(len(group["params"])) for group in groups)])
    return _fold(head, _table(["option", *(f"group {number}" for number in range(len(groups)))], rows))


def _setting(value: Any) -> str:
    """A setting as text; a long list (parameter names) by its length."""
    return f"{len(value)} names" if isinstance(value, list) and len(value) > 4 else str(value)
