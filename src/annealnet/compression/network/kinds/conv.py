"""Convolutions over any number of axes: linear layers on patches, in groups where they have them.

For least squares it is enough to see some of the patches: positions are drawn per sample, the same ones for the
dense and the narrowed layer, so that rows match.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from annealnet.compression.network.kinds.grouped import tie_groups
from annealnet.compression.network.kinds.protocol import LayerKind, LayerLabels
from annealnet.compression.network.passage import Passage

__all__ = ["Convolution", "patches"]


@dataclass(frozen=True)
class Convolution(LayerKind):
    """``nn.Conv1d``, ``nn.Conv2d``: ``(samples, inputs, *positions)`` → ``(samples, outputs, *positions)``.

    Strides, dilations, groups and every mode of padding are those of the module.

    Example:
        >>> layer = nn.Conv2d(3, 4, 3, padding=1)
        >>> Convolution().rows(layer, torch.zeros(2, 3, 5, 5), torch.Generator(), 100).shape
        torch.Size([50, 1, 27])
    """

    word: str = "conv"

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        """Reads dimension 1, and gives it anew; groups stay equal."""
        groups, weight = self.groups(module), self.weight(module)
        reads = passage.read(1, weight.shape[1] * groups)
        outputs = passage.classes.fresh(len(weight))
        tie_groups(passage.classes, reads, outputs, groups)
        return LayerLabels(1, outputs, reads)

    def groups(self, module: nn.Module) -> int:
        """The module's own number."""
        groups = module.groups
        assert isinstance(groups, int)
        return groups

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """Patches (im2col), channels outermost and the kernel's places innermost, at positions drawn per sample."""
        kernel, stride, dilation = (_numbers(module, name) for name in ("kernel_size", "stride", "dilation"))
        rows = patches(x if self.inside else _padded(module, x), kernel, stride, dilation, generator, max_rows)
        return rows.reshape(len(rows), self.groups(module), -1)

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        """Numbers of channels; a depthwise convolution has as many groups as inputs."""
        if self.groups(module) > 1 and self.groups(module) == module.in_channels:
            module.groups = inputs  # type: ignore[assignment]
        module.out_channels, module.in_channels = outputs, inputs  # type: ignore[assignment]

    def expects(self, module: nn.Module) -> str:
        """Channels in dimension 1."""
        return f"{module.in_channels} channels in dimension 1"


def patches(
    x: Tensor, kernel: list[int], stride: list[int], dilation: list[int], generator: torch.Generator, max_rows: int
) -> Tensor:
    """What a kernel lies on, at positions drawn per sample: ``(rows, channels · places)``.

    Args:
        x: padded input ``(samples, channels, *extents)``.
        kernel: extent per axis.
        stride: steps per axis.
        dilation: distance between the kernel's places, per axis.
        generator: draws the positions.
        max_rows: an upper bound on the rows (at least one per sample is kept).

    Example:
        >>> patches(torch.zeros(2, 3, 5, 5), [3, 3], [1, 1], [1, 1], torch.Generator(), 100).shape
        torch.Size([18, 27])
    """
    samples, channels, *extents = x.shape
    out = [(extent - d * (k - 1) - 1) // s + 1 for extent, k, s, d in zip(extents, kernel, stride, dilation, strict=True)]
    at = _positions(samples, math.prod(out), max_rows, generator)
    corners = torch.unravel_index(at, out)
    by_place = x.movedim(1, -1)
    sample = torch.arange(samples).unsqueeze(1)
    rows = torch.empty(*at.shape, channels, math.prod(kernel), dtype=x.dtype)
    for number, offset in enumerate(itertools.product(*map(range, kernel))):
        place = [c * s + o * d for c, s, o, d in zip(corners, stride, offset, dilation, strict=True)]
        rows[..., number] = by_place[(sample, *place)]
    return rows.reshape(at.numel(), -1)


def _numbers(module: nn.Module, name: str) -> list[int]:
    found: Any = getattr(module, name)
    return list(found)


def _padded(module: nn.Module, x: Tensor) -> Tensor:
    mode = "constant" if module.padding_mode == "zeros" else str(module.padding_mode)
    return F.pad(x, _numbers(module, "_reversed_padding_repeated_twice"), mode=mode)


def _positions(samples: int, positions: int, max_rows: int, generator: torch.Generator) -> Tensor:
    """Which positions of each sample are read: int64 ``(samples, count)``; all of them where that is not too many."""
    count = min(positions, max(1, max_rows // samples))
    if count == positions:
        return torch.arange(positions).expand(samples, -1)
    return torch.randint(positions, (samples, count), generator=generator)
