"""Op modules that are imported at the first use of one of their names, to keep `import rushlight` quick.

A name in the table is reachable as ``torch.<name>`` and (second list) as ``Tensor.<name>`` before its module has been imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..tensor import Tensor
from ..vocabulary import Function
from .registry import FUNCTIONS, NAMESPACES

__all__ = ["FUNCTIONS_OF", "METHODS_OF", "function", "load_all", "namespace"]

FUNCTIONS_OF: dict[str, str] = {
    "linalg": (
        "det slogdet logdet inverse pinverse cholesky cholesky_solve cholesky_inverse triangular_solve lu lu_solve "
        "lu_unpack qr geqrf orgqr ormqr svd matrix_power matrix_exp trace cov corrcoef svd_lowrank pca_lowrank lobpcg vander "
        "symeig eig solve lstsq matrix_rank"),
    "floating": "angle frexp ldexp ldexp_ hash_tensor renorm gradient segment_reduce empty_permuted",
    "histogram": "histc histogram histogramdd",
    "lowlevel": (
        "_chunk_cat _unsafe_masked_index _unsafe_masked_index_put_accumulate native_batch_norm _native_batch_norm_legit native_layer_norm "
        "native_group_norm _int_mm _softmax_backward_data _safe_softmax _segment_reduce"),
    "mixed_precision": "_amp_foreach_non_finite_check_and_unscale_ _amp_update_scale_",
    "special": "i0 i0_ igamma igammac mvlgamma",
    "foreach": " ".join(
        ["_foreach_norm _foreach_max _foreach_clone _foreach_copy_ _foreach_zero_ _foreach_mm",
         *(f"_foreach_{name} _foreach_{name}_" for name in ["abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp",
                                                            "expm1", "floor", "frac", "lgamma", "log", "log10", "log1p", "log2", "neg",
                                                            "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan",
                                                            "tanh", "trunc", "add", "sub", "mul", "div", "pow", "maximum", "minimum",
                                                            "clamp_max", "clamp_min", "addcmul", "addcdiv", "lerp"])]),
    "gamma_sampling": "_standard_gamma _standard_gamma_grad _sample_dirichlet _dirichlet_grad binomial",
    "rarely": "conv_tbc from_file",
    "stft": "stft istft",
    "torch_forms": (
        "batch_norm instance_norm convolution binary_cross_entropy_with_logits affine_grid_generator adaptive_max_pool1d kl_div "
        "margin_ranking_loss cosine_embedding_loss hinge_embedding_loss triplet_margin_loss poisson_nll_loss ctc_loss "
        "_convolution max_pool1d_with_indices embedding_bag embedding_renorm_ frobenius_norm nuclear_norm norm_except_dim dsmm "
        "hsmm saddmm values_copy indices_copy crow_indices_copy col_indices_copy ccol_indices_copy row_indices_copy slice_inverse "
        "sym_constrain_range sym_constrain_range_for_size get_device is_distributed cudnn_is_acceptable is_vulkan_available"),
    "windows": "bartlett_window blackman_window hamming_window hann_window kaiser_window",
}
METHODS_OF: dict[str, str] = {
    "linalg": (
        "det slogdet logdet inverse pinverse cholesky cholesky_solve cholesky_inverse triangular_solve lu lu_solve qr "
        "geqrf orgqr ormqr svd matrix_power matrix_exp trace cov corrcoef symeig eig solve lstsq"),
    "floating": "angle frexp ldexp ldexp_ hash_tensor renorm renorm_",
    "histogram": "histc histogram",
    "rarely": "apply_ map_ map2_ is_set_to dim_order storage_type const_data_ptr module_load chalf",
    "torch_forms": "is_distributed slice_inverse",
    "special": "i0 i0_ igamma igamma_ igammac igammac_ mvlgamma mvlgamma_",
    "stft": "stft istft",
    ".serialization.pickling": "__deepcopy__ __reduce_ex__",      # rushlight.serialization, not an op module
    ".cuda.pin_memory": "pin_memory",
    ".utils.dlpack": "__dlpack__ __dlpack_device__",
}

_module_of = {name: module for module, names in FUNCTIONS_OF.items() for name in names.split()}


def load(module: str) -> None:
    """Import an op module, which registers its functions and methods."""
    import_module("." + module, __package__)


def load_all() -> None:
    """Import all of them, and those that only a namespace imports: then `OPS` is complete (but for what `nn.functional` adds)."""
    for module in {*FUNCTIONS_OF, *METHODS_OF, "fft"}:
        load(module)


def function(name: str) -> Any:
    """The function torch.<name> of a deferred module; None where there is none of that name."""
    module = _module_of.get(name)
    if module is not None:
        load(module)
    return FUNCTIONS.get(name)


def names() -> tuple[str, ...]:
    """All torch.<name> of deferred modules."""
    return tuple(_module_of)


def function_of(module: str, name: str) -> Function:
    """The function torch.<module>.<name> of a deferred module."""
    load(module)
    return NAMESPACES[module][name]


def namespace(name: str) -> dict[str, Any]:
    """The public functions of ``torch.<name>`` (after its op modules have been imported)."""
    return NAMESPACES[name]


class Method:
    """Stands for a Tensor method until its module, which puts the real one in this place, is imported."""

    def __init__(self, name: str, module: str) -> None:
        self.name, self.module = name, module

    def __get__(self, instance: Tensor | None, owner: type[Any]) -> Function:
        load(self.module)
        found = Tensor.__dict__[self.name]         # not a subclass's method of that name, which may have brought us here
        if isinstance(found, Method):
            raise AttributeError(f"rushlight.ops.{self.module} does not define the method {self.name}")
        return found.__get__(instance, owner)


for _module, _names in METHODS_OF.items():
    for _name in _names.split():
        setattr(Tensor, _name, Method(_name, _module))
