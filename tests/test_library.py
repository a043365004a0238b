"""torch.library: operators of one's own, compared with PyTorch, where each side defines the same."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl


def both(test):
    return pytest.mark.parametrize("torch", [pt, rl], ids=["pytorch", "rushlight"])(test)


def defined(torch, name):
    @torch.library.custom_op(f"ours::{name}", mutates_args=())
    def scaled(x: torch.Tensor, factor: float = 2.0) -> torch.Tensor:
        return torch.from_numpy(np.array(x.detach().numpy() * factor))
    return scaled


@both
def test_custom_op(torch):
    op = defined(torch, "scaled")
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered|does not require grad"):
        op(x).sum().backward()
    op.register_autograd(lambda ctx, grad: (grad * ctx.factor, None), setup_context=lambda ctx, inputs, output: setattr(ctx, "factor", inputs[1]))
    (op(x, 3.0) * op(x, factor=4.0)).sum().backward()
    assert x.grad.tolist() == [24.0, 48.0]
    assert torch.ops.ours.scaled(x, 5.0).tolist() == torch.ops.ours.scaled.default(x, 5.0).tolist() == [5.0, 10.0]
    assert not op(x.detach()).requires_grad
    assert torch.library.infer_schema(op._init_fn, mutates_args=()) == "(Tensor x, float factor=2.0) -> Tensor"


@both
def test_mutation_and_lists(torch):
    @torch.library.custom_op("ours::add_into", mutates_args=("out",))
    def add_into(parts: list[torch.Tensor], out: torch.Tensor) -> None:
        for each in parts:
            out.numpy()[...] += each.numpy()
    out = torch.zeros(2)
    before = out._version
    assert add_into([torch.ones(2), torch.ones(2)], out) is None
    assert out.tolist() == [2.0, 2.0] and out._version > before

    @torch.library.custom_op("ours::total", mutates_args=())
    def total(parts: list[torch.Tensor], extra: float) -> torch.Tensor:
        return torch.stack(list(parts)).sum(0) + extra
    total.register_autograd(lambda ctx, grad: ([grad * (i + 1) for i in range(ctx.count)], None),
                            setup_context=lambda ctx, inputs, output: setattr(ctx, "count", len(inputs[0])))
    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    total([a, b], 1.0).sum().backward()
    assert a.grad.tolist() == [1.0, 1.0] and b.grad.tolist() == [2.0, 2.0]


@both
def test_library_objects(torch):
    library = torch.library.Library("ours_too", "DEF")
    library.define("double(Tensor x, int n=2) -> Tensor")
    library.impl("double", lambda x, n=2: x * n, "CPU")
    assert torch.ops.ours_too.double(torch.ones(1)).tolist() == [2.0] and torch.ops.ours_too.double(torch.ones(1), n=3).tolist() == [3.0]
    torch.library.define("ours_too::third", "(Tensor x) -> Tensor")
    torch.library.impl("ours_too::third", "default", lambda x: x / 3)
    assert torch.ops.ours_too.third(torch.full((1,), 3.0)).tolist() == [1.0]
    assert not hasattr(torch.ops.ours_too, "nothing")
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.library.define("ours_too::none", "(Tensor x) -> Tensor")
        torch.ops.ours_too.none(torch.ones(1))
    with pytest.raises((RuntimeError, AttributeError)):
        torch.library.register_autograd("ours_too::never", lambda ctx, grad: grad)


@both
def test_bad_definitions(torch):
    with pytest.raises(ValueError):
        @torch.library.custom_op("ours::unannotated", mutates_args=())
        def unannotated(x):
            return x
    with pytest.raises(ValueError):
        torch.library.custom_op("no_namespace", lambda x: x, mutates_args=())
    with pytest.raises(OSError):
        torch.ops.load_library("/nowhere/lib.so")


@both
def test_vmap_rules(torch):
    @torch.library.custom_op("ours::raised", mutates_args=())
    def raised(x: torch.Tensor, y: torch.Tensor, *, power: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x.detach().numpy() ** power * y.detach().numpy()), torch.from_numpy(x.detach().numpy() * 2)

    seen = []

    def rule(info, in_dims, x, y, *, power=2):
        seen.append((info.batch_size, info.randomness, in_dims, power))
        x = x.movedim(in_dims[0], 0) if in_dims[0] is not None else x
        y = y.movedim(in_dims[1], 0) if in_dims[1] is not None else y
        return raised(x, y, power=power), (0, 0)
    torch.library.register_vmap("ours::raised", rule)
    x, y = torch.arange(6.0).reshape(3, 2), torch.tensor([1.0, 10.0])
    found = torch.func.vmap(lambda a, b: raised(a, b, power=3), (0, None))(x, y)
    assert [each.tolist() for each in found] == [(x ** 3 * y).tolist(), (x * 2).tolist()]
    nested = torch.func.vmap(torch.func.vmap(lambda a: raised(a, torch.tensor(5.0))[0]))(x)
    assert nested.tolist() == (x ** 2 * 5).tolist()
    assert seen[0] == (3, "error", (0, None), 3) and len(seen) == 3

    torch.library.register_vmap("ours::raised")(lambda info, in_dims, x, y, *, power=2: x)
    with pytest.raises(RuntimeError, match="Expected the vmap (staticmethod|function) to have two returns"):
        torch.func.vmap(lambda a: raised(a, a)[0])(x)


@both
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_an_operator_without_a_vmap_rule_runs_per_sample(torch):
    op = defined(torch, "scaled_without_rule")
    assert torch.func.vmap(lambda x: op(x, 3.0))(torch.arange(4.0).reshape(2, 2)).tolist() == [[0.0, 3.0], [6.0, 9.0]]


def checked_operator(torch, name, kernel, fake, backward=None, mutates=()):
    """An operator `kernel` of one tensor, with a form without data and a gradient."""
    def function(x: torch.Tensor) -> torch.Tensor:
        return kernel(torch, x)
    op = torch.library.custom_op(f"checked::{name}", function, mutates_args=mutates)
    if fake is not None:
        op.register_fake(lambda x: fake(torch, x))
    if backward is not None:
        op.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]))
    return op


def doubled(torch, x):
    return x.detach() * 2


def written(torch, x):
    x.detach().mul_(2)
    return x.detach() + 1


CHECKED = {
    "right": (doubled, lambda torch, x: torch.empty_like(x), lambda ctx, g: g * 2),
    "writes": (written, lambda torch, x: torch.empty_like(x), None),
    "shares": (lambda torch, x: x.view_as(x), lambda torch, x: torch.empty_like(x), None),
    "no_fake": (doubled, None, None),
    "other_shape": (doubled, lambda torch, x: x.new_empty(7), None),
    "other_dtype": (doubled, lambda torch, x: torch.empty_like(x, dtype=torch.float64), None),
}


@pytest.mark.parametrize("case", CHECKED)
def test_opcheck(case):
    found = []
    for torch in (pt, rl):
        kernel, fake, backward = CHECKED[case]
        op = checked_operator(torch, f"{case}", kernel, fake, backward)
        x = torch.arange(4.0).requires_grad_(backward is not None)
        tests = ["test_schema", "test_faketensor", "test_autograd_registration"]
        results = torch.library.opcheck(op, (x,), test_utils=tests, raise_exception=False)
        found.append({name: result == "SUCCESS" for name, result in results.items()})
        if not all(found[-1].values()):
            with pytest.raises(Exception) as caught:
                torch.library.opcheck(op, (x,), test_utils=tests)
            assert caught.type.__name__ == "OpCheckError"
    if case == "shares":        # PyTorch's form without data finds it, too
        found[0]["test_faketensor"] = True
    assert found[0] == found[1] and all(found[1].values()) == (case == "right")


def test_opcheck_gradients_and_arguments():
    kernel, fake, backward = CHECKED["right"]
    op = checked_operator(rl, "right_again", kernel, fake, backward)
    assert set(rl.library.opcheck(op, (rl.arange(4.0).requires_grad_(),)).values()) == {"SUCCESS"}
    wrong = checked_operator(rl, "wrong_gradient", kernel, fake, lambda ctx, g: g.new_ones(3))
    with pytest.raises(Exception, match="test_aot_dispatch_dynamic failed"):
        rl.library.opcheck(wrong, (rl.arange(4.0).requires_grad_(),), test_utils="test_aot_dispatch_dynamic")
    rl.library.define("checked::plain", "(Tensor x) -> Tensor")
    rl.library.impl("checked::plain", "cpu", lambda x: x.detach() * 2)
    with pytest.raises(Exception, match="no gradient is registered"):
        rl.library.opcheck(rl.ops.checked.plain, (rl.arange(4.0).requires_grad_(),), test_utils="test_autograd_registration")
    for torch in (pt, rl):
        with pytest.raises(ValueError):
            torch.library.opcheck(len, ([],))
        with pytest.raises(ValueError):
            torch.library.opcheck(getattr(torch.ops.checked, "right").default, (torch.ones(2),), test_utils="test_nothing")
