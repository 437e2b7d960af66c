"""Seeds: drawn where none is given, checked, and derived from one another, in a range that every sampler takes.

What follows from a seed follows from the triple (seed, purpose, numbers): the words of the seed, filled up to the four of
NumPy's entropy pool, then the purpose, then the numbers (a ``spawn_key``). So two purposes of one seed, two draws of one
purpose and the draws of neighbouring seeds share nothing; with ``seed + number`` seed 0's second draw is seed 1's first.
"""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np
from numpy.typing import NDArray

from annealnet.whole_numbers import whole_number

__all__ = ["Purpose", "checked_seed", "derived_seed", "kernel_words", "stream"]

#: Words of a seed: NumPy's pool. Longer seeds would run into purposes.
_WORDS = 4


@unique
class Purpose(IntEnum):
    """What is drawn from a seed, all over the library; each from a stream of its own, so that no two draws are the same."""

    STARTS = 1
    CONTROL_ERRORS = 3
    CLAMPED_STARTS = 4
    MEASUREMENTS = 5
    PIECES = 6  # of a request for many reads
    ANNEALS = 7  # one after another on a machine that takes one problem at a time
    PRICES = 8  # calls under other prices
    TRIALS = 9  # of the samplers that compete
    WINNER = 10
    POLISH = 11
    BATCHES = 12  # the calls for a training's batches
    ROUNDS = 13  # calls for the same samples
    ORDER = 14  # of the samples
    FREED = 15  # which weights may move
    CODES = 16  # of the classes
    ROWS = 17  # of masks
    CHAINS = 18  # of neighbouring neurons
    HEADS = 19  # readouts that judge a layer
    EXPANSION = 20  # states on which a Walsh expansion is fitted
    REFINEMENT = 21
    STEPS = 22  # of a training
    WINDOWS = 23  # of a deep network
    FREE_PHASE = 24
    CLAMPED_PHASE = 25
    NUDGED_PHASE = 26
    ROUNDING = 27  # of a layer
    HEAT_BATH = 28
    TABLE_ROWS = 29  # that a study draws
    ATTEMPTS = 30  # of a benchmark
    POSITIONS = 31  # at which a batch's rows are drawn


def checked_seed(seed: int | None) -> int:
    """The seed, or one that is drawn.

    Raises:
        ValueError: when it is negative or no whole number.

    Example:
        >>> checked_seed(7)
        7
    """
    return _below_two_to_31(np.random.SeedSequence()) if seed is None else whole_number("seed", seed, 0)


def derived_seed(seed: int, purpose: Purpose, *numbers: int) -> int:
    """A seed that follows from another; below 2³¹, as dwave-samplers asks. The same on every machine.

    Args:
        seed: at least 0, below 2¹²⁸.
        purpose: what is drawn.
        numbers: which of the draws, such as a round's number; each at least 0, below 2³².

    Raises:
        ValueError: a seed or a number out of range.

    Example:
        >>> derived_seed(0, Purpose.ROUNDS, 1) == derived_seed(0, Purpose.ROUNDS, 1) != derived_seed(1, Purpose.ROUNDS, 0)
        True
    """
    return _below_two_to_31(_sequence(seed, purpose, numbers))


def stream(seed: int, purpose: Purpose, *numbers: int) -> np.random.Generator:
    """The random numbers that a seed gives to one draw of a purpose; arguments and errors as in :func:`derived_seed`.

    Example:
        >>> stream(0, Purpose.ORDER, 1).random() != stream(1, Purpose.ORDER, 0).random()
        True
    """
    return np.random.default_rng(_sequence(seed, purpose, numbers))


def kernel_words(seed: int, count: int = 1) -> NDArray[np.uint64]:
    """Seeds of compiled kernels' streams, uint64 ``(count,)``, from which each read's follows (:mod:`.kernels.random`).

    They are the seed's own, without a purpose; kernels draw with another generator than NumPy's.

    Example:
        >>> kernel_words(3, 2)[0] == kernel_words(3)[0]
        np.True_
    """
    return np.asarray(np.random.SeedSequence(checked_seed(seed)).generate_state(count, np.uint64), dtype=np.uint64)


def _sequence(seed: int, purpose: Purpose, numbers: tuple[int, ...]) -> np.random.SeedSequence:
    for number in numbers:
        if not 0 <= number < 2**32:
            raise ValueError(f"number={number} must lie between 0 and {2**32 - 1}: it is one word of what is derived")
    chosen = checked_seed(seed)
    if chosen >= 2 ** (32 * _WORDS):
        raise ValueError(f"seed={seed!r} must be below 2¹²⁸: longer ones are not told from purposes")
    return np.random.SeedSequence(chosen, spawn_key=(int(purpose), *(int(number) for number in numbers)), pool_size=_WORDS)


def _below_two_to_31(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1)[0] >> 1)
