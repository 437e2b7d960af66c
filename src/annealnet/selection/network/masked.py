"""A network that was selected, not trained: a seed, masks, and a handful of fitted numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annealnet.selection.network.random import RandomNetwork

__all__ = ["MaskedNetwork"]


@dataclass(frozen=True, eq=False)
class MaskedNetwork:
    """scores = gain · h (V ∘ M)ᵀ + intercept, with h the masked features of the last hidden layer.

    Attributes:
        network: the random network, all weights from its seed.
        gain: of the readout.
        intercept: per class, float32 ``(classes,)``.
        neurons: bool ``(layer width,)`` per hidden layer: which are there; None for all.
        hidden: bool ``(width, fan-in)`` per hidden layer: which weights are there; None for all.
        readout: bool ``(classes, features)``: which output weights are there; None for all.

    Example:
        >>> net = RandomNetwork(0, 2, (4,), 2)
        >>> mask = np.array([True, False, True, False])
        >>> small = MaskedNetwork(net, 0.5, np.zeros(2, np.float32), (mask,), (None,), None)
        >>> small.scores(np.ones((3, 2), np.float32)).shape, len(small.alive()), small.mask_bits
        ((3, 2), 2, 4)
    """

    network: RandomNetwork
    gain: float
    intercept: np.ndarray
    neurons: tuple[np.ndarray | None, ...]
    hidden: tuple[np.ndarray | None, ...]
    readout: np.ndarray | None

    def features(self, x: np.ndarray) -> np.ndarray:
        """Masked features of the last hidden layer, float32 ``(samples, features)``."""
        h = np.asarray(x, dtype=np.float32)
        for layer, (neurons, weights) in enumerate(zip(self.neurons, self.hidden, strict=True)):
            h = self.network.features(h, layer, weights)
            if neurons is not None:
                h = h * neurons
        return np.asarray(h, dtype=np.float32)

    def readout_weights(self) -> np.ndarray:
        """gain · V ∘ M, float32 ``(classes, features)``."""
        matrix = self.network.readout() * np.float32(self.gain)
        if self.neurons[-1] is not None:
            matrix = matrix * self.neurons[-1]
        return np.asarray(matrix if self.readout is None else matrix * self.readout, dtype=np.float32)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """float32 ``(samples, classes)``."""
        return np.asarray(self.features(x) @ self.readout_weights().T + self.intercept, dtype=np.float32)

    def alive(self) -> np.ndarray:
        """Indices of the last layer's features that reach an output."""
        return np.flatnonzero((self.readout_weights() != 0).any(axis=0))

    @property
    def masks(self) -> list[np.ndarray]:
        """All masks, in the order of the file."""
        return [mask for mask in (*self.neurons, *self.hidden, self.readout) if mask is not None]

    @property
    def mask_bits(self) -> int:
        """Bits that were chosen."""
        return sum(mask.size for mask in self.masks)
