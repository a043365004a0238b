"""What ``pytest --device cuda`` leaves out, and why. A reason here is a statement about the test, not an excuse for a failure."""

import re

SKIPS = {
    r"nn/modules/test_modules.*(RReLU|FractionalMaxPool)": "drawn on the host, with the CPU's own generator",
    r"nn/modules/test_module\.py.*(register_parameter|setattr\(l, 'weight'|test_container|test_shared_parameters)": "compares texts that name the device, or forks",
    r"optim/test_optim.*test_bad_parameters": "texts name the tensor type",
    r"utils/test_checkpoint.*test_gradients_and_dropout": "sets the CPU's random state and expects the device to follow",
    r"nn/modules/test_rnn.*(test_packed_module|test_errors)": "lengths have to be CPU tensors, and the default device is cuda here",
    r"(sparse|optim)/test_sparse.*(x\.type\(\)|test_files_both_ways|test_checkpoint_of_sparse_adam)": "the type's name, or a file of CUDA tensors for the oracle, which has none",
    r"distributions/.*(test_samples.*Binomial|test_sampling_ops)": "binomial numbers of CUDA tensors come from the CPU's generator",
    r"distributions/.*(test_properties_and_entropy|test_bad_parameters|test_bad_values)|masked/.*(where it counts|filled)":
        "compares texts, which name the device",
    r"nn/test_init.*generator=G": "a generator of the CPU is no generator for CUDA tensors, as under PyTorch",
    r"^tests/amp/": "about autocast on the CPU; tests/cuda/test_api.py has CUDA's",
    r"jit/.*test_files": "a file's tensors are loaded on the CPU",
    r"^tests/cuda/": "has its own devices, and runs without the option",
    r"ops/test_indexing.*x\[0\] = T.ones\(2, 3, 4\)": "the message names the tensor type, which differs from the oracle's CPU one",
    r"ops/test_shape.*z\.(mH|H|adjoint\(\))\]": "conj() is a copy elsewhere than on the CPU, whose node has another name",
    r"func/test_vmap.*test_random_streams\[normal_": "normal numbers come from a generator of the CPU here",
    r"ops/test_reduction.*test_return_types_print": "the text has device='cuda:0' in it",
    r"autograd/test_autograd.*(test_saved_tensors_hooks)|utils/test_checkpoint.*hooks_keep": "looks into the CPU's memory",
    r"nn/test_functional.*test_errors": "an index out of range stops the device instead of raising IndexError, as under PyTorch",
    r"^tests/(native|serialization|compat|testing|utils/data|utils/test_pytree|ops/test_random|optim/test_lr_scheduler)|"
    r"^tests/test_(bench|cli|examples|guide|printing|overrides|programs)":
        "about the CPU: its kernels, streams, files, texts and processes",
}


def reason(nodeid):
    """Why a test does not run on the device, or None."""
    for pattern, why in SKIPS.items():
        if re.search(pattern, nodeid):
            return why
    return None
