"""`rushlight link`: in an environment of its own, whose pip finds torch there and leaves it alone."""

import os
import subprocess
import textwrap
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent
while not (SOURCE / "src").exists():
    SOURCE = SOURCE.parent
needs_symlinks = pytest.mark.skipif(os.name == "nt", reason="the environments share packages by symbolic links")
pytestmark = needs_symlinks


@pytest.fixture
def environment(tmp_path):
    """A function that runs Python in a fresh environment with rushlight, NumPy and pip, but without PyTorch."""
    place = tmp_path / "environment with spaces"
    venv.create(place, with_pip=False, symlinks=True)
    library = next(place.glob("lib/python*/site-packages"))
    for name in ("numpy", "ml_dtypes", "pip"):
        found = distribution(name)
        roots = {str(path).split("/")[0] for path in found.files if not str(path).startswith("..")} | ({"numpy.libs"} if name == "numpy" else set())
        for root in roots - {"__pycache__"}:
            if Path(found.locate_file(root)).exists():
                (library / root).symlink_to(found.locate_file(root))
    (library / "rushlight.pth").write_text(f"{SOURCE / 'src'}\n")
    info = library / "rushlight-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rushlight\nVersion: 0.1.0\n")

    def run(*args, **options):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        return subprocess.run([place / "bin" / "python", *args], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=clean, **options)
    run.library, run.place = library, place
    return run


def good(run, *args):
    done = run(*args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rushlight(run, *args):
    return run("-m", "rushlight", *args)


def test_link_and_unlink(environment, tmp_path):
    before = sorted(environment.library.iterdir()), sorted(environment.place.iterdir())
    assert rushlight(environment, "link", "--check").returncode == 1
    assert "2.13.0+rushlight" in good(environment, "-m", "rushlight", "link")
    assert "already linked" in good(environment, "-m", "rushlight", "link") and rushlight(environment, "link", "--check").returncode == 0
    (tmp_path / "program.py").write_text(textwrap.dedent("""
        import sys, importlib.metadata, subprocess
        import rushlight.nn                     # the first name first
        import torch
        import torch.nn.functional as F
        from torch.utils.data import DataLoader
        from torch import nn
        assert torch is rushlight and nn is rushlight.nn and F is rushlight.nn.functional and torch.__name__ == "torch"
        assert nn.Linear.__module__ == "torch.nn.modules.linear" and importlib.metadata.version("torch") == torch.__version__
        assert len({id(module) for name, module in sys.modules.items() if name.endswith(".nn.modules.linear")}) == 1
        if __name__ == "__main__":
            print([batch.tolist() for batch in DataLoader(torch.arange(4), batch_size=2, num_workers=1, multiprocessing_context="spawn")])
            print(subprocess.run([sys.executable, "-c", "import torch.optim as o; print(o.SGD.__module__)"], capture_output=True, text=True).stdout)
        """))
    assert good(environment, "program.py").split("\n")[:2] == ["[[0, 1], [2, 3]]", "torch.optim.sgd"]
    assert "2.13.0+rushlight" in good(environment, "-m", "torch.utils.collect_env")
    assert "No broken requirements" in good(environment, "-m", "pip", "check")
    config = good(environment, "-m", "pip", "config", "list")
    assert "rushlight-constraints.txt" in config
    assert "Successfully uninstalled" in good(environment, "-m", "pip", "uninstall", "-y", "torch")
    assert (sorted(environment.library.iterdir()), sorted(environment.place.iterdir())) == before
    good(environment, "-m", "rushlight", "link")
    good(environment, "-m", "rushlight", "unlink")
    assert (sorted(environment.library.iterdir()), sorted(environment.place.iterdir())) == before
    assert "nothing is linked" in rushlight(environment, "unlink").stderr


def test_a_pip_configuration_is_kept(environment, tmp_path):
    (tmp_path / "mine.txt").write_text("numpy>=2\n")
    config = environment.place / "pip.conf"
    config.write_text(f"[install]\nconstraint = {tmp_path / 'mine.txt'}\n[global]\ntimeout = 7\n")
    assert "rushlight unlink" in good(environment, "-m", "rushlight", "link")
    shown = good(environment, "-m", "pip", "config", "list")
    assert "mine.txt" in shown and "rushlight-constraints.txt" in shown and "timeout='7'" in shown
    good(environment, "-m", "rushlight", "unlink")
    shown = good(environment, "-m", "pip", "config", "list")
    assert "mine.txt" in shown and "rushlight" not in shown and "timeout='7'" in shown


def test_refusals(environment):
    """PyTorch is named and left alone; what can't be written is one error, and nothing has changed."""
    info = environment.library / "torch-2.9.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1\n")
    for command in ("link", "unlink"):
        done = rushlight(environment, command)
        assert done.returncode == 1 and "PyTorch 2.9.1 is installed in" in done.stderr and "Traceback" not in done.stderr
    assert "PyTorch 2.9.1 is installed" in rushlight(environment, "link", "--check").stdout
    (info / "METADATA").unlink()
    info.rmdir()
    (environment.library / "torch").write_text("in the way")
    assert "is no link of rushlight's" in rushlight(environment, "link").stderr
    (environment.library / "torch").unlink()
    (environment.place / "rushlight-constraints.txt").mkdir()          # stands for a folder that can't be written: root may write everywhere
    before = sorted(environment.library.iterdir())
    done = rushlight(environment, "link")
    assert done.returncode == 1 and "can't write to" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert sorted(environment.library.iterdir()) == before


def test_hide(environment, tmp_path):
    (tmp_path / "probing.py").write_text("try:\n    import torch\nexcept ImportError:\n    torch = None\n")
    program = "import torch, probing; print(probing.torch is None, torch.ones(1).sum().item())"
    good(environment, "-m", "rushlight", "link", "--hide", "probing")
    assert good(environment, "-c", program) == "True 1.0\n" and rushlight(environment, "link", "--check").returncode == 0
    assert "already" in good(environment, "-m", "rushlight", "link")
    good(environment, "-m", "rushlight", "link", "--show", "probing")
    assert good(environment, "-c", program) == "False 1.0\n"
    done = rushlight(environment, "link", "--hide", "no name")
    assert done.returncode == 2 and "no name" in done.stderr


def test_a_damaged_link_is_found_and_mended(environment):
    good(environment, "-m", "rushlight", "link")
    (environment.library / "torch" / "__init__.py").write_text("__rushlight_link__ = True\n")
    assert "differs" in rushlight(environment, "link", "--check").stdout
    good(environment, "-m", "rushlight", "link")
    assert rushlight(environment, "link", "--check").returncode == 0
    (environment.place / "pip.conf").unlink()
    assert "replacing it" in rushlight(environment, "link", "--check").stdout
    good(environment, "-m", "rushlight", "link")
    assert rushlight(environment, "link", "--check").returncode == 0


def test_the_wheel(environment, tmp_path):
    from zipfile import ZipFile
    paths = [good(environment, "-m", "rushlight", "link", "--wheel", str(tmp_path / name)).strip() for name in ("one", "two")]
    assert Path(paths[0]).read_bytes() == Path(paths[1]).read_bytes()
    assert "torch/__init__.py" in ZipFile(paths[0]).namelist()
    good(environment, "-m", "pip", "install", "--no-index", "--no-deps", paths[0])
    assert good(environment, "-c", "import torch; print(torch.nn.Linear)") == "<class 'torch.nn.modules.linear.Linear'>\n"
    assert "No broken requirements" in good(environment, "-m", "pip", "check") and rushlight(environment, "link", "--check").returncode == 0
