"""TorchScript archives: what PyTorch's torch.jit.save wrote gives the same values here, and no archive runs or finds anything else."""

import copy
import io
import pickle
import time
import zipfile

import numpy as np
import pytest
import torch as pt
from torch.testing._internal.common_modules import module_db

import rushlight as rl
from tests.conformance.compare import agree
from tests.conformance.mirror import Copier
from tests.jit import archives
from tests.jit.archives import archive, both

NAMES = sorted({info.name for info in module_db})


def ours(value):
    return Copier(True, True)(value)


def plain(value):
    """Values of either side as Python's, so that they can be compared; named tuples as tuples, enumerations by their names."""
    if isinstance(value, (pt.Tensor, rl.Tensor)):
        return value.detach().numpy().tolist(), str(value.dtype)
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return {key: plain(each) for key, each in value.items()} if isinstance(value, dict) else value


def same(mine, theirs):
    """Equal but for the rounding of sums."""
    if isinstance(theirs, (list, tuple)):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs):
            same(a, b)
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        same(list(mine.values()), list(theirs.values()))
    elif isinstance(theirs, pt.Tensor):
        agree(mine, theirs, "result", loose=10.0)
    else:
        assert mine == pytest.approx(theirs, rel=1e-6, nan_ok=True) if isinstance(theirs, float) else mine == theirs


@pytest.fixture(scope="module")
def language():
    pt.manual_seed(0)
    return archive(archives.Language())


CALLS = [
    ("forward", (pt.linspace(-1, 1, 6).reshape(2, 3),), {}), ("forward", (pt.ones(2, 3), False), {"factor": 2}),
    ("loops", ([pt.ones(2), pt.zeros(3)], 9), {}), ("loops", ([], 0), {}),
    ("values", ("abcab", 7, [1, 2, 3]), {}), ("values", ("xyz", 3, [5, 6, 7, 8]), {}),
    ("tensors", (pt.linspace(0, 1, 6).reshape(2, 3), None), {}), ("tensors", (pt.ones(1, 3), pt.ones(2)), {}),
    ("attributes", (4,), {}), ("failing", (5,), {}),
]


@pytest.mark.parametrize("name, args, kwargs", CALLS)
def test_the_language(language, name, args, kwargs):
    theirs, mine = both(language)
    expected = getattr(theirs, name)(*copy.deepcopy(args), **kwargs)
    result = getattr(mine, name)(*ours(copy.deepcopy(args)), **kwargs)
    same(result, expected)


def test_classes_and_named_tuples(language):
    _, mine = both(language)
    point, count = mine.classes((rl.ones(2), 4), mine.color)
    assert point._fields == ("x", "n") and point.x.tolist() == [1, 1] and point.n == 1 and count == 1 and mine.color.name == "RED"
    blue = type(mine.color).BLUE
    point, count = mine.classes((rl.ones(2), 4), blue)
    assert point.x.tolist() == [8, 8] and point.n == 9 and count == 2 and mine.table == {"x": 1, "hits": 4}


def test_attributes_are_pythons(language):
    theirs, mine = both(language)
    for name in ("names", "limit", "several", "numbers", "kind", "root", "width", "maybe", "training", "original_name"):
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.code.startswith("def forward(self") and "flag: bool=True" in mine.code
    assert str(mine.place) == "cpu" and mine.level == 5 and repr(mine) == repr(theirs)
    mine.level = 7
    assert mine.level == 7 and mine.attributes(1)[0] == 8
    assert isinstance(mine, rl.jit.RecursiveScriptModule) and isinstance(mine, rl.jit.ScriptModule)
    with pytest.raises(AttributeError, match="nonsense"):
        mine.nonsense  # noqa: B018


