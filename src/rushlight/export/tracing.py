"""One run of a program, as the list of the operators of aten that it called."""

from __future__ import annotations

import gc
import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .._dynamo.exc import UserError, UserErrorType
from ..autograd import engine
from ..autograd.grad_mode import no_grad
from ..dispatching.modes import TorchDispatchMode, flat
from ..fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from ..nn.modules.module import Module, register_module_forward_hook, register_module_forward_pre_hook
from ..ops import aten as A
from ..ops.interception import intercept, release
from ..overrides import TorchFunctionMode
from ..settings import typename
from ..size import Size
from ..tensor import Tensor
from ..unsupported import NotSupported
from ..utils import _pytree as pytree
from .recording import Recording

__all__ = ["Call", "Meta", "Question", "Ref", "Run", "TracedSize", "line_of_user", "stack_of_user"]

_ROOT = str(Path(__file__).resolve().parent.parent)
_ENGINE: Any = engine.run


class Ref(NamedTuple):
    """Where a tensor comes from: ("in", leaf), ("state", name of a parameter or buffer), ("constant", name), ("call", number, part or
    None)."""

    kind: str
    key: Any
    part: int | None = None


class Call:
    """An operator that was called: its arguments with a `Ref` for each tensor, what it gave, the lines of the user's program and the
    modules that ran."""

    __slots__ = ("op", "args", "kwargs", "results", "many", "stack", "modules")

    def __init__(self, op: Any, args: Any, kwargs: Any, stack: str, modules: dict[str, tuple[str, str]]) -> None:
        self.op, self.args, self.kwargs, self.stack, self.modules = op, args, kwargs, stack, modules
        self.results: list[Any] = []
        self.many = False


class Question(NamedTuple):
    """A comparison of sizes that the program made, its answer, and where."""

    op: str
    left: int
    right: int
    answer: bool
    line: str


def _frames() -> Iterator[Any]:
    frame: Any = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_ROOT, "<")):
            yield frame
        frame = frame.f_back


def _text(frame: Any) -> str:
    name, number = frame.f_code.co_filename, frame.f_lineno
    return f'File "{name}", line {number}, in {frame.f_code.co_name}\n    {linecache.getline(name, number).strip()}'


def line_of_user() -> str:
    """The line of the user's program that runs now, as a traceback writes it."""
    frame = next(_frames(), None)
    return "an unknown line" if frame is None else _text(frame)


def stack_of_user(limit: Any) -> str:
    """The lines of the user's program from where `limit`, the caller of the export, called it."""
    found = []
    for frame in _frames():
        if frame is limit:
            break
        found.append(_text(frame))
    return "\n  ".join(reversed(found))


# --- sizes that the program reads ---------------------------------------------------------------------------------------------------------

class TracedSize(int):
    """A size that the program read. Comparisons with it are noted, and what is computed from it is one, too."""

    run: Run

    def __new__(cls, value: int, run: Run) -> TracedSize:
        found = super().__new__(cls, value)
        found.run = run
        return found

    __hash__ = int.__hash__


