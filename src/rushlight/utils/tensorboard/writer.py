"""The writers: `SummaryWriter` for programs, and `FileWriter`, which puts events into one file."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto.config_pb2 import RunMetadata
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ...nn.modules.module import Module
from ...tensor import Tensor
from ...vocabulary import Array
from . import summary
from ._arrays import Loggable, make_np
from ._embedding import write_config, write_embedding
from ._graph import graph
from ._images import figure_to_image

__all__ = ["FileWriter", "SummaryWriter"]


def _default_bins() -> list[float]:
    """Bins that widen by a tenth from 1e-12 to 1e20, on both sides of zero."""
    limits, limit = [], 1e-12
    while limit < 1e20:
        limits.append(limit)
        limit *= 1.1
    return [-each for each in reversed(limits)] + [0] + limits


class FileWriter:
    """Puts events into a file of `log_dir`, in the background: at most `max_queue` wait, for at most `flush_secs` seconds."""

    def __init__(self, log_dir: str | os.PathLike[str], max_queue: int = 10, flush_secs: float = 120, filename_suffix: str = "") -> None:
        self._new = lambda: EventFileWriter(str(log_dir), max_queue, flush_secs, filename_suffix)
        self.event_writer = self._new()
        self._open = True

    def get_logdir(self) -> str:
        """The folder of the file."""
        return self.event_writer.get_logdir()

    def add_event(self, event: Event, step: float | None = None, walltime: float | None = None) -> None:
        """Write an event, with this step and time (None: no step, now)."""
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self.event_writer.add_event(event)

    def add_summary(self, summary: Summary, global_step: float | None = None, walltime: float | None = None) -> None:
        """Write a summary as an event."""
        self.add_event(event_pb2.Event(summary=summary), global_step, walltime)

    def add_graph(self, graph_profile: tuple[GraphDef, RunMetadata], walltime: float | None = None) -> None:
        """Write a graph, and where it ran."""
        definition, where = graph_profile
        self.add_event(event_pb2.Event(graph_def=definition.SerializeToString()), None, walltime)
        tagged = event_pb2.TaggedRunMetadata(tag="step1", run_metadata=where.SerializeToString())
        self.add_event(event_pb2.Event(tagged_run_metadata=tagged), None, walltime)

    def add_onnx_graph(self, graph: GraphDef, walltime: float | None = None) -> None:
        """Write a graph alone."""
        self.add_event(event_pb2.Event(graph_def=graph.SerializeToString()), None, walltime)

    def flush(self) -> None:
        """Write what waits."""
        self.event_writer.flush()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.event_writer.close()
        self._open = False

    def reopen(self) -> None:
        """Go on in a new file of the same folder after `close`; nothing if the file is open."""
        if not self._open:
            self.event_writer, self._open = self._new(), True


class SummaryWriter:
    """Writes what a program tells into event files, which ``tensorboard --logdir runs`` shows.

    log_dir: the folder, by default ``runs/<date>_<host><comment>``, a new one for each run. purge_step: hide what an earlier run wrote
    into the folder from this step on. max_queue, flush_secs: events that may wait, and for how long. filename_suffix: what the files'
    names end in. Usable as ``with SummaryWriter() as writer``; after `close`, the next call begins a new file. In all methods:
    `global_step` is the step of the training, `walltime` replaces the time (seconds since 1970).
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
                 flush_secs: float = 120, filename_suffix: str = "") -> None:
        if not log_dir:
            log_dir = os.path.join("runs", f"{datetime.now():%b%d_%H-%M-%S}_{socket.gethostname()}{comment}")
        self.log_dir = log_dir
        self.purge_step = purge_step
        self.max_queue = max_queue
        self.flush_secs = flush_secs
        self.filename_suffix = filename_suffix
        self.file_writer: FileWriter | None = None
        self.all_writers: dict[str, FileWriter] | None = None
        self._projector_config = ProjectorConfig()
        self._get_file_writer()
        self.default_bins = _default_bins()

    def _new_file(self, log_dir: str | os.PathLike[str]) -> FileWriter:
        return FileWriter(log_dir, self.max_queue, self.flush_secs, self.filename_suffix)

    def _get_file_writer(self) -> FileWriter:
        """The writer of the run's own file; a new one after `close`."""
        if self.file_writer is None:
            self.file_writer = self._new_file(self.log_dir)
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
            if self.purge_step is not None:
                self.file_writer.add_event(Event(step=self.purge_step, file_version="brain.Event:2"))
                self.file_writer.add_event(Event(step=self.purge_step, session_log=SessionLog(status=SessionLog.START)))
                self.purge_step = None
        return self.file_writer

    def _add(self, what: Summary, global_step: float | None = None, walltime: float | None = None) -> None:
        self._get_file_writer().add_summary(what, global_step, walltime)

    def get_logdir(self) -> str | os.PathLike[str]:
        """The folder of the event files."""
        return self.log_dir

    # --- numbers

    def add_scalar(self, tag: str, scalar_value: Loggable, global_step: float | None = None, walltime: float | None = None,
                   new_style: bool = False, double_precision: bool = False) -> None:
        """A number. `new_style` stores it as a tensor, `double_precision` then in double."""
        self._add(summary.scalar(tag, scalar_value, new_style=new_style, double_precision=double_precision), global_step, walltime)

    def add_scalars(self, main_tag: str, tag_scalar_dict: Mapping[str, Loggable], global_step: float | None = None,
                    walltime: float | None = None) -> None:
        """Several numbers in one chart; each gets a folder of its own, ``<log_dir>/<main_tag>_<tag>``."""
        walltime = time.time() if walltime is None else walltime
        folder = self._get_file_writer().get_logdir()
        assert self.all_writers is not None
        for tag, value in tag_scalar_dict.items():
            place = os.path.join(folder, main_tag.replace("/", "_") + "_" + tag)
            if place not in self.all_writers:
                self.all_writers[place] = self._new_file(place)
            self.all_writers[place].add_summary(summary.scalar(main_tag, value), global_step, walltime)

    def add_tensor(self, tag: str, tensor: Tensor, global_step: float | None = None, walltime: float | None = None) -> None:
        """A whole tensor of at most 2 GiB."""
        self._add(summary.tensor_proto(tag, tensor), global_step, walltime)

    def add_histogram(self, tag: str, values: Loggable, global_step: float | None = None, bins: str | int | Sequence[float] = "tensorflow",
                      walltime: float | None = None, max_bins: int | None = None) -> None:
        """How some numbers are spread. bins: "tensorflow" (widening ones), or what ``numpy.histogram`` takes; at most about `max_bins`."""
        chosen = self.default_bins if isinstance(bins, str) and bins == "tensorflow" else bins
        self._add(summary.histogram(tag, values, chosen, max_bins=max_bins), global_step, walltime)

    def add_histogram_raw(self, tag: str, min: float, max: float, num: float, sum: float, sum_squares: float,
                          bucket_limits: Sequence[float], bucket_counts: Sequence[float], global_step: float | None = None,
                          walltime: float | None = None) -> None:
        """A histogram that was counted elsewhere. ValueError if there are not as many limits as counts."""
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError("len(bucket_limits) != len(bucket_counts), see the document.")
        self._add(summary.histogram_raw(tag, min, max, num, sum, sum_squares, bucket_limits, bucket_counts), global_step, walltime)

    def add_pr_curve(self, tag: str, labels: Loggable, predictions: Loggable, global_step: float | None = None, num_thresholds: int = 127,
                     weights: Array | float | None = None, walltime: float | None = None) -> None:
        """Precision against recall: labels 0 or 1, predictions between 0 and 1, at most 127 thresholds."""
        self._add(summary.pr_curve(tag, make_np(labels), make_np(predictions), num_thresholds, weights), global_step, walltime)

    def add_pr_curve_raw(self, tag: str, true_positive_counts: Array, false_positive_counts: Array, true_negative_counts: Array,
                         false_negative_counts: Array, precision: Array, recall: Array, global_step: float | None = None,
                         num_thresholds: int = 127, weights: Array | float | None = None, walltime: float | None = None) -> None:
        """The same from counts, one of each for each threshold."""
        self._add(summary.pr_curve_raw(tag, true_positive_counts, false_positive_counts, true_negative_counts, false_negative_counts,
                                       precision, recall, num_thresholds, weights), global_step, walltime)

    def add_hparams(self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any],
                    hparam_domain_discrete: dict[str, list[Any]] | None = None, run_name: str | None = None,
                    global_step: float | None = None) -> None:
        """Hyperparameters and what came of them, as a run of its own below this one (`run_name`; the time by default)."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        parts = summary.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        folder = os.path.join(self._get_file_writer().get_logdir(), run_name or str(time.time()))
        with SummaryWriter(log_dir=folder) as run:
            for part in parts:
                run._add(part, global_step)
            for name, value in metric_dict.items():
                run.add_scalar(name, value, global_step)

    # --- pictures and sounds

    def add_image(self, tag: str, img_tensor: Loggable, global_step: float | None = None, walltime: float | None = None,
                  dataformats: str = "CHW") -> None:
        """An image: floats from 0 to 1 or uint8, laid out as `dataformats` says (CHW, HWC, HW). Needs pillow."""
        self._add(summary.image(tag, img_tensor, dataformats=dataformats), global_step, walltime)

    def add_images(self, tag: str, img_tensor: Loggable, global_step: float | None = None, walltime: float | None = None,
                   dataformats: str = "NCHW") -> None:
        """A batch of images as a grid of eight columns."""
        self._add(summary.image(tag, img_tensor, dataformats=dataformats), global_step, walltime)

    def add_image_with_boxes(self, tag: str, img_tensor: Loggable, box_tensor: Tensor | Array, global_step: float | None = None,
                             walltime: float | None = None, rescale: float = 1, dataformats: str = "CHW",
                             labels: str | Sequence[str] | None = None) -> None:
        """An image with frames (x1, y1, x2, y2); labels that are not as many as the frames are left out."""
        names = [labels] if isinstance(labels, str) else labels
        if names is not None and len(names) != box_tensor.shape[0]:
            names = None
        boxes = summary.image_boxes(tag, img_tensor, box_tensor, rescale=rescale, dataformats=dataformats, labels=names)
        self._add(boxes, global_step, walltime)

    def add_figure(self, tag: str, figure: Any, global_step: float | None = None, close: bool = True,
                   walltime: float | None = None) -> None:
        """A figure of matplotlib's, or a list of them as a grid; `close` frees them."""
        self.add_image(tag, figure_to_image(figure, close), global_step, walltime,
                       dataformats="NCHW" if isinstance(figure, list) else "CHW")

    def add_video(self, tag: str, vid_tensor: Loggable, global_step: float | None = None, fps: float = 4,
                  walltime: float | None = None) -> None:
        """Videos (N, T, C, H, W) as a GIF."""
        self._add(summary.video(tag, vid_tensor, fps), global_step, walltime)

    def add_audio(self, tag: str, snd_tensor: Loggable, global_step: float | None = None, sample_rate: int = 44100,
                  walltime: float | None = None) -> None:
        """A sound (1, L) between -1 and 1."""
        self._add(summary.audio(tag, snd_tensor, sample_rate=sample_rate), global_step, walltime)

    def add_mesh(self, tag: str, vertices: Tensor, colors: Tensor | None = None, faces: Tensor | None = None,
                 config_dict: Mapping[str, Any] | None = None, global_step: float | None = None, walltime: float | None = None) -> None:
        """A cloud of points or a mesh in 3D: vertices, colours, and corners of triangles, each (B, N, 3)."""
        self._add(summary.mesh(tag, vertices, colors, faces, config_dict), global_step, walltime)

    # --- texts, layouts, graphs, embeddings

    def add_text(self, tag: str, text_string: str, global_step: float | None = None, walltime: float | None = None) -> None:
        """A text in Markdown."""
        self._add(summary.text(tag, text_string), global_step, walltime)

    def add_custom_scalars_multilinechart(self, tags: Sequence[str], category: str = "default", title: str = "untitled") -> None:
        """A chart of several tags."""
        self.add_custom_scalars({category: {title: ["Multiline", tags]}})

    def add_custom_scalars_marginchart(self, tags: Sequence[str], category: str = "default", title: str = "untitled") -> None:
        """A chart of a value between a lower and an upper one: three tags."""
        if len(tags) != 3:
            raise AssertionError(f"Expected 3 tags, got {len(tags)}.")
        self.add_custom_scalars({category: {title: ["Margin", tags]}})

    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Charts by category: {category: {title: ["Multiline" or "Margin", tags]}}; once for each writer."""
        self._add(summary.custom_scalars(layout))

    def add_graph(self, model: Module, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True) -> None:
        """The graph of a model as it runs with this input; `verbose` prints it.

        (PyTorch traces, strictly or not, what a model returns; here the run itself is recorded, in which any container may be returned.)
        """
        self._get_file_writer().add_graph(graph(model, () if input_to_model is None else input_to_model, verbose))

    def add_onnx_graph(self, prototxt: str) -> None:
        """Not supported: raises NotImplementedError."""
        raise NotImplementedError("SummaryWriter.add_onnx_graph is not supported by rushlight: use add_graph(model, input) with the model "
                                  "itself")

    @staticmethod
    def _encode(rawstr: str) -> str:
        """A tag as the name of a folder."""
        return rawstr.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")

    def add_embedding(self, mat: Loggable, metadata: Sequence[Any] | None = None, label_img: Tensor | None = None,
                      global_step: int | None = None, tag: str = "default", metadata_header: Sequence[str] | None = None) -> None:
        """Points (N, D) for the projector, with labels, images (N, C, H, W), and names for the columns of labels that are lists."""
        step = str(0 if global_step is None else global_step).zfill(5)
        folder = self._get_file_writer().get_logdir()
        info = write_embedding(folder, f"{step}/{self._encode(tag)}", f"{tag}:{step}", make_np(mat), metadata, label_img, metadata_header)
        self._projector_config.embeddings.extend([info])
        write_config(folder, self._projector_config)

    # --- the end

    def flush(self) -> None:
        """Write what waits, in all files."""
        for writer in (self.all_writers or {}).values():
            writer.flush()

    def close(self) -> None:
        """Write what waits and close all files."""
        for writer in (self.all_writers or {}).values():
            writer.flush()
            writer.close()
        self.file_writer = self.all_writers = None

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
