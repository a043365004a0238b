"""Twins of operators that libraries compile for PyTorch: ``torch.ops.load_library`` loads them where the library asks for its own."""

from __future__ import annotations

from pathlib import PurePath

__all__ = ["twin_of"]

_TWINS = {("torchvision", "_C"): "torchvision_ops", ("lib", "_torchaudio"): "torchaudio_ops", ("lib", "libtorchaudio"): "torchaudio_ops"}


def twin_of(path: str) -> str | None:
    """The module of ours that stands for a compiled library, by its folder and the beginning of its name; None where there is none."""
    place = PurePath(path)
    return _TWINS.get((place.parent.name, place.name.partition(".")[0]))
