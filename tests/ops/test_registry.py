"""`OPS`, the record of every op: what is in it, and that every table which names ops by string names some that there are."""

import inspect
import subprocess
import sys

import pytest
import torch

import rushlight as rl
import rushlight.linalg
import rushlight.nn.functional as F
import rushlight.special
from rushlight.amp.op_lists import OP_LISTS
from rushlight.cuda.host_ops import HOST_OPS
from rushlight.func import op_rules
from rushlight.masked.maskedtensor.core import _BINARY, _REDUCTIONS, _RESHAPING, _UNARY
from rushlight.ops import deferred
from rushlight.ops.registry import FUNCTIONS, NAMESPACES, OPS, PLACES
from rushlight.sparse import elementwise, tensor

deferred.load_all()
tensor.load_rules()


def test_each_public_name_leads_to_its_op():
    for place, op in PLACES.items():
        assert OPS[op.name] is op and place in op.places
    for name, value in FUNCTIONS.items():
        assert name in PLACES and (getattr(rl, name) is value or hasattr(getattr(rl, name), "__rushlight_on_host__")), name
    for namespace, names in NAMESPACES.items():
        assert all((f"{namespace}.{name}" if namespace else name) in PLACES for name in names)


@pytest.mark.parametrize("place", [
    "exp", "Tensor.exp_", "exp_", "add", "Tensor.add", "Tensor.add_", "special.expit", "linalg.det", "det", "fft.fft", "nn.functional.conv2d", "conv2d",
    "nn.functional.silu", "nn.functional.dropout", "roll", "Tensor.roll", "rms_norm", "nn.functional.pdist", "Tensor.T", "Tensor.real", "abs_"])
def test_what_is_public_in_every_way_is_an_op(place):
    op = PLACES[place]
    value = rl
    for part in place.split("."):
        value = inspect.getattr_static(value, part) if value is rl.Tensor else getattr(value, part)
    assert op.places[place] is value


def test_forms_of_one_op_are_one_record():
    assert PLACES["multiply"] is PLACES["mul"] is PLACES["Tensor.mul_"] is PLACES["Tensor.multiply_"] is OPS["mul"]
    assert PLACES["pdist"] is PLACES["nn.functional.pdist"] and FUNCTIONS["pdist"] is F.pdist
    assert PLACES["linalg.det"] is OPS["linalg_det"] and PLACES["conv2d"] is PLACES["nn.functional.conv2d"] is OPS["conv2d"]
    assert PLACES["relu"] is not PLACES["nn.functional.relu"]          # the one in nn.functional takes `inplace`


def test_a_record_says_what_the_op_is():
    exp, mul, lt = OPS["exp"], OPS["mul"], OPS["lt"]
    assert (exp.form, exp.result, exp.saved, exp.inplace, exp.differentiable, exp.elementwise) == ("unary", "float", ("y",), True, True, True)
    assert (mul.form, mul.result, mul.saved, mul.inplace, mul.out) == ("binary", "same", ("a", "b"), True, True)
    assert (lt.result, lt.differentiable, OPS["isnan"].inplace) == ("bool", False, False)
    assert OPS["addcmul"].out and OPS["addcmul"].function.__name__ == "addcmul" and not OPS["roll"].out
    assert exp.node.__name__ == "ExpBackward0" and exp.gradient(3, 4) == 12


def test_an_op_is_defined_once():
    from rushlight.ops.define import unary
    before = dict(PLACES), dict(FUNCTIONS)
    with pytest.raises(ValueError, match="exp is defined twice"):
        unary("exp", abs)
    assert (PLACES, FUNCTIONS) == before


def test_torch_has_every_function_that_is_public():
    import torch.nn.functional
    for namespace, names in NAMESPACES.items():
        theirs = torch
        for part in namespace.split(".") if namespace else ():
            theirs = getattr(theirs, part)
        assert [name for name in names if not hasattr(theirs, name)] == [], namespace


# --- tables that name ops -------------------------------------------------------------------------------------------------------------

def _exists(name):
    return any(prefix + name in PLACES for prefix in ("", "Tensor.", "nn.functional.", "linalg.", "special.", "fft.")) or hasattr(rl.Tensor, name)


TABLES = {
    "autocast": {name for table in OP_LISTS.values() for name in table},
    "host": HOST_OPS,
    "vmap": op_rules._RULES,
    "masked": _UNARY | _BINARY | _REDUCTIONS | _RESHAPING,
    "sparse values": elementwise._LINEAR + elementwise._ZERO_KEEPING,
    "sparse": [name for name in tensor.RULES if not hasattr(torch.Tensor, name)],      # the others are methods that only sparse tensors have
}


@pytest.mark.parametrize("table", TABLES)
def test_every_name_in_every_table_is_an_op(table):
    missing = [name for name in TABLES[table] if not _exists(name)]
    assert missing == []


def test_deferred_tables_say_what_their_modules_define():
    program = """if True:
        import rushlight
        from rushlight.ops import deferred
        from rushlight.ops.registry import FUNCTIONS
        def methods():
            return {name for name, value in vars(rushlight.Tensor).items() if not isinstance(value, deferred.Method)}
        functions, own = set(FUNCTIONS), methods()
        deferred.load_all()
        listed = [{name for names in table.values() for name in names.split()} for table in (deferred.FUNCTIONS_OF, deferred.METHODS_OF)]
        found = set(FUNCTIONS) - functions, methods() - own
        print(*[name for a, b in zip(listed, found) for name in a ^ b], sep="\\n", end="")
    """
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split("\n") == [""]
