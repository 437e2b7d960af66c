"""Convolutions over three axes, for volumes and video: linear layers on blocks instead of patches."""

from __future__ import annotations

from dataclasses import dataclass

from annealnet.compression.network.kinds.conv import Convolution

__all__ = ["Convolution3d"]


@dataclass(frozen=True)
class Convolution3d(Convolution):
    """``nn.Conv3d``: ``(samples, inputs, depth, height, width)``; rows are counted over all three, depth outermost.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> layer = nn.Conv3d(2, 4, (1, 2, 3), groups=2)
        >>> Convolution3d().rows(layer, torch.zeros(1, 2, 3, 4, 5), torch.Generator(), 100).shape
        torch.Size([27, 2, 6])
    """

    word: str = "conv3d"
