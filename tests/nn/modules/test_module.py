"""Module itself and the containers: registration, attributes, state_dict, hooks, conversion, printing, copying, and all error texts."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch as pt

import rushlight as rl
from tests.support.nn_compare import same

_SETUP = """
P = nn.Parameter(T.zeros(2))
m = nn.Module()
l = nn.Linear(2, 3)
s = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.BatchNorm1d(3))
b = nn.BatchNorm1d(2)
class NoInit(nn.Module):
    def __init__(self, what=None):
        if what: exec(what, {'self': self, 'nn': nn, 'P': P, 'T': T})
class Extra(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = 3
    def get_extra_state(self): return self.value
    def set_extra_state(self, state): self.value = state
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 3), nn.Linear(3, 2)
        self.again = self.fc1
        self.register_buffer('temp', T.ones(1), persistent=False)
        self.buf = nn.Buffer(T.zeros(2))
        self.none = None
        self.register_parameter('absent', None)
        self.shared = self.fc2.weight
    def forward(self, x): return self.fc2(self.fc1(x).relu())
net = Net()
def do(f):
    out = f()
    return out
def attempt(f):
    try: return f()
    except Exception as e: return type(e).__name__, str(e)
"""

EXPRESSIONS = """
m.register_buffer(3, P)
m.register_buffer('a.b', P)
m.register_buffer('', P)
m.register_buffer('forward', P)
m.register_buffer('a', 3)
m.register_parameter(3, P)
m.register_parameter('a.b', P)
m.register_parameter('', P)
m.register_parameter('forward', P)
m.register_parameter('a', T.zeros(1))
m.register_parameter('a', P * 2)
m.register_parameter('a', 3)
m.add_module(3, m)
m.add_module('a.b', m)
m.add_module('', m)
m.add_module('forward', m)
m.add_module('a', 3)
m.foo
delattr(m, 'foo')
NoInit('self.x = P')
NoInit('self.x = nn.Linear(1, 1)')
NoInit('self.x = nn.Buffer(T.zeros(1))')
NoInit("self.register_buffer('x', P)")
NoInit("self.register_parameter('x', P)")
NoInit().x
nn.Module(1)
nn.Module(a=1, b=2)
nn.Module()(1)
setattr(l, 'weight', T.zeros(1))
setattr(l, 'weight', 3)
setattr(s, '0', 3)
setattr(b, 'running_mean', 3)
(setattr(l, 'bias', None), l, list(l.state_dict()))
(setattr(b, 'running_mean', T.ones(2)), b.running_mean, list(b._buffers))
(delattr(l, 'bias'), list(l._parameters), attempt(lambda: l.bias))
(delattr(b, 'running_var'), list(b.state_dict()))
(delattr(s, '1'), s)
(setattr(l, 'new', nn.ReLU()), setattr(l, 'new', None), l)
(setattr(l, 'x', 3), setattr(l, 'x', P), 'x' in vars(l), list(l._parameters))
(setattr(l, 'x', P), setattr(l, 'y', nn.ReLU()), [k for k in dir(l) if len(k) == 1])
net
list(net.state_dict())
[n for n, _ in net.named_parameters()]
[n for n, _ in net.named_parameters(remove_duplicate=False)]
[n for n, _ in net.named_parameters(prefix='p', recurse=False)]
[n for n, _ in net.named_buffers()]
[n for n, _ in net.named_modules()]
[n for n, _ in net.named_modules(remove_duplicate=False)]
[n for n, _ in net.named_modules(prefix='q')]
[n for n, _ in net.named_children()]
len(list(net.parameters())), len(list(net.buffers())), len(list(net.modules())), len(list(net.children()))
s.get_submodule('0.x')
s.get_submodule('x')
l.get_submodule('in_features')
s.get_submodule('')
s.get_submodule('2')
s.get_parameter('0.x')
s.get_parameter('0.in_features')
s.get_parameter('x.y')
s.get_parameter('0.weight').shape
b.get_buffer('weight')
b.get_buffer('x')
b.get_buffer('eps')
b.get_buffer('running_mean')
s.set_submodule('', l)
(s.set_submodule('0.x', nn.ReLU()), s)
s.set_submodule('a.x', l)
s.set_submodule('x', l, strict=True)
s.set_submodule('x', 3)
l.set_submodule('weight', l)
l.set_submodule('in_features.y', l)
l.to(T.int32)
l.to(1, 2, 3, 4, 5)
l.to([1])
l.to(T.float64).weight.dtype
l.to('cpu', T.float64).weight.dtype
l.to(T.zeros(1, dtype=T.float64)).bias.dtype
l.to(dtype=T.float16, non_blocking=True).bias.dtype
s.to(T.float64)[2].num_batches_tracked.dtype, s[2].running_mean.dtype
s.double()[2].running_mean.dtype, s.half()[2].weight.dtype, s.float()[0].bias.dtype
s.type(T.float64)[2].num_batches_tracked.dtype
do(lambda: (p := l.weight, l.double(), p is l.weight, p.dtype)[2:])
l.train(3)
l.eval().training, l.train().training, s.eval()[2].training
l.load_state_dict(3)
l.load_state_dict({})
l.load_state_dict({'weight': T.zeros(3, 2), 'x': 1})
l.load_state_dict({'weight': T.zeros(3, 2), 'x': 1}, strict=False)
l.load_state_dict({'weight': T.zeros(5), 'bias': 3})
l.load_state_dict({'weight': T.zeros(3, 2), 'bias': T.zeros(3)})
s.load_state_dict({'0.weight': T.zeros(3, 2), '0.y.z': 1, 'q.r': 2, '1.x': 1})
s.load_state_dict(s.state_dict())
(l.load_state_dict({'weight': T.ones(3, 2), 'bias': T.ones(3)}), l.weight, l.weight.requires_grad)
(l.load_state_dict({'weight': T.ones(3, 2, dtype=T.float64), 'bias': T.ones(3)}), l.weight.dtype)
(l.load_state_dict({'weight': T.ones(3, 2, dtype=T.float64), 'bias': P[:1].detach().expand(3)}, assign=True), l.weight)
nn.PReLU().load_state_dict({'weight': T.zeros(1)})
(b.load_state_dict({k: v for k, v in b.state_dict().items() if k != 'num_batches_tracked'}), b.num_batches_tracked)
l.state_dict({}, 'a.')
l.state_dict({}, 'a.', True)
l.state_dict(prefix='k.')
l.state_dict()._metadata
s.state_dict()._metadata
l.state_dict()['weight'].requires_grad, l.state_dict(keep_vars=True)['weight'] is l.weight
l.state_dict()['weight'].data_ptr() == l.weight.data_ptr()
l.set_extra_state(1)
l.get_extra_state()
Extra().state_dict()
do(lambda: (e := Extra(), e.load_state_dict({'_extra_state': 7}), e.value))
Extra().load_state_dict({})
nn.Sequential(Extra()).state_dict()
l.to_empty()
l.to_empty(device='cpu').weight.shape
l.requires_grad_(False).weight.requires_grad
do(lambda: (l(T.ones(1, 2)).sum().backward(), l.zero_grad(set_to_none=False), l.weight.grad, l.zero_grad(), l.weight.grad))
do(lambda: (seen := [], s.apply(lambda x: seen.append(type(x).__name__)), seen))
l.apply(3)
copy.deepcopy(net)
do(lambda: (c := copy.deepcopy(net), c.fc1 is c.again, c.shared is c.fc2.weight, c.fc1 is net.fc1)[1:])
do(lambda: (c := copy.copy(l), c.weight is l.weight))[1]
do(lambda: (c := pickle.loads(pickle.dumps(s)), c, c(T.ones(2, 2)) - s(T.ones(2, 2))))[1:]
l._get_name(), l.extra_repr()
m.T_destination if False else nn.Module.call_super_init
l._version, b._version, nn.Module.dump_patches
nn.Parameter()
nn.Parameter(T.zeros(2).long())
nn.Parameter(T.zeros(2).long(), requires_grad=False)
nn.Parameter(nn.Parameter(T.ones(2)))
nn.Parameter(T.zeros(2)) + 1
nn.Buffer()
nn.Buffer(T.zeros(2))
nn.Buffer(T.zeros(2)).persistent, isinstance(T.zeros(2), nn.Buffer), isinstance(nn.Buffer(T.zeros(2)), nn.Buffer)
isinstance(P, nn.Parameter), isinstance(T.zeros(2), nn.Parameter), isinstance(P, T.Tensor)
nn.UninitializedParameter()
nn.UninitializedBuffer()
nn.UninitializedParameter().to(T.float64).dtype
nn.UninitializedParameter().data
nn.UninitializedParameter().is_leaf
nn.UninitializedParameter().foo
do(lambda: (u := nn.UninitializedParameter(), u.materialize((2, 3)), type(u).__name__, u.shape, u.requires_grad))[1:]
nn.factory_kwargs({'a': 1})
nn.factory_kwargs({'device': 1, 'factory_kwargs': {'device': 2}})
nn.factory_kwargs({'device': 1, 'factory_kwargs': {'dtype': 2}})
l.register_module('sub', nn.ReLU()), l
l.share_memory() is l, l.weight.is_shared()
""".strip().splitlines()

CONTAINERS = """
S()[5]
S()[-4]
S()['a']
S()[1:]
S() + 3
S() + L()
S() + S()
S() * 0
S() * 'a'
S() * 2
2 * S()
S().__iadd__(3)
S().__iadd__(S())
S().__imul__(0)
S().__imul__(3)
S().pop(7)
S().pop(-1)
S().insert(9, nn.ReLU())
S().insert(-1, nn.ReLU6())
S().append(3)
S().extend(3)
S().extend([nn.ReLU()])
S().__setitem__(7, nn.ReLU())
do(lambda s: s.__setitem__(1, nn.ReLU6()), S())
do(lambda s: s.__delitem__(slice(0, 2)), S())
do(lambda s: s.__delitem__(-1), S())
S().__delitem__(7)
len(S()), [type(x).__name__ for x in S()]
nn.Sequential({'a': nn.ReLU()})
nn.Sequential([nn.ReLU()])
nn.Sequential(3)
nn.Sequential(None)
nn.Sequential()
nn.Sequential(__import__('collections').OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
nn.Sequential(__import__('collections').OrderedDict(a=nn.ReLU(), b=nn.Tanh()))[1:]
nn.Sequential(__import__('collections').OrderedDict(a=nn.ReLU(), b=nn.Tanh()))[0]
S()(T.randn(3))
nn.ModuleList(3)
nn.ModuleList([3])
L()
nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.Tanh()])
nn.ModuleList([nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())])
nn.ModuleList()
L()[7]
L()['a']
L()[:2]
L()[-1]
L() + 3
L() + L()
L().extend(3)
do(lambda s: s.insert(1, nn.ReLU6()), L())
L().pop(0)
L().pop(7)
L().pop(slice(0, 1))
L()(3)
L().__setitem__(7, nn.ReLU())
do(lambda s: s.__iadd__([nn.ReLU()]), L())
do(lambda s: s.__delitem__(0), L())
D()['c']
D().pop('c')
D().pop('a')
D().update(3)
D().update([3])
D().update([(3,)])
D().update([(3, nn.ReLU())])
do(lambda s: s.update([('a', nn.ReLU6()), ('z', nn.ReLU())]), D())
do(lambda s: s.update(D()), D())
do(lambda s: s.clear(), D())
do(lambda s: s.__delitem__('a'), D())
D().update({'c': 3})
D()
D()(3)
nn.ModuleDict(3)
nn.ModuleDict([('a', nn.ReLU())])
list(D().items()), list(D()), 'a' in D(), len(D()), list(D().keys()), list(D().values())
D() + 3
nn.ModuleDict({'forward': nn.ReLU()})
nn.ModuleDict({'pop': nn.ReLU()})
nn.ModuleDict({'a.b': nn.ReLU()})
P()
P()[5]
P()[-1]
P()[:2]
P()['a']
P() + [3]
P().append(T.zeros(1))
P().extend(3)
P().extend(nn.Parameter(T.zeros(3)))
do(lambda s: s.__setitem__(0, T.ones(1)), P())
P().__setitem__(7, T.ones(1))
P()(3)
nn.ParameterList(3)
nn.ParameterList([[1]])
nn.ParameterList()
nn.ParameterList([T.zeros(2, 3), T.zeros(1).long()]) if False else 0
Q()
Q()['z']
Q().pop('z')
Q().pop('a')
Q().popitem()
Q().get('z', 3)
Q().setdefault('z')
Q().setdefault('z', T.zeros(1))
Q().fromkeys(['x', 'y'], T.zeros(1))
Q().copy()
Q() | Q()
do(lambda s: s.__ior__(Q()), Q())
Q().update(3)
Q().update([3])
Q().update([(1, 2, 3)])
Q().update({3: 4})
Q()(3)
list(reversed(Q()))
list(Q().items()), list(Q().keys()), list(Q().values()), 'a' in Q(), len(Q())
nn.ParameterDict({3: 4})
nn.ParameterDict({'b': 1, 'a': 2})
nn.ParameterDict([('a', T.zeros(1))])
nn.ParameterDict(3)
nn.ParameterDict({'a': nn.ReLU()})
nn.ParameterList([nn.ReLU()])
Q().state_dict()
P().state_dict()
list(P()), len(P())
do(lambda s: s.clear(), Q())
""".strip().splitlines()

_CONTAINER_SETUP = """
S = lambda: nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
L = lambda: nn.ModuleList([nn.ReLU(), nn.Tanh(), nn.Sigmoid()])
D = lambda: nn.ModuleDict({'a': nn.ReLU(), 'b': nn.Tanh()})
P = lambda: nn.ParameterList([nn.Parameter(T.zeros(2)), T.zeros(3), 4])
Q = lambda: nn.ParameterDict({'a': nn.Parameter(T.zeros(2)), 'b': T.zeros(3), 'c': 4})
def do(f, s):
    r = f(s)
    return s
