"""Convolutional networks, defined in torchvision, plus YOLOv3."""

from __future__ import annotations

import torch
from torch import nn
from torch_export import Export, export, noise
from torchvision import models


def _classify(module: nn.Module, size: int = 224) -> Export:
    return export(module, {"image": noise(1, 3, size, size)}, ["logits"])


def alexnet() -> Export:
    return _classify(models.alexnet(weights=None))


def vgg16() -> Export:
    return _classify(models.vgg16(weights=None, init_weights=False))


def resnet18() -> Export:
    return _classify(models.resnet18(weights=None))


def resnet50() -> Export:
    """Version 1.5: a stage halves the picture in its first 3x3 convolution."""
    return _classify(models.resnet50(weights=None))


def resnet50_v1() -> Export:
    """The network of the paper: a stage halves the picture in its first 1x1 convolution."""
    module = models.resnet50(weights=None)
    for block in module.modules():
        if isinstance(block, models.resnet.Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return _classify(module)


def mobilenet_v2() -> Export:
    return _classify(models.mobilenet_v2(weights=None))


def googlenet() -> Export:
    """Without the two auxiliary classifiers, which only training uses."""
    return _classify(models.googlenet(weights=None, aux_logits=False, init_weights=False))


def inception_v3() -> Export:
    """Without the auxiliary classifier, which only training uses."""
    return _classify(
        models.inception_v3(weights=None, aux_logits=False, init_weights=False), size=299
    )


class _ConvUnit(nn.Sequential):
    """Convolution, batch normalisation, leaky ReLU of slope 0.1: the unit of Darknet-53."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.leaky = nn.LeakyReLU(0.1)


class _Residual(nn.Module):
    """1x1 to half the channels, 3x3 back, and the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = _ConvUnit(channels, channels // 2, 1)
        self.expand = _ConvUnit(channels // 2, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.expand(self.reduce(x))


def _stage(inputs: int, blocks: int) -> nn.Sequential:
    """A 3x3 convolution of stride 2 that doubles the channels, then residual blocks."""
    outputs = 2 * inputs
    return nn.Sequential(
        _ConvUnit(inputs, outputs, 3, 2), *(_Residual(outputs) for _ in range(blocks))
    )


class _Head(nn.Module):
    """Five alternating 1x1 and 3x3 units (the neck), then a 3x3 unit and the 1x1 detector."""

    def __init__(self, inputs: int, channels: int, detections: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.neck = nn.Sequential(
            _ConvUnit(inputs, channels, 1),
            _ConvUnit(channels, wide, 3),
            _ConvUnit(wide, channels, 1),
            _ConvUnit(channels, wide, 3),
            _ConvUnit(wide, channels, 1),
        )
        self.last = _ConvUnit(channels, wide, 3)
        self.detect = nn.Conv2d(wide, detections, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        neck = self.neck(x)
        return neck, self.detect(self.last(neck))


class _YoloV3(nn.Module):
    """YOLOv3 for the 80 classes of COCO: 3 anchors x (4 box + 1 objectness + 80) = 255 channels."""

    def __init__(self, detections: int = 255) -> None:
        super().__init__()
        self.stem = _ConvUnit(3, 32, 3)
        self.stage1 = _stage(32, 1)
        self.stage2 = _stage(64, 2)
        self.stage3 = _stage(128, 8)
        self.stage4 = _stage(256, 8)
        self.stage5 = _stage(512, 4)
        self.head5 = _Head(1024, 512, detections)
        self.route4 = _ConvUnit(512, 256, 1)
        self.head4 = _Head(512 + 256, 256, detections)
        self.route3 = _ConvUnit(256, 128, 1)
        self.head3 = _Head(256 + 128, 128, detections)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.stage3(self.stage2(self.stage1(self.stem(image))))
        middle = self.stage4(fine)
        neck, coarse_out = self.head5(self.stage5(middle))
        neck, middle_out = self.head4(torch.cat([self.upsample(self.route4(neck)), middle], 1))
        _, fine_out = self.head3(torch.cat([self.upsample(self.route3(neck)), fine], 1))
        return coarse_out, middle_out, fine_out


def yolov3() -> Export:
    """416 x 416, ending in the three detection maps; box decoding is left to the host."""
    outputs = ["detect_13x13", "detect_26x26", "detect_52x52"]
    return export(_YoloV3(), {"image": noise(1, 3, 416, 416)}, outputs)
