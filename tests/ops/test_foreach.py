"""torch._foreach_*: compared with PyTorch, out of place and in place."""

import pytest
import torch as pt

import rushlight as rl
from rushlight.ops import foreach


def samples(torch, seed):
    torch.manual_seed(seed)
    return [torch.rand(3) + 0.5, torch.rand(2, 2) + 0.5]


def lists(found):
    return [each.tolist() for each in found]


@pytest.mark.parametrize("name", [name for name in foreach.NAMES if not name.endswith("_") and name != "_foreach_mm"])
def test_values(name):
    short = name.removeprefix("_foreach_")
    calls = [()] if short in foreach.UNARY or short in ("norm", "max", "clone") else None
    results = []
    for torch in (pt, rl):
        function, rows = getattr(torch, name), []
        others, thirds = samples(torch, 1), samples(torch, 2)
        for args in calls or ([(others,), (2.0,), ([1.5, 2.5],)] if short in foreach.BINARY else [(others, 0.25), (others, thirds)] if short == "lerp"
                              else [(others, thirds), (others, thirds, 0.5), (others, thirds, [0.5, 2.0])]):
            rows.append(lists(function(samples(torch, 0), *args)))
            if hasattr(torch, name + "_"):
                into = samples(torch, 0)
                getattr(torch, name + "_")(into, *args)
                rows.append(lists(into))
        results.append(rows)
    for theirs, ours in zip(*results, strict=True):
        for x, y in zip(theirs, ours, strict=True):
            pt.testing.assert_close(pt.tensor(y), pt.tensor(x), equal_nan=True)


def test_copies_and_errors():
    for torch in (pt, rl):
        into = [torch.zeros(3), torch.zeros(2, 2)]
        torch._foreach_copy_(into, samples(torch, 0))
        assert lists(into) == lists(samples(torch, 0))
        torch._foreach_zero_(into)
        assert lists(into) == [[0.0] * 3, [[0.0] * 2] * 2]
        for bad in (lambda t=torch: t._foreach_add(samples(t, 0), [t.ones(3)]), lambda t=torch: t._foreach_mul(samples(t, 0), [1.0]),
                    lambda t=torch: t._foreach_abs([])):
            with pytest.raises(RuntimeError):
                bad()


def test_products():
    pairs = [(2, 3), (3, 4), (1, 3), (3, 2)]
    results = []
    for torch in (pt, rl):
        torch.manual_seed(0)
        a, b, c, d = [torch.rand(*shape) for shape in pairs]
        results.append(lists(torch._foreach_mm([a, c], [b, d])))
    for theirs, ours in zip(*results, strict=True):
        pt.testing.assert_close(pt.tensor(ours), pt.tensor(theirs))


def test_in_place_forms_return_their_list():
    for torch in (pt, rl):
        tensors = samples(torch, 0)
        for name, args in (("add_", (1,)), ("neg_", ()), ("zero_", ()), ("copy_", (samples(torch, 1),)), ("maximum_", (1,)), ("addcmul_", (tensors, tensors, 1)),
                           ("lerp_", (tensors, 0.5))):
            assert getattr(torch, "_foreach_" + name)(tensors, *args) is tensors, name


@pytest.mark.parametrize("name", ["maximum", "minimum", "clamp_min", "clamp_max"])
def test_limits_of_a_higher_category_promote(name):
    def calls(torch):
        found = []
        for dtype in (torch.int8, torch.float16, torch.float64, torch.bool):
            for value in (1.5, 1, [0.1], torch.tensor(1.5)):
                r, = getattr(torch, "_foreach_" + name)([torch.ones(2, dtype=dtype)], value)
                found.append((str(r.dtype), r.tolist()))
        return found
    assert calls(rl) == calls(pt)
