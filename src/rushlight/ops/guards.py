"""PyTorch's TypeError for functions that are public as they are written: an argument that is no tensor is named, as `define.op` does it.

Only functions that are not hot are here; the hot ones look at their arguments themselves.
"""

from __future__ import annotations

from .define import FUNCTIONS, guarded

__all__: list[str] = []

for _name in ("real", "imag", "is_complex", "is_floating_point", "is_signed", "numel", "detach", "detach_", "full_like", "polygamma", "atleast_1d",
              "atleast_2d", "atleast_3d", "abs_", "absolute_", "constant_pad_nd", "float_power", "roll", "split", "split_with_sizes", "tensor_split", "hsplit", "vsplit", "dsplit",
              "tril", "triu", "trapezoid", "trapz", "cumulative_trapezoid", "view_as_real", "view_as_complex", "cartesian_prod", "chain_matmul",
              "broadcast_tensors", "bilinear", "rms_norm", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "pdist"):
    if _name in FUNCTIONS and not hasattr(FUNCTIONS[_name], "__wrapped__"):
        FUNCTIONS[_name] = guarded(FUNCTIONS[_name], _name)
