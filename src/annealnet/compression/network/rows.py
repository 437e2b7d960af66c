"""The inputs a layer multiplies, as matrix rows, and the Gram matrices on them.

Each kind of layer says which rows it reads (``kinds/``); here they are drawn, multiplied and summed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import layer_kind
from annealnet.compression.network.structure import Layer

__all__ = ["ROWS_PER_WEIGHT", "gram_of", "layer_rows", "rows_times_weight", "sampled_rows", "weight_matrix"]

#: Rows whose products are summed in float32.
_ROWS_AT_ONCE = 4_096
#: Rows per weight of an output channel (a Gram matrix wants many more rows than columns), and their bounds.
ROWS_PER_WEIGHT, _FEWEST_ROWS, _MOST_ROWS = 16, 4_096, 16_384


def sampled_rows(layer: Layer) -> int:
    """Rows sampled for a layer: 16 per weight of a *dense* output channel, so that dense and pruned layers' rows match."""
    return min(_MOST_ROWS, max(_FEWEST_ROWS, ROWS_PER_WEIGHT * math.prod(layer.weight_shape[1:])))


def layer_rows(layer: nn.Module, x: Tensor, seed: int, max_rows: int, inputs: Inputs | None = None) -> Tensor:
    """The rows a layer multiplies with its weights, at sampled positions.

    Args:
        layer: a layer of a kind that goes on a grid.
        x: the layer's input, ``(samples, channels, ...)`` or ``(samples, ..., features)``.
        seed: draws the positions; the same seed and shape give the same positions.
        max_rows: an upper bound on the number of rows (at least one per sample is kept); see :func:`sampled_rows`.
        inputs: the network's, whose masks say which positions are padding and no rows; None has none.

    Returns:
        float32 ``(rows, groups, fan_in)``; ``groups`` is 1 for linear layers and plain convolutions.

    Raises:
        ValueError: for other kinds of module.

    Example:
        >>> layer_rows(nn.Conv2d(3, 4, 3, padding=1), torch.zeros(2, 3, 5, 5), seed=0, max_rows=100).shape
        torch.Size([50, 1, 27])
    """
    kind = layer_kind(layer)
    if inputs is not None and kind.by_position:
        x = inputs.present(x)
    return kind.rows(layer, x, torch.Generator().manual_seed(seed), max_rows).float()


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
    groups = layer_kind(layer).groups(layer)
    return weight.reshape(groups, weight.shape[0] // groups, -1).transpose(1, 2)


def rows_times_weight(rows: Tensor, matrix: Tensor) -> Tensor:
    """The layer's outputs on those rows, without bias: ``(rows, groups, fan_in) → (rows, outputs)``.

    Example:
        >>> rows_times_weight(torch.ones(5, 2, 3), torch.ones(2, 3, 4)).shape
        torch.Size([5, 8])
    """
    return torch.einsum("rgi,gio->rgo", rows, matrix).reshape(len(rows), -1)
