"""``rushlight link``: the distribution ``torch`` of an environment is rushlight.

Written are a package ``torch`` of one file that imports rushlight and gives it its second name, the distribution's metadata, by which
pip finds requirements of torch met, and a constraint in the environment's own pip configuration, so that pip does not replace it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ..homes import root
from ..version import __version__

__all__ = ["LinkError", "check", "constraints_file", "distribution", "link", "unlink", "wheel"]

_INFO = f"torch-{__version__}.dist-info"
_STUB = '''\
"""rushlight under the name of torch (written by `rushlight link`)."""

__rushlight_link__ = True

from rushlight.compat import install

install()
'''
_FUNCTORCH = '"""The package functorch, which PyTorch brings along (written by `rushlight link`)."""\n\nfrom rushlight.compat.functorch{module} import *\n'
_METADATA = f"""\
Metadata-Version: 2.1
Name: torch
Version: {__version__}
Summary: rushlight under the name of torch
Requires-Python: >=3.11
Requires-Dist: rushlight
Provides-Extra: opt-einsum
Provides-Extra: optree
Provides-Extra: pyyaml
"""
_WHEEL = "Wheel-Version: 1.0\nGenerator: rushlight\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LINK_LINE = "__rushlight_link__ = True"
_PTH, _HIDER = "_rushlight_hide.pth", "_rushlight_hide.py"
_CONSTRAINTS = "rushlight-constraints.txt"
_HEADER = "# written by rushlight link"
_CONFIG = "pip.ini" if os.name == "nt" else "pip.conf"


class LinkError(Exception):
    """Why an environment can't be linked or unlinked."""


class _Distribution(metadata.Distribution):
    """The distribution torch, where it is not in the environment's files."""

    def read_text(self, filename: str) -> str | None:
        return {"METADATA": _METADATA, "INSTALLER": "rushlight\n"}.get(filename)

    def locate_file(self, path: Any) -> Path:
        return Path(sys.modules[root()].__path__[0]).parent / path


def distribution() -> metadata.Distribution:
    """What ``importlib.metadata`` finds for torch after `compat.install`."""
    return _Distribution()


# --- what is written ------------------------------------------------------------------------------------------------------------------


def _files(hidden: tuple[str, ...] = ()) -> dict[str, str]:
    """Path in the environment's library folder -> text, without RECORD."""
    functorch = {f"functorch/{name}.py": _FUNCTORCH.format(module="" if name == "__init__" else f".{name}")
                 for name in ("__init__", "einops", "experimental")}
    files = {"torch/__init__.py": _STUB, **functorch, f"{_INFO}/METADATA": _METADATA, f"{_INFO}/WHEEL": _WHEEL,
             f"{_INFO}/top_level.txt": "functorch\ntorch\n"}
    if hidden:
        source = Path(__file__).with_name("hiding.py").read_text(encoding="utf-8")
        files[_PTH] = "import _rushlight_hide\n"
        files[_HIDER] = f"{source}\n\nhide({', '.join(map(repr, hidden))})\n"
    return files


def _record(files: dict[str, str]) -> str:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for name, text in files.items():
        data = text.encode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow((name, f"sha256={digest}", len(data)))
    rows.writerow((f"{_INFO}/RECORD", "", ""))
    return out.getvalue()


def wheel(folder: str) -> str:
    """Write the distribution as a wheel, for images and lock files. Returns its path."""
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo
    files = _files()
    files[f"{_INFO}/RECORD"] = _record(files)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"torch-{__version__}-py3-none-any.whl")
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, text in files.items():        # at a fixed time: the same version gives the same bytes
            entry = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return path


# --- the environment ------------------------------------------------------------------------------------------------------------------


def _library() -> Path:
    return Path(sysconfig.get_paths()["purelib"])


def constraints_file() -> Path:
    """The file with the line that holds pip (and, by UV_CONSTRAINT, uv) back."""
    return Path(sys.prefix) / _CONSTRAINTS