"""

HOOKS = {
    "forward hooks in order": """
order = []
m = nn.Linear(2, 2)
h1 = m.register_forward_hook(lambda m, a, o: order.append('f1'))
h2 = m.register_forward_hook(lambda m, a, o: order.append('f2') or o * 2, prepend=True)
h3 = m.register_forward_pre_hook(lambda m, a: order.append('p1'))
h4 = m.register_forward_pre_hook(lambda m, a: (order.append('p2'), (a[0] + 1,))[1], prepend=True)
h5 = m.register_forward_hook(lambda m, a, k, o: order.append(('f3', sorted(k))), with_kwargs=True)
h6 = m.register_forward_pre_hook(lambda m, a, k: (a, {'input': k.get('input', a[0] if a else None)}) if not a else None, with_kwargs=True)
y1 = m(T.ones(1, 2))
y2 = m(input=T.ones(1, 2)) if False else None
for h in (h1, h2, h3, h4, h5, h6): h.remove()
r = order, y1, m(T.ones(1, 2)), len(m._forward_hooks), len(m._forward_hooks_with_kwargs)
""",
    "a handle as a context": """
m = nn.Linear(2, 2)
with m.register_forward_hook(lambda m, a, o: o * 0):
    y = m(T.ones(1, 2))
r = y, m(T.ones(1, 2))
""",
    "always_call": """
