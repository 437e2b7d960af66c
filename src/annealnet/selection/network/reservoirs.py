"""Echo-state reservoirs: random recurrent networks with neurons in a line, read out by neighbours (Whitley et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annealnet.selection.network.draws import normals, uniforms

__all__ = ["EchoStateReservoir"]


@dataclass(frozen=True)
class EchoStateReservoir:
    """h_t = (1 − leak) h_{t−1} + leak · tanh(W h_{t−1} + U u_t + b), weights from the seed; the last state is the feature.

    Attributes:
        seed: of all weights.
        inputs: numbers per time step.
        size: neurons N.
        radius: spectral radius of W; below 1 the reservoir forgets.
        leak: 0 … 1.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> EchoStateReservoir(0, 2, 16).features(np.zeros((3, 5, 2), dtype=np.float32)).shape
        (3, 16)
    """

    seed: int
    inputs: int
    size: int
    radius: float = 0.9
    leak: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.inputs < 1:
            raise ValueError(f"size={self.size!r} and inputs={self.inputs!r} must be 1 or more")
        if not self.radius > 0 or not 0 < self.leak <= 1:
            raise ValueError(f"radius={self.radius!r} must be above 0 and leak={self.leak!r} in (0, 1]")

    def features(self, sequences: np.ndarray) -> np.ndarray:
        """Final states float32 ``(samples, size)`` of sequences ``(samples, steps, inputs)``."""
        recurrent = normals(self.seed, 0, self.size**2).reshape(self.size, self.size)
        recurrent = recurrent * np.float32(self.radius / np.abs(np.linalg.eigvals(recurrent)).max())
        entry = normals(self.seed, 1, self.size * self.inputs).reshape(self.size, self.inputs)
        bias = (uniforms(self.seed, 2, self.size) - 0.5).astype(np.float32)
        state = np.zeros((len(sequences), self.size), dtype=np.float32)
        for step in np.moveaxis(np.asarray(sequences, dtype=np.float32), 1, 0):
            fresh = np.tanh(state @ recurrent.T + step @ entry.T + bias)
            state = (1 - np.float32(self.leak)) * state + np.float32(self.leak) * fresh
        return state
