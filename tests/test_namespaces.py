"""Namespaces around the core: hub, profiler, benchmark, backends, data pipes, and the ones that are not there and say so."""

import gzip
import hashlib
import importlib
import json
import subprocess
import sys
import textwrap
import time

import pytest
import torch as pt
import torch.nn.attention.flex_attention
import torch.utils.benchmark
import torch.utils.collect_env  # noqa: F401

import rushlight as rl
import rushlight.nn.attention.flex_attention

MODULES = (rl, pt)


# --- hub ----------------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def repository(tmp_path):
    (tmp_path / "helper_of_hub.py").write_text("FACTOR = 3\n")
    (tmp_path / "hubconf.py").write_text(textwrap.dedent("""
        dependencies = ["numpy"]
        from helper_of_hub import FACTOR
        def model(size, *, bias=True):
            '''A linear model.'''
            return ("model", size * FACTOR, bias)
        def _hidden():
            pass
        """))
    yield str(tmp_path)
    sys.modules.pop("helper_of_hub", None)


def test_hub_from_a_directory(repository):
    for module in MODULES:
        assert module.hub.load(repository, "model", 2, bias=False, source="local") == ("model", 6, False)
        with pytest.raises(RuntimeError, match="Cannot find callable nothing in hubconf"):
            module.hub.load(repository, "nothing", source="local")
        with pytest.raises(ValueError, match="Unknown source"):
            module.hub.load(repository, "model", source="nowhere")
        with pytest.raises(ValueError, match="Invalid input"):
            module.hub.load(repository, 3, source="local")
        with pytest.raises(FileNotFoundError):
            module.hub.load(repository + "/nothing", "model", source="local")
    assert rl.hub.list(repository, source="local") == ["model"] and rl.hub.help(repository, "model", source="local") == "A linear model."
    assert repository not in sys.path


def test_hub_missing_dependencies_and_github(repository):
    with open(repository + "/hubconf.py", "a") as file:
        file.write("dependencies = ['no_such_package_here']\n")
    for module in MODULES:
        with pytest.raises(RuntimeError, match="Missing dependencies: no_such_package_here"):
            module.hub.load(repository, "model", 2, source="local")
    for call in (lambda: rl.hub.load("pytorch/vision", "resnet18"), lambda: rl.hub.list("pytorch/vision"), lambda: rl.hub.help("a/b:main", "c")):
        with pytest.raises(NotImplementedError, match="git clone https://github.com/.*source='local'"):
            call()


