"""How real features become the small whole numbers that a binary network reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["CODINGS", "Coding", "RealCoding", "SignCoding", "ThermometerCoding", "coding_of"]

Floats = NDArray[np.float32]
#: Pre-activations are int16 in training: sums of inputs must stay inside, with room for the bias.
_LARGEST_SUM = 24_000


class Coding(Protocol):
    """Features ``(N, d)`` float32 → inputs ``(N, n_0)`` int8.

    Attributes:
        width: n_0.
        whole: inputs are whole numbers beyond ±1.
    """

    @property
    def width(self) -> int: ...

    @property
    def whole(self) -> bool: ...

    def encode(self, x: Floats) -> NDArray[np.int8]: ...


@dataclass(frozen=True, eq=False)
class RealCoding:
    """q = round(gain · (x − mean)), within ±127: real inputs at 8 bits.

    One gain for all features keeps their proportions; features on different scales are to be standardised first.

    Attributes:
        mean: of the training data, ``(d,)``.
        gain: so large that neither ±127 nor int16 sums are exceeded on the training data.
    """

    mean: Floats
    gain: float
    whole: bool = True

    @classmethod
    def fit(cls, x: Floats, levels: int = 8) -> RealCoding:
        """Mean and gain of training data ``(N, d)``.

        Example:
            >>> RealCoding.fit(np.array([[0.0], [2.0]], np.float32)).encode(np.array([[2.0], [9.0]], np.float32)).tolist()
            [[127], [127]]
        """
        mean = x.mean(axis=0, dtype=np.float64)
        apart = np.abs(x - mean)
        limits = (127 / max(apart.max(), 1e-30), _LARGEST_SUM / max(apart.sum(axis=1).max(), 1e-30))
        return cls(mean.astype(np.float32), float(min(limits)) if apart.max() > 0 else 1.0)

    @property
    def width(self) -> int:
        return len(self.mean)

    def encode(self, x: Floats) -> NDArray[np.int8]:
        scaled = np.rint((x - self.mean) * np.float32(self.gain))
        return np.asarray(np.clip(scaled, -127, 127), dtype=np.int8)


@dataclass(frozen=True, eq=False)
class ThermometerCoding:
    """Feature i above its k-th threshold gives +1, else −1: d · levels inputs.

    Attributes:
        thresholds: ``(d, levels)``, quantiles of the distinct training values.
    """

    thresholds: Floats
    whole: bool = False

    @classmethod
    def fit(cls, x: Floats, levels: int = 8) -> ThermometerCoding:
        """Thresholds between neighbouring quantiles of each feature's distinct values.

        Example:
            >>> ThermometerCoding.fit(np.array([[0.0], [1.0], [2.0]], np.float32), levels=2).thresholds.tolist()
            [[0.5, 1.5]]
        """
        shares = (np.arange(levels) + 0.5) / levels
        rows = []
        for column in x.T:
            values = np.unique(column)
            middles = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
            rows.append(middles[np.minimum((shares * len(middles)).astype(np.int64), len(middles) - 1)])
        return cls(np.array(rows, dtype=np.float32))

    @property
    def width(self) -> int:
        return int(self.thresholds.size)

    def encode(self, x: Floats) -> NDArray[np.int8]:
        return np.where(x[:, :, None] > self.thresholds, 1, -1).astype(np.int8).reshape(len(x), -1)


@dataclass(frozen=True, eq=False)
class SignCoding:
    """Features that are binary already: the larger of their two values gives +1.

    Attributes:
        middles: between the two values, ``(d,)``.
    """

    middles: Floats
    whole: bool = False

    @classmethod
    def fit(cls, x: Floats, levels: int = 8) -> SignCoding:
        """From training data with at most two values per feature.

        Raises:
            ValueError: when a feature has more, with what to do.

        Example:
            >>> SignCoding.fit(np.array([[0.0, -1.0], [1.0, 1.0]], np.float32)).middles.tolist()
            [0.5, 0.0]
        """
        low, high = x.min(axis=0), x.max(axis=0)
        between = ((x != low) & (x != high)).any(axis=0)
        if between.any():
            feature = int(np.flatnonzero(between)[0])
            values = len(np.unique(x[:, feature]))
            raise ValueError(
                f"X: feature {feature} has {values} different values, inputs='binary' takes two: give inputs='thermometer'"
            )
        # a feature that never changes is put on one side by its sign
        return cls(np.where(low == high, 0, (low + high) / 2).astype(np.float32))

    @property
    def width(self) -> int:
        return len(self.middles)

    def encode(self, x: Floats) -> NDArray[np.int8]:
        return np.where(x > self.middles, 1, -1).astype(np.int8)


#: Codings by the name the classifier takes.
CODINGS: dict[str, Any] = {"real": RealCoding, "thermometer": ThermometerCoding, "binary": SignCoding}


def coding_of(name: str, x: Floats, levels: int) -> Coding:
    """The coding called ``name``, fitted to training data.

    Raises:
        ValueError: an unknown name, or fewer than one level.
    """
    if name not in CODINGS:
        raise ValueError(f"inputs={name!r} is not known: there are {', '.join(CODINGS)}")
    if levels < 1:
        raise ValueError(f"levels={levels!r} must be at least 1")
    found: Coding = CODINGS[name].fit(x, levels)
    return found
