"""Device logic on the stand-in for CuPy (tests/support/cuda_standin.py): creation, movement, mixed devices, gradients, printing."""

import contextlib

import pytest

import rushlight as torch
from tests.support import cuda_standin

REAL = torch.cuda.is_available() and not hasattr(torch.cuda.driver.cupy(), "cublas_of_the_standin")


@pytest.fixture(autouse=True)
def device():
    with cuda_standin.cuda() if not REAL else contextlib.nullcontext():
        yield


def test_without_a_gpu_the_error_says_what_to_install():
    from rushlight.cuda import driver, finding
    previous = driver.replace(None)
    try:
        assert not torch.cuda.is_available() and torch.cuda.device_count() == 0 and torch.cuda.memory_allocated() == 0
        torch.cuda.manual_seed(3)
        for ask in (lambda: finding.find(torch.device("cuda")), torch.cuda.init, torch.cuda.current_device, torch.cuda.synchronize):
            with pytest.raises(AssertionError, match="pip install 'rushlight\\[cuda\\]'"):
                ask()
    finally:
        driver.replace(previous)


def test_creation_and_movement():
    x = torch.ones(2, 3, device="cuda")
    assert x.device == torch.device("cuda:0") and x.is_cuda
    assert (x + 1).device == x.device and x.sum().device == x.device and x[0].device == x.device and (x > 0).device == x.device
    y = x.cpu()
    assert y.device == torch.device("cpu") and y.tolist() == [[1.0] * 3] * 2
    assert y.to("cuda").device == x.device and y.cuda().is_cuda and torch.tensor([1, 2], device="cuda:0").is_cuda
    assert torch.zeros_like(x).is_cuda and x.new_zeros(2).is_cuda and torch.arange(3, device="cuda").is_cuda
    with torch.device("cuda"):
        assert torch.zeros(1).is_cuda
    assert not torch.zeros(1).is_cuda


def test_printing():
    assert repr(torch.ones(2, device="cuda:0")) == "tensor([1., 1.], device='cuda:0')"


def test_mixed_devices():
    x, y = torch.ones(3, device="cuda"), torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        x + y
    assert (x + torch.tensor(2.0)).tolist() == [3.0] * 3  # a 0-dim CPU tensor goes anywhere
    with pytest.raises(TypeError, match="host"):
        x.numpy()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(1, device="cuda:7")


def test_gradients():
    w = torch.ones(3, 2, device="cuda", requires_grad=True)
    x = torch.randn(4, 3, device="cuda")
    ((x @ w).exp() * 2 + w.sum()).mean().backward()
    assert w.grad.is_cuda and w.grad.shape == w.shape
    v = torch.ones(2, requires_grad=True)
    (v.cuda() * 3).sum().backward()
    assert not v.grad.is_cuda and v.grad.tolist() == [3, 3]
    w.grad = None
    g, = torch.autograd.grad((w * w).sum(), w, create_graph=True)
    assert g.is_cuda and torch.autograd.grad(g.sum(), w)[0].tolist() == [[2.0, 2.0]] * 3


def test_module():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).to("cuda")
    assert all(p.is_cuda for p in model.parameters())
    optimizer = torch.optim.Adam(model.parameters())
    loss = torch.nn.functional.cross_entropy(model(torch.randn(5, 3, device="cuda")), torch.zeros(5, dtype=torch.long, device="cuda"))
    loss.backward()
    optimizer.step()
    assert loss.is_cuda and all(v.is_cuda for v in model.state_dict().values())


def test_random_streams_of_their_own():
    a, b = (torch.randn(5, device="cuda", generator=torch.Generator(device="cuda").manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match="cuda"):
        torch.randn(5, generator=torch.Generator(device="cuda"))


def test_the_table_of_cupys_names_is_true():
    """cupy_surface.json says what the stand-in offers; where CuPy is installed (no GPU is needed), it has to agree."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    import json
    import pathlib

    from tests.support import cupy_surface
    table = json.loads((pathlib.Path(cupy_surface.__file__).with_suffix(".json")).read_text())
    if cupy.__version__ != table["version"]:
        pytest.skip(f"the table is of CuPy {table['version']}, installed is {cupy.__version__}: run python tests/support/cupy_surface.py")
    assert json.loads(json.dumps(cupy_surface.surface())) == table
