"""Transposed convolutions: convolutions of the input with zeros put between its entries, by the kernel turned round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from annealnet.compression.network.kinds.conv import Convolution, patches
from annealnet.compression.network.kinds.protocol import LayerLabels
from annealnet.compression.network.passage import NotUnderstood, Passage

__all__ = ["TurnedConvolution"]


@dataclass(frozen=True)
class TurnedConvolution(Convolution):
    """``nn.ConvTranspose1d`` … ``3d`` without groups: the weight lies as ``(inputs, outputs, *kernel)``.

    Example:
        >>> layer = nn.ConvTranspose2d(3, 4, 3, stride=2, bias=False)
        >>> x = torch.randn(1, 3, 5, 5)
        >>> kind = TurnedConvolution()
        >>> rows = kind.rows(layer, x, torch.Generator(), 1000)
        >>> y = rows[:, 0] @ kind.weight(layer).reshape(4, -1).T
        >>> bool(torch.allclose(y.T.reshape(1, 4, 11, 11), layer(x), atol=1e-5))
        True
    """

    word: str = "transposed conv"
    transposed_in_onnx: bool = True
    spreads: bool = True

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        """As a convolution's, where there are no groups."""
        if not self.understands(module):
            raise NotUnderstood("a transposed convolution in groups is not understood")
        return super().labels(module, passage)

    def understands(self, module: nn.Module) -> bool:
        """Without groups: with them, no view of the weight has the outputs in front."""
        return self.groups(module) == 1

    def weight(self, module: nn.Module) -> Tensor:
        """``(outputs, inputs, *kernel)``: the parameter with its first dimensions exchanged, in the same memory."""
        return super().weight(module).transpose(0, 1)

    def laid(self, weight: Tensor) -> Tensor:
        """Exchanged back."""
        return weight.transpose(0, 1).contiguous()

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """Patches of the input with stride − 1 zeros between entries, the kernel's places in the weight's order."""
        count = x.ndim - 2
        kernel, stride, dilation, padding, extra = (
            list(getattr(module, name)) for name in ("kernel_size", "stride", "dilation", "padding", "output_padding")
        )
        spread = x.new_zeros(*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], stride, strict=True)))
        everywhere: Any = (..., *(slice(None, None, s) for s in stride))
        spread[everywhere] = x
        margins = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
        pad = [width for m, e in reversed(list(zip(margins, extra, strict=True))) for width in (m, m + e)]
        spread = torch.nn.functional.pad(spread, pad)
        rows = patches(spread, kernel, [1] * count, dilation, generator, max_rows)
        turned = rows.reshape(len(rows), x.shape[1], -1).flip(-1)
        return turned.reshape(len(rows), 1, -1)
