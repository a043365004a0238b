"""The command ``rushlight``: run a program written for PyTorch, and tell what this installation has."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType
from typing import Any

from .homes import is_own
from .version import __version__, rushlight_version

__all__ = ["main"]

USAGE = """\
usage: rushlight run SCRIPT [ARGS...]      run a script written for PyTorch: `import torch` means rushlight
       rushlight run -m MODULE [ARGS...]   the same for a module
       rushlight link                      make `import torch` mean rushlight in this whole environment, for pip too
       rushlight link --check              say whether it does
       rushlight link --hide NAME          and hide torch from the package NAME (--show NAME undoes it)
       rushlight link --wheel FOLDER       write the same as a wheel instead
       rushlight unlink                    undo link
       rushlight info                      versions, native kernels, BLAS, threads, devices
       rushlight where NAME                where torch.NAME is defined, its gradient, kernels and tests
       rushlight --version | --help"""

_HERE = os.path.dirname(os.path.abspath(__file__))


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code: 0, 1 for a program that raised, 2 for a wrong call; a program's SystemExit passes through."""
    args = list(sys.argv[1:] if argv is None else argv)
    command = args.pop(0) if args else None
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    if command == "--version":
        print(f"rushlight {rushlight_version} (PyTorch's API {__version__})")
        return 0
    if command == "info":
        return _wrong(f"info takes no arguments, but got {' '.join(args)}") if args else _info()
    if command == "where":
        return _where(args)
    if command == "run":
        return _run(args)
    if command == "link":
        return _link(args)
    if command == "unlink":
        return _wrong(f"unlink takes no arguments, but got {' '.join(args)}") if args else _unlink()
    return _wrong("a command is missing" if command is None else f"there is no command {command!r}")


def _wrong(message: str) -> int:
    print(f"{USAGE}\nrushlight: {message}", file=sys.stderr)
    return 2


# --- run ------------------------------------------------------------------------------------------------------------------------------


def _run(args: list[str]) -> int:
    is_module = bool(args) and args[0] == "-m"
    if is_module:
        args = args[1:]
    if not args:
        return _wrong("run needs a module after -m" if is_module else "run needs a script")
    if args[0].startswith("-"):
        return _wrong(f"run has no option {args[0]}: options of the script come after the script")
    if not is_module and not os.path.exists(args[0]):
        print(f"rushlight: can't open {args[0]!r}: there is no such file", file=sys.stderr)
        return 2
    from . import compat
    compat.install()
    try:
        _run_module(args) if is_module else _run_path(args)
    except KeyboardInterrupt as error:
        _show(error)
        return 130
    except Exception as error:
        _show(error)
        missing = _unsupported(error)
        if missing:
            print(f"rushlight: not supported by rushlight {rushlight_version}: {missing}", file=sys.stderr)
        return 1
    return 0


def _run_module(args: list[str]) -> None:
    import runpy
    _first_on_path(os.getcwd())
    sys.argv[:] = args
    runpy.run_module(args[0], run_name="__main__", alter_sys=True)


def _run_path(args: list[str]) -> None:
    """What ``python SCRIPT`` does. The module ``__main__`` is the script's from now on, so that what it defines can be pickled."""
    path = args[0]
    sys.argv[:] = args
    if not path.endswith(".py") and _is_bundle(path):
        import runpy
        runpy.run_path(path, run_name="__main__")
        return
    _first_on_path(os.path.dirname(os.path.abspath(path)))
    import io
    from importlib.machinery import SourceFileLoader
    with io.open_code(path) as file:
        source = file.read()
    main_module = ModuleType("__main__")
    main_module.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None, __annotations__={},
                                __loader__=SourceFileLoader("__main__", path))
    main_module.__spec__ = None
    sys.modules["__main__"] = main_module
    exec(compile(source, path, "exec", dont_inherit=True), main_module.__dict__)


def _is_bundle(path: str) -> bool:
    if os.path.isdir(path):
        return True
    from zipfile import is_zipfile
    return is_zipfile(path)


def _first_on_path(folder: str) -> None:
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def _show(error: BaseException) -> None:
    """Show the traceback from the program's first frame on, through ``sys.excepthook``, which the program may have set."""
    trace = error.__traceback__
    while trace is not None and _is_machinery(trace):
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.stdout.flush()
    sys.excepthook(type(error), error, trace)


def _is_machinery(trace: TracebackType) -> bool:
    name = trace.tb_frame.f_code.co_filename
    return name == __file__ or name.startswith("<frozen") or os.path.basename(name) == "runpy.py"


