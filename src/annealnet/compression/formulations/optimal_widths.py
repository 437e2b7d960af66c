"""The widths of least summed cost for given channels: a knapsack of one choice per layer, solved by HiGHS.

    min Σ_{l,b} c_{l,b} w_{l,b}    Σ_b w_{l,b} = 1 for every layer l,    Σ_{l,b} grains_{l,b} w_{l,b} ≤ room

Greedy steps overshoot where one layer has a large part of the bytes, as a language model's table does: its last step saves
more than was asked for. As in HAWQ-V3 (2011.10680), whatever the costs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.space import PlanSpace

__all__ = ["optimal_widths"]

#: HiGHS keeps a row to 1e-6 of its right-hand side: asked once more with so much less room where it took more.
_SLACK = 2e-6
#: Seconds; the best widths found by then are taken.
_SECONDS = 20.0


def optimal_widths(
    space: PlanSpace, keep: np.ndarray, costs: Mapping[tuple[str, int], float], limits: Limits
) -> dict[str, int] | None:
    """The widths of least summed cost within the byte budget, to a ten-thousandth; None if none fit.

    Multiply-adds do not depend on widths: a budget on them must be met by ``keep`` already.

    Args:
        space: the plans of the network.
        keep: bool ``(num_units,)``.
        costs: of each (layer, bits), finite.
        limits: the budget.
    """
    if limits.macs is not None and space.graph.macs(keep) > limits.macs:
        return None
    grains = {
        (name, b): own
        for name, widths in space.widths.items()
        for b, own in zip(widths, space.width_grains(name, keep, widths), strict=True)
    }
    room = None
    if limits.bytes is not None:
        room = space.grains_per_byte * (limits.bytes - space.bytes_beside(keep))
    for share in (1.0, 1.0 - _SLACK):
        bits = _solved(space, costs, grains, None if room is None else share * room)
        if bits is None or space.fits(keep, bits, limits):
            return bits
    return None


def _solved(
    space: PlanSpace, costs: Mapping[tuple[str, int], float], grains: Mapping[tuple[str, int], int], room: float | None
) -> dict[str, int] | None:
    if room is not None and room <= 0:
        return None
    choices, place = space.choices, {name: number for number, name in enumerate(space.widths)}
    cost = np.array([costs[choice] for choice in choices])
    rows = [place[name] for name, _ in choices]
    one_width = sparse.csr_matrix((np.ones(len(choices)), (rows, np.arange(len(choices)))))
    constraints = [LinearConstraint(one_width, 1, 1)]
    if room is not None:
        constraints.append(LinearConstraint(np.array([grains[choice] for choice in choices])[None] / room, -np.inf, 1))
    answer = milp(
        cost / max(float(np.abs(cost).max()), 1e-300),
        constraints=constraints,
        integrality=np.ones(len(choices)),
        bounds=Bounds(0, 1),
        options={"time_limit": _SECONDS},
    )
    if answer.x is None:
        return None
    return {choice[0]: choice[1] for choice, chosen in zip(choices, answer.x, strict=True) if chosen > 0.5}
