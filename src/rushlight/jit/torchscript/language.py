"""The language of TorchScript archives, turned into closures.

Its text looks like Python and is read by Python's parser, but never compiled or run as Python: what is not listed here is refused while the
file is loaded. A function becomes a closure over closures, one for each expression and statement; they hand a *frame* to each other, a list
that begins with the value to return and goes on with the local variables.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Callable
from math import inf, nan
from typing import Any, Protocol

from ...devices import device
from ...futures import Future
from ...tensor import Tensor
from . import operators
from .values import Error, Holder, refused, type_of

__all__ = ["Body", "Code", "literal"]

Frame = list[Any]
Closure = Callable[[Frame], Any]
_RETURN, _BREAK, _CONTINUE = 1, 2, 3
_ROOTS = frozenset(("torch", "ops", "CONSTANTS", "__torch__"))
_NUMBERS = {"inf": inf, "nan": nan, "infj": complex(0, inf), "nanj": complex(0, nan)}
_COMPARISONS = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Is: "__is__",
                ast.IsNot: "__isnot__", ast.In: "__contains__"}
_ARITHMETIC = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.FloorDiv: "floordiv", ast.Mod: "remainder",
               ast.Pow: "pow", ast.MatMult: "matmul", ast.BitAnd: "__and__", ast.BitOr: "__or__", ast.BitXor: "__xor__",
               ast.LShift: "__lshift__", ast.RShift: "__rshift__"}


class Names(Protocol):
    """Where the names of an archive are looked up (`library.Library`)."""

    version: int

    def find(self, name: str) -> Any:
        """A class, function, enumeration or constant by its full name."""

    def constant(self, name: str) -> Any:
        """A constant of the archive."""


def dotted(node: ast.expr) -> str | None:
    """The full name that a chain of attributes spells from one of the language's roots; None for other expressions."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in _ROOTS:
        return None
    return ".".join((node.id, *reversed(parts)))


def text_of(value: str) -> str:
    """A string as it was meant: archives spell bytes of UTF-8 as characters."""
    if value.isascii():
        return value
    try:
        return value.encode("latin1").decode("utf8")
    except UnicodeError:
        return value


