"""Our twins of torchaudio's compiled operators: against their definitions written out, sample by sample and way by way."""

import itertools

import numpy as np
import pytest
import torch as pt

import rushlight as torch
from rushlight.libraries import twin_of

torch.ops.load_library("/somewhere/torchaudio/lib/_torchaudio.so")
OPS = torch.ops.torchaudio


def test_what_the_library_asks_at_its_import():
    assert twin_of("/x/torchaudio/lib/libtorchaudio.so") == twin_of("/x/torchaudio/lib/_torchaudio.so") == "torchaudio_ops"
    assert torch.ops._torchaudio.is_align_available() is True and torch.ops._torchaudio.cuda_version() is None
    with pytest.raises(OSError, match="compiled for PyTorch"):
        torch.ops.load_library("/x/torchaudio/lib/torchaudio_prefixctc.so")


@pytest.mark.parametrize("samples", [1, 64, 150])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_recursive_filter(samples, order):
    torch.manual_seed(order)
    x, a = torch.randn(3, 2, samples, dtype=torch.float64), torch.randn(2, order, dtype=torch.float64) * 0.3
    y = torch.cat([torch.randn(3, 2, order - 1, dtype=torch.float64), torch.zeros(3, 2, samples, dtype=torch.float64)], 2)
    expected, flipped = y.numpy().copy(), a.flip(1)
    for n in range(samples):
        feedback = (expected[:, :, n:n + order - 1] * flipped.numpy()[:, :-1]).sum(-1)
        expected[:, :, n + order - 1] = x.numpy()[:, :, n] - feedback
    assert OPS._lfilter_core_loop(x, flipped, y) is y
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_recursive_filter_keeps_what_is_not_finite_behind():
    x, y = torch.ones(1, 1, 6), torch.zeros(1, 1, 7)
    x[0, 0, 3] = float("nan")
    OPS._lfilter_core_loop(x, torch.tensor([[0.5, 1.0]]), y)
    assert y[0, 0].isnan().tolist() == [False] * 4 + [True] * 3
    with pytest.raises(RuntimeError, match="padded output"):
        OPS._lfilter_core_loop(x, torch.tensor([[0.5, 1.0]]), torch.zeros(1, 1, 6))


def test_overdrive():
    torch.manual_seed(0)
    wave, driven = torch.randn(2, 70, dtype=torch.float64), torch.randn(2, 70, dtype=torch.float64)
    last_in, last_out, out = torch.randn(2, dtype=torch.float64), torch.randn(2, dtype=torch.float64), torch.zeros(2, 70, dtype=torch.float64)
    before, high, expected = last_in.numpy().copy(), last_out.numpy().copy(), np.empty((2, 70))
    for n in range(70):
        high = driven.numpy()[:, n] - before + 0.995 * high
        before = driven.numpy()[:, n]
        expected[:, n] = wave.numpy()[:, n] * 0.5 + high * 0.75
    OPS._overdrive_core_loop(wave, driven, last_in, last_out, out)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(last_in.numpy(), before)
    np.testing.assert_allclose(last_out.numpy(), high)


def ways(log_probs, labels, blank):
    """-log of the sum over every order of steps and labels, by PyTorch, so that its autograd gives the gradient."""
    steps, found = log_probs.shape[0], []
    for right in itertools.combinations(range(steps - 1 + len(labels)), len(labels)):
        t = u = 0
        total = log_probs.new_zeros(())
        for move in range(steps - 1 + len(labels)):
            if move in right:
                total = total + log_probs[t, u, labels[u]]
                u += 1
            else:
                total = total + log_probs[t, u, blank]
                t += 1
        found.append(total + log_probs[t, u, blank])
    return -pt.stack(found).logsumexp(0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("blank", "clamp"), [(0, -1.0), (3, 0.05)])
def test_transducer_loss(fused, blank, clamp):
    logits = pt.randn(2, 4, 3, 4, dtype=pt.float64, generator=pt.Generator().manual_seed(0))
    if not fused:
        logits = logits.log_softmax(-1)
    targets, steps, lengths = [[1, 2], [2, 0]], [4, 3], [2, 1]
    leaf = logits.clone().requires_grad_()
    parts = (leaf.log_softmax(-1) if fused else leaf)
    costs = pt.stack([ways(parts[k, :steps[k], :lengths[k] + 1], targets[k][:lengths[k]], blank) for k in range(2)])
    costs.sum().backward()
    expected = leaf.grad.clamp(-clamp, clamp) if clamp > 0 else leaf.grad
    found, gradient = OPS.rnnt_loss_forward(torch.tensor(logits.numpy()), *(torch.tensor(each, dtype=torch.int32) for each in (targets, steps, lengths)),
                                            blank, clamp, fused)
    np.testing.assert_allclose(found.numpy(), costs.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(gradient.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


def test_transducer_loss_refuses():
    logits, targets, steps, lengths = torch.randn(1, 4, 3, 5), torch.tensor([[1, 2]], dtype=torch.int32), *(torch.tensor([n], dtype=torch.int32) for n in (4, 2))
    for change in ((logits[0], targets, steps, lengths, 0), (logits, targets.long(), steps, lengths, 0), (logits, targets, steps - 1, lengths, 0),
                   (logits, targets, steps, lengths, 5), (logits, targets.repeat(2, 1), steps, lengths, 0)):
        with pytest.raises(RuntimeError):
            OPS.rnnt_loss_forward(*change, -1.0, True)


@pytest.mark.parametrize("labels", [[1, 2], [2, 2], [1]])
def test_forced_alignment(labels):
    torch.manual_seed(len(labels))
    scores = torch.randn(1, 5, 3).log_softmax(-1)
    best = max((sum(scores[0, t, s].item() for t, s in enumerate(way)), way) for way in itertools.product(range(3), repeat=5)
               if [key for key, _ in itertools.groupby(way) if key] == labels)
    path, given = OPS.forced_align(scores, torch.tensor([labels]), torch.tensor([5]), torch.tensor([len(labels)]), 0)
    assert tuple(path[0].tolist()) == best[1] and given is scores


def test_forced_alignment_refuses():
    scores = torch.randn(1, 2, 3)
    for labels, steps in (([1, 1], 2), ([1, 2, 1], 2), ([1], 1)):
        with pytest.raises(RuntimeError):
            OPS.forced_align(scores, torch.tensor([labels]), torch.tensor([steps]), torch.tensor([len(labels)]), 0)
    with pytest.raises(RuntimeError, match="shape"):
        OPS.forced_align(scores.repeat(2, 1, 1), torch.tensor([[1], [1]]), torch.tensor([2, 2]), torch.tensor([1, 1]), 0)
