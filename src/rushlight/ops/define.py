"""The machinery that turns one line into an elementwise op with all its variants (any other op is a function under `@op`, public.py).

    exp = unary("exp", np.exp, lambda g, y: g * y)                                    # y: the result is saved, x: the input
    mul = binary("mul", np.multiply, (lambda g, b: g * b, lambda g, a: g * a))


`unary` and `binary` make closures that are specialised for the op: on the fast path (plain tensors, one real dtype) there is one
NumPy call, one Tensor and one small node, and nothing else. Everything rarer goes to `unary_slow`/`binary_slow`.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .. import services
from ..autograd import engine
from ..autograd.grad_mode import STATE, recording
from ..autograd.graph import AccumulateGrad, Node, Port, Version, new_seq
from ..dtypes import float32
from ..kernels import native
from ..kernels.arrays import as_array
from ..kernels.fuse import fuse
from ..kind import Kind, NotPlain, kind_of
from ..tensor import NotBatched, Tensor, from_array, wrap
from ..vocabulary import Array, Function, Operand
from .errors import broadcast_error, not_a_tensor, not_implemented, title
from .failed_calls import overridden
from .interception import code_of
from .promotion import number_tensor, promote
from .public import checked_inplace, export, guarded, method
from .record import BinaryNode, UnaryNode, depending, finish_special, node_class, record
from .registry import FUNCTIONS, NAMESPACES, Op, show
from .write import check_overlap, computed_into, inplace_from, write_in_place, write_out

__all__ = ["OPERATORS", "binary", "comparison", "either_way", "unary"]

OPERATORS: dict[str, Any] = {}              # the forms of binary ops that are Python's operators

new = object.__new__
ndarray = np.ndarray
_DENSE = kind_of(float32)
if native.library is not None:
    native.library.bind(Tensor, Node, Kind, Version, Port, AccumulateGrad, STATE, new_seq.__self__)  # type: ignore[attr-defined]
    native.library.bind_backward(Node, UnaryNode, BinaryNode, engine._apply_fix, engine._by_sample, NotBatched, NotPlain,
                                 native.elementwise(np.add))


def _statement() -> tuple[str, int]:
    """File and line of the statement of a module that is running."""
    frame = sys._getframe(2)
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def arguments(function: Function) -> tuple[str, ...]:
    """The positional parameter names of a function, or of the formula of a kernel."""
    code = code_of(native.written(function))
    return tuple(code.co_varnames[:code.co_argcount])


def unary(name: str, forward: Function, grad: Function | None = None, *, arrays: bool = True, piecewise: str = "", ints: str = "float",
          complex: bool = True, label: str = "",
          inplace: bool | str = "function", methods: bool = True, doc: str = "", alias: tuple[str, ...] = (),
          domain: tuple[float, float] = (-3.0, 3.0),
          refuse_bool: str = "", holomorphic: bool = True, namespace: str = "", function: bool = True, halves: bool = True) -> Function:
    """Define an elementwise op of one tensor.

    forward     arrays -> array, for float32 and float64 (other types are converted around it)
    grad        lambda g, x: ... or lambda g, y: ... (input or result saved), or lambda g: ...; None: not differentiable
    arrays      whether `grad` is a formula (kernels/formula.py), which serves arrays too; False where it calls ops, which take tensors only
    piecewise   of a piecewise linear function: the name of the gradient's node, whose own derivative by the saved tensor is zero
    ints        what integers become: "float" (exp), "same" (abs), "bool" (isnan; for all dtypes), "refuse" (frac)
    complex     whether complex tensors are allowed
    domain      where the tests sample
    holomorphic False where the gradient formula itself deals with complex numbers (else what is saved arrives conjugated)
    inplace     True: also Tensor.<name>_; "function": torch.<name>_, too
    namespace   "special" for torch.special.<name>: a function only, no method and no in-place form
    function    False: not public, a part of another op
    halves      False: not for float16 and bfloat16
    """
    short = name
    if namespace:
        name, inplace, methods = f"{namespace}_{name}", False, False
    node_type = _unary_node(name, grad, arrays, label, piecewise)
    saves_input = grad is not None and "x" in arguments(grad)
    saves_result = grad is not None and "y" in arguments(grad)
    differentiable = grad is not None
    to_bool = ints == "bool"
    takes_out = (isinstance(forward, np.ufunc) or native.takes_target(forward)) and not to_bool
    casts = ints == "float" or to_bool or name in ("square", "sgn", "conj_physical", "positive")
    forward = native.elementwise(forward)

    entry = Op(name, "unary", None, forward=forward, gradient=grad, saved=("x",) if saves_input else ("y",) if saves_result else (),
               node=node_type, holomorphic=holomorphic, result=ints, complex=complex, refuse_bool=refuse_bool, domain=domain, out=True,
               line=_statement(), only="" if halves else "wide")

    def fn(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        try:
            kind = input._kind
        except AttributeError:
            return overridden(fn, (input,), {} if out is None else {"out": out}, not_a_tensor(name, "input", 1, input))
        if out is not None:
            if takes_out and computed_into(out, forward, input):
                return out
            if isinstance(out, Tensor):
                if not (casts or kind.is_complex or kind.sparse) and out._kind.dtype is not kind.dtype:
                    raise RuntimeError(f"Found dtype {title(out._kind.dtype)} but expected {title(kind.dtype)}")
                check_overlap(out, input)
            return write_out(out, fn(input), name)
        if not kind.fast:
            return unary_slow(entry, input)
        a = forward(input._a)
        if a.__class__ is not ndarray:
            a = as_array(a)
        r = new(Tensor)
        r._a = a
        r._kind = kind.bool_ if to_bool else kind
        r._view = r._grad = None
        r._ver = 0
        edge = input._node
        if edge is None or not differentiable:
            r._node = None
        elif STATE.unusual:
            r._node = None
            finish_special(r, node_type, (input,))
        else:
            node = r._node = new(node_type)
            node.next = (edge,)
            node.seq = new_seq()
            node.fix = node.hooks = None
            if saves_input:
                node.saved = input
                node.version = input._ver + 0
            elif saves_result:
                node.saved = a
                node.version = r._ver = Version()
            else:
                node.saved = ()
                node.version = 0
        return r

    fn.__name__ = fn.__qualname__ = short
    fn.__doc__ = doc or f"{short}(input, *, out=None) -> Tensor\n\nElementwise {short} of a tensor of any shape."
    uses = native.SAVES_INPUT if saves_input else native.SAVES_RESULT if saves_result else 0
    fn = entry.function = native.fast_path(fn, forward, node_type, 1, uses, to_bool)
    if takes_out:
        def direct(a: Array) -> None:
            forward(a, a)
    for each in (short, *alias) if namespace else ():
        show(f"{namespace}.{each}", fn if differentiable else guarded(fn, each, name), entry)
    if not namespace and function:
        _finish_unary(entry, inplace if not to_bool else False, methods, alias, direct if takes_out else None)
    return fn


def _unary_node(name: str, grad: Function | None, arrays: bool, label: str, piecewise: str) -> Any:
    if grad is None:
        return None
    label = label or "".join(part.capitalize() for part in name.split("_")) + "Backward0"
    names = arguments(grad)
    saves = "x" if "x" in names else "y" if "y" in names else ""
    if "x" in names and "y" in names:
        raise TypeError(f"{name}: save x or y, not both")
    tensors = grad if not piecewise else lambda g, saved: depending(grad(g, saved), saved, name=piecewise)
    return node_class(label, UnaryNode, grad=staticmethod(tensors), agrad=staticmethod(fuse(grad)) if arrays else None, saves=saves)


def _finish_unary(op: Op, inplace: bool | str, methods: bool, alias: tuple[str, ...], direct: Function | None) -> None:
    """Register the function, the method, and their in-place forms."""
    name, fn = op.name, op.function
    for each in (name, *alias):
        export(fn, each, op)
        if methods:
            method(fn, each, op)
    if not inplace:
        return

    def fn_(self: Tensor) -> Tensor:
        if direct is not None and self._node is None and self._kind.fast and self._view is None:
            return write_in_place(self, direct)
        return inplace_from(self, fn, (self,), {})

    fn_.__name__ = fn_.__qualname__ = name + "_"
    fn_.__doc__ = f"In-place form of `{name}`."
    for each in (name, *alias):
        method(fn_, each + "_", op)
        if inplace == "function":
            export(checked_inplace(fn_, each), each + "_", op)


def unary_slow(op: Op, input: Tensor) -> Tensor:
    """Integers, bool, complex and reduced precision: convert, compute, convert back."""
    name, forward, ints, node_type = op.name, op.forward, op.result, op.node
    kind = input._kind
    if kind.sparse:
        return services.sparse_form(name, input)
    if kind.reduced and op.only == "wide":
        raise not_implemented(name.removeprefix("special_"), kind)
    a = input._a
    own = native.ELEMENTWISE.get(a.__class__)
    if kind.is_complex:
        if not op.complex:
            raise NotImplementedError(f'"{name}" not implemented for \'{kind.dtype.to_real().alias.capitalize()}\' complex tensors: '
                                      "take .real, .imag or .abs() first")
        r = as_array(forward(a))
        result_kind = kind.bool_ if ints == "bool" else kind if r.dtype.kind == "c" else kind.with_dtype(kind.dtype.to_real())
    elif kind.is_floating:
        result_kind = kind.bool_ if ints == "bool" else kind
        if own is not None:
            r = own.forward(name, forward)(a)
        else:
            r = forward(a.astype(np.float32) if kind.reduced and not native.takes_halves(forward, a) else a)
    elif ints == "refuse":
        raise not_implemented(name, kind)
    elif ints == "float":
        result_kind = kind.float_
        r = forward(a.astype(np.float32 if result_kind.reduced else result_kind.np))
    else:
        if op.refuse_bool and kind is kind.bool_:
            raise (NotImplementedError if op.refuse_bool.startswith('"') else RuntimeError)(op.refuse_bool)
        r = as_array(forward(a))
        result_kind = kind.bool_ if ints == "bool" else kind.int64 if kind is kind.bool_ and r.dtype == np.int64 else kind
    result = wrap(as_array(r, result_kind.np), result_kind)
    if node_type is not None and input._node is not None and result_kind.differentiable:
        grad = node_type.grad
        saved = (input,) if node_type.saves == "x" else (result,) if node_type.saves == "y" else ()
        agrad = own.gradient(name, node_type.agrad) if own is not None and kind.is_floating and node_type.agrad is not None else None
        return record(result, node_type.label, (input,), grad, saved, agrad, holomorphic=op.holomorphic)
    return result


def binary(name: str, ufunc: Any, grad: Any = None, *, arrays: bool = True, result: str = "same", label: str = "",
           inplace: bool | str = True,
           methods: bool = True, alias: tuple[str, ...] = (), complex: bool = True, refuse: Any = None, doc: str = "",
           int_forward: Any = None,
           domain: tuple[float, float] = (-3.0, 3.0), function: bool = True, only: str = "",
           namespace: str = "", numbers: str = "both") -> Function:
    """Define an elementwise op of two tensors (or a tensor and a number), with broadcasting and type promotion.

    ufunc       (array, array) -> array for equal dtypes
    grad        pair of functions: gradient of the first and of the second operand; parameters a and b name the saved operands, y the result
    arrays      whether both are formulas (kernels/formula.py), which serve arrays too; False where they call ops, which take tensors only
    result      "same": the promoted dtype; "float": integers become floats first; "bool": comparisons; "int": integers and bool only
    refuse      function (dtype, dtype) -> error message or None, checked before anything is computed
    only        the promoted dtypes that PyTorch implements: "float" (floating-point), "wide" (neither float16 nor bfloat16), "number" (not
                bool), "int" (integers without bool)
    namespace   "special" for torch.special.<name>: a function only
    numbers     "both": either operand may be a number; "second": only that one; "none": both have to be tensors
    """
    short = name
    if namespace:
        name, inplace, methods, function = f"{namespace}_{name}", False, False, False
    is_ufunc = isinstance(ufunc, np.ufunc)
    ufunc = native.elementwise(ufunc)
    direct = ufunc if is_ufunc and result in ("same", "float") else None
    grads: Any = grad or (None, None)
    differentiable = grad is not None
    uses = [arguments(each) if each is not None else () for each in grads]
    saves_y = any("y" in names for names in uses)
    a_uses_a, a_uses_b = "a" in uses[0], "b" in uses[0]
    b_uses_a, b_uses_b = "a" in uses[1], "b" in uses[1]
    saves_nothing = not (a_uses_a or a_uses_b or b_uses_a or b_uses_b)
    camel = "".join(part.capitalize() for part in name.split("_"))
    node_type: Any = None if not differentiable else node_class(
        label or f"{camel}Backward0", BinaryNode, da=staticmethod(_spread(grads[0])), db=staticmethod(_spread(grads[1])),
        ada=staticmethod(fuse(grads[0], "gab")) if arrays and not saves_y else None,
        adb=staticmethod(fuse(grads[1], "gab")) if arrays and not saves_y else None, uses=(uses[0], uses[1]))
    saved = tuple(sorted({each for used in uses for each in used[1:]}))
    entry = Op(name, "binary", None, forward=ufunc, gradient=grad, saved=saved, node=node_type,
               title="div" if label.startswith("DivBackward") else name, integers=int_forward, refuse=refuse, only=only, result=result,
               complex=complex, domain=domain, numbers=numbers, out=True, line=_statement())
    quick_numbers = frozenset(() if numbers == "none" else (float, int))
    to_bool = result == "bool"
    quick = not saves_y and result != "int"

    def build(slow: Any) -> Function:
        # Twice the same code: as function, and as operator, which gives operands that it does not know their own chance.
        def fn(input: Tensor, other: Operand, *, out: Tensor | None = None) -> Tensor:
            if out is not None:
                if direct is not None and computed_into(out, direct, input, other):
                    return out
                for each in (input, other):
                    if isinstance(each, Tensor) and isinstance(out, Tensor):
                        check_overlap(out, each)
                return write_out(out, fn(input, other), name)
            if other.__class__ is not Tensor and not isinstance(other, Tensor):
                cls = other.__class__
                if cls not in quick_numbers or not isinstance(input, Tensor):
                    return slow(entry, input, other)
                kind = input._kind
                if not kind.fast:
                    return slow(entry, input, other)
                b = kind.scalars.get(other)
                if b is None:
                    b = number_tensor(kind, other)
            else:
                b = other
                try:
                    kind = input._kind
                except AttributeError:
                    return slow(entry, input, other)
            if kind is not b._kind or not kind.fast or not quick:
                return slow(entry, input, other)
            try:
                r_a = ufunc(input._a, b._a)
            except ValueError:
                raise broadcast_error(input._a.shape, b._a.shape) from None
            if r_a.__class__ is not ndarray:
                r_a = as_array(r_a)
            r = new(Tensor)
            r._a = r_a
            r._kind = kind.bool_ if to_bool else kind
            r._view = r._grad = None
            r._ver = 0
            na = input._node
            nb = b._node
            if (na is None and nb is None) or not differentiable:
                r._node = None
            elif STATE.unusual or r_a.__class__ is not ndarray:
                r._node = None
                finish_special(r, node_type, (input, b))
            else:
                node = r._node = new(node_type)
                node.next = (na, nb)
                node.seq = new_seq()
                node.hooks = None
                if saves_nothing:
                    node.saved = ()
                    node.version = 0
                else:
                    version = 0
                    a = None
                    if (a_uses_a and na is not None) or (b_uses_a and nb is not None):
                        a = input
                        version = input._ver + 0
                    if (a_uses_b and na is not None) or (b_uses_b and nb is not None):
                        version += b._ver
                        node.saved = (a, b)
                    else:
                        node.saved = (a, None)
                    node.version = version
                shape = input._a.shape
                other_shape = b._a.shape
                if shape == other_shape:
                    node.fix = None
                else:
                    whole = r_a.shape
                    fix_a = None if na is None or shape == whole else (shape, kind)
                    fix_b = None if nb is None or other_shape == whole else (other_shape, kind)
                    node.fix = None if fix_a is fix_b is None else (fix_a, fix_b)
            return r
        return fn

    fn, operator = build(binary_slow), build(operator_slow)
    for form in (fn, operator):
        form.__name__ = form.__qualname__ = short
    fn.__doc__ = doc or f"{short}(input, other, *, out=None) -> Tensor\n\nElementwise {short} with broadcasting and type promotion."
    if quick:
        flags = ((a_uses_a, native.FIRST_USES_A), (a_uses_b, native.FIRST_USES_B), (b_uses_a, native.SECOND_USES_A),
                 (b_uses_b, native.SECOND_USES_B), (numbers != "none", native.TAKES_NUMBERS))
        uses_flags = sum(flag for used, flag in flags if used)
        fn, operator = (native.fast_path(form, ufunc, node_type, 2, uses_flags, to_bool) for form in (fn, operator))
    OPERATORS[name] = operator
    entry.function = fn
    for each in (short, *alias) if namespace else ():
        show(f"{namespace}.{each}", fn if differentiable else guarded(fn, each, name), entry)
    for each in (name, *alias):
        if function:
            export(fn, each, entry)
        if methods:
            method(fn, each, entry)
    if inplace and methods:
        fn_ = _binary_inplace(name, fn, direct)
        for each in (name, *alias):
            method(fn_, each + "_", entry)
            if inplace == "function":
                export(checked_inplace(fn_, each), each + "_", entry)
    return fn


def _spread(grad: Function) -> Any:
    """A gradient of a binary op as a function of (g, a, b, y): it gets those that it names, in this order."""
    if grad is None:
        return None
    return _SPREAD["".join(arguments(grad)[1:])](grad)


# By the names that a gradient of a binary op has besides g: the same as a function of (g, a, b, y).
_SPREAD: dict[str, Any] = {
    "": lambda grad: lambda g, a, b, y: grad(g),
    "a": lambda grad: lambda g, a, b, y: grad(g, a),
    "b": lambda grad: lambda g, a, b, y: grad(g, b),
    "y": lambda grad: lambda g, a, b, y: grad(g, y),
    "ab": lambda grad: lambda g, a, b, y: grad(g, a, b),
    "ay": lambda grad: lambda g, a, b, y: grad(g, a, y),
    "by": lambda grad: lambda g, a, b, y: grad(g, b, y),
    "aby": lambda grad: grad,
}


def _binary_inplace(name: str, fn: Function, ufunc: Function | None, operator: bool = False) -> Function:
    """The in-place form of a binary op; as an `operator` it gives operands that it does not know their own chance."""
    def fn_(self: Tensor, other: Tensor | complex) -> Tensor:
        if ufunc is not None and self._kind.fast:
            kind = self._kind
            cls = other.__class__
            if cls is float or cls is int:
                number = kind.scalars.get(other)
                other = number_tensor(kind, other) if number is None else number
            if isinstance(other, Tensor) and other._kind is kind and self._ver.__class__ is int and (
                    (self._node is None and other._node is None) or (STATE.unusual and not recording())):
                a = self._a
                try:
                    ufunc(a, other._a, out=a)
                except ValueError:
                    return inplace_from(self, fn, (self, other), {})
                self._ver += 1
                return self
        if operator and not isinstance(other, (*_OPERANDS, ndarray)) and not hasattr(other.__class__, "__torch_function__"):
            return NotImplemented
        return inplace_from(self, fn, (self, other), {})

    fn_.__name__ = fn_.__qualname__ = name + "_"
    fn_.__doc__ = f"In-place form of `{name}`."
    return fn_


def _shown(name: str) -> Any:
    """The public function of an op: torch.<name>, torch.<namespace>.<name>, or else the method."""
    space, _, short = name.partition("_")
    return FUNCTIONS.get(name) or NAMESPACES.get(space, {}).get(short) or getattr(Tensor, name)


def binary_slow(op: Op, input: Any, other: Operand) -> Tensor:
    """Numbers, promotion, other dtypes and devices, and every error of a binary op."""
    name, result = op.title, op.result
    if getattr(input, "_kind", _DENSE).sparse or getattr(other, "_kind", _DENSE).sparse:
        return services.sparse_form(name.lstrip("_"), input, other)
    try:
        if op.numbers != "both":
            _refuse_numbers(name, input, other, op.numbers)
        a, b, kind = promote(name, input, other, to_float=result == "float", refuse=op.refuse)
    except TypeError as error:
        return overridden(_shown(name), (input, other), {}, error)
    if kind.is_complex and not op.complex:
        raise NotImplementedError(f'"{name}" not implemented for \'Complex{kind.dtype.to_real().alias.capitalize()}\'')
    if (result == "int" and kind.differentiable) or (op.only and _outside(op.only, kind)):
        raise not_implemented(name, kind)
    compute = op.integers if op.integers is not None and not kind.differentiable else op.forward
    x, y = a._a, b._a
    own = native.ELEMENTWISE.get(x.__class__) or native.ELEMENTWISE.get(y.__class__)
    try:
        if own is not None and own.rounds_once(compute, x, y):
            array = compute(x, y)
        elif kind.reduced and native.takes_halves(compute, x) and native.takes_halves(compute, y):
            array = compute(x if x.dtype == kind.np else x.item(), y if y.dtype == kind.np else y.item())
        elif kind.reduced:
            array = compute(x.astype(np.float32), y.astype(np.float32))
        else:
            array = compute(x if x.dtype == kind.np else x.astype(kind.np), y if y.dtype == kind.np else y.astype(kind.np))
    except ValueError:
        raise broadcast_error(x.shape, y.shape) from None
    out_kind = kind.bool_ if result == "bool" else kind
    r = wrap(as_array(array, out_kind.np), out_kind)
    if op.node is None or (a._node is None and b._node is None) or not out_kind.differentiable:
        return r
    return _record_binary(r, a, b, kind, op.node)


def _refuse_numbers(name: str, input: Tensor, other: Operand, numbers: str) -> None:
    """PyTorch's TypeError for a number where the op takes tensors only."""
    if not isinstance(input, Tensor):
        raise not_a_tensor(name, "input", 1, input)
    if numbers == "none" and not isinstance(other, Tensor):
        raise not_a_tensor(name, "other", 2, other)


