"""``torch.autograd.profiler``: the older form of ``torch.profiler``."""

from __future__ import annotations

from typing import Any

from ..profiler.profiler import EventList, FunctionEventAvg, kineto_available, record_function
from ..profiler.profiler import profile as _profile
from ..unsupported import attribute_of

__all__ = ["profile", "record_function", "EventList", "FunctionEventAvg", "kineto_available"]


class profile(_profile):
    """A context that records operators and the parts named by `record_function`; `enabled` False records nothing."""

    def __init__(self, enabled: bool = True, *, use_cpu: bool = True, **options: Any) -> None:
        super().__init__(**{key: value for key, value in options.items() if key not in ("use_cuda", "use_device", "use_kineto")})
        self.enabled = enabled and use_cpu

    def start(self) -> None:
        """Begin."""
        if self.enabled:
            super().start()

    def total_average(self) -> FunctionEventAvg:
        """All parts together."""
        return self.key_averages().total_average()

    def table(self, **options: Any) -> str:
        """``key_averages().table(...)``."""
        return self.key_averages().table(**options)


__getattr__ = attribute_of("autograd.profiler", "torch.profiler records operators and the parts that record_function names")
