"""``torch.cuda.amp.common``: whether mixed precision can be had on CUDA."""

__all__ = ["amp_definitely_not_available"]


def amp_definitely_not_available() -> bool:
    """Whether there is no GPU to compute on."""
    from .. import is_available
    return not is_available()
