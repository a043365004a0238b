"""Versions: rushlight's own, and the PyTorch whose behaviour it has."""

__version__ = "0.1.0"
torch_version = "2.13.0"
cuda = None
hip = None
git_version = "unknown"
debug = False
rocm = None
xpu = None