def literal(node: ast.expr, names: Names) -> Any:
    """The value of an expression that computes nothing: defaults and constants of classes. RuntimeError for others."""
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (int, float, complex, str))):
        return text_of(node.value) if isinstance(node.value, str) else node.value
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = literal(node.operand, names)
        if isinstance(value, (int, float, complex)):
            return -value
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [literal(each, names) for each in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return dict(zip([literal(each, names) for each in node.keys if each], [literal(each, names) for each in node.values], strict=True))
    name = dotted(node)
    if name is not None:
        found = names.constant(name) if name.startswith("CONSTANTS.") else names.find(name)
        if not callable(found):
            return found
    if isinstance(node, ast.Call) and not node.keywords:
        called = node.func.id if isinstance(node.func, ast.Name) else dotted(node.func)
        if called == "annotate" and len(node.args) == 2:
            return literal(node.args[1], names)
        if called == "torch.device" and len(node.args) == 1:
            return device(literal(node.args[0], names))
        if isinstance(node.func, ast.Name) and called == "float" and len(node.args) == 1:
            return float(literal(node.args[0], names))
        if isinstance(node.func, ast.Name) and called == "complex" and len(node.args) == 2:
            return complex(*[literal(each, names) for each in node.args])
    raise refused(f"{ast.unparse(node)[:80]} is no constant")


class Code:
    """A function or method of an archive, which is called as Python's are."""

    def __init__(self, name: str, definition: ast.FunctionDef, source: str, names: Names, method: bool) -> None:
        arguments = definition.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs or arguments.kwonlyargs or definition.decorator_list:
            raise refused(f"{name} takes arguments in a way that TorchScript does not have")
        self.name, self.short, self.method = name, definition.name, method
        self._definition: ast.FunctionDef | None = definition
        self._source, self._names = source, names
        self.parameters = [each.arg for each in arguments.args]
        self.types = [type_of(each.annotation) for each in arguments.args]
        self.defaults = dict(zip(self.parameters[len(self.parameters) - len(arguments.defaults):],
                                 [literal(each, names) for each in arguments.defaults], strict=True))
        self.returns = type_of(definition.returns)
        self._count, self._rest = len(self.parameters), [None]
        self._run: Closure | None = None

    def compile(self) -> None:
        """Turn the text into closures. RuntimeError for what is not known."""
        if self._definition is not None:
            definition, self._definition = self._definition, None
            body = Body(self._names, self.parameters, self.name)
            self._run = body.block(definition.body)
            self._rest = [None] * (body.size() - self._count - 1)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != self._count:
            args = self.bound(args, kwargs)
        frame = [None, *args, *self._rest]
        self._run(frame)  # type: ignore[misc]
        return frame[0]

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call in the order of the parameters, with the defaults. RuntimeError where one is missing, or unknown."""
        if len(args) > self._count:
            raise RuntimeError(f"{self.short}() expected at most {self._count} argument(s) but received {len(args)} argument(s). "
                               f"Declaration: {self.declaration()}")
        values = list(args)
        for name in self.parameters[len(args):]:
            if name in kwargs:
                values.append(kwargs[name])
            elif name in self.defaults:
                value = self.defaults[name]
                values.append(list(value) if isinstance(value, list) else value)
            else:
                raise RuntimeError(f"{self.short}() is missing value for argument '{name}'. Declaration: {self.declaration()}")
        unknown = kwargs.keys() - set(self.parameters[len(args):])
        if unknown:
            raise RuntimeError(f"Unknown keyword argument '{min(unknown)}' for operator '{self.short}'. Schema: {self.declaration()}")
        return tuple(values)

    def from_python(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call by a program of Python's: the types of the arguments are looked at first."""
        values = []
        for name, kind, value in zip(self.parameters, self.types, self.bound(args, kwargs), strict=True):
            taken = kind.taken(value)
            if not (self.method and not values) and not kind.holds(taken):
                raise RuntimeError(f"{self.short}() Expected a value of type '{kind}' for argument '{name}' but instead found type "
                                   f"'{type(value).__name__}'.\nDeclaration: {self.declaration()}")
            values.append(taken)
        return self(*values)

    def declaration(self) -> str:
        """The function's head, as error messages show it."""
        parameters = [f"{kind} {name}" + (f"={self.defaults[name]}" if name in self.defaults else "")
                      for name, kind in zip(self.parameters, self.types, strict=True)]
        return f"{self.short}({', '.join(parameters)}) -> {self.returns}"

    @property
    def code(self) -> str:
        """The text."""
        return self._source

    def __deepcopy__(self, memo: Any) -> Code:
        return self


class _Inner:
    """A function inside of a function, as a value: it takes nothing, and sees the variables as they are when it is called."""

    def __init__(self, body: Closure, frame: Frame) -> None:
        self._body, self._frame = body, frame

    def __call__(self) -> Any:
        frame = [None, *self._frame[1:]]
        self._body(frame)
        return frame[0]


class Body:
    """Compiles the statements and expressions of one function."""

    def __init__(self, names: Names, parameters: list[str], name: str) -> None:
        self._names, self._title = names, name
        self._places: dict[str, int] = {}
        for each in parameters:
            self._place(each)

    def size(self) -> int:
        """The length of a frame."""
        return len(self._places) + 1

    def _place(self, name: str) -> int:
        if name in _ROOTS or name in _NUMBERS:
            raise refused(f"{self._title} uses {name} as a variable")
        return self._places.setdefault(name, len(self._places) + 1)

    def _unknown(self, node: ast.AST, why: str = "") -> RuntimeError:
        text = ast.unparse(node).split("\n")[0][:80]
        return refused(f"{self._title} has {why or 'what this version of rushlight does not know'}: {text}")

    # --- statements -------------------------------------------------------------------------------------------------------------------

    def block(self, statements: list[ast.stmt]) -> Closure:
        """Statements as one closure, which returns what ends them early (None: nothing)."""
        steps = tuple([self.statement(each) for each in statements if not isinstance(each, ast.Pass)])
        if len(steps) == 1:
            return steps[0]

        def run(frame: Frame) -> Any:
            for step in steps:
                signal = step(frame)
                if signal is not None:
                    return signal
            return None
        return run

    def statement(self, node: ast.stmt) -> Closure:
        """A statement as a closure."""
        compiled = getattr(self, _STATEMENTS.get(type(node), ""), None)
        if compiled is None:
            raise self._unknown(node, "a statement that is not of TorchScript")
        return compiled(node)

    def _expression_statement(self, node: ast.Expr) -> Closure:
        value = self.expression(node.value)

        def run(frame: Frame) -> None:
            value(frame)
        return run

    def _return(self, node: ast.Return) -> Closure:
        if node.value is None:
            return lambda frame: _RETURN
        value = self.expression(node.value)

        def run(frame: Frame) -> int:
            frame[0] = value(frame)
            return _RETURN
        return run

    def _assign(self, node: ast.Assign) -> Closure:
        if len(node.targets) != 1:
            raise self._unknown(node, "a statement that is not of TorchScript")
        value = self.expression(node.value)
        target = node.targets[0]
        if isinstance(target, ast.Name):
            place = self._place(target.id)

            def run(frame: Frame) -> None:
                frame[place] = value(frame)
            return run
        store = self._target(target)
        return lambda frame: store(frame, value(frame))

    def _annotated(self, node: ast.AnnAssign) -> Closure:
        if node.value is None:
            raise self._unknown(node, "a statement that is not of TorchScript")
        return self._assign(ast.Assign([node.target], node.value))

    def _target(self, node: ast.expr) -> Callable[[Frame, Any], None]:
        """A closure that puts a value where an assignment says."""
        if isinstance(node, ast.Name):
            place = self._place(node.id)

            def keep(frame: Frame, value: Any) -> None:
                frame[place] = value
            return keep
        if isinstance(node, ast.Tuple):
            return self._unpacked(node)
        if not isinstance(node, ast.Attribute) or dotted(node) is not None:
            raise self._unknown(node, "an assignment that is not of TorchScript")
        owner, name = self.expression(node.value), node.attr

        def write(frame: Frame, value: Any) -> None:
            target = owner(frame)
            if not isinstance(target, Holder):
                raise Error(f"a {type(target).__name__} has no attributes that could be set")
            target._write(name, value)
        return write

    def _unpacked(self, node: ast.Tuple) -> Callable[[Frame, Any], None]:
        stores = [self._target(each) for each in node.elts]

        def unpack(frame: Frame, value: Any) -> None:
            if not isinstance(value, (tuple, list)) or len(value) != len(stores):
                raise Error(f"Provided value of {_length(value)} elements, where {len(stores)} are unpacked")
            for store, each in zip(stores, value, strict=True):
                store(frame, each)
        return unpack

    def _if(self, node: ast.If) -> Closure:
        condition, then, otherwise = self.condition(node.test), self.block(node.body), self.block(node.orelse)
        return lambda frame: then(frame) if condition(frame) else otherwise(frame)

    def _while(self, node: ast.While) -> Closure:
        condition, body = self.condition(node.test), self.block(node.body)
        if node.orelse:
            raise self._unknown(node, "a statement that is not of TorchScript")

        def run(frame: Frame) -> Any:
            while condition(frame):
                signal = body(frame)
                if signal is not None and signal != _CONTINUE:
                    return signal if signal == _RETURN else None
            return None
        return run

    def _for(self, node: ast.For) -> Closure:
        values, store = self.expression(node.iter), self._target(node.target)
        body = self.block(node.body)
        if node.orelse:
            raise self._unknown(node, "a statement that is not of TorchScript")

        def run(frame: Frame) -> Any:
            for each in values(frame):
                store(frame, each)
                signal = body(frame)
                if signal is not None and signal != _CONTINUE:
                    return signal if signal == _RETURN else None
            return None
        return run

    def _break(self, node: ast.Break) -> Closure:
        return lambda frame: _BREAK

    def _continue(self, node: ast.Continue) -> Closure:
        return lambda frame: _CONTINUE

    def _with(self, node: ast.With) -> Closure:
        managers = [(self.expression(item.context_expr), item.optional_vars and self._target(item.optional_vars)) for item in node.items]
        run = self.block(node.body)
        for manager, store in reversed(managers):
            run = _managed(manager, store or (lambda frame, value: None), run)
        return run

    def _assert(self, node: ast.Assert) -> Closure:
        condition = self.condition(node.test)
        message = self.expression(node.msg) if node.msg else lambda frame: ""

        def run(frame: Frame) -> None:
            if not condition(frame):
                raise Error(f"AssertionError: {message(frame)}")
        return run

    def _function(self, node: ast.FunctionDef) -> Closure:
        """A function inside of one, which takes nothing and is given to ``fork``: it runs in the frame that it stands in."""
        if node.args.args or node.args.vararg or node.args.kwarg or node.args.kwonlyargs or node.args.posonlyargs or node.decorator_list:
            raise self._unknown(node, "a function inside of a function")
        place, body = self._place(node.name), self.block(node.body)

        def run(frame: Frame) -> None:
            frame[place] = _Inner(body, frame)
        return run

    # --- expressions ------------------------------------------------------------------------------------------------------------------

    def condition(self, node: ast.expr) -> Closure:
        """An expression whose value is asked for its truth."""
        return self.expression(node)

    def expression(self, node: ast.expr) -> Closure:
        """An expression as a closure that gives its value."""
        compiled = getattr(self, _EXPRESSIONS.get(type(node), ""), None)
        if compiled is None:
            raise self._unknown(node, "an expression that is not of TorchScript")
        return compiled(node)

    def _constant(self, node: ast.Constant) -> Closure:
        value = literal(node, self._names)
        return lambda frame: value

    def _name(self, node: ast.Name) -> Closure:
        place = self._places.get(node.id)
        if place is not None:
            return lambda frame: frame[place]
        if node.id in _NUMBERS:
            number = _NUMBERS[node.id]
            return lambda frame: number
        raise self._unknown(node, "a name that nothing defines")

    def _attribute(self, node: ast.Attribute) -> Closure:
        full = dotted(node)
        if full is None:
            if node.attr.startswith("__") and node.attr.endswith("__"):
                raise self._unknown(node, "an attribute that only Python has")
            return _reading(self.expression(node.value), node.attr)
        value = self._names.constant(full) if full.startswith("CONSTANTS.") else self._names.find(full)
        return lambda frame: value

    def _tuple(self, node: ast.Tuple) -> Closure:
        parts = [self.expression(each) for each in node.elts]
        if len(parts) == 2:
            first, second = parts
            return lambda frame: (first(frame), second(frame))
        return lambda frame: tuple([part(frame) for part in parts])

    def _list(self, node: ast.List) -> Closure:
        parts = [self.expression(each) for each in node.elts]
        return lambda frame: [part(frame) for part in parts]

    def _dict(self, node: ast.Dict) -> Closure:
        if None in node.keys:
            raise self._unknown(node, "an expression that is not of TorchScript")
        keys, values = [self.expression(each) for each in node.keys if each], [self.expression(each) for each in node.values]
        return lambda frame: {key(frame): value(frame) for key, value in zip(keys, values, strict=True)}

    def _choice(self, node: ast.IfExp) -> Closure:
        condition, then, otherwise = self.condition(node.test), self.expression(node.body), self.expression(node.orelse)
        return lambda frame: then(frame) if condition(frame) else otherwise(frame)

    def _either(self, node: ast.BoolOp) -> Closure:
        parts, wanted = [self.condition(each) for each in node.values], isinstance(node.op, ast.Or)
        return lambda frame: any(part(frame) for part in parts) if wanted else all(part(frame) for part in parts)

    def _unary(self, node: ast.UnaryOp) -> Closure:
        value = self.expression(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda frame: not value(frame)
        if not isinstance(node.op, ast.USub):
            raise self._unknown(node, "an expression that is not of TorchScript")
        negative = self._operator("torch.neg", node)
        return lambda frame: negative(value(frame))

    def _binary(self, node: ast.BinOp) -> Closure:
        function = self._operator("torch." + _ARITHMETIC.get(type(node.op), "?"), node)
        a, b = self.expression(node.left), self.expression(node.right)
        return lambda frame: function(a(frame), b(frame))

    def _comparison(self, node: ast.Compare) -> Closure:
        if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARISONS:
            raise self._unknown(node, "an expression that is not of TorchScript")
        function = self._operator("torch." + _COMPARISONS[type(node.ops[0])], node)
        a, b = self.expression(node.left), self.expression(node.comparators[0])
        if isinstance(node.ops[0], ast.In):
            return lambda frame: function(b(frame), a(frame))
        return lambda frame: function(a(frame), b(frame))

    def _item(self, node: ast.Subscript) -> Closure:
        value = self.expression(node.value)
        if isinstance(node.slice, ast.Slice):
            given = (node.slice.lower, node.slice.upper, node.slice.step)
            bounds = [self.expression(each) if each else (lambda frame: None) for each in given]
            return lambda frame: operators.item(value(frame), slice(*[bound(frame) for bound in bounds]))
        index = self.expression(node.slice)
        return lambda frame: operators.item(value(frame), index(frame))

    # --- calls ------------------------------------------------------------------------------------------------------------------------

    def _operator(self, name: str, node: ast.AST) -> Callable[..., Any]:
        found = operators.find(name, self._names.version)
        if found is None:
            raise self._unknown(node, f"the operator {name.removeprefix('torch.')}, which rushlight does not have")
        return found

    def _call(self, node: ast.Call) -> Closure:
        if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
            raise self._unknown(node, "a call that is not of TorchScript")
        function = node.func
        if isinstance(function, ast.Name) and function.id not in self._places:
            return self._builtin(node, function.id)
        full = dotted(function)
        if full is not None:
            return self._global_call(node, full)
        args, kwargs = self._arguments(node)
        if isinstance(function, ast.Attribute):
            return _method_call(self.expression(function.value), function.attr, args, kwargs)
        called = self.expression(function)

        def call(frame: Frame) -> Any:
            found = called(frame)
            if not isinstance(found, Code):
                raise Error(f"a {type(found).__name__} is called as if it were a function")
            return found(*[arg(frame) for arg in args], **{key: value(frame) for key, value in kwargs.items()})
        return call

    def _arguments(self, node: ast.Call) -> tuple[list[Closure], dict[str, Closure]]:
        return [self.expression(each) for each in node.args], {each.arg: self.expression(each.value) for each in node.keywords if each.arg}

    def _global_call(self, node: ast.Call, full: str) -> Closure:
        if full.startswith("__torch__."):
            if full.endswith(".__new__"):
                return self._new(full.removesuffix(".__new__"))
            function = self._names.find(full)
            if not callable(function):
                raise self._unknown(node, f"a call of {full}, which is no function")
        else:
            function = self._operator(full, node)
            if len(node.keywords) == 1 and node.keywords[0].arg == "alpha" and isinstance(node.keywords[0].value, ast.Constant) and (
                    node.keywords[0].value.value == 1):
                node.keywords.clear()                      # adding and subtracting as they do by default
        return _calling(function, *self._arguments(node))

    def _new(self, name: str) -> Closure:
        make = self._names.find(name)
        instance = getattr(make, "instance", None)
        if instance is None:
            raise refused(f"{self._title} makes an instance of {name}, which is no class for that")
        return lambda frame: instance()

    def _builtin(self, node: ast.Call, name: str) -> Closure:
        special = getattr(self, _BUILTINS.get(name, ""), None)
        if special is not None:
            return special(node)
        function = operators.BUILTINS.get(name)
        if function is None:
            raise self._unknown(node, f"a call of {name}, which nothing defines")
        return _calling(function, *self._arguments(node))

    def _typed(self, node: ast.Call) -> Closure:
        """annotate and unchecked_cast: the value, as a number where the type is one and the value a tensor."""
        self._need(node, 2)
        kind = type_of(node.args[0])
        value, number = self.expression(node.args[1]), operators.NUMBER_OF.get(kind.name)
        if number is None:
            return value

        def convert(frame: Frame) -> Any:
            found = value(frame)
            return number(found) if isinstance(found, Tensor) else found
        return convert

    def _uninitialized(self, node: ast.Call) -> Closure:
        self._need(node, 1)
        type_of(node.args[0])
        return lambda frame: None

    def _isinstance(self, node: ast.Call) -> Closure:
        self._need(node, 2)
        given = node.args[1]
        kinds = [type_of(each) for each in (given.elts if isinstance(given, (ast.List, ast.Tuple)) else [given])]
        value = self.expression(node.args[0])

        def ask(frame: Frame) -> bool:
            found = value(frame)
            return any(kind.holds(found) for kind in kinds)
        return ask

    def _getattr(self, node: ast.Call) -> Closure:
        self._need(node, 2)
        return _reading(self.expression(node.args[0]), self._string(node.args[1]))

    def _fork(self, node: ast.Call) -> Closure:
        called, (args, kwargs) = self.expression(node.args[0]), self._arguments(ast.Call(node.func, node.args[1:], node.keywords))

        def run(frame: Frame) -> Future:
            found = called(frame)
            if not isinstance(found, (Code, _Inner)):
                raise Error("fork takes a function")
            future = Future()
            future.set_result(found(*[arg(frame) for arg in args], **{key: value(frame) for key, value in kwargs.items()}))
            return future
        return run

    def _need(self, node: ast.Call, count: int) -> None:
        if len(node.args) != count or node.keywords:
            raise self._unknown(node, "a call with a wrong number of arguments")

    def _string(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise self._unknown(node, "a name that is no string")
        return node.value


_STATEMENTS = {ast.Expr: "_expression_statement", ast.Return: "_return", ast.Assign: "_assign", ast.AnnAssign: "_annotated", ast.If: "_if",
               ast.While: "_while", ast.For: "_for", ast.Break: "_break", ast.Continue: "_continue", ast.With: "_with",
               ast.Assert: "_assert", ast.FunctionDef: "_function"}
_EXPRESSIONS = {ast.Constant: "_constant", ast.Name: "_name", ast.Attribute: "_attribute", ast.Tuple: "_tuple", ast.List: "_list",
                ast.Dict: "_dict", ast.IfExp: "_choice", ast.BoolOp: "_either", ast.UnaryOp: "_unary", ast.BinOp: "_binary",
                ast.Compare: "_comparison", ast.Subscript: "_item", ast.Call: "_call"}
_BUILTINS = {"annotate": "_typed", "unchecked_cast": "_typed", "uninitialized": "_uninitialized", "isinstance": "_isinstance",
             "getattr": "_getattr", "fork": "_fork"}


def _length(value: Any) -> str:
    return str(len(value)) if isinstance(value, (tuple, list)) else f"a {type(value).__name__}, which has no"


def _calling(function: Callable[..., Any], args: list[Closure], kwargs: dict[str, Closure]) -> Closure:
    """A closure for a call of a function that is known."""
    if kwargs:
        return lambda frame: function(*[arg(frame) for arg in args], **{key: value(frame) for key, value in kwargs.items()})
    if len(args) == 1:
        first, = args
        return lambda frame: function(first(frame))
    if len(args) == 2:
        first, second = args
        return lambda frame: function(first(frame), second(frame))
    if len(args) == 3:
        first, second, third = args
        return lambda frame: function(first(frame), second(frame), third(frame))
    return lambda frame: function(*[arg(frame) for arg in args])


def _method_call(owner: Closure, name: str, args: list[Closure], kwargs: dict[str, Closure]) -> Closure:
    def call(frame: Frame) -> Any:
        found = owner(frame)
        if isinstance(found, Holder):
            return found._method(name)(found, *[arg(frame) for arg in args], **{key: value(frame) for key, value in kwargs.items()})
        if name == "tolist" and isinstance(found, Tensor):
            return found.tolist()
        raise Error(f"a {type(found).__name__} has no method {name}")
    return call


def _reading(owner: Closure, name: str) -> Closure:
    """The attribute of a value: of an instance what its class declares, of an enumeration's member its name and value."""
    def read(frame: Frame) -> Any:
        found = owner(frame)
        if isinstance(found, Holder):
            return found._read(name)
        if isinstance(found, enum.Enum) and name in ("name", "value"):
            return found.value if name == "value" else found.name
        if isinstance(found, tuple) and name in getattr(type(found), "_fields", ()):
            return found[type(found)._fields.index(name)]  # type: ignore[attr-defined]
        raise Error(f"a {type(found).__name__} has no attribute {name}")
    return read


def _managed(manager: Closure, store: Callable[[Frame, Any], None], body: Closure) -> Closure:
    def run(frame: Frame) -> Any:
        found = manager(frame)
        if not isinstance(found, Holder):
            raise Error(f"a {type(found).__name__} can't be used with 'with'")
        store(frame, found._method("__enter__")(found))
        try:
            return body(frame)
        finally:
            found._method("__exit__")(found, None, None, None)
    return run
