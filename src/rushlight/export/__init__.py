"""``torch.export``: a model's run as a program of operators, with sizes that may change, which is saved, loaded and run without the model's
code."""

from __future__ import annotations

from ..homes import settle
from ..unsupported import attribute_of
from ..utils._pytree import register_dataclass
from . import decomposing as decomposing
from .dynamic_shapes import AdditionalInputs, Dim, ShapesCollection, dims
from .exported_program import ExportedProgram, ModuleCallEntry, ModuleCallSignature
from .exporting import export
from .graph_signature import ExportBackwardSignature, ExportGraphSignature
from .loading import load
from .saving import save
from .unflatten import UnflattenedModule, unflatten

__all__ = ["AdditionalInputs", "Dim", "ExportBackwardSignature", "ExportGraphSignature", "ExportedProgram", "ModuleCallEntry",
           "ModuleCallSignature", "ShapesCollection", "UnflattenedModule", "dims", "export", "load", "register_dataclass", "save",
           "unflatten"]

settle("export", globals(), ["export", "load", "save", "unflatten"])

__getattr__ = attribute_of("export", "export, save, load, unflatten, Dim and ExportedProgram are there (docs/graphs.md)")