def _distributions() -> list[tuple[metadata.Distribution, bool]]:
    """All distributions torch that this interpreter finds, and whether each is a link."""
    return [(found, (found.read_text("METADATA") or "").find("+rushlight") > 0) for found in metadata.distributions(name="torch")
            if not isinstance(found, _Distribution)]


def _refuse_pytorch() -> None:
    for found, ours in _distributions():
        if not ours:
            raise LinkError(f"PyTorch {found.version} is installed in {Path(str(found.locate_file('')))}, and both can't have the name "
                            "torch: `pip uninstall torch` first, or use another environment")
    for package, line in ((_library() / "torch", LINK_LINE), (_library() / "functorch", "rushlight.compat.functorch")):
        if not package.exists() or line in _text(package / "__init__.py"):
            continue
        raise LinkError(f"{package} exists and is no link of rushlight's: move it away first, or use another environment")




def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _hidden(library: Path) -> tuple[str, ...]:
    """The names that an existing link hides torch from."""
    last = _text(library / _HIDER).rstrip().rpartition("\n")[2]
    return tuple(part.strip(" '\"") for part in last[len("hide("):-1].split(",")) if last.startswith("hide(") else ()


def _infos(library: Path) -> list[Path]:
    """The metadata folders of links in a library folder: of this version and others."""
    return [path for path in library.glob("torch-*.dist-info") if "+rushlight" in path.name]


def link(hide: tuple[str, ...] = (), show: tuple[str, ...] = ()) -> list[str]:
    """Link the current environment; returns what there is to say. LinkError where that is not possible, with nothing changed.

    hide, show  names of packages that torch is to be hidden from, or no longer
    """
    _refuse_pytorch()
    library = _library()
    names = tuple(sorted({*_hidden(library), *hide} - set(show)))
    if not check() and names == _hidden(library):
        return [f"already linked: torch {__version__} in {library} is rushlight"]
    said, held = _hold_pip()
    try:
        _write(library, _files(names), held)
    except OSError as error:
        _release_pip()
        raise LinkError(f"can't write to {library}: {error.strerror or error}. Link an environment of your own "
                        "(python -m venv), or run this as the one who may write there") from error
    said.insert(0, f"linked: torch {__version__} in {library} is rushlight")
    if names:
        said.append(f"hidden from: {', '.join(names)}")
    return said


def _write(library: Path, files: dict[str, str], held: dict[str, str]) -> None:
    """Make the new files beside the old ones, and exchange them by renaming."""
    outside = {os.path.relpath(path, library): text for path, text in held.items()}
    installed = {**files, f"{_INFO}/INSTALLER": "rushlight\n", **outside}
    content = {**{name: text for name, text in installed.items() if name not in outside}, f"{_INFO}/RECORD": _record(installed)}
    fresh = Path(tempfile.mkdtemp(prefix=".rushlight-link-", dir=library))
    old = fresh / "old"
    moved: list[tuple[Path, Path]] = []
    try:
        for name, text in content.items():
            path = fresh / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        old.mkdir()
        for path in [library / "torch", library / "functorch", *_infos(library), library / _PTH, library / _HIDER]:
            if path.exists():
                _move(path, old / path.name, moved)
        for path in sorted((fresh / "new").iterdir(), key=lambda path: path.name == _INFO):
            _move(path, library / path.name, moved)
    except BaseException:
        for here, there in reversed(moved):
            there.rename(here)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _move(here: Path, there: Path, moved: list[tuple[Path, Path]]) -> None:
    here.rename(there)
    moved.append((here, there))


def unlink() -> list[str]:
    """Undo `link`. LinkError where nothing is linked, or where it can't be removed."""
    library = _library()
    if not _infos(library) and LINK_LINE not in _text(library / "torch" / "__init__.py"):
        _refuse_pytorch()
        raise LinkError(f"nothing is linked in {library}")
    try:
        trash = Path(tempfile.mkdtemp(prefix=".rushlight-link-", dir=library))
        for path in [*_infos(library), library / "torch", library / "functorch", library / _PTH, library / _HIDER]:
            if path.exists():
                path.rename(trash / path.name)
        shutil.rmtree(trash, ignore_errors=True)
    except OSError as error:
        raise LinkError(f"can't write to {library}: {error.strerror or error}") from error
    _release_pip()
    return [f"unlinked: there is no torch in {library} any more"]


