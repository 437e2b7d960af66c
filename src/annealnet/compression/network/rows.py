"""The inputs a layer multiplies, as matrix rows: im2col at sampled positions, and the Gram matrices on them.

A convolution is a linear layer on patches. For least squares it is enough to see some of the patches:
positions are drawn per sample, the same ones for the dense and the compressed network, so that rows match.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from annealnet.compression.network.structure import Layer

__all__ = ["gram_of", "layer_rows", "rows_times_weight", "sampled_rows", "weight_matrix"]

#: Rows whose products are summed in float32.
_ROWS_AT_ONCE = 4_096
#: Rows per weight of an output channel (a Gram matrix wants many more rows than columns), and their bounds.
_ROWS_PER_INPUT, _FEWEST_ROWS, _MOST_ROWS = 16, 4_096, 16_384


def sampled_rows(layer: Layer) -> int:
    """Rows sampled for a layer: 16 per weight of a *dense* output channel, so that dense and pruned layers' rows match."""
    return min(_MOST_ROWS, max(_FEWEST_ROWS, _ROWS_PER_INPUT * math.prod(layer.weight_shape[1:])))


def layer_rows(layer: nn.Module, x: Tensor, seed: int, max_rows: int) -> Tensor:
    """The rows a layer multiplies with its weights, at sampled positions.

    Args:
        layer: ``nn.Linear``, ``nn.Conv1d`` or ``nn.Conv2d``.
        x: the layer's input, ``(samples, channels, ...)`` or ``(samples, ..., features)``.
        seed: draws the positions; the same seed and shape give the same positions.
        max_rows: an upper bound on the number of rows (at least one per sample is kept); see :func:`sampled_rows`.

    Returns:
        float32 ``(rows, groups, fan_in)``; ``groups`` is 1 for linear layers and plain convolutions.

    Raises:
        ValueError: for other kinds of layer.

    Example:
        >>> layer_rows(nn.Conv2d(3, 4, 3, padding=1), torch.zeros(2, 3, 5, 5), seed=0, max_rows=100).shape
        torch.Size([50, 1, 27])
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(layer, nn.Linear):
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > max_rows:
            rows = rows[torch.randperm(len(rows), generator=generator)[:max_rows]]
        return rows.unsqueeze(1)
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        raise ValueError(f"layer={type(layer).__name__} has no patches: Linear, Conv1d and Conv2d have")
    return _patches(layer, x, generator, max_rows)


def _patches(layer: nn.Conv1d | nn.Conv2d, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
    padding = list(layer._reversed_padding_repeated_twice)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, padding, mode=mode)
    kernel, stride, dilation = list(layer.kernel_size), list(layer.stride), list(layer.dilation)
    if isinstance(layer, nn.Conv1d):  # a convolution over a height of one
        x, kernel, stride, dilation = x.unsqueeze(2), [1, *kernel], [1, *stride], [1, *dilation]
    samples, channels, height, width = x.shape
    out_h = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    per_sample = min(out_h * out_w, max(1, max_rows // samples))
    if per_sample == out_h * out_w:
        at = torch.arange(out_h * out_w).expand(samples, -1)
    else:
        at = torch.randint(out_h * out_w, (samples, per_sample), generator=generator)
    top, left = (at // out_w) * stride[0], (at % out_w) * stride[1]
    by_place = x.permute(0, 2, 3, 1)
    sample = torch.arange(samples).unsqueeze(1)
    rows = torch.empty(samples, per_sample, channels, kernel[0] * kernel[1], dtype=x.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows[..., i * kernel[1] + j] = by_place[sample, top + i * dilation[0], left + j * dilation[1]]
    return rows.reshape(samples * per_sample, layer.groups, -1)


def gram_of(rows: Tensor) -> Tensor:
    """XᵀX per group, a few thousand rows at a time in float32, summed in float64.

    Args:
        rows: ``(rows, groups, fan_in)``.

    Returns:
        float64 ``(groups, fan_in, fan_in)``.

    Example:
        >>> gram_of(torch.ones(5, 1, 2)).tolist()
        [[[5.0, 5.0], [5.0, 5.0]]]
    """
    total = torch.zeros(rows.shape[1], rows.shape[2], rows.shape[2], dtype=torch.float64)
    for part in rows.split(_ROWS_AT_ONCE):
        x = part.transpose(0, 1)
        total += x.transpose(1, 2) @ x
    return total


def weight_matrix(layer: nn.Module, weight: Tensor) -> Tensor:
    """The weights as ``(groups, fan_in, outputs per group)``: what :func:`layer_rows` is multiplied with.

    Example:
        >>> layer = nn.Conv2d(4, 6, 3, groups=2)
        >>> weight_matrix(layer, layer.weight).shape
        torch.Size([2, 18, 3])
    """
    groups = getattr(layer, "groups", 1)
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)


def rows_times_weight(rows: Tensor, matrix: Tensor) -> Tensor:
    """The layer's outputs on those rows, without bias: ``(rows, groups, fan_in) → (rows, outputs)``.

    Example:
        >>> rows_times_weight(torch.ones(5, 2, 3), torch.ones(2, 3, 4)).shape
        torch.Size([5, 8])
    """
    return torch.einsum("rgi,gio->rgo", rows, matrix).reshape(len(rows), -1)