def test_errors_of_calls(language):
    for module in both(language):
        root = rl if isinstance(module, rl.nn.Module) else pt
        with pytest.raises(RuntimeError, match="missing value for argument 'x'. Declaration: forward"):
            module()
        with pytest.raises(RuntimeError, match="Expected a value of type 'Tensor' for argument 'x' but instead found type 'int'"):
            module(3)
        with pytest.raises(RuntimeError, match="expected at most 4 argument"):
            module(root.ones(2, 3), True, 1.0, 4)
        with pytest.raises(RuntimeError, match="Unknown keyword argument 'z'"):
            module(root.ones(2, 3), z=1)
        with pytest.raises(root.jit.Error, match="AssertionError: bad 1 value"):
            module.failing(1)
        with pytest.raises(root.jit.Error, match="too large"):
            module.failing(20)


MODELS = {"resnet": (archives.ResNet, (pt.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32),)),
          "recurrent": (archives.Recurrent, (pt.arange(12).reshape(3, 4) % 7,)),
          "encoder": (archives.Encoder, (pt.linspace(-1, 1, 48).reshape(2, 3, 8),)),
          "hooked": (archives.Hooked, (pt.linspace(-1, 1, 6).reshape(3, 2),))}


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_models(name, training, how):
    cls, inputs = MODELS[name]
    pt.manual_seed(0)
    module = cls().train(training)
    theirs, mine = both(archive(module, how, copy.deepcopy(inputs)))
    expected, result = theirs(*copy.deepcopy(inputs)), mine(*ours(inputs))
    same(result, expected)
    first = [each[0] if isinstance(each, tuple) else each for each in (expected, result)]
    for each in first:
        each.sum().backward()
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    for (key, a), b in zip(mine.named_parameters(), theirs.parameters()):
        agree(a.grad, b.grad, f"gradient of {key}", loose=100.0)
        assert a.requires_grad == b.requires_grad
    for a, b in zip(mine.buffers(), theirs.buffers()):
        agree(a, b, "buffer", loose=10.0)


@pytest.mark.parametrize("name", NAMES[::4])
def test_modules_of_pytorchs_database(name):
    """One input of every fourth module; `python -m tests.jit.database` runs all of them."""
    from tests.jit.database import check
    info = next(each for each in module_db if each.name == name)
    assert not [text for text in check(info, limit=1, hows=("script",), trainings=(False,)) if text is not None]


def test_saving_again(tmp_path):
    pt.manual_seed(0)
    theirs, mine = both(archive(archives.Recurrent(), "script"))
    words = pt.arange(12).reshape(3, 4) % 7
    with rl.no_grad():
        mine.lstm.weight_hh_l0.mul_(2)
    with pt.no_grad():
        theirs.lstm.weight_hh_l0.mul_(2)
    mine.eval()
    rl.jit.save(mine, tmp_path / "again.pt", {"note.txt": "hello"})
    extra = {"note.txt": ""}
    again, ours_again = pt.jit.load(tmp_path / "again.pt", _extra_files=extra), rl.jit.load(tmp_path / "again.pt")
    assert extra == {"note.txt": b"hello"} and not again.training and not ours_again.training
    same(ours_again(ours(words))[0], again(words)[0])
    same(ours_again(ours(words))[0], theirs(words)[0])
    assert again.lstm._flat_weights[0] is again.lstm.weight_ih_l0 and ours_again.lstm._flat_weights[0] is ours_again.lstm.weight_ih_l0
    extra = {"note.txt": ""}
    rl.jit.load(tmp_path / "again.pt", _extra_files=extra)
    assert extra == {"note.txt": b"hello"}


def test_saving_every_kind_of_attribute(language, tmp_path):
    _, mine = both(language)
    mine.attributes(4)
    mine.kept.append(rl.zeros(3))
    mine.save(str(tmp_path / "language.pt"))
    theirs, again = pt.jit.load(tmp_path / "language.pt"), rl.jit.load(tmp_path / "language.pt")
    for name in ("names", "limit", "several", "numbers", "root", "maybe", "table"):
        assert getattr(theirs, name) == getattr(again, name) == getattr(mine, name), name
    assert [t.tolist() for t in theirs.kept] == [t.tolist() for t in again.kept] == [[1, 1], [0, 0, 0]]
    again.numbers = ["text"]
    again.names = [object()]
    with pytest.raises(RuntimeError, match="the attribute names of __torch__.* is a object"):
        rl.jit.save(again, tmp_path / "bad.pt")
    assert not (tmp_path / "bad.pt").exists()


