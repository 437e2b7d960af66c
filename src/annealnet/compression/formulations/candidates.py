"""From a sampler's answer to a short list of distinct plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dimod
import numpy as np

from annealnet.energy import Certificate, ConstrainedEnergy, lower_bound
from annealnet.samplers import AutoSampler, sample_energy

__all__ = ["Candidates", "anneal_plans", "best_distinct"]


@dataclass(frozen=True)
class Candidates:
    """The plans a formulation proposes, best energy first.

    Attributes:
        states: uint8 ``(candidates, num_variables)`` in the bits of the problem's plan space, each within the budget.
        energies: float64 ``(candidates,)``.
        certificate: how good the first one is as an answer to its energy.
    """

    states: np.ndarray
    energies: np.ndarray
    certificate: Certificate


def best_distinct(energy: ConstrainedEnergy, answer: dimod.SampleSet, count: int) -> Candidates:
    """The ``count`` lowest distinct feasible states of an answer.

    Raises:
        ValueError: when no state of the answer keeps the constraints.
    """
    order = np.argsort([int(v) for v in answer.variables])
    states = np.unique(answer.record.sample[:, order].astype(np.uint8), axis=0)
    states = states[[bool(energy.is_feasible(x)) for x in states]]
    if not len(states):
        raise ValueError(
            "sampler returned no plan within the budget: take more reads, or the native sampler (sampler=None), "
            "which keeps the budget exactly"
        )
    energies = np.asarray(energy.energy(states), dtype=float)
    best = np.argsort(energies, kind="stable")[:count]
    return Candidates(states[best], energies[best], _certificate(energy, answer.info, float(energies[best[0]])))


def _certificate(energy: ConstrainedEnergy, info: dict[str, Any], found: float) -> Certificate:
    told = info.get("certificate")
    if told is not None and abs(float(told["energy"]) - found) <= 1e-9 * max(1.0, abs(found)):
        return Certificate(**{name: told[name] for name in told if name != "gap"})
    return Certificate(
        energy=found,
        lower_bound=lower_bound(energy.energy_part),
        proven=False,
        sampler="external",
        seed=None,
        reads=0,
        seconds=0.0,
    )


def anneal_plans(
    energy: ConstrainedEnergy,
    sampler: dimod.Sampler | None,
    count: int,
    seed: int,
    reads: int,
    sweeps: int,
    starts: np.ndarray,
) -> Candidates:
    """Samples a constrained energy and keeps the best distinct feasible states.

    Args:
        energy: over the bits of a plan space.
        sampler: any dimod sampler, or None for the native annealer.
        count: most candidates kept.
        seed: of the anneals.
        reads: independent anneals.
        sweeps: sweeps per anneal, for samplers that take energies as they are.
        starts: feasible states ``(k, num_variables)`` that such anneals begin from, in turn.

    Raises:
        ValueError: when the sampler returns no state within the budget.
    """
    chosen = AutoSampler() if sampler is None else sampler
    asked: dict[str, Any] = {"num_reads": reads, "seed": seed}
    if hasattr(chosen, "sample_energy"):
        ours = {"num_sweeps": sweeps, "initial_states": starts[np.arange(reads) % len(starts)]}
        asked |= {name: value for name, value in ours.items() if name in chosen.parameters}
    return best_distinct(energy, sample_energy(chosen, energy, **asked), count)
