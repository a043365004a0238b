"""The model of scaling in bench/scaling.py: against messages counted one by one, and against points it has to find again."""

import math

import pytest

from bench import scaling


def ring_by_messages(size, workers, alpha, beta):
    """Every round each worker sends one part to its neighbour: the round ends with the slowest."""
    sizes = [size / workers] * workers
    clock = [0.0] * workers
    for turn in range(2 * (workers - 1)):
        arrives = [clock[w] + alpha + beta * sizes[(w - turn) % workers] for w in range(workers)]
        clock = [max(clock[w], arrives[(w - 1) % workers]) for w in range(workers)]
    return max(clock)


def tree_by_messages(size, workers, alpha, beta):
    clock, distance = [0.0] * workers, 1
    while distance < workers:
        for w in range(0, workers - distance, 2 * distance):
            clock[w] = max(clock[w], clock[w + distance]) + alpha + beta * size
        distance *= 2
    rounds = distance.bit_length() - 1
    return clock[0] + rounds * (alpha + beta * size)


@pytest.mark.parametrize("workers", [2, 3, 4, 8, 16])
def test_formulas_count_messages(workers):
    for size in (8, 4096, 1 << 22):
        assert math.isclose(scaling.ring(size, workers, 2e-5, 1e-9), ring_by_messages(size, workers, 2e-5, 1e-9))
        if workers & workers - 1 == 0:
            assert math.isclose(scaling.tree(size, workers, 2e-5, 1e-9), tree_by_messages(size, workers, 2e-5, 1e-9))


def test_small_messages_take_the_tree_and_large_ones_the_ring():
    small, large = (scaling.allreduce(size, 64, 2e-5, 1e-9) for size in (8, 1 << 26))
    assert small == scaling.tree(8, 64, 2e-5, 1e-9) and large == scaling.ring(1 << 26, 64, 2e-5, 1e-9)
    assert scaling.allreduce(1 << 26, 1, 2e-5, 1e-9) == 0


def test_steps():
    buckets = [1 << 20] * 4
    each = scaling.allreduce(1 << 20, 8, 2e-5, 1e-9)
    assert scaling.step(1, 2, buckets, 1, 2e-5, 1e-9) == 3
    assert math.isclose(scaling.step(1, 2, buckets, 8, 2e-5, 1e-9), 3 + each)                          # only the last bucket is waited for
    assert math.isclose(scaling.step(1, 2, buckets, 8, 2e-5, 1e-9, overlap=False), 3 + 4 * each)
    assert math.isclose(scaling.step(0, 0, buckets, 8, 2e-5, 1e-9), 4 * each)                           # nothing to hide behind
    found = [scaling.efficiency(0.1, 0.2, buckets, n, 2e-5, 1e-9) for n in (1, 2, 64, 4096)]
    assert found[0] == 1 and found == sorted(found, reverse=True) and found[-1] > 0


def test_calibration_finds_what_made_the_points():
    points = [(size, scaling.ring(size, 2, 3e-5, 2e-9)) for size in scaling.SIZES]
    alpha, beta = scaling.calibrated(points)
    assert math.isclose(alpha, 3e-5, rel_tol=1e-6) and math.isclose(beta, 2e-9, rel_tol=1e-6)