def test_copies_devices_and_dtypes():
    pt.manual_seed(0)
    theirs, mine = both(archive(archives.Recurrent()))
    words = pt.arange(12).reshape(3, 4) % 7
    other = copy.deepcopy(mine)
    with rl.no_grad():
        other.gru.bias_hh_l0.fill_(3)
    assert float(mine.gru.bias_hh_l0.detach().abs().sum()) != 9
    same(mine.double()(ours(words))[0], theirs.double()(words)[0])
    frozen = rl.jit.freeze(mine.eval())
    assert not any(p.requires_grad for p in frozen.parameters()) and any(p.requires_grad for p in mine.parameters())


# --- attacks --------------------------------------------------------------------------------------------------------------------------

HEAD = 'class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  training : bool\n'


def crafted(body, head=HEAD, state=b"}(X\x08\x00\x00\x00training\x88u", constants=b"\x80\x02).", version=b"3"):
    """An archive whose code is `body` (indented by the caller)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as records:
        records.writestr("m/data.pkl", b"\x80\x02c__torch__\nM\n)\x81" + state + b"b.")
        records.writestr("m/constants.pkl", constants)
        records.writestr("m/version", version + b"\n")
        records.writestr("m/code/__torch__.py", head + body if isinstance(body, str) else body)
    file.seek(0)
    return file


def forward(*lines, parameters="self, x: Tensor"):
    return f"  def forward({parameters}) -> Tensor:\n" + "".join(f"    {line}\n" for line in lines)


def test_a_crafted_archive_that_is_fine():
    assert rl.jit.load(crafted(forward("y = torch.add(x, 1)", "return y")))(rl.ones(2)).tolist() == [2, 2]


REFUSED = {
    "dunder": ["return x.__class__.__bases__"],
    "import": ["import os", "return x"], "import call": ["return __import__('os')"], "eval": ["return eval('1')"], "open": ["return open('/etc/passwd')"],
    "globals": ["return globals()"], "lambda": ["f = lambda y: y", "return x"], "comprehension": ["return [y for y in x]"],
    "f-string": ["return f'{x.__class__}'"], "walrus": ["return (y := x)"], "star": ["return torch.cat(*x)"], "starred": ["a, *b = x", "return a"],
    "double star": ["return torch.add(x, **x)"], "class": ["class A:", "  pass", "return x"], "global": ["global x", "return x"],
    "try": ["try:", "  pass", "except: pass"], "delete": ["del x", "return x"], "raise": ["raise x"], "yield": ["yield x"], "await": ["return await x"],
    "decorated": ["@x", "def f():", "  return x", "return x"], "inner parameters": ["def f(y):", "  return y", "return x"],
    "unknown operator": ["return torch.frobnicate(x)"], "from_file": ["return torch.from_file('/tmp/x', True, 3)"], "save": ["return torch.save(x, 'y')"],
    "load": ["return torch.load('y')"], "deeper": ["return torch.jit.load('y')"], "os": ["return torch.os.system('true')"],
    "inside of ops": ["return ops.prim.__init__(x)"], "dunder of torch": ["return torch.__dict__"], "class of ops": ["return ops.aten.OpOverload(x)"],
    "private": ["return torch._C(x)"], "other namespace": ["return ops.quantized.linear(x)"], "undefined": ["return y"], "later": ["z = y", "y = x"],
    "assigning torch": ["torch = x", "return x"], "attribute of torch": ["torch.add = x", "return x"], "constant": ["return CONSTANTS.c0"],
    "no constant": ["return CONSTANTS.add"], "missing function": ["return __torch__.f(x)"], "new of nothing": ["return __torch__.f.__new__(__torch__.f)"],
    "new of a module": ["return __torch__.M.__new__(__torch__.M)"], "bytes": ["return b'x'"], "ellipsis": ["return ..."], "matmul": ["return ~x"],
    "c++ class": ["return __torch__.torch.classes.a.B.__new__(__torch__.torch.classes.a.B)"], "getattr": ["return getattr(x, 'a' + 'b')"],
    "getattr of three": ["return getattr(x, 'a', 3)"], "callable builtin": ["f = print", "return f(x)"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_torchscript_is_refused_at_load(name):
    with pytest.raises(RuntimeError, match="torch.jit.load"):
        rl.jit.load(crafted(forward(*REFUSED[name])))


AT_CALL = {"method": ["return (x).numpy()"], "reduce": ["return (x).__reduce_ex__(2, )"], "attribute": ["return x.data"], "private attribute": ["return self._modules"], "hooks": ["return self._forward_hooks"],
           "class": ["return (self).__class__()"], "setting": ["self.forward = x", "return x"],
           "calling data": ["y = 3", "return y(x)"], "calling a method": ["return (self).register_buffer('a', x)"], "getattr": ["return getattr(self, '__dict__')"],
           "str's method": ["return ('a').format(x)"], "fork": ["return fork(self)"], "with": ["with x:", "  y = x", "return x"],
           "few": ["a, b, = (x,)", "return a"], "recursion": ["return (self).forward(x, )"]}


@pytest.mark.parametrize("name", AT_CALL)
def test_values_have_no_other_attributes_than_declared_ones(name):
    module = rl.jit.load(crafted(forward(*AT_CALL[name])))
    with pytest.raises(RuntimeError):
        module(rl.ones(1))


def test_formats_do_not_reach_into_values():
    module = rl.jit.load(crafted(forward('return torch.format("{0.__class__}{}", x)')))
    assert module(rl.ones(1)).startswith("{0.__class__}")


DAMAGED = {
    "nest of brackets": forward("return " + "(" * 5000 + "x" + ")" * 5000), "nest of minus": forward("return " + "-" * 100000 + "1"),
    "nest of not": forward("return " + "not " * 50000 + "x"), "chain": forward("return x" + ".a" * 50000), "sum": forward("return x" + " + x" * 50000),
    "nest of calls": forward("return " + "torch.neg(" * 150 + "x" + ")" * 150 + " if " * 1), "nest of ifs": "".join(
        "  " * (i + 2) + "if x:\n" for i in range(90)) + "  " * 92 + "y = x\n", "no python": "\x00", "tabs": "\tx\n   y",
    "statement": "import os\n", "not utf-8": b"\xff\xfe",
    "decorator": "  @property\n  def forward(self):\n    return 1\n", "default that computes": "  def forward(self, x: int=torch.zeros(3)) -> int:\n    return x\n",
    "taken name": "  _modules : Tensor\n", "dunder name": "  __class__ : Tensor\n", "listed": "  __parameters__ = [f()]\n", "value": "  a : Final[int] = f(3)\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_code(name):
    body = DAMAGED[name]
    start = time.process_time()
    with pytest.raises(RuntimeError, match="torch.jit.load"):
        rl.jit.load(crafted(body if isinstance(body, bytes) else body))
    assert time.process_time() - start < 20


PICKLES = {"os.system": b"\x80\x02cposix\nsystem\n(X\x04\x00\x00\x00truetR.", "builtins": b"\x80\x02c__builtin__\neval\n.",
           "getattr": b"\x80\x02c__builtin__\ngetattr\n.", "a class of rushlight": b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}b.",
           "no module": b"\x80\x02K\x01.", "unknown class": b"\x80\x02c__torch__\nOther\n)\x81}b.", "a call of a class": b"\x80\x02c__torch__\nM\n)R.",
           "undeclared": b"\x80\x02c__torch__\nM\n)\x81}(X\x05\x00\x00\x00otherK\x01ub.", "no dict": b"\x80\x02c__torch__\nM\n)\x81K\x01b.",
           "dotted": b"\x80\x02c__torch__\nM.forward\n)\x81}b.", "up": b"\x80\x02c__torch__.../../x\nM\n)\x81}b.", "cut": b"\x80\x02c__torch__\nM\n)"}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_of_archives_hold_nothing_but_data(name):
    file = io.BytesIO()
    with zipfile.ZipFile(crafted(forward("return x"))) as source, zipfile.ZipFile(file, "w") as records:
        for each in source.namelist():
            records.writestr(each, PICKLES[name] if each.endswith("data.pkl") else source.read(each))
    file.seek(0)
    with pytest.raises((RuntimeError, pickle.UnpicklingError)):
        rl.jit.load(file)


def test_shared_containers_are_not_multiplied():
    key = b"X\x08\x00\x00\x00training"
    nest = key + b"]q\x00"
    for i in range(1, 60):                                    # each list holds the one before twice
        nest += key + b"](h" + bytes([i - 1]) + b"h" + bytes([i - 1]) + b"eq" + bytes([i])
    state = b"}(" + nest + b"u"
    start = time.process_time()
    module = rl.jit.load(crafted(forward("return x"), state=state))
    assert time.process_time() - start < 10 and module.training[0] is module.training[1]


def test_mutated_archives(language):
    """Bytes changed at random: an archive loads, or is refused; nothing else is raised, and nothing hangs."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(io.BytesIO(language)) as source:
        records = {name: source.read(name) for name in source.namelist()}
    for trial in range(60):
        chosen = rng.choice([name for name in records if name.endswith((".py", "data.pkl", "constants.pkl"))])
        content = bytearray(records[chosen])
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(32, 127)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as out:
            for name, each in records.items():
                out.writestr(name, bytes(content) if name == chosen else each)
        file.seek(0)
        try:
            rl.jit.load(file)
        except (RuntimeError, pickle.UnpicklingError):
            continue


