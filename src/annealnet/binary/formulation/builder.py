"""A quadratic energy that grows sample by sample, and remembers what every auxiliary bit stands for."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.formulation.training_energy import Definition, Linear, TrainingEnergy
from annealnet.binary.network.architecture import Architecture, Codes
from annealnet.energy import SparseEnergy

__all__ = ["Builder", "popcount_bits"]


def popcount_bits(fan_in: int) -> int:
    """m = ⌈log₂(n + 1)⌉, the bits of a count from 0 to n.

    Example:
        >>> [popcount_bits(n) for n in (1, 3, 4, 7, 8)]
        [1, 2, 3, 3, 4]
    """
    return int(fan_in).bit_length()


class Builder:
    """Bits, penalties and definitions of one training energy.

    Args:
        shape: the network; its weights (then its ±1 biases) become the first bits.
    """

    def __init__(self, shape: Architecture) -> None:
        self.shape = shape
        self.labels: list[str] = []
        self.definitions: list[Definition] = []
        self.offset = 0.0
        self._linear: dict[int, float] = defaultdict(float)
        self._pairs: dict[tuple[int, int], float] = defaultdict(float)
        self.weight: dict[tuple[int, int, int], int] = {}
        self.bias: dict[tuple[int, int], int] = {}
        for m in range(1, shape.depth + 1):
            for j in range(shape.sizes[m]):
                for i in range(shape.fan_in(m)):
                    self.weight[m, j, i] = self._named(f"w[{m},{j},{i}]")
        if shape.bias:
            for m in range(1, shape.depth):
                for j in range(shape.sizes[m]):
                    self.bias[m, j] = self._named(f"b[{m},{j}]")

    def _named(self, label: str) -> int:
        self.labels.append(label)
        return len(self.labels) - 1

    # ---- auxiliary bits ---------------------------------------------------------------------------------

    def digit(self, label: str, value: Linear, place: int = 0) -> int:
        """A bit that stands for bit ``place`` of a whole number."""
        self.definitions.append(Definition(value, place))
        return self._named(label)

    def product(self, label: str, a: int, b: int, strength: float) -> int:
        """t = ab, held by Rosenberg's penalty ab − 2at − 2bt + 3t: 0 where t = ab, at least 1 elsewhere."""
        self.definitions.append(Definition(None, factors=(a, b)))
        t = self._named(label)
        self.pair(a, b, strength)
        self.pair(a, t, -2 * strength)
        self.pair(b, t, -2 * strength)
        self.linear(t, 3 * strength)
        return t

    # ---- terms ------------------------------------------------------------------------------------------

    def linear(self, bit: int, coefficient: float) -> None:
        """Adds coefficient · bit."""
        self._linear[bit] += coefficient

    def pair(self, a: int, b: int, coefficient: float) -> None:
        """Adds coefficient · a · b."""
        if a == b:
            self.linear(a, coefficient)
        else:
            self._pairs[min(a, b), max(a, b)] += coefficient

    def square(self, value: Linear, strength: float) -> None:
        """Adds strength · value²."""
        items = [(bit, c) for bit, c in value.terms.items() if c]
        self.offset += strength * value.constant**2
        for k, (bit, c) in enumerate(items):
            self.linear(bit, strength * (c * c + 2 * c * value.constant))
            for other, d in items[k + 1 :]:
                self.pair(bit, other, 2 * strength * c * d)

    def finish(self, codes: Codes, outputs: NDArray[np.int64], penalty: float, name: str, fields: Any) -> TrainingEnergy:
        """The energy as arrays; ``fields`` are added to the weight bits."""
        linear = np.zeros(len(self.labels))
        for bit, value in self._linear.items():
            linear[bit] = value
        free = len(self.labels) - len(self.definitions)
        if fields is not None:
            given = np.asarray(fields, dtype=np.float64)
            if given.shape != (free,):
                raise ValueError(f"fields has shape {given.shape}: give one number per weight, ({free},)")
            linear[:free] += given
        pairs = np.array(list(self._pairs), dtype=np.int64).reshape(-1, 2)
        energy = SparseEnergy(pairs[:, 0], pairs[:, 1], np.array(list(self._pairs.values())), linear, self.offset)
        return TrainingEnergy(
            energy, self.shape, codes, tuple(self.labels), tuple(self.definitions), outputs, penalty, name
        )  # fmt: skip
