"""A network on its grids: weights are grid values, biases what a file holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from annealnet.compression.network.kinds import bias_of, layer_at, weight_of
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import stored_bias

__all__ = ["put_on_grid"]


@torch.no_grad()
def put_on_grid(model: nn.Module, quantized: Mapping[str, Quantized]) -> nn.Module:
    """Sets the layers' weights to their grid values and their biases to what a file holds, in place; returns the model.

    In a network of a narrower dtype both are rounded to it; a file holds the grid values themselves, and these biases.
    """
    for name, grid in quantized.items():
        module = layer_at(model, name)
        weight_of(module).copy_(dequantize(grid))
        bias = bias_of(module)
        if bias is not None:
            bias.copy_(stored_bias(bias))
    return model