@pytest.mark.parametrize("version", ["3", "4", "5", "10"])
def test_operators_mean_what_they_meant(version):
    """Whole numbers were divided without fractions, and filled in with floats, in older archives; PyTorch's upgraders are the judge."""
    content = forward("a = torch.div(x, 2)", "b = torch.div(x, torch.add(x, 1))", "c = torch.full([2], 3)", "return (a, b, c, torch.div(3, 2))").replace(
        "-> Tensor", "-> Tuple[Tensor, Tensor, Tensor, float]")
    file = crafted(content, version=version.encode())
    theirs, mine = both(file.getvalue())
    for each in (pt.tensor([-3, 3, 4]), pt.tensor([-3.0, 3.0, 4.0])):
        assert plain(mine(ours(each))) == plain(theirs(each))


def test_setstate_and_versions_are_refused():
    with pytest.raises(RuntimeError, match="__setstate__"):
        rl.jit.load(crafted(forward("return x") + "  def __setstate__(self, state: int) -> NoneType:\n    return None\n"))
    for version in (b"99", b"", b"0", b"-3", b"1" * 5000):
        with pytest.raises(RuntimeError, match="version"):
            rl.jit.load(crafted(forward("return x"), version=version))


EXPRESSIONS = [
    "torch._pack_padded_sequence(torch.unsqueeze(x, 2), torch.tensor([3, 2]), True)", "torch.pad_sequence([x, torch.slice(x, 0, 0, 1)], True, 2.)",
    "torch._pad_packed_sequence(torch.unsqueeze(torch.select(x, 0, 0), 1), torch.tensor([2, 1]), True, 0.5, 4)", "torch.nonzero_numpy(x)",
    "torch._weight_norm(x, torch.sum(x, [1], True), 0)", "torch._shape_as_tensor(x)", "torch._cast_Double(x)", "torch._infer_size([2, 1], [3])",
    "torch.divmod(7, 2)", "torch.mathremainder(7, 4)", "torch.div(3, 2)", "torch.pow(2, 3)", "torch.floordiv(-7, 2)", "torch.remainder(-7, 3)",
    "torch.round(2.5)", "torch.ceil(2.5)", "torch.mul([1, 2], 2)", "torch.add([1], [2])", "torch.eq([1], [1])", "torch.slice('abcde', 1, 4, 2)",
    "torch.split('a b c', ' ', -1)", "torch.join('-', ['a', 'b'])", "torch.find('abc', 'c', 0, 3)", "torch.strip(' a ', ' ')", "torch.len('abc')",
    "torch.softmax(x, 1, 7)", "torch.sum(x, dtype=7)", "torch.to(torch.zeros([2], dtype=15), 6)", "torch.arange(3, dtype=None)",
    "torch.index(x, [None, torch.tensor([1, 0])])", "torch.einsum('ij,kj->ik', [x, x])", "torch.meshgrid([torch.arange(2), torch.arange(3)])",
    "torch.where(torch.gt(x, 1), x, torch.neg(x))", "torch.max(x, 1)", "torch.sort(x, 1, True)", "torch.std(x, 1, False)", "torch.norm(x, 2, [1], True)",
    "torch.chunk(x, 2, 1)", "torch.var(x, [1])", "torch.clamp(x, None, 2)", "torch.masked_fill(x, torch.gt(x, 1), 0)", "torch.topk(x, 2)",
    "torch.cat([x, x], 1)", "torch.stft(torch.select(x, 0, 0), 2, 1, 2, torch.ones([2]), False, True, True)", "torch.full([2], 3, dtype=4)",
    "torch.new_zeros(x, [2], dtype=4)", "torch.to(x, torch.tensor([1]))", "torch.to(x, torch.device('cpu'), 7)", "torch.view(x, [-1])",
    "torch.size(x)", "torch.size(x, -1)", "torch.stride(x)", "torch.is_floating_point(x)", "ops.prim.max(1, 2.5)", "ops.prim.min([3, 1, 2])",
    "torch.__range_length(0, 7, 2)", "torch.__derive_index(2, 1, 3)", "torch.format('{}-{}', 3, 'a')", "torch.lerp(x, x, 0.5)", "torch.rsub(x, 1)",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_operators(expression):
    content = crafted(forward(f"return {expression}").replace("-> Tensor", "-> Any"), version=b"5").getvalue()
    theirs, mine = both(content)
    x = pt.tensor([[1.0, 0.5, 2.0], [3.0, 0.0, 1.5]])
    same(plain(mine(ours(x))), plain(theirs(x)))


# --- operators that archives brought ----------------------------------------------------------------------------------------------------

def test_pieces_that_may_be_changed_in_place():
    for root in (rl, pt):
        x = root.ones(4, requires_grad=True)
        for pieces in (root.unsafe_chunk(x, 2), root.unsafe_split(x, 2), root.unsafe_split_with_sizes(x, [1, 3])):
            pieces[0].mul_(3)
            x.grad = None
            (pieces[0].sum() + pieces[1].sum()).backward()
            n = len(pieces[0])
            assert x.grad.tolist() == [3.0] * n + [1.0] * (4 - n)


@pytest.mark.parametrize("mask_type", [None, 0, 1])
def test_the_encoders_fast_path(mask_type):
    pt.manual_seed(0)
    layer = pt.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x, attention = pt.randn(2, 3, 8), layer.self_attn
    mask = {None: None, 0: pt.eye(3).bool(), 1: pt.tensor([[False, False, True], [False, True, True]])}[mask_type]
    weights = [each.detach() for each in (attention.in_proj_weight, attention.in_proj_bias, attention.out_proj.weight, attention.out_proj.bias)]
    rest = [each.detach() for each in (layer.norm1.weight, layer.norm1.bias, layer.norm2.weight, layer.norm2.bias, layer.linear1.weight,
                                       layer.linear1.bias, layer.linear2.weight, layer.linear2.bias)]
    for average in (True, False):
        args = (x, x, x, 8, 2, *weights, mask, True, average, mask_type)
        same(rl.ops.aten._native_multi_head_attention(*ours(args)), pt._native_multi_head_attention(*args))
    for gelu in (True, False):
        for norm_first in (True, False):
            args = (x, 8, 2, *weights, gelu, norm_first, 1e-5, *rest, mask, mask_type)
            same(rl.ops.aten._transformer_encoder_layer_fwd(*ours(args)), pt._transformer_encoder_layer_fwd(*args))


def test_convolution_by_a_word():
    x, w = pt.linspace(-1, 1, 16).reshape(1, 2, 8), pt.linspace(0, 1, 12).reshape(2, 2, 3)
    for padding in ("same", "valid"):
        args = (x, w, None, [1], padding, [1], 1)
        same(rl.ops.aten._convolution_mode(*ours(args)), pt._convolution_mode(*args))
