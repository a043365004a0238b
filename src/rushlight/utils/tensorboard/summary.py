"""The summaries that go into event files: numbers, tensors, histograms, texts, charts, sounds and meshes."""

from __future__ import annotations

import io
import json
import struct
import wave
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.mesh import metadata as mesh_metadata
from tensorboard.plugins.mesh.plugin_data_pb2 import MeshPluginData
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

from ...dtypes import dtype
from ...tensor import Tensor
from ...vocabulary import Array, Shape
from ._arrays import Loggable, make_np
from ._hparams import hparams
from ._images import image, image_boxes, video

__all__ = ["half_to_int", "int_to_half", "hparams", "scalar", "histogram_raw", "histogram", "make_histogram", "image", "image_boxes",
           "video", "audio", "custom_scalars", "text", "tensor_proto", "pr_curve_raw", "pr_curve", "compute_curve", "mesh"]

_MOST_THRESHOLDS = 127             # what the plugin reads


def _plugin(name: str, content: bytes = b"") -> SummaryMetadata:
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=name, content=content))


def _shape(sizes: Sequence[int]) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def scalar(name: str, tensor: Loggable, collections: object = None, new_style: bool = False, double_precision: bool = False) -> Summary:
    """One number. `new_style` writes it as a tensor, in double if asked for. AssertionError for more than one number.

    (`collections` is TensorFlow's; PyTorch takes it and leaves it, and so does this.)
    """
    value = make_np(tensor).squeeze()
    if value.ndim != 0:
        raise AssertionError(f"Tensor should contain one element (0 dimensions). Was given size: {value.size} and {value.ndim} dimensions.")
    number = float(value)
    if not new_style:
        return Summary(value=[Summary.Value(tag=name, simple_value=number)])
    proto = TensorProto(double_val=[number], dtype="DT_DOUBLE") if double_precision else TensorProto(float_val=[number], dtype="DT_FLOAT")
    return Summary(value=[Summary.Value(tag=name, tensor=proto, metadata=_plugin("scalars"))])


# --- tensors ----------------------------------------------------------------------------------------------------------------------------

def half_to_int(f: float) -> int:
    """The bits of a number in single precision, which is how 16-bit floats are stored."""
    return struct.unpack("i", struct.pack("f", f))[0]


def int_to_half(i: int) -> float:
    """The number that `half_to_int` has stored."""
    return struct.unpack("f", struct.pack("i", i))[0]


def _numbers(tensor: Tensor) -> list[Any]:
    return tensor.flatten().tolist()


def _bits(tensor: Tensor) -> list[int]:
    return [half_to_int(number) for number in _numbers(tensor)]


def _pairs(tensor: Tensor) -> list[float]:
    return [part for number in _numbers(tensor) for part in (number.real, number.imag)]


# dtype -> the protocol's name of it, the field that holds its numbers, and how they are made
_FORMS: dict[str, tuple[str, str, Callable[[Tensor], list[Any]]]] = {
    "float16": ("DT_HALF", "half_val", _bits), "bfloat16": ("DT_BFLOAT16", "half_val", _bits),
    "float32": ("DT_FLOAT", "float_val", _numbers), "float64": ("DT_DOUBLE", "double_val", _numbers),
    "uint8": ("DT_UINT8", "uint32_val", _numbers), "int8": ("DT_INT8", "int_val", _numbers), "int16": ("DT_INT16", "int_val", _numbers),
    "int32": ("DT_INT32", "int_val", _numbers), "int64": ("DT_INT64", "int64_val", _numbers), "bool": ("DT_BOOL", "bool_val", _numbers),
    "complex64": ("DT_COMPLEX64", "scomplex_val", _pairs), "complex128": ("DT_COMPLEX128", "dcomplex_val", _pairs),
}


def tensor_proto(tag: str, tensor: Tensor) -> Summary:
    """A whole tensor. ValueError above 2 GiB, and for dtypes that the format has not."""
    if tensor.numel() * tensor.itemsize >= 1 << 31:
        raise ValueError("tensor is bigger than protocol buffer's hard limit of 2GB in size")
    form = _FORMS.get(_dtype_name(tensor.dtype))
    if form is None:
        raise ValueError(f"{tag} has unsupported tensor dtype {tensor.dtype}")
    name, field, numbers = form
    proto = TensorProto(dtype=name, tensor_shape=_shape(tensor.shape), **{field: numbers(tensor)})
    return Summary(value=[Summary.Value(tag=tag, metadata=_plugin("tensor"), tensor=proto)])