def operator_slow(op: Op, input: Tensor, other: Operand) -> Any:
    """The same for operators, which are methods: of tensors only."""
    if not isinstance(input, Tensor) and not hasattr(input.__class__, "__torch_function__"):
        raise TypeError(f"descriptor '__{op.title}__' for 'torch._C.TensorBase' objects doesn't apply to a '{type(input).__name__}' object")
    return either_way(op, input, other)


def either_way(op: Op, input: Operand, other: Operand) -> Any:
    """An operator of a tensor and a number, in any order: NotImplemented for operands that are neither, so that theirs are asked. (NumPy
    computes ``tensor + array`` and wraps the result; ``array + tensor`` is a TypeError, as in PyTorch. Equality takes arrays.)"""
    if isinstance(other, ndarray) and op.title in ("eq", "ne"):
        other = from_array(other)
    for value in (input, other):
        if not isinstance(value, _OPERANDS) and not hasattr(value.__class__, "__torch_function__"):
            return NotImplemented
    return binary_slow(op, input, other)


_OPERANDS = (Tensor, bool, int, float, complex, np.number, np.bool_)


def _outside(only: str, kind: Kind) -> bool:
    """Whether a kind is none of those that `only` names."""
    if only == "float":
        return not kind.is_floating
    if only == "wide":
        return kind.reduced
    return kind is kind.bool_ or (only == "int" and kind.differentiable)


