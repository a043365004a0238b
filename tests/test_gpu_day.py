"""bench.gpu_day: the machinery on made-up cases, then small cases of the stages on the stand-in for CuPy, and the table of tiles that it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rushlight as rl
from bench.gpu_day import checks, compile, device, draws, files, kernels, native, plan, sanitizer, sweep, timing
from bench.gpu_day.plan import Case, Context, Failed, Skipped
from rushlight.kernels.cuda import attention, conv, driver, implicit_gemm, tiles
from tests.support import cuda_standin

ROOT = Path(__file__).resolve().parent.parent


def gpu_day(*arguments):
    return subprocess.run([sys.executable, "-m", "bench.gpu_day", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})


@pytest.fixture
def standin():
    with cuda_standin.cuda() as module:
        yield module
    rl.cuda.random.use_cpu_streams(False)


@pytest.fixture
def context(tmp_path):
    return Context(tmp_path, standin=True, quick=True)


def run(module, context, name):
    """The figures of one case."""
    return next(case for case in module.cases(context) if case.name == name).run(context)


def test_nothing_that_a_case_does_stops_the_next(tmp_path):
    done = gpu_day("--stages", "rehearsal", "--minutes", 1, "--out", tmp_path, "--no-build")
    assert done.returncode == 0, done.stderr
    assert {record["case"]: record["status"] for record in plan.results(tmp_path)} == {
        "passes": "passed", "fails": "failed", "raises": "error", "skips": "skipped", "dies": "crashed", "hangs": "late", "passes behind all that": "passed"}
    report = (tmp_path / plan.REPORT).read_text()
    assert "3 is not 4" in report and "ZeroDivisionError" in report and "ended with code 7" in report and "no result within 2 s" in report
    assert json.loads((tmp_path / plan.SUMMARY).read_text())["counts"]["rehearsal"] == {"passed": 2, "failed": 1, "error": 1, "skipped": 1, "crashed": 1, "late": 1}
    assert len(list(tmp_path.iterdir())) == 4
    again = gpu_day("--stages", "rehearsal", "--out", tmp_path)
    assert again.returncode == 2 and "--resume" in again.stderr
    assert gpu_day("--stages", "rehearsal", "--resume", "--strict", "--no-build", "--out", tmp_path).returncode == 1
    assert len(plan.results(tmp_path)) == 7, "what has a result is not run again"


def test_time_that_is_over(tmp_path):
    done = gpu_day("--stages", "rehearsal", "--minutes", 0.05, "--out", tmp_path, "--no-build")
    assert done.returncode == 0 and [record["status"] for record in plan.results(tmp_path)] == ["not reached"]
    assert gpu_day("--stages", "nothing", "--out", tmp_path / "new").returncode == 2


def test_the_command_on_the_standin(tmp_path):
    done = gpu_day("--stages", "device,sanitizer", "--standin", "--quick", "--minutes", 5, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = {record["case"]: record for record in plan.results(tmp_path)}
    assert found["gpu"]["status"] == "passed" and found["gpu"]["figures"]["name"] == "Stand-in GPU", found
    assert found["versions"]["figures"]["numpy"] and found["memcheck"]["status"] == "skipped"


def test_a_line_that_was_cut_is_no_result(tmp_path):
    plan.write(tmp_path, "checks", "a", "passed", 1.0, {"share": 0.123456, "launched": ["x"]}, "said")
    with open(tmp_path / plan.RESULTS, "a") as file:
        file.write('{"stage": "che')
    assert plan.finished(tmp_path, "checks") == {"a"} and "share 0.1235" in (tmp_path / plan.REPORT).read_text()


def test_every_stage_has_cases_with_names_of_their_own(tmp_path):
    import importlib
    original = kernels._count
    kernels._count = lambda: None
    try:
        for stage in plan.STAGES:
            module = importlib.import_module(f"bench.gpu_day.{stage.name}")
            names = [case.name for case in module.cases(Context(tmp_path))]
            assert names and len(set(names)) == len(names), stage.name
            assert any(case.quick for case in module.cases(Context(tmp_path, standin=True, quick=True))), stage.name
    finally:
        kernels._count = original
    assert len(files.on_device()) > 25 and all((ROOT / path).exists() for path in files.on_device())


def test_the_kernels_cases_reach_every_family():
    """Every kernel that exists by itself belongs to a case by its name; the stage "coverage" counts launches on the GPU."""
    from rushlight.kernels.cuda import source
    list(source.all_sources())
    families = {"attention": "attention 64", "conv": "conv", "norm_channel": "batch_norm", "column_parts": "linear", "sum_parts": "linear", "depthwise": "depthwise",
                "take_rows": "embedding", "add_rows": "embedding", "check_bounds": "bounds", "cross_entropy": "cross_entropy", "multi": "multi_tensor",
                "norm_rows": "layer_norm", "random_permutation": "sampling", "random_multinomial": "sampling", "random_poisson": "sampling",
                "random_gamma": "sampling", "random": "floating", "max_pool": "pool", "sum_pool": "pool", "adaptive": "pool", "rnn": "rnn", "gru": "gru",
                "lstm": "lstm", "softmax": "softmax", "log_softmax": "log_softmax"}
    for kernel in source._registered:
        if not kernel.name.startswith(("formula", "optimizer", "one_", "step")):
            family = next((case for start, case in families.items() if kernel.name.startswith(start)), None)
            assert family in kernels.CASES or family in kernels.DRAWS or not kernel.name.startswith(tuple(families)), kernel.name


@pytest.mark.parametrize("module, name", [(device, "versions"), (device, "gpu"), (draws, "rand"), (draws, "randint"), (checks, "streams wait for one another"),
                                          (checks, "pinned copies in both directions"), (checks, "memory figures"), (timing, "add"), (timing, "matmul_bf16")])
def test_cases_pass_on_the_standin(standin, context, module, name):
    figures = run(module, context, name)
    assert isinstance(figures, dict)
    if module is draws:
        assert figures["equal"] == 1 and figures["numbers"] > 500
    if module is timing:
        assert figures["ratio"] > 0 and figures["values"][0] == pytest.approx(figures["values"][1], rel=2e-2)


def test_a_wrong_kernel_is_found(standin):
    def wrong(T, where, kind):
        return [T.ones(3, device=where) * (1 if where == "cpu" else 2)]
    with pytest.raises(Failed, match="relative difference 1.00e"):
        kernels.compare(wrong, "float32")
    with pytest.raises(Failed, match="float64"):
        kernels.compare(lambda T, where, kind: [T.ones(3, device=where, dtype=T.float32 if where == "cpu" else T.float64)], "float32")
    figures = kernels.compare(lambda T, where, kind: [T.linspace(0, 1, 9).to(where)], "float32")
    assert figures["difference"] == 0
    assert kernels.drawn(lambda T: []) == {"launched": figures["launched"]}
    with pytest.raises(Failed, match="mean"):
        kernels.drawn(lambda T: kernels_moments(T))


def kernels_moments(T):
    from bench.gpu_day.kernel_cases import _moments
    assert not _moments(T.linspace(-1, 1, 2001, device="cuda"), 0.0, 3 ** -0.5, "even numbers")
    return _moments(T.ones(100, device="cuda") + T.arange(100, device="cuda") % 2, 9.0, 1.0, "mean")


def test_a_difference_from_pytorch_is_found(standin, context):
    with pytest.raises(Failed, match="equal; first at") as caught:
        draws.compare(lambda T, where, n: T.rand(n, device=where) + (T is rl), context)
    assert caught.value.figures["equal"] == 0


def test_the_sweep_writes_a_table_that_the_code_reads(standin, context, monkeypatch):
    monkeypatch.setattr(rl.backends.cudnn, "allow_tf32", True)
    with pytest.raises(Skipped, match="no tile"):
        run(sweep, context, "the table is read")
    figures = run(sweep, context, "conv small half")
    assert set(figures["forward"]) == {"None", *map(str, sweep.TILES[1:3])}
    assert run(sweep, context, "the table is read") == {"conv": 1, "attention": 0}
    sweep.keep(context, "conv", json.loads((context.out / plan.TILES).read_text())["90"]["conv"])
    table = json.loads((context.out / plan.TILES).read_text())
    assert len(table["90"]["conv"]) == 1, "the same work again takes the old entry's place"
    entry = table["90"]["conv"][0]
    monkeypatch.setenv(tiles.VARIABLE, str(context.out / plan.TILES))
    tiles.use(None)
    try:
        assert tiles.conv(standin, 0, "gather", "half", entry["rows"], entry["columns"] * 2) == tuple(entry["tile"]), "near sizes are served"
        assert tiles.conv(standin, 0, "gather", "half", entry["rows"] * 64, entry["columns"]) is None
        assert tiles.conv(standin, 0, "correlate", "half", entry["rows"], entry["columns"]) is None
    finally:
        monkeypatch.undo()
        tiles.use(None)


def test_a_choice_that_computes_something_else_is_not_taken(standin, context):
    from contextlib import contextmanager
    now = [1.0]

    @contextmanager
    def choosing(choice):
        now[0] = {None: 1.0, "same": 1.0, "other": 2.0}[choice]
        yield
    best, times, problems = sweep._fastest(lambda: rl.full((3,), now[0], device="cuda"), choosing, ["same", "other"], context)
    assert best == "same" and set(times) == {"None", "same"} and "other differs" in problems[0]
    with pytest.raises(Failed, match="differs"):
        sweep._report({}, problems, 1)


def test_tables_choose_tiles_of_both_families(standin):
    wanted = (128, 64, 64, 32, 128, 4)
    before = tiles.use({"90": {"conv": [{"kernel": "gather", "method": "half", "rows": 80, "columns": 300, "tile": list(wanted)}],
                               "attention": [{"kernel": "forward", "single": False, "size": 64, "shape": [1, 32]}]}})
    try:
        assert conv._chosen(standin, 0, "gather", "half", "bfloat16", 64, 256, 1) == implicit_gemm.Tile(*wanted)
        assert conv._chosen(standin, 0, "gather", "plain", "float32", 64, 256, 1) in implicit_gemm.TILES["plain"]
        assert attention._shape("attention", 0, 64) == (1, 32) and attention._shape("attention_key_gradient", 0, 64) == (64, 2)
        assert attention._kernel("attention", 64, 0, (1, 32))[0].name == "attention_64_1x32"
    finally:
        tiles.use(before)
    assert attention._shape("attention", 0, 64) == (2, 64) and implicit_gemm.tiled("gather", "half", implicit_gemm.Tile(*wanted)).name.endswith("_64x32_4")


@pytest.mark.parametrize("table, message", [
    ({"conv": [{"kernel": "gather", "method": "plain", "rows": 1, "columns": 1, "tile": [64] * 6}]}, "method is wrong"),
    ({"conv": [{"kernel": "gather", "method": "half", "rows": 0, "columns": 1, "tile": [64] * 6}]}, "rows is wrong"),
    ({"conv": [{"kernel": "gather", "method": "half", "rows": 1, "columns": 1, "tile": [64] * 5}]}, "tile is wrong"),
    ({"conv": ["gather"]}, "kernel is wrong"), ({"attention": [{"kernel": "forward", "single": 1, "size": 64, "shape": [1, 2]}]}, "single is wrong")])
def test_bad_tables_are_refused(standin, table, message):
    before = tiles.use({"90": table})
    try:
        with pytest.raises(ValueError, match=message):
            tiles.conv(standin, 0, "gather", "half", 1, 1)
    finally:
        tiles.use(before)


def test_bad_files_are_refused(standin, tmp_path, monkeypatch):
    monkeypatch.setenv(tiles.VARIABLE, str(tmp_path / "tiles.json"))
    for text, kind, message in ((None, FileNotFoundError, tiles.VARIABLE), ("{", ValueError, "no.*table of tiles|not a table"), ("[]", ValueError, "holds a list")):
        if text is not None:
            (tmp_path / "tiles.json").write_text(text)
        tiles.use(None)
        with pytest.raises(kind, match=message):
            tiles.conv(standin, 0, "gather", "half", 1, 1)
    monkeypatch.undo()
    tiles.use(None)
    assert tiles.conv(standin, 0, "gather", "half", 1, 1) is None or tiles.FILE.exists()


@pytest.mark.parametrize("tile, message", [((128, 128, 64, 64, 256, 4), "32 threads"), ((96, 128, 64, 64, 128, 4), "16x16"), ((128, 128, 64, 64, 128, 1), "stages"),
                                           ((32, 32, 16, 16, 128, 3), ""), ((16, 16, 16, 16, 32, 3), "evenly|")])
def test_tiles_that_the_texts_can_not_have(tile, message):
    why = implicit_gemm.Tile(*tile).problem()
    if message == "":
        assert why == "" or "evenly" in why
    else:
        import re
        assert re.search(message, why)
    assert all(implicit_gemm.Tile(*each).problem() == "" for each in sweep.TILES)
    if why:
        with pytest.raises(ValueError, match="no tile for tensor cores"):
            implicit_gemm.tiled("gather", "half", implicit_gemm.Tile(*tile))
    with pytest.raises(ValueError, match="no shape"):
        attention._kernel("attention", 64, 0, (1, 40))


def test_kernels_are_compiled_in_parts(context, monkeypatch):
    texts = [(kernel.name, dtype) for kernel, dtype in compile.candidates()]
    assert len(texts) > 40 and len(set(texts)) == len(texts)
    monkeypatch.setattr(compile, "_part", lambda context, number, parts: {"part": (number, parts)})
    assert [case.run(context) for case in compile.cases(Context(context.out, jobs=3))] == [{"part": (i, 3)} for i in range(3)]


def test_the_environment_of_a_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    build = native.Build(tmp_path)
    assert build.process is None
    found = native.environment(build, tmp_path)
    assert found["PYTHONPATH"].split(os.pathsep)[:2] == [str(ROOT / "src"), str(ROOT)] and ("RUSHLIGHT_NATIVE" in found) == (not build.done())
    assert native._quoted("a b'c") == "'a b'\\''c'" and native._level() in ("v4", "v3", "generic")


def test_pytest_counts_and_failures(context, tmp_path):
    (tmp_path / "test_two.py").write_text("def test_a():\n    pass\ndef test_b():\n    assert 1 == 2\n")
    with pytest.raises(Failed, match="test_b") as caught:
        files.run_pytest(context, [str(tmp_path / "test_two.py"), "-c", os.devnull], device=False)
    assert caught.value.figures == {"passed": 1, "failed": 1}
    with pytest.raises(Skipped, match="compute-sanitizer|stand-in"):
        run(sanitizer, context, "memcheck")


class _OldCupy:
    """A CuPy that does not fit."""

    class ndarray:
        """Its arrays."""

    def __init__(self, version, built, driver, capability=90, count=1):
        from types import SimpleNamespace
        self.__version__ = version
        runtime = SimpleNamespace(runtimeGetVersion=lambda: built, driverGetVersion=lambda: driver, getDeviceCount=lambda: count)
        self.cuda = SimpleNamespace(runtime=runtime, Device=lambda number: SimpleNamespace(compute_capability=str(capability)))


@pytest.mark.parametrize("module, message", [
    (_OldCupy("13.6.0", 12090, 12090), "CuPy 13.6.0 is installed, and 14 is the oldest"),
    (_OldCupy("14.2.0", 13000, 12040), r"built for CUDA 13.0, and the NVIDIA driver goes up to CUDA 12.4.*rushlight\[cuda12\]"),
    (_OldCupy("14.2.0", 13000, 13000, 70), r"compute capability 7.0, and CUDA 13 starts at 7.5.*rushlight\[cuda12\]"),
    (_OldCupy("14.2.0", 13000, 13000, 90, 0), "shows no GPU"), (_OldCupy("14.2.0", 12090, 13000, 70), "")])
def test_versions_are_checked_where_cupy_is_imported(monkeypatch, module, message):
    import re
    monkeypatch.setitem(sys.modules, "cupy", module)
    before = driver.replace(driver._UNKNOWN)
    try:
        why = driver.why_not()
        assert re.search(message, why) and "\n" not in why and rl.cuda.is_available() == (not message) == (not why)
    finally:
        driver.replace(before)


def test_cases_are_named_tuples_that_the_stages_share():
    assert Case("a", lambda context: {}).quick is False and Context(Path("x")).left() == 86400