def _dtype_name(of: dtype) -> str:
    return str(of).removeprefix("torch.")


# --- histograms -------------------------------------------------------------------------------------------------------------------------

def histogram_raw(name: str, min: float, max: float, num: float, sum: float, sum_squares: float, bucket_limits: Sequence[float],
                  bucket_counts: Sequence[float]) -> Summary:
    """A histogram that the caller has counted: the upper limit and the count of each bucket."""
    return Summary(value=[Summary.Value(tag=name, histo=HistogramProto(
        min=min, max=max, num=num, sum=sum, sum_squares=sum_squares, bucket_limit=bucket_limits, bucket=bucket_counts))])


def histogram(name: str, values: Loggable, bins: str | int | Sequence[float], max_bins: int | None = None) -> Summary:
    """The histogram of some numbers; `bins` as NumPy's. ValueError where there are none."""
    return Summary(value=[Summary.Value(tag=name, histo=make_histogram(make_np(values).astype(float), bins, max_bins))])


def make_histogram(values: Array, bins: str | int | Sequence[float], max_bins: int | None = None) -> HistogramProto:
    """Count, join neighbouring bins until there are about `max_bins`, and leave out the empty ones at both ends."""
    if values.size == 0:
        raise ValueError("The input has no element.")
    values = values.reshape(-1)
    counts, limits = np.histogram(values, bins=bins)
    if max_bins is not None and len(counts) > max_bins:
        counts, limits = _joined(counts, limits, len(counts) // max_bins)
    filled = np.flatnonzero(counts > 0)
    if not filled.size:
        raise ValueError("The histogram is empty, please file a bug report.")
    first, last = int(filled[0]), int(filled[-1])
    # TensorBoard takes the right limits only: an empty bucket before the first gives its left one.
    kept = np.concatenate([[0], counts[:last + 1]]) if first == 0 else counts[first - 1:last + 1]
    return HistogramProto(min=values.min(), max=values.max(), num=len(values), sum=values.sum(), sum_squares=values.dot(values),
                          bucket_limit=limits[first:last + 2].tolist(), bucket=kept.tolist())


def _joined(counts: Array, limits: Array, together: int) -> tuple[Array, Array]:
    """`together` bins in one; the last one may hold fewer."""
    rest = len(counts) % together
    if rest:
        counts = np.pad(counts, (0, together - rest))
    return counts.reshape(-1, together).sum(axis=-1), np.append(limits[:-1:together], limits[-1])


# --- texts and charts -------------------------------------------------------------------------------------------------------------------

def text(tag: str, text: str) -> Summary:
    """A text in Markdown."""
    proto = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=_shape([1]))
    return Summary(value=[Summary.Value(tag=tag + "/text_summary", metadata=_plugin("text", TextPluginData(version=0).SerializeToString()),
                                        tensor=proto)])


def custom_scalars(layout: Mapping[str, Mapping[str, Sequence[Any]]]) -> Summary:
    """Charts of several tags: {category: {title: ["Multiline", tags] or ["Margin", [value, lower, upper]]}}."""
    categories = [layout_pb2.Category(title=category, chart=[_chart(title, *given[:2]) for title, given in charts.items()])
                  for category, charts in layout.items()]
    content = layout_pb2.Layout(category=categories).SerializeToString()
    proto = TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto())
    return Summary(value=[Summary.Value(tag="custom_scalars__config__", tensor=proto, metadata=_plugin("custom_scalars"))])


def _chart(title: str, kind: str, tags: Sequence[str]) -> layout_pb2.Chart:
    if kind != "Margin":
        return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
    if len(tags) != 3:
        raise AssertionError("len(tags) != 3")
    series = layout_pb2.MarginChartContent.Series(value=tags[0], lower=tags[1], upper=tags[2])
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def pr_curve(tag: str, labels: Array, predictions: Array, num_thresholds: int = 127, weights: Array | float | None = None) -> Summary:
    """Precision against recall of predictions between 0 and 1."""
    thresholds = min(num_thresholds, _MOST_THRESHOLDS)
    return _pr_summary(tag, compute_curve(labels, predictions, thresholds, weights), thresholds)