def _arithmetic(name: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def call(self: TracedSize, *other: Any) -> Any:
        value = plain(self, *other)
        return TracedSize(value, self.run) if type(value) is int else value
    return call


def _comparison(name: str) -> Callable[..., Any]:
    plain, word = getattr(int, name), {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[name.strip("_")]

    def call(self: TracedSize, other: Any) -> Any:
        answer = plain(self, other)
        if answer is not NotImplemented:
            self.run.questions.append(Question(word, int(self), int(other), answer, line_of_user()))
        return answer
    return call


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "rfloordiv", "mod", "rmod", "neg"):
    setattr(TracedSize, f"__{_name}__", _arithmetic(f"__{_name}__"))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(TracedSize, f"__{_name}__", _comparison(f"__{_name}__"))


def _plain(value: Any) -> Any:
    """A number of its own for a size; containers of them copied."""
    if isinstance(value, TracedSize):
        return int(value)
    if type(value) in (list, tuple, Size):
        return type(value)([_plain(each) for each in value])
    if type(value) is dict:
        return {key: _plain(each) for key, each in value.items()}
    if type(value) is slice:
        return slice(_plain(value.start), _plain(value.stop), _plain(value.step))
    return value


_VALUES = {"item": "item()", "tolist": "tolist()", "numpy": "numpy()", "__int__": "int()", "__float__": "float()", "__index__": "an index",
           "__complex__": "complex()", "__array__": "numpy"}


class _Outside(TorchFunctionMode):
    """What the program does that is no operator: it reads sizes and asks for values."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__bool__" and self.run.depends(args[0]):
            raise GuardOnDataDependentSymNode(func, "Could not guard on data-dependent expression: the program branches on the values of "
                                                    "a tensor; use torch.where, or "
                                              f"split the model there.\n\nThe following call raised this error:\n  {line_of_user()}\n")
        if name in _VALUES and args and self.run.depends(args[0]):
            raise NotSupported(f"torch.export: the program asks for the value of a tensor ({_VALUES[name]}), which rushlight can't put "
                               f"into a graph: compute with the tensor itself.\n  {line_of_user()}")
        result = func(*_plain(args), **_plain(kwargs or {}))
        if name in ("size", "numel", "nelement") or (name == "__get__" and func.__self__ is _SHAPE):
            return self.run.size(result)
        return result


_SHAPE: Any = vars(Tensor)["shape"]


# --- a run ------------------------------------------------------------------------------------------------------------------------------

class Run(TorchDispatchMode):
    """One run of a module on `leaves` (the inputs, taken apart), without gradients.

    `names`: id -> (kind, name) of parameters, buffers and constants. What the run changes in them is undone by `restore`.
    """

    whole = True

    def __init__(self, names: dict[int, Ref], leaves: list[Any], limit: Any) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.questions: list[Question] = []
        self.refs: dict[int, tuple[Ref, Tensor]] = {}
        self.constants: dict[str, Tensor] = {}
        self.free: set[int] = set()              # ids of tensors whose values follow from nothing that was given
        self.modules: list[tuple[str, str, str]] = []
        self.origin: Any = None           # what is known of the node that runs, where a graph is run
        self.entered: dict[str | None, int] = {}          # how often each module was called
        self.names, self.limit, self.result = names, limit, None
        self.recording = Recording()
        self.unrecorded: set[int] = set()        # ids of tensors that were computed where the program records no gradients
        self.leaves = leaves
        for i, each in enumerate(leaves):
            if isinstance(each, Tensor):
                self.refs[id(each)] = Ref("in", i), each
        self.before = {id(each): each for each in gc.get_objects() if issubclass(type(each), Tensor)}

    def collect(self, mod: Module, call: Callable[[], Any]) -> None:
        """Run it."""
        paths = {id(each): name for name, each in reversed(list(mod.named_modules(remove_duplicate=False)))}
        handles = [register_module_forward_pre_hook(lambda each, _: self._enter(paths, each)),
                   register_module_forward_hook(lambda *_: self._leave())]
        intercept(_ENGINE, "overrides", _no_backward)
        try:
            with no_grad(), _Outside(self), self, self.recording:
                self.result = pytree.tree_map(_plain, call())
        finally:
            release(_ENGINE, "overrides")
            for each in handles:
                each.remove()

    def _enter(self, paths: dict[int, str], module: Module) -> None:
        path = paths.get(id(module))
        count = self.entered[path] = self.entered.get(path, -1) + 1
        key = f"L__self__{(path or '').replace('.', '_')}" + (f"@{count}" if count else "")
        self.modules.append((key, path if path is not None else self.modules[-1][1], typename(module)))

    def _leave(self) -> None:
        self.modules.pop()

    def depends(self, x: Any) -> bool:
        """Whether a tensor's values follow from something that was given."""
        return isinstance(x, Tensor) and id(x) in self.refs and id(x) not in self.free

    def size(self, n: Any) -> Any:
        """A size, or a shape, as the program sees it."""
        if isinstance(n, tuple):
            return tuple.__new__(Size, [TracedSize(int(each), self) for each in n])
        return TracedSize(int(n), self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = _plain(tuple(args)), _plain(dict(kwargs or {}))
        if func._opname == "sym_size":
            return self.size(func(*args, **kwargs))
        if func._opname == "lift_fresh":
            return self._lifted(args[0])
        if func._opname == "_local_scalar_dense":
            return func(*args, **kwargs)
        stack, modules = stack_of_user(self.limit), {key: (path, kind) for key, path, kind in self.modules}
        if self.origin is not None:
            stack, modules = self.origin.get("stack_trace") or "", self.origin.get("nn_module_stack") or {}
        call = Call(func, (), {}, stack, modules)
        cut: set[int] = set()
        call.args, call.kwargs = pytree.tree_map(lambda each: self._argument(call, each, cut), (tuple(args), kwargs))
        given = [each for each in flat((args, kwargs)) if isinstance(each, Tensor)]
        free = all(id(each) in self.free for each in given) and func._opname not in _RANDOM
        result = func(*args, **kwargs)
        self.calls.append(call)
        self._note(call, result, free, cut)
        return result

    def _argument(self, call: Call, value: Any, cut: set[int]) -> Any:
        """What stands for an argument: where the program records no gradients, the tensor without its own (`cut` gets its id)."""
        ref = self.reference(value)
        if self.recording.on or not isinstance(value, Tensor) or call.op is A.detach.default or not self._recorded(ref, value):
            return ref
        apart = Call(A.detach.default, (ref,), {}, call.stack, call.modules)
        apart.results = [Meta(value)]
        self.calls.append(apart)
        cut.add(id(value))
        return Ref("call", len(self.calls) - 1)

    def _recorded(self, ref: Ref, value: Tensor) -> bool:
        """Whether gradients may flow to a tensor when the program runs."""
        if not (value.is_floating_point() or value.is_complex()) or ref.kind == "constant" or id(value) in self.unrecorded:
            return False
        return ref.kind != "state" or value.requires_grad

    def _note(self, call: Call, result: Any, free: bool, cut: set[int]) -> None:
        call.many = isinstance(result, (list, tuple))
        call.results = list(result) if call.many else [result]
        for i, each in enumerate(call.results):
            if isinstance(each, Tensor):
                if id(each) not in cut:             # what is written in place without gradients keeps the ones that it had
                    self.refs[id(each)] = Ref("call", len(self.calls) - 1, i if call.many else None), each
                    (self.unrecorded.discard if self.recording.on else self.unrecorded.add)(id(each))
                if free:
                    self.free.add(id(each))
        call.results = [Meta(each) if isinstance(each, Tensor) else each for each in call.results]

    def reference(self, value: Any) -> Any:
        """What stands for an argument."""
        if not isinstance(value, Tensor):
            return value
        known = self.refs.get(id(value))
        if known is not None:
            return known[0]
        ref = self.names.get(id(value))
        if ref is None:
            if id(value) not in self.before:
                raise NotSupported("torch.export: the program uses a tensor that was made where the export does not see it (NumPy, a "
                                   f"custom Function, vmap, or {self.unseen or 'a function that is no operator of aten'}); make it by "
                                   f"other functions of torch.\n  {line_of_user()}")
            return self._constant(value)[0]
        self.refs[id(value)] = ref, value
        return ref

    def _constant(self, value: Tensor) -> tuple[Ref, Tensor]:
        name = f"lifted_tensor_{len(self.constants)}"
        self.constants[name] = value
        self.refs[id(value)] = Ref("constant", name), value
        return self.refs[id(value)]

    def _lifted(self, value: Tensor) -> Tensor:
        """A tensor of Python's numbers: a constant, of which each run gets a copy."""
        ref, _ = self._constant(value.clone())
        self.free.add(id(self.constants[ref.key]))
        return self.__torch_dispatch__(A.lift_fresh_copy.default, (), (self.constants[ref.key],))


class Meta:
    """A tensor's shape, strides and dtype, which is all that is kept of results."""

    __slots__ = ("shape", "strides", "dtype", "device")

    def __init__(self, x: Tensor) -> None:
        self.shape, self.strides, self.dtype, self.device = [int(n) for n in x._a.shape], tuple(x.stride()), x.dtype, x.device


_RANDOM = frozenset(("rand", "randn", "randint", "randperm", "bernoulli", "normal", "multinomial", "rand_like", "randn_like",
                     "randint_like"))


def _no_backward(inside: Any, args: Any, kwargs: Any) -> Any:
    raise UserError(UserErrorType.ANTI_PATTERN, "torch.export: backward passes are not exported; export the forward computation.\n  "
                                                f"{line_of_user()}")

