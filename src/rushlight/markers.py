"""Names of ``torch`` that programs test against or pass around, but that have little to do here: symbolic sizes, tags, TorchScript's types,
quantisation. Those that would have to do something say that they can't.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

from .homes import settle
from .jit.scripted import ScriptFunction
from .unsupported import NotSupported, not_supported

__all__ = ["SymInt", "SymFloat", "SymBool", "AggregationType", "SUM", "AVG", "Tag", "DispatchKey", "ScriptClass", "ScriptFunction", "has_lapack",
           "has_mkl", "has_openmp", "has_spectral", "init_num_threads"]


class _Symbolic:
    def __init__(self, *args: Any) -> None:
        raise NotSupported(f"torch.{type(self).__name__}: sizes are ordinary numbers in rushlight, nothing is traced with symbols")


class SymInt(_Symbolic):
    """A size that is a symbol while PyTorch traces. Sizes are ints here, so nothing is an instance of it."""


class SymFloat(_Symbolic):
    """A number that is a symbol while PyTorch traces. Nothing is an instance of it."""


class SymBool(_Symbolic):
    """A truth value that is a symbol while PyTorch traces. Nothing is an instance of it."""


class AggregationType(IntEnum):
    """How values are put together."""

    SUM = 0
    AVG = 1


SUM, AVG = AggregationType.SUM, AggregationType.AVG


class Tag(Enum):
    """What PyTorch says about operators."""

    core = 0
    cudagraph_unsafe = 1
    data_dependent_output = 2
    dynamic_output_shape = 3
    flexible_layout = 4
    generated = 5
    inplace_view = 6
    maybe_aliasing_or_mutating = 7
    needs_exact_strides = 8
    needs_fixed_stride_order = 9
    nondeterministic_bitwise = 10
    nondeterministic_seeded = 11
    pointwise = 12
    pt2_compliant_tag = 13
    reduction = 14
    view_copy = 15


class DispatchKey(Enum):
    """Where PyTorch's dispatcher sends an operator; rushlight's operators are Python functions, and the device decides."""

    CPU = 0
    CUDA = 1
    Meta = 2
    AutogradCPU = 3
    AutogradCUDA = 4


class ScriptClass:
    """A class that TorchScript compiled; there is no compiler (NotImplementedError)."""

    def __init__(self, *args: Any) -> None:
        raise NotSupported("torch.ScriptClass: torch.jit.script leaves classes as they are")


# NumPy brings LAPACK and FFT; MKL and OpenMP are not used by rushlight itself.
has_lapack = has_spectral = True
has_mkl = has_openmp = False


def init_num_threads() -> None:
    """Let operations use as many threads as there are processors (or as OMP_NUM_THREADS says)."""
    import os

    from .threads import set_num_threads
    set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))


_TORCHSCRIPT = "TorchScript's own representation does not exist here; torch.jit.script runs the Python code"
_QUANTIZED = "there are no quantised dtypes; bfloat16 and float16 halve the memory, and torch.amp computes in them"
_REFUSED = {
    **dict.fromkeys(("import_ir_module", "import_ir_module_from_buffer", "merge_type_from_type_comment", "parse_ir", "parse_schema",
                     "parse_type_comment", "unify_type_list"), _TORCHSCRIPT),
    **dict.fromkeys(("quantize_per_channel", "quantize_per_tensor", "quantize_per_tensor_dynamic", "quantized_batch_norm",
                     "quantized_max_pool1d", "quantized_max_pool2d", "dequantize"), _QUANTIZED)}
globals().update({name: not_supported(name, instead) for name, instead in _REFUSED.items()})

settle("", globals())
