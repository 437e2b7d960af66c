"""How an anneal is driven: the strengths A(s), B(s) of the two Hamiltonians, and the path s(t) through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["AnnealPath", "Controls"]


@dataclass(frozen=True, eq=False)
class Controls:
    """H(s) = −A(s) Σ_i X_i + B(s) C, with A and B tabulated and linear between the points.

    Attributes:
        s: points from 0 to 1, ascending.
        transverse: A at the points, in units of the largest coefficient of C.
        problem: B at the points.

    Raises:
        ValueError: when the points do not run from 0 to 1, or lengths differ.

    Example:
        >>> Controls.linear().at(np.array([0.25]))
        (array([0.75]), array([0.25]))
    """

    s: np.ndarray
    transverse: np.ndarray
    problem: np.ndarray

    def __post_init__(self) -> None:
        columns = [np.asarray(column, dtype=float) for column in (self.s, self.transverse, self.problem)]
        if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1 or len(columns[0]) < 2:
            raise ValueError("s, transverse and problem must be three rows of one length, 2 or more")
        s = columns[0]
        if s[0] != 0 or s[-1] != 1 or (np.diff(s) <= 0).any():
            raise ValueError(f"s runs from {s[0]} to {s[-1]}: give ascending points from 0 to 1")
        if not all(np.isfinite(column).all() for column in columns):
            raise ValueError("transverse and problem must be finite")

    @classmethod
    def linear(cls) -> Controls:
        """A = 1 − s, B = s."""
        return cls(np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))

    @classmethod
    def from_functions(cls, transverse: Callable[[float], float], problem: Callable[[float], float]) -> Controls:
        """Tabulates two functions of s at 1 001 points.

        Example:
            >>> Controls.from_functions(lambda s: (1 - s) ** 2, lambda s: s).at(np.array([0.5]))[0].round(6).tolist()
            [0.25]
        """
        s = np.linspace(0.0, 1.0, 1001)
        return cls(s, np.array([transverse(x) for x in s]), np.array([problem(x) for x in s]))

    @classmethod
    def from_table(cls, path: str | Path) -> Controls:
        """Reads comma-separated columns s, A, B, one line of heads; as published for D-Wave's machines, whose H has A/2
        and B/2 in GHz: divide by 2 (and by the unit of time you want) beforehand.
        """
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        if table.shape[1] < 3:
            raise ValueError(f"{path} has {table.shape[1]} columns: give s, A and B")
        return cls(table[:, 0], table[:, 1], table[:, 2])

    def at(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A and B at any s."""
        return np.interp(s, self.s, self.transverse), np.interp(s, self.s, self.problem)


@dataclass(frozen=True)
class AnnealPath:
    """Points (t, s), straight between them; s = 1 at the end. From s = 0 it is a forward anneal, from 1 a reverse one.

    Attributes:
        points: times in ħ over the largest coefficient, ascending from 0, and s in 0 … 1.

    Raises:
        ValueError: when times do not ascend from 0, or s leaves 0 … 1, begins in between or does not end at 1.

    Example:
        >>> AnnealPath.forward(10.0).at(np.array([2.5])).tolist(), AnnealPath(((0, 1), (5, 0.4), (10, 1))).is_reverse
        ([0.25], True)
    """

    points: Sequence[tuple[float, float]]

    def __post_init__(self) -> None:
        times = np.array([t for t, _ in self.points], dtype=float)
        values = np.array([s for _, s in self.points], dtype=float)
        if len(times) < 2 or times[0] != 0 or not (np.diff(times) > 0).all() or not np.isfinite(times).all():
            raise ValueError(f"anneal_schedule={list(self.points)!r}: times must ascend from 0")
        if ((values < 0) | (values > 1)).any() or values[0] not in (0.0, 1.0) or values[-1] != 1.0:
            raise ValueError(f"anneal_schedule={list(self.points)!r}: s begins at 0 or 1, ends at 1 and stays between")

    @classmethod
    def forward(cls, anneal_time: float) -> AnnealPath:
        """s = t / anneal_time."""
        if not 0 < anneal_time < np.inf:
            raise ValueError(f"anneal_time={anneal_time!r} must be above 0")
        return cls(((0.0, 0.0), (float(anneal_time), 1.0)))

    @property
    def duration(self) -> float:
        """Whole time."""
        return float(self.points[-1][0])

    @property
    def is_reverse(self) -> bool:
        """Whether it begins in a classical state."""
        return self.points[0][1] == 1.0

    def at(self, t: np.ndarray) -> np.ndarray:
        """s at any time."""
        return np.asarray(np.interp(t, [p for p, _ in self.points], [s for _, s in self.points]))
