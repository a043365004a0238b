"""Test settings: the oracle and NumPy's BLAS get one thread each, because pytest-xdist runs a test process per core.

``pytest --device cuda`` runs rushlight's side of the differential tests on the GPU, or on the stand-in for CuPy where there is none.
"""

import os
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda"), help="where rushlight's side of the differential tests runs")


def pytest_configure(config):
    config.addinivalue_line("markers", "filterwarnings(text): pytest's own, named here for runs with -p no:warnings")
    config.addinivalue_line("markers", "standin: looks into the stand-in for CuPy, or would stop a GPU for the rest of the process, so it is skipped on a GPU")
    config.addinivalue_line("markers", "cpu_only: is about the CPU (NumPy memory, CPU streams, ...), so --device cuda skips it")
    if config.getoption("--device") == "cuda":
        import rushlight
        from tests.support import common, cuda_standin
        if not rushlight.cuda.is_available():
            config.stash[_STANDIN] = cuda_standin.cuda()
            config.stash[_STANDIN].__enter__()
            cuda_standin.without_formulas()
        rushlight.set_default_device("cuda")
        rushlight.backends.cudnn.allow_tf32 = False      # the oracle's convolutions are float32 ones
        rushlight.cuda.random.use_cpu_streams()      # so that what is drawn is what the oracle draws
        common.DEVICE = "cuda"
        original = rushlight.Tensor.numpy
        rushlight.Tensor.numpy = lambda self, *, force=False: original(self.cpu(), force=force)      # how tests look at results


_STANDIN = pytest.StashKey()


def pytest_collection_modifyitems(config, items):
    about_standin = [item for item in items if item.get_closest_marker("standin")]
    if about_standin:
        from tests.support import cuda_standin
        if cuda_standin.real() is not None:
            for item in about_standin:
                item.add_marker(pytest.mark.skip(reason="about the stand-in, or stops the GPU"))
    if config.getoption("--device") == "cuda":
        from tests.support import cuda_skips
        for item in items:
            reason = "about the CPU" if item.get_closest_marker("cpu_only") else cuda_skips.reason(item.nodeid)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(params=[1, 2])
def threads(request):
    """The native kernels with one thread and with two."""
    from rushlight.kernels import native
    before = native.library.get_threads()
    native.library.set_threads(request.param)
    yield request.param
    native.library.set_threads(before)


@pytest.fixture(autouse=True)
def _the_oracle_as_it_starts():
    """PyTorch's own testing modules, which the conformance tests import, switch some of its defaults: each test finds it as a program would."""
    oracle = sys.modules.get("torch")
    if oracle is not None and hasattr(oracle, "distributions"):
        oracle.distributions.Distribution.set_default_validate_args(True)
        oracle.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True
