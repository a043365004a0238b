"""Images for TensorBoard: layouts, grids, boxes, figures and videos. The package `pillow` writes them as PNG."""

from __future__ import annotations

import importlib
import io
import math
import os
import tempfile
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary

from ...vocabulary import Array
from ._arrays import Loggable, make_np

__all__ = ["convert_to_HWC", "figure_to_image", "image", "image_boxes", "make_grid", "video"]


def image(tag: str, tensor: Loggable, rescale: float = 1, dataformats: str = "NCHW") -> Summary:
    """One image, or a batch as a grid. Floats run from 0 to 1, uint8 from 0 to 255; what is outside is cut off."""
    return Summary(value=[Summary.Value(tag=tag, image=_encoded(_bytes(convert_to_HWC(make_np(tensor), dataformats)), rescale))])


def image_boxes(tag: str, tensor_image: Loggable, tensor_boxes: Loggable, rescale: float = 1, dataformats: str = "CHW",
                labels: Sequence[str] | None = None) -> Summary:
    """An image with a red frame for each row (x1, y1, x2, y2) of `tensor_boxes`."""
    pixels = _bytes(convert_to_HWC(make_np(tensor_image), dataformats))
    return Summary(value=[Summary.Value(tag=tag, image=_encoded(pixels, rescale, make_np(tensor_boxes), labels))])


def _bytes(pixels: Array) -> Array:
    """Pixels from 0 to 255, whichever way they were given."""
    scale = 1 if pixels.dtype == np.uint8 else 255
    return (pixels.astype(np.float32) * scale).clip(0, 255).astype(np.uint8)


def _encoded(pixels: Array, rescale: float, boxes: Array | None = None, labels: Sequence[str] | None = None) -> Summary.Image:
    pillow = needed("PIL.Image", "pillow")
    height, width, channels = pixels.shape
    picture = pillow.fromarray(pixels)
    if boxes is not None:
        for number, box in enumerate(boxes):
            _draw_box(picture, [float(side) for side in box], labels[number] if labels else "")
    picture = picture.resize((int(width * rescale), int(height * rescale)), pillow.Resampling.LANCZOS)
    return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png(picture))


def png(picture: Any) -> bytes:
    """A picture of pillow's as the bytes of a PNG file."""
    with io.BytesIO() as file:
        picture.save(file, format="PNG")
        return file.getvalue()


def _draw_box(picture: Any, box: list[float], label: str) -> None:
    """The frame, two pixels wide, and the label in black on red in its lower left corner."""
    pen = needed("PIL.ImageDraw", "pillow").Draw(picture)
    left, top, right, bottom = box
    pen.line([(left, top), (left, bottom), (right, bottom), (right, top), (left, top)], width=2, fill="Red")
    if label:
        font = needed("PIL.ImageFont", "pillow").load_default()
        x0, y0, x1, y1 = font.getbbox(label)
        margin = math.ceil(0.05 * (y1 - y0))
        pen.rectangle([(left, bottom - (y1 - y0) - 2 * margin), (left + x1 - x0, bottom)], fill="Red")
        pen.text((left + margin, bottom - (y1 - y0) - margin), label, fill="black", font=font)


def needed(module: str, package: str) -> ModuleType:
    """A module that only some calls need; an ImportError that says what to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"this call needs the package {package}: pip install {package}", name=package) from error


# --- layouts ----------------------------------------------------------------------------------------------------------------------------

def convert_to_HWC(tensor: Array, input_format: str) -> Array:  # noqa: N802
    """Pixels as (height, width, channels), from a layout such as "CHW", "HW" or "NCHW" (a grid then). AssertionError if it does not fit."""
    if len(set(input_format)) != len(input_format):
        raise AssertionError(f"You can not use the same dimension shorthand twice. input_format: {input_format}")
    if tensor.ndim != len(input_format):
        raise AssertionError("size of input tensor and input format are different. "
                             f"tensor shape: {tensor.shape}, input_format: {input_format}")
    given = input_format.upper()
    if len(given) == 4:
        return make_grid(tensor.transpose([given.find(c) for c in "NCHW"])).transpose(1, 2, 0)
    if len(given) == 3:
        pixels = tensor.transpose([given.find(c) for c in "HWC"])
        return np.concatenate([pixels] * 3, 2) if pixels.shape[2] == 1 else pixels
    if len(given) == 2:
        return np.stack([tensor.transpose([given.find(c) for c in "HW"])] * 3, 2)
    raise AssertionError(f"dataformats names two, three or four dimensions, such as CHW, but got {input_format}")


def make_grid(I: Array, ncols: int = 8) -> Array:  # noqa: N803
    """A batch (N, 1 or 3, H, W) as one image (3, rows * H, columns * W), row by row, black where none is left."""
    if not isinstance(I, np.ndarray):
        raise AssertionError("plugin error, should pass numpy array here")
    pixels = np.concatenate([I] * 3, 1) if I.shape[1] == 1 else I
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise AssertionError("Input should be a 4D numpy array with 3 channels")
    count, _, height, width = pixels.shape
    columns = min(count, ncols)
    rows = -(-count // columns)
    full = np.zeros((rows * columns, 3, height, width), pixels.dtype)
    full[:count] = pixels
    return full.reshape(rows, columns, 3, height, width).transpose(2, 0, 3, 1, 4).reshape(3, rows * height, columns * width)


# --- figures and videos -----------------------------------------------------------------------------------------------------------------

def figure_to_image(figures: Any, close: bool = True) -> Array:
    """A figure of matplotlib's as pixels (3, H, W), a list of them as (N, 3, H, W); `close` frees them."""
    if isinstance(figures, list):
        return np.stack([figure_to_image(figure, close) for figure in figures])
    canvas = needed("matplotlib.backends.backend_agg", "matplotlib").FigureCanvasAgg(figures)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].transpose(2, 0, 1)
    if close:
        needed("matplotlib.pyplot", "matplotlib").close(figures)
    return pixels


def video(tag: str, tensor: Loggable, fps: float = 4) -> Summary:
    """Videos (N, T, C, H, W) side by side as one GIF; pillow writes it, PyTorch asks for moviepy."""
    frames = _bytes(_side_by_side(make_np(tensor)))
    pictures = [needed("PIL.Image", "pillow").fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame) for frame in frames]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "video.gif")
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 / fps, loop=0)
        with open(path, "rb") as file:
            data = file.read()
    _, height, width, channels = frames.shape
    picture = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=data)
    return Summary(value=[Summary.Value(tag=tag, image=picture)])


def _side_by_side(videos: Array) -> Array:
    """Frames (T, rows * H, columns * W, C); the number of videos is filled up with black ones to a power of two."""
    if videos.ndim != 5:
        raise AssertionError(f"add_video expects a tensor of shape (N, T, C, H, W), but got {videos.shape}")
    if videos.dtype == np.uint8:
        videos = videos.astype(np.float32) / 255
    count, frames, channels, height, width = videos.shape
    full = 1 << (count - 1).bit_length()
    rows = 1 << ((count.bit_length() - 1) // 2)
    padded = np.zeros((full, *videos.shape[1:]), videos.dtype)
    padded[:count] = videos
    grid = padded.reshape(rows, full // rows, frames, channels, height, width).transpose(2, 0, 4, 1, 5, 3)
    return grid.reshape(frames, rows * height, full // rows * width, channels)
