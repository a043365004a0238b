"""The error inputs of op_db: rushlight raises an exception of PyTorch's class."""


from .compare import same_error
from .mirror import Copier, Missing, Unrepresentable
from .ops import ours_of
from .running import TooSlow, attempt, describe, limited, quiet, seed


def run_errors(op):
    """Yield ("error", index, None or ("error", text)) for every error input of an op."""
    if op.error_inputs_func is None and getattr(op, "reference_inputs_func", None) is None and not hasattr(op, "error_inputs"):
        return
    seed()
    with quiet():
        try:
            cases = list(op.error_inputs("cpu"))
        except (TypeError, AttributeError):      # the op has none
            return
        for index, case in enumerate(cases):
            verdict = _one(op, case)
            if verdict != "skip":
                yield "error", index, verdict


def _one(op, case):
    try:
        with limited():
            theirs = _raised(op.op, case.sample_input, False)
            if theirs is None:
                return "skip"
            ours = _raised(ours_of(op), case.sample_input, True)
    except TooSlow as error:
        return "time", str(error)
    except (Missing, Unrepresentable) as error:
        return "skip" if isinstance(error, Unrepresentable) else ("error", str(error))
    if ours is None:
        return "error", f"no error, PyTorch raises {describe(theirs)}"
    return None if same_error(ours, theirs) else ("error", f"{describe(ours)} instead of {describe(theirs)}")


def _raised(f, sample, ours):
    copy = Copier(ours, True)
    x, args, kwargs = copy(sample.input), copy(tuple(sample.args)), copy(dict(sample.kwargs))
    return attempt(f, x, *args, **kwargs)[1]


