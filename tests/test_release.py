"""tools/release.py: the version, the bill of materials, the hashes and the tree that is built; `make wheels` itself builds for minutes."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import rushlight

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def release(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("release", ROOT / "tools" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("environments", None)


def test_one_place_says_the_version(release):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert release.version() == rushlight.rushlight_version
    assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
    assert project["tool"]["scikit-build"]["metadata"]["version"]["input"] == "src/rushlight/version.py"


@pytest.fixture
def out(tmp_path):
    """A folder with a small wheel and an sdist."""
    folder = tmp_path / "dist"
    folder.mkdir()
    with zipfile.ZipFile(folder / "rushlight-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("rushlight-9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: rushlight\nVersion: 9.9\nRequires-Dist: numpy>=2.0\n"
                       "Requires-Dist: ml_dtypes>=0.4\nRequires-Dist: mpi4py; extra == 'distributed'\n\ntext\n")
    (folder / "rushlight-9.9.tar.gz").write_bytes(b"source")
    return folder


def test_bill_of_materials_and_hashes(release, out):
    assert release.bill(out) == "2 requirements, 2 files in sbom.cdx.json"
    content = json.loads((out / "sbom.cdx.json").read_text())
    assert content["bomFormat"] == "CycloneDX" and content["metadata"]["component"]["version"] == "9.9"
    assert [each["name"] for each in content["components"]] == ["numpy", "ml-dtypes", "rushlight-9.9-py3-none-any.whl", "rushlight-9.9.tar.gz"]
    assert content["components"][3]["hashes"][0]["content"] == hashlib.sha256(b"source").hexdigest()
    assert content["dependencies"] == [{"ref": "pkg:pypi/rushlight@9.9", "dependsOn": ["pkg:pypi/numpy", "pkg:pypi/ml-dtypes"]}]
    release.hashes(out)
    assert subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=out, capture_output=True).returncode == 0
    (out / "rushlight-9.9.tar.gz").write_bytes(b"another")
    assert subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=out, capture_output=True).returncode == 1


def test_nothing_to_list(release, tmp_path):
    with pytest.raises(release.Wrong, match="no wheel was made"):
        release.bill(tmp_path)


def test_only_what_is_committed_is_built(release, tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    source = release.committed(tmp_path)
    assert (source / "src" / "rushlight" / "version.py").exists() and not list(source.rglob("*.so")) and not (source / "build").exists()


def test_an_interpreter_that_is_not_here_is_told(release, tmp_path, capsys):
    assert release.tell("wheel", lambda: release.native(tmp_path, tmp_path, "9.9")) is None
    assert capsys.readouterr().out.startswith("not here  wheel: no such interpreter")
