"""``rushlight.show``: models and curves as pictures, for notebooks and files; and how tensors, modules and optimizers look in a
notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..nn.modules.module import Module
from .drawing import draw
from .html import html_form
from .recording import record
from .svg import Picture, curves

__all__ = ["show", "html_form", "record", "Picture"]


def show(what: Module | Mapping[str, Sequence[float]] | Sequence[float], *inputs: Any, title: str = "",
         logarithmic: bool = False) -> Picture:
    """A picture of a model or of curves; a notebook displays it, ``.save("model.svg")`` writes it.

    ``show(model, x)`` runs ``model(x)`` once, in eval mode and without gradients, and draws its modules and the functions between them with
    the shapes that flow (several inputs: ``show(model, x, y)``). ``show(losses)`` and ``show({"train": a, "test": b})`` draw curves, on a
    logarithmic axis if asked for. Raises TypeError for anything else, and whatever the model raises. PyTorch has no such function.
    """
    if isinstance(what, Module):
        if not inputs:
            raise TypeError("show(): a model needs an input to run with: show(model, torch.randn(1, 3, 32, 32))")
        return draw(record(what, *inputs), title or type(what).__name__)
    if inputs:
        raise TypeError(f"show(): inputs go with a torch.nn.Module, but the first argument is a {type(what).__name__}")
    if isinstance(what, Mapping):
        return curves({str(name): list(values) for name, values in what.items()}, title, logarithmic=logarithmic)
    if isinstance(what, str) or not hasattr(what, "__iter__"):
        raise TypeError(f"show(): argument 'what' must be a torch.nn.Module, numbers, or a dict of numbers, not {type(what).__name__}")
    return curves({"value": [float(each) for each in what]}, title, logarithmic=logarithmic)
