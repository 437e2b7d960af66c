"""How far parameters move along a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from annealnet.ising.network.spins import Floats

__all__ = ["Adam", "Descent", "Optimiser"]

Moments = tuple[tuple[Floats, ...], ...]


class Optimiser(Protocol):
    """Moves parameters; what it remembers is handed in and out, so that a checkpoint holds everything."""

    def start(self, parameters: tuple[Floats, ...]) -> Moments:
        """What is remembered before the first step."""

    def move(
        self, parameters: tuple[Floats, ...], steps: tuple[Floats, ...], moments: Moments, count: int, share: float
    ) -> tuple[tuple[Floats, ...], Moments]:
        """Parameters after step number ``count`` (from 1), at ``share`` of the learning rate, and what is remembered."""


@dataclass(frozen=True)
class Descent:
    """θ += rate · step; biases b (vectors) at their own rate. Laydevant et al. take 0.01 and 0.001."""

    rate: float = 0.01
    bias_rate: float = 0.001

    def start(self, parameters: tuple[Floats, ...]) -> Moments:
        """Nothing."""
        return ()

    def move(
        self, parameters: tuple[Floats, ...], steps: tuple[Floats, ...], moments: Moments, count: int, share: float
    ) -> tuple[tuple[Floats, ...], Moments]:
        """As in :class:`Optimiser`."""
        rates = [np.float32(share * (self.bias_rate if part.ndim == 1 else self.rate)) for part in parameters]
        moved = zip(parameters, rates, steps, strict=True)
        return tuple(part + rate * step for part, rate, step in moved), ()


@dataclass(frozen=True)
class Adam:
    """Kingma & Ba, arXiv 1412.6980, with their constants."""

    rate: float = 0.003

    def start(self, parameters: tuple[Floats, ...]) -> Moments:
        """Two moments of zero."""
        return (tuple(np.zeros_like(p) for p in parameters), tuple(np.zeros_like(p) for p in parameters))

    def move(
        self, parameters: tuple[Floats, ...], steps: tuple[Floats, ...], moments: Moments, count: int, share: float
    ) -> tuple[tuple[Floats, ...], Moments]:
        """As in :class:`Optimiser`."""
        first = tuple(np.float32(0.9) * m + np.float32(0.1) * s for m, s in zip(moments[0], steps, strict=True))
        second = tuple(np.float32(0.999) * m + np.float32(0.001) * s * s for m, s in zip(moments[1], steps, strict=True))
        rate = np.float32(share * self.rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count))
        moved = zip(parameters, first, second, strict=True)
        return tuple(np.asarray(p + rate * m / (np.sqrt(v) + np.float32(1e-8)), np.float32) for p, m, v in moved), (
            first,
            second,
        )
