"""Shots from the exact distribution of a final state, scored by the energy itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dimod
import numpy as np

from annealnet.energy import Certificate, ConstrainedEnergy, Energy, lower_bound
from annealnet.samplers.answers import lowest_first, scored
from annealnet.samplers.quantum.landscape import Landscape
from annealnet.samplers.schedule import Clock
from annealnet.samplers.seeds import checked_seed
from annealnet.whole_numbers import whole_number

__all__ = ["Request", "answer_of", "measured"]


@dataclass(frozen=True)
class Request:
    """A checked request to a simulated device.

    Attributes:
        energy: as asked for.
        reads: states to return.
        seed: of everything stochastic.
        clock: running since the request came.
    """

    energy: Energy | ConstrainedEnergy
    reads: int
    seed: int
    clock: Clock

    @classmethod
    def of(cls, energy: Energy | ConstrainedEnergy, num_reads: int, seed: int | None) -> Request:
        """Checks the numbers; None draws a seed.

        Raises:
            ValueError: when one is out of range.
        """
        num_reads = whole_number("num_reads", num_reads, 1)
        return cls(energy, num_reads, checked_seed(seed), Clock(None))


def measured(
    sampler: str, request: Request, landscape: Landscape, chances: np.ndarray, info: dict[str, Any]
) -> dimod.SampleSet:
    """Draws the shots; with constraints, shots that keep them.

    Raises:
        ValueError: when the chance of keeping the constraints is practically 0.
    """
    rng = np.random.default_rng(request.seed)
    energy, kept = request.energy, 1.0
    told = {
        "qubits": landscape.num_qubits,
        "expectation": float(chances @ landscape.energies) * landscape.unit + landscape.mean,
    }
    if isinstance(energy, ConstrainedEnergy) and energy.constraints:
        chances = chances * _feasible(energy, landscape)
        kept = float(chances.sum())
        if kept < 1e-12:
            raise ValueError(
                "no shot keeps the constraints: give a longer anneal, or AnnealingSampler, which never breaks them"
            )
    ladder = np.cumsum(chances)
    codes = np.searchsorted(ladder, rng.random(request.reads) * ladder[-1], side="right")
    codes = np.minimum(codes, len(ladder) - 1)
    return answer_of(sampler, request, landscape.states(codes, energy.num_variables), {**told, "kept_share": kept, **info})


def _feasible(energy: ConstrainedEnergy, landscape: Landscape) -> np.ndarray:
    """1 for every state whose own bits keep the constraints, float64 ``(2ⁿ,)``."""
    n = energy.num_variables
    good = np.empty(1 << n)
    for first in range(0, 1 << n, 1 << 16):
        codes = np.arange(first, min(first + (1 << 16), 1 << n))
        good[first : first + len(codes)] = energy.feasible(landscape.states(codes, n))
    return np.tile(good, 1 << (landscape.num_qubits - n))


def answer_of(sampler: str, request: Request, states: np.ndarray, info: dict[str, Any]) -> dimod.SampleSet:
    """The states :func:`.scored`, lowest first; ``info`` gains timing, seed and certificate."""
    found = lowest_first(scored(request.energy, states, {}))
    seconds = request.clock.elapsed
    certificate = Certificate(
        float(found.record.energy[0]), lower_bound(request.energy), False, sampler, request.seed, request.reads, seconds
    )
    told = {"timing": {"total": seconds}, "seed": request.seed, "certificate": certificate.to_document(), **info}
    found.info.update(told)
    return found
