"""Flattening: each channel becomes one feature per position."""

from __future__ import annotations

from torch import nn

from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.kinds.protocol import Kind
from annealnet.compression.network.passage import Passage, flattened

__all__ = ["Flatten"]


class Flatten(Kind):
    """``nn.Flatten``."""

    def passes(self, module: nn.Module, passage: Passage) -> Channels:
        """A label is repeated for each position behind its channel."""
        start, end = module.start_dim, module.end_dim
        assert isinstance(start, int)
        assert isinstance(end, int)
        return flattened(passage, start, end)
