"""Networks for 32 x 32 pixels in the form that is usual for CIFAR, normalisation folded.

VGG has 3 x 3 convolutions with biases, five poolings and one linear layer; ResNet and MobileNet
keep the full resolution in their first layers, where the ImageNet forms shrink it. These are the
networks whose accuracies Balaskas et al. (IEEE ESL 16(4), 2024) tabulate by width.
"""

from __future__ import annotations

from builder import Builder
from torch_export import Export

_VGG = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
# Expansion, channels, blocks, stride of the first block.
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# Channels and stride of each pair of a depthwise and a pointwise convolution.
_MOBILENET_V1 = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class _Net:
    """A builder that knows where it is: a tensor, its channels and its side."""

    def __init__(self, name: str) -> None:
        self.b = Builder(name)
        self.x = self.b.input("image", [1, 3, 32, 32])
        self.channels, self.side = 3, 32
        self.folded = 0

    def conv(
        self,
        name: str,
        channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        depthwise: bool = False,
        relu: bool = True,
        biased: bool = False,
    ) -> None:
        """Convolution and normalisation in one; a normalisation has a scale and a shift a channel.

        Where the convolution had a bias of its own, both are folded into it, else one is left.
        """
        group = self.channels if depthwise else 1
        self.side //= stride
        shape = (channels, self.channels // group, kernel, kernel)
        pad = kernel // 2
        self.x = self.b.conv(name, self.x, shape, self.side, stride=stride, pad=pad, group=group)
        self.channels = channels
        self.folded += channels * (2 if biased else 1)
        if relu:
            self.relu(name)

    def relu(self, name: str) -> None:
        self.x = self.b.node("Relu", f"{name}.relu", [self.x])

    def add(self, name: str, other: str) -> None:
        self.x = self.b.node("Add", f"{name}.add", [self.x, other])

    def pool(self, op: str, name: str, size: int) -> None:
        self.side //= size
        self.x = self.b.node(op, name, [self.x], kernel_shape=[size, size], strides=[size, size])

    def classify(self, classes: int) -> Export:
        inputs = self.channels * self.side * self.side
        flat = self.b.node("Flatten", "flatten", [self.x])
        logits = self.b.linear("classifier", flat, inputs, classes)
        model = self.b.build(logits, "logits", [1, classes])
        return Export(model, self.b.params + self.folded, self.b.macs, self.folded)


def vgg(depth: int, classes: int, name: str) -> Export:
    """VGG of 11, 13, 16 or 19 layers, all but one of them convolutions."""
    net = _Net(name)
    for stage, layers in enumerate(_VGG[depth]):
        for layer in range(layers):
            net.conv(f"stage{stage + 1}.{layer}", min(64 << stage, 512), biased=True)
        net.pool("MaxPool", f"pool{stage + 1}", 2)
    return net.classify(classes)


def resnet(blocks: tuple[int, ...], classes: int, name: str, *, bottleneck: bool = False) -> Export:
    """ResNet with a 3 x 3 stem of stride 1 and no pooling before the last one."""
    net = _Net(name)
    net.conv("conv1", 64)
    for stage, count in enumerate(blocks):
        for index in range(count):
            stride = 2 if stage and not index else 1
            _residual(net, f"layer{stage + 1}.{index}", 64 << stage, stride, bottleneck)
    net.pool("AveragePool", "pool", 4)
    return net.classify(classes)


def _residual(net: _Net, name: str, width: int, stride: int, bottleneck: bool) -> None:
    before, channels, side = net.x, net.channels, net.side
    outputs = width * 4 if bottleneck else width
    if bottleneck:
        net.conv(f"{name}.conv1", width, 1)
        net.conv(f"{name}.conv2", width, stride=stride)
        net.conv(f"{name}.conv3", outputs, 1, relu=False)
    else:
        net.conv(f"{name}.conv1", width, stride=stride)
        net.conv(f"{name}.conv2", width, relu=False)
    _shortcut(net, name, before, channels, side, stride, outputs)
    net.relu(name)


def _shortcut(
    net: _Net, name: str, before: str, channels: int, side: int, stride: int, outputs: int
) -> None:
    """Add what came in, through a 1 x 1 convolution where its shape does not fit."""
    result = net.x
    if stride == 1 and channels == outputs:
        net.add(name, before)
        return
    net.x, net.channels, net.side = before, channels, side
    net.conv(f"{name}.shortcut", outputs, 1, stride=stride, relu=False)
    shortcut, net.x = net.x, result
    net.add(name, shortcut)


def mobilenet_v1(classes: int, name: str) -> Export:
    """MobileNet of full width with a stem of stride 1."""
    net = _Net(name)
    net.conv("conv1", 32)
    for index, (channels, stride) in enumerate(_MOBILENET_V1):
        net.conv(f"block{index}.depthwise", net.channels, stride=stride, depthwise=True)
        net.conv(f"block{index}.pointwise", channels, 1)
    net.pool("AveragePool", "pool", 2)
    return net.classify(classes)


def mobilenet_v2(classes: int, name: str) -> Export:
    """MobileNetV2 of full width; every block of stride 1 has a shortcut."""
    net = _Net(name)
    net.conv("conv1", 32)
    for stage, (expansion, channels, blocks, first) in enumerate(_MOBILENET_V2):
        for index in range(blocks):
            stride = 1 if index else first
            label = f"block{stage}.{index}"
            before, inputs, side = net.x, net.channels, net.side
            net.conv(f"{label}.expand", inputs * expansion, 1)
            net.conv(f"{label}.depthwise", net.channels, stride=stride, depthwise=True)
            net.conv(f"{label}.project", channels, 1, relu=False)
            if stride == 1:
                _shortcut(net, label, before, inputs, side, 1, channels)
    net.conv("conv2", 1280, 1)
    net.pool("AveragePool", "pool", 4)
    return net.classify(classes)
