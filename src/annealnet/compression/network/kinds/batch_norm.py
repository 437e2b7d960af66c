"""Batch norms: once training is over, a scale and a shift of every channel, which the layer before can take in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.channel_labels import Labelled
from annealnet.compression.network.kinds.narrowing import narrowed
from annealnet.compression.network.kinds.protocol import NormKind
from annealnet.compression.network.passage import NotUnderstood, Passage, kept

__all__ = ["BatchNorm"]


class BatchNorm(NormKind):
    """``nn.BatchNorm1d`` … ``nn.BatchNorm3d``: y = γ / √(σ² + ε) · (x − μ) + β along dimension 1.

    Example:
        >>> norm = nn.BatchNorm1d(2).eval()
        >>> _ = norm.running_mean.fill_(3.0)
        >>> gain, shift = BatchNorm().affine(norm)
        >>> torch.stack([gain, shift]).detach().round(decimals=3).tolist()
        [[1.0, 1.0], [-3.0, -3.0]]
    """

    def passes(self, module: nn.Module, passage: Passage) -> Labelled | None:
        """Labels stay where they are."""
        if passage.value is None:
            return None
        if kept(passage).axis != 1:
            raise NotUnderstood("it normalises another dimension than the channels")
        return passage.value

    def num_channels(self, module: nn.Module) -> int:
        """``num_features``."""
        channels = module.num_features
        assert isinstance(channels, int)
        return channels

    def affine(self, module: nn.Module) -> tuple[Tensor, Tensor] | None:
        """γ / √(σ² + ε) and β − μ γ / √(σ² + ε); None where no running moments are kept."""
        mean, variance, eps = module.running_mean, module.running_var, module.eps
        if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
            return None
        assert isinstance(eps, float)
        gain = torch.rsqrt(variance + eps)
        if isinstance(module.weight, Tensor):
            gain = gain * module.weight
        shift = -mean * gain
        return gain, shift + module.bias if isinstance(module.bias, Tensor) else shift

    def narrow(self, module: nn.Module, kept: np.ndarray) -> None:
        """γ, β, μ and σ² of the channels kept."""
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(module, name)
            if isinstance(tensor, Tensor):
                setattr(module, name, narrowed(tensor, kept))
        module.num_features = int(kept.sum())  # type: ignore[assignment]
