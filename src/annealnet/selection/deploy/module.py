"""A selected network as an ordinary PyTorch module: dead neurons are gone, masked weights are zeros."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.selection.network.masked import MaskedNetwork
from annealnet.selection.network.random import KERNEL, POOL

__all__ = ["to_module"]


class _Image(nn.Module):
    """Features as an image, where the first layer is a convolution."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape)


class _Pick(nn.Module):
    """Some of the features."""

    def __init__(self, which: np.ndarray) -> None:
        super().__init__()
        self.which: Tensor
        self.register_buffer("which", torch.from_numpy(which))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.which]


def to_module(small: MaskedNetwork) -> nn.Module:
    """Prepared inputs ``(batch, features)`` → scores ``(batch, classes)``; equal to ``small.scores`` up to rounding.

    Example:
        >>> from annealnet.selection.network.random import RandomNetwork
        >>> net = RandomNetwork(0, 2, (4,), 2)
        >>> mask = (np.array([True, False, True, False]),)
        >>> to_module(MaskedNetwork(net, 0.5, np.zeros(2, np.float32), mask, (None,), None))[0]
        Linear(in_features=2, out_features=2, bias=True)
    """
    network = small.network
    layers: list[nn.Module] = [] if network.image_shape is None else [_Image(network.image_shape)]
    below: np.ndarray | None = None  # features of the layer below that are there
    for layer in range(network.depth):
        matrix, biases = network.hidden_weights(layer)
        mask, neurons = small.hidden[layer], small.neurons[layer]
        if mask is not None:
            matrix = matrix * mask
        last = layer == network.depth - 1
        kept = (
            small.alive() if last else np.arange(network.layer_width(layer)) if neurons is None else np.flatnonzero(neurons)
        )
        if layer == 0 and network.image_shape is not None:
            channels = network.image_shape[0]
            conv = nn.Conv2d(channels, network.widths[0], KERNEL)
            _put(conv, matrix.reshape(-1, channels, KERNEL, KERNEL), biases)
            layers += [conv, nn.ReLU(), nn.AvgPool2d(POOL), _Pick(kept)]
        else:
            rows = matrix[kept] if below is None else matrix[kept][:, below]
            linear = nn.Linear(rows.shape[1], len(kept))
            _put(linear, rows, biases[kept])
            layers += [linear, nn.ReLU()]
        below = kept
    assert below is not None
    head = nn.Linear(len(below), network.classes)
    _put(head, small.readout_weights()[:, below], small.intercept)
    return nn.Sequential(*layers, head).eval().requires_grad_(False)


def _put(module: nn.Conv2d | nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    module.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weight, dtype=np.float32)))
    module.bias = nn.Parameter(torch.from_numpy(np.ascontiguousarray(bias, dtype=np.float32)))
