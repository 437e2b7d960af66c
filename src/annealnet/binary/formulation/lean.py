"""The same training problem in about half the bits, exact for every fan-in (our consequence of the published form)."""

from __future__ import annotations

from dataclasses import dataclass

from annealnet.binary.formulation.builder import Builder, popcount_bits
from annealnet.binary.formulation.popcount import PopcountFormulation, sign_neurons
from annealnet.binary.formulation.training_energy import Linear
from annealnet.binary.network.architecture import Architecture

__all__ = ["Lean"]


@dataclass(frozen=True)
class Lean(PopcountFormulation):
    """Products are substituted, losses read off the output bits, popcounts shifted so that the top bit is always the sign.

    p = w or 1 − w for inputs, p = 1 − w − f + 2t with t = wf for signs (t by Rosenberg), loss o or 1 − o. Bits:

        V = W + K [W₊ + Σ_l n_{l+1} ⌈log₂(n_l + 1)⌉]

    **The smallest sufficient Λ.** Given the weights, samples share no bit, so each may be minimised alone. Its penalties are
    Λ times whole numbers; states that keep all constraints cost the sample's true loss, at most n_L (1 + μ); all others
    cost at least Λ. So the minimum over the auxiliaries is the true loss for every weight vector as soon as Λ ≥ n_L (1 + μ),
    and *only* feasible states reach it with Λ above that; below, a sample answered wrongly by the least margin is cheaper
    with its popcount off by one than with its error (for one output: for all Λ < 1). The default is 5 % above.

    Args:
        penalty: Λ; None takes 1.05 n_L (1 + μ).
        margin: μ of the margin reward; below 1/(K n_L) errors still count first.

    Example:
        >>> Lean().num_bits(Architecture((3, 3, 1)), 4), Lean().strength(Architecture((3, 3, 1)))
        (56, 1.05)
    """

    penalty: float | None = None
    margin: float = 0.0
    name: str = "lean"

    def __post_init__(self) -> None:
        if (self.penalty is not None and not self.penalty > 0) or self.margin < 0:
            raise ValueError(f"penalty={self.penalty} must be above 0 and margin={self.margin} at least 0")

    def num_bits(self, shape: Architecture, samples: int) -> int:
        inner = shape.num_weights - shape.num_input_weights
        return shape.num_weights + shape.num_biases + samples * (inner + sign_neurons(shape))

    def strength(self, shape: Architecture) -> float:
        return 1.05 * shape.sizes[-1] * (1 + self.margin) if self.penalty is None else self.penalty

    def shift(self, n: int) -> int:
        return (1 << (popcount_bits(n) - 1)) - (n // 2 + 1)

    def input_product(self, builder: Builder, label: str, w: int, x: int) -> Linear:
        return Linear({w: 1}) if x > 0 else Linear({w: -1}, 1)

    def sign_product(self, builder: Builder, label: str, w: int, f: int) -> Linear:
        t = builder.product(f"t{label}", w, f, self.strength(builder.shape))
        return Linear({w: -1, f: -1, t: 2}, 1)

    def loss(self, builder: Builder, label: str, output: int, target: int) -> None:
        if target > 0:
            builder.offset += 1.0
            builder.linear(output, -1.0)
        else:
            builder.linear(output, 1.0)
