"""rushlight.compat: `import torch` means rushlight, in this process and its children. In fresh processes, since this one has PyTorch."""

import subprocess
import sys
import textwrap

import pytest


def run(tmp_path, text, *args):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run([sys.executable, str(path), *args], capture_output=True, text=True, timeout=60, cwd=tmp_path)


def good(tmp_path, text):
    done = run(tmp_path, text)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def test_missing_namespaces_are_missing_attributes():
    import rushlight
    assert not hasattr(rushlight, "no_such_thing")
    rushlight._LAZY["_never_there"] = ""
    try:
        assert not hasattr(rushlight, "_never_there")
    finally:
        del rushlight._LAZY["_never_there"]


def test_names_are_the_same_modules(tmp_path):
    assert good(tmp_path, """
        import rushlight, rushlight.nn, rushlight.compat, sys
        rushlight.compat.install()
        rushlight.compat.install()
        import torch
        import torch.nn as nn
        import torch.nn.functional as F
        import torch.utils.data.dataloader
        import torch.optim.lr_scheduler
        from torch.utils.data import DataLoader
        from torch import nn as again, Tensor
        assert torch is rushlight and nn is rushlight.nn is again is torch.nn and F is rushlight.nn.functional
        assert torch.utils.data is rushlight.utils.data and Tensor is rushlight.Tensor
        assert sys.modules["torch.nn.functional"] is sys.modules["rushlight.nn.functional"]
        assert torch.__name__ == "rushlight" and torch.__spec__.name == "rushlight" and nn.__spec__.name == "rushlight.nn"
        import importlib
        assert importlib.import_module("torch.nn.init") is rushlight.nn.init
        print(DataLoader.__module__)
        """) == "rushlight.utils.data.dataloader\n"


def test_missing_modules_are_named(tmp_path):
    assert good(tmp_path, """
        import rushlight.compat
        rushlight.compat.install()
        for name in ("torch.no_such_thing", "torch.nn.no_such_thing"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name == name and name in str(error) and "rushlight" in str(error), error
                print("missing")
        try:
            from torch.nn import NoSuchLayer
        except ImportError as error:
            print(error.name)
        """) == "missing\nmissing\nrushlight.nn\n"


def test_uninstall(tmp_path):
    assert good(tmp_path, """
        import sys, types
        import rushlight.compat as compat
        compat.uninstall()
        compat.install()
        import torch.nn, multiprocessing.spawn
        assert compat.installed() and hasattr(multiprocessing.spawn.get_preparation_data, "original")
        compat.uninstall()
        assert not compat.installed() and not [name for name in sys.modules if name == "torch" or name.startswith("torch.")]
        assert not hasattr(multiprocessing.spawn.get_preparation_data, "original")
        assert "rushlight.nn" in sys.modules
        other = types.ModuleType("torch")
        sys.modules["torch"] = other
        try:
            compat.install()
        except RuntimeError as error:
            print("already been imported" in str(error), compat.installed())
        import torch
        assert torch is other
        """) == "True False\n"


def test_refuses_beside_pytorch():
    import torch as pt  # noqa: F401

    import rushlight.compat as compat
    with pytest.raises(RuntimeError, match="already been imported from .*torch"):
        compat.install()
    assert not compat.installed()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_spawned_workers_import_it_too(tmp_path, method):
    """The children import the script again, and there `import torch` has to mean the same, though the script installs nothing."""
    (tmp_path / "part.py").write_text(textwrap.dedent(f"""
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Squares(Dataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                return torch.tensor(index) ** 2, torch.__name__

        def main():
            for squares, names in DataLoader(Squares(), batch_size=2, num_workers=1, multiprocessing_context={method!r}):
                print(squares.tolist(), *names)
        """))
    assert good(tmp_path, """
        import rushlight.compat
        rushlight.compat.install() if __name__ == "__main__" else None
        import part
        if __name__ == "__main__":
            part.main()
        """) == "[0, 1] rushlight rushlight\n[4, 9] rushlight rushlight\n"
