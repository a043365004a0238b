"""What popular libraries import from torch is there: `imports.txt` lists it (tools/library_imports.py collects it from installed libraries)."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import rushlight as torch

LINES = Path(__file__).with_name("imports.txt").read_text().splitlines()
MODULES = sorted({line.partition(" ")[0] for line in LINES})


@pytest.mark.parametrize("module", MODULES)
def test_imports(module):
    found = import_module("rushlight" + module[len("torch"):])
    for name in [line.partition(" ")[2] for line in LINES if line.partition(" ")[0] == module]:
        if name and not hasattr(found, name):
            import_module(f"{found.__name__}.{name}")


def test_absent_names_fail_at_use():
    from rushlight.distributed.pipelining import PipelineStage

    from rushlight.distributed.fsdp import BackwardPrefetch
    assert BackwardPrefetch.BACKWARD_PRE.name == "BACKWARD_PRE" and not isinstance(torch.nn.Linear(1, 1), PipelineStage)
    assert PipelineStage.__module__ == "rushlight.distributed.pipelining"
    for use in (lambda: PipelineStage(torch.nn.Linear(1, 1)), lambda: torch.quantize_per_tensor(torch.ones(1), 1.0, 0, None)):
        with pytest.raises(NotImplementedError, match="is not supported by rushlight"):
            use()
    import rushlight.distributed.fsdp as fsdp
    assert not hasattr(fsdp, "no_such_name") and not hasattr(torch.onnx, "no_such_name")
    with pytest.raises(ModuleNotFoundError):
        import_module("rushlight.distributed.no_such_module")


def test_the_table_holds_nothing_that_is_there():
    """A module or name that rushlight has got comes first; its line in the table is to go (tools/absent_names.py writes it anew)."""
    from importlib.machinery import PathFinder

    from rushlight import absent
    for path in absent.table():
        parent, _, last = path.rpartition(".")
        if not (names := absent.table()[path]) and "." in path:
            continue
        try:
            places = import_module(f"rushlight.{parent}" if parent else "rushlight").__path__
        except AttributeError:
            continue
        if PathFinder.find_spec(f"rushlight.{path}", places) is not None:
            real = vars(import_module(f"rushlight.{path}"))
            assert not [name for name in names if name in real], path


def test_tables_load_only_when_asked():
    done = subprocess.run([sys.executable, "-c", "import rushlight.nn, rushlight.absent as a; print(a.table.cache_info().currsize)"],
                          capture_output=True, text=True)
    assert done.stdout == "0\n", done.stderr
