"""Exact optimum of energies that fall into blocks, each a square of a non-negative sum plus a table of counts.

    E = Σ_g [ (Σ_{i ∈ P_g} a_i)² + Σ_n T_n(|P_g|, r_n) ]

Whatever T_n are, an optimum exists in which P_g holds the |P_g| smallest a_i: exchanging a member for a smaller outsider
leaves |P_g| and so every T_n unchanged and lowers the square, since a ≥ 0. Given |P_g| = k the levels r_n no longer see each
other, so each takes the minimum of its row. That leaves Σ_g (F_g + 1) cases: milliseconds for any network, and a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["PrefixBlock", "solve_blocks"]


@dataclass(frozen=True)
class PrefixBlock:
    """One block.

    Attributes:
        values: float64 ``(F,)`` the a_i ≥ 0.
        tables: per level n, float64 ``(F + 1, R_n)``: T_n(k, r).

    Raises:
        ValueError: when a value is negative or a table has the wrong number of rows.
    """

    values: np.ndarray
    tables: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if (np.asarray(self.values) < 0).any():
            raise ValueError("values must not be negative: the prefix argument needs a ≥ 0")
        for table in self.tables:
            if len(table) != len(self.values) + 1:
                raise ValueError(f"a table has {len(table)} rows: give one per count, 0 to {len(self.values)}")


def solve_blocks(blocks: Sequence[PrefixBlock]) -> tuple[list[tuple[np.ndarray, list[int]]], float]:
    """The proven optimum.

    Returns:
        Per block the members of P (bool ``(F,)``) and each level's r, and the least energy.

    Example:
        >>> block = PrefixBlock(np.array([3.0, 1.0]), (np.array([[0.0], [-4.0], [-5.0]]),))
        >>> solve_blocks([block])
        ([(array([False,  True]), [0])], -3.0)
    """
    found = []
    total = 0.0
    for block in blocks:
        order = np.argsort(block.values, kind="stable")
        cost = np.concatenate([[0.0], np.cumsum(np.asarray(block.values, dtype=float)[order])]) ** 2
        for table in block.tables:
            cost = cost + table.min(axis=1)
        k = int(np.argmin(cost))
        members = np.zeros(len(order), dtype=bool)
        members[order[:k]] = True
        found.append((members, [int(np.argmin(table[k])) for table in block.tables]))
        total += float(cost[k])
    return found, total
