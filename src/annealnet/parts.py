"""A value taken apart for a file: arrays and facts. Whoever reads them asks for what may be there, and gets nothing else.

Facts come from a file that anyone may have written: every one is asked for by its kind and bounds, and an array by its dtype
and shape, so that a hostile file ends in one ValueError and never in an allocation of its choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Parts", "bits_of", "packed_bits"]


@dataclass(frozen=True)
class Parts:
    """Arrays and facts by short names.

    Attributes:
        arrays: what is large.
        facts: JSON values.
        source: where they come from, for errors.

    Example:
        >>> parts = Parts({"b": np.zeros(3, np.int16)}, {"seed": 7})
        >>> parts.whole("seed", 0, 100), parts.array("b", "int16", (3,)).shape
        (7, (3,))
        >>> parts.whole("seed", 0, 5)
        Traceback (most recent call last):
        ValueError: these parts: seed=7 is no whole number from 0 to 5: the file is damaged or of another kind
    """

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    source: str = "these parts"

    def __or__(self, other: Parts) -> Parts:
        """Both together."""
        return Parts({**self.arrays, **other.arrays}, {**self.facts, **other.facts}, self.source)

    def wrong(self, what: str) -> ValueError:
        """The error that names the source."""
        return ValueError(f"{self.source}: {what}: the file is damaged or of another kind")

    def fact(self, name: str) -> Any:
        """Whatever stands there.

        Raises:
            ValueError: when nothing does.
        """
        if name not in self.facts:
            raise self.wrong(f"{name} is missing")
        return self.facts[name]

    def whole(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """A whole number within bounds; ``default`` where it is missing."""
        value = self.facts.get(name, default) if default is not None else self.fact(name)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(f"{name}={value!r:.80} is no whole number from {least} to {most}")
        return value

    def wholes(self, name: str, lengths: tuple[int, int], least: int, most: int) -> tuple[int, ...]:
        """A list of whole numbers; ``lengths`` bounds how many there are."""
        value = self.fact(name)
        if type(value) is not list or not lengths[0] <= len(value) <= lengths[1]:
            raise self.wrong(f"{name} is no list of {lengths[0]} to {lengths[1]} numbers")
        if not all(type(one) is int and least <= one <= most for one in value):
            raise self.wrong(f"{name} holds something else than whole numbers from {least} to {most}")
        return tuple(value)

    def number(self, name: str) -> float:
        """A finite number."""
        value = self.fact(name)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self.wrong(f"{name}={value!r:.80} is no finite number")
        return float(value)

    def choice(self, name: str, known: tuple[str, ...], default: str | None = None) -> str:
        """One of the words that are known; ``default`` where it is missing."""
        value = self.facts.get(name, default) if default is not None else self.fact(name)
        if value not in known or not isinstance(value, str):
            raise self.wrong(f"{name}={value!r:.80} is none of {', '.join(known)}")
        return value

    def array(self, name: str, dtypes: str | tuple[str, ...], shape: tuple[int | None, ...]) -> NDArray[Any]:
        """An array of one of the dtypes and of a shape; None leaves a length open. Floats are finite."""
        allowed = (dtypes,) if isinstance(dtypes, str) else dtypes
        if name not in self.arrays:
            if 0 in shape:
                return np.zeros(tuple(n or 0 for n in shape), dtype=allowed[0])
            raise self.wrong(f"array {name!r} is missing")
        found = self.arrays[name]
        fits = len(found.shape) == len(shape) and all(w in (None, n) for w, n in zip(shape, found.shape, strict=True))
        if str(found.dtype) not in allowed or not fits:
            raise self.wrong(f"array {name!r} is {found.dtype} {found.shape}, not {' or '.join(allowed)} {shape}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise self.wrong(f"array {name!r} holds NaN or infinite numbers")
        return found


def packed_bits(bits: NDArray[Any]) -> NDArray[np.uint8]:
    """Eight bits in a byte, the first one lowest.

    Example:
        >>> packed_bits(np.array([1, 0, 0, 1], dtype=bool)).tolist()
        [9]
    """
    return np.packbits(np.asarray(bits, dtype=bool).ravel(), bitorder="little")


def bits_of(parts: Parts, name: str, count: int) -> NDArray[np.bool_]:
    """The ``count`` bits of an array of :func:`packed_bits`; its length is looked at before anything is unpacked."""
    packed = parts.array(name, "uint8", (-(-count // 8),))
    return np.unpackbits(packed, count=count, bitorder="little").astype(bool)