m = nn.Linear(2, 2); seen = []
m.register_forward_hook(lambda m, a, o: seen.append(o), always_call=True)
m.register_forward_hook(lambda m, a, o: seen.append('not'))
try: m(T.ones(1, 5))
except Exception as e: seen.append(type(e).__name__)
r = seen
""",
    "always_call that raises": """
m = nn.Linear(2, 2)
m.register_forward_hook(lambda *a: 1 / 0, always_call=True)
try: m(T.ones(1, 5))
except Exception as e: r = type(e).__name__
""",
    "always_call raises itself": """
m = nn.Linear(2, 2); n = []
m.register_forward_hook(lambda *a: n.append(1) or 1 / 0, always_call=True)
try: m(T.ones(1, 2))
except Exception as e: r = type(e).__name__, str(e), n
""",
    "pre hook with kwargs returns nonsense": """
m = nn.Linear(2, 2)
m.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
r = m(T.ones(1, 2))
""",
    "full backward hooks": """
m = nn.Linear(2, 3); seen = []
m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
m.register_full_backward_pre_hook(lambda m, go: seen.append(go))
x = T.randn(4, 2, requires_grad=True)
m(x).sum().backward()
r = seen, x.grad, m.weight.grad
""",
    "full backward hooks replace": """
m = nn.Linear(2, 3)
m.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10,))
m.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
x = T.randn(4, 2, requires_grad=True)
m(x).sum().backward()
r = x.grad, m.weight.grad
""",
    "full backward hook without input gradients": """
