"""torch.testing against PyTorch's: the texts of assert_close, the values of make_tensor."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl

NAN = float("nan")

# Functions of the module that call assert_close; most of them fail, and have to fail alike.
CASES = {
    "values": lambda m, close: close(m.tensor([1.0, 2]), m.tensor([1.0, 2.5])),
    "matrix of integers": lambda m, close: close(m.tensor([[1, 2], [3, 4]]), m.tensor([[1, 2], [0, 7]])),
    "0-dim": lambda m, close: close(m.tensor(1.0), m.tensor(2.0)),
    "float and int": lambda m, close: close(1.0, 1),
    "floats": lambda m, close: close(1.0, 1.1),
    "number within tolerance": lambda m, close: close(1.0, 1.0 + 1e-9),
    "numbers of two types": lambda m, close: close(1.0, 1, check_dtype=False),
    "nested": lambda m, close: close({"a": [1, m.zeros(2)]}, {"a": [1, m.ones(2)]}),
    "nested equal": lambda m, close: close({"a": [1, (m.zeros(2),)]}, {"a": [1, (m.zeros(2),)]}),
    "structure before values": lambda m, close: close([1, [2]], [3, [2, 4]]),
    "keys": lambda m, close: close({"a": 1}, {"b": 1}),
    "length": lambda m, close: close([1], [1, 2]),
    "None": lambda m, close: close(None, 1),
    "bools": lambda m, close: close(True, False),
    "shape": lambda m, close: close(m.zeros(2), m.zeros(3)),
    "dtype": lambda m, close: close(m.zeros(2), m.zeros(2).double()),
    "dtypes promoted": lambda m, close: close(m.zeros(2), m.ones(2).double(), check_dtype=False),
    "one tolerance": lambda m, close: close(m.zeros(2), m.zeros(2), rtol=1),
    "equality": lambda m, close: close(m.zeros(2), m.ones(2), rtol=0, atol=0),
    "nan": lambda m, close: close(m.tensor([NAN]), m.tensor([NAN])),
    "nan allowed": lambda m, close: close(m.tensor([NAN]), m.tensor([NAN]), equal_nan=True),
    "message": lambda m, close: close(m.zeros(2), m.ones(2), msg="our own"),
    "message function": lambda m, close: close([m.zeros(2)], [m.ones(2)], msg=lambda text: "Header\n" + text),
    "stride": lambda m, close: close(m.zeros(2, 3), m.zeros(3, 2).T, check_stride=True),
    "stride ignored": lambda m, close: close(m.zeros(2, 3), m.zeros(3, 2).T),
    "strings": lambda m, close: close("a", "b"),
    "arrays": lambda m, close: close(np.zeros(2), np.ones(2)),
    "bool tensors": lambda m, close: close(m.tensor([True]), m.tensor([False])),
    "complex": lambda m, close: close(m.tensor([1 + 2j]), m.tensor([1 + 3j])),
    "bfloat16": lambda m, close: close(m.zeros(2, dtype=m.bfloat16), m.ones(2, dtype=m.bfloat16)),
    "empty": lambda m, close: close(m.zeros(0), m.ones(0)),
    "requires grad": lambda m, close: close(m.zeros(2, requires_grad=True), m.zeros(2)),
    "inf": lambda m, close: close(m.tensor([float("inf"), 1]), m.tensor([1.0, float("inf")])),
}


@pytest.mark.parametrize("name", CASES)
def test_assert_close(name):
    outcomes = []
    for module in (rl, pt):
        try:
            outcomes.append(CASES[name](module, module.testing.assert_close))
        except Exception as error:  # noqa: BLE001
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]


def test_tensor_and_array_do_not_mix():
    with pytest.raises(TypeError, match="No comparison pair was able to handle inputs of type .*Tensor.* and .*ndarray"):
        rl.testing.assert_close(rl.zeros(2), np.zeros(2))


def test_subclasses():
    parameter = rl.nn.Parameter(rl.zeros(2))
    rl.testing.assert_close(parameter, rl.zeros(2))
    with pytest.raises(TypeError, match="No comparison pair"):
        rl.testing.assert_close(parameter, rl.zeros(2), allow_subclasses=False)


def test_assert_allclose_warns():
    with pytest.warns(FutureWarning):
        rl.testing.assert_allclose([1.0, 2], rl.tensor([1.0, 2.00001]))
    with pytest.warns(FutureWarning), pytest.raises(AssertionError, match="not close"):
        rl.testing.assert_allclose(rl.tensor(1.0), 1.1)


DTYPES = "float32 float64 float16 bfloat16 int64 int32 int8 uint8 bool complex64 complex128".split()
OPTIONS = [{}, {"noncontiguous": True}, {"low": -1, "high": 2}, {"exclude_zero": True, "low": 0}, {"low": -1e9, "high": 1e9}, {"low": 5, "high": 2},
           {"low": NAN}, {"low": 1e6, "high": 1e7}, {"requires_grad": True}]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_make_tensor(dtype, options):
    for shape in ((3, 4), (20,), (), (1,), (5, 0)):
        results = []
        for module in (rl, pt):
            module.manual_seed(3)
            try:
                t = module.testing.make_tensor(shape, dtype=getattr(module, dtype), device="cpu", **options)
                results.append((t.tolist(), t.stride(), str(t.dtype), t.requires_grad))
            except Exception as error:  # noqa: BLE001
                results.append((type(error), str(error)))
        assert results[0] == results[1]


def test_make_tensor_forms():
    pt.manual_seed(1), rl.manual_seed(1)
    for args, options in (((2, 3), {}), (((2, 3),), {}), ((rl.Size((2, 3)),), {})):
        a = rl.testing.make_tensor(*args, dtype=rl.float32, device="cpu", **options)
        b = pt.testing.make_tensor(2, 3, dtype=pt.float32, device="cpu")
        assert a.tolist() == b.tolist()
    a = rl.testing.make_tensor(2, 3, 4, 5, dtype=rl.float32, device="cpu", memory_format=rl.channels_last)
    assert a.stride() == pt.testing.make_tensor(2, 3, 4, 5, dtype=pt.float32, device="cpu", memory_format=pt.channels_last).stride()
    with pytest.raises(ValueError, match="mutually exclusive"):
        rl.testing.make_tensor(2, 3, dtype=rl.float32, device="cpu", noncontiguous=True, memory_format=rl.contiguous_format)
