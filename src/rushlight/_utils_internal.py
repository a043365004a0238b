"""``torch._utils_internal``: where files of an installation are."""

from __future__ import annotations

import os
import tempfile

__all__ = ["IS_FBSOURCE", "get_file_path", "get_file_path_2", "get_writable_path"]

IS_FBSOURCE = False     # whether this is built inside one company's repository


def get_file_path(*path_components: str) -> str:
    """A path below the folder of the package."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), *path_components)


def get_file_path_2(*path_components: str) -> str:
    """The components as one path."""
    return os.path.join(*path_components)


def get_writable_path(path: str) -> str:
    """The path itself if one can write there, else that of a new temporary folder."""
    return path if os.access(path, os.W_OK) else tempfile.mkdtemp(suffix=os.path.basename(path))
