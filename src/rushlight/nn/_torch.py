"""`torch`: the public namespace of this package, for the nn code that is written against it.

Its names are looked up when they are used, so it does not matter that nn is imported while the package itself is still being imported.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["torch"]

torch: Any = sys.modules[__name__.partition(".")[0]]
