"""``torch.cuda.jiterator``: CUDA functions given as text. They can be made; calling one says what to use instead (NotImplementedError)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..unsupported import not_supported

__all__: list[str] = []


def _create_jit_fn(code_string: str, **kwargs: Any) -> Callable[..., Any]:
    """An elementwise function from the text of a C++ template; `kwargs` are its numbers' defaults."""
    found = re.search(r"\bT\s+(\w+)\s*\(|\bvoid\s+(\w+)\s*\(", code_string)
    if found is None:
        raise AssertionError("Couldn't parse code, please check correctness:\n " + code_string)
    return not_supported(f"cuda.jiterator: {found[1] or found[2]}", "write it with torch's functions, which are fused on the GPU where "
                                                                    "they are formulas (docs/kernels.md)")


def _create_multi_output_jit_fn(code_string: str, num_outputs: int, **kwargs: Any) -> Callable[..., Any]:
    """The same with several results."""
    return _create_jit_fn(code_string, **kwargs)
