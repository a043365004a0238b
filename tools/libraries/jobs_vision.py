"""Main jobs of libraries for images."""

from __future__ import annotations

from collections.abc import Iterable

from registry import data, job, trained


@job("timm", "ResNet-18 and ViT: training steps")
def timm_models() -> Iterable[float]:
    import timm
    x, y = data(8, 3, 64, 64)        # (as for torchvision's)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=16, num_classes=3, depth=2)
    return trained(timm.create_model("resnet18", num_classes=3), x, y, 2) + trained(vit, x, y)


@job("torchvision", "ResNet-18, nms, roi_align with gradient, transforms v2")
def vision() -> Iterable[float]:
    import torch
    import torchvision
    import torchvision.transforms.v2
    x, y = data(8, 3, 64, 64)        # (batch norms over two values would turn the last bits of a convolution into signs)
    boxes = torch.rand(8, 4) * 10
    boxes[:, 2:] += boxes[:, :2]
    kept = torchvision.ops.nms(boxes, torch.rand(8), 0.3)
    image = torch.randn(1, 2, 12, 12, requires_grad=True)
    pooled = torchvision.ops.roi_align(image, [boxes], 3)
    pooled.square().sum().backward()
    changed = torchvision.transforms.v2.Compose([torchvision.transforms.v2.Resize(16), torchvision.transforms.v2.Normalize([0.5] * 3, [0.2] * 3)])(x)
    return [*trained(torchvision.models.resnet18(num_classes=3), x, y, 2), *kept.tolist(), pooled.sum().item(), image.grad.norm().item(),
            changed.sum().item()]


@job("kornia", "blur, rotation, colour")
def kornia_ops() -> Iterable[float]:
    import kornia
    import torch
    x = torch.rand(1, 3, 16, 16)
    return [kornia.filters.gaussian_blur2d(x, (5, 5), (1.5, 1.5)).square().sum().item(), kornia.color.rgb_to_hsv(x).sum().item(),
            kornia.geometry.rotate(x, torch.tensor([30.0])).sum().item()]


@job("monai", "UNet and Dice loss")
def monai_unet() -> Iterable[float]:
    import torch
    from monai.losses import DiceLoss
    from monai.networks.nets import UNet
    model = UNet(spatial_dims=2, in_channels=1, out_channels=1, channels=(4, 8), strides=(2,))
    loss = DiceLoss(sigmoid=True)(model(torch.randn(1, 1, 16, 16)), (torch.rand(1, 1, 16, 16) > 0.5).float())
    loss.backward()
    return [loss.item(), sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)]


@job("diffusers", "a small UNet and a DDIM step")
def diffusion() -> Iterable[float]:
    import torch
    from diffusers import DDIMScheduler, UNet2DModel
    model = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
                        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D")).eval()
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(5)
    x = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t).sample, t, x).prev_sample
    return [x.square().mean().item()]


@job("torchvision", "Faster R-CNN and LR-ASPP on MobileNet: losses, gradients, detections")
def detection() -> Iterable[float]:
    import torch
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=64,
                                                     rpn_post_nms_top_n_train=50, rpn_post_nms_top_n_test=20)
    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 64)]
    targets = [{"boxes": torch.tensor([[4.0, 4.0, 30.0, 40.0]]), "labels": torch.tensor([2])} for _ in images]
    losses = detector(images, targets)
    sum(losses.values()).backward()
    segmenter = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3).eval()
    with torch.no_grad():
        found, parts = detector.eval()(images), segmenter(torch.stack([images[0]]))["out"]
    return [*(losses[key].item() for key in sorted(losses)), sum(p.grad.square().sum().item() for p in detector.parameters() if p.grad is not None),
            float(len(found[0]["boxes"])), found[0]["scores"].sum().item(), parts.double().abs().mean().item()]


@job("open_clip_torch", "a small CLIP: features, contrastive loss, a step")
def clip() -> Iterable[float]:
    import open_clip
    import torch
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg
    model = open_clip.CLIP(embed_dim=16, vision_cfg=CLIPVisionCfg(layers=2, width=64, head_width=32, patch_size=8, image_size=32),
                           text_cfg=CLIPTextCfg(context_length=12, vocab_size=100, width=32, heads=2, layers=2))
    images, text = torch.randn(4, 3, 32, 32), torch.randint(1, 100, (4, 12))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(2):
        loss = open_clip.ClipLoss()(*model(images, text)[:3])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return [*losses, *model.encode_image(images)[0].tolist()]


@job("segmentation_models_pytorch", "U-Net and FPN on ResNet-18, Dice loss, IoU")
def segmentation() -> Iterable[float]:
    import segmentation_models_pytorch as smp
    import torch
    x, mask = torch.randn(2, 3, 64, 64), (torch.rand(2, 1, 64, 64) > 0.5).long()
    found = []
    for kind in (smp.Unet, smp.FPN):
        model = kind("resnet18", encoder_weights=None, classes=1).eval()
        out = model(x)
        loss = smp.losses.DiceLoss("binary")(out, mask)
        loss.backward()
        counts = smp.metrics.get_stats(out.sigmoid(), mask, mode="binary", threshold=0.5)
        found += [loss.item(), smp.metrics.iou_score(*counts, reduction="micro").item(),
                  sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None)]
    return found


@job("ultralytics", "YOLOv8n made from its configuration: loss, gradient, detections")
def yolo() -> Iterable[float]:
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False)
    model.args = get_cfg()
    batch = {"img": torch.rand(2, 3, 64, 64), "batch_idx": torch.tensor([0.0, 1.0]), "cls": torch.tensor([[1.0], [2.0]]),
             "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.3, 0.4, 0.2, 0.5]])}
    loss, parts = model(batch)
    loss.sum().backward()
    with torch.no_grad():
        found = model.eval()(batch["img"])[0]
    parts = parts.values() if isinstance(parts, dict) else parts        # a dict since ultralytics 8.4
    return [*(float(each) for each in parts), sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None), found.double().mean().item()]
