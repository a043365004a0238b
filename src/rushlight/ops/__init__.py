"""The ops, one module per family. Importing them registers their functions and methods."""

from importlib import import_module as import_any
from importlib.util import find_spec

from . import (
    activation,
    arithmetic,
    attention,
    clamp,
    complex_parts,
    conv,
    convert,
    creation,
    distance,
    dropout,
    einsum,
    elementwise,
    embedding,
    grid_sample,
    indexing,
    inplace,
    interpolate,
    joining,
    legacy,
    loss,
    matmul,
    normalization,
    padding,
    pair_loss,
    pooling,
    random,
    ranges,
    rearrange,
    reduction,
    rnn,
    sampling,
    scan,
    scatter,
    selection,
    shape,
    slices,
    softmax,
    sorting,
    sparse_entry,
    storages,
    view_copies,
    vision,
)

loaded_libraries: set[str] = set()


def load_library(path: str) -> None:
    """Load operators compiled for PyTorch: our twins of them where there are any (`rushlight.libraries`); else OSError, since they need its
    C++ library."""
    from ..libraries import twin_of
    twin = twin_of(path)
    if twin is not None:
        import_any("..libraries." + twin, __name__)
        loaded_libraries.add(path)
        return
    raise OSError(f"{path}: operators compiled for PyTorch can't be loaded by rushlight; give them as Python functions "
                  "(torch.library.custom_op)")


def import_module(module: str) -> None:
    """Import a Python module that defines operators."""
    import_any(module)


def __getattr__(name: str) -> object:
    """`torch.ops.aten`, imported when it is asked for, and the namespaces of `torch.library`."""
    if name == "aten":
        return import_any(".aten", __name__)
    if name.startswith("__") or find_spec(f"{__name__}.{name}") is not None:     # one of our modules, which the import system imports
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..library import Namespace
    return Namespace(name)
