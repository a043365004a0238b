"""The command `rushlight`: run, its exit codes and messages, and info."""

import os
import subprocess
import sys
import textwrap
import zipfile

import pytest

TRAINING = """
    import sys
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    from torch.utils.data import DataLoader, TensorDataset

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(2, 1)

        def forward(self, x):
            return self.line(x)

    if __name__ == "__main__":
        torch.manual_seed(0)
        x = torch.randn(32, 2)
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for epoch in range(2):
            for (batch,) in DataLoader(TensorDataset(x), batch_size=8, shuffle=True):
                loss = F.mse_loss(net(batch), batch.sum(1, keepdim=True))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            print(f"{loss.item():.4f}")
    """


def rushlight(*args, cwd=None, **options):
    return subprocess.run([sys.executable, "-m", "rushlight", *map(str, args)], capture_output=True, text=True, timeout=60, cwd=cwd, **options)


@pytest.fixture
def write(tmp_path):
    def write(text, name="program.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_a_script_for_pytorch_prints_what_pytorch_prints(write):
    path = write(TRAINING)
    ours = rushlight("run", path)
    assert (ours.returncode, ours.stderr) == (0, "")
    assert ours.stdout == subprocess.run([sys.executable, str(path)], capture_output=True, text=True).stdout


def test_what_the_script_sees(write, tmp_path):
    path = write("""
        import sys, os, pickle, helper

        class Thing:
            pass

        assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
        assert sys.modules["__main__"].Thing is Thing and __name__ == "__main__" and __spec__ is None
        print(sys.argv[1:], os.path.basename(__file__), sys.path[0] == os.path.dirname(os.path.abspath(__file__)), helper.torch.__name__)
        """)
    write("import torch\n", "helper.py")
    wanted = "['--flag', '-m', 'x'] program.py True torch\n"
    done = rushlight("run", path, "--flag", "-m", "x")
    assert (done.stdout, done.stderr, done.returncode) == (wanted, "", 0)
    assert rushlight("run", "program.py", "--flag", "-m", "x", cwd=tmp_path).stdout == wanted


def test_a_module(write, tmp_path):
    (tmp_path / "package").mkdir()
    write("from . import other\nimport sys, torch\nprint(__name__, __spec__.name, sys.argv[1:], torch.__name__, other.X)\n", "package/part.py")
    write("X = 3\n", "package/other.py")
    write("", "package/__init__.py")
    done = rushlight("run", "-m", "package.part", "a", "-b", cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("__main__ package.part ['a', '-b'] torch 3\n", "", 0)
    assert rushlight("run", "-m", "package.nothing", cwd=tmp_path).returncode == 1


def test_folders_and_archives(write, tmp_path):
    (tmp_path / "app").mkdir()
    write("import torch\nprint(torch.__name__)\n", "app/__main__.py")
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.write(tmp_path / "app" / "__main__.py", "__main__.py")
    for name in ("app", "app.pyz"):
        assert rushlight("run", tmp_path / name).stdout == "torch\n"


@pytest.mark.parametrize("how", ["script", "module"])
def test_spawned_workers(write, tmp_path, how):
    """Children import the script again: under the same rules."""
    path = write("""
        import torch
        from torch.utils.data import DataLoader, Dataset
        import concurrent.futures, multiprocessing

        class Squares(Dataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                return torch.tensor(index) ** 2

        def name(_):
            return torch.__name__

        if __name__ == "__main__":
            print([batch.tolist() for batch in DataLoader(Squares(), batch_size=2, num_workers=1, multiprocessing_context="spawn")])
            with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                print(*pool.map(name, [1]))
        """)
    done = rushlight("run", *([path] if how == "script" else ["-m", "program"]), cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("[[0, 1], [4, 9]]\ntorch\n", "", 0)


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


def test_missing_file():
    done = rushlight("run", "no_such_script.py")
    assert done.returncode == 2 and "no_such_script.py" in last_line(done) and "Traceback" not in done.stderr


@pytest.mark.parametrize("code, status, out, error", [
    ("import sys; print(1); sys.exit(7)", 7, "1\n", ""),
    ("raise SystemExit", 0, "", ""),
    ("import sys; sys.exit('sorry')", 1, "", "sorry\n"),
])
def test_system_exit_passes_through(write, code, status, out, error):
    done = rushlight("run", write(code))
    assert (done.returncode, done.stdout, done.stderr) == (status, out, error)


def test_a_script_that_raises(write):
    path = write("print('before')\ndef f():\n    raise ValueError('broken')\nf()\n")
    done = rushlight("run", path)
    assert (done.returncode, done.stdout) == (1, "before\n")
    plain = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    assert done.stderr == plain.stderr  # the traceback is the script's alone


def test_a_script_with_a_syntax_error(write):
    done = rushlight("run", write("x = = 1\n"))
    assert done.returncode == 1 and "SyntaxError" in done.stderr and "cli.py" not in done.stderr


@pytest.mark.parametrize("code, named", [
    ("import torch\ntorch.no_such_function(1)", "torch.no_such_function"),
    ("import torch\ntorch.nn.NoSuchLayer()", "torch.nn.NoSuchLayer"),
    ("import torch\ntorch.zeros(1).no_such_method()", "Tensor.no_such_method"),
    ("import torch\ntorch.Tensor.no_such_method", "Tensor.no_such_method"),
    ("import torch.no_such_module", "torch.no_such_module"),
    ("from torch.nn.no_such_module import x", "torch.nn.no_such_module"),
    ("from torch.nn import NoSuchLayer", "torch.nn.NoSuchLayer"),
    ("from torch import no_such_function", "torch.no_such_function"),
    ("import torch\ntorch.optim.SGD([torch.zeros(1)]).no_such()", "SGD.no_such"),
])
def test_what_is_unsupported_is_named_last(write, code, named):
    done = rushlight("run", write(code))
    assert done.returncode == 1 and "Traceback" in done.stderr
    assert last_line(done).startswith("rushlight: not supported") and last_line(done).endswith(named)


@pytest.mark.parametrize("code", ["raise NotImplementedError('mine')", "None.x", "import no_such_module", "from os import no_such",
                                  "class A: pass\nA().x", "import json\njson.nothing"])
def test_the_scripts_own_errors_are_not_blamed_on_rushlight(write, code):
    done = rushlight("run", write("import torch\n" + code))
    assert done.returncode == 1 and "rushlight: not supported" not in done.stderr


def test_wrong_calls():
    for args in ([], ["nothing"], ["run"], ["run", "-m"], ["run", "--option"], ["info", "more"], ["where"], ["where", "a", "b"]):
        done = rushlight(*args)
        assert done.returncode == 2 and "usage:" in done.stderr and last_line(done).startswith("rushlight: "), args
    assert "usage:" in rushlight("--help").stdout
    assert rushlight("--version").stdout.startswith("rushlight ")


@pytest.mark.parametrize("args, status, words", [
    (["run", "folder"], 2, "can't run 'folder': the folder has no __main__.py"), (["run", "binary.py"], 2, "can't run 'binary.py': it is no text"),
    (["run", "-m", "nowhere"], 1, "can't run the module 'nowhere': there is none of that name"),
    (["run", "-m", "nowhere.inside"], 1, "can't run the module 'nowhere.inside': No module named 'nowhere'"),
    (["run", "--nproc", "2", "nowhere.py"], 2, "can't open 'nowhere.py': there is no such file"),
    (["link", "--wheel", "binary.py/x"], 1, "can't write 'binary.py/x': Not a directory"),
    (["compare", "--html", "nowhere/page.html", "binary.py"], 2, "can't write 'nowhere/page.html': there is no such folder")])
def test_bad_input_is_one_line(tmp_path, args, status, words):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.py").write_bytes(b"\x7fELF\0\0")
    done = rushlight(*args, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (status, f"rushlight: {words}\n")


def test_help_of_one_command():
    done = rushlight("compare", "--help")
    assert done.returncode == 0 and "--html FILE" in done.stdout and "doctor" not in done.stdout
    assert "doctor" not in rushlight("check").stderr and "check" in rushlight("check").stderr


def test_only_the_first_lines_are_read():
    """What is printed goes into a pipe that nobody reads to its end."""
    done = subprocess.run(f"{sys.executable} -m rushlight completion bash | true", shell=True, capture_output=True, text=True)
    assert not done.stderr


def test_info():
    done = rushlight("info", env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert {"rushlight", "as torch", "ml_dtypes", "python", "numpy", "native kernels", "BLAS", "threads", "devices"} <= set(names)


def test_interrupt(write):
    done = rushlight("run", write("raise KeyboardInterrupt"))
    assert done.returncode == 130 and done.stderr.endswith("KeyboardInterrupt\n")
