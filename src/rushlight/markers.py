"""Names of ``torch`` that programs test against or pass around, but that have little to do here: symbolic sizes, tags, TorchScript's types,
quantisation. Those that would have to do something say that they can't.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

from .homes import settle
from .jit.scripted import ScriptFunction
from .threads import set_num_threads
from .unsupported import NotSupported, absent_class, not_supported

__all__ = ["SymInt", "SymFloat", "SymBool", "AggregationType", "SUM", "AVG", "Tag", "DispatchKey", "ScriptClass", "ScriptFunction",
           "has_lapack", "has_mkl", "has_openmp", "has_spectral", "init_num_threads"]


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


_BACKENDS = ("CPU", "CUDA", "HIP", "XLA", "MPS", "IPU", "XPU", "HPU", "VE", "Lazy", "MTIA", "MAIA", "PrivateUse1", "PrivateUse2",
             "PrivateUse3", "Meta")
_KEYS = ["Undefined", "CompositeExplicitAutogradNonFunctional", "CompositeExplicitAutograd", "CompositeImplicitAutogradNestedTensor",
         "CompositeImplicitAutograd", "AutogradNestedTensor", "AutogradOther", "Autograd", "Conjugate", "ZeroTensor", "Negative",
         "BackendSelect", "ADInplaceOrView", "PythonTLSSnapshot", "Python", "FuncTorchDynamicLayerFrontMode",
         "FuncTorchDynamicLayerBackMode", "FuncTorchBatchedDecomposition", "FuncTorchBatched", "FuncTorchVmapMode", "FuncTorchGradWrapper",
         "PythonDispatcher", "PreDispatch", "Functionalize", "AutocastCPU", "AutocastMPS", "AutocastXPU", "AutocastHPU", "AutocastIPU",
         "AutocastCUDA", "AutocastPrivateUse1", "Dense", "Quantized", "Sparse", "SparseCsr", "NestedTensor", "AutogradFunctionality"]

# Where PyTorch's dispatcher sends an operator. Rushlight's operators are Python functions, and the device decides; `torch.library` takes
# the names.
DispatchKey = Enum("DispatchKey",
                   [*_KEYS, *(kind + each for kind in ("", "Quantized", "Sparse", "SparseCsr", "NestedTensor",
                                                       "Autograd") for each in _BACKENDS)],
                   module=__name__)


class DispatchKeySet:
    """A set of dispatch keys."""

    def __init__(self, key: Any) -> None:
        self._keys = frozenset(key._keys if isinstance(key, DispatchKeySet) else [key])

    def _of(self, keys: Any) -> DispatchKeySet:
        found = object.__new__(DispatchKeySet)
        found._keys = frozenset(keys)
        return found

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self._of(self._keys | other._keys)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self._of(self._keys & other._keys)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self._of(self._keys - other._keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispatchKeySet) and self._keys == other._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def has(self, key: Any) -> bool:
        """Whether the key is in it."""
        return key in self._keys

    def add(self, key: Any) -> DispatchKeySet:
        """The set with this key."""
        return self._of(self._keys | {key})

    def remove(self, key: Any) -> DispatchKeySet:
        """The set without this key."""
        return self._of(self._keys - {key})

    def __repr__(self) -> str:
        return f"DispatchKeySet({', '.join(sorted(each.name for each in self._keys))})"


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

    set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))


_TORCHSCRIPT = "TorchScript's own representation does not exist here; torch.jit.script runs the Python code"
_QUANTIZED = "there are no quantised dtypes; bfloat16 and float16 halve the memory, and torch.amp computes in them"
_REFUSED = {
    **dict.fromkeys(("import_ir_module", "import_ir_module_from_buffer", "merge_type_from_type_comment", "parse_ir", "parse_schema",
                     "parse_type_comment", "unify_type_list"), _TORCHSCRIPT),
    **dict.fromkeys(("quantize_per_channel", "quantize_per_tensor", "quantize_per_tensor_dynamic", "quantized_batch_norm",
                     "quantized_max_pool1d", "quantized_max_pool2d", "dequantize"), _QUANTIZED)}
globals().update({name: not_supported(name, instead) for name, instead in _REFUSED.items()})

PyTorchFileReader = absent_class("PyTorchFileReader", "torch.load reads the file; it maps it with mmap=True")
PyTorchFileWriter = absent_class("PyTorchFileWriter", "torch.save writes the file")

settle("", globals())
settle("", globals(), ("DispatchKey", "DispatchKeySet"))
