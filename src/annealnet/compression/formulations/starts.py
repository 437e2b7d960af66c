"""Plans to begin from: simple, within the budget, and good enough that an anneal need not look for the feasible region."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.space import PlanSpace

__all__ = ["feasible_starts", "greedy_widths"]


def greedy_widths(
    space: PlanSpace, keep: np.ndarray, energies: Mapping[tuple[str, int], float], limits: Limits
) -> dict[str, int] | None:
    """Lowers one width at a time, the cheapest energy per byte first, until the budget is met; None if it cannot be.

    Args:
        space: the plans of the network.
        keep: bool ``(num_units,)``.
        energies: cost of each (layer, bits).
        limits: the budget.
    """
    bits = {name: max(widths) for name, widths in space.widths.items()}
    while not space.fits(keep, bits, limits):
        best: tuple[float, str, int] | None = None
        for name, widths in space.widths.items():
            for lower in (b for b in widths if b < bits[name]):
                saved = space.layer_grains(name, keep, bits[name]) - space.layer_grains(name, keep, lower)
                if saved > 0:
                    price = (energies.get((name, lower), 0.0) - energies.get((name, bits[name]), 0.0)) / saved
                    if best is None or price < best[0]:
                        best = (price, name, lower)
        if best is None:
            return None
        bits[best[1]] = best[2]
    return bits


def feasible_starts(
    space: PlanSpace, scores: np.ndarray, energies: Mapping[tuple[str, int], float], limits: Limits
) -> np.ndarray:
    """Plans at several depths of pruning, widths greedy in each: uint8 ``(starts, num_variables)``.

    Args:
        space: the plans of the network.
        scores: ``(num_units,)``, the lowest go first.
        energies: cost of each (layer, bits).
        limits: the budget; it must be reachable.
    """
    found = []
    for share in (0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 0.9):
        keep = space.keep_lowest_out(scores, share)
        bits = greedy_widths(space, keep, energies, limits)
        if bits is not None:
            found.append(space.encode(keep, bits))
        if not space.removable:
            break
    if not found:
        found.append(space.encode(*space.smallest()))
    return np.array(found, dtype=np.uint8)
