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


# Functions of torch that need what is never there.
_OF_QUANTIZED = """
    int_repr q_scale q_zero_point q_per_channel_scales q_per_channel_zero_points q_per_channel_axis empty_quantized quantized_gru_cell
    quantized_lstm_cell quantized_rnn_relu_cell quantized_rnn_tanh_cell quantized_max_pool3d choose_qparams_optimized
    fake_quantize_per_tensor_affine fake_quantize_per_channel_affine fused_moving_avg_obs_fake_quant fbgemm_linear_fp16_weight
    fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation
    fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix
"""
_OF_LIBRARIES = """
    cudnn_affine_grid_generator cudnn_batch_norm cudnn_convolution cudnn_convolution_add_relu cudnn_convolution_relu cudnn_convolution_transpose
    cudnn_grid_sampler miopen_batch_norm miopen_convolution miopen_convolution_add_relu miopen_convolution_relu miopen_convolution_transpose
    miopen_ctc_loss miopen_depthwise_convolution miopen_rnn mkldnn_adaptive_avg_pool2d mkldnn_convolution mkldnn_linear_backward_weights
    mkldnn_max_pool2d mkldnn_max_pool3d mkldnn_rnn_layer
"""
_OF_SYNC_BATCH_NORM = """
    batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt batch_norm_gather_stats batch_norm_gather_stats_with_counts
    batch_norm_stats batch_norm_update_stats
"""
_TORCHSCRIPT = "TorchScript's own representation does not exist here; torch.jit.script runs the Python code"
_QUANTIZED = "there are no quantised dtypes; bfloat16 and float16 halve the memory, and torch.amp computes in them"
_LIBRARY = "its library is not used; the function without that prefix computes the same"
_REFUSED = {
    **dict.fromkeys(("import_ir_module", "import_ir_module_from_buffer", "merge_type_from_type_comment", "parse_ir", "parse_schema",
                     "parse_type_comment", "unify_type_list"), _TORCHSCRIPT),
    **dict.fromkeys(("quantize_per_channel", "quantize_per_tensor", "quantize_per_tensor_dynamic", "quantized_batch_norm",
                     "quantized_max_pool1d", "quantized_max_pool2d", "dequantize", *_OF_QUANTIZED.split()), _QUANTIZED),
    **dict.fromkeys(_OF_LIBRARIES.split(), _LIBRARY),
    **dict.fromkeys(_OF_SYNC_BATCH_NORM.split(), "there is one GPU at most, so that nothing is synchronised; take torch.batch_norm"),
    "native_norm": "take torch.norm", "resize_as_sparse_": "take Tensor.resize_"}
globals().update({name: not_supported(name, instead) for name, instead in _REFUSED.items()})

PyTorchFileReader = absent_class("PyTorchFileReader", "torch.load reads the file; it maps it with mmap=True")
PyTorchFileWriter = absent_class("PyTorchFileWriter", "torch.save writes the file")

settle("", globals())
settle("", globals(), ("DispatchKey", "DispatchKeySet"))
