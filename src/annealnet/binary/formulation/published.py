"""The formulation of Sasdelli & Chin 2021 as in the authors' code."""

from __future__ import annotations

from dataclasses import dataclass

from annealnet.binary.formulation.builder import Builder
from annealnet.binary.formulation.popcount import PopcountFormulation, sign_neurons
from annealnet.binary.formulation.training_energy import Linear
from annealnet.binary.network.architecture import Architecture

__all__ = ["Published"]


@dataclass(frozen=True)
class Published(PopcountFormulation):
    """Every product and every loss has a bit of its own, held by a square of strength Λ = 50 (authors' code).

    Bits, for W weights of which W₀ read inputs and W₊ signs, K samples:

        V = W + K [W₀ + 2 W₊ + Σ_l n_{l+1} ⌈log₂(n_l + 1)⌉ + n_L]

    The sign equality has no correction: for a fan-in other than 2^m − 1 or 2^m − 2 its top bit is *not* the sign, and the
    minimum over the auxiliaries is not the number of errors. That is the published form, kept as it is.

    Args:
        penalty: Λ.
        margin: μ of the margin reward (Villumsen & Sugita 2026; our form of it); 0 for none.

    Example:
        >>> shape = Architecture((3, 3, 1))
        >>> Published().num_bits(shape, 4), Published().num_bits(shape, 8), Published().num_bits(Architecture((15, 7, 1)), 4)
        (108, 204, 716)
    """

    penalty: float = 50.0
    margin: float = 0.0
    name: str = "published"

    def __post_init__(self) -> None:
        if not self.penalty > 0 or self.margin < 0:
            raise ValueError(f"penalty={self.penalty} must be above 0 and margin={self.margin} at least 0")

    def num_bits(self, shape: Architecture, samples: int) -> int:
        inner = shape.num_weights - shape.num_input_weights
        per_sample = shape.num_input_weights + shape.num_biases + 2 * inner + sign_neurons(shape) + shape.sizes[-1]
        return shape.num_weights + shape.num_biases + samples * per_sample

    def strength(self, shape: Architecture) -> float:
        return self.penalty

    def shift(self, n: int) -> int:
        return 0

    def input_product(self, builder: Builder, label: str, w: int, x: int) -> Linear:
        same = Linear({w: 1}) if x > 0 else Linear({w: -1}, 1)
        return self._bit(builder, f"p{label}", same)

    def sign_product(self, builder: Builder, label: str, w: int, f: int) -> Linear:
        t = builder.product(f"t{label}", w, f, self.penalty)
        return self._bit(builder, f"p{label}", Linear({w: -1, f: -1, t: 2}, 1))

    def loss(self, builder: Builder, label: str, output: int, target: int) -> None:
        wrong = Linear({output: -1}, 1) if target > 0 else Linear({output: 1})
        for bit in self._bit(builder, f"e{label}", wrong).terms:
            builder.linear(bit, 1.0)

    def _bit(self, builder: Builder, label: str, value: Linear) -> Linear:
        """A bit of its own, tied to ``value`` by a square."""
        bit = builder.digit(label, value)
        builder.square(Linear({**value.terms, bit: -1}, value.constant), self.penalty)
        return Linear({bit: 1})
