"""make_functional and its kin, as ``functorch`` had them: both sides' functions of one model's parameters agree."""

import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.compat import functorch as ours
from rushlight.compat.functorch import einops, experimental

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import functorch as theirs
    import functorch.experimental as their_experimental
    from torch._functorch import make_functional as their_module

from rushlight._functorch import apis, eager_transforms
from rushlight._functorch import make_functional as our_module

SIDES = pytest.mark.parametrize(("torch", "functorch", "module"), [(pt, theirs, their_module), (rl, ours, our_module)], ids=["pytorch", "rushlight"])
pytestmark = pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning")


def model(torch, batch_norm=False):
    torch.manual_seed(1)
    layers = [torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)]
    return torch.nn.Sequential(*(layers if batch_norm else layers[::2]))


@SIDES
def test_parameters_by_position(torch, functorch, module):
    net = model(torch)
    function, params = functorch.make_functional(net)
    assert isinstance(function, functorch.FunctionalModule) and [p.requires_grad for p in params] == [True] * 4
    assert all(p is not q for p, q in zip(params, net.parameters(), strict=True))
    x = torch.ones(5, 3)
    assert torch.equal(function(params, x), net(x))
    grads = torch.func.grad(lambda params: function(params, x).sum())(params)
    net(x).sum().backward()
    assert all(torch.equal(g, p.grad) for g, p in zip(grads, net.parameters(), strict=True))
    assert all(p.device.type == "meta" for p in function.stateless_model.parameters())
    assert not any(p.requires_grad for p in functorch.make_functional(net, disable_autograd_tracking=True)[1])
    with pytest.raises(RuntimeError, match="has buffers"):
        functorch.make_functional(model(torch, True))


@SIDES
def test_buffers_and_tied_weights(torch, functorch, module):
    net = model(torch, True)
    function, params, buffers = functorch.make_functional_with_buffers(net)
    assert isinstance(function, functorch.FunctionalModuleWithBuffers) and len(params) == 6 and len(buffers) == 3
    x = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(function(params, buffers, x), net(x))
    assert torch.equal(buffers[0], net[1].running_mean) and int(buffers[2]) == 1

    tied = model(torch)
    tied.append(torch.nn.Linear(2, 2, bias=False))
    tied.append(torch.nn.Linear(2, 2, bias=False))
    tied[3].weight = tied[2].weight
    function, params = functorch.make_functional(tied)
    assert len(params) == 5 and torch.equal(function(params, torch.ones(1, 3)), tied(torch.ones(1, 3)))
    doubled = (*params[:4], params[4] * 2)
    assert torch.allclose(function(doubled, torch.ones(1, 3)), tied(torch.ones(1, 3)) * 4)


@SIDES
def test_ensembles(torch, functorch, module):
    nets = [model(torch, True) for _ in range(3)]
    function, params, buffers = functorch.combine_state_for_ensemble(nets)
    x = torch.arange(6.0).reshape(2, 3)
    found = torch.func.vmap(function, (0, 0, None))(params, buffers, x)
    for i, net in enumerate(nets):
        assert torch.allclose(found[i], net(x), atol=1e-6)
    for bad, text in (([], "Expected at least one model"), ([nets[0], nets[1].eval()], "same training/eval mode"),
                      ([nets[0], torch.nn.Linear(1, 1)], "same class")):
        with pytest.raises(RuntimeError, match=text):
            functorch.combine_state_for_ensemble(bad)


@SIDES
def test_made_in_numbers(torch, functorch, module):
    weights, function, names = module.functional_init(torch.nn.Linear, (4,))(3, 2)
    assert tuple(weights[0].shape) == (4, 2, 3) and tuple(names) == ("weight", "bias")
    assert tuple(torch.func.vmap(function, (0, None))(weights, (torch.ones(5, 3),)).shape) == (4, 5, 2)
    weights, function, names = module.functional_init(torch.nn.Linear)(3, 2)
    assert tuple(function(weights, (torch.ones(5, 3),)).shape) == (5, 2)
    _, buffers, function, names, buffer_names = module.functional_init_with_buffers(torch.nn.BatchNorm1d, (2,))(3)
    assert tuple(buffers[0].shape) == (2, 3) and tuple(buffer_names) == ("running_mean", "running_var", "num_batches_tracked")
    with pytest.raises(ValueError, match="more than 1 element"):
        module.functional_init(torch.nn.Linear, (2, 3))(1, 1)