def _record_binary(r: Tensor, a: Tensor, b: Tensor, kind: Kind, node_type: type[Any]) -> Tensor:
    """Record a binary op whose operands may still have their own dtypes: the gradient sees them converted."""
    need_a, need_b = a._node is not None, b._node is not None
    names = {name for need, used in ((need_a, node_type.uses[0]), (need_b, node_type.uses[1])) if need for name in used[1:]}
    values = {"a": a, "b": b, "y": r}
    order = [name for name in "aby" if name in names]

    def grad(g: Tensor, *saved: Tensor) -> tuple[Any, Any]:
        have = {name: t if t._kind is kind or name == "y" else t.to(kind.dtype) for name, t in zip(order, saved, strict=True)}
        args = have.get("a"), have.get("b"), have.get("y")
        return (node_type.da(g, *args) if need_a else None), (node_type.db(g, *args) if need_b else None)

    own = native.ELEMENTWISE.get(a._a.__class__) or native.ELEMENTWISE.get(b._a.__class__)
    agrad = _own_gradient(order, node_type, need_a, need_b) if own is not None and a._kind is b._kind is kind and kind.is_floating else None
    return record(r, node_type.label, (a, b), grad, tuple(values[name] for name in order), agrad)


def _own_gradient(order: list[str], node_type: Any, need_a: bool, need_b: bool) -> Any:
    """Both gradients of a binary op on arrays of a class with kernels of its own, a kernel each; None where one of them is not written for
    arrays."""
    first, second = node_type.ada, node_type.adb
    if (need_a and first is None) or (need_b and second is None) or "y" in order:
        return None

    def agrad(g: Any, *saved: Any) -> tuple[Any, Any]:
        have = dict(zip(order, saved, strict=True))
        a, b = have.get("a"), have.get("b")
        return (first(g, a, b) if need_a else None), (second(g, a, b) if need_b else None)
    return agrad


def comparison(name: str, ufunc: Function, *, alias: tuple[str, ...] = (), complex: bool = False, doc: str = "") -> Function:
    """Define an elementwise comparison: a bool tensor, no gradient; in place it writes 0 and 1."""
    return binary(name, ufunc, None, result="bool", alias=alias, complex=complex, doc=doc, numbers="second")
