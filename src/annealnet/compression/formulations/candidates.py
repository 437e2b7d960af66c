"""From a sampler's answer to a short list of distinct plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dimod
import numpy as np

from annealnet.compression.formulations.budget import NoPlan
from annealnet.compression.formulations.priced import priced_plans
from annealnet.energy import Certificate, ConstrainedEnergy, lower_bound
from annealnet.samplers import AutoSampler, sample_energy, sampler_name

__all__ = ["Candidates", "anneal_plans", "best_distinct"]


@dataclass(frozen=True)
class Candidates:
    """The plans a formulation proposes, best energy first.

    Attributes:
        states: uint8 ``(candidates, num_variables)`` in the bits of the problem's plan space, each within the budget.
        energies: float64 ``(candidates,)``.
        certificate: how good the first one is as an answer to its energy, and which sampler found it.
        reads: of the sampler: ``reads`` in all, ``feasible_reads`` as they came, ``mended_reads`` by the repair.
    """

    states: np.ndarray
    energies: np.ndarray
    certificate: Certificate
    reads: Mapping[str, int]

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "states": ["".join(map(str, state)) for state in self.states],
            "energies": self.energies.tolist(),
            "certificate": self.certificate.to_document(),
            "reads": dict(self.reads),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Candidates:
        """Reads what :meth:`to_document` gave."""
        states = np.array([[int(bit) for bit in state] for state in document["states"]], dtype=np.uint8)
        certificate = Certificate.from_document(document["certificate"])
        return cls(states, np.array(document["energies"]), certificate, document["reads"])


def best_distinct(
    energy: ConstrainedEnergy, states: np.ndarray, count: int, certificate: Certificate, reads: Mapping[str, int]
) -> Candidates:
    """The ``count`` lowest distinct feasible states.

    Args:
        energy: over the bits of a plan space.
        states: ``(k, n)``, one of them feasible.
        count: most candidates kept.
        certificate: of the sampler; its energy is replaced by the lowest state's, and nothing is proven of another.
        reads: what is known of the sampler's reads.
    """
    distinct = np.unique(np.asarray(states, dtype=np.uint8), axis=0)
    distinct = distinct[energy.feasible(distinct)]
    energies = np.asarray(energy.energy(distinct), dtype=float)
    best = np.argsort(energies, kind="stable")[:count]
    found = float(energies[best[0]])
    proven = certificate.proven and abs(certificate.energy - found) <= 1e-9 * max(1.0, abs(found))
    return Candidates(distinct[best], energies[best], replace(certificate, energy=found, proven=proven), reads)


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

    Samplers of ours that keep constraints get the energy as it is. Any other is asked at several prices of the budgets, and
    its reads are mended: :func:`~annealnet.compression.formulations.priced.priced_plans`.

    Args:
        energy: over the bits of a plan space.
        sampler: any dimod sampler, or None for the native annealer.
        count: most candidates kept.
        seed: of the anneals.
        reads: independent anneals; of each call, where prices are looked for.
        sweeps: sweeps per anneal, for samplers that take them.
        starts: feasible states ``(k, num_variables)`` that native anneals begin from, in turn.

    Raises:
        NoPlan: when the sampler returns nothing that is or can be brought within the budget.
    """
    chosen = AutoSampler() if sampler is None else sampler
    if not (getattr(chosen, "keeps_constraints", False) and hasattr(chosen, "sample_energy")):
        return _priced(energy, chosen, count, seed, reads, sweeps, starts)
    asked: dict[str, Any] = {"num_reads": reads, "seed": seed}
    ours = {"num_sweeps": sweeps, "initial_states": starts[np.arange(reads) % len(starts)]}
    asked |= {name: value for name, value in ours.items() if name in chosen.parameters}
    answer = sample_energy(chosen, energy, **asked)
    order = np.argsort([int(v) for v in answer.variables])
    states = answer.record.sample[:, order]
    good = energy.feasible(states)
    told = {"reads": len(states), "feasible_reads": int(good.sum()), "mended_reads": 0}
    if not good.any():
        raise NoPlan(
            f"sampler={sampler_name(chosen)} gave {len(states)} reads, none within the budget: "
            "take more reads, or sampler=None, which keeps the budget exactly"
        )
    return best_distinct(energy, states, count, _certificate(energy, chosen, answer.info, seed, len(states)), told)


def _certificate(
    energy: ConstrainedEnergy, sampler: dimod.Sampler, info: Mapping[str, Any], seed: int, reads: int
) -> Certificate:
    """The sampler's own, or what is known without one; under the name of the sampler with all that it wraps."""
    name = sampler_name(sampler) + (f": {info['chosen']}" if "chosen" in info else "")
    if "certificate" in info:
        return replace(Certificate.from_document(info["certificate"]), sampler=name)
    return Certificate(0.0, lower_bound(energy.energy_part), False, name, seed, reads, 0.0)


def _priced(
    energy: ConstrainedEnergy, sampler: dimod.Sampler, count: int, seed: int, reads: int, sweeps: int, starts: np.ndarray
) -> Candidates:
    start = starts[int(np.argmin(energy.energy(starts)))]
    found = priced_plans(energy, sampler, reads, seed, {"num_sweeps": sweeps}, start)
    certificate = Certificate(
        0.0, lower_bound(energy.energy_part), False, sampler_name(sampler), seed, found.reads["reads"], found.seconds
    )
    return best_distinct(energy, found.states, count, certificate, found.reads)
