"""A small REINFORCE allocator on bits (Williams 1992): the reinforcement-learning comparison of Wang et al. 2025."""

from __future__ import annotations

import time

import numpy as np

from annealnet.compression.baselines.genetic import Evolution
from annealnet.energy import Energy

__all__ = ["reinforce"]


def reinforce(
    energy: Energy,
    seed: int,
    batch: int = 64,
    steps: int = 400,
    learning_rate: float = 0.3,
    target: float | None = None,
    tolerance: float = 1e-9,
) -> Evolution:
    """Independent Bernoulli bits with logits θ; θ += η · (normalised advantage) · ∇ log p, and the best state ever drawn.

    Args:
        energy: any energy over n bits.
        seed: of everything.
        batch: states per step.
        steps: at most this many.
        learning_rate: η.
        target: stop at this energy.
        tolerance: relative, for the target.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> reinforce(DenseEnergy(np.zeros((3, 3)), np.array([-1.0, 1.0, -1.0])), seed=0).energy
        -2.0
    """
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    theta = np.zeros(energy.num_variables)
    best, least, reached = np.zeros(energy.num_variables, dtype=np.uint8), np.inf, None
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-theta))
        states = (rng.random((batch, len(theta))) < chance).astype(np.uint8)
        scores = np.asarray(energy.energy(states))
        if scores.min() < least:
            least, best = float(scores.min()), states[int(scores.argmin())]
        if target is not None and least <= target + tolerance * max(1.0, abs(target)):
            reached = time.perf_counter() - began
            break
        advantage = (scores.mean() - scores) / (scores.std() + 1e-12)
        theta = np.clip(theta + learning_rate * (advantage @ (states - chance)) / batch**0.5, -8, 8)
    return Evolution(best[None], np.array([least]), time.perf_counter() - began, reached)
