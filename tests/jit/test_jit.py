"""torch.jit, torch.compile, torch.compiler, torch.futures: callables that do what the originals do, and files of them."""

import copy
import io
import os
import threading
import typing

import pytest
import torch as pt

import rushlight as rl
from tests.support.scripted_models import Net, increase

MODULES = (rl, pt)


@pytest.fixture
def net():
    rl.manual_seed(0)
    return Net().eval()


def test_scripted_modules(net):
    x = rl.randn(4, 3)
    scripted = rl.jit.script(net)
    assert isinstance(scripted, rl.jit.ScriptModule) and isinstance(scripted, rl.nn.Module) and scripted.original_name == "Net"
    assert rl.equal(scripted(x), net(x)) and scripted.scaled(2) == 6 and scripted.factor == 3
    assert list(scripted.state_dict()) == list(net.state_dict()) and scripted.linear.weight is net.linear.weight
    assert rl.jit.script(scripted) is scripted and "def forward" in scripted.code
    scripted.train()
    assert net.training and scripted.encoder.training
    calls = []
    net.register_forward_hook(lambda *args: calls.append(1))
    scripted(x)
    assert calls == [1]
    with pytest.raises(AttributeError):
        scripted.nonsense  # noqa: B018


def test_copies_are_independent(net):
    x = rl.randn(4, 3)
    other = copy.deepcopy(rl.jit.script(net))
    assert rl.equal(other(x), net(x))
    with rl.no_grad():
        other.linear.weight.zero_()
        other.encoder.norm2.bias.fill_(5)
    assert not rl.equal(other(x), net(x)) and float(other.state_dict()["linear.weight"].abs().sum()) == 0
    assert float(net.linear.weight.abs().sum()) > 0


