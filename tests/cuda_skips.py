"""What ``pytest --device cuda`` leaves out, and why. A reason here is a statement about the test, not an excuse for a failure."""

import re

SKIPS = {
    r"test_shape.*fft|test_fft": "torch.fft runs on the host's FFT: a CUDA form is missing",
    r"test_indexing.*x\[0\] = T.ones\(2, 3, 4\)": "the message names the tensor type, which differs from the oracle's CPU one",
    r"test_reduction.*test_return_types_print": "the text has device='cuda:0' in it",
    r"test_(native|bench_smoke|cli|examples|random|serialization|data|compat|pytree)\.py": "about the CPU: its kernels, streams, files and processes",
}


def reason(nodeid):
    """Why a test does not run on the device, or None."""
    for pattern, why in SKIPS.items():
        if re.search(pattern, nodeid):
            return why
    return None
