"""Edge-popup (Ramanujan et al. 2020), the gradient baseline: scores are trained, weights are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.gradients import descend
from annealnet.selection.network.masked import MaskedNetwork
from annealnet.selection.network.random import RandomNetwork

__all__ = ["EdgePopup", "edge_popup"]


def _top(score: Tensor, kept: float) -> Tensor:
    chosen: Tensor = _TopShare.apply(score.abs(), kept)  # type: ignore[no-untyped-call]
    return chosen


class _TopShare(torch.autograd.Function):
    """1 for the largest scores, 0 for the others; gradients go straight through."""

    @staticmethod
    def forward(ctx: object, scores: Tensor, kept: float) -> Tensor:
        count = max(1, round(kept * scores.numel()))
        mask = torch.zeros_like(scores)
        mask.view(-1)[scores.flatten().topk(count).indices] = 1.0
        return mask

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@dataclass(frozen=True)
class EdgePopup:
    """How the scores are trained: SGD with momentum and a cosine, as in the paper's code; no augmentation.

    Attributes:
        kept: share of each layer's weights.
        epochs, batch, rate, momentum, decay: of SGD.
    """

    kept: float = 0.5
    epochs: int = 100
    batch: int = 64
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4


def edge_popup(
    network: RandomNetwork, x: np.ndarray, codes: np.ndarray, seed: int, how: EdgePopup | None = None
) -> MaskedNetwork:
    """Trains scores for every weight of a dense random network and keeps the top share of each layer.

    Args:
        network: without ``image_shape``.
        x: prepared inputs, float32 ``(samples, features)``.
        codes: classes 0 … classes−1.
        seed: of scores and batches.
        how: settings.

    Raises:
        ValueError: for a convolutional network.
    """
    if network.image_shape is not None:
        raise ValueError("network has image_shape: edge_popup here is for dense layers")
    settings = how or EdgePopup()
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(codes)
    layers = [tuple(map(torch.from_numpy, network.hidden_weights(k))) for k in range(network.depth)]
    width = network.layer_width(network.depth - 1)
    gain = float(np.sqrt(2 / (settings.kept * width)))
    readout = torch.from_numpy(network.readout()) * gain
    shapes = [matrix.shape for matrix, _ in layers] + [readout.shape]
    scores = [nn.Parameter((torch.rand(s, generator=generator) * 2 - 1) * (3 / s[1]) ** 0.5) for s in shapes]
    optimiser = torch.optim.SGD(scores, settings.rate, momentum=settings.momentum, weight_decay=settings.decay)

    def forward(h: Tensor) -> Tensor:
        for (matrix, bias), score in zip(layers, scores, strict=False):
            mask = _top(score, settings.kept)
            h = torch.relu(nn.functional.linear(h, matrix * mask, bias))
        return nn.functional.linear(h, readout * _top(scores[-1], settings.kept))

    def loss_of(batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(forward(inputs[batch]), labels[batch])

    descend(optimiser, loss_of, len(x), epochs=settings.epochs, batch_size=settings.batch, seed=seed)
    masks = [_top(score, settings.kept).bool().numpy() for score in scores]
    return MaskedNetwork(
        network, gain, np.zeros(network.classes, dtype=np.float32), (None,) * network.depth, tuple(masks[:-1]),
        masks[-1],
    )  # fmt: skip
