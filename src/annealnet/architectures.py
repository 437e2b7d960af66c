"""Networks for the demo, the studies and the benchmarks: plain factories with fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["VGG16_CHANNELS", "cifar_resnet", "digits_cnn", "digits_transformer", "resnet18", "resnet20", "vgg", "vgg16_bn"]

#: VGG-16's convolutions; 0 stands for a 2×2 max-pooling.
VGG16_CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class _PadShortcutBlock(nn.Module):
    """Two convolutions beside an option-A shortcut: every second position, new channels padded with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.new = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new or self.stride != 1:
            before = self.new // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new - before))
        return F.relu(y + x)


class _ProjectionBlock(nn.Module):
    """Two convolutions beside the identity, or beside a 1×1 convolution where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2, self.bn2 = _conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(y + shortcut)  # type: ignore[no-any-return]


def _stage(block: type[nn.Module], inputs: int, outputs: int, stride: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(block(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1) for i in range(depth)))


class _CifarResNet(nn.Module):
    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(3, 16), nn.BatchNorm2d(16)
        self.layer1 = _stage(_PadShortcutBlock, 16, 16, 1, depth)
        self.layer2 = _stage(_PadShortcutBlock, 16, 32, 2, depth)
        self.layer3 = _stage(_PadShortcutBlock, 32, 64, 2, depth)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


class _ImageNetResNet(nn.Module):
    def __init__(self, depths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(_ProjectionBlock, 64, 64, 1, depths[0])
        self.layer2 = _stage(_ProjectionBlock, 64, 128, 2, depths[1])
        self.layer3 = _stage(_ProjectionBlock, 128, 256, 2, depths[2])
        self.layer4 = _stage(_ProjectionBlock, 256, 512, 2, depths[3])
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]


class _DigitsNetwork(nn.Module):
    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(1, width), nn.BatchNorm2d(width)
        self.layer1 = _stage(_ProjectionBlock, width, width, 1, 1)
        self.layer2 = _stage(_ProjectionBlock, width, 2 * width, 2, 1)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


def cifar_resnet(depth: int, num_classes: int = 10) -> nn.Module:
    """A ResNet for CIFAR-10, option-A (padding) shortcuts (He et al. 2016, 4.2); input ``(n, 3, 32, 32)``.

    Args:
        depth: layers, 6 n + 2: 20, 32, 44, 56, 110.
        num_classes: outputs.

    Raises:
        ValueError: when there is no such depth.

    Example:
        >>> sum(p.numel() for p in cifar_resnet(32).parameters())
        464154
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth={depth!r} is no depth of a CIFAR ResNet: give 6 n + 2, such as 20, 32 or 56")
    return _CifarResNet(depth // 6, num_classes)


def resnet20(num_classes: int = 10) -> nn.Module:
    """ResNet-20 for CIFAR-10; see :func:`cifar_resnet`.

    Example:
        >>> sum(p.numel() for p in resnet20().parameters())
        269722
    """
    return cifar_resnet(20, num_classes)


def resnet18(num_classes: int = 1000) -> nn.Module:
    """ResNet-18 (He et al. 2016, table 1) with torchvision's names; input ``(n, 3, 224, 224)``.

    Example:
        >>> sum(p.numel() for p in resnet18().parameters())
        11689512
    """
    return _ImageNetResNet((2, 2, 2, 2), num_classes)


def vgg(channels: Sequence[int], num_classes: int = 10, hidden: Sequence[int] = ()) -> nn.Module:
    """A VGG-like stack: 3×3 convolutions with batch norm, 0 for max-pooling, then linear layers on the mean.

    Args:
        channels: output channels of each convolution, 0 for a 2×2 max-pooling.
        num_classes: outputs.
        hidden: widths of linear layers before the last.

    Example:
        >>> vgg((8, 0, 16))(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in channels:
        if outputs == 0:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [_conv3x3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, num_classes))


def vgg16_bn(num_classes: int = 10) -> nn.Module:
    """VGG-16 with batch norm (Simonyan & Zisserman 2015, column D), one linear layer: ``(n, 3, 32, 32)``."""
    return vgg(VGG16_CHANNELS, num_classes)


def digits_cnn(width: int = 16, num_classes: int = 10) -> nn.Module:
    """A small residual network for 8×8 digits: a stem and two residual blocks; input ``(n, 1, 8, 8)``.

    Example:
        >>> sum(p.numel() for p in digits_cnn().parameters())
        19706
    """
    return _DigitsNetwork(width, num_classes)


class _Attention(nn.Module):
    """Self-attention with four linear layers of its own, so that each is a layer to be compressed."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(features, features), nn.Linear(features, features)
        self.value, self.out = nn.Linear(features, features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5), dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _EncoderLayer(nn.Module):
    def __init__(self, features: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(features), _Attention(features, heads)
        self.norm2, self.up, self.down = nn.LayerNorm(features), nn.Linear(features, hidden), nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))  # type: ignore[no-any-return]


class _RowTransformer(nn.Module):
    """An image's rows are its tokens."""

    def __init__(self, rows: int, columns: int, classes: int, features: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(columns, features)
        self.position = nn.Parameter(0.02 * torch.randn(1, rows, features))
        self.layers = nn.Sequential(*(_EncoderLayer(features, 4, 2 * features) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.embed(x.squeeze(1)) + self.position)
        return self.head(self.norm(x).mean(1))  # type: ignore[no-any-return]


def digits_transformer(features: int = 32, layers: int = 2) -> nn.Module:
    """A small transformer encoder over the rows of 8 × 8 digits, ``(batch, 1, 8, 8)`` to 10 classes.

    Example:
        >>> digits_transformer()(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    return _RowTransformer(8, 8, 10, features, layers)
