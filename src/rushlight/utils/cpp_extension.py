"""``torch.utils.cpp_extension``: extensions in C++ and CUDA are written against PyTorch's C++ library, which is not here."""

from __future__ import annotations

from ..unsupported import attribute_of, not_supported

__all__ = ["load", "load_inline", "CppExtension", "CUDAExtension", "BuildExtension", "include_paths"]

CUDA_HOME = None
_INSTEAD = ("extensions need PyTorch's C++ library (ATen), which rushlight does not have; write the function in Python "
            "(torch.autograd.Function), or in any language that can work on t.numpy(), t.data_ptr() or DLPack memory")

load = not_supported("utils.cpp_extension.load", _INSTEAD)
load_inline = not_supported("utils.cpp_extension.load_inline", _INSTEAD)
CppExtension = not_supported("utils.cpp_extension.CppExtension", _INSTEAD)
CUDAExtension = not_supported("utils.cpp_extension.CUDAExtension", _INSTEAD)
BuildExtension = not_supported("utils.cpp_extension.BuildExtension", _INSTEAD)
include_paths = not_supported("utils.cpp_extension.include_paths", _INSTEAD)

__getattr__ = attribute_of("utils.cpp_extension", _INSTEAD)
