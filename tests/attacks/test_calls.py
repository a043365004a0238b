"""Calls that nobody would write, made up from PyTorch's schemas: the two sides end alike, and what does not can only become less."""

import collections
import math
import warnings
from pathlib import Path

import pytest
import torch

import rushlight

from . import fuzz, outcomes
from .generate import calls

# What 300 calls of this seed may show at most; `make fuzz SEED=14 CALLS=300` lists it. These numbers only go down.
LINE = {"different": 1, "class": 3}
LONG_LINE = {"different": 2, "class": 16, "accepted": 5, "refused": 3}


def _count(seed, count):
    found = fuzz.run(calls(seed, count))
    text = "\n".join(f"{kind}: {call}\n    {details}" for kind, call, details in found)
    return collections.Counter(kind for kind, _, _ in found), text


def test_a_few_calls():
    counts, text = _count(14, 300)
    assert {kind: n for kind, n in counts.items() if n > LINE.get(kind, 0) and kind != "unsupported"} == {}, text


@pytest.mark.slow
def test_three_thousand_calls():
    counts, text = _count(15, 3000)
    assert {kind: n for kind, n in counts.items() if n > LONG_LINE.get(kind, 0) and kind != "unsupported"} == {}, text


def _scope(side):
    return {"torch": side, "T": outcomes.builder(side), "inf": math.inf, "nan": math.nan}


@pytest.mark.parametrize("part", range(10))
def test_calls_that_once_went_wrong(part):
    """`mended.txt` holds what generated calls found and was mended: another result, another class of error, accepted or refused where PyTorch does the other."""
    texts = Path(__file__).with_name("mended.txt").read_text().splitlines()[part::10]
    theirs, ours = _scope(torch), _scope(rushlight)
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in texts:
            found = fuzz.judge(text, outcomes.outcome(text, torch, theirs), outcomes.outcome(text, rushlight, ours))
            wrong += [] if found is None else [(text, *found)]
    assert len(texts) > 20 and wrong == []


def test_the_same_seed_gives_the_same_calls():
    assert calls(3, 20) == calls(3, 20) != calls(4, 20)


def test_what_the_watchdog_reports(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 2)
    worker = fuzz.Worker("rushlight", {})
    try:
        assert worker.ask("torch.ones(2).sum()")[0] == "value"
        assert worker.ask("__import__('time').sleep(60)")[0] == "hang"
        assert worker.ask("torch.ones(2)[5]")[1][0] == "IndexError"
        assert worker.ask("__import__('os').abort()")[0] == "crash"
        assert worker.ask("torch.ones(3)")[0] == "value"
    finally:
        worker.close()


def test_judgements():
    value, other = ("value", ("tensor", "float32", (), 1)), ("error", ["ValueError"], "no", "")
    assert fuzz.judge("f()", other, other) is None
    assert fuzz.judge("f()", other, ("error", ["KeyError"], "no", ""))[0] == "internal"
    assert fuzz.judge("f()", other, ("error", ["IndexError"], "no", ""))[0] == "class"
    assert fuzz.judge("f()", other, ("error", ["ValueError"], "operands could not be broadcast", ""))[0] == "internal"
    assert fuzz.judge("f()", ("value", 1), other)[0] == "refused" and fuzz.judge("f()", other, ("value", 1))[0] == "accepted"
    assert fuzz.judge("f()", ("value", 1), ("value", 2))[0] == "different" and fuzz.judge("f()", ("value", 1.0), ("value", 1.0 + 1e-9)) is None
    assert fuzz.judge("f()", value, ("crash", "exit -11"))[0] == "crash"
