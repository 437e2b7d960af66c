"""Whole numbers that a user gives: Python's and numpy's are taken, everything else is refused."""

from __future__ import annotations

import operator
from typing import Any

__all__ = ["SEEDS", "whole_number"]

#: One more than the largest seed that every generator here takes (torch's, numpy's, the compiled kernels').
SEEDS = 2**63


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The number as an int.

    Args:
        name: the argument, as the error calls it.
        value: what was given; True and 2.0 are no whole numbers.
        least: smallest that is taken.
        most: largest that is taken; None for no limit.

    Raises:
        ValueError: when it is none, or out of range.

    Example:
        >>> import numpy as np
        >>> whole_number("seed", np.int64(3), 0)
        3
    """
    mend = f"give a whole number of at least {least}" if most is None else f"give a whole number from {least} to {most}"
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or found < least or (most is not None and found > most):
        raise ValueError(f"{name}={value!r:.80} does not do: {mend}")
    return found
