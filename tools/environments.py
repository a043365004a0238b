"""``make environments``: the wheels, the sdist, other interpreters, the oldest NumPy, odd and locked folders; one line each.

Everything is made in build/environments, in venvs of its own, and needs a package index. What is not on this machine is told and left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMOKE = ROOT / "tests" / "support" / "smoke.py"
PYTHONS = ("3.11", "3.12", "3.13")
OLDEST = ("numpy==2.0.0", "ml_dtypes==0.4.0")
# The spine of the suite, where the oracle can be had; the rest of it is about this checkout (layout, imports, stubs).
QUICK = ("tests/ops/test_shape.py", "tests/ops/test_matmul.py", "tests/autograd/test_autograd.py", "tests/nn/modules/test_module.py")
ORACLE = ("torch==2.13.0", "pytest", "expecttest", "hypothesis")
Work = Callable[[], str]


class Wrong(Exception):
    """What is wrong with an environment."""


class Absent(Exception):
    """What a check needs and this machine does not have."""


def run(command: list[str | Path], **options: object) -> str:
    """The output of a command, or Wrong with the end of what it said."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **options.pop("env", {})}  # type: ignore[dict-item]
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, env=environment, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise Wrong(f"exit code {done.returncode} of {Path(str(command[0])).name}: " + "\n".join((done.stdout + done.stderr).strip().splitlines()[-3:]))
    return done.stdout


def tell(name: str, work: Work) -> bool | None:
    """Print one line; True where it went well, None where it could not be tried."""
    try:
        print(f"ok        {name}: {work()}", flush=True)
    except Absent as why:
        print(f"not here  {name}: {why}", flush=True)
        return None
    except Wrong as why:
        print(f"FAILED    {name}: " + " | ".join(str(why).splitlines()), flush=True)
        return False
    return True


