"""Our twins of torchvision's compiled operators: against definitions written out pixel by pixel, and by numeric gradients."""

import math

import numpy as np
import pytest

import rushlight as torch

torch.ops.load_library("/somewhere/torchvision/_C.so")
OPS = torch.ops.torchvision
ROIS = torch.tensor([[0, 1.2, 0.5, 6.1, 5.0], [1, -2.0, 3.0, 4.0, 9.5], [0, 2.0, 2.0, 2.0, 2.0]], dtype=torch.float64)


def image(channels=2, seed=0):
    torch.manual_seed(seed)
    return torch.randn(2, channels, 7, 8, dtype=torch.float64)


def point(plane, y, x):
    """The value between the pixels, as torchvision's documentation says: zero beyond one pixel outside, else clamped."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0), max(x, 0)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    ly, lx = (0 if y0 >= height - 1 else y - y0), (0 if x0 >= width - 1 else x - x0)
    return (1 - ly) * ((1 - lx) * plane[y0, x0] + lx * plane[y0, x1]) + ly * ((1 - lx) * plane[y1, x0] + lx * plane[y1, x1])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align(aligned, ratio):
    x, scale, (ph, pw) = image(), 0.8, (2, 3)
    found = OPS.roi_align(x, ROIS, scale, ph, pw, ratio, aligned).numpy()
    for k, (b, *edges) in enumerate(ROIS.tolist()):
        x1, y1, x2, y2 = (each * scale - (0.5 if aligned else 0) for each in edges)
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        ny, nx = (ratio or math.ceil(h / ph)), (ratio or math.ceil(w / pw))
        for c in range(2):
            for i in range(ph):
                for j in range(pw):
                    values = [point(x[int(b), c].numpy(), y1 + i * h / ph + (a + 0.5) * h / ph / ny, x1 + j * w / pw + (e + 0.5) * w / pw / nx)
                              for a in range(ny) for e in range(nx)]
                    assert np.isclose(found[k, c, i, j], sum(values) / max(ny * nx, 1)), (k, c, i, j)


def test_nms():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 9]])
    assert OPS.nms(boxes, torch.tensor([0.5, 0.9, 0.3, 0.8]), 0.5).tolist() == [1, 2]
    assert OPS.nms(boxes, torch.tensor([0.5, 0.9, 0.3, 0.8]), 0.95).tolist() == [1, 3, 0, 2]
    assert OPS.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    with pytest.raises(RuntimeError, match="boxes should be"):
        OPS.nms(torch.zeros(4), torch.zeros(1), 0.5)


def test_roi_pool():
    x = image()
    pooled, places = OPS.roi_pool(x, ROIS, 1.0, 2, 2)
    flat = x.numpy().reshape(2, 2, -1)
    for k, c, i, j in np.ndindex(pooled.shape):
        if places[k, c, i, j] >= 0:
            assert pooled[k, c, i, j] == flat[int(ROIS[k, 0]), c, places[k, c, i, j]]
    assert pooled[0, 1, 0, 0] == x[0, 1, 1:4, 1:4].max() and pooled[2].max() == x[0, :, 2, 2].max()


@pytest.mark.parametrize("name", ["roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool"])
def test_backward_is_the_adjoint(name):
    """These operators are linear in the image (roi_pool: for the places that it chose), so that <grad, f(x)> = <backward(grad), x>."""
    x, scale, extra = image(8 if name.startswith("ps") else 2), 0.9, {"roi_align": (2, True), "ps_roi_align": (2,)}.get(name, ())
    found = getattr(OPS, name)(x, ROIS, scale, 2, 2, *extra)
    out, places = found if isinstance(found, tuple) else (found, None)
    grad = torch.randn(out.shape, dtype=torch.float64)
    kept = () if places is None else (places,)
    arguments = (grad, ROIS, *kept, scale, 2, 2)
    arguments += (2, *x.shape) if name == "ps_roi_align" else (*x.shape, *extra)
    back = getattr(OPS, f"_{name}_backward")(*arguments)
    assert torch.allclose((grad * out).sum(), (back * x).sum())


@pytest.mark.parametrize("groups, offset_groups", [(1, 1), (2, 2)])
def test_deform_conv2d(groups, offset_groups):
    """Without offsets it is a convolution; whole offsets are a convolution of a moved image; and the gradients are numeric ones."""
    torch.manual_seed(0)
    x, weight, bias = image(4), torch.randn(6, 4 // groups, 3, 2, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    geometry = (2, 1, 1, 0, 1, 2, groups, offset_groups, True)
    plain = torch.nn.functional.conv2d(x, weight, bias, (2, 1), (1, 0), (1, 2), groups)
    offset = torch.zeros(2, offset_groups * 12, *plain.shape[2:], dtype=torch.float64)
    mask = torch.ones(2, offset_groups * 6, *plain.shape[2:], dtype=torch.float64)
    assert torch.allclose(OPS.deform_conv2d(x, weight, offset, mask, bias, *geometry), plain)
    moved = torch.zeros_like(x)
    moved[:, :, :-1] = x[:, :, 1:]
    shifted = offset.clone()
    shifted[:, 0::2] = 1
    inner = torch.nn.functional.conv2d(moved, weight, bias, (2, 1), (1, 0), (1, 2), groups)
    assert torch.allclose(OPS.deform_conv2d(x, weight, shifted, mask, bias, *geometry)[:, :, 1:], inner[:, :, 1:])
    small = [torch.randn(1, 2, 3, 3, dtype=torch.float64), torch.randn(2, 2 // groups, 2, 2, dtype=torch.float64),
             0.3 + 0.2 * torch.rand(1, offset_groups * 8, 2, 2, dtype=torch.float64), torch.rand(1, offset_groups * 4, 2, 2, dtype=torch.float64),
             torch.randn(2, dtype=torch.float64)]
    rest = (1, 1, 0, 0, 1, 1, groups, offset_groups, True)
    grad = torch.randn(1, 2, 2, 2, dtype=torch.float64)
    found = OPS._deform_conv2d_backward(grad, *small, *rest)
    for i, (each, gradient) in enumerate(zip(small, found)):
        flat = torch.zeros(each.numel(), dtype=torch.float64)
        for n in range(each.numel()):
            values = []
            for step in (1e-6, -1e-6):
                changed = each.clone()
                changed.view(-1)[n] += step
                values.append((OPS.deform_conv2d(*small[:i], changed, *small[i + 1:], *rest) * grad).sum())
            flat[n] = (values[0] - values[1]) / 2e-6
        assert torch.allclose(gradient.reshape(-1), flat, atol=1e-6), i
