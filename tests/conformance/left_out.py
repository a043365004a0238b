"""What is not compared, and why. `docs/compatibility.md` shows these lists."""

import fnmatch

# Patterns of op names -> the reason.
LEFT_OUT = {
    "jiterator_*": "compiles CUDA source given as text; PyTorch has it on CUDA only",
    "torch.ops.aten._flash_attention_forward": "a CUDA kernel of PyTorch without a CPU form",
    "torch.ops.aten._efficient_attention_forward": "a CUDA kernel of PyTorch without a CPU form",
    "sparse.*": "sparse kernels; rushlight's sparse tensors have tests of their own (tests/sparse)",
}

# Ops whose values are whatever the memory held: dtype and shape are compared.
UNDEFINED_VALUES = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted", "resize_", "resize_as_"}

# Factorisations that are unique up to signs or phases: what is compared is the part that PyTorch's own gradient tests call invariant.
GAUGE = {"linalg.svd", "svd", "linalg.eig", "linalg.eigh", "linalg.qr", "qr", "geqrf", "svd_lowrank", "pca_lowrank", "linalg.lstsq"}

# Ops whose indices may differ where elements are equal (PyTorch's sorts are stable on demand only): the position of the argument `dim`.
TIES = {"sort": 0, "argsort": 0, "topk": 1, "kthvalue": 1, "mode": 0, "msort": None}

# Ops whose out= PyTorch 2.13 leaves unwritten for some arguments (transforms over one dimension): the result alone is compared.
OUT_NOT_WRITTEN = {"fft.ihfft2", "fft.ihfftn"}

# Ops that PyTorch computes coarsely (its Bessel functions of doubles are off by 1e-6; ours are tested against mpmath): tolerance times this.
COARSE = {"special.bessel_j0": 1e3, "special.bessel_j1": 1e3, "special.bessel_y0": 1e3, "special.bessel_y1": 1e3}

# Ops whose gradient is not compared, with the reason.
NO_GRADIENT = {"as_strided_scatter": "PyTorch's gradient for `input` is that of the part which `src` has overwritten, and undefined elsewhere"}


def left_out(op):
    """The reason why an op is not compared, or None."""
    for pattern, reason in LEFT_OUT.items():
        if fnmatch.fnmatch(op.name, pattern):
            return reason
    return None
