"""Tabu search: small and middle-sized energies, and polish for what other samplers found."""

from __future__ import annotations

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.kernels.threads import threads_for
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.replicas import neighbour_lists
from annealnet.samplers.schedule import Progress
from annealnet.whole_numbers import whole_number

__all__ = ["TabuSampler"]

#: Moves between two looks at the clock, as proposals (moves × bits × reads).
_PIECE = 5_000_000
#: Moves of a default search, however few the bits.
_FEWEST = 10_000


class TabuSampler(NativeSampler):
    """One-flip tabu search (Glover 1989; Palubeckis 2004 for QUBO): the best move that is not forbidden, even uphill.

    Every move looks at all bits, n numbers, so that it suits some hundred to a few thousand bits.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> energy = DenseEnergy(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([-1.0, -1.5]))
        >>> float(TabuSampler().sample_energy(energy, seed=0).first.energy)
        -1.5
    """

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "tenure", "seed", "initial_states", "time_limit", "progress"),
            "one-flip tabu search; small energies and polish",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 10,
        num_sweeps: int | None = None,
        tenure: int | None = None,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy without constraints.

        Args:
            energy: any form without constraints; squares are expanded.
            num_reads: independent searches.
            num_sweeps: moves per bit; None is 50 (at least 10 000 moves), or as many as fit into the time limit.
            tenure: moves for which a flipped bit stays; None is min(20, n/2).
            seed: None draws one.
            initial_states: ``(num_reads, n)`` of 0 and 1, or None for random ones.
            time_limit: seconds.
            progress: told the share of the work done.

        Raises:
            ValueError: when a parameter is out of range or the energy has constraints.
        """
        task = Task.of(energy, num_reads, seed, time_limit, None, num_sweeps)
        n = task.plain.num_variables
        if task.constraints:
            raise ValueError("energy has constraints, one-flip tabu search leaves them: take AnnealingSampler")
        tenure = min(20, max(1, n // 2)) if tenure is None else whole_number("tenure", tenure, 1, max(1, n - 1))
        moves = None
        if num_sweeps is not None or time_limit is None:
            moves = num_sweeps * n if num_sweeps is not None else max(_FEWEST, 50 * n)
        best = _search(task, task.starts(initial_states), moves, tenure, progress)
        return task.answer(type(self).__name__, best, tenure=tenure)


def _search(task: Task, states: np.ndarray, moves: int | None, tenure: int, progress: Progress | None) -> np.ndarray:
    """The best state of each read."""
    from annealnet.samplers.kernels.free import start_sparse
    from annealnet.samplers.kernels.random import streams
    from annealnet.samplers.kernels.tabu import tabu_moves

    compiled = task.compiled.expanded()
    linear, *lists = neighbour_lists(compiled)
    reads, n = states.shape
    deltas, current = np.empty((reads, n), dtype=np.float32), np.empty(reads)
    until, clocks = np.zeros((reads, n), dtype=np.int64), np.zeros(reads, dtype=np.int64)
    random = streams(task.stream, reads)
    best, energies = states.copy(), np.full((reads, 2), np.inf)
    piece = max(1, min(_PIECE // (n * reads), max(200, 10 * n)))  # float32 sums drift: not too long
    done = 0
    while moves is None or done < moves:
        with threads_for(reads * len(lists[-1])):
            start_sparse(linear, *lists, states, deltas, current)  # float32 sums are taken anew
        energies[:, 0] = current
        energies[:, 1] = np.minimum(energies[:, 1], current)
        size = piece if moves is None else min(piece, moves - done)
        with threads_for(size * n * reads):
            tabu_moves(*lists, states, deltas, until, clocks, best, energies, size, tenure, random)
        done += size
        if progress is not None:
            progress(min(1.0, task.clock.share if moves is None else done / moves))
        if task.clock.passed:
            break
    return best
