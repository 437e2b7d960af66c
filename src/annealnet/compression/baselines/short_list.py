"""The plans that stand for a method: the first few that differ and are within the budget."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from annealnet.compression.formulations.problem import Problem

__all__ = ["Plan", "short_list"]

#: Bool ``(num_units,)``, True where a unit stays, and a width per layer.
Plan = tuple[np.ndarray, dict[str, int]]


def short_list(problem: Problem, plans: Iterable[Plan], count: int) -> list[Plan]:
    """At most ``count`` distinct plans within the budget, in the order in which they come."""
    found: dict[tuple[bytes, tuple[tuple[str, int], ...]], Plan] = {}
    for keep, bits in plans:
        if problem.space.fits(keep, bits, problem.limits):
            found.setdefault((keep.tobytes(), tuple(bits.items())), (keep, bits))
        if len(found) == count:
            break
    return list(found.values())