def test_hub_directory_and_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert rl.hub.get_dir() == pt.hub.get_dir() == str(tmp_path / "home" / "hub")
    weights = tmp_path / "weights.pt"
    pt.save({"w": pt.ones(2)}, weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    url = weights.as_uri()
    assert rl.hub.load_state_dict_from_url(url, progress=False)["w"].tolist() == [1, 1]
    assert (tmp_path / "home" / "hub" / "checkpoints" / "weights.pt").exists()
    rl.hub.download_url_to_file(url, str(tmp_path / "copy.pt"), hash_prefix=digest[:8], progress=False)
    with pytest.raises(RuntimeError, match="invalid hash value"):
        rl.hub.download_url_to_file(url, str(tmp_path / "bad.pt"), hash_prefix="00000000", progress=False)
    assert not (tmp_path / "bad.pt").exists() and not list(tmp_path.glob("*.partial"))
    try:
        rl.hub.set_dir(tmp_path / "other")
        assert rl.hub.get_dir() == str(tmp_path / "other")
    finally:
        rl.hub._directory = None


# --- profiler and benchmark -----------------------------------------------------------------------------------------------------------------

def test_profiler(tmp_path):
    P = rl.profiler

    @P.record_function("inner")
    def inner():
        time.sleep(0.002)

    with P.profile(activities=[P.ProfilerActivity.CPU]) as prof:
        for _ in range(3):
            with P.record_function("outer"):
                inner()
                time.sleep(0.001)
    with P.record_function("later"):
        pass
    found = {each.key: each for each in prof.key_averages()}
    assert set(found) == {"outer", "inner"} and found["inner"].count == found["outer"].count == 3
    assert found["outer"].cpu_time_total > found["inner"].cpu_time_total >= 6000
    assert 3000 <= found["outer"].self_cpu_time_total <= found["outer"].cpu_time_total - found["inner"].cpu_time_total + 1
    table = prof.key_averages().table(sort_by="cpu_time_total", row_limit=1)
    assert "outer" in table and "inner" not in table and "# of Calls" in table
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [each["name"] for each in events] == ["outer", "inner"] * 3
    with pytest.raises(NotImplementedError, match="with_flops"):
        P.profile(with_flops=True)


def profiled(library, **options):
    x, w = library.ones(8, 4), library.ones(4, 3, requires_grad=True)
    with library.profiler.profile(activities=[library.profiler.ProfilerActivity.CPU], **options) as prof:
        library.relu(x @ w).sum().backward()
    return prof


def test_profiled_operators_are_pytorchs(tmp_path):
    def outer(prof):
        found = [each for each in prof.events() if each.name.startswith("aten::") and (each.cpu_parent is None or not each.cpu_parent.name.startswith(("aten::", "autograd::", "torch::")))]
        return [(each.name, list(each.input_shapes[:2])) for each in found][:3]
    ours, theirs = profiled(rl, record_shapes=True), profiled(pt, record_shapes=True)
    for (name, shapes), (other, wanted) in zip(outer(ours), outer(theirs), strict=True):
        assert name == other and shapes == wanted[:len(shapes)] and shapes
    backward = [each.name for each in ours.events() if "evaluate_function" in each.name]
    assert backward == [each.name for each in theirs.events() if "evaluate_function" in each.name and "Accumulate" not in each.name]
    titles = [next(line for line in prof.key_averages(group_by_input_shape=True).table(sort_by="cpu_time_total").splitlines() if "Name" in line).split("  ")
              for prof in (ours, theirs)]
    assert [each.strip() for each in titles[0] if each.strip()] == [each.strip() for each in titles[1] if each.strip()]


def test_profiled_memory_and_lines(tmp_path):
    prof = profiled(rl, profile_memory=True, with_stack=True)
    found = {each.key: each for each in prof.key_averages()}
    assert found["aten::matmul"].cpu_memory_usage == found["aten::relu"].cpu_memory_usage == 8 * 3 * 4 and found["aten::relu"].count == 1
    assert "CPU Mem" in prof.key_averages().table() and "96 B" in prof.key_averages().table()
    lines = prof.key_averages(group_by_stack_n=1)
    assert all("test_namespaces.py" in each.stack[0] and "profiled" in each.stack[0] for each in lines) and "Source Location" in lines.table()
    prof.export_stacks(str(tmp_path / "stacks.txt"))
    assert ";aten::matmul " in (tmp_path / "stacks.txt").read_text()
    prof.export_chrome_trace(str(tmp_path / "trace.json.gz"))
    with gzip.open(tmp_path / "trace.json.gz") as file:
        assert any(each["name"] == "aten::relu" and each["cat"] == "cpu_op" and each["args"]["Bytes"] == 96 for each in json.load(file)["traceEvents"])
    with pytest.raises(ValueError, match="record_shapes=True"):
        prof.key_averages(group_by_input_shape=True)
    with pytest.raises(ValueError, match="with_stack=True"):
        profiled(rl).export_stacks(str(tmp_path / "none"))
    with pytest.raises(AttributeError):
        prof.key_averages().table(sort_by="no_such_time")


def test_profilers_leave_nothing_behind():
    from rushlight.autograd import engine
    add = rl.nn.functional.linear
    before, observer = add.__code__ if hasattr(add, "__code__") else add.__wrapped__.__code__, engine.observer
    with rl.profiler.profile():
        with rl.profiler.profile() as inner:
            rl.ones(2) + 1
        assert [each.name for each in inner.events()] == ["aten::ones", "aten::add"]
    assert engine.observer is observer and before is (add.__code__ if hasattr(add, "__code__") else add.__wrapped__.__code__)


def test_a_profiler_used_twice_has_the_second_use_alone():
    counts = []
    for library in (rl, torch):
        profiler = library.profiler.profile()
        for times in (2, 1):
            with profiler:
                for _ in range(times):
                    library.ones(2).exp()
        counts.append({each.key: each.count for each in profiler.key_averages()}["aten::exp"])
    assert counts == [1, 1]
    profiler = rl.profiler.profile()
    profiler.start()
    with pytest.raises(RuntimeError, match="twice"):
        profiler.start()
    profiler.stop()
    rl.ones(2).exp()
    assert {each.key: each.count for each in profiler.key_averages()}.get("aten::exp") is None


def test_profiler_schedule(tmp_path):
    for module in MODULES:
        P = module.profiler
        plan = P.schedule(wait=1, warmup=1, active=2, repeat=2, skip_first=1)
        names = [plan(i).name for i in range(12)]
        assert names == ["NONE", "NONE", "WARMUP", "RECORD", "RECORD_AND_SAVE"] + ["NONE", "WARMUP", "RECORD", "RECORD_AND_SAVE"] + ["NONE"] * 3
        with pytest.raises(AssertionError):
            P.schedule(wait=-1, warmup=0, active=1)
    ready = []
    P = rl.profiler
    with P.profile(schedule=P.schedule(wait=1, warmup=0, active=2, repeat=1),
                   on_trace_ready=lambda prof: ready.append([each.name for each in prof.events()])) as prof:
        for i in range(5):
            with P.record_function(f"part {i}"):
                pass
            prof.step()
    assert ready == [["ProfilerStep#1", "part 1", "ProfilerStep#2", "part 2"]]
    with P.profile(on_trace_ready=P.tensorboard_trace_handler(str(tmp_path), "me", use_gzip=True)), P.record_function("x"):
        pass
    assert [each.name.startswith("me.") for each in tmp_path.glob("*.pt.trace.json.gz")] == [True]
    from rushlight.autograd import profiler as older
    with older.profile() as prof, older.record_function("y"):
        pass
    assert prof.key_averages()[0].key == "y" and prof.total_average().count == 1


def test_benchmark():
    B = rl.utils.benchmark
    result = B.Timer("x + x", setup="x = torch.ones(4)", label="adding", sub_label="4", description="now").timeit(100)
    assert result.number_per_run == 100 and 0 < result.median < 1e-3 and "adding: 4: now" in repr(result) and "100 runs" in repr(result)
    other = B.Timer("time.sleep(0.001)", globals={"time": time}, description="sleep", num_threads=2).blocked_autorange(min_run_time=0.02)
    assert 0.001 <= other.median < 0.05 and len(other.times) >= 2 and "2 threads" in repr(other)
    assert B.Timer("pass").adaptive_autorange(max_run_time=0.2).median < 1e-5
    assert len(B.Measurement.merge([result, result])[0].raw_times) == 2
    assert "now" in str(B.Compare([result, other])) and "sleep" in str(B.Compare([result, other]))
    for module in MODULES:
        B = module.utils.benchmark
        with pytest.raises(NotImplementedError):
            B.Timer("pass").repeat()
        with pytest.raises(ValueError):
            B.Timer(lambda: None)
        with pytest.raises(SyntaxError):
            B.Timer("x +").timeit(1)
        with pytest.raises(NameError):
            B.Timer("nothing_of_that_name").timeit(1)


# --- switches and versions --------------------------------------------------------------------------------------------------------------------

def test_backends():
    for module in MODULES:
        b = module.backends
        assert not b.mps.is_available() and not b.mps.is_built() and b.cpu.get_cpu_capability()
        old = b.cudnn.benchmark
        with b.cudnn.flags(enabled=True, benchmark=True):
            assert b.cudnn.benchmark
        assert b.cudnn.benchmark == old
        b.cudnn.benchmark = True
        assert importlib.import_module(f"{module.__name__}.backends.cudnn").benchmark
        b.cudnn.benchmark = old
        b.cuda.matmul.allow_tf32 = False
        assert isinstance(b.cuda.is_built(), bool) and b.cuda.preferred_linalg_library("default") is not None
        with b.mkl.verbose(b.mkl.VERBOSE_OFF):
            pass
    with pytest.raises(TypeError):
        rl.backends.cudnn.flags(colour=1).__enter__()
    with pytest.raises(RuntimeError):
        rl.backends.cuda.preferred_linalg_library("nonsense")


def test_versions_and_information():
    assert rl.__version__ and rl.version.cuda is None and not rl.version.debug
    assert "NumPy" in rl.__config__.show() and "get_num_threads" in rl.__config__.parallel_info()
    text = subprocess.run([sys.executable, "-m", "rushlight.utils.collect_env"], capture_output=True, text=True, timeout=60).stdout
    assert "rushlight version" in text and "numpy version" in text
    for module in MODULES:
        V = module.torch_version.TorchVersion
        assert V("2.13.0") >= (2, 1) and V("2.13.0") > "2.9" and not V("2.13.0") < (2, 13) and V("1.2") == "1.2" and V("2.13.0") <= (2, 14)
    assert rl.torch_version.__version__ >= (2, 13)


def test_settings():
    for module in MODULES:
        assert module.typename(module.ones(2)) == "torch.FloatTensor" and module.typename(3) == "int" and module.typename(dict) == "dict"
        assert module.get_device_module("cpu") is module.cpu and module.get_device_module() is module.cpu
        try:
            module.set_default_tensor_type("torch.DoubleTensor")
            assert module.ones(1).dtype is module.float64
            module.set_default_tensor_type(module.FloatTensor)
            assert module.ones(1).dtype is module.float32
        finally:
            module.set_default_dtype(module.float32)
        with pytest.raises(TypeError):
            module.set_default_tensor_type("torch.LongTensor")
        assert not module.accelerator.is_available() and module.accelerator.device_count() == 0 and module.accelerator.current_accelerator() is None
        assert module.functional.einsum is module.einsum or module.functional.einsum("i,i->", module.ones(2), module.ones(2)) == 2
        assert module.types.Device and module.types.Number


# --- what is not there ------------------------------------------------------------------------------------------------------------------------

def test_missing_namespaces_say_so():
    for module in MODULES:
        assert module.onnx.is_in_onnx_export() is False and module.mps is not None and not module.xpu.is_available() and not module.mtia.is_available()
    from rushlight.distributed import nn
    with pytest.raises(NotImplementedError, match="torch.distributed.*is not supported by rushlight"):
        nn.no_such()
    assert rl.torch is rl
    for access in ("distributed.elastic.no_such_name", "distributed.fully_shard", "onnx.JitScalarType", "export.draft_export", "quantization.quantize_dynamic",
                   "ao.quantization.quantize_dynamic", "fx.experimental.symbolic_shapes.guard_bool", "package.PackageExporter", "nested.nested_tensor", "monitor.Stat",
                   "xpu.synchronize", "mps.empty_cache", "autograd.profiler.emit_nvtx"):
        place, _, name = access.rpartition(".")
        owner = importlib.import_module("rushlight." + place)
        with pytest.raises(NotImplementedError, match=f"torch.{access} is not supported by rushlight: .+"):
            getattr(owner, name)()      # libraries import some of the names, so those are there, and fail when they are used
    import rushlight.utils.cpp_extension as extension
    with pytest.raises(NotImplementedError, match="data_ptr"):
        extension.load(name="x", sources=[])


def test_common_imports_under_compat(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent("""
        import rushlight.compat
        rushlight.compat.install()
        import torch
        import torch.backends.cudnn as cudnn
        import torch.distributed as dist
        import torch.multiprocessing as mp
        import torch.utils.checkpoint
        from torch.amp import GradScaler, autocast
        from torch.distributions import Categorical, Normal
        from torch.distributions.multivariate_normal import MultivariateNormal
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.attention.flex_attention import flex_attention
        from torch.profiler import ProfilerActivity, profile, record_function
        from torch.testing import assert_close
        from torch.utils import _pytree as pytree
        from torch.utils.data import IterDataPipe
        from torch.utils.dlpack import from_dlpack, to_dlpack
        cudnn.benchmark = True
        if dist.is_available() and dist.is_initialized():
            raise SystemExit("distributed?")
        print(torch.jit.is_scripting(), torch.onnx.is_in_onnx_export(), torch.compiler.is_compiling())
        """))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False False False\n"


# --- data pipes -----------------------------------------------------------------------------------------------------------------------------

def test_data_pipes():
    for module in MODULES:
        D = module.utils.data

        class Numbers(D.IterDataPipe):
            def __init__(self, n):
                self.n = n

            def __iter__(self):
                yield from range(self.n)

        @D.functional_datapipe(f"doubled_by_{module.__name__}")
        class Doubled(D.IterDataPipe):
            def __init__(self, source):
                self.source = source

            def __iter__(self):
                for each in self.source:
                    yield each * 2

        assert list(getattr(Numbers(3), f"doubled_by_{module.__name__}")()) == [0, 2, 4]
        if module is rl:       # PyTorch pickles the pipes, and local classes can't be
            assert [each.tolist() for each in D.DataLoader(Doubled(Numbers(4)), batch_size=2)] == [[0, 2], [4, 6]]
        with pytest.raises(Exception, match="already taken"):
            D.functional_datapipe(f"doubled_by_{module.__name__}")(Doubled)
        if module is rl:
            with pytest.raises(TypeError, match="can only decorate"):
                D.functional_datapipe("x")(int)
        with pytest.raises(AttributeError):
            Numbers(3).no_such_pipe  # noqa: B018
        assert D.DataChunk([1, 2]).as_str() == "[1, 2]" and list(D.DataChunk([1]).raw_iterator()) == [1]

        @D.non_deterministic
        class Shuffled(D.IterDataPipe):
            def __iter__(self):
                return iter(())

        Shuffled()
        with D.guaranteed_datapipes_determinism(), pytest.raises(TypeError, match="non-deterministic"):
            Shuffled()
        Shuffled()
    with pytest.raises(NotImplementedError):
        rl.utils.data.argument_validation(lambda: None)


def test_markers():
    for module in MODULES:
        assert not isinstance(module.ones(2, 3).shape[0], module.SymInt) and module.SUM != module.AVG and module.has_lapack
        assert module.Tag.pointwise is not None and module.AggregationType.SUM == module.SUM
        with pytest.raises((NotImplementedError, TypeError)):
            module.SymBool()
        with module.autograd.enforce_grad_layout_policy(False):
            pass
        with pytest.raises(RuntimeError, match="compile"), module.autograd.graph.region_activation_memory_budget(0.5):
            pass
    with pytest.raises(RuntimeError, match="accelerator"):
        rl.Stream()
    assert isinstance(rl.Stream("cpu"), rl.Stream) and isinstance(rl.Event("cpu"), rl.Event) and rl.Event("cpu").query()
    for name in ("quantize_per_tensor", "parse_schema", "import_ir_module"):
        with pytest.raises(NotImplementedError, match=f"torch.{name} is not supported"):
            getattr(rl, name)()
    assert issubclass(rl.OutOfMemoryError, RuntimeError) and rl.autograd.profiler.record_function is rl.profiler.record_function
    rl.init_num_threads()


def test_what_libraries_ask_for():
    """Names outside of the documentation that Pyro, GPyTorch, Kornia, torchmetrics and others use."""
    import pickle
    for module in MODULES:
        subclasses = importlib.import_module(f"{module.__name__}._subclasses.fake_tensor")
        proxies = importlib.import_module(f"{module.__name__}.fx.experimental.proxy_tensor")
        assert not subclasses.is_fake(module.ones(1)) and proxies.get_proxy_mode() is None
        assert not module._C._get_tracing_state() and module._C._log_api_usage_once("x") is None
        assert not any(module.is_autocast_enabled(each) for each in ("cpu", "cuda", "mps", "xpu"))
        assert module.ones(1).dtype not in (module.complex32, module.qint8, module.quint8, module.float8_e4m3fnuz) and module.chalf is module.complex32
        assert pickle.loads(pickle.dumps(module.complex32)) is module.complex32 and repr(module.qint8) == "torch.qint8"
        assert module.torch is module and module.hub.HASH_REGEX.search("resnet18-f37072fd.pth").group(1) == "f37072fd"
        assert module.serialization.MAP_LOCATION is not None
        assert not isinstance(module.ones(1), module.fx.Proxy) and module.nn.attention.flex_attention._DEFAULT_SPARSE_BLOCK_SIZE == 128
        with importlib.import_module(f"{module.__name__}._dynamo._trace_wrapped_higher_order_op").TransformGetItemToIndex():
            assert module.arange(3)[module.tensor(1)] == 1
    with pytest.raises(NotImplementedError, match="use torch.complex64"):
        rl.zeros(2, dtype=rl.complex32)
