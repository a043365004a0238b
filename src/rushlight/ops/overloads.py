"""Which overloads PyTorch's operators have. Names of overloads are facts of PyTorch's registry that mostly follow from what an op is.

By rule, a binary op that takes numbers has "Tensor" and "Scalar", every other op "default"; each has a form with `out` where the public
function has one; an in-place operator has the overloads of the operator without `out`. `_NAMED` holds those that no rule gives.
"""

from __future__ import annotations

from .registry import Op

__all__ = ["LISTS", "is_out", "only_in_python", "overloads_of"]

# The overloads -> the operators that have them. Behind "|" those with `out`, where they are not "out" for "default" and "X_out" for "X".
_NAMED = {
    "int": "sym_size size stride log_softmax select_copy softmax transpose_copy unbind_copy select transpose unbind unflatten",
    "Tensor": "index slice _unsafe_index frexp slice_copy split_copy unsafe_split",
    "default": "normal_ transpose_",
    "input": "conv_transpose2d conv_transpose3d",
    "memory_format": "empty",
    "two": "scatter_reduce",
    "using_ints": "flatten",
    "default deprecated": "_convolution",
    "default padding_idx": "embedding_bag",
    "dim | out": "frobenius_norm",
    "default dim": "nuclear_norm",
    "Scalar Tensor": "bucketize fmod lerp searchsorted fill masked_fill rsub",
    "default dtype": "view_copy view",
    "default Tensor": "clamp clamp_max clamp_min clip narrow",
    "default generator": "rand randn randperm rand_like randn_like",
    "data input": "gru lstm rnn_relu rnn_tanh",
    "array int": "dsplit hsplit vsplit",
    "default Sequence": "atleast_1d atleast_2d atleast_3d",
    "default padding": "conv1d conv2d conv3d",
    "default periodic": "bartlett_window blackman_window hann_window",
    "default |": "isfinite ldexp_",
    "dx x": "cumulative_trapezoid trapezoid trapz",
    "ccol_row_value ccol_row_value_size": "sparse_bsc_tensor sparse_csc_tensor",
    "crow_col_value crow_col_value_size": "sparse_bsr_tensor sparse_csr_tensor",
    "default scalar": "nanquantile quantile",
    "int intlist": "moveaxis movedim",
    "IntList Tensor": "ctc_loss",
    "Tensor float": "bernoulli_",
    "Tensor sizes": "split",
    "bin_ct bins_tensor": "histogram",
    "comp_plain_value comp_plain_value_size": "sparse_compressed_tensor",
    "default Scalar": "floor_divide",
    "default center": "stft",
    "default decimals": "round",
    "default dim_IntList": "count_nonzero",
    "default indexing": "meshgrid",
    "default m": "eye",
    "default vec":
        "_upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_bicubic2d "
        "upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d",
    "default memory_format": "is_contiguous",
    "default no_stats": "_native_batch_norm_legit",
    "default ord_str": "linalg_norm",
    "default p_str": "linalg_cond",
    "default sparse_dim": "to_sparse",
    "default str_ord": "linalg_matrix_norm",
    "int_Scalar int_Tensor": "index_fill",
    "default n_scalar x_scalar":
        "special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v special_chebyshev_polynomial_w "
        "special_hermite_polynomial_h special_hermite_polynomial_he special_laguerre_polynomial_l special_legendre_polynomial_p "
        "special_shifted_chebyshev_polynomial_t special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v "
        "special_shifted_chebyshev_polynomial_w",
    "Scalar Scalar_Tensor Tensor": "bitwise_and bitwise_or bitwise_xor remainder",
    "default other_scalar self_scalar": "special_xlog1py special_xlogy special_zeta",
    "default | values": "kthvalue mode topk",
    "Scalar Tensor_Scalar Tensor_Tensor": "float_power pow",
    "Scalar_Tensor Tensor Tensor_Scalar": "bitwise_left_shift bitwise_right_shift",
    "default correction dim": "std_mean var_mean",
    "default dim dims": "squeeze squeeze_copy",
    "default | U": "linalg_svd svd",
    "Scalar Tensor |": "floor_divide_",
    "Scalar_Other Tensor |": "xlogy_",
    "Scalar_Tensor Tensor_Scalar Tensor_Tensor": "isin",
    "Tensor self_Tensor self_int": "repeat_interleave",
    "Tensor | out": "ldexp",
    "default TensorList_bins int_bins": "histogramdd",
    "default beta periodic": "kaiser_window",
    "default from to": "random_",
    "default | L": "linalg_cholesky_ex",
    "default | Q": "qr",
    "default | X": "triangular_solve",
    "default | a": "geqrf",
    "default | eigvals": "linalg_eigh",
    "default | inverse": "linalg_inv_ex",
    "device dtype other": "to",
    "indices indices_size size": "sparse_coo_tensor",
    "indices sections tensor_indices_or_sections": "tensor_split",
    "Scalar Tensor | out": "multiply subtract true_divide",
    "default Scalar_Tensor Tensor_Scalar Tensor_Tensor": "linspace logspace",
    "default generator low low_generator": "randint",
    "default periodic periodic_alpha periodic_alpha_beta": "hamming_window",
    "default stable | stable_out": "argsort",
    "reduce src value value_reduce": "scatter",
    "default dim | dim_values out": "median nanmedian",
    "default dim | dtype_out out": "mean",
    "default dim_IntList | IntList_out out": "sum",
    "default dim_int | int_out out": "prod",
    "default source_Storage source_Storage_storage_offset source_Tensor source_Tensor_storage_offset": "set_",
    "default stable | values values_stable": "sort",
    "default step | out out_": "range",
    "default correction dim | correction_out out": "std var",
    "default Tensor Tensor_generator generator low_dtype low_generator_dtype": "randint_like",
    "default start start_step | out start_out": "arange",
    "default dim dims | all_out dims_out out": "all any",
    "Scalar Scalar_mode Tensor Tensor_mode | out out_mode": "divide",
    "Scalar_Other Scalar_Self Tensor | OutScalar_Other OutScalar_Self OutTensor": "xlogy",
    "array scalararray scalarint scalarrayarray scalarrayint tensorarray tensorarrayint": "gradient",
    "default Scalar ScalarOther ScalarSelf self | self_out": "where",
    "default Tensor p | Tensor_out float_out out": "bernoulli",
    "default dim other | dim_max out unary_out": "max",
    "default dim other | dim_min out unary_out": "min",
    "Scalar ScalarOpt_dim ScalarOpt_dim_dtype ScalarOpt_dtype | ScalarOpt_dtype_out Scalar_out dtype_out out": "norm",
    "Scalar Scalar_mode Tensor Tensor_mode | Scalar_mode_out Scalar_out out out_mode": "div",
    "default atol_rtol_float atol_rtol_tensor rcond_tensor | atol_rtol_float_out atol_rtol_tensor_out out out_rcond_tensor": "linalg_pinv",
    "default atol_rtol_float atol_rtol_tensor tol_tensor | atol_rtol_float_out atol_rtol_tensor_out out out_tol_tensor":
        "linalg_matrix_rank",
    "Tensor_Tensor Tensor_float float_Tensor float_float | Tensor_Tensor_out Tensor_float_out float_Tensor_out float_float_out out":
        "normal",
}

