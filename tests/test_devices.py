"""A device of one's own, as CONTRIBUTING.md's recipe makes one: arrays of the host's memory, of a class of their own."""

import numpy as np
import pytest

import rushlight as rl
from rushlight import devices

WHERE = rl.device("privateuseone", 0)


class OwnArray(np.ndarray):
    """What lies on the device."""

    device = WHERE

    def __array_function__(self, function, types, args, kwargs):
        return own(super().__array_function__(function, types, args, kwargs))

    def get(self):
        return np.array(self)

    def strided(self, shape, strides):
        return np.lib.stride_tricks.as_strided(self, shape, strides, subok=True)


def own(result):
    return result.view(OwnArray) if type(result) is np.ndarray else result


class Namespace:
    """NumPy's functions, the results of which lie on the device."""

    def __getattr__(self, name):
        function = getattr(np, name)
        if isinstance(function, (type, np.ufunc)) or not callable(function):
            return function
        return lambda *args, **kwargs: own(function(*args, **kwargs))


NAMESPACE = Namespace()


@pytest.fixture(autouse=True)
def provider(monkeypatch):
    monkeypatch.setitem(devices._finders, "privateuseone", lambda wanted: (NAMESPACE, WHERE))


def step(device):
    """The parameters after a step of training, and what the loss was."""
    rl.manual_seed(0)
    model = rl.nn.Sequential(rl.nn.Conv2d(1, 2, 3), rl.nn.Flatten(), rl.nn.Linear(18, 4), rl.nn.Softmax(1)).to(device)
    loss = model(rl.randn(2, 1, 5, 5, device="cpu").to(device)).square().sum()
    loss.backward()
    rl.optim.Adam(model.parameters(), 0.1).step()
    return list(model.parameters()), loss


def test_a_step_of_training():
    (there, lost), (here, expected) = step("privateuseone"), step("cpu")
    assert lost.device == WHERE and all(p.device == WHERE and type(p._a) is OwnArray for p in there)
    np.testing.assert_allclose(lost.item(), expected.item(), rtol=1e-5)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a.detach().cpu().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_devices_do_not_mix():
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        rl.ones(2, device="privateuseone") + rl.ones(2)


def test_copies_that_need_not_wait():
    """The device queues nothing: they are made at once."""
    x = rl.arange(3.0).to("privateuseone", non_blocking=True)
    assert x.device == WHERE and x.to("cpu", non_blocking=True).tolist() == [0, 1, 2]
    with pytest.raises(NotImplementedError, match="meta"):
        rl.ones(2, device="meta").to("cpu", non_blocking=True)
