"""How raw features become a network's inputs.

Tables come in all units. Every column is centred and divided by its *spread*,

    z = (x − mean) / min(half the range, 5 σ),     within ±2,

(our choice). σ bounds the range where a few outliers make it. Columns that do not change give 0. Features that share one
unit, such as pixels, have one spread for all: a pixel that is never fully lit stays a small input. That they do is read off
the columns that change: at least half reach from the least number of all to the largest, and every other one reaches one of
these two, as pixels and counts start at 0. A column that reaches neither has a unit of its own: then every column has its
own spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from annealnet.parts import Parts
from annealnet.whole_numbers import whole_number

__all__ = [
    "CODINGS", "Coding", "RealCoding", "ScaledCoding", "Scaling", "SignCoding", "ThermometerCoding", "coding_of",
]  # fmt: skip

Floats = NDArray[np.float32]
Kept = NDArray[np.float16] | NDArray[np.float32]
Scaling = Literal["auto", "columns", "one"]
#: Standard deviations beyond which the range of a column is its outliers', and spreads beyond which values are cut.
_CAP, _LIMIT = 5.0, 2.0
#: Pre-activations of binary networks are int16 in training: sums of inputs must stay inside, with room for the bias.
_LARGEST_SUM = 24_000
#: A column whose range is below this share of its numbers' size has nothing but rounding in it.
_ROUNDING = 1e-6
#: Nor does a column change whose range is below this: 1 over it, times what the inputs' size asks, has to be a float32.
_SMALLEST_RANGE = 1e-30


class Coding(Protocol):
    """Features ``(N, d)`` float32 → inputs ``(N, width)``.

    Attributes:
        name: in files.
        features: d.
        width: inputs of the network.
        whole: inputs are whole numbers beyond ±1.
    """

    name: ClassVar[str]

    @property
    def features(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def whole(self) -> bool: ...

    def encode(self, x: Floats) -> NDArray[Any]:
        """Inputs of a network."""

    def to_parts(self) -> Parts:
        """For a file."""

    @classmethod
    def from_parts(cls, parts: Parts) -> Coding:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: parts that do not fit.
        """


# ---- spreads -------------------------------------------------------------------------------------------------


