"""What physicists look at along training: minima, overlaps, the Edwards–Anderson parameter, gaps, spreads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.ising.formulation.phases import Phases
from annealnet.ising.network.spins import IsingNetwork

__all__ = [
    "Observation",
    "distinct_minima",
    "edwards_anderson",
    "observe",
    "output_gaps",
    "overlap_distribution",
    "overlaps",
]

Values = NDArray[np.float64]


def overlaps(states: NDArray[Any]) -> Values:
    """q_ab = Σ_i s_i^a s_i^b / n of all pairs of reads a < b, ``(problems, reads (reads − 1)/2)``.

    Args:
        states: ±1 ``(problems, reads, n)``, at least two reads.

    Example:
        >>> overlaps(np.array([[[1, 1], [1, -1], [-1, -1]]])).tolist()
        [[0.0, -1.0, 0.0]]
    """
    if states.ndim != 3 or states.shape[1] < 2:
        raise ValueError(f"states has shape {states.shape}: give (problems, reads, n) with at least two reads")
    spins = states.astype(np.float64)
    pairs = np.triu_indices(states.shape[1], 1)
    return np.asarray((spins @ spins.transpose(0, 2, 1))[:, pairs[0], pairs[1]] / states.shape[2])


def overlap_distribution(states: NDArray[Any], bins: int = 20) -> tuple[Values, Values]:
    """P(q) over all pairs and problems: bin centres and densities, which integrate to one.

    Example:
        >>> overlap_distribution(np.ones((1, 3, 4)), bins=4)[1].tolist()
        [0.0, 0.0, 0.0, 2.0]
    """
    heights, edges = np.histogram(overlaps(states), bins=bins, range=(-1, 1), density=True)
    return 0.5 * (edges[1:] + edges[:-1]), heights


def edwards_anderson(states: NDArray[Any]) -> Values:
    """q_EA = Σ_i ⟨s_i⟩²/n per problem, estimated without bias by the mean overlap of different reads ``(problems,)``."""
    return np.asarray(overlaps(states).mean(1))


def distinct_minima(states: NDArray[Any]) -> NDArray[np.int64]:
    """How many different states the reads of each problem are, ``(problems,)``.

    Example:
        >>> distinct_minima(np.array([[[1, 1], [1, -1], [1, 1]]])).tolist()
        [2]
    """
    return np.array([len(np.unique(rows, axis=0)) for rows in states])


def output_gaps(
    network: IsingNetwork, x: NDArray[Any], labels: NDArray[np.int64], phases: Phases, *, reads: int = 10, seed: int = 0
) -> Values:
    """E(deepest wrong class) − E(right class) with the outputs clamped to the codes, ``(samples,)``: above 0 the ground
    state among the codes is the right one.
    """
    energies = np.stack(
        [
            phases.clamped(network, x, np.repeat(code[None], len(x), 0), reads=reads, seed=seed).energies.min(1)
            for code in network.codes
        ],
        axis=1,
    )
    rows = np.arange(len(x))
    right = energies[rows, labels].copy()
    energies[rows, labels] = np.inf
    return np.asarray(energies.min(1) - right)


@dataclass(frozen=True)
class Observation:
    """One network seen through repeated anneals, means over samples.

    Attributes:
        minima: distinct end states of ``reads`` anneals.
        order: q_EA.
        spread: standard deviation of the end energies per spin.
        gap: median energy of the deepest wrong class above the right one, per spin.
        right: share of samples whose right class is the deepest.
        overlap, density: P(q).
    """

    minima: float
    order: float
    spread: float
    gap: float
    right: float
    overlap: Values
    density: Values


def observe(
    network: IsingNetwork, x: NDArray[Any], labels: NDArray[np.int64], phases: Phases, *, reads: int = 20, seed: int = 0
) -> Observation:
    """Anneals every sample ``reads`` times with free outputs, and once per class with clamped ones."""
    found = phases.free(network, x, reads=reads, seed=seed)
    spins = sum(network.sizes)
    gaps = output_gaps(network, x, labels, phases, seed=seed)
    centres, density = overlap_distribution(found.states)
    return Observation(
        float(distinct_minima(found.states).mean()),
        float(edwards_anderson(found.states).mean()),
        float(found.energies.std(1).mean() / spins),
        float(np.median(gaps) / spins),
        float((gaps > 0).mean()),
        centres,
        density,
    )
