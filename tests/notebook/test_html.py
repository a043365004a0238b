"""What notebooks show of tensors, modules and optimizers."""

import sys
import types
from html.parser import HTMLParser

import pytest

from tests.support.common import rl


class Reader(HTMLParser):
    """All texts, and the tags that stand around; fails on tags that don't match."""

    def __init__(self, text):
        super().__init__()
        self.words, self.open, self.tags = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_tensors():
    x = rl.ones(2, 3, requires_grad=True)
    seen = Reader(x._repr_html_())
    assert "".join(seen.words) == f"Tensor 2 × 3 · float32 · cpu · 24 B · requires grad{x!r}"
    assert "open" in seen.tags[0][1]
    assert "MulBackward0" in (x * 2)._repr_html_() and "scalar" in rl.tensor(1)._repr_html_()
    large = Reader(rl.zeros(600, 1000, dtype=rl.float64)._repr_html_())
    assert "open" not in large.tags[0][1] and "4.6 MiB" in "".join(large.words)
    assert "meta" in rl.empty(3, device="meta")._repr_html_() and "Parameter" in rl.nn.Parameter(rl.ones(1))._repr_html_()


def test_modules():
    model = rl.nn.Sequential(rl.nn.Linear(4, 3), rl.nn.BatchNorm1d(3))
    model[0].bias.requires_grad_(False)
    seen = Reader(model._repr_html_())
    text = " ".join(seen.words)
    assert "21 parameters · 116 B · training · 3 frozen" in text and "0.weight 3 × 4 float32 12 yes" in text
    assert "0.bias 3 float32 3 no" in text and "1.running_mean 3 float32 3 buffer" in text and repr(model) in seen.words
    assert "open" not in seen.tags[0][1]
    many = rl.nn.ParameterList(rl.ones(1) for _ in range(300))
    assert "… and 100 more" in many._repr_html_()
    assert "0 parameters" in rl.nn.ReLU().eval()._repr_html_()


def test_optimizers():
    model = rl.nn.Linear(4, 3)
    optimizer = rl.optim.SGD([{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}], lr=0.1)
    text = " ".join(Reader(optimizer._repr_html_()).words)
    assert "SGD  15 parameters · 2 groups" in text and "lr 0.1 0.5" in text and "tensors 1 1" in text


def test_names_are_escaped():
    module = rl.nn.Module()
    module.register_parameter("<script>", rl.nn.Parameter(rl.ones(1)))
    seen = Reader(module._repr_html_())
    assert "<script>" in seen.words and "script" not in [tag for tag, _ in seen.tags]
    assert "script" not in [tag for tag, _ in Reader(type("<script>", (rl.nn.Module,), {})()._repr_html_()).tags]


@pytest.mark.parametrize("shell, shown", [("TerminalInteractiveShell", False), ("ZMQInteractiveShell", True)])
def test_terminals_show_text(monkeypatch, shell, shown):
    running = type(shell, (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: running))
    assert (rl.ones(1)._repr_html_() is not None) == shown
    assert (rl.nn.ReLU()._repr_html_() is not None) == shown
