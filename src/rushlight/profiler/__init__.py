"""``torch.profiler``: how long the parts of a program take that `record_function` names. Single operations are not recorded.

Python's own profilers (cProfile, or a sampling one such as py-spy) see every operation, because operations are Python functions here.
"""

from .profiler import (
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    profile,
    record_function,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = ["profile", "schedule", "supported_activities", "tensorboard_trace_handler", "ProfilerAction", "ProfilerActivity",
           "kineto_available", "record_function"]
