"""Integers in bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from annealnet.whole_numbers import whole_number

__all__ = ["IntegerEncoding"]


@dataclass(frozen=True)
class IntegerEncoding:
    """value = low + Σ_k coefficients_k · bit_k; every integer from low to high is reached, none beyond.

    Attributes:
        low: value with all bits 0.
        coefficients: of the bits.

    Example:
        >>> encoding = IntegerEncoding.binary(0, 5)
        >>> encoding.coefficients, encoding.decode(np.array([1, 1, 1]))
        ((1, 2, 2), 5)
    """

    low: int
    coefficients: tuple[int, ...]

    @property
    def high(self) -> int:
        """Value with all bits 1."""
        return self.low + sum(self.coefficients)

    @classmethod
    def binary(cls, low: int, high: int) -> IntegerEncoding:
        """Powers of two, the last one lowered so that the range is met exactly: ⌈log₂(high − low + 1)⌉ bits.

        Raises:
            ValueError: when high < low, or one is no whole number.
        """
        low, high = _range(low, high)
        found: list[int] = []
        while sum(found) < high - low:
            found.append(min(2 ** len(found), high - low - sum(found)))
        return cls(low, tuple(found))

    @classmethod
    def unary(cls, low: int, high: int) -> IntegerEncoding:
        """One bit per step: the smallest coefficients, for machines of little precision.

        Raises:
            ValueError: when high < low, or one is no whole number.
        """
        low, high = _range(low, high)
        return cls(low, (1,) * (high - low))

    def decode(self, bits: np.ndarray) -> int:
        """The integer that bits ``(k,)`` stand for."""
        return self.low + int(np.asarray(bits, dtype=np.int64) @ np.array(self.coefficients, dtype=np.int64))

    def encode(self, value: int) -> np.ndarray:
        """Bits ``(k,)`` that stand for a value.

        Raises:
            ValueError: when the value is out of range.
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"value={value!r} is out of range: {self.low} to {self.high} can be encoded")
        rest, bits = value - self.low, np.zeros(len(self.coefficients), dtype=np.uint8)
        for k in np.argsort(self.coefficients, kind="stable")[::-1]:
            if rest >= self.coefficients[k]:
                bits[k], rest = 1, rest - self.coefficients[k]
        return bits


def _range(low: int, high: int) -> tuple[int, int]:
    low, high = whole_number("low", low, None), whole_number("high", high, None)
    if high < low:
        raise ValueError(f"high={high!r} is below low={low!r}: give a range with low ≤ high")
    return low, high
