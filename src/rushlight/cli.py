"""The command ``rushlight``: run a program written for PyTorch, and tell what this installation has."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType
from typing import Any

from .commands import completion
from .homes import is_own
from .uncaught import teach
from .version import __version__, rushlight_version

__all__ = ["main"]

USAGE = """\
usage: rushlight run SCRIPT [ARGS...]      run a script written for PyTorch: `import torch` means rushlight
       rushlight run -m MODULE [ARGS...]   the same for a module
       rushlight run --nproc N SCRIPT ...  the same in N processes, for torch.distributed (torchrun has more options)
       rushlight link                      make `import torch` mean rushlight in this whole environment, for pip too
       rushlight link --check              say whether it does
       rushlight link --hide NAME          and hide torch from the package NAME (--show NAME undoes it)
       rushlight link --wheel FOLDER       write the same as a wheel instead
       rushlight unlink                    undo link
       rushlight check PATH... [--json]    which names of torch programs use, and which are missing here (runs nothing)
       rushlight compare SCRIPT [ARGS...]  the script on PyTorch and on rushlight: do the numbers agree, and what does each cost
           [--python INTERPRETER] [--runs N] [--rtol R] [--html FILE]
       rushlight doctor                    what is slow or wrong about this installation, and what mends it
       rushlight info                      versions, native kernels, BLAS, threads, devices
       rushlight where NAME                where torch.NAME is defined, its gradient, kernels and tests
       rushlight completion SHELL          completion for bash, zsh or fish: eval "$(rushlight completion bash)"
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
    if command in _COMMANDS:
        if args and args[0] in ("-h", "--help"):
            print(_usage_of(command))
            return 0
        return _run(args) if command == "run" else _piped(_COMMANDS[command], args)
    return _wrong("a command is missing" if command is None else f"there is no command {command!r}")


def _piped(command: Callable[[list[str]], int], args: list[str]) -> int:
    """A command whose text may go to a program that reads the first lines only (``| head``)."""
    try:
        status = command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)         # or Python complains once more at its end
        return 1
    return status


def _failed(message: str, status: int = 2) -> int:
    print(f"rushlight: {message}", file=sys.stderr)
    return status


def _usage_of(command: str) -> str:
    """The lines of USAGE about one command, and where to read on."""
    found, lines = False, []
    for line in USAGE.removeprefix("usage: ").splitlines():
        words = line.split()
        found = words[1] == command if words[0] == "rushlight" else found
        if found:
            lines.append("       " + line.strip() if words[0] == "rushlight" else line)
    return "\n".join(["usage: " + lines[0].strip(), *lines[1:]])


def _wrong(message: str) -> int:
    """One line of what is wrong, after the usage of the command that was meant, which it begins with, or of all."""
    command = message.partition(" ")[0]
    print(f"{_usage_of(command) if command in _COMMANDS else USAGE}\nrushlight: {message}", file=sys.stderr)
    return 2


# --- run ------------------------------------------------------------------------------------------------------------------------------


def _run(args: list[str]) -> int:
    if args and args[0] in ("--nproc", "--nproc-per-node"):
        if len(args) < 3 or not args[1].isdigit() or int(args[1]) < 1:
            return _wrong("run --nproc needs a number of processes and a script")
        if not args[2].startswith("-") and (problem := _no_program(args[2])):
            return _failed(problem)
        from .distributed.run import main as torchrun
        return torchrun(["--standalone", "--nproc-per-node", *args[1:]])
    is_module = bool(args) and args[0] == "-m"
    if is_module:
        args = args[1:]
    if not args:
        return _wrong("run needs a module after -m" if is_module else "run needs a script")
    if args[0].startswith("-"):
        return _wrong(f"run has no option {args[0]}: options of the script come after the script")
    if not is_module and (problem := _no_program(args[0])):
        return _failed(problem)
    from . import compat
    compat.install()
    if is_module and (problem := _no_module(args[0])):          # after the installation: it may be one of torch's
        return _failed(problem, 1)
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


def _no_program(path: str) -> str:
    """Why a path can't be run, "" where it can: what Python finds wrong with a program's text it says itself."""
    if os.path.isdir(path):
        return "" if os.path.exists(os.path.join(path, "__main__.py")) else f"can't run {path!r}: the folder has no __main__.py"
    if not os.path.exists(path):
        return f"can't open {path!r}: there is no such file"
    try:
        with open(path, "rb") as file:
            binary = path.endswith(".py") and b"\0" in file.read(4096)
    except OSError as error:
        return f"can't open {path!r}: {error.strerror}"
    return f"can't run {path!r}: it is no text" if binary else ""