def test_traces(net):
    x = rl.randn(4, 3)
    traced = rl.jit.trace(net, x)
    assert rl.equal(traced(x), net(x)) and rl.equal(rl.jit.trace(net, (x,))(x), net(x))
    assert rl.equal(rl.jit.trace(net, example_kwarg_inputs={"x": x})(x), net(x))
    assert rl.equal(rl.jit.trace_module(net, {"forward": x, "scaled": (x,)})(x), net(x))
    f = rl.jit.trace(lambda a, b: (a + b, a), (x, x), check_inputs=[(x * 2, x)])
    assert rl.equal(f(x, x)[0], x + x)
    with pytest.warns(rl.jit.TracerWarning, match="differs"):
        rl.jit.trace(lambda a: a + rl.rand(3), x)
    with pytest.raises(RuntimeError, match="returns tensors"):
        rl.jit.trace(lambda a: "text", x)
    with pytest.raises(ZeroDivisionError):
        rl.jit.trace(lambda a: a / (1 // 0), x)
    with pytest.raises(AttributeError):
        rl.jit.trace_module(3, {})
    with pytest.raises(RuntimeError):
        rl.jit.trace(net)


def test_files(net, tmp_path):
    x = rl.randn(4, 3)
    rl.jit.save(rl.jit.script(net), tmp_path / "net.pt")
    again = rl.jit.load(tmp_path / "net.pt")
    assert rl.equal(again(x), net(x)) and not again.training and again.original_name == "Net"
    memory = io.BytesIO()
    rl.jit.trace(net, x).save(memory, {"note.txt": "hello"})
    memory.seek(0)
    extra = {"note.txt": ""}
    assert rl.equal(rl.jit.load(memory, _extra_files=extra, map_location="cpu")(x), net(x)) and extra == {"note.txt": "hello"}
    function = rl.jit.script(increase)
    function.save(tmp_path / "f.pt")
    assert rl.equal(rl.jit.load(tmp_path / "f.pt")(x), x + 1) and function.name == "increase" and "x + 1" in function.code
    with pytest.raises(RuntimeError, match="lambdas"):
        rl.jit.script(lambda a: a).save(tmp_path / "g.pt")
    with pytest.raises(AttributeError, match="torch.jit.script makes them"):
        rl.jit.save(net, tmp_path / "g.pt")
    with pytest.raises(ValueError, match="does not exist"):
        rl.jit.load(tmp_path / "nothing.pt")


def test_files_hold_nothing_but_data(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/pwned",)

    rl.save({"format": "rushlight.jit 1", "extra": {}, "module": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(RuntimeError, match="torch.jit.load takes nothing else"):
        rl.jit.load(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()
    rl.save({"weight": rl.ones(2)}, tmp_path / "weights.pt")
    with pytest.raises(RuntimeError, match="another file of torch.save"):
        rl.jit.load(tmp_path / "weights.pt")


def test_freezing(net):
    x = rl.randn(4, 3)
    frozen = rl.jit.freeze(rl.jit.script(net))
    assert rl.equal(frozen(x), net(x)) and not any(p.requires_grad for p in frozen.parameters()) and net.linear.weight.requires_grad
    assert rl.jit.optimize_for_inference(frozen) is frozen
    for module in MODULES:
        with pytest.raises(RuntimeError, match="Freezing expects a ScriptModule"):
            module.jit.freeze(module.nn.Linear(2, 2))
        with pytest.raises(RuntimeError, match="eval mode"):
            module.jit.freeze(module.jit.script(module.nn.Linear(2, 2)))


def test_small_things():
    for module in MODULES:
        jit = module.jit
        assert not jit.is_scripting() and not jit.is_tracing() and jit.annotate(int, 3) == 3
        f = lambda x: x  # noqa: E731
        assert jit.ignore(f) is f and jit.ignore(drop=True)(f) is f and jit.export(f) is f and jit.unused(f) is f and jit.script_if_tracing(f)(3) == 3
        assert jit.Attribute(1, int).value == 1
        assert jit.isinstance([1, 2], typing.List[int]) and not jit.isinstance([1, "a"], typing.List[int])  # noqa: UP006
        assert jit.isinstance({"a": 1}, typing.Dict[str, int]) and jit.isinstance(None, typing.Optional[int])  # noqa: UP006, UP045
        assert jit.isinstance((1, "a"), typing.Tuple[int, str]) and not jit.isinstance((1,), typing.Tuple[int, str])  # noqa: UP006
        assert jit.wait(jit.fork(lambda a: a + 1, module.ones(2))).tolist() == [2, 2] and module.wait(module.fork(lambda: 3)) == 3
        with jit.strict_fusion():
            pass
        before = jit.set_fusion_strategy([("STATIC", 3)])
        assert jit.set_fusion_strategy(before) == [("STATIC", 3)]
    with pytest.raises(NotImplementedError, match="CompilationUnit"):
        rl.jit.CompilationUnit("def f(x): return x")
    with pytest.raises(NotImplementedError):
        rl.jit.export_opnames(None)
    with pytest.raises(RuntimeError):
        rl.jit.script(3)


def test_compile_runs_the_function():
    f = rl.compile(increase)
    assert rl.equal(f(rl.ones(2)), rl.ones(2) + 1)
    assert rl.compile(fullgraph=True, mode="max-autotune")(increase)(rl.ones(2)).tolist() == [2, 2]
    model = rl.nn.Linear(2, 2)
    assert rl.equal(rl.compile(model)(rl.ones(2)), model(rl.ones(2)))
    with pytest.raises(RuntimeError):
        rl.compile(increase, mode="nonsense")


def test_compiler_namespaces():
    for module in MODULES:
        assert not module.compiler.is_compiling() and not module.compiler.is_dynamo_compiling() and not module.compiler.is_exporting()
        assert module.compiler.disable(increase)(module.ones(1)).tolist() == [2]
        module.compiler.reset(), module._dynamo.reset(), module.compiler.cudagraph_mark_step_begin()
        module._dynamo.mark_dynamic(module.ones(2), 0)
        module._dynamo.config.suppress_errors = False
        with module.compiler.set_stance("force_eager"):
            pass
    import numpy as np
    assert rl.compiler.wrap_numpy(lambda a: np.cumsum(a))(rl.ones(3)).tolist() == [1, 2, 3]
    assert rl.compiler.list_backends() == []
    with pytest.raises(RuntimeError):
        rl.compiler.set_stance("nonsense")
    for access in (lambda: rl._dynamo.explain(increase), lambda: rl.compiler.nonsense, lambda: rl.jit.nonsense):
        with pytest.raises(NotImplementedError, match="is not supported by rushlight"):
            access()


def test_futures():
    for module in MODULES:
        F = module.futures
        future = F.Future()
        later = future.then(lambda f: f.value() + 1)
        seen = []
        future.add_done_callback(lambda f, seen=seen: seen.append(f.value()))
        assert not future.done()
        timer = threading.Timer(0.05, future.set_result, (3,))
        timer.start()
        assert future.wait() == 3
        timer.join()
        assert future.wait() == 3 and later.wait() == 4 and seen == [3] and future.done()
        with pytest.raises(RuntimeError):
            future.set_result(4)
        failed = F.Future()
        failed.set_exception(ValueError("bad"))
        with pytest.raises(ValueError, match="bad"):
            failed.wait()
        with pytest.raises(AssertionError):
            F.Future().set_exception("text")
        a, b = F.Future(), F.Future()
        both = F.collect_all([a, b])
        a.set_result(1)
        assert not both.done()
        b.set_result(2)
        assert [each.value() for each in both.wait()] == [1, 2] and F.wait_all([a, b]) == [1, 2]