m = nn.Linear(2, 3); seen = []
m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
m(T.ones(4, 2)).sum().backward()
r = seen
""",
    "wrong number of gradients": """
m = nn.Linear(2, 3)
m.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
m(T.ones(4, 2, requires_grad=True)).sum().backward()
""",
    "several inputs and outputs": """
class Two(nn.Module):
    def forward(self, a, b, c): return a * b, 'x', a + c
m = Two(); seen = []
m.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
a, c = T.ones(2, requires_grad=True), T.ones(2, requires_grad=True)
y, _, z = m(a, T.full((2,), 3.), c)
(y.sum() + 2 * z.sum()).backward()
r = seen, a.grad, c.grad
""",
    "mixing backward hooks": """
m = nn.Linear(2, 3); m.register_backward_hook(print)
m.register_full_backward_hook(print)
""",
    "mixing backward hooks the other way": """
m = nn.Linear(2, 3); m.register_full_backward_hook(print)
m.register_backward_hook(print)
""",
    "old backward hook": """
m = nn.ReLU(); seen = []
m.register_backward_hook(lambda m, gi, go: seen.append((gi, go)))
m(T.ones(2, requires_grad=True)).sum().backward()
r = seen
""",
    "an output that is no tensor": """
class D(nn.Module):
    def forward(self, x): return {'a': x * 2}