def check() -> list[str]:
    """What is wrong with the current environment's link; nothing where all is well."""
    library = _library()
    if not _infos(library):
        others = [str(found.version) for found, ours in _distributions() if not ours]
        return [f"not linked: PyTorch {others[0]} is installed" if others else f"not linked: there is no torch in {library}"]
    wrong = []
    for name, text in _files(_hidden(library)).items():
        if _text(library / name) != text:
            wrong.append(f"{library / name} is missing or differs: run `rushlight link` again")
    others = [path.name for path in _infos(library) if path.name != _INFO]
    if others:
        wrong.append(f"linked as another version ({', '.join(others)}): run `rushlight link` again")
    for found, ours in _distributions():
        if not ours:
            wrong.append(f"PyTorch {found.version} is on the path too, in {found.locate_file('')}")
    if not wrong and _has_pip() and not _holds() and _text(library / _INFO / "INSTALLER").strip() == "rushlight":
        wrong.append(f"nothing keeps pip from replacing it: {constraints_file()} is not among pip's constraints. Run `rushlight link` "
                     "again")
    return wrong


# --- pip ------------------------------------------------------------------------------------------------------------------------------


def _has_pip() -> bool:
    from importlib.util import find_spec
    return find_spec("pip") is not None


def _pip_config(*args: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "config", *args], capture_output=True, text=True)
    if done.returncode:
        raise LinkError(f"pip config {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _reference() -> str:
    """The constraints file as pip's configuration names it: there, spaces separate."""
    path = constraints_file()
    return path.as_uri() if " " in str(path) else str(path)


def _settings() -> dict[str, str]:
    """pip's configuration as it is in effect."""
    found = {}
    for line in _pip_config("list").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found[name] = value.strip("'\"").replace("\\n", "\n")
    return found


def _constraints(settings: dict[str, str]) -> list[str]:
    return settings.get("install.constraint", settings.get("global.constraint", "")).split()


def _holds() -> bool:
    return constraints_file().exists() and _reference() in _text(Path(sys.prefix) / _CONFIG)


def _is_ours(config: Path) -> bool:
    """Whether the environment's pip configuration was written by `link` and nobody has changed it since."""
    return _text(config).startswith(_HEADER)


def _hold_pip() -> tuple[list[str], dict[str, str]]:
    """Give pip the constraint. Returns what there is to say, and the files that are wholly ours, which go when the distribution goes."""
    path, config = constraints_file(), Path(sys.prefix) / _CONFIG
    line = f"torch=={__version__}\n"
    try:
        path.write_text(line, encoding="utf-8")
        if not _has_pip():
            return [f"there is no pip here; for uv: export UV_CONSTRAINT={path}"], {str(path): line}
        constraints = " ".join([*(each for each in _constraints(_settings()) if each != _reference()), _reference()])
        if config.exists() and not _is_ours(config):
            _pip_config("--site", "set", "install.constraint", constraints)
            return [f"{config} has a constraint more; undo it all with `rushlight unlink` (pip uninstall leaves the constraint)"], {}
        config.write_text(f"{_HEADER}\n[install]\nconstraint = {constraints}\n", encoding="utf-8")
    except OSError as error:
        raise LinkError(f"can't write to {sys.prefix}: {error.strerror or error}. Link an environment of your own (python -m venv), or run "
                        "this as the one who may write there") from error
    return [], {str(path): line, str(config): _text(config)}


def _release_pip() -> None:
    config = Path(sys.prefix) / _CONFIG
    if _is_ours(config):
        config.unlink()
    elif _reference() in _text(config):
        kept = [each for each in _constraints(_settings()) if each != _reference()]
        if kept:
            _pip_config("--site", "set", "install.constraint", " ".join(kept))
        else:
            _pip_config("--site", "unset", "install.constraint")
    constraints_file().unlink(missing_ok=True)
