"""What a lower floor asks of a higher one: functions that ops and the graph call, and that sparse tensors, vmap and overrides give.

A floor imports only what lies below it. Where an op meets something that only a higher floor understands (a sparse operand, a batched
one, a class with ``__torch_function__``), it calls a service from this list. The module that understands it says ``@sparse_form.given``
above its function; it is imported at the first call, if it was not before.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from .homes import place

__all__ = ["Service", "SERVICES"]

Given = TypeVar("Given", bound=Callable[..., Any])


class Service:
    """A function that `provider`, a module of a higher floor, gives."""

    __slots__ = ("provider", "function")

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.function: Callable[..., Any] | None = None
        SERVICES.append(self)

    def given(self, function: Given) -> Given:
        """Make this the function that is called (a decorator)."""
        self.function = function
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.function is None:
            import_module(place(self.provider))
        return self.function(*args, **kwargs)  # type: ignore[misc]


SERVICES: list[Service] = []

# sparse tensors
sparse_form = Service("sparse.tensor")              # (name, *args): the sparse form of a method
sparse_function = Service("sparse.tensor")          # (name, args, kwargs): that of a torch function
convert_sparse = Service("sparse.conversion")       # (input, kind, copy)
sparse_assign = Service("sparse.elementwise")       # (into, result): what in-place ops and out= end in
sparse_zeros = Service("sparse.creation")           # (size, kind, layout)
sparse_rows = Service("sparse.conversion")          # (indices, rows, values): a sparse matrix of these rows

# subclasses and modes
rescue = Service("overrides")                       # (function, args, kwargs, error)
default_torch_function = Service("overrides")       # (cls, func, types, args, kwargs)
wrapper_subclass = Service("dispatching.wrappers")  # Tensor._make_wrapper_subclass
watch_dispatch = Service("dispatching.modes")       # (): look for __torch_dispatch__ from now on
watch = Service("overrides")                        # (): look for __torch_function__ from now on

# notebooks
html_of = Service("notebook.html")             # (tensor, module or optimizer): its _repr_html_

# files
onnx_export = Service("onnx.exporting")             # torch.onnx.export
onnx_load = Service("onnx.importing")               # torch.onnx.load
save_file = Service("serialization")                # torch.save
load_file = Service("serialization")                # torch.load

# vmap
per_sample = Service("func.fallback")               # (function, args, kwargs, error): the op, run sample by sample
batched_gradients = Service("func.gradients")       # autograd.grad(..., is_grads_batched=True), its arguments checked
levels_of = Service("func.batched")                 # (array)
batched_getitem = Service("func.batched")           # (array, index)
put_level = Service("func.batched")                 # (array, level)
sum_level = Service("func.vmap")                    # (tensor, level)
node_by_sample = Service("func.fallback")           # (node, gradient, create_graph)
vmapped_function = Service("func.custom")           # (autograd function, args)
vmapped_operator = Service("func.custom")           # (rule, the operator's name, args, keyword arguments)
