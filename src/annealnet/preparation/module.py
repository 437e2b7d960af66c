"""Preparations in PyTorch: the same float32 operations as in NumPy, so that exported networks read raw features, too."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.preparation.codings import Coding, RealCoding, ScaledCoding, SignCoding, ThermometerCoding

__all__ = ["prepared_module"]


class _Scaled(nn.Module):
    """clip((x − centre) · gain, ±limit), rounded for whole-number inputs."""

    def __init__(self, coding: ScaledCoding | RealCoding) -> None:
        super().__init__()
        self.limit = float(np.float32(coding.limit)) if isinstance(coding, ScaledCoding) else 127.0
        self.whole = coding.whole
        self.register_buffer("centre", torch.from_numpy(coding.centre.astype(np.float32)))
        self.register_buffer("gain", torch.from_numpy(coding.gain.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.clamp((x - self.get_buffer("centre")) * self.get_buffer("gain"), -self.limit, self.limit)
        return torch.round(z) if self.whole else z


class _Above(nn.Module):
    """+1 where a feature lies above a threshold, else −1."""

    def __init__(self, thresholds: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("thresholds", torch.from_numpy(thresholds))

    def forward(self, x: Tensor) -> Tensor:
        return ((x[:, :, None] > self.get_buffer("thresholds")).to(x.dtype) * 2 - 1).flatten(1)


def prepared_module(coding: Coding, network: nn.Module) -> nn.Module:
    """Raw features ``(samples, features)`` → what ``network`` answers to their inputs; in evaluation mode.

    Example:
        >>> coding = SignCoding(np.array([0.5], np.float32))
        >>> prepared_module(coding, nn.Identity())(torch.tensor([[0.0], [1.0]])).tolist()
        [[-1.0], [1.0]]
    """
    if isinstance(coding, ScaledCoding | RealCoding):
        first: nn.Module = _Scaled(coding)
    elif isinstance(coding, ThermometerCoding):
        first = _Above(coding.thresholds)
    elif isinstance(coding, SignCoding):
        first = _Above(coding.middles[:, None])
    else:
        raise TypeError(f"coding={coding!r} has no PyTorch form: give one of annealnet.preparation")
    return nn.Sequential(first, network).eval()
