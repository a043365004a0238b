"""rushlight against PyTorch's own operator, module and optimizer databases. ``python -m tests.conformance --help``."""
