"""Transforms composed with each other and with backward(): every differentiable op in some compositions, and (slow) in all of them."""

from zlib import crc32

import pytest

from tests.support.compositions import COMPOSITIONS, OPS, cases, check

NAMES = sorted(OPS)
EACH = 1          # how many compositions of every op the quick test runs: other ops, others


def chosen(op):
    """Some compositions for an op, spread evenly over the ops."""
    names = list(COMPOSITIONS)
    at = crc32(op.encode())
    return [names[(at + 7 * i) % len(names)] for i in range(EACH)]


def failures(op, compositions):
    return {name: text for _, case in cases(op) for name in compositions if (text := check(case, name)) not in (None, "skip")}


@pytest.mark.parametrize("op", [op for op in NAMES if crc32(op[::-1].encode()) % 2])
def test_some(op):
    assert not failures(op, chosen(op))


@pytest.mark.parametrize("name", COMPOSITIONS)
@pytest.mark.parametrize("op", ["mul", "sum", "nn.functional.linear", "index_select"])
def test_all_of_common_ops(op, name):
    assert not failures(op, [name])


@pytest.mark.slow
@pytest.mark.parametrize("op", NAMES)
def test_all(op):
    assert not failures(op, COMPOSITIONS)