# Overloads that take their results' memory by the results' names, or under another word.
_OUT = frozenset(("values", "dim_values", "dim_max", "dim_min", "L", "U", "Q", "X", "eigvals", "a", "inverse", "output", "unary_out",
                  "grad_input", "values_stable"))

# Operators that return lists of tensors.
LISTS = frozenset(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk", "tensor_split",
                   "hsplit", "vsplit", "dsplit", "unbind", "unbind_copy", "split_copy", "split_with_sizes_copy", "meshgrid",
                   "broadcast_tensors", "atleast_1d", "atleast_2d", "atleast_3d", "where", "gradient", "nonzero_numpy", "align_tensors"))

# What is public here and in PyTorch, but no operator of aten there.
_PYTHON_ONLY = """
    BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor H HalfTensor IntTensor LongTensor ShortTensor T
    _segment_reduce adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices adaptive_max_pool3d_with_indices affine_grid
    apply_ as_subclass as_tensor asarray backward bfloat16 bool broadcast_shapes byte cdouble cfloat char const_data_ptr cpu
    cross_entropy cuda data_ptr device dim_order double dropout1d dropout2d dropout3d dtype eig element_size float fold
    fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices from_numpy frombuffer gaussian_nll_loss grad grad_fn
    grid_sample gumbel_softmax half has_names int interpolate is_cpu is_cuda is_meta is_mkldnn is_mps is_nested is_quantized is_shared
    is_sparse is_sparse_csr is_tensor is_xla is_xpu itemsize layout linear_cross_entropy lobpcg local_response_norm logsigmoid long
    lp_pool1d lp_pool2d lp_pool3d lstsq lu map2_ map_ matrix_rank max_unpool1d module_load multi_head_attention_forward
    multilabel_soft_margin_loss names nbytes ndim ndimension nelement new new_tensor normalize numpy pca_lowrank register_hook
    register_post_accumulate_grad_hook requires_grad shape share_memory_ short softmin softsign solve spmm storage storage_type
    svd_lowrank symeig tanhshrink tensor to_sparse_coo tolist triplet_margin_with_distance_loss type unique unravel_index
    untyped_storage upsample upsample_bilinear upsample_nearest dsmm hsmm saddmm
"""
_NO_OPERATORS = frozenset(_PYTHON_ONLY.split())

_OVERLOADS = {name: overloads for overloads, names in _NAMED.items() for name in names.split()}


def only_in_python(name: str) -> bool:
    """Whether what is public under this name is no operator of aten; of those over lists of tensors (``_foreach_add``) none is served
    there."""
    return name in _NO_OPERATORS or name.startswith("_foreach_")


def is_out(overload: str) -> bool:
    """Whether an overload writes into tensors that it is given."""
    return "out" in overload.lower() or overload in _OUT


def overloads_of(name: str, op: Op | None, takes_out: bool) -> list[str]:
    """The overloads of an operator."""
    if name.startswith("__"):                       # operators of Python
        return ["Tensor", "Scalar"]
    found = _OVERLOADS.get(name)
    if found is None and name.endswith("_") and not name.endswith("__"):
        return _in_place(overloads_of(name[:-1], op, False))
    if found is None:
        found = "default" if op is None or op.form != "binary" or op.numbers == "none" else "Tensor Scalar | " + ("Tensor_out Scalar_out" if op.result == "bool" else "out Scalar_out")
    names, explicit, outs = found.partition("|")
    plain = names.split()
    if not takes_out:
        return plain
    return plain + (outs.split() if explicit else ["out" if each == "default" else each + "_out" for each in plain])


def _in_place(overloads: list[str]) -> list[str]:
    """The overloads of the in-place form: what is written into is a tensor."""
    if "Tensor_Tensor" in overloads:
        return ["Tensor", "Scalar"]
    return [each for each in overloads if not each.startswith("Scalar_Tensor")]
