"""The ops, one module per family. Importing them registers their functions and methods."""

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
    loss,
    matmul,
    normalization,
    padding,
    pair_loss,
    pooling,
    random,
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



def __getattr__(name: str) -> object:
    """`torch.ops.aten`, imported when it is asked for."""
    if name != "aten":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return import_module(".aten", __name__)
