"""``torch.hub``: models from a directory with a ``hubconf.py``. rushlight does not fetch repositories; it says what to do instead."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from .serialization import load as load_file

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
_directory: str | None = None


def _get_torch_home() -> str:
    """Where PyTorch keeps what it downloads: $TORCH_HOME, else ~/.cache/torch."""
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.getenv("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """Where downloads are kept: what `set_dir` was given, else $TORCH_HOME/hub, else ~/.cache/torch/hub."""
    if _directory is not None:
        return _directory
    return os.path.join(_get_torch_home(), "hub")


def set_dir(d: Any) -> None:
    """Choose where downloads are kept."""
    global _directory
    _directory = os.path.expanduser(d)


def _local(repo: Any, source: str) -> str:
    """The directory of a repository; an error that says what to do where it would have to be fetched."""
    source = source.lower()
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        name = str(repo).partition(":")[0]
        raise NotImplementedError(f"torch.hub: rushlight does not fetch code from GitHub. Clone it yourself (git clone "
                                  f"https://github.com/{name}), look at it, and pass the directory with source='local'")
    if not os.path.isfile(os.path.join(repo, "hubconf.py")):
        raise FileNotFoundError(f"torch.hub: there is no hubconf.py in {os.fspath(repo)!r}")
    return os.fspath(repo)


@contextmanager
def _hubconf(directory: str) -> Iterator[Any]:
    """The module hubconf.py of a directory, which can be imported from while it is used."""
    sys.path.insert(0, directory)
    try:
        spec = importlib.util.spec_from_file_location("hubconf", os.path.join(directory, "hubconf.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        missing = [name for name in getattr(module, "dependencies", ()) if importlib.util.find_spec(name) is None]
        if missing:
            raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
        yield module
    finally:
        sys.path.remove(directory)


def _entry(module: Any, model: Any) -> Any:
    if not isinstance(model, str):
        raise ValueError("Invalid input: model should be a string of function name")
    function = getattr(module, model, None)
    if not callable(function):
        raise RuntimeError(f"Cannot find callable {model} in hubconf")
    return function


def list(github: Any, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check",
         verbose: bool = True,  # noqa: A001
         source: str = "github") -> Any:
    """The names of the entry points in a directory's hubconf.py (``source="local"``)."""
    with _hubconf(_local(github, source)) as module:
        return [name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")]


def help(github: Any, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check",  # noqa: A001
         source: str = "github") -> Any:
    """The docstring of an entry point (``source="local"``)."""
    with _hubconf(_local(github, source)) as module:
        return _entry(module, model).__doc__


def load(repo_or_dir: Any, model: str, *args: Any, source: str = "github", trust_repo: Any = "check", force_reload: bool = False,
         verbose: bool = True, skip_validation: bool = False, **kwargs: Any) -> Any:
    """What an entry point of a directory's hubconf.py returns for these arguments (``source="local"``).

    NotImplementedError for ``source="github"``; RuntimeError where the entry point or a dependency is missing.
    """
    with _hubconf(_local(repo_or_dir, source)) as module:
        return _entry(module, model)(*args, **kwargs)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Fetch a file. RuntimeError, and no file, where its SHA-256 does not begin with `hash_prefix`.

    progress  show the share on the standard error stream
    """
    dst = os.path.expanduser(dst)
    sha = hashlib.sha256()
    handle, partial = tempfile.mkstemp(dir=os.path.dirname(dst) or ".", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file, urlopen(Request(url, headers={"User-Agent": "rushlight.hub"})) as answer:
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while block := answer.read(1 << 17):
                file.write(block)
                sha.update(block)
                done += len(block)
                if progress and total:
                    sys.stderr.write(f"\r{done / total:6.1%}")
        if progress and total:
            sys.stderr.write("\n")
        if hash_prefix is not None and not sha.hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{sha.hexdigest()}")')
        os.replace(partial, dst)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def load_state_dict_from_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True,
                             check_hash: bool = False, file_name: str | None = None, weights_only: bool = False) -> Any:
    """``torch.load`` of a file that is fetched once and kept in `model_dir` (default: `get_dir`/checkpoints).

    check_hash    the name ends with the beginning of the SHA-256, as in ``resnet18-f37072fd.pth``
    weights_only  also True where it is False: rushlight loads nothing but data from the network
    """
    if model_dir is None:
        model_dir = os.path.join(get_dir(), "checkpoints")
    os.makedirs(model_dir, exist_ok=True)
    name = file_name if file_name is not None else os.path.basename(urlparse(url).path)
    path = os.path.join(model_dir, name)
    if not os.path.exists(path):
        sys.stderr.write(f'Downloading: "{url}" to {path}\n')
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress=progress)
    return load_file(path, map_location=map_location, weights_only=True)


def __getattr__(name: str) -> Any:
    if name == "tqdm":      # whose progress bars libraries take from here
        from tqdm import tqdm
        return tqdm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