def test_vmap_in_a_number_of_pieces():
    x = np.arange(14.0).reshape(7, 2)
    for chunks in (1, 2, 3, 7, 9):
        assert experimental.chunk_vmap(rl.sum, chunks=chunks)(rl.tensor(x)).tolist() == their_experimental.chunk_vmap(
            pt.sum, chunks=min(chunks, 7))(pt.tensor(x)).tolist()
    with pytest.raises(ValueError, match="chunks should be greater than 0"):
        apis.chunk_vmap(rl.sum, chunks=0)(rl.tensor(x))


@pytest.mark.parametrize(("argnums", "as_tuple"), [(0, True), (1, False), (-1, True), ((0, 2), True), ((1, 1), True), ((), True), (3, True), ("a", True), ((0.5,), True)])
def test_arguments_by_position(argnums, as_tuple):
    from torch._functorch.eager_transforms import _slice_argnums
    found = []
    for function in (_slice_argnums, eager_transforms._slice_argnums):
        try:
            found.append(function(("a", "b", "c"), argnums, as_tuple))
        except RuntimeError as error:
            found.append(str(error).partition(",")[0][:20])
    assert found[0] == found[1]


def test_einops():
    assert einops.rearrange(rl.arange(6).reshape(2, 3), "a b -> (b a)").tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("name", ["vmap", "grad", "jacrev", "jacfwd", "grad_and_value", "hessian", "functionalize", "vjp", "jvp"])
def test_old_names_warn(name):
    now = "torch.vmap" if name == "vmap" else f"torch.func.{name}"
    for torch, functorch in ((pt, theirs), (rl, ours)):
        x = torch.ones(())
        arguments = {"vjp": (torch.sin, x), "jvp": (torch.sin, (x,), (x,))}.get(name, (torch.sin,))
        with pytest.warns(FutureWarning, match=f"Please use `{now}`"):
            getattr(functorch, name)(*arguments)


CASES = {
    "complex input": lambda f, x, z: f.jacrev(lambda v: v.conj())(z),
    "complex input, forward": lambda f, x, z: f.jacfwd(lambda v: v.conj())(z),
    "complex output": lambda f, x, z: f.jacrev(lambda v: v * 0.5j)(x),
    "complex output, forward": lambda f, x, z: f.jacfwd(lambda v: v * 0.5j)(x),
    "no output": lambda f, x, z: f.vjp(lambda v: None, x),
    "empty output": lambda f, x, z: f.jvp(lambda v: (), (x,), (x,)),
    "a number": lambda f, x, z: f.jacfwd(lambda v: 1)(x),
    "number among primals": lambda f, x, z: f.jvp(lambda v, w: v, (x, 1.0), (x, x)),
    "number among tangents": lambda f, x, z: f.jvp(lambda v: v, (x,), (1.0,)),
    "no tuple of tangents": lambda f, x, z: f.jvp(lambda v: v, (x,), [x]),
    "no primals": lambda f, x, z: f.jvp(lambda v: v, (), ()),
    "linearize, structure": lambda f, x, z: f.linearize(lambda v: v, x)[1]((x, x)),
    "linearize, shape": lambda f, x, z: f.linearize(lambda v: v, x)[1](x[None]),
    "linearize, dtype": lambda f, x, z: f.linearize(lambda v: v, x)[1](x.double()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_transforms_refuse(case):
    found = []
    for torch in (pt, rl):
        with pytest.raises(RuntimeError) as caught:
            CASES[case](torch.func, torch.ones(2), torch.ones(2, dtype=torch.complex64))
        found.append(str(caught.value)[:28])
    if case.startswith("linearize"):
        words = {"structure": "same argspec", "shape": "doesn't match the shape", "dtype": "doesn't match the dtype"}[case.partition(", ")[2]]
        assert words in str(caught.value)
    else:
        assert found[0] == found[1]
