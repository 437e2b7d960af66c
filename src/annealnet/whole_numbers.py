"""Whole numbers that a user gives: Python's and numpy's are taken, everything else is refused."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["SEEDS", "whole_attributes", "whole_number", "whole_value"]

#: One more than the largest seed that every generator here takes (torch's, numpy's, the compiled kernels').
SEEDS = 2**63


def whole_number(name: str, value: Any, least: int | None, most: int | None = None) -> int:
    """The number as an int.

    Args:
        name: the argument, as the error calls it.
        value: what was given; True and 2.0 are no whole numbers.
        least: smallest that is taken; None for no limit.
        most: largest that is taken; None for no limit.

    Raises:
        ValueError: when it is none, or out of range.

    Example:
        >>> whole_number("seed", np.int64(3), 0)
        3
    """
    limits = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
    try:
        found = None if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        found = None
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        raise ValueError(f"{name}={value!r:.80} does not do: give a whole number{limits}")
    return found


def whole_value(name: str, value: Any, least: int | None) -> int:
    """The same for what may come from an array of any dtype, such as a coefficient: 2.0 is 2 there, True is no number.

    Example:
        >>> whole_value("limit", np.float32(2.0), 0)
        2
    """
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_) and np.isfinite(float(value))
    return whole_number(name, int(value) if number and value == int(value) else value, least)


def whole_attributes(owner: object, least: int, *names: str) -> None:
    """The same for attributes of a frozen dataclass, which become ints; None stays, where it is the default.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Effort:
        ...     sweeps: int
        ...     most: int | None = None
        ...     def __post_init__(self) -> None:
        ...         whole_attributes(self, 1, "sweeps", "most")
        >>> Effort(0)
        Traceback (most recent call last):
        ValueError: sweeps=0 does not do: give a whole number of at least 1
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None or getattr(type(owner), name, owner) is not None:
            object.__setattr__(owner, name, whole_number(name, value, least))