def interpreter(version: str) -> str | None:
    """A Python of this version, from the path or from pyenv."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    if found:
        return str(found[-1])           # pyenv's command on the path refuses a version that is not the chosen one
    return shutil.which(f"python{version}")


def venv(folder: Path, python: str, *packages: str | Path) -> Path:
    """The interpreter of a fresh venv with these packages."""
    shutil.rmtree(folder, ignore_errors=True)
    run([python, "-m", "venv", folder])
    if packages:
        run([folder / "bin" / "pip", "install", "--quiet", *packages])
    return folder / "bin" / "python"


def smoke(python: Path | str, **options: object) -> str:
    """The losses of the small program; run outside of the source tree, so that the installed package is found."""
    environment = {"PYTHONPATH": "", **options.pop("env", {})}  # type: ignore[dict-item]
    return run([*options.pop("before", ()), python, SMOKE], **{"cwd": "/", "env": environment, **options}).strip()  # type: ignore[misc]


def wheel(folder: Path, source: Path, python: str, native: bool) -> Path:
    """A wheel built from a source tree or an sdist."""
    shutil.rmtree(folder, ignore_errors=True)
    run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, source], env={} if native else {"RUSHLIGHT_NATIVE": "0"})
    return next(folder.glob("rushlight-*.whl"))


def pure(work: Path) -> str:
    """The wheel without native kernels fits every Python and system."""
    found = wheel(work / "pure", ROOT, sys.executable, False)
    if not found.name.endswith("-py3-none-any.whl"):
        raise Wrong(f"{found.name} is not a py3-none-any wheel")
    python = venv(work / "venv-pure", sys.executable, found)
    return f"{found.name}, {smoke(python)}"


def sdist(work: Path) -> str:
    """The sdist builds a wheel with native kernels, in a folder with spaces and Chinese."""
    folder = work / "目录 with spaces"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    builder = venv(work / "venv-build", sys.executable, "scikit-build-core>=0.10", "numpy>=2.0")
    name = run([builder, "-c", f"from scikit_build_core.build import build_sdist; print(build_sdist({str(folder)!r}))"], cwd=ROOT).split()[-1]
    found = wheel(folder / "wheel", folder / name, sys.executable, True)
    python = venv(folder / "venv", sys.executable, found)
    if smoke(python, env={"RUSHLIGHT_NATIVE": "1"}) and "none-any" in found.name and shutil.which("c++"):
        raise Wrong(f"{found.name} was built without native kernels, though there is a compiler")
    return f"{name} -> {found.name}"


def side_by_side(work: Path) -> str:
    """Two installations in one Python, each found by its own path."""
    python = venv(work / "venv-two", sys.executable, "numpy", "ml_dtypes")
    natively = wheel(work / "native", ROOT, sys.executable, True)
    for name, source in (("one", natively), ("two", next((work / "pure").glob("*.whl")))):
        shutil.rmtree(work / name, ignore_errors=True)
        run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", work / name, source])
    losses = [smoke(python, env={"PYTHONPATH": str(work / name)}) for name in ("one", "two")]
    return f"{natively.name} and the pure one, {losses[1]}"


def oldest(work: Path) -> str:
    """The oldest NumPy and ml_dtypes that pyproject.toml allows."""
    python = venv(work / "venv-oldest", interpreter("3.11") or sys.executable, *OLDEST, next((work / "pure").glob("*.whl")))
    return f"{' '.join(OLDEST)}, {smoke(python)}"


def locked(work: Path) -> str:
    """An installation that belongs to root and can't be written to, used by nobody."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        raise Absent("needs root and setpriv, to become somebody else")
    folder = Path("/var/tmp") / f"rushlight-locked-{os.getpid()}"
    try:
        shutil.copytree(work / "two", folder)
        shutil.copy(SMOKE, folder / "smoke.py")
        run(["chmod", "-R", "a-w,a+rX", folder])
        python = shutil.which("python3", path="/usr/bin:/bin")
        if python is None or subprocess.run([python, "-c", "import numpy, ml_dtypes"], capture_output=True).returncode:
            python = str(work / "venv-two" / "bin" / "python")
        before = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env", "HOME=/nonexistent", f"PYTHONPATH={folder}"]
        if subprocess.run([*before, python, "-c", "import numpy"], capture_output=True).returncode:
            raise Absent("no Python with NumPy that nobody may run")
        return run([*before, python, folder / "smoke.py"], cwd="/").strip()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def interpreters(work: Path) -> Iterator[tuple[str, Work]]:
    """One check per version of Python: native kernels built for it, the small program, and the spine of the suite beside PyTorch."""
    for version in PYTHONS:
        yield f"Python {version}", lambda version=version: _interpreter(work, version)  # type: ignore[misc]


def _interpreter(work: Path, version: str) -> str:
    base = interpreter(version)
    if base is None:
        raise Absent("no such interpreter, neither on the path nor in ~/.pyenv")
    folder = work / f"venv-{version}"
    python = venv(folder, base, wheel(work / f"wheel-{version}", ROOT, base, True))
    said = smoke(python)
    try:
        run([python, "-m", "pip", "install", "--quiet", *ORACLE])
    except Wrong:
        return f"{said}; no PyTorch for it here, so no suite"
    tests = run([python, "-m", "pytest", "-q", "-p", "no:warnings", "-p", "no:cacheprovider", *QUICK], cwd=ROOT)
    return f"{said}; {tests.strip().splitlines()[-1]}"


def main() -> int:
    """Exit code 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python tools/environments.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", help="names with commas between: pure, sdist, side-by-side, oldest, locked, 3.11, ...")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "environments")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    checks: list[tuple[str, Work]] = [(name, lambda check=check: check(work)) for name, check in (  # type: ignore[misc]
        ("pure wheel", pure), ("sdist", sdist), ("side by side", side_by_side), ("oldest NumPy", oldest), ("read-only, as nobody", locked))]
    checks += list(interpreters(work))
    wanted = [each.strip() for each in arguments.only.split(",")] if arguments.only else []
    return 1 if False in [tell(name, check) for name, check in checks if not wanted or any(each in name.replace(" ", "-") for each in wanted)] else 0


if __name__ == "__main__":
    sys.exit(main())