def pr_curve_raw(tag: str, tp: Array, fp: Array, tn: Array, fn: Array, precision: Array, recall: Array, num_thresholds: int = 127,
                 weights: object = None) -> Summary:
    """The same from counts for each threshold. (The counts hold the weights already; PyTorch takes `weights` and leaves them.)"""
    return _pr_summary(tag, np.stack([make_np(each) for each in (tp, fp, tn, fn, precision, recall)]),
                       min(num_thresholds, _MOST_THRESHOLDS))


def _pr_summary(tag: str, rows: Array, thresholds: int) -> Summary:
    data = PrCurvePluginData(version=0, num_thresholds=thresholds).SerializeToString()
    proto = TensorProto(dtype="DT_FLOAT", float_val=rows.reshape(-1).tolist(), tensor_shape=_shape(rows.shape))
    return Summary(value=[Summary.Value(tag=tag, metadata=_plugin("pr_curves", data), tensor=proto)])


def compute_curve(labels: Array, predictions: Array, num_thresholds: int = 127, weights: Array | float | None = None) -> Array:
    """Rows of true and false positives, true and false negatives, precision and recall, a column for each threshold."""
    weight: Any = 1.0 if weights is None else weights
    bucket = np.floor(predictions * (num_thresholds - 1)).astype(np.int32)
    right = labels.astype(np.float64)

    def at_or_above(weighted: Array) -> Array:
        counts, _ = np.histogram(bucket, bins=num_thresholds, range=(0, num_thresholds - 1), weights=weighted)
        return np.cumsum(counts[::-1])[::-1]

    tp, fp = at_or_above(right * weight), at_or_above((1.0 - right) * weight)
    tn, fn = fp[0] - fp, tp[0] - tp
    return np.stack((tp, fp, tn, fn, tp / np.maximum(1e-7, tp + fp), tp / np.maximum(1e-7, tp + fn)))


# --- sounds and meshes ------------------------------------------------------------------------------------------------------------------

def audio(tag: str, tensor: Loggable, sample_rate: int = 44100) -> Summary:
    """A sound of one channel, between -1 and 1 (louder is cut off), as 16-bit WAV."""
    samples = make_np(tensor).squeeze()
    if abs(samples).max() > 1:
        print("warning: audio amplitude out of range, auto clipped.")
        samples = samples.clip(-1, 1)
    if samples.ndim != 1:
        raise AssertionError("input tensor should be 1 dimensional.")
    with io.BytesIO() as file:
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(sample_rate)
            out.writeframes((samples * np.iinfo(np.int16).max).astype("<i2").tobytes())
        sound = Summary.Audio(sample_rate=sample_rate, num_channels=1, length_frames=len(samples), content_type="audio/wav",
                              encoded_audio_string=file.getvalue())
    return Summary(value=[Summary.Value(tag=tag, audio=sound)])


def mesh(tag: str, vertices: Tensor, colors: Tensor | None, faces: Tensor | None, config_dict: Mapping[str, Any] | None,
         display_name: str | None = None, description: str | None = None) -> Summary:
    """Points, or a mesh: vertices, colours and the corners of faces, each (batch, n, 3); `config_dict` goes to the viewer (three.js)."""
    given = [(each, kind) for each, kind in ((vertices, MeshPluginData.VERTEX), (faces, MeshPluginData.FACE),
                                             (colors, MeshPluginData.COLOR))
             if each is not None]
    components = mesh_metadata.get_components_bitmask([kind for _, kind in given])
    config = "{}" if config_dict is None else json.dumps(config_dict, sort_keys=True)

    def value(array: Array, kind: int) -> Summary.Value:
        shape: Shape = array.shape
        about = mesh_metadata.create_summary_metadata(tag, display_name, kind, components, shape, description, json_config=config)
        proto = TensorProto(dtype="DT_FLOAT", float_val=array.reshape(-1).tolist(), tensor_shape=_shape(shape[:3]))
        return Summary.Value(tag=mesh_metadata.get_instance_name(tag, kind), tensor=proto, metadata=about)

    return Summary(value=[value(make_np(each), kind) for each, kind in given])
