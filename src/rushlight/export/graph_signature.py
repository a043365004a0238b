"""What the inputs and outputs of an exported graph are: arguments of the user, parameters, buffers, constants; results, and new values of
buffers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from ..unsupported import attribute_of

__all__ = ["ArgumentSpec", "ConstantArgument", "CustomObjArgument", "ExportBackwardSignature", "ExportGraphSignature", "InputKind",
           "InputSpec", "OutputKind", "OutputSpec", "SymBoolArgument", "SymFloatArgument", "SymIntArgument", "TensorArgument",
           "TokenArgument"]


@dataclasses.dataclass
class TensorArgument:
    """A tensor, by the name of its node."""

    name: str


@dataclasses.dataclass
class TokenArgument:
    """An effect token, by the name of its node."""

    name: str


@dataclasses.dataclass
class SymIntArgument:
    """An int that may change."""

    name: str


@dataclasses.dataclass
class SymFloatArgument:
    """A float that may change."""

    name: str


@dataclasses.dataclass
class SymBoolArgument:
    """A bool that may change."""

    name: str


@dataclasses.dataclass
class CustomObjArgument:
    """An object of a class of TorchScript."""

    name: str
    class_fqn: str
    fake_val: Any = None


@dataclasses.dataclass
class ConstantArgument:
    """A number, a string or None, which is part of the graph."""

    name: str
    value: Any


ArgumentSpec = TensorArgument | SymIntArgument | SymFloatArgument | SymBoolArgument | ConstantArgument | CustomObjArgument | TokenArgument


class InputKind(Enum):
    """What an input is."""

    USER_INPUT = auto()
    PARAMETER = auto()
    BUFFER = auto()
    CONSTANT_TENSOR = auto()
    CUSTOM_OBJ = auto()
    TOKEN = auto()


class OutputKind(Enum):
    """What an output is."""

    USER_OUTPUT = auto()
    LOSS_OUTPUT = auto()
    BUFFER_MUTATION = auto()
    PARAMETER_MUTATION = auto()
    GRADIENT_TO_PARAMETER = auto()
    GRADIENT_TO_USER_INPUT = auto()
    USER_INPUT_MUTATION = auto()
    TOKEN = auto()


@dataclasses.dataclass
class InputSpec:
    """An input: what it is, which node it is, the name of the parameter, buffer or constant, and whether the state_dict has the buffer."""

    kind: InputKind
    arg: ArgumentSpec
    target: str | None
    persistent: bool | None = None

    def __post_init__(self) -> None:
        if self.kind is InputKind.BUFFER and self.persistent is None:
            raise AssertionError("Failed to specify persistent flag on BUFFER.")

    def __str__(self) -> str:
        target = "" if self.target is None else f" target='{self.target}'"
        persistent = "" if self.persistent is None else f" persistent={self.persistent}"
        return f"{self.arg.name}: {self.kind.name}{target}{persistent}"


@dataclasses.dataclass
class OutputSpec:
    """An output: what it is, which node it is, and the name of the buffer or input whose new value it is."""

    kind: OutputKind
    arg: ArgumentSpec
    target: str | None

    def __str__(self) -> str:
        target = "" if self.target is None else f" target='{self.target}'"
        return f"{self.arg.name}: {self.kind.name}{target}"


@dataclasses.dataclass
class ExportBackwardSignature:
    """The gradients that a graph with a backward pass returns."""

    gradients_to_parameters: dict[str, str]
    gradients_to_user_inputs: dict[str, str]
    loss_output: str


@dataclasses.dataclass
class ExportGraphSignature:
    """The inputs and outputs of a graph, in order."""

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]

    def _targets(self, kind: InputKind) -> tuple[str, ...]:
        return tuple([each.target for each in self.input_specs if each.kind is kind and isinstance(each.target, str)])

    def _inputs(self, kind: InputKind) -> Mapping[str, str]:
        return _frozen({each.arg.name: each.target for each in self.input_specs if each.kind is kind and isinstance(each.target, str)})

    def _outputs(self, kind: OutputKind) -> Mapping[str, str]:
        return _frozen({each.arg.name: each.target for each in self.output_specs if each.kind is kind and isinstance(each.target, str)})

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return self._targets(InputKind.PARAMETER)

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the buffers."""
        return self._targets(InputKind.BUFFER)

    @property
    def non_persistent_buffers(self) -> tuple[str, ...]:
        """The names of the buffers that no state_dict has."""
        return tuple([str(each.target) for each in self.input_specs if each.kind is InputKind.BUFFER and not each.persistent])

    @property
    def lifted_tensor_constants(self) -> tuple[str, ...]:
        """The names of tensors that are neither parameters nor buffers."""
        return self._targets(InputKind.CONSTANT_TENSOR)

    @property
    def lifted_custom_objs(self) -> tuple[str, ...]:
        """The names of objects of TorchScript's classes."""
        return self._targets(InputKind.CUSTOM_OBJ)

    @property
    def user_inputs(self) -> tuple[Any, ...]:
        """The names of the user's inputs; the values of those that are constants."""
        return tuple([_name_or_value(each.arg) for each in self.input_specs if each.kind is InputKind.USER_INPUT])

    @property
    def user_outputs(self) -> tuple[Any, ...]:
        """The names of the results; the values of those that are constants."""
        return tuple([_name_or_value(each.arg) for each in self.output_specs
                      if each.kind in (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)])

    @property
    def inputs_to_parameters(self) -> Mapping[str, str]:
        """Node -> parameter."""
        return self._inputs(InputKind.PARAMETER)

    @property
    def inputs_to_buffers(self) -> Mapping[str, str]:
        """Node -> buffer."""
        return self._inputs(InputKind.BUFFER)

    @property
    def inputs_to_lifted_tensor_constants(self) -> Mapping[str, str]:
        """Node -> constant."""
        return self._inputs(InputKind.CONSTANT_TENSOR)

    @property
    def inputs_to_lifted_custom_objs(self) -> Mapping[str, str]:
        """Node -> object."""
        return self._inputs(InputKind.CUSTOM_OBJ)

    @property
    def buffers_to_mutate(self) -> Mapping[str, str]:
        """Output node -> the buffer whose new value it is."""
        return self._outputs(OutputKind.BUFFER_MUTATION)

    @property
    def parameters_to_mutate(self) -> Mapping[str, str]:
        """Output node -> the parameter whose new value it is."""
        return self._outputs(OutputKind.PARAMETER_MUTATION)

    @property
    def user_inputs_to_mutate(self) -> Mapping[str, str]:
        """Output node -> the user's input whose new value it is."""
        return self._outputs(OutputKind.USER_INPUT_MUTATION)

    @property
    def input_tokens(self) -> tuple[str, ...]:
        """The names of effect tokens that come in."""
        return tuple([each.arg.name for each in self.input_specs if each.kind is InputKind.TOKEN])

    @property
    def output_tokens(self) -> tuple[str, ...]:
        """The names of effect tokens that go out."""
        return tuple([each.arg.name for each in self.output_specs if each.kind is OutputKind.TOKEN])

    @property
    def backward_signature(self) -> ExportBackwardSignature | None:
        """The gradients, for a graph with a loss."""
        loss = next((each for each in self.output_specs if each.kind is OutputKind.LOSS_OUTPUT), None)
        if loss is None:
            return None
        return ExportBackwardSignature(dict(self._outputs(OutputKind.GRADIENT_TO_PARAMETER)),
                                       dict(self._outputs(OutputKind.GRADIENT_TO_USER_INPUT)), loss.arg.name)

    @property
    def assertion_dep_token(self) -> Mapping[int, str] | None:
        """None: there are no tokens of assertions any more."""
        return None

    def replace_all_uses(self, old: str, new: str) -> None:
        """Let another node stand where a node stood."""
        specs: list[InputSpec | OutputSpec] = [*self.input_specs, *self.output_specs]
        for spec in specs:
            if not isinstance(spec.arg, ConstantArgument) and spec.arg.name == old:
                spec.arg.name = new

    def get_replace_hook(self, replace_inputs: bool = False) -> Any:
        """A hook for ``GraphModule._set_replace_hook`` that keeps the signature right while passes exchange nodes."""
        def hook(old: Any, new: str, user: Any) -> None:
            if user.op == "output" or (replace_inputs and old.op == "placeholder"):
                self.replace_all_uses(old.name, new)
        return hook

    def __str__(self) -> str:
        return "\n".join(["\n# inputs", *map(str, self.input_specs), "\n# outputs", *map(str, self.output_specs), ""])


def _frozen(values: dict[str, str | None]) -> Mapping[str, str]:
    return MappingProxyType({key: value for key, value in values.items() if value is not None})


def _name_or_value(arg: ArgumentSpec) -> Any:
    return arg.value if isinstance(arg, ConstantArgument) else arg.name

__getattr__ = attribute_of("export.graph_signature", "signatures are made of TensorArgument, ConstantArgument and SymIntArgument")