def _no_module(name: str) -> str:
    from importlib.util import find_spec
    _first_on_path(os.getcwd())
    try:
        found = find_spec(name)
    except (ImportError, ValueError) as error:           # of a package that it would be in
        return f"can't run the module {name!r}: {error}"
    return "" if found else f"can't run the module {name!r}: there is none of that name"


def _run_module(args: list[str]) -> None:
    import runpy
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
    teach(error)
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
        return _said(lambda: [str(linking.wheel(values[0]))])
    hide = {"--hide": {"hide": tuple(values)}, "--show": {"show": tuple(values)}}.get(option, {})
    return _said(lambda: linking.link(**hide))


def _unlink(args: list[str]) -> int:
    if args:
        return _wrong(f"unlink takes no arguments, but got {' '.join(args)}")
    from .compat import linking
    return _said(linking.unlink)


def _said(act: Callable[[], list[str]]) -> int:
    from .compat.linking import LinkError
    try:
        print("\n".join(act()))
    except LinkError as error:
        return _failed(str(error), 1)
    except OSError as error:
        return _failed(f"can't write {error.filename!r}: {error.strerror}", 1)
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
        return _failed(str(error), 1)
    for label, text in lines:
        print(f"{label:10} {text}")
    return 0


# --- info, doctor, check, compare -------------------------------------------------------------------------------------------------------


def _info(args: list[str]) -> int:
    if args:
        return _wrong(f"info takes no arguments, but got {' '.join(args)}")
    from .commands.info import facts
    for name, value in facts():
        print(f"{name:15} {value}")
    return 0


def _doctor(args: list[str]) -> int:
    """0 where all is well, 1 where something is to be mended."""
    if args:
        return _wrong(f"doctor takes no arguments, but got {' '.join(args)}")
    from .commands.doctor import examine, report
    text, status = report(examine())
    print(text)
    return status


def _check(args: list[str]) -> int:
    """0 where nothing is missing, 1 where something is, 2 for a wrong call or what can't be read."""
    paths = [each for each in args if each != "--json"]
    unknown = [each for each in paths if each.startswith("-")]
    if unknown or not paths:
        return _wrong(f"check has no option {unknown[0]}" if unknown else "check needs a file or a folder")
    from .commands.check import Unreadable, check, report
    try:
        text, status = report(check(paths), "--json" in args)
    except Unreadable as error:
        return _failed(str(error))
    print(text)
    return status


_COMPARE: dict[str, Callable[[str], Any]] = {"--python": str, "--runs": int, "--rtol": float, "--html": str}


def _compare(args: list[str]) -> int:
    """0 where the outputs agree, 1 where they differ or a side fails, 2 for a wrong call or without PyTorch."""
    options: dict[str, Any] = {}
    while args and args[0].startswith("-"):
        name, equals, value = args.pop(0).partition("=")
        if name not in _COMPARE:
            return _wrong(f"compare has no option {name}: options of the script come after the script")
        if not equals and not args:
            return _wrong(f"compare {name} needs a value")
        try:
            options[name.lstrip("-")] = _COMPARE[name](value if equals else args.pop(0))
        except ValueError:
            return _wrong(f"compare {name} needs a number")
    if not args:
        return _wrong("compare needs a script")
    if options.get("runs", 1) < 1:
        return _wrong("compare --runs needs a number of at least 1")
    from .commands.compare import NoPyTorch, compare, page, table
    html = options.pop("html", None)
    if html is not None and not os.path.isdir(os.path.dirname(html) or "."):
        return _failed(f"can't write {html!r}: there is no such folder")       # before the runs, which may be long
    try:
        found = compare(args[0], args[1:], **options)
    except (NoPyTorch, FileNotFoundError) as error:
        return _failed(str(error))
    print(table(found))
    if html is not None:
        try:
            with open(html, "w", encoding="utf-8") as file:
                file.write(page(found))
        except OSError as error:
            return _failed(f"can't write {html!r}: {error.strerror}")
    return int(found.statuses != (0, 0) or bool(found.agreement.first))


# --- completion -------------------------------------------------------------------------------------------------------------------------

def _completion(args: list[str]) -> int:
    if len(args) != 1 or args[0] not in completion.SHELLS:
        return _wrong(f"completion needs one of {', '.join(completion.SHELLS)}")
    print(completion.script(args[0], _COMMANDS))
    return 0


_COMMANDS = {"run": _run, "link": _link, "unlink": _unlink, "where": _where, "info": _info, "doctor": _doctor, "check": _check,
             "compare": _compare, "completion": _completion}
