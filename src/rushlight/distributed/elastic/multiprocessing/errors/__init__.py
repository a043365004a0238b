"""``record``: a program's error, with its traceback, into the file that torchrun reads."""

from __future__ import annotations

import functools
import json
import os
import time
import traceback
from collections.abc import Callable
from typing import Any

from .....unsupported import attribute_of

__all__ = ["record"]


def record(fn: Callable[..., Any], error_handler: Any = None) -> Callable[..., Any]:
    """A decorator for a program's main function: what it raises goes into TORCHELASTIC_ERROR_FILE as well, if torchrun has set that."""
    if error_handler is not None:
        raise NotImplementedError("record(error_handler=...): other handlers are missing; leave it out")

    @functools.wraps(fn)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            path = os.environ.get("TORCHELASTIC_ERROR_FILE")
            if path:
                info = {"py_callstack": traceback.format_exc(), "timestamp": str(int(time.time()))}
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({"message": {"message": f"{type(error).__name__}: {error}", "extraInfo": info}}, file)
            raise
    return recorded


__getattr__ = attribute_of("distributed.elastic.multiprocessing.errors", "torchrun's report names the rank that failed, with its traceback")
