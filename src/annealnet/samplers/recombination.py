"""Annealing, then rounds of reheating and partition crossover: the choice for large sparse energies."""

from __future__ import annotations

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.annealing import checked_beta_range
from annealnet.samplers.kernels.threads import threads_for
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.replicas import Replicas, neighbour_lists, place
from annealnet.samplers.schedule import REFRESH, Clock, Progress, beta_chunks

__all__ = ["RecombinationSampler"]

#: Share of the time or sweeps for the first anneal.
_FIRST = 0.1
#: Temperatures a reheat starts from, in units of the schedule's last; sweeps of a reheat.
_HEIGHTS = np.geomspace(3.0, 24.0, 9)
_REHEAT = 30
#: Least chance of a height, relative to the best one's; and how fast what was learnt fades.
_FLOOR, _FADING = 0.02, 0.95
#: Rounds between two crossings of different reads.
_MIXING = 4
#: Rounds without any gain after which all reads are annealed anew, twice as long as the last time.
_PATIENCE = 50


class RecombinationSampler(NativeSampler):
    """Many short anneals instead of a long one, with nothing lost in between.

    A reheated read and what it was before differ in patches that do not see each other; partition crossover
    (:mod:`.kernels.crossing`) keeps every patch that became better and undoes every patch that became worse. So an energy
    over many thousand sparsely coupled bits improves everywhere at once, where plain annealing must be lucky everywhere at
    once. How high to reheat is learnt while it runs: heights that gained are drawn more often. Where nothing gains any
    more all reads are annealed anew, twice as long, and the best are kept. *Our reconstruction*: iterated annealing around
    a known crossover.

    Example:
        >>> from annealnet.energy import SparseEnergy
        >>> chain = SparseEnergy(range(99), range(1, 100), [-1.0] * 99, [0.4] * 100)
        >>> best = RecombinationSampler().sample_energy(chain, num_reads=4, num_sweeps=400, seed=0).first
        >>> round(float(best.energy), 6)
        -59.0
    """

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "beta_range", "seed", "initial_states", "time_limit", "progress"),
            "anneals, reheats and crosses reads over; large sparse energies",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 32,
        num_sweeps: int | None = None,
        beta_range: tuple[float, float] | None = None,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy without constraints; parameters as :meth:`AnnealingSampler.sample_energy`.

        Raises:
            ValueError: when a parameter is out of range, or the energy has constraints or squares.
        """
        if num_sweeps is None and time_limit is None:
            num_sweeps = 3000
        task = Task.of(energy, num_reads, seed, time_limit, None, num_sweeps)
        if task.constraints or task.compiled.factors.nnz:
            raise ValueError(
                "energy has constraints or squares, crossover needs plain couplings: take AnnealingSampler, "
                "or from_bqm(energy.to_bqm())"
            )
        hot, cold = checked_beta_range(beta_range, task.compiled)
        replicas = place(task.compiled, (), task.starts(initial_states), task.stream)
        search = _Search(task, replicas, hot, cold, num_sweeps, progress)
        search.run()
        return task.answer(
            type(self).__name__, search.best, beta_range=(hot, cold), num_sweeps=replicas.sweeps, rounds=search.rounds,
            anneals=search.anneals,
        )  # fmt: skip


class _Search:
    """The state of one search: a population that is reheated and crossed, and the best state each read ever was in."""

    def __init__(
        self, task: Task, replicas: Replicas, hot: float, cold: float, num_sweeps: int | None, progress: Progress | None
    ) -> None:
        self.task, self.replicas, self.hot, self.cold, self.num_sweeps = task, replicas, hot, cold, num_sweeps
        self.progress = progress
        self.rng = np.random.default_rng(task.seed)
        self.lists = neighbour_lists(task.compiled)
        self.symmetric = _symmetric(task)
        self.gains = np.ones(len(_HEIGHTS))
        self.rounds = self.anneals = 0
        self.best = replicas.states()
        self.best_energies = np.full(task.reads, np.inf)
        self.population = self.best
        self.round_seconds = 0.0

    def run(self) -> None:
        """First anneal, then rounds until sweeps or time are gone."""
        clock = self.task.clock
        if self.num_sweeps is None:
            assert clock.limit is not None
            self._anneal(None, Clock(_FIRST * clock.limit, clock.began))
        else:
            self._anneal(max(1, round(_FIRST * self.num_sweeps)), clock)
        length, idle = self.replicas.sweeps, 0
        while self._left(_REHEAT):
            idle = 0 if self._round() > 0 else idle + 1
            if idle >= _PATIENCE:
                length, idle = 2 * length, 0
                if self.num_sweeps is not None:
                    length = max(1, min(length, self.num_sweeps - self.replicas.sweeps))
                self._anneal(length, clock)
            if self.progress is not None:
                share = clock.share if self.num_sweeps is None else self.replicas.sweeps / self.num_sweeps
                self.progress(min(1.0, share))
        self._keep()

    def _left(self, sweeps: int) -> bool:
        clock = self.task.clock
        if clock.limit is not None and clock.elapsed + self.round_seconds > clock.limit:
            return False
        return self.num_sweeps is None or self.replicas.sweeps + sweeps <= self.num_sweeps

    def _anneal(self, sweeps: int | None, clock: Clock) -> None:
        """The whole schedule for every read; what was best stays in ``best``."""
        if self.anneals:
            self._keep()
            self.replicas.replace(self.task.random_states(self.rng))
        for betas in beta_chunks(self.hot, self.cold, sweeps, clock):
            self.replicas.sweep(betas)
        self.replicas.descend()
        self.population = self.replicas.states()
        self.anneals += 1

    def _keep(self) -> None:
        energies = np.atleast_1d(self.task.plain.energy(self.population))
        better = energies < self.best_energies
        self.best[better], self.best_energies[better] = self.population[better], energies[better]

    def _round(self) -> float:
        """Reheats every read, crosses it with what it was, and at times with another read; returns the energy gained."""
        began = self.task.clock.elapsed
        reads = self.task.reads
        rung = self.rng.choice(len(_HEIGHTS), reads, p=self.gains / self.gains.sum())
        start = np.maximum(self.cold / _HEIGHTS[rung], self.hot)
        ramp = np.linspace(0.0, 1.0, _REHEAT)
        betas = start[:, None] * (self.cold / start)[:, None] ** ramp
        done = 0
        while done < _REHEAT:  # no piece reaches across a refresh
            size = min(_REHEAT - done, REFRESH - self.replicas.sweeps % REFRESH)
            self.replicas.sweep(betas[:, done : done + size])
            done += size
        self.replicas.descend()
        lost = self._crossed(self.replicas.states())
        total = float(lost.sum())
        if self.rounds % _MIXING == _MIXING - 1:
            partners = self.population[self.rng.permutation(reads)]
            if self.symmetric:
                partners[(partners != self.population).mean(axis=1) > 0.5] ^= 1
            total += float(self._crossed(partners).sum())
        self.gains *= _FADING
        np.add.at(self.gains, rung, lost / max(1e-12, float(lost.sum())))
        self.gains = np.maximum(self.gains, _FLOOR * self.gains.max())
        self.replicas.replace(self.population)
        self.rounds += 1
        self.round_seconds = max(0.9 * self.round_seconds, self.task.clock.elapsed - began)
        return total

    def _crossed(self, partners: np.ndarray) -> np.ndarray:
        """Crosses every read with its partner, in place; the energy each lost."""
        from annealnet.samplers.kernels.crossing import cross

        with threads_for(len(partners) * (len(self.lists[-1]) + partners.shape[1])):
            return np.asarray(cross(*self.lists, self.population, partners))


def _symmetric(task: Task) -> bool:
    """Whether flipping all bits changes nothing: no fields in the spin picture."""
    if task.compiled.dense is not None:
        return False
    rows = np.asarray(task.compiled.couplings.sum(axis=1)).ravel()
    return bool(np.abs(2 * task.compiled.linear + rows).max(initial=0.0) < 1e-9)
