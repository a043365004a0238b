"""Collect what installed libraries import from torch: ``python tools/library_imports.py SITE-PACKAGES... > tests/compat/imports.txt``.

One line per module and name, as ``torch.nn.modules.batchnorm _BatchNorm``; a module alone stands for ``import module``. What the installed
PyTorch does not have either (names of other versions, behind version checks) is left out, so run it where PyTorch is.
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

LIBRARIES = ("accelerate", "botorch", "captum", "diffusers", "einops", "fastai", "gpytorch", "ignite", "kornia", "lightning", "lightning_fabric",
             "linear_operator", "monai", "opacus", "peft", "pyro", "pytorch_lightning", "safetensors", "sentence_transformers", "skorch",
             "stable_baselines3", "tensordict", "timm", "torch_geometric", "torchdiffeq", "torchmetrics", "torchvision", "transformers",
             "thinc", "spacy", "trl", "setfit", "open_clip", "torchaudio", "ultralytics", "segmentation_models_pytorch", "tianshou", "torchrl", "darts",
             "neuralforecast", "pytorch_forecasting", "e3nn", "fvcore", "snntorch", "torchsde", "pytorch_tabnet", "optuna", "onnx",
             "tianshou", "mlflow", "wandb", "ray", "silero_vad", "datasets", "evaluate", "huggingface_hub", "fastcore")


def imports(source: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every import of torch in a file's text; the name is "" for ``import module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torch":
                    yield alias.name, ""
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "torch":
            for alias in node.names:
                yield str(node.module), "" if alias.name == "*" else alias.name


def exists(module: str, name: str) -> bool:
    """Whether the installed PyTorch has it."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = import_module(module)
            if name and not hasattr(found, name):
                import_module(f"{module}.{name}")
    except Exception:
        return False
    return True


def main() -> None:
    """Print the list."""
    found: set[tuple[str, str]] = set()
    for place in sys.argv[1:]:
        for library in LIBRARIES:
            for path in Path(place, library).rglob("*.py"):
                with contextlib.suppress(SyntaxError, UnicodeDecodeError), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found.update(imports(path.read_text(encoding="utf-8")))
    for module, name in sorted(found):
        if exists(module, name):
            print(f"{module} {name}".rstrip())


if __name__ == "__main__":
    main()
