"""``torch.utils.tensorboard``: not supported. Importing it says what to use."""

from __future__ import annotations

raise ImportError("torch.utils.tensorboard is not supported by rushlight: log with the tensorboardX package (from tensorboardX import "
                  "SummaryWriter), whose SummaryWriter takes NumPy arrays and numbers, and writes TensorBoard's files", name="tensorboard")