def _centred(x: Floats, scaling: Scaling) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means ``(d,)``, and 1 over the spreads: ``(d,)``, or ``(1,)`` where all columns share one. 0 for what never changes.

    Raises:
        ValueError: an unknown scaling.
    """
    values = x.astype(np.float64)
    mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    changing = high - low > np.maximum(_ROUNDING * np.maximum(np.abs(low), np.abs(high)), _SMALLEST_RANGE)
    if scaling == "auto":
        scaling = "one" if _share_a_unit(low[changing], high[changing]) else "columns"
    if scaling == "columns":
        spread = np.where(changing, np.minimum((high - low) / 2, _CAP * values.std(axis=0)), 0.0)
    elif scaling == "one":
        spread = np.array([np.abs(values - mean).max(axis=0, where=changing, initial=0.0).max() / _LIMIT])
    else:
        raise ValueError(f"scaling={scaling!r} is not known: there are auto, columns and one")
    return np.where(spread > 0, mean, 0.0), np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)


def _share_a_unit(low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    """Whether columns from ``low`` to ``high``, all of them changing, look like pixels or counts (see the module)."""
    if len(low) < 2:
        return False
    starts, ends = low == low.min(), high == high.max()
    return bool((starts | ends).all() and 2 * (starts & ends).sum() >= len(low))


def _kept(centre: NDArray[np.float64], unit: NDArray[np.float64], factor: float) -> tuple[Kept, Kept]:
    """Centre and factor · unit, each in half precision where that moves nothing by more than a hundredth of a spread."""
    with np.errstate(over="ignore"):
        half, gain = centre.astype(np.float16), factor * unit  # infinite where it does not fit: not near
    near = (np.abs(half.astype(np.float64) - centre) * unit <= 0.01).all()
    sizes = gain[gain != 0]
    short = ((sizes > 1e-4) & (sizes < 6e4)).all()
    return half if near else centre.astype(np.float32), gain.astype(np.float16) if short else gain.astype(np.float32)


def _scaled(x: Floats, centre: Kept, gain: Kept, limit: float) -> Floats:
    """clip((x − centre) · gain, ±limit), in float32 throughout, as the torch module computes it."""
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near float32's end leave it, and are cut
        z = (x - centre.astype(np.float32)) * gain.astype(np.float32)
    return np.nan_to_num(np.clip(z, -np.float32(limit), np.float32(limit), out=z), copy=False)


def _scale_parts(centre: Kept, gain: Kept) -> Parts:
    """For a file: as few arrays as may be, since every one has its line in the header."""
    if gain.shape == (1,):
        return Parts({"c": centre}, {"gain": float(gain[0])})
    if centre.dtype == gain.dtype:
        return Parts({"c": np.stack([centre, gain])})
    return Parts({"c": centre, "g": gain})


def _scales(parts: Parts) -> tuple[Kept, Kept]:
    """Centre and gain of :func:`_scale_parts`."""
    kinds = ("float16", "float32")
    if "gain" in parts.facts:
        gain = parts.number("gain")
        if abs(gain) > float(np.finfo(np.float32).max):
            raise parts.wrong(f"gain={gain!r} is no float32")
        return parts.array("c", kinds, (None,)), np.array([gain], dtype=np.float32)
    if "g" not in parts.arrays:
        both = parts.array("c", kinds, (2, None))
        return both[0], both[1]
    centre = parts.array("c", kinds, (None,))
    return centre, parts.array("g", kinds, (len(centre),))


# ---- codings -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ScaledCoding:
    """z = clip((x − centre) · gain, ±limit): real inputs.

    Attributes:
        centre: of the training data, ``(d,)``.
        gain: per column ``(d,)``, or one for all ``(1,)``.
        limit: of the inputs.
    """

    name: ClassVar[str] = "scaled"
    centre: Kept
    gain: Kept
    limit: float

    @classmethod
    def fit(cls, x: Floats, rms: float, scaling: Scaling = "auto") -> ScaledCoding:
        """Centre and gain of training data ``(N, d)``.

        Args:
            x: the data.
            rms: root mean square that all inputs together are to have.
            scaling: ``columns`` (each by its spread), ``one`` (they share a unit: one gain for all), or ``auto``: ``one``
                where at least half of the changing features reach from the least number of all to the largest, and all
                others reach one of these (pixels, counts), else ``columns``.

        Raises:
            ValueError: an unknown scaling.

        Example:
            >>> coding = ScaledCoding.fit(np.array([[0, 5000], [2, 9000]], np.float32), rms=1.0)
            >>> coding.encode(np.array([[0, 5000], [1, 8000]], np.float32)).round(2).tolist()
            [[-1.0, -1.0], [0.0, 0.5]]
        """
        mean, unit = _centred(x, scaling)
        z = np.clip((x - mean) * unit, -_LIMIT, _LIMIT)
        size = float(np.sqrt(np.mean(z**2)))
        factor = rms / size if size > 0 else 1.0
        # three digits are enough for a bound that cuts outliers, and short in a file
        return cls(*_kept(mean, unit, factor), float(f"{_LIMIT * factor:.3g}"))

    @property
    def features(self) -> int:
        return len(self.centre)

    @property
    def width(self) -> int:
        return len(self.centre)

    @property
    def whole(self) -> bool:
        return False

    def encode(self, x: Floats) -> Floats:
        return _scaled(x, self.centre, self.gain, self.limit)

    def to_parts(self) -> Parts:
        return _scale_parts(self.centre, self.gain) | Parts(facts={"limit": self.limit})

    @classmethod
    def from_parts(cls, parts: Parts) -> ScaledCoding:
        limit = parts.number("limit")
        if not 0 < limit < 1e30:
            raise parts.wrong(f"limit={limit!r} is no bound of inputs")
        return cls(*_scales(parts), limit)


@dataclass(frozen=True, eq=False)
class RealCoding:
    """q = round((x − centre) · gain), within ±127: real inputs at 8 bits.

    Attributes:
        centre: of the training data, ``(d,)``.
        gain: per column ``(d,)``, or one for all ``(1,)``; so large that neither ±127 nor int16 sums are exceeded on the
            training data.
    """

    name: ClassVar[str] = "real"
    centre: Kept
    gain: Kept

    @classmethod
    def fit(cls, x: Floats, scaling: Scaling = "auto") -> RealCoding:
        """Centre and gain of training data ``(N, d)``; ``scaling`` as in :meth:`ScaledCoding.fit`.

        Example:
            >>> RealCoding.fit(np.array([[0.0], [2.0]], np.float32)).encode(np.array([[2.0], [9.0]], np.float32)).tolist()
            [[127], [127]]
        """
        mean, unit = _centred(x, scaling)
        z = np.abs(np.clip((x - mean) * unit, -_LIMIT, _LIMIT))
        limits = (127 / max(z.max(), 1e-30), _LARGEST_SUM / max(z.sum(axis=1).max(), 1e-30))
        return cls(*_kept(mean, unit, float(min(limits)) if z.max() > 0 else 1.0))

    @property
    def features(self) -> int:
        return len(self.centre)

    @property
    def width(self) -> int:
        return len(self.centre)

    @property
    def whole(self) -> bool:
        return True

    def encode(self, x: Floats) -> NDArray[np.int8]:
        return np.asarray(np.rint(_scaled(x, self.centre, self.gain, 127)), dtype=np.int8)

    def to_parts(self) -> Parts:
        return _scale_parts(self.centre, self.gain)

    @classmethod
    def from_parts(cls, parts: Parts) -> RealCoding:
        return cls(*_scales(parts))


@dataclass(frozen=True, eq=False)
class ThermometerCoding:
    """Feature i above its k-th threshold gives +1, else −1: d · levels inputs, whatever the feature's unit.

    Attributes:
        thresholds: ``(d, levels)``, quantiles of the distinct training values.
    """

    name: ClassVar[str] = "thermometer"
    thresholds: Floats

    @classmethod
    def fit(cls, x: Floats, levels: int = 8) -> ThermometerCoding:
        """Thresholds between neighbouring quantiles of each feature's distinct values.

        Raises:
            ValueError: fewer than one level.

        Example:
            >>> ThermometerCoding.fit(np.array([[0.0], [1.0], [2.0]], np.float32), levels=2).thresholds.tolist()
            [[0.5, 1.5]]
        """
        levels = whole_number("levels", levels, 1)
        shares = (np.arange(levels) + 0.5) / levels
        rows = []
        for column in x.T:
            values = np.unique(column)
            middles = values[:-1] / 2 + values[1:] / 2 if len(values) > 1 else values
            rows.append(middles[np.minimum((shares * len(middles)).astype(np.int64), len(middles) - 1)])
        return cls(np.array(rows, dtype=np.float32))

    @property
    def features(self) -> int:
        return len(self.thresholds)

    @property
    def width(self) -> int:
        return int(self.thresholds.size)

    @property
    def whole(self) -> bool:
        return False

    def encode(self, x: Floats) -> NDArray[np.int8]:
        return np.where(x[:, :, None] > self.thresholds, 1, -1).astype(np.int8).reshape(len(x), -1)

    def to_parts(self) -> Parts:
        return Parts({"t": self.thresholds})

    @classmethod
    def from_parts(cls, parts: Parts) -> ThermometerCoding:
        return cls(parts.array("t", "float32", (None, None)))


@dataclass(frozen=True, eq=False)
class SignCoding:
    """Features that are binary already: the larger of their two values gives +1.

    Attributes:
        middles: between the two values, ``(d,)``.
    """

    name: ClassVar[str] = "binary"
    middles: Floats

    @classmethod
    def fit(cls, x: Floats) -> SignCoding:
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
        return cls(np.where(low == high, 0, low / 2 + high / 2).astype(np.float32))

    @property
    def features(self) -> int:
        return len(self.middles)

    @property
    def width(self) -> int:
        return len(self.middles)

    @property
    def whole(self) -> bool:
        return False

    def encode(self, x: Floats) -> NDArray[np.int8]:
        return np.where(x > self.middles, 1, -1).astype(np.int8)

    def to_parts(self) -> Parts:
        return Parts({"t": self.middles})

    @classmethod
    def from_parts(cls, parts: Parts) -> SignCoding:
        return cls(parts.array("t", "float32", (None,)))


#: Codings by their name in files.
CODINGS: dict[str, type[Coding]] = {kind.name: kind for kind in (ScaledCoding, RealCoding, ThermometerCoding, SignCoding)}


def coding_of(name: str, x: Floats, levels: int, scaling: Scaling = "auto") -> RealCoding | ThermometerCoding | SignCoding:
    """The coding in whole numbers called ``name``, fitted to training data.

    Raises:
        ValueError: an unknown name, fewer than one level, an unknown scaling.
    """
    if name == "real":
        return RealCoding.fit(x, scaling)
    if name == "thermometer":
        return ThermometerCoding.fit(x, levels)
    if name == "binary":
        return SignCoding.fit(x)
    raise ValueError(f"inputs={name!r} is not known: there are real, thermometer, binary")
