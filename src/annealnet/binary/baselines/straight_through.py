"""Gradient training of the same networks, to stand beside ours (straight-through estimator, Hubara et al. 2016)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from annealnet.binary.network.architecture import Architecture, Codes, default_scale
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.gradients import descend, straight_through_sign

__all__ = ["train_straight_through"]


def train_straight_through(
    shape: Architecture,
    codes: Codes,
    x: NDArray[np.int8],
    y: NDArray[Any],
    seed: int,
    *,
    epochs: int = 200,
    learning_rate: float = 1e-2,
    batch_size: int = 128,
) -> BinaryNetwork:
    """Adam on real weights in [−1, 1] whose signs are the network's; cosine schedule to zero.

    Pre-activations are divided by √fan-in (and by the inputs' root mean square) before the sign, so that gradients pass.

    Args:
        shape: architecture; biases are trained as whole numbers would be rounded at the end.
        codes: int8 ``(classes, n_L)``.
        x, y: inputs ``(N, n_0)`` int8 and class numbers.
        seed: of weights and batches.
        epochs, learning_rate, batch_size: of Adam.

    Example:
        >>> from annealnet.binary import single_output
        >>> x = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], dtype=np.int8)
        >>> train_straight_through(Architecture((2, 1)), single_output(), x, np.array([0, 0, 1, 1]), 0).shape.num_weights
        2
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [(torch.rand(size, generator=generator) * 2 - 1).requires_grad_() for size in shape.weight_shapes()]
    biases = [torch.zeros(n, requires_grad=True) for n in (shape.sizes[1:-1] if shape.bias else ())]
    inputs, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(np.asarray(y, dtype=np.int64))
    rms = float(inputs.square().mean().sqrt()) or 1.0
    spread = torch.from_numpy(codes.astype(np.float32))
    scale = default_scale(shape, codes)
    optimiser = torch.optim.Adam([*weights, *biases], lr=learning_rate)

    def loss_of(batch: Tensor) -> Tensor:
        scores = _forward(shape, weights, biases, inputs[batch], rms)
        return F.cross_entropy(scale * scores @ spread.T, labels[batch])

    def clamp() -> None:
        for w in weights:
            w.clamp_(-1, 1)

    descend(optimiser, loss_of, len(x), epochs=epochs, batch_size=batch_size, seed=seed, after=clamp)
    flat = np.concatenate([np.where(w.detach().numpy() > 0, 1, -1).ravel() for w in weights]).astype(np.int8)
    whole = [np.rint(b.detach().numpy() * rms * shape.fan_in(m) ** 0.5) for m, b in enumerate(biases, start=1)]
    return BinaryNetwork.from_flat(shape, codes, flat, np.concatenate(whole).astype(np.int16) if whole else None)


def _forward(shape: Architecture, weights: list[Tensor], biases: list[Tensor], x: Tensor, rms: float) -> Tensor:
    """Output scores ``(batch, n_L)``; first-layer inputs count in units of their root mean square."""
    layers = [x / rms]
    for m in range(1, shape.depth):
        read = torch.cat([layers[k] for k in shape.sources(m)], dim=1)
        z = read @ straight_through_sign(weights[m - 1]).T / shape.fan_in(m) ** 0.5
        layers.append(straight_through_sign(z + biases[m - 1] if biases else z))
    read = torch.cat([layers[k] for k in shape.sources(shape.depth)], dim=1)
    return read @ straight_through_sign(weights[-1]).T
