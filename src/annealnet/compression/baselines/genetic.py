"""A genetic algorithm on bits: the solver that Wang et al. compare annealing with.

Tournaments of three, uniform crossover, a mutation rate of one bit per child, the two best kept. Every generation is
scored in one vectorised call, so that its time is the energy's and not Python's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from annealnet.compression.baselines.short_list import Plan, short_list
from annealnet.compression.formulations.budget import NoPlan
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.published import Published, plan_of
from annealnet.energy import Energy

__all__ = ["Evolution", "evolve", "genetic_published"]


@dataclass(frozen=True)
class Evolution:
    """What a search for the least energy ended with.

    Attributes:
        states: uint8 ``(k, n)``, the best and, of a population, the others of its last generation; distinct, best first.
        energies: float64 ``(k,)``.
        seconds: that it took.
        reached: seconds until the target was first reached; None: never.
    """

    states: np.ndarray
    energies: np.ndarray
    seconds: float
    reached: float | None

    @property
    def state(self) -> np.ndarray:
        """The best."""
        return np.asarray(self.states[0])

    @property
    def energy(self) -> float:
        """Of the best state."""
        return float(self.energies[0])


def evolve(
    energy: Energy,
    seed: int,
    population: int = 100,
    generations: int = 300,
    target: float | None = None,
    tolerance: float = 1e-9,
) -> Evolution:
    """Minimises an energy over bits.

    Args:
        energy: any energy over n bits.
        seed: of everything.
        population: states per generation.
        generations: at most this many.
        target: stop at this energy.
        tolerance: relative, for the target.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> evolve(DenseEnergy(np.zeros((3, 3)), np.array([-1.0, 1.0, -1.0])), seed=0).energy
        -2.0
    """
    rng = np.random.default_rng(seed)
    began = time.perf_counter()
    n = energy.num_variables
    states = rng.integers(0, 2, (population, n), dtype=np.uint8)
    scores = np.asarray(energy.energy(states))
    reached: float | None = None
    for _ in range(generations):
        order = np.argsort(scores, kind="stable")
        if target is not None and scores[order[0]] <= target + tolerance * max(1.0, abs(target)):
            reached = time.perf_counter() - began
            break
        parents = rng.integers(0, population, (2, population - 2, 3))
        ranks = np.empty(population, dtype=np.int64)
        ranks[order] = np.arange(population)
        winners = np.take_along_axis(parents, ranks[parents].argmin(axis=2)[..., None], axis=2)[..., 0]
        mothers, fathers = states[winners[0]], states[winners[1]]
        children = np.where(rng.random(mothers.shape) < 0.5, mothers, fathers)
        children ^= (rng.random(children.shape) < 1 / n).astype(np.uint8)
        states = np.concatenate([states[order[:2]], children])
        scores = np.concatenate([scores[order[:2]], np.asarray(energy.energy(children))])
    seconds = time.perf_counter() - began
    _, first = np.unique(states, axis=0, return_index=True)
    best = first[np.lexsort((first, scores[first]))]
    return Evolution(states[best], scores[best], seconds, reached)


def genetic_published(problem: Problem, count: int, seed: int) -> list[Plan]:
    """A genetic algorithm on the published Hamiltonian; γ rises until the best that it finds is within the budget.

    With it come the next best of the last generation that are within the budget.
    """
    try:
        h, units = Published().hamiltonian(problem)
    except NoPlan:  # the budget is out of its reach
        return []
    for _ in range(60):
        found = evolve(h.energy(), seed)
        if problem.space.fits(*plan_of(problem, h, units, found.state), problem.limits):
            return short_list(problem, (plan_of(problem, h, units, state) for state in found.states), count)
        h = h.with_gamma(1.1 * h.gamma)
    return []
