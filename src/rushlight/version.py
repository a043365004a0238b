"""Versions: rushlight's own, and that of the PyTorch whose behaviour it has, with "rushlight" as its local part."""

from .torch_version import TorchVersion

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "rocm", "rushlight_version", "xpu"]

rushlight_version = "0.1.0"
__version__ = TorchVersion("2.13.0+rushlight")
cuda = None
hip = None
git_version = "unknown"
debug = False
rocm = None
xpu = None
