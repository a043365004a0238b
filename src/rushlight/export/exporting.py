"""`export`: a module's run, at one or several sizes of its inputs, as an `ExportedProgram`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from .._dynamo.exc import UserError, UserErrorType
from ..autograd.grad_mode import no_grad
from ..nn.modules.module import Module
from ..ops.registry import FUNCTIONS
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from .building import Program
from .comparing import Comparison, Different, violated
from .dynamic_shapes import Symbol, assigned, int_oo
from .exported_program import ExportedProgram
from .sizes import Expr, constant, symbol, symbol_name
from .tracing import Ref, Run

__all__ = ["Exporter", "export"]


def export(mod: Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *, dynamic_shapes: Any = None, strict: bool = False,
           preserve_module_call_signature: tuple[str, ...] = (),
           prefer_deferred_runtime_asserts_over_guards: bool = False) -> ExportedProgram:
    """The operators that a module calls on these inputs, as a program that runs without the module's code.

    dynamic_shapes  which sizes of the inputs may change: by argument (a dict by name, or a tuple), for each tensor a dict of dimensions
                    (``{0: Dim("batch")}``, Dim.AUTO, Dim.DYNAMIC) or a list; None: all sizes are fixed

    The module runs on the example, without gradients, and where sizes may change, at a few more sizes; its parameters, buffers and the
    random state are as before afterwards. UserError where the program's course depends on a size that should change,
    GuardOnDataDependentSymNode where it depends on values.
    """
    if not isinstance(mod, Module):
        raise ValueError(f"Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod)}.")
    if strict or preserve_module_call_signature or prefer_deferred_runtime_asserts_over_guards:
        raise NotSupported("torch.export.export(strict=True, preserve_module_call_signature, prefer_deferred_runtime_asserts_over_guards) "
                           "is not supported by rushlight: programs are captured by running them, as with strict=False")
    if not isinstance(args, tuple):
        raise UserError(UserErrorType.INVALID_INPUT, f"Expecting `args` to be a tuple of example positional inputs, got {type(args)}")
    return Exporter(mod, args, kwargs or {}, dynamic_shapes, sys._getframe(1)).program()


class Exporter:
    """One call of `export`."""

    def __init__(self, mod: Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any, limit: Any) -> None:
        self.mod, self.args, self.kwargs, self.limit = mod, args, kwargs, limit
        self.whole = True            # composite functions stay as they are
        self.leaves, self.spec = pytree.tree_flatten((args, kwargs))
        self.shapes, self.symbols = assigned(mod, args, kwargs, dynamic_shapes, symbol_name)
        self.state = dict([*_unique(mod.named_parameters()), *_unique(mod.named_buffers())])
        self.names = {id(value): Ref("state", name) for name, value in self.state.items()}
        self.names.update({id(value): Ref("constant", name) for name, value in _attributes(mod) if id(value) not in self.names})

    def program(self) -> ExportedProgram:
        """The exported program."""
        example = {each.name: each.example for each in self.symbols}
        base = self.run(example)
        self.settle(base, example)
        envs, runs = [example], [base]
        for env in _samples(self.symbols):
            try:
                runs.append(self.run(env))
            except (NotSupported, UserError):
                raise
            except (RuntimeError, ValueError, IndexError, AssertionError) as error:
                raise self.failed(base, example, env, error) from error
            envs.append(env)
        found = Comparison(runs, envs, self.shapes, self.symbols)
        try:
            found.align()
        except Different as error:
            raise self.failed(base, example, envs[error.run], error) from error
        found.check()
        return Program(self.mod, base, found, self.leaves, self.spec, (self.args, self.kwargs), self.state).build()

    def failed(self, base: Run, example: dict[str, int], env: dict[str, int], why: Exception) -> UserError:
        """The error of a size that can't change as it should: alone, or by itself."""
        changed = [each for each in self.symbols if env[each.name] != example[each.name]]
        for one in changed:
            for other in self.symbols:
                if other is not one and other.example == one.example and self.varies(base, example, [one, other]) is None:
                    return UserError(UserErrorType.CONSTRAINT_VIOLATION,
                                     f"Constraints violated ({other.label})! For more information, run with TORCH_LOGS=\"+dynamic\".\n"
                                     f"  - The values of {other.label} = {other.source} and {one.label} = {one.source} must always be "
                                     "equal.\nSuggested fixes:\n"
                                     f"  {other.label} = {one.label}")
        return violated(self.symbols, env, example, why)

    # --- runs -------------------------------------------------------------------------------------------------------------------------

    def run(self, env: dict[str, int]) -> Run:
        """The module's run at some sizes. The module is as before afterwards."""
        leaves = [_sized(each, [e.at(env) for e in sizes]) if isinstance(each, Tensor) else each
                  for each, sizes in zip(self.leaves, self.shapes, strict=True)]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        saved = {name: value.detach().clone() for name, value in self.state.items() if not value.requires_grad
                 or name not in dict(self.mod.named_parameters())}
        versions = {name: value._version for name, value in self.state.items()}
        attributes = [(module, dict(module._buffers)) for module in self.mod.modules()]
        random = get_rng_state()
        run = Run(self.names, leaves, self.limit)
        run.whole = self.whole
        try:
            run.collect(self.mod, lambda: self.call(run, args, kwargs))
            run.assigned = {name: value for name, value in self.mod.named_buffers() if self.state.get(name) is not value}  # type: ignore[attr-defined]
        finally:
            self.restore(saved, versions, attributes)
            set_rng_state(random)
        return run

    def call(self, run: Run, args: Any, kwargs: Any) -> Any:
        """What is run."""
        return self.mod(*args, **kwargs)

    def restore(self, saved: dict[str, Tensor], versions: dict[str, int], attributes: list[Any]) -> None:
        """Undo what a run changed in parameters and buffers."""
        for module, buffers in attributes:
            module._buffers.clear()
            module._buffers.update(buffers)
        with no_grad():
            for name, value in self.state.items():
                if value._version != versions[name]:
                    if name not in saved:
                        raise NotSupported(f"torch.export: the program writes into the parameter {name}; make it a buffer")
                    value.copy_(saved[name])

    # --- Dim.AUTO ---------------------------------------------------------------------------------------------------------------------

    def settle(self, base: Run, example: dict[str, int]) -> None:
        """Find which sizes marked with a hint are one size, and for Dim.AUTO which are fixed."""
        for each in list(self.symbols):
            if each.named or each not in self.symbols or self.varies(base, example, [each]) is None:
                continue
            partners = [other for other in self.symbols if other is not each and other.example == each.example]
            partner = next((other for other in partners if self.varies(base, example, [each, other]) is None), None)
            if partner is not None:
                self.replace(each, symbol(partner.name), partner)
                example.clear()
                example.update({one.name: one.example for one in self.symbols})
            elif each.dim.type.name == "AUTO":
                self.replace(each, constant(each.example), None)
            else:
                raise violated([each], {each.name: -1}, example, None)

    def varies(self, base: Run, example: dict[str, int], changed: list[Symbol]) -> Exception | None:
        """Why the program is another one when these sizes change; None where it is the same."""
        for env in _samples(changed):
            full = {**example, **env, **({} if len(changed) == 1
                                         else dict.fromkeys([each.name for each in changed], next(iter(env.values()))))}
            try:
                Comparison([base, self.run(full)], [example, full], self.shapes, self.symbols).align()
            except (Different, RuntimeError, ValueError, IndexError, AssertionError) as error:
                return error
        return None

    def replace(self, one: Symbol, by: Expr, other: Symbol | None) -> None:
        """Let a size be another one, or a number."""
        self.shapes = [None if sizes is None else [by if each.name == one.name else each for each in sizes] for sizes in self.shapes]
        if other is not None:
            other.lower, other.upper = max(one.lower,
                                           other.lower), min((one.upper, other.upper), key=lambda n: float("inf") if n is int_oo else n)
            if self.symbols.index(one) > self.symbols.index(other):
                old, other.name = other.name, one.name
                self.shapes = [None if sizes is None else [each.renamed(old, one.name) for each in sizes] for sizes in self.shapes]
        self.symbols.remove(one)


