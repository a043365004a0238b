"""`rushlight.show`: models and curves as pictures. PyTorch has no such function: what is drawn is compared with what the model does."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.support.common import rl

F = rl.nn.functional
SVG = "{http://www.w3.org/2000/svg}"


def words(picture):
    """All texts of a picture, which has to be well-formed XML."""
    return [each.text for each in ElementTree.fromstring(str(picture)).iter(SVG + "text")]


class Residual(rl.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = rl.nn.Sequential(rl.nn.Linear(4, 4), rl.nn.Dropout(0.5), rl.nn.ReLU())
        self.head = rl.nn.Linear(4, 2)

    def forward(self, x):
        return F.softmax(self.head(self.body(x) + x), -1)


def test_a_model_is_drawn_with_its_shapes(tmp_path):
    model = Residual()
    seen = words(rl.show(model, rl.randn(3, 4)))
    for text in ("input 1", "Linear", "body.0", "Dropout", "ReLU", "add", "head", "in_features=4, out_features=2, bias=True", "softmax", "output 1"):
        assert text in seen, text
    assert seen.count("3 × 4") == 7 and seen.count("3 × 2") == 3           # at each line, and in the input and output
    assert all(module.training for module in model.modules())
    picture = rl.show(model, rl.randn(3, 4), title="mine")
    picture.save(str(tmp_path / "model.svg"))
    assert "prefers-color-scheme" in (tmp_path / "model.svg").read_text() and "mine" in (tmp_path / "model.svg").read_text()
    assert picture._repr_html_().startswith("<div") and "mine" in repr(picture)


def test_models_of_several_inputs_and_containers():
    class Two(rl.nn.Module):
        def forward(self, x, y):
            z = x.clone()
            z[0] = y
            return {"sum": z + y, "parts": (x, [y * 2])}
    seen = words(rl.show(Two(), rl.ones(2, 3), rl.ones(3)))
    assert {"input 1", "input 2", "clone", "setitem", "add", "mul", "output 1", "output 2", "output 3"} <= set(seen)
    lstm = words(rl.show(rl.nn.LSTM(2, 3), rl.ones(5, 1, 2)))
    assert "output 3" in lstm and "5 × 1 × 3, 1 × 1 × 3, 1 × 1 × 3" in lstm


def test_a_module_that_runs_twice_is_drawn_twice():
    class Twice(rl.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = rl.nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x).relu())
    assert words(rl.show(Twice(), rl.ones(1, 3))).count("Linear") == 2


def test_curves():
    picture = rl.show({"train": [3.0, 2, 1, float("nan"), 0.5], "test": rl.tensor([3.0, 2.5, 2.0])}, title="loss")
    paths = [each.get("d") for each in ElementTree.fromstring(str(picture)).iter(SVG + "path") if each.get("stroke-width")]
    assert [path.count("M") for path in paths] == [2, 1] and [path.count("L") for path in paths] == [2, 2]      # a gap at nan
    assert {"loss", "train", "test", "0", "4"} <= set(words(picture))
    assert {"1", "0.1", "0.001"} <= set(words(rl.show([1, 0.1, 0.001, 0], logarithmic=True)))
    assert "value" in words(rl.show([2, 2]))
    assert "value" in words(rl.show(rl.ones(1)))


def test_what_is_written_is_escaped():
    wrong = "<script>alert(1)</script>&\""
    picture = rl.show({wrong: [1, 2]}, title=wrong)
    assert "<script>" not in str(picture) and wrong in words(picture)
    model = rl.nn.Sequential()
    model.add_module("<b>", rl.nn.Linear(1, 1))
    assert "<b>" not in str(rl.show(model, rl.ones(1))) and "<b>" in words(rl.show(model, rl.ones(1)))


@pytest.mark.parametrize("call, error, text", [
    (lambda: rl.show(rl.nn.Linear(1, 1)), TypeError, "needs an input"),
    (lambda: rl.show([1.0], rl.ones(1)), TypeError, "inputs go with a torch.nn.Module"),
    (lambda: rl.show("losses"), TypeError, "not str"),
    (lambda: rl.show(3), TypeError, "not int"),
    (lambda: rl.show([]), ValueError, "no finite number"),
    (lambda: rl.show([float("nan")]), ValueError, "no finite number"),
    (lambda: rl.show(rl.nn.Linear(2, 1), rl.ones(3)), RuntimeError, "shapes cannot be multiplied|size mismatch"),
])
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_import_rushlight_loads_none_of_it():
    program = ("import sys, rushlight; assert not [m for m in sys.modules if 'rushlight.notebook' in m]; "
               "assert rushlight.show.__module__ == 'rushlight.notebook' and 'rushlight.notebook.svg' in sys.modules")
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
