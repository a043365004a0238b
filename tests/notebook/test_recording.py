"""One run of a model, as steps: what each takes from which, against what is known of the model."""

import pytest

from rushlight.notebook.recording import record
from tests.support.common import rl


def test_steps_and_sources():
    model = rl.nn.Sequential(rl.nn.Linear(4, 3), rl.nn.Tanh())
    steps = record(model, rl.randn(2, 4)).steps
    assert [(step.kind, step.name) for step in steps] == [("input", "input 1"), ("parameter", "weight"), ("parameter", "bias"),
                                                          ("function", "linear"), ("function", "tanh"), ("output", "output 1")]
    assert [step.sources for step in steps] == [[], [], [], [0, 1, 2], [3], [4]]
    assert [step.shapes for step in steps] == [[(2, 4)], [(3, 4)], [(3,)], [(2, 3)], [(2, 3)], [(2, 3)]]
    assert [scope.path for scope in steps[3].scopes] == ["", "0"] and steps[3].scopes[1].details == "in_features=4, out_features=3, bias=True"


def test_what_leads_to_no_output_is_left_out():
    class Idle(rl.nn.Module):
        def forward(self, x):
            x.exp()
            return x.sin()
    assert [step.name for step in record(Idle(), rl.ones(2)).steps] == ["input 1", "sin", "output 1"]


def test_in_place_steps_follow_one_another():
    class InPlace(rl.nn.Module):
        def forward(self, x):
            y = x * 1
            y.add_(1)
            y[0] = 5
            return y.exp()
    steps = record(InPlace(), rl.ones(2)).steps
    assert [step.name for step in steps] == ["input 1", "mul", "add", "setitem", "exp", "output 1"]
    assert [step.sources for step in steps] == [[], [0], [1], [2], [3], [4]]


def test_the_model_is_as_before():
    """Training mode per module, hooks, gradients and running statistics; also where the model raises."""
    model = rl.nn.Sequential(rl.nn.BatchNorm1d(3), rl.nn.Dropout(), rl.nn.Linear(3, 2))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record(model, rl.randn(4, 3))
    with pytest.raises(RuntimeError):
        record(model, rl.randn(4, 5))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(rl.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(TypeError, match="torch.nn.Module"):
        record(rl.sin, rl.ones(1))
