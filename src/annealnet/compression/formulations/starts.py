"""Plans to begin from: simple, within the budget, and good enough that an anneal need not look for the feasible region."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush

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
    if limits.macs is not None and space.graph.macs(keep) > limits.macs:
        return None  # widths do not change multiply-adds
    bits = {name: max(widths) for name, widths in space.widths.items()}
    if limits.bytes is None:
        return bits
    steps = [_Steps(name, space, keep, energies) for name in space.widths]
    grains = sum(own.grains[bits[own.name]] for own in steps)
    # only the layer that was lowered has a new cheapest step: the others' stay in the queue
    queue = [step for number, own in enumerate(steps) for step in own.cheapest(number, bits[own.name])]
    heapify(queue)
    while space.bytes_of(grains, keep) > limits.bytes:
        if not queue:
            return None
        _, number, _, lower = heappop(queue)
        own = steps[number]
        grains -= own.grains[bits[own.name]] - own.grains[lower]
        bits[own.name] = lower
        for step in own.cheapest(number, lower):
            heappush(queue, step)
    return bits


class _Steps:
    """The widths of one layer with their grains and energies, counted once for a set of channels."""

    def __init__(self, name: str, space: PlanSpace, keep: np.ndarray, energies: Mapping[tuple[str, int], float]) -> None:
        self.name = name
        widths = space.widths[name]
        self.grains = dict(zip(widths, space.width_grains(name, keep, widths), strict=True))
        self._energies = {b: energies.get((name, b), 0.0) for b in widths}

    def cheapest(self, number: int, now: int) -> list[tuple[float, int, int, int]]:
        """The lower width of least energy per grain saved, as (price, number, place, width); none if nothing is saved."""
        found = []
        for place, lower in enumerate(self.grains):
            saved = self.grains[now] - self.grains[lower]
            if lower < now and saved > 0:
                found.append(((self._energies[lower] - self._energies[now]) / saved, number, place, lower))
        return [min(found)] if found else []


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