def _unsupported(error: BaseException) -> str:
    """What the program asked for that rushlight does not have, in PyTorch's words; "" for any other error."""
    text = str(error)
    if isinstance(error, ModuleNotFoundError):
        return str(error.name) if error.name and error.name.startswith("torch") else ""
    if isinstance(error, ImportError):
        found = re.search(r"cannot import name '(\w+)' from '(?:rushlight|torch)([\w.]*)'", text)
        return f"torch{found[2]}.{found[1]}" if found else ""
    if isinstance(error, NotImplementedError):
        return " ".join(text.split()) or "(no details)" if _raised_here(error) else ""
    if isinstance(error, AttributeError):
        return _missing_attribute(error, text)
    return ""


def _missing_attribute(error: AttributeError, text: str) -> str:
    found = re.search(r"module '(?:rushlight|torch)([\w.]*)' has no attribute '(\w+)'", text)
    if found:
        return f"torch{found[1]}.{found[2]}"
    found = re.search(r"'?(?:type object )?'(\w+)'(?: object)? has no attribute '(\w+)'", text)
    owner = error.obj if isinstance(error.obj, type) else type(error.obj)
    if found and error.obj is not None and is_own(owner.__module__):
        place = "" if owner.__name__ == "Tensor" else re.sub(r"^rushlight", "torch", owner.__module__) + "."
        return f"{place}{owner.__name__}.{found[2]}"
    return ""


def _raised_here(error: BaseException) -> bool:
    trace: Any = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and os.path.abspath(trace.tb_frame.f_code.co_filename).startswith(_HERE + os.sep)


# --- link -----------------------------------------------------------------------------------------------------------------------------


def _link(args: list[str]) -> int:
    from .compat import linking
    option, values = args[0] if args else "", args[1:]
    if option not in ("", "--check", "--hide", "--show", "--wheel"):
        return _wrong(f"link has no option {option}")
    if option == "--check" and values:
        return _wrong(f"link --check takes no arguments, but got {' '.join(values)}")
    if option in ("--hide", "--show", "--wheel") and len(values) != 1:
        return _wrong(f"link {option} takes one {'folder' if option == '--wheel' else 'name'}, but got {len(values)}")
    if option in ("--hide", "--show") and not values[0].isidentifier():
        return _wrong(f"link {option} takes the name of a package as it is imported, but got {values[0]!r}")
    if option == "--check":
        wrong = linking.check()
        print("\n".join(wrong) or f"linked: torch {__version__} is rushlight {rushlight_version}")
        return 1 if wrong else 0
    if option == "--wheel":
        print(linking.wheel(values[0]))
        return 0
    hide = {"--hide": {"hide": tuple(values)}, "--show": {"show": tuple(values)}}.get(option, {})
    return _said(lambda: linking.link(**hide))


def _unlink() -> int:
    from .compat import linking
    return _said(linking.unlink)


def _said(act: Callable[[], list[str]]) -> int:
    from .compat.linking import LinkError
    try:
        print("\n".join(act()))
    except LinkError as error:
        print(f"rushlight: {error}", file=sys.stderr)
        return 1
    return 0


# --- where ----------------------------------------------------------------------------------------------------------------------------


def _where(args: list[str]) -> int:
    """0; 1 where there is nothing of that name, 2 for a wrong call."""
    if len(args) != 1 or args[0].startswith("-"):
        return _wrong("where needs one name, such as torch.roll or torch.nn.Conv2d")
    from .signpost import NotFound, describe
    try:
        lines = describe(args[0])
    except NotFound as error:
        print(f"rushlight: {error}", file=sys.stderr)
        return 1
    for label, text in lines:
        print(f"{label:10} {text}")
    return 0


# --- info -----------------------------------------------------------------------------------------------------------------------------


def _info() -> int:
    for name, value in _facts():
        print(f"{name:15} {value}")
    return 0


def _facts() -> list[tuple[str, str]]:
    import platform
    from importlib.metadata import version

    import numpy

    from . import threads
    return [
        ("rushlight", f"{rushlight_version} ({_HERE})"),
        ("as torch", str(__version__)),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("numpy", numpy.__version__),
        ("ml_dtypes", version("ml_dtypes")),
        ("platform", platform.platform()),
        ("native kernels", _native()),
        ("BLAS", _blas()),
        ("threads", f"{threads.get_num_threads()} of {os.cpu_count()} CPUs"),
        ("devices", ", ".join(_devices())),
    ]


def _native() -> str:
    from .kernels.native import describe
    return describe()


def _blas() -> str:
    import numpy

    from .threads import blas_library
    built: Any = numpy.show_config(mode="dicts") or {}
    blas = built.get("Build Dependencies", {}).get("blas", {})
    path = blas_library()[0]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip() + (f" ({path})" if path else " (its threads can't be set)")


def _devices() -> list[str]:
    found = [f"cpu ({_cpu_model()})"]
    from . import cuda
    if cuda.is_available():
        found += [f"cuda:{i} ({cuda.get_device_name(i)})" for i in range(cuda.device_count())]
    else:
        found.append("no cuda")
    return found


def _cpu_model() -> str:
    import platform
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
