"""``torch.backends.cuda``: switches of the GPU's libraries, and of the kernels of scaled_dot_product_attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ..nn import attention as _attention
from ..nn.attention import SDPBackend as _SDPBackend
from ..settings import get_float32_matmul_precision, set_float32_matmul_precision

__all__ = ["is_built", "is_available", "matmul", "preferred_linalg_library", "preferred_blas_library", "enable_flash_sdp",
           "flash_sdp_enabled", "enable_mem_efficient_sdp", "mem_efficient_sdp_enabled", "enable_math_sdp", "math_sdp_enabled",
           "enable_cudnn_sdp", "cudnn_sdp_enabled", "sdp_kernel", "allow_fp16_bf16_reduction_math_sdp",
           "fp16_bf16_reduction_math_sdp_allowed", "is_flash_attention_available", "SDPAParams", "can_use_flash_attention",
           "can_use_efficient_attention", "can_use_cudnn_attention"]


class _Matmul(SimpleNamespace):
    """Switches of matrix products on CUDA. Whatever the others allow, sums are float32 at least."""

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 factors may be rounded to TF32: the same setting as `torch.set_float32_matmul_precision`."""
        return get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        set_float32_matmul_precision("high" if value else "highest")


matmul = _Matmul(allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True, allow_fp16_accumulation=False,
                 fp32_precision="none")
_libraries = {"linalg": "default", "blas": "default"}
_reduced = [False]


def is_available() -> bool:
    """Whether there is a GPU that can be used."""
    from .. import cuda
    return cuda.is_available()


def is_built() -> bool:
    """Whether there is support for GPUs here: whether CuPy is installed."""
    from importlib.util import find_spec
    return find_spec("cupy") is not None


def _preferred(kind: str, choices: tuple[str, ...], backend: str | None) -> str:
    if backend is not None:
        if backend not in choices:
            raise RuntimeError(f"Unknown input value. Choose from: {', '.join(choices)}.")
        _libraries[kind] = backend
    return _libraries[kind]


def preferred_linalg_library(backend: str | None = None) -> str:
    """Remember, and tell, which library linear algebra should use; CuPy chooses."""
    return _preferred("linalg", ("default", "cusolver", "magma"), backend)


def preferred_blas_library(backend: str | None = None) -> str:
    """Remember, and tell, which library matrix products should use."""
    return _preferred("blas", ("default", "cublas", "cublaslt", "hipblaslt", "ck"), backend)


def enable_flash_sdp(enabled: bool) -> None:
    """Allow flash attention (see `torch.nn.attention`)."""
    _attention.enable(_SDPBackend.FLASH_ATTENTION, enabled)


def flash_sdp_enabled() -> bool:
    """Whether flash attention is allowed."""
    return _attention.enabled(_SDPBackend.FLASH_ATTENTION)


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Allow memory-efficient attention."""
    _attention.enable(_SDPBackend.EFFICIENT_ATTENTION, enabled)


def mem_efficient_sdp_enabled() -> bool:
    """Whether memory-efficient attention is allowed."""
    return _attention.enabled(_SDPBackend.EFFICIENT_ATTENTION)


def enable_math_sdp(enabled: bool) -> None:
    """Allow attention by matrix products."""
    _attention.enable(_SDPBackend.MATH, enabled)


def math_sdp_enabled() -> bool:
    """Whether attention by matrix products is allowed."""
    return _attention.enabled(_SDPBackend.MATH)


def enable_cudnn_sdp(enabled: bool) -> None:
    """Allow cuDNN's attention."""
    _attention.enable(_SDPBackend.CUDNN_ATTENTION, enabled)


def cudnn_sdp_enabled() -> bool:
    """Whether cuDNN's attention is allowed."""
    return _attention.enabled(_SDPBackend.CUDNN_ATTENTION)


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Remember whether sums may be computed in float16 and bfloat16; they are computed in float32."""
    _reduced[0] = bool(enabled)


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """What `allow_fp16_bf16_reduction_math_sdp` was given."""
    return _reduced[0]


def is_flash_attention_available() -> bool:
    """Whether PyTorch's flash attention is here: no."""
    return False


@contextmanager
def sdp_kernel(enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True,
               enable_cudnn: bool = True) -> Iterator[Any]:
    """The old form of `torch.nn.attention.sdpa_kernel`."""
    chosen = [backend for backend, on in ((_SDPBackend.FLASH_ATTENTION, enable_flash), (_SDPBackend.EFFICIENT_ATTENTION,
                                                                                        enable_mem_efficient),
                                          (_SDPBackend.MATH, enable_math), (_SDPBackend.CUDNN_ATTENTION, enable_cudnn)) if on]
    with _attention.sdpa_kernel(chosen) as context:
        yield context


class SDPAParams:
    """What a call of scaled_dot_product_attention is about: its tensors and options."""

    def __init__(self, query: Any, key: Any, value: Any, attn_mask: Any, dropout: float, is_causal: bool, enable_gqa: bool = False) -> None:
        self.query, self.key, self.value, self.attn_mask = query, key, value, attn_mask
        self.dropout, self.is_causal, self.enable_gqa = dropout, is_causal, enable_gqa


def can_use_flash_attention(params: SDPAParams, debug: bool = False) -> bool:
    """Whether PyTorch's FlashAttention kernel would take a call: no, rushlight chooses among kernels of its own."""
    return False


can_use_efficient_attention = can_use_cudnn_attention = can_use_flash_attention