def _unique(pairs: Iterable[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in pairs if value is not None]


def _attributes(mod: Module) -> list[tuple[str, Tensor]]:
    """The tensors that modules hold as plain attributes."""
    return [(f"{path}.{name}" if path else name, value) for path, module in mod.named_modules() for name, value in vars(module).items()
            if isinstance(value, Tensor)]


def _samples(symbols: list[Symbol]) -> list[dict[str, int]]:
    """Assignments at which to run the program besides the example: each symbol by itself, then all, in its range."""
    example = {each.name: each.example for each in symbols}
    found = [{**example, each.name: _other(each, step)} for each in symbols for step in (1, 2)]
    if len(symbols) > 1:
        found += [{each.name: _other(each, step + i) for i, each in enumerate(symbols)} for step in (1, 3, 5)]
    elif symbols:
        found.append({symbols[0].name: _other(symbols[0], 5)})
    return [each for i, each in enumerate(found) if each != example and each not in found[:i]]


def _other(each: Symbol, step: int) -> int:
    """Another size in the range, above the example where there is room."""
    lower = max(each.lower, 2)
    if each.upper is int_oo:
        return each.example + step
    count = each.upper - lower + 1
    return lower + (each.example - lower + step) % count


def _sized(x: Tensor, sizes: list[int]) -> Tensor:
    """A tensor of other sizes with values of x, which repeat."""
    found = x.detach()
    for dim, n in enumerate(sizes):
        have = int(found._a.shape[dim])
        if have != n:
            found = FUNCTIONS["index_select"](found, dim, FUNCTIONS["arange"](n, device=x.device) % max(have, 1))
    found = found.clone() if all(a == b for a, b in zip(x._a.shape, sizes, strict=True)) else found
    return found.requires_grad_(x.requires_grad) if x.is_floating_point() and x.requires_grad else found


