"""The files that TensorBoard's projector reads: the points, their labels, a picture of all images, and the list of all."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from ...tensor import Tensor
from ...vocabulary import Array
from ._arrays import make_np
from ._images import make_grid, needed, png

__all__ = ["write_config", "write_embedding"]


def write_embedding(folder: str, inside: str, name: str, points: Array, labels: Sequence[Any] | None, images: Tensor | None,
                    header: Sequence[str] | None) -> EmbeddingInfo:
    """Write one embedding into ``folder/inside`` and tell what was written. AssertionError where the parts don't fit together."""
    path = os.path.join(folder, inside)
    if os.path.isdir(path):
        print("warning: Embedding dir exists, did you set global_step for add_embedding()?")
    elif os.path.exists(path):
        raise NotADirectoryError(f"Path: `{path}` exists, but is a file. Cannot proceed.")
    os.makedirs(path, exist_ok=True)
    info = EmbeddingInfo(tensor_name=name, tensor_path=f"{inside}/tensors.tsv")
    if labels is not None:
        if len(points) != len(labels):
            raise AssertionError("#labels should equal with #data points")
        _write(path, "metadata.tsv", _labels(labels, header))
        info.metadata_path = f"{inside}/metadata.tsv"
    if images is not None:
        if len(points) != len(images):
            raise AssertionError("#images should equal with #data points")
        _write(path, "sprite.png", _sprite(make_np(images)))
        info.sprite.image_path = f"{inside}/sprite.png"
        info.sprite.single_image_dim.extend([images.shape[3], images.shape[2]])
    if points.ndim != 2:
        raise AssertionError("mat should be 2D, where mat.size(0) is the number of data points")
    _write(path, "tensors.tsv", "".join("\t".join(str(number) for number in row.tolist()) + "\n" for row in points).encode())
    return info


def _labels(labels: Sequence[Any], header: Sequence[str] | None) -> bytes:
    if not header:
        lines = [str(label) for label in labels]
    else:
        if len(header) != len(labels[0]):
            raise AssertionError("len of header must be equal to the number of columns in metadata")
        lines = ["\t".join(str(cell) for cell in row) for row in (header, *labels)]
    return ("\n".join(lines) + "\n").encode()


def _sprite(images: Array) -> bytes:
    """All images in one square picture."""
    grid = make_grid(images, ncols=math.ceil(len(images) ** 0.5)).transpose(1, 2, 0)
    square = np.zeros((grid.shape[1], grid.shape[1], 3))
    square[:grid.shape[0]] = grid
    return png(needed("PIL.Image", "pillow").fromarray(np.uint8((square * 255).clip(0, 255))))


def write_config(folder: str, config: ProjectorConfig) -> None:
    """The list of all embeddings of a run."""
    _write(folder, "projector_config.pbtxt", text_format.MessageToString(config).encode())


def _write(folder: str, name: str, data: bytes) -> None:
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)
