"""``torch.cuda.amp.common``: whether mixed precision can be had on CUDA."""
from .. import is_available

__all__ = ["amp_definitely_not_available"]


def amp_definitely_not_available() -> bool:
    """Whether there is no GPU to compute on."""
    return not is_available()
