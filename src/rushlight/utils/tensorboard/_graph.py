"""A model's graph for TensorBoard, from a recorded run: inputs, parameters, functions under their modules, and outputs."""

from __future__ import annotations

from typing import Any

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.config_pb2 import RunMetadata
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.step_stats_pb2 import DeviceStepStats, StepStats
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.versions_pb2 import VersionDef

from ...nn.modules.module import Module
from ...notebook.recording import Recording, Step, record
from ...vocabulary import Shape

__all__ = ["graph"]

_KINDS = {"input": "IO Node", "output": "IO Node", "parameter": "prim::GetAttr"}


def graph(model: Module, args: Any, verbose: bool = False) -> tuple[GraphDef, RunMetadata]:
    """The graph of ``model(*args)`` (one tensor, or a tuple or list of them), as the model runs it, printed if `verbose`."""
    recording = record(model, *(args if isinstance(args, tuple | list) else (args,)))
    nodes = _nodes(recording)
    if verbose:
        print("\n".join(f"{node.name}: {node.op}({', '.join(node.input)})" for node in nodes))
    where = RunMetadata(step_stats=StepStats(dev_stats=[DeviceStepStats(device="/device:CPU:0")]))
    return GraphDef(node=nodes, versions=VersionDef(producer=22)), where


def _nodes(recording: Recording) -> list[NodeDef]:
    names: list[str] = []
    taken: dict[str, int] = {}
    for step in recording.steps:
        plain = _name(recording.model, step)
        taken[plain] = taken.get(plain, 0) + 1
        names.append(plain if taken[plain] == 1 else f"{plain}_{taken[plain]}")
    return [NodeDef(name=name, op=_KINDS.get(step.kind, f"aten::{step.name}"), input=[names[source] for source in step.sources],
                    attr=_attributes(step)) for name, step in zip(names, recording.steps)]


def _name(model: str, step: Step) -> str:
    """A path of modules, as ``Net/Sequential[body]/Linear[0]/linear``; TensorBoard folds by it."""
    if step.kind in ("input", "output"):
        return f"{step.kind}/{step.name.replace(' ', '.')}"
    return "/".join([model, *(f"{scope.kind}[{scope.name}]" for scope in step.scopes if scope.path), step.name])


def _attributes(step: Step) -> dict[str, AttrValue]:
    shapes = AttrValue(list=AttrValue.ListValue(shape=[_shape(shape) for shape in step.shapes]))
    details = step.scopes[-1].details if step.kind == "function" and step.scopes else ""
    return {"_output_shapes": shapes, "attr": AttrValue(s=details.encode())}


def _shape(shape: Shape) -> TensorShapeProto:
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
