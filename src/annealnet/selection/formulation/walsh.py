"""Any function of bits as a sum of parities, cut at an order: what makes a non-quadratic loss a (quadratised) energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb

import dimod
import numpy as np

__all__ = ["WalshPolynomial", "walsh_coefficients"]

#: Bits up to which all states are looked at.
MAX_ENUMERATED = 20


def walsh_coefficients(values: np.ndarray) -> np.ndarray:
    """c_S with f(x) = Σ_S c_S Π_{i∈S} (−1)^{x_i}, from all 2ⁿ values; bit i of an index is variable i. n 2ⁿ additions.

    Example:
        >>> walsh_coefficients(np.array([0.0, 1.0, 1.0, 0.0])).tolist()  # x₀ XOR x₁
        [0.5, 0.0, 0.0, -0.5]
    """
    found = np.array(values, dtype=np.float64)
    bits = len(found).bit_length() - 1
    if len(found) != 1 << bits:
        raise ValueError(f"values has {len(found)} entries: give all 2ⁿ of them")
    for k in range(bits):
        pairs = found.reshape(-1, 2, 1 << k)
        low, high = pairs[:, 0].copy(), pairs[:, 1].copy()
        pairs[:, 0], pairs[:, 1] = low + high, low - high
    return np.asarray(found / len(found))


@dataclass(frozen=True, eq=False)
class WalshPolynomial:
    """Σ_S c_S Π_{i∈S} (−1)^{x_i} over the sets of at most ``order`` bits.

    Attributes:
        num_variables: n.
        order: largest set.
        sets: the sets S.
        coefficients: c_S, float64.
        explained: share of the function's variance over all (or over held-out sampled) states that it gives back.

    Example:
        >>> xor = WalshPolynomial.from_values(np.array([0.0, 1.0, 1.0, 0.0]), order=1)
        >>> xor.explained
        0.0
    """

    num_variables: int
    order: int
    sets: tuple[tuple[int, ...], ...]
    coefficients: np.ndarray
    explained: float

    @classmethod
    def from_values(cls, values: np.ndarray, order: int) -> WalshPolynomial:
        """Exact coefficients from all 2ⁿ values, cut at an order.

        Raises:
            ValueError: when the order is below 1 or there are more than 20 bits.
        """
        bits = len(values).bit_length() - 1
        _check_order(order, bits)
        if bits > MAX_ENUMERATED:
            raise ValueError(f"{bits} bits have too many states to look at: take WalshPolynomial.fitted")
        found = walsh_coefficients(values)
        codes = np.arange(len(found))
        sizes = np.zeros(len(found), dtype=np.int64)
        for i in range(bits):
            sizes += (codes >> i) & 1
        kept = codes[sizes <= order]
        variance = float((found[1:] ** 2).sum())
        share = float((found[kept[kept > 0]] ** 2).sum()) / variance if variance > 0 else 1.0
        sets = tuple(tuple(i for i in range(bits) if code >> i & 1) for code in kept.tolist())
        return cls(bits, order, sets, found[kept], share)

    @classmethod
    def fitted(
        cls, function: Callable[[np.ndarray], np.ndarray], bits: int, order: int, samples: int, seed: int
    ) -> WalshPolynomial:
        """Least squares on random states; a quarter of them is held out and gives ``explained``.

        Args:
            function: values float64 ``(reads,)`` of states int8 ``(reads, bits)``.
            bits: n.
            order: of the polynomial.
            samples: states looked at.
            seed: of their choice.

        Raises:
            ValueError: when there are fewer states to fit than coefficients.
        """
        _check_order(order, bits)
        terms = sum(comb(bits, k) for k in range(order + 1))
        held = samples // 4
        if samples - held < terms:
            raise ValueError(
                f"samples={samples} leave {samples - held} states for {terms} coefficients: give more, or a lower order"
            )
        states = np.random.default_rng(seed).integers(0, 2, (samples, bits), dtype=np.int8)
        values = np.asarray(function(states), dtype=np.float64)
        sets = tuple(s for k in range(order + 1) for s in combinations(range(bits), k))
        parities = _parities(states, sets)
        fit, test = slice(held, None), slice(0, held)
        coefficients = np.linalg.lstsq(parities[fit], values[fit], rcond=None)[0]
        rest = values[test] - parities[test] @ coefficients
        variance = float(np.var(values[test]))
        return cls(bits, order, sets, coefficients, 1 - float(np.mean(rest**2)) / variance if variance > 0 else 1.0)

    def values(self, states: np.ndarray) -> np.ndarray:
        """float64 ``(reads,)`` of states ``(reads, n)``."""
        return np.asarray(_parities(np.asarray(states), self.sets) @ self.coefficients)

    def to_bqm(self) -> dimod.BinaryQuadraticModel:
        """A quadratic model over bits 0 … n−1, with auxiliary bits where the order is above 2."""
        spins = {frozenset(s): float(c) for s, c in zip(self.sets, self.coefficients.tolist(), strict=True) if c or not s}
        polynomial = dimod.BinaryPolynomial(spins, dimod.SPIN)  # the spin (−1)^x is 1 − 2x: +1 where the bit is 0
        strength = 1.0 + float(np.abs(self.coefficients).sum())
        bqm = dimod.make_quadratic(polynomial, strength, dimod.SPIN)
        for i in range(self.num_variables):
            bqm.add_linear(i, 0.0)
            bqm.flip_variable(i)  # dimod's spin is 2x − 1
        return bqm.change_vartype(dimod.BINARY, inplace=False)


def _check_order(order: int, bits: int) -> None:
    if not 1 <= order <= bits:
        raise ValueError(f"order={order!r} must lie between 1 and {bits}")


def _parities(states: np.ndarray, sets: tuple[tuple[int, ...], ...]) -> np.ndarray:
    spins = 1.0 - 2.0 * states
    found = np.ones((len(states), len(sets)))
    for column, members in enumerate(sets):
        for i in members:
            found[:, column] *= spins[:, i]
    return found
