"""``torch.utils.tensorboard``: event files for TensorBoard, written with the package `tensorboard`, which is loaded only here."""

from __future__ import annotations

try:
    from tensorboard.summary.writer.record_writer import RecordWriter
except ImportError as error:
    raise ImportError("torch.utils.tensorboard writes its files with TensorBoard's own package, which is not installed here: "
                      "pip install tensorboard", name="tensorboard") from error

from .writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
