"""``torch._functorch``: where PyTorch keeps what `torch.func` and ``functorch`` show. What is not here is listed in `absent`."""