m = D(); m.register_full_backward_hook(lambda m, gi, go: 1 / 0)
r = list(m(T.ones(2, requires_grad=True)))
""",
    "removed in a hook": """
m = nn.ReLU(); n = []
def hook(m, a, o):
    n.append(1); h.remove()
h = m.register_forward_hook(hook)
m(T.ones(1)); m(T.ones(1))
r = n
""",
    "state_dict hooks": """
m = nn.Sequential(nn.Linear(2, 2)); seen = []
m[0].register_state_dict_pre_hook(lambda m, p, k: seen.append(('pre', p, k)))
m[0].register_state_dict_post_hook(lambda m, s, p, l: seen.append(('post', list(s), p)) or s.__setitem__(p + 'more', 1))
m._register_state_dict_hook(lambda m, s, p, l: {'only': 2})
r = m.state_dict(), seen
""",
    "state_dict post hook must return None": """
m = nn.Linear(2, 2)
m.register_state_dict_post_hook(lambda m, s, p, l: s)
m.state_dict()
""",
    "load hooks": """
m = nn.Sequential(nn.Linear(2, 2)); seen = []
m[0].register_load_state_dict_pre_hook(lambda m, s, p, *a: seen.append((type(m).__name__, sorted(s), p)))
m.register_load_state_dict_post_hook(lambda m, keys: seen.append((list(keys.missing_keys), list(keys.unexpected_keys))) or keys.missing_keys.clear())
r = m.load_state_dict({'0.weight': T.zeros(2, 2), 'q': 1}, strict=False), seen
""",
    "load post hook returns": """
m = nn.Linear(2, 2)
m.register_load_state_dict_post_hook(lambda m, keys: keys)
m.load_state_dict(m.state_dict())
""",
    "deepcopy keeps hooks": """
