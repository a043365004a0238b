"""``torch.utils.benchmark``: time small pieces of code."""

from .timer import Compare, Measurement, Timer, timer

__all__ = ["Timer", "Measurement", "Compare", "timer"]
