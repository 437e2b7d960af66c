"""Seeds: drawn where none is given, checked, and derived from one another, in a range that every sampler takes."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from annealnet.whole_numbers import whole_number

__all__ = ["Purpose", "checked_seed", "derived_seed", "stream"]


class Purpose(IntEnum):
    """What the layered samplers draw from a seed; each from a stream of its own, so that no two draws are the same."""

    STARTS = 1
    CONTROL_ERRORS = 3
    CLAMPED_STARTS = 4
    MEASUREMENTS = 5


def stream(seed: int, purpose: Purpose, depth: int = 0) -> np.random.Generator:
    """The random numbers that a seed gives to one purpose; those of a sampler around others of its kind are its own."""
    return np.random.default_rng([seed, int(purpose), *([depth] if depth else [])])


def checked_seed(seed: int | None) -> int:
    """The seed, or one that is drawn.

    Raises:
        ValueError: when it is negative or no whole number.

    Example:
        >>> checked_seed(7)
        7
    """
    return derived_seed() if seed is None else whole_number("seed", seed, 0)


def derived_seed(*parts: int) -> int:
    """A seed that follows from others, or, without any, from nothing; below 2³¹, as dwave-samplers asks.

    Example:
        >>> derived_seed(1, 0) == derived_seed(1, 0) != derived_seed(1, 1)
        True
    """
    return int(np.random.SeedSequence(list(parts) or None).generate_state(1)[0] >> 1)
