"""rushlight: PyTorch's API without PyTorch's weight. ``import rushlight as torch``."""

from __future__ import annotations

import numpy as _np

# PyTorch computes inf and nan silently; so do we.
_np.seterr(all="ignore")

from math import e, inf, nan, pi  # noqa: E402

from . import absent as _absent  # noqa: E402
from . import dtypes as _dtypes  # noqa: E402
from . import uncaught as _uncaught  # noqa: E402
from .devices import default_device as get_default_device  # noqa: E402
from .devices import device, set_default_device  # noqa: E402
from .dtypes import can_cast, dtype, finfo, get_default_dtype, iinfo, promote_types, set_default_dtype  # noqa: E402
from .layout import *  # noqa: E402
from .size import Size  # noqa: E402
from .tensor import Tensor  # noqa: E402
from .version import __version__, rushlight_version  # noqa: E402

globals().update(_dtypes.DTYPES)
globals().update(_dtypes.ABSENT, chalf=_dtypes.ABSENT["complex32"])
globals().update({d.alias: d for d in _dtypes.DTYPES.values() if d.alias})

from .autograd.grad_mode import (  # noqa: E402
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from . import printing as _printing  # noqa: E402
from .autograd import api as _api  # noqa: E402
from .autograd import tensor_hooks as _tensor_hooks  # noqa: E402
from .ops import deferred as _deferred  # noqa: E402
from .ops.registry import FUNCTIONS as _FUNCTIONS  # noqa: E402
from .ops.promotion import result_type  # noqa: E402

globals().update(_FUNCTIONS)
newaxis = None

# Functions that need quantised dtypes or libraries which are not used; `markers` says so.
_NEVER_THERE = (
    "int_repr q_scale q_zero_point q_per_channel_scales q_per_channel_zero_points q_per_channel_axis empty_quantized "
    "quantized_gru_cell quantized_lstm_cell quantized_rnn_relu_cell quantized_rnn_tanh_cell quantized_max_pool3d "
    "choose_qparams_optimized fake_quantize_per_tensor_affine fake_quantize_per_channel_affine "
    "fused_moving_avg_obs_fake_quant fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation "
    "fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_quantize_weight "
    "fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix cudnn_affine_grid_generator cudnn_batch_norm cudnn_convolution "
    "cudnn_convolution_add_relu cudnn_convolution_relu cudnn_convolution_transpose cudnn_grid_sampler miopen_batch_norm "
    "miopen_convolution miopen_convolution_add_relu miopen_convolution_relu miopen_convolution_transpose miopen_ctc_loss "
    "miopen_depthwise_convolution miopen_rnn mkldnn_adaptive_avg_pool2d mkldnn_convolution mkldnn_linear_backward_weights "
    "mkldnn_max_pool2d mkldnn_max_pool3d mkldnn_rnn_layer batch_norm_backward_elemt batch_norm_backward_reduce "
    "batch_norm_elemt batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats "
    "native_norm resize_as_sparse_")

# Loaded at first use, to keep `import rushlight` quick: name -> module that holds it ("" for the module of that name itself).
_LAZY = {
    **dict.fromkeys(("nn", "optim", "utils", "cuda", "autograd", "linalg", "random", "backends", "serialization", "version", "compat",
                     "testing", "fft", "sparse", "special", "signal", "distributions", "func", "amp", "jit", "hub", "overrides", "_C",
                     "return_types", "storage", "types", "quasirandom"), ""),
    **dict.fromkeys(("cpu", "masked", "multiprocessing", "profiler", "compiler", "_dynamo", "accelerator", "futures", "functional",
                     "torch_version", "_subclasses", "__config__", "__future__", "_refs", "_prims", "_prims_common", "_utils_internal",
                     "_logging", "fx", "distributed"), ""),
    # What PyTorch has and rushlight has not: using one of their names says what to do instead.
    **dict.fromkeys(("onnx", "export", "quantization", "ao", "package", "library", "nested", "monitor", "xpu", "mtia",
                     "mps"), ""),
    **dict.fromkeys(("save", "load"), "serialization"),
    "notebook": "",
    "show": "notebook",
    "from_dlpack": "utils.dlpack",
    "to_dlpack": "utils.dlpack",
    **dict.fromkeys(("autocast", "GradScaler"), "amp"),
    **dict.fromkeys(("is_autocast_enabled", "set_autocast_enabled", "get_autocast_dtype", "set_autocast_dtype", "is_autocast_cache_enabled",
                     "set_autocast_cache_enabled", "clear_autocast_cache", "autocast_increment_nesting", "autocast_decrement_nesting",
                     "is_autocast_cpu_enabled", "set_autocast_cpu_enabled", "get_autocast_cpu_dtype", "set_autocast_cpu_dtype",
                     "get_autocast_gpu_dtype", "set_autocast_gpu_dtype"), "amp.casting"),
    **dict.fromkeys(("set_printoptions", "get_printoptions"), "printing"),
    **dict.fromkeys(("manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "default_generator"), "random"),
    "Generator": "generator",
    **dict.fromkeys(("UntypedStorage", "TypedStorage", "FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage",
                     "IntStorage", "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage", "ComplexFloatStorage",
                     "ComplexDoubleStorage", "is_storage"), "storage"),
    **dict.fromkeys(("set_num_threads", "get_num_threads", "set_num_interop_threads", "get_num_interop_threads"), "threads"),
    **dict.fromkeys(("use_deterministic_algorithms", "are_deterministic_algorithms_enabled",
                     "is_deterministic_algorithms_warn_only_enabled",
                     "set_float32_matmul_precision", "get_float32_matmul_precision", "set_flush_denormal", "set_warn_always",
                     "is_warn_always_enabled", "get_deterministic_debug_mode", "set_deterministic_debug_mode"), "settings"),
    **dict.fromkeys(("is_anomaly_enabled", "is_anomaly_check_nan_enabled", "set_anomaly_enabled"), "autograd.anomaly_mode"),
    **dict.fromkeys(("sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum", "cond", "is_inference"), "symbolic"),
    "compile": "compiling",
    **dict.fromkeys(("_check", "_check_index", "_check_value", "_check_type", "_check_not_implemented", "_check_is_size", "_check_with",
                     "_check_tensor_all", "_check_tensor_all_with", "_assert_async"), "checks"),
    "Future": "futures",
    **dict.fromkeys(("Graph", "Node", "Value", "Block", "ListType", "DictType", "TupleType", "OptionalType", "TensorType", "IntType",
                     "FloatType", "BoolType", "StringType", "NoneType", "AnyType", "UnionType", "ClassType", "NumberType", "DeviceObjType",
                     "ScriptMethod", "ScriptObject", "ScriptDict", "ScriptList"), "_C"),
    **dict.fromkeys(("fork", "wait", "ScriptModule", "_script_if_tracing"), "jit"),
    **dict.fromkeys(("Stream", "Event"), "streams"),
    "OutOfMemoryError": "cuda",
    **dict.fromkeys(("SymInt", "SymFloat", "SymBool", "AggregationType", "SUM", "AVG", "Tag", "DispatchKey", "ScriptClass",
                     "ScriptFunction", "has_lapack", "has_mkl", "has_openmp", "has_spectral", "init_num_threads", "import_ir_module",
                     "import_ir_module_from_buffer", "merge_type_from_type_comment", "parse_ir", "parse_schema", "parse_type_comment",
                     "unify_type_list", "quantize_per_channel", "quantize_per_tensor", "quantize_per_tensor_dynamic",
                     "quantized_batch_norm", "quantized_max_pool1d", "quantized_max_pool2d", "dequantize", "PyTorchFileReader",
                     "PyTorchFileWriter"), "markers"),
    **dict.fromkeys(_NEVER_THERE.split(), "markers"),
    **dict.fromkeys(("typename", "_assert", "set_default_tensor_type"), "settings"),
    "AcceleratorError": "kernels.cuda.driver",
    "get_device_module": "accelerator",
    "thread_safe_generator": "random",
    "vmap": "func",
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "ops.rnn"),
}


_absent.install()
_uncaught.install()


def __getattr__(name):
    if name == "torch":                    # PyTorch's modules import torch, and libraries have found torch.torch there
        from .nn._torch import torch
        return torch
    module_name = _LAZY.get(name)
    if module_name is None:
        value = _deferred.function(name)
        if value is not None:
            globals()[name] = value
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: torch.{name} is not supported by rushlight "
                             f"{rushlight_version}")
    from importlib import import_module
    try:
        module = import_module("." + (module_name or name), __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{module_name or name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: torch.{name} is not supported by rushlight "
                             f"{rushlight_version}") from None
    value = getattr(module, name) if module_name else module
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_LAZY, *_deferred.names()})
