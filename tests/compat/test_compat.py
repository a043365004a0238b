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
        assert torch.__name__ == "torch" and torch.__spec__.name == "torch" and nn.__spec__.name == nn.__name__ == "torch.nn"
        import importlib
        assert importlib.import_module("torch.nn.init") is rushlight.nn.init
        print(DataLoader.__module__)
        """) == "torch.utils.data.dataloader\n"


def test_missing_modules_are_named(tmp_path):
    assert good(tmp_path, """
        import importlib.util, rushlight.compat
        rushlight.compat.install()
        for name in ("torch.no_such_thing", "torch.nn.no_such_thing"):
            try:
                __import__(name)
            except ModuleNotFoundError as error:
                assert error.name == name and name in str(error) and importlib.util.find_spec(name) is None, error
                print("missing")
        try:
            from torch.nn import NoSuchLayer
        except ImportError as error:
            print(error.name)
        """) == "missing\nmissing\ntorch.nn\n"


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
        assert "rushlight.nn" in sys.modules and sys.modules["rushlight.nn"].Linear.__module__ == "rushlight.nn.modules.linear"
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
        """) == "[0, 1] torch torch\n[4, 9] torch torch\n"


def test_identity(tmp_path):
    """Under the name torch everything says that it is torch's, whichever name it was imported by, before and after."""
    assert good(tmp_path, """
        import pickle
        import rushlight, rushlight.nn
        early = rushlight.nn.Linear
        assert early.__module__ == "rushlight.nn.modules.linear" and rushlight.__version__ == "2.13.0+rushlight"
        import rushlight.compat
        rushlight.compat.install()
        import torch, torch.distributions, rushlight.signal, importlib.metadata, importlib.util
        assert torch.nn.Linear is early and early.__module__ == "torch.nn.modules.linear" and rushlight.signal is torch.signal
        assert torch.signal.__name__ == "torch.signal" and type(torch.ones(1)).__module__ == "torch" == torch.float32.__class__.__module__
        assert torch.optim.Adam.__module__ == "torch.optim.adam" and torch.distributions.Normal.__module__ == "torch.distributions.normal"
        assert torch.__version__ >= (2, 13) and torch.__version__ > "2.12" and torch.version.rushlight_version == rushlight.rushlight_version
        assert importlib.metadata.version("torch") == torch.__version__ and importlib.util.find_spec("torch").name == "torch"
        assert importlib.util.find_spec("torch.no_such_thing") is None and "rushlight" in torch.__config__.show()
        for shown in (torch.nn.functional.relu, torch.add, torch.exp, torch.float16, torch.device("cpu"), torch.Size([2]), early, torch.optim.SGD,
                      torch.optim.lr_scheduler.StepLR, torch.channels_last, torch.get_default_dtype):
            text = pickle.dumps(shown, 0)
            assert b"rushlight" not in text and pickle.loads(text) == shown, text
        """) == ""


def test_pickles_both_ways(tmp_path):
    """Plain pickles name PyTorch's classes and functions, and mean the same in both."""
    import pickle

    import torch as pt
    theirs = pt.nn.Sequential(pt.nn.Linear(2, 3), pt.nn.ReLU(), pt.nn.BatchNorm1d(3))
    x = pt.randn(4, 2, dtype=pt.float32)
    (tmp_path / "theirs.pickle").write_bytes(pickle.dumps((theirs, x, theirs(x).detach(), {"dtype": pt.bfloat16})))
    assert good(tmp_path, """
        import rushlight.compat, pickle
        rushlight.compat.install()
        model, x, y, other = pickle.load(open("theirs.pickle", "rb"))
        import torch
        assert torch.allclose(model(x), y, atol=1e-6) and other == {"dtype": torch.bfloat16}
        model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.GELU(), torch.nn.TransformerEncoderLayer(3, 1, batch_first=True)).eval()
        optimizer = torch.optim.AdamW(model.parameters())
        text = pickle.dumps((model, x, model(x).detach(), optimizer.state_dict(), torch.device("cpu"), torch.float64, x.shape))
        assert b"rushlight" not in text
        open("ours.pickle", "wb").write(text)
        """) == ""
    model, x, y, state, device, dtype, shape = pickle.loads((tmp_path / "ours.pickle").read_bytes())
    assert type(model[0]) is pt.nn.Linear and device == pt.device("cpu") and dtype is pt.float64 and shape == x.shape == (4, 2)
    assert pt.allclose(model(x), y, atol=1e-6) and state["param_groups"][0]["weight_decay"] == 0.01


def test_hidden(tmp_path):
    (tmp_path / "probing.py").write_text("""
try:
    import torch
except ModuleNotFoundError as error:
    found = error.name
import importlib.metadata
import importlib.util
spec = importlib.util.find_spec("torch")
try:
    version = importlib.metadata.version("torch")
except importlib.metadata.PackageNotFoundError:
    version = None
""")
    assert good(tmp_path, """
        import rushlight.compat, sys
        rushlight.compat.install()
        import torch.nn
        before = list(sys.meta_path)
        with rushlight.compat.hidden():
            import probing
        assert (probing.found, probing.spec, probing.version) == ("torch", None, None)
        import torch.optim
        assert sys.modules["torch"] is torch is rushlight and torch.optim.SGD and sys.meta_path == before
        """) == ""
