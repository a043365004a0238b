"""``torch.backends``: switches of libraries. Those of libraries that rushlight does not use are remembered and change nothing."""

from . import cpu, cuda, cudnn, cusparselt, kleidiai, mha, miopen, mkl, mkldnn, mps, nnpack, openmp, opt_einsum, python_native, quantized, xnnpack

__all__ = ["cpu", "cuda", "cudnn", "cusparselt", "kleidiai", "mha", "miopen", "mkl", "mkldnn", "mps", "nnpack", "openmp", "opt_einsum",
           "python_native", "quantized", "xnnpack", "disable_global_flags"]


def disable_global_flags() -> None:
    """Where PyTorch freezes the switches of its libraries, so that only their ``flags`` contexts change them; those here are free."""
