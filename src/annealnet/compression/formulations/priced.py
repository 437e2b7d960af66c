"""Plans from samplers that know nothing of constraints: dwave-samplers', OpenJij's, a quantum annealer.

Bytes and multiply-adds get prices in nats (:mod:`annealnet.energy.pricing`), so that such a sampler sees a small plain QUBO
in the bits of the plan alone. Prices rise while the lowest read is over its budget and fall while it is under, each inside
the bracket that was seen so far. The lowest reads of every call are mended to the budget and go downhill from there
(:class:`annealnet.energy.Repair`); products of three counts are taken around the best plan so far. What a plan owes to the
sampler and what to the repair is counted. *Our reconstruction.*
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import dimod
import numpy as np

from annealnet.compression.formulations.budget import NoPlan
from annealnet.energy import ConstrainedEnergy, ProductBudget, Repair, priced_energy
from annealnet.samplers import sample_energy, sampler_name
from annealnet.samplers.external import takes
from annealnet.samplers.seeds import Purpose, derived_seed

__all__ = ["PricedPlans", "priced_plans"]

#: Calls of the sampler, each with other prices; lowest reads of a call that are mended.
CALLS, _MENDED = 8, 6
#: What a price is multiplied with until it is bracketed.
_STEP = 4.0


@dataclass(frozen=True, eq=False)
class PricedPlans:
    """What a sampler found.

    Attributes:
        states: uint8 ``(plans, n)``, distinct, each within every constraint.
        reads: ``reads`` in all, ``feasible_reads`` as they came, ``mended_reads`` that the repair brought within the
            constraints (the lowest of each call only), and ``calls``.
        seconds: of sampling and mending.
    """

    states: np.ndarray
    reads: Mapping[str, int]
    seconds: float


@dataclass
class _Price:
    """One budget's price and the bracket around the price at which the sampler meets it."""

    now: float
    low: float = 0.0
    high: float = np.inf

    def learn(self, over: bool) -> None:
        """Up when the budget was exceeded, down when it was not."""
        if over:
            self.low = max(self.low, self.now)
        else:
            self.high = min(self.high, self.now)
        if self.low >= self.high:  # another budget's price moved it: begin a new bracket
            self.low, self.high = (self.now, np.inf) if over else (0.0, self.now)
        if np.isinf(self.high):
            self.now *= _STEP
        elif self.low == 0.0:
            self.now /= _STEP
        else:
            self.now = float(np.sqrt(self.low * self.high))


@dataclass
class _Tally:
    reads: int = 0
    feasible: int = 0
    mended: int = 0
    nearest: float = np.inf
    found: list[np.ndarray] = field(default_factory=list)


def priced_plans(
    model: ConstrainedEnergy, sampler: dimod.Sampler, reads: int, seed: int, parameters: Mapping[str, Any], start: np.ndarray
) -> PricedPlans:
    """Asks a sampler at several prices, mends its lowest reads, and keeps what is within every constraint.

    Args:
        model: energy, cardinalities and budgets over the bits of a plan space.
        sampler: any dimod sampler.
        reads: of each of the :data:`CALLS` calls.
        seed: passed on, another one for each call, where the sampler takes one.
        parameters: more parameters, passed where the sampler takes them.
        start: feasible state ``(n,)`` around which the first prices are set.

    Raises:
        NoPlan: when no read could be mended; says how many there were and how far the nearest was over its budget.
    """
    began = time.perf_counter()
    repair, tally = Repair(model), _Tally()
    reference = start
    worth = max(float(np.abs(model.energy_part.flip_deltas(start)).max()), 1e-9)
    prices = [_Price(worth) for constraint in model.constraints if isinstance(constraint, ProductBudget)]
    known = {name: value for name, value in parameters.items() if takes(sampler, name)}
    for call in range(CALLS):
        priced = priced_energy(model, [price.now for price in prices], reference)
        own = derived_seed(seed, Purpose.PRICES, call)
        answer = sample_energy(sampler, priced, num_reads=reads, seed=own, **known)
        lowest = _take(model, repair, answer, tally, sampler_name(sampler))
        over = [excess > 0 for excess, budget in zip(repair.excess(lowest), _budgets(model), strict=True) if budget]
        for price, above in zip(prices, over, strict=True):
            price.learn(above)
        if tally.found:
            reference = min(tally.found, key=lambda state: float(model.energy(state)))
    if not tally.found:
        raise NoPlan(
            f"sampler={sampler_name(sampler)} gave {tally.reads} reads in {CALLS} calls, none within the budget; the "
            f"nearest exceeds it by {tally.nearest:.1%} and could not be mended: loosen the budget, or take sampler=None"
        )
    told = {"reads": tally.reads, "feasible_reads": tally.feasible, "mended_reads": tally.mended, "calls": CALLS}
    states = np.unique(np.array(tally.found, dtype=np.uint8), axis=0)
    return PricedPlans(states, told, time.perf_counter() - began)


def _budgets(model: ConstrainedEnergy) -> list[bool]:
    """Of the constraints that are no cardinality, in order: whether each is a product budget."""
    return [isinstance(c, ProductBudget) for c in model.constraints if hasattr(c, "limit")]


def _take(model: ConstrainedEnergy, repair: Repair, answer: dimod.SampleSet, tally: _Tally, name: str) -> np.ndarray:
    """Counts an answer's reads, mends the lowest, and returns the lowest as it came."""
    states = answer.record.sample.astype(np.int64)
    good = model.feasible(states)
    times = answer.record.num_occurrences
    tally.reads += int(times.sum())
    tally.feasible += int(times[good].sum())
    if not len(states):
        raise ValueError(f"sampler={name} gave no reads: take one that answers, or sampler=None")
    _, first = np.unique(states, axis=0, return_index=True)
    for place in sorted(first)[:_MENDED]:  # lowest first
        state: np.ndarray | None = states[place]
        if not good[place]:
            tally.nearest = min(tally.nearest, max(repair.excess(states[place])))
            state = repair.mended(states[place])
            tally.mended += state is not None
        if state is not None:
            tally.found.append(repair.improved(state))
    return np.asarray(states[0])
