"""Functions of `torch` whose arguments are those of PyTorch's operators: lines evaluated on both sides, values, gradients and errors' classes."""

import pytest
import torch

import rushlight as rl
from tests.support.common import assert_same

LINES = """
    batch_norm(x, w, b, None, None, True, 0.1, 1e-5, True)
    batch_norm(x, None, None, torch.ones(3), torch.ones(3), False, 0.1, 1e-5, False)
    instance_norm(x, w, b, None, None, True, 0.1, 1e-5, True)
    layer_norm(x, [4], cudnn_enable=False)
    group_norm(x, 3, w, b, 1e-5, False)
    kl_div(x, p)
    kl_div(x, p, 1)
    kl_div(x, p, 2, log_target=True)
    kl_div(x, p, 5)
    kl_div(x, p, "mean")
    margin_ranking_loss(x, p, x.sign(), 0.1, 1)
    margin_ranking_loss(x, p, x.sign())
    cosine_embedding_loss(m, n, torch.tensor([1., -1]), 0.1, 2)
    hinge_embedding_loss(x, x.sign().detach())
    hinge_embedding_loss(x, x.sign().detach(), 0.5, 1)
    triplet_margin_loss(m, n, m * n, 1., 2., 1e-6, True, 1)
    triplet_margin_loss(m, n, m * n)
    binary_cross_entropy_with_logits(x, p)
    binary_cross_entropy_with_logits(x, p, None, None, 1)
    poisson_nll_loss(x, p, True, False, 1e-8, 1)
    poisson_nll_loss(x, p)
    ctc_loss(c, torch.ones(2, 3, dtype=torch.long), [5, 5], [2, 2])
    ctc_loss(c, torch.ones(2, 3, dtype=torch.long), torch.tensor([5, 5]), torch.tensor([2, 2]), 0, 1, True)
    convolution(x, w.reshape(1, 3, 1), None, [1], [0], [1], False, [0], 1)
    convolution(x, w.reshape(3, 1, 1), None, [2], [0], [1], True, [1], 1)
    convolution(m, w.reshape(1, 3, 1), None, [1], [0], [1], False, [0], 1)
    _convolution(x, w.reshape(1, 3, 1), None, [1], [0], [1], False, [0], 1, False, False, False)
    max_pool1d_with_indices(x, 2)
    max_pool1d_with_indices(x, 2, [], [1])
    adaptive_max_pool1d(x, 2)
    affine_grid_generator(torch.ones(1, 2, 3), [1, 1, 2, 2], False)
    embedding_bag(m, i, o)
    embedding_bag(m, i, o, False, 1)
    embedding_bag(m, i, o, False, 2)
    embedding_bag(m, i, torch.tensor([0, 1, 4]), False, 1, False, None, True)
    embedding_bag(m, i, o, False, 0, False, None, False, 1)
    embedding_bag(m, i, o, False, 2, False, None, False, 1)
    embedding_bag(m, i, o, False, 7)
    embedding_renorm_(m.detach().clone(), i, 0.5, 2.)
    embedding_renorm_(m.detach().clone(), m, 0.5, 2.)
    frobenius_norm(m, 1)
    frobenius_norm(m, [0, 1], True)
    frobenius_norm(x, [0, 1, 2])
    nuclear_norm(m)
    nuclear_norm(m, True)
    nuclear_norm(x * x + x, dim=(1, 2), keepdim=True)
    nuclear_norm(x * x + x)
    norm_except_dim(x)
    norm_except_dim(x, 1, -1)
    norm_except_dim(x, 3, 2)
    dsmm(m.t(), n)
    values_copy(m)
    slice_inverse(m.detach(), m.detach()[1:], 0, 1, 2)
    sym_constrain_range(3, min=4)
    sym_constrain_range(3, max=4)
    sym_constrain_range_for_size(3, max=2)
    get_device(m)
    get_device(3)
    is_distributed(m)
    cudnn_is_acceptable(m)
    is_vulkan_available()
    is_anomaly_check_nan_enabled()
    set_anomaly_enabled(False)
    int_repr(m)
    linalg.pinv(m.detach(), 1e-3)
    linalg.pinv(m.detach() @ m.detach().t(), 1e-3, True)
    linalg.matrix_rank(m.detach(), 1e-3)
    rsub(m, 2, 3)
    rsub(m, n, 3)
    ones(2).sub_(2, torch.ones(2))
    sub(m, 2, n)
    softmax(m, 0, torch.float64)
"""


def _names(torch):
    """The tensors that the lines name."""
    x = torch.arange(24.).reshape(2, 3, 4).sin().requires_grad_()
    m, n = (torch.arange(6.).add(k).cos().reshape(2, 3).requires_grad_() for k in (0, 3))
    return {"torch": torch, "x": x, "p": x.detach().sigmoid(), "w": torch.tensor([1., 2, 3]), "b": torch.tensor([.5, 0, 1]), "m": m, "n": n,
            "c": torch.arange(40.).reshape(5, 2, 4).sin().log_softmax(2), "i": torch.tensor([0, 1, 1, 0]), "o": torch.tensor([0, 1, 3])}


def _evaluate(torch, line):
    names = _names(torch)
    try:
        result = eval(f"torch.{line}", names)
    except Exception as error:
        return error, None
    first = result[0] if isinstance(result, tuple) else result
    if getattr(first, "requires_grad", False):
        first.cos().sum().backward()
    return result, [names[each].grad for each in "xmn"]


@pytest.mark.parametrize("line", [line.strip() for line in LINES.strip().splitlines()])
@pytest.mark.filterwarnings("ignore")
def test_the_lines_are_the_same(line):
    (ours, our_grads), (theirs, their_grads) = _evaluate(rl, line), _evaluate(torch, line)
    if isinstance(theirs, Exception):
        assert type(ours).__mro__[-4:] == type(theirs).__mro__[-4:] or isinstance(ours, type(theirs)), ours
    else:
        assert_same(ours, theirs, rtol=1e-5, atol=1e-6)
        assert_same(our_grads, their_grads, rtol=1e-4, atol=1e-5)


def test_the_operators_take_the_mean():
    x, y = rl.tensor([1., 2, 3]), rl.tensor([1., 2, 5])
    assert rl.ops.aten.kl_div(x, y).item() == rl.nn.functional.kl_div(x, y).item() and rl.kl_div(x, y).shape == (3,)


def test_every_builtin_function_of_torch_is_there():
    missing = [name for name in dir(torch) if type(getattr(torch, name)) is type(torch.exp) and name[0] != "_" and not hasattr(rl, name)]
    assert [name for name in missing if "autocast_ipu" not in name and "autocast_xla" not in name] == []
