"""Networks as people write them themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, Batch, noise, pictures, tokens

__all__ = ["BY_HAND", "DenseNet", "EncoderWithHead", "LstmTagger", "UNet"]

VOCABULARY = 120


class EncoderWithHead(nn.Module):
    """``nn.TransformerEncoder`` over vectors, averaged, with a head."""

    def __init__(self, width: int = 32, classes: int = 5) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.encoder(x).mean(1))
        return answer


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Two levels down, two up: transposed convolutions, each joined to the level it came from."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.first, self.second, self.bottom = (_two_convolutions(*sides) for sides in ((3, 16), (16, 32), (32, 48)))
        self.up_second = nn.ConvTranspose2d(48, 32, 2, stride=2)
        self.up_first = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.join_second, self.join_first = _two_convolutions(64, 32), _two_convolutions(32, 16)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        second = self.second(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        second = self.join_second(torch.cat([second, self.up_second(bottom)], 1))
        first = self.join_first(torch.cat([first, self.up_first(second)], 1))
        answer: Tensor = self.head(first)
        return answer


class _DenseLayer(nn.Module):
    """What is new stands beside all that was there; norms in front, as in the paper."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.narrow = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.grow = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.grow(F.relu(self.norm2(self.narrow(F.relu(self.norm1(x))))))
        return torch.cat([x, new], 1)


class DenseNet(nn.Module):
    """Two dense blocks of three layers with a transition between them."""

    def __init__(self, growth: int = 8, classes: int = 10) -> None:
        super().__init__()
        width = 2 * growth
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.block1 = nn.Sequential(*(_DenseLayer(width + i * growth, growth) for i in range(3)))
        wide = width + 3 * growth
        self.transition = nn.Sequential(
            nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, wide // 2, 1, bias=False), nn.AvgPool2d(2)
        )
        self.block2 = nn.Sequential(*(_DenseLayer(wide // 2 + i * growth, growth) for i in range(3)))
        self.norm = nn.BatchNorm2d(wide // 2 + 3 * growth)
        self.head = nn.Linear(wide // 2 + 3 * growth, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.block2(self.transition(self.block1(self.stem(x))))))
        answer: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return answer


class LstmTagger(nn.Module):
    """Words in, a tag for each out; both directions."""

    def __init__(self, width: int = 32, tags: int = 6) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, tags)

    def forward(self, words: Tensor) -> Tensor:
        answer: Tensor = self.head(self.lstm(self.words(words))[0])
        return answer


def regression_mlp() -> nn.Module:
    """Twelve numbers in, one out."""
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))


def _words(generator: torch.Generator, samples: int) -> Batch:
    return tokens(generator, samples, 16, VOCABULARY)


BY_HAND = (
    Architecture("nn.TransformerEncoder", EncoderWithHead, noise(16, 32)),
    Architecture("U-Net", UNet, pictures(32)),
    Architecture("DenseNet-like", DenseNet, pictures(32)),
    Architecture("LSTM tagger", LstmTagger, _words, removable=0.0),
    Architecture("Regression MLP", regression_mlp, noise(12)),
)
