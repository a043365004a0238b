"""Write `src/rushlight/ops/schemas.txt`: what the arguments of PyTorch's functions may be, from PyTorch's own schemas.

A line is the name of an operator and its overloads; an argument is its name, ":" and its type. "?" allows None, "=" has a default, what stands behind "*" is
given by name only. PyTorch is needed, as for the tests.
"""

from pathlib import Path
from types import FunctionType

import torch

TYPES = {"Tensor": "T", "Optional[Tensor]": "T?", "List[Tensor]": "T[]", "List[Optional[Tensor]]": "T?[]", "int": "i", "Optional[int]": "i?", "bool": "b",
         "Optional[bool]": "b?", "float": "f", "Optional[float]": "f?", "number": "n", "Optional[number]": "n?", "str": "s", "Optional[str]": "s?",
         "List[int]": "i[]", "Optional[List[int]]": "i[]?", "List[bool]": "b[]", "List[float]": "f[]", "Optional[List[float]]": "f[]?", "List[number]": "n[]"}
TARGET = Path(__file__).parents[1] / "src/rushlight/ops/schemas.txt"


def written(argument) -> str | None:
    """An argument as it stands in the file; None for one that no Python function takes."""
    word = TYPES.get(str(argument.type))
    real = str(getattr(argument, "real_type", ""))
    if any(each in real for each in ("ScalarType", "Layout", "MemoryFormat", "Device", "Generator")):
        word = "any"
    if word is None:
        word = "any" if any(each in str(argument.type) for each in ("Device", "Generator")) else None
    if word is None and "Dimname" in str(argument.type):
        word = "s[]" if "List" in str(argument.type) else "s"
    if word is None:
        return None
    size = argument.N if word.startswith(("i[", "f[", "b[")) and argument.N else ""
    return f"{argument.name}:{word.replace('[]', f'[{size}]')}{'=' if argument.has_default_value() else ''}"


def overload(schema) -> str | None:
    """An overload's arguments."""
    parts, named = [], False
    for argument in schema.arguments:
        if argument.is_out:
            return None
        text = written(argument)
        if text is None:
            return None
        if argument.kwarg_only and not named:
            named = True
            parts.append("*")
        parts.append(text)
    return ",".join(parts)


def public(name: str) -> bool:
    """Whether Python shows the operator under its name, and is no Python function, whose arguments are others than the operator's."""
    if any(isinstance(vars(owner).get(name), FunctionType) for owner in (torch, torch.Tensor, torch._tensor.Tensor)):
        return False
    spaces = [(torch, name), (torch.Tensor, name), (torch._C._nn, name)]
    spaces += [(getattr(torch, space), name[len(space) + 1:]) for space in ("linalg", "special", "fft") if name.startswith(space + "_")]
    return any(callable(getattr(owner, short, None)) for owner, short in spaces)


def main() -> None:
    """Write the file."""
    found: dict[str, list[str]] = {}
    for schema in sorted(torch._C._jit_get_all_schemas(), key=str):
        space, _, name = schema.name.partition("::")
        if space == "aten" and name[0] != "_" and public(name):
            text = overload(schema)
            known = found.setdefault(name, [])
            tensors = any("Tensor" in str(each.type) for each in schema.arguments)
            if text is None and tensors and not any(each.is_out for each in schema.arguments):
                known.append("*")                                    # an overload that cannot be told here: whatever is given may be it
            elif text is not None and text not in known:
                known.append(text)
    TARGET.write_text("".join(f"{name} {' '.join(overloads)}\n" for name, overloads in sorted(found.items()) if overloads and "*" not in overloads))


if __name__ == "__main__":
    main()
