"""`torch._check` and its siblings, side by side with PyTorch."""

import pytest
import torch as pt

import rushlight as rl

CASES = [
    lambda T: T._check(True), lambda T: T._check(False), lambda T: T._check(False, lambda: "why"), lambda T: T._check(1), lambda T: T._check(False, "text"),
    lambda T: T._check(True, "text"), lambda T: T._check_index(False, lambda: 5), lambda T: T._check_value(False), lambda T: T._check_type(False),
    lambda T: T._check_not_implemented(False), lambda T: T._check_is_size(3), lambda T: T._check_is_size(-1, lambda: "size"),
    lambda T: T._check_is_size(4, max=3), lambda T: T._check_with(KeyError, False), lambda T: T._check_tensor_all(T.tensor([True, False])),
    lambda T: T._check_tensor_all(T.tensor([True])), lambda T: T._check_tensor_all(T.tensor([1])), lambda T: T._check_tensor_all(True),
    lambda T: T._check_tensor_all_with(ValueError, T.tensor(False), lambda: "all"), lambda T: T._assert_async(T.tensor(1)),
    lambda T: T._assert_async(T.tensor(0.0)), lambda T: T._assert_async(T.tensor(False), "words"), lambda T: T._assert_async(T.ones(2)),
    lambda T: T._assert_async(T.ones(0)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_checks(number):
    def outcome(T):
        try:
            return CASES[number](T)
        except Exception as error:
            return type(error), str(error) if str(error) in ("why", "5", "size", "all", "words", "message must be a callable") else ""
    assert outcome(rl) == outcome(pt)
