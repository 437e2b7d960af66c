"""Pooling, resizing, padding: what works on the dimensions behind the channels."""

from __future__ import annotations

from torch import nn

from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.kinds.protocol import Kind
from annealnet.compression.network.passage import Passage, spatial

__all__ = ["SPATIAL", "Spatial"]

#: Modules of ``torch.nn`` that work on positions, channel by channel.
SPATIAL: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d, nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ReflectionPad1d,
    nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d,
)  # fmt: skip


class Spatial(Kind):
    """Labels stay in dimension 1."""

    def passes(self, module: nn.Module, passage: Passage) -> Channels:
        """As they came, positions behind them."""
        return spatial(passage)
