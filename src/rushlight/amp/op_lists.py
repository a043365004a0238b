"""Which ops autocast runs in which precision, per device type: PyTorch's lists, in the names of the functions that users call.

lower    floating arguments are cast to autocast's dtype
float32  float16 and bfloat16 arguments are cast to float32
widest   if the floating arguments differ, all become float32
banned   not safe in float16: an error that says what to use instead
"""

from __future__ import annotations

__all__ = ["OP_LISTS", "PADS_IN_FLOAT32"]

_MATRIX = ("conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d bmm mm matmul linear addmm addbmm baddbmm "
           "prelu scaled_dot_product_attention linalg.vecdot lstm rnn_tanh rnn_relu")

# The padding modes and dimensions that the CPU's list has (pad is one function here).
PADS_IN_FLOAT32 = {"reflect": (1, 2), "replicate": (1, 2, 3)}

_CPU_FLOAT32 = (
    "avg_pool3d binary_cross_entropy binary_cross_entropy_with_logits grid_sample polar prod quantile nanquantile stft cdist trace "
    "view_as_complex cholesky cholesky_inverse cholesky_solve inverse lu_solve orgqr ormqr pinverse geqrf qr svd triangular_solve "
    "adaptive_avg_pool3d adaptive_max_pool3d max_pool3d fractional_max_pool2d fractional_max_pool3d max_unpool2d max_unpool3d "
    "mse_loss cosine_embedding_loss nll_loss hinge_embedding_loss poisson_nll_loss smooth_l1_loss cross_entropy l1_loss huber_loss "
    "margin_ranking_loss soft_margin_loss triplet_margin_loss multi_margin_loss multilabel_margin_loss ctc_loss kl_div "
    "pad "
    "fft.fft fft.fft2 fft.fftn fft.hfft fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.irfft fft.irfft2 fft.irfftn fft.rfft fft.rfft2 "
    "fft.rfftn linalg.cholesky linalg.cholesky_ex linalg.cond linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh "
    "linalg.householder_product linalg.inv linalg.inv_ex linalg.lstsq linalg.matrix_rank linalg.qr linalg.solve linalg.svd linalg.svdvals "
    "linalg.tensorinv linalg.tensorsolve")

_CUDA_LOWER = _MATRIX + " addmv addr mv chain_matmul linalg.multi_dot einsum gru_cell lstm_cell rnn_tanh_cell rnn_relu_cell gru"

_CUDA_FLOAT32 = (
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus layer_norm rms_norm group_norm norm "
    "cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss hinge_embedding_loss kl_div l1_loss smooth_l1_loss "
    "huber_loss mse_loss margin_ranking_loss multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss "
    "binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp prod softmax log_softmax cumprod cumsum sum interpolate "
    "linalg.vector_norm linalg.matrix_norm cross_entropy")

OP_LISTS: dict[str, dict[str, str]] = {
    "cpu": {**dict.fromkeys(_MATRIX.split(), "lower"), **dict.fromkeys(_CPU_FLOAT32.split(), "float32"),
            **dict.fromkeys(["cat", "stack", "index_copy"], "widest")},
    "cuda": {**dict.fromkeys(_CUDA_LOWER.split(), "lower"), **dict.fromkeys(_CUDA_FLOAT32.split(), "float32"),
             **dict.fromkeys(["addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "vdot", "grid_sample", "index_put", "tensordot",
                              "scatter_add"], "widest"),
             "binary_cross_entropy": "banned"},
}
