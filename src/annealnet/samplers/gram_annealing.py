"""Annealing of many rows under one Gram matrix, and of dense energies with one exact count, expanding neither."""

from __future__ import annotations

import dimod
import numba
import numpy as np

from annealnet.energy import Cardinality, Certificate, ConstrainedEnergy, DenseEnergy, Energy, SharedGramEnergy
from annealnet.samplers.answers import lowest_first, scored
from annealnet.samplers.kernels.gram_rows import descend_rows, start_rows, swap_rows, sweep_rows
from annealnet.samplers.kernels.random import streams
from annealnet.samplers.kernels.threads import threads_for
from annealnet.samplers.native import NativeSampler
from annealnet.samplers.schedule import Clock, Progress, beta_chunks
from annealnet.samplers.seeds import checked_seed, kernel_words
from annealnet.whole_numbers import whole_number

__all__ = ["SharedGramSampler"]

#: β from hot to cold in units of one over the root mean square cost of a flip at random states.
_HOT, _COLD = 0.3, 300.0
#: Steps of a proposal, of which about one in ten mends a row of some hundred numbers.
_PROPOSAL = 5


class SharedGramSampler(NativeSampler):
    """Metropolis annealing of ``SharedGramEnergy`` (all rows of all reads at once) and ``DenseEnergy`` (one row).

    Keeps exact counts by swaps, where every row has one count over all of its bits. In float32; energies that are returned
    are computed again in float64.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(40, 6))
        >>> energy = SharedGramEnergy(x.T @ x, np.ones((2, 6)), -2 * rng.normal(size=(2, 40)) @ x)
        >>> answer = SharedGramSampler().sample_energy(energy, num_reads=4, seed=0)
        >>> from annealnet.samplers import ExactSampler
        >>> bool(np.isclose(answer.first.energy, ExactSampler().sample_energy(energy).first.energy))
        True
    """

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "beta_range", "seed", "initial_states", "time_limit", "progress"),
            "annealing of many rows under one Gram matrix; keeps one count per row exactly",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 4,
        num_sweeps: int | None = None,
        beta_range: tuple[float, float] | None = None,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy; rows do not see each other, so each row's best read is put together into the first sample.

        Args:
            energy: ``SharedGramEnergy`` or ``DenseEnergy`` (others are made dense), or one of these with a cardinality over
                every row.
            num_reads: anneals of every row.
            num_sweeps: proposals per bit; None is 300, or as many as fit when there is a time limit.
            beta_range: (hot, cold); None takes 0.3 and 300 over the root mean square cost of a flip.
            seed: None draws one; without a time limit the same seed gives the same states whatever the number of threads.
            initial_states: ``(num_reads, n)`` of 0 and 1 that keep the counts, or None for random ones.
            time_limit: seconds.
            progress: told the share done.

        Returns:
            Samples, lowest first; ``info`` has timing, beta_range, seed and certificate.

        Raises:
            ValueError: when a number is out of range or the constraints are not one count per row.
        """
        num_reads = whole_number("num_reads", num_reads, 1)
        clock = Clock(time_limit)
        sweeps = 300 if num_sweeps is None and time_limit is None else num_sweeps
        if sweeps is not None:
            sweeps = whole_number("num_sweeps", sweeps, 1)
        chosen = checked_seed(seed)
        plain = energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy
        shared = plain if isinstance(plain, SharedGramEnergy) else _one_row(plain)
        counts = _counts(energy, shared.shape)
        work = _Rows(shared, counts, num_reads, chosen, initial_states)
        hot, cold = work.betas() if beta_range is None else beta_range
        if not 0 < hot <= cold < np.inf:
            raise ValueError(f"beta_range={beta_range!r} must be (hot, cold) with 0 < hot ≤ cold")
        for betas in beta_chunks(hot, cold, sweeps, clock, progress):
            work.sweep(betas)
        states = work.finished()
        answer = lowest_first(scored(energy, states, {}))
        least = float(answer.record.energy[0])
        certificate = Certificate(least, None, False, type(self).__name__, chosen, num_reads, clock.elapsed)
        answer.info.update(
            timing={"total": clock.elapsed}, seed=chosen, beta_range=(hot, cold), certificate=certificate.to_document()
        )
        return answer


def _one_row(energy: Energy) -> SharedGramEnergy:
    linear, offset = energy.expanded_linear()
    matrix = energy.matrix if isinstance(energy, DenseEnergy) else energy.couplings().toarray()
    return SharedGramEnergy(matrix / 2, np.ones((1, len(linear))), linear[None], offset)


def _counts(energy: Energy | ConstrainedEnergy, shape: tuple[int, int]) -> np.ndarray | None:
    """Ones per row, or None where rows are free."""
    if not isinstance(energy, ConstrainedEnergy) or not energy.constraints:
        return None
    found = np.full(shape[0], -1)
    for constraint in energy.constraints:
        members = np.sort(np.asarray(constraint.variables)) if isinstance(constraint, Cardinality) else np.zeros(0)
        row = int(members[0]) // shape[1] if len(members) else -1
        if row < 0 or not np.array_equal(members, np.arange(row * shape[1], (row + 1) * shape[1])):
            raise ValueError("constraints must be one Cardinality over all bits of each row: else take AnnealingSampler")
        assert isinstance(constraint, Cardinality)
        found[row] = constraint.count
    if (found < 0).any():
        raise ValueError("constraints leave a row free: give one Cardinality for every row, or none")
    return found


class _Rows:
    """States of all reads' rows, swept together."""

    def __init__(
        self, energy: SharedGramEnergy, counts: np.ndarray | None, reads: int, seed: int, given: np.ndarray | None
    ) -> None:
        self.energy, self.counts, self.reads = energy, counts, reads
        rows, width = energy.shape
        self.gram = np.array(energy.gram, dtype=np.float32) * np.float32(2.0)
        np.fill_diagonal(self.gram, 0.0)
        self.signs = np.tile(energy.signs.astype(np.float32), (reads, 1))
        self.alone = np.tile(energy.expanded_linear()[0].reshape(rows, width).astype(np.float32), (reads, 1))
        self.states = self._starts(np.random.default_rng(seed), given)
        self.fields = np.zeros(self.states.shape, dtype=np.float32)
        with threads_for(self.states.size * width / 8):
            start_rows(self.gram, self.signs, self.states, self.fields)
        self.random = streams(kernel_words(seed)[0], len(self.states))
        self.scale = float(np.sqrt(np.mean((self.alone + self.signs * self.fields).astype(np.float64) ** 2))) or 1.0

    def _starts(self, rng: np.random.Generator, given: np.ndarray | None) -> np.ndarray:
        rows, width = self.energy.shape
        if given is not None:
            states = np.array(given)
            if states.shape != (self.reads, rows * width) or not np.isin(states, (0, 1)).all():
                raise ValueError(
                    f"initial_states has shape {states.shape}: give 0 and 1 of shape ({self.reads}, {rows * width})"
                )
            states = np.ascontiguousarray(states.reshape(-1, width), dtype=np.int8)
            if self.counts is not None and (states.sum(axis=1) != np.tile(self.counts, self.reads)).any():
                raise ValueError("initial_states break the counts: give states that keep them")
            return states
        states = rng.integers(0, 2, (self.reads * rows, width), dtype=np.int8)
        if self.counts is not None:
            states[:] = 0
            for state, count in zip(states, np.tile(self.counts, self.reads).tolist(), strict=True):
                state[rng.choice(width, count, replace=False)] = 1
        return states

    def betas(self) -> tuple[float, float]:
        """Hot and cold, from the cost of flips at the starts."""
        return _HOT / self.scale, _COLD / self.scale

    def sweep(self, betas: np.ndarray) -> None:
        """One chunk of the schedule."""
        table = np.broadcast_to(betas, (len(self.states), len(betas)))
        with threads_for(_PROPOSAL * self.states.size * len(betas)):
            if self.counts is None:
                blocks = min(len(self.states), numba.get_num_threads())
                sweep_rows(self.gram, self.signs, self.alone, self.states, self.fields, table, self.random, blocks)
            else:
                swap_rows(self.gram, self.signs, self.alone, self.states, self.fields, table, self.random)

    def finished(self) -> np.ndarray:
        """States int8 ``(reads, D·H)``, descended where rows are free; every row's reads by ascending energy."""
        if self.counts is None:
            with threads_for(self.states.size * self.states.shape[1] / 8):
                start_rows(self.gram, self.signs, self.states, self.fields)
                descend_rows(self.gram, self.signs, self.alone, self.states, self.fields, self.scale)
        rows, width = self.energy.shape
        states = self.states.reshape(self.reads, rows, width)
        weighted = states * self.energy.signs
        linear = self.energy.linear.reshape(rows, width)
        energies = ((weighted @ self.energy.gram) * weighted).sum(axis=2) + (states * linear).sum(axis=2)
        order = np.argsort(energies, axis=0, kind="stable")
        return np.take_along_axis(states, order[:, :, None], axis=0).reshape(self.reads, rows * width)
