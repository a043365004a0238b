"""What a model does with an input: one run, recorded as steps with their modules, their shapes and what each takes from which.

`rushlight.show` draws it, and TensorBoard's ``add_graph`` writes it. Nothing is traced or compiled: hooks say which module runs, and a
`TorchFunctionMode` sees each torch function, so that a model with branches shows the way that this input took.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..autograd.grad_mode import no_grad
from ..nn.modules.module import Module
from ..overrides import TorchFunctionMode
from ..tensor import Tensor
from ..utils._pytree import tree_iter
from ..vocabulary import Function, Shape

__all__ = ["Recording", "Scope", "Step", "record"]


@dataclass(frozen=True)
class Scope:
    """A module on the way from the model to a step: its path ("" for the model), its class, and what stands in its brackets."""

    path: str
    kind: str
    details: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


@dataclass
class Step:
    """One input, parameter, function or output. `sources` are the numbers of the steps that it takes from; `shapes` those of its
    results."""

    kind: str                                    # "input", "parameter", "function", "output"
    name: str
    scopes: tuple[Scope, ...]
    sources: list[int]
    shapes: list[Shape] = field(default_factory=list)


@dataclass
class Recording:
    """The steps in the order in which they ran; what leads to no output is left out."""

    model: str
    steps: list[Step]


class _Recorder(TorchFunctionMode):
    """Notes each function of torch that is called, under the modules that are running."""

    def __init__(self, model: Module) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.scopes: list[Scope] = []
        self.made_by: dict[int, int] = {}            # id of a tensor -> number of the step that made it
        self.kept: list[Tensor] = []                 # ids are only good while the tensors live
        self.owned: dict[int, tuple[str, tuple[Scope, ...]]] = {}
        for path, module in model.named_modules():
            scopes = tuple(_scope(model, part) for part in _prefixes(path))
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                self.owned.setdefault(id(tensor), (name, scopes))

    def add(self, step: Step, made: Sequence[Tensor]) -> None:
        """A step and the tensors that come out of it."""
        self.steps.append(step)
        step.shapes = [tuple(tensor.shape) for tensor in made]
        for tensor in made:
            self.made_by[id(tensor)] = len(self.steps) - 1
            self.kept.append(tensor)

    def source(self, tensor: Tensor) -> int | None:
        """The step that made a tensor; a parameter's is written down when it is first used, None for a constant."""
        if id(tensor) not in self.made_by and id(tensor) in self.owned:
            name, scopes = self.owned[id(tensor)]
            self.add(Step("parameter", name, scopes, []), [tensor])
        return self.made_by.get(id(tensor))

    def sources(self, values: object) -> list[int]:
        """The steps that made the tensors in a value, each once."""
        found = (self.source(tensor) for tensor in _tensors(values))
        return list(dict.fromkeys(number for number in found if number is not None))

    def __torch_function__(self, func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = list(_tensors(result))
        if result is None and args and isinstance(args[0], Tensor):      # x[i] = y: x is another one afterwards
            made = [args[0]]
        if made:
            self.add(Step("function", func.__name__.strip("_"), tuple(self.scopes), self.sources((args, kwargs))), made)
        return result


def record(model: Module, *inputs: Any) -> Recording:
    """Run ``model(*inputs)`` in eval mode without gradients, and tell what it did. Training mode and hooks are as before afterwards.

    Raises TypeError for what is no Module, and whatever the model raises.
    """
    if not isinstance(model, Module):
        raise TypeError(f"record(): argument 'model' must be a torch.nn.Module, not {type(model).__name__}")
    recorder = _Recorder(model)
    for tensor in _tensors(inputs):
        recorder.add(Step("input", f"input {len(recorder.steps) + 1}", (), []), [tensor])
    modes = [(module, module.training) for module in model.modules()]
    handles = [handle for path, module in model.named_modules() for handle in _watch(recorder, module, _scope(model, path))]
    try:
        with no_grad(), recorder:
            result = model.eval()(*inputs)
    finally:
        for module, training in modes:
            module.training = training
        for handle in handles:
            handle.remove()
    count = 0
    for tensor in _tensors(result):
        count += 1
        recorder.add(Step("output", f"output {count}", (), recorder.sources(tensor)), [tensor])
    return Recording(type(model).__name__, _leading_to_outputs(recorder.steps))


def _watch(recorder: _Recorder, module: Module, scope: Scope) -> list[Any]:
    """Hooks that say when a module begins and ends."""

    def begin(module: Module, args: object) -> None:
        recorder.scopes.append(scope)

    def end(module: Module, args: object, result: object) -> None:
        recorder.scopes.pop()

    return [module.register_forward_pre_hook(begin, prepend=True), module.register_forward_hook(end, always_call=True)]


def _scope(model: Module, path: str) -> Scope:
    module = model.get_submodule(path)
    return Scope(path, type(module).__name__, " ".join(module.extra_repr().split()))


def _prefixes(path: str) -> Iterator[str]:
    """The paths from the model down to this one: "", "a", "a.b"."""
    yield ""
    parts = path.split(".") if path else []
    yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _tensors(values: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_iter(values) if isinstance(leaf, Tensor))


def _leading_to_outputs(steps: list[Step]) -> list[Step]:
    """The steps that an output hangs on, and all inputs, numbered anew."""
    wanted = {number for number, step in enumerate(steps) if step.kind in ("input", "output")}
    for number in range(len(steps) - 1, -1, -1):
        if number in wanted:
            wanted.update(steps[number].sources)
    places = {old: new for new, old in enumerate(sorted(wanted))}
    kept = [steps[old] for old in sorted(wanted)]
    for step in kept:
        step.sources = [places[source] for source in step.sources]
    return kept
