"""Activations, dropout, identities: every number for itself, so that labels stay where they are."""

from __future__ import annotations

from torch import nn

from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.kinds.protocol import Kind
from annealnet.compression.network.passage import NotUnderstood, Passage, kept

__all__ = ["ELEMENTWISE", "Elementwise", "SharedSlope"]

#: Modules of ``torch.nn`` that work element by element.
ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid,
    nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Threshold, nn.Tanhshrink, nn.Softshrink,
    nn.Hardshrink, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
)  # fmt: skip


class Elementwise(Kind):
    """Labels stay where they are."""

    def passes(self, module: nn.Module, passage: Passage) -> Channels:
        """As they came."""
        return kept(passage)


class SharedSlope(Kind):
    """``nn.PReLU``: element by element as long as one slope serves all channels."""

    def passes(self, module: nn.Module, passage: Passage) -> Channels:
        """As they came, where there is one slope."""
        if module.num_parameters != 1:
            raise NotUnderstood("PReLU is not understood with a slope for each channel")
        return kept(passage)
