"""Hyperparameters as TensorBoard's plugin reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf import struct_pb2
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from ...tensor import Tensor
from ._arrays import make_np

__all__ = ["hparams"]

Setting = bool | int | float | str | Tensor | None


def hparams(hparam_dict: Mapping[str, Setting] | None = None, metric_dict: Mapping[str, object] | None = None,
            hparam_domain_discrete: Mapping[str, Sequence[Setting]] | None = None) -> tuple[Summary, Summary, Summary]:
    """Three summaries: which hyperparameters and metrics there are, this run's values, and its end. None is left out.

    Raises TypeError where an argument is no dict, or the values in `hparam_domain_discrete` are of another type than the hyperparameter,
    and ValueError for a value that is no number, string, bool or tensor.
    """
    domains = hparam_domain_discrete or {}
    for name, given in (("hparam_dict", hparam_dict), ("metric_dict", metric_dict), ("hparam_domain_discrete", domains)):
        if not isinstance(given, dict):
            raise TypeError(f"parameter: {name} should be a dictionary, nothing logged.")
    assert hparam_dict is not None and metric_dict is not None
    for name, values in domains.items():
        if name not in hparam_dict or not isinstance(values, list) or not all(isinstance(v, type(hparam_dict[name])) for v in values):
            raise TypeError(f"parameter: hparam_domain_discrete[{name}] should be a list of same type as hparam_dict[{name}].")
    start, infos = SessionStartInfo(), []
    for name, value in hparam_dict.items():
        if value is None:
            continue
        field, kind = _form(value)
        setattr(start.hparams[name], field, make_np(value)[0] if isinstance(value, Tensor) else value)
        domain = struct_pb2.ListValue(values=[struct_pb2.Value(**{field: each}) for each in domains[name]]) if name in domains else None
        infos.append(HParamInfo(name=name, type=DataType.Value(kind), domain_discrete=domain))
    experiment = Experiment(hparam_infos=infos, metric_infos=[MetricInfo(name=MetricName(tag=name)) for name in metric_dict])
    return (_summary(metadata.EXPERIMENT_TAG, experiment=experiment),
            _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
            _summary(metadata.SESSION_END_INFO_TAG, session_end_info=SessionEndInfo(status=Status.Value("STATUS_SUCCESS"))))


def _form(value: Setting) -> tuple[str, str]:
    """The field that holds a value, and its type in the protocol (a bool is a number there, as in PyTorch's files)."""
    if isinstance(value, int | float | Tensor):
        return "number_value", "DATA_TYPE_FLOAT64"
    if isinstance(value, str):
        return "string_value", "DATA_TYPE_STRING"
    raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")


def _summary(tag: str, **content: object) -> Summary:
    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content).SerializeToString()
    about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data))
    return Summary(value=[Summary.Value(tag=tag, metadata=about)])