m = nn.Linear(2, 2)
m.register_forward_hook(lambda m, a, o: o * 0)
r = copy.deepcopy(m)(T.ones(1, 2))
""",
    "registration hooks": """
from importlib import import_module
g = import_module(T.__name__ + '.nn.modules.module'); seen = []
hs = [g.register_module_parameter_registration_hook(lambda m, n, p: seen.append(n)),
      g.register_module_buffer_registration_hook(lambda m, n, p: seen.append(n)),
      g.register_module_module_registration_hook(lambda m, n, p: seen.append(n))]
nn.Sequential(nn.BatchNorm1d(2))
for h in hs: h.remove()
nn.Sequential(nn.Linear(2, 2))
r = seen
""",
    "global hooks": """
from importlib import import_module
g = import_module(T.__name__ + '.nn.modules.module'); seen = []
hs = [g.register_module_forward_pre_hook(lambda m, a: seen.append('pre')),
      g.register_module_forward_hook(lambda m, a, o: seen.append('post')),
      g.register_module_full_backward_pre_hook(lambda m, go: seen.append('bpre')),
      g.register_module_full_backward_hook(lambda m, gi, go: seen.append('b'))]
m = nn.Linear(2, 2)
y = m(T.ones(1, 2, requires_grad=True))
y.sum().backward()
for h in hs: h.remove()
m(T.ones(1, 2))
r = seen
""",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_module(expression: str) -> None:
    same(expression, _SETUP)


@pytest.mark.parametrize("expression", CONTAINERS)
def test_container(expression: str) -> None:
    same(expression, _CONTAINER_SETUP)


@pytest.mark.parametrize("name", HOOKS)
def test_hooks(name: str) -> None:
    same("r", "r = None\n" + HOOKS[name])


def test_call_without_init_fails() -> None:
    class A(rl.nn.Module):
        def __init__(self) -> None:
            pass

        def forward(self, x: object) -> object:
            return x
    with pytest.raises(AttributeError):
        A()(1)


def test_every_method_is_there() -> None:
    missing = [name for name in dir(pt.nn.Module) if not hasattr(rl.nn.Module, name)]
    assert set(missing) <= {"_wrapped_call_impl", "_slow_forward", "_maybe_warn_non_full_backward_hook", "T_destination",
                            "___needs_generation_tag_patch",      # put there by torch's compiler once it is loaded
                            "__annotations__"}, missing


def test_uninitialized_parameters_refuse_ops() -> None:
    u = rl.nn.UninitializedParameter()
    for use in (lambda: u + 1, lambda: u.sum(), lambda: rl.add(u, 1)):
        with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter"):
            use()


def test_a_module_is_freed_at_once() -> None:
    import gc
    import weakref
    gc.collect()
    gc.disable()
    try:
        m = rl.nn.Sequential(rl.nn.Linear(2, 2), rl.nn.ReLU())
        m(rl.ones(1, 2)).sum().backward()
        watch = weakref.ref(m[0])
        del m
        assert watch() is None
    finally:
        gc.enable()


def test_shared_parameters_are_seen_by_a_forked_process() -> None:
    import os
    m = rl.nn.Linear(2, 2).share_memory()
    child = os.fork()
    if child == 0:
        with rl.no_grad():
            m.weight.fill_(7.0)
        os._exit(0)
    os.waitpid(child, 0)
    assert (m.weight == 7.0).all()


def test_compile_in_place() -> None:
    m = rl.nn.Linear(2, 3)
    x = rl.ones(1, 2)
    before = m(x)
    m.compile()
    assert (m(x) == before).all()
    m.register_forward_hook(lambda module, args, output: output * 0)
    assert (m(x) == 0).all()
    import copy
    assert (copy.deepcopy(m)(x) == 0).all()


def test_files_are_attributes():
    code = "import rushlight as T; assert T.nn.modules.rnn.LSTM is T.nn.LSTM and T.nn.modules.transformer.Transformer is T.nn.Transformer"
    subprocess.run([sys.executable, "-c", code], check=True)
