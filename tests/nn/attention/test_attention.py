"""torch.nn.attention against PyTorch's: kernels to choose from, biases, flex attention, attention over packed sequences."""

import warnings

import pytest
import torch as pt
import torch.nn.attention.bias  # noqa: F401
import torch.nn.attention.flex_attention  # noqa: F401

import rushlight as rl
import rushlight.nn.attention.bias  # noqa: F401
import rushlight.nn.attention.flex_attention  # noqa: F401
from tests.support.common import assert_same, to_rl

MODULES = (rl, pt)


def test_choosing_kernels():
    for module in MODULES:
        A = module.nn.attention
        flags = module.backends.cuda
        q = module.ones(1, 1, 2, 4)
        with A.sdpa_kernel(A.SDPBackend.MATH):
            assert flags.math_sdp_enabled() and not flags.flash_sdp_enabled() and not flags.mem_efficient_sdp_enabled()
            module.nn.functional.scaled_dot_product_attention(q, q, q)
            with A.sdpa_kernel([A.SDPBackend.FLASH_ATTENTION, A.SDPBackend.MATH], set_priority=True):
                assert flags.flash_sdp_enabled()
            assert not flags.flash_sdp_enabled()
        assert flags.flash_sdp_enabled() and flags.cudnn_sdp_enabled()
        flags.enable_flash_sdp(False)
        assert not flags.flash_sdp_enabled()
        flags.enable_flash_sdp(True)
        with pytest.raises(AssertionError), A.sdpa_kernel("math"):
            pass
        assert module.backends.mha.get_fastpath_enabled()
    A = rl.nn.attention
    A.register_flash_attention_impl("mine", register_fn=lambda: None)
    A.activate_flash_attention_impl("mine")
    assert A.current_flash_attention_impl() == "mine" and "mine" in A.list_flash_attention_impls()
    A.restore_flash_attention_impl()
    assert A.current_flash_attention_impl() is None
    with pytest.raises(ValueError):
        A.activate_flash_attention_impl("nonsense")
    assert {each.name: int(each) for each in A.SDPBackend} == {name: int(value) for name, value in pt.nn.attention.SDPBackend.__members__.items()}


@pytest.mark.parametrize("queries, keys", [(3, 3), (3, 5), (5, 3)])
def test_biases(queries, keys):
    for kind in ("causal_upper_left", "causal_lower_right"):
        results = []
        for module in MODULES:
            module.manual_seed(0)
            q, k = module.randn(2, 2, queries, 4), module.randn(2, 2, keys, 4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                bias = getattr(module.nn.attention.bias, kind)(queries, keys)
            if kind == "causal_lower_right" and queries > keys:
                results.append(bias._materialize())
                continue
            results.append([bias._materialize(), module.nn.functional.scaled_dot_product_attention(q, k, k, attn_mask=bias)])
        assert_same(results[0], results[1])
    for module in MODULES:
        with pytest.raises(AssertionError):
            module.nn.attention.bias.causal_upper_left(3)
        with pytest.warns(UserWarning, match="NaN"):
            module.nn.attention.bias.causal_lower_right(5, 3)


def _relative(m):
    return lambda score, b, h, q, kv: score + 0.1 * (q - kv) * (h + 1)


def _table(m):
    table = m.linspace(-1, 1, 2 * 6 * 6).reshape(2, 6, 6)
    return lambda score, b, h, q, kv: score * 0.5 + table[h, q, kv]


def _causal(b, h, q, kv):
    return q >= kv


def _window(b, h, q, kv):
    return (q - kv < 3) & (kv - q < 3)


@pytest.mark.parametrize("mod", [None, _relative, _table])
@pytest.mark.parametrize("mask", [None, _causal, _window, "both"])
def test_flex_attention(mod, mask):
    results = []
    pt.manual_seed(0)
    q, k, v = (pt.randn(2, 2, 6, 4) for _ in range(3))
    for module, inputs in ((rl, [to_rl(t) for t in (q, k, v)]), (pt, [q, k, v])):
        X = module.nn.attention.flex_attention
        block = None
        if mask is not None:
            function = X.and_masks(_causal, _window) if mask == "both" else mask
            block = X.create_block_mask(function, None, None, 6, 6, device="cpu", BLOCK_SIZE=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out, lse = X.flex_attention(*inputs, score_mod=None if mod is None else mod(module), block_mask=block, return_lse=True)
        results.append([out, lse])
        if block is not None:
            results[-1] += [block.to_dense(), block.kv_num_blocks, block.full_kv_num_blocks, X.create_mask(function, 1, 1, 6, 6, device="cpu")]
            assert abs(block.sparsity() - 100 * (1 - block.to_dense().float().mean().item())) < 1e-4
    assert_same(results[0], results[1], rtol=1e-4, atol=1e-5)
    # PyTorch has no gradients on the CPU: compare with numerical ones.
    inputs = [to_rl(t[:1, :, :, :2].double()).requires_grad_() for t in (q, k, v)]
    X = rl.nn.attention.flex_attention
    block = X.create_block_mask(_causal, None, None, 6, 6)
    assert rl.autograd.gradcheck(lambda *t: X.flex_attention(*t, score_mod=None if mod is None else mod(rl), block_mask=block), inputs)


def test_flex_attention_with_grouped_heads_and_errors():
    for module in MODULES:
        X = module.nn.attention.flex_attention
        module.manual_seed(0)
        q, k = module.randn(1, 4, 6, 4), module.randn(1, 2, 6, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            grouped = X.flex_attention(q, k, k, enable_gqa=True)
            repeated = X.flex_attention(q, k.repeat_interleave(2, 1), k.repeat_interleave(2, 1))
            assert module.allclose(grouped, repeated, atol=1e-6)
            masked_out = X.flex_attention(q, q, q, block_mask=X.create_block_mask(lambda b, h, i, j: j < 0, None, None, 6, 6, device="cpu"))
        assert float(masked_out.abs().sum()) == 0
        with pytest.raises(ValueError):
            X.flex_attention(q, k, k)
        with pytest.raises((ValueError, NotImplementedError)):
            X.flex_attention(q[0], q[0], q[0])
        with pytest.raises(RuntimeError):
            X.or_masks(3)
        either = X.create_mask(X.or_masks(_causal, _window), 1, 1, 6, 6, device="cpu")
        assert either.dtype is module.bool and either.shape == (1, 1, 6, 6)


def test_varlen_attention():
    from rushlight.nn.attention.varlen import varlen_attn
    rl.manual_seed(0)
    q, k = rl.randn(7, 2, 4), rl.randn(7, 2, 4)
    ends = rl.tensor([0, 3, 7])
    for causal in (False, True):
        packed = varlen_attn(q, k, k, ends, ends, 4, 4, is_causal=causal)
        for a, b in ((0, 3), (3, 7)):
            one = rl.nn.functional.scaled_dot_product_attention(*[t[a:b].transpose(0, 1) for t in (q, k, k)], is_causal=causal).transpose(0, 1)
            assert rl.allclose(packed[a:b], one, atol=1e-6)
    with pytest.raises(NotImplementedError):
        varlen_attn(q, k, k, ends, ends, 4, 4, colour=1)
