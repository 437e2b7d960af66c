"""Replica exchange with temperatures that adapt: rugged energies, where a single cooling gets stuck."""

from __future__ import annotations

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.annealing import checked_beta_range
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.replicas import Replicas, place
from annealnet.samplers.schedule import REFRESH, Progress
from annealnet.whole_numbers import whole_number

__all__ = ["TemperingSampler"]

#: Sweeps between two exchanges; exchanges between two looks at the coldest states, and between two adaptations.
_INTERVAL, _LOOK, _ADAPT = 4, 16, 32
#: Share of the work during which temperatures adapt.
_ADAPTING = 0.4


class TemperingSampler(NativeSampler):
    """Replica exchange Monte Carlo (parallel tempering).

    Each read is a ladder of ``num_replicas`` states at inverse temperatures β₁ < … < β_K. Neighbours exchange temperatures
    with chance min(1, exp((β_a − β_b)(E_a − E_b))). (Swendsen & Wang 1986; Hukushima & Nemoto 1996.) The ends stay; during
    the first part of the work the rungs between move so that all neighbours exchange equally often.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> energy = DenseEnergy(np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([-1.0, -1.5]))
        >>> float(TemperingSampler().sample_energy(energy, num_sweeps=100, seed=0).first.energy)
        -1.5
    """

    keeps_constraints = True

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "num_replicas", "beta_range", "seed", "time_limit", "progress"),
            "replica exchange with adaptive temperatures; rugged energies; keeps constraints exactly",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 2,
        num_sweeps: int | None = None,
        num_replicas: int = 16,
        beta_range: tuple[float, float] | None = None,
        seed: int | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy; constraints hold in every read that is returned.

        Args:
            energy: any form, with or without constraints.
            num_reads: independent ladders; the best state of each is returned.
            num_sweeps: sweeps of every replica; None is 1 000, or as many as fit into the time limit.
            num_replicas: temperatures per ladder, at least 2.
            beta_range: (hot, cold) ends; None takes :func:`~annealnet.samplers.annealing.default_beta_range`.
            seed: None draws one; without a time limit the same seed gives the same reads.
            time_limit: seconds.
            progress: told the share of the work done.

        Returns:
            Samples over variables 0 … n−1; ``info`` has the final ``betas`` and the ``exchanges`` accepted between
            neighbours.

        Raises:
            ValueError: when a parameter is out of range, or no state within the constraints could be found.
        """
        if num_sweeps is None and time_limit is None:
            num_sweeps = 1000
        num_replicas = whole_number("num_replicas", num_replicas, 2)  # one exchanges with nobody
        task = Task.of(energy, num_reads, seed, time_limit, None, num_sweeps)
        hot, cold = checked_beta_range(beta_range, task.compiled)
        ladders = _Ladders(task, np.geomspace(hot, cold, num_replicas))
        ladders.run(num_sweeps, progress)
        return task.answer(
            type(self).__name__, ladders.best, betas=ladders.betas.tolist(), exchanges=ladders.rates().tolist(),
            num_sweeps=ladders.replicas.sweeps,
        )  # fmt: skip


class _Ladders:
    """Replicas of all ladders; replica k of ladder r is at rung ``rung[r, k]``."""

    def __init__(self, task: Task, betas: np.ndarray) -> None:
        self.task, self.betas = task, betas
        reads, rungs = task.reads, len(betas)
        self.rung = np.tile(np.arange(rungs), (reads, 1))
        self.rng = np.random.default_rng(task.seed)
        self.replicas = place(task.compiled, task.constraints, task.starts(None, reads * rungs), task.stream)
        self.tried, self.taken = np.zeros(rungs - 1), np.zeros(rungs - 1)
        self.best = np.zeros((0, task.plain.num_variables), dtype=np.int8)
        self._compound = bool(task.constraints or task.compiled.factors.nnz)

    def rates(self) -> np.ndarray:
        """Share of exchanges accepted between each two neighbours since the last adaptation."""
        return np.asarray(self.taken / np.maximum(1, self.tried))

    def run(self, num_sweeps: int | None, progress: Progress | None) -> None:
        """Sweeps and exchanges until sweeps or time are gone."""
        exchanges = 0
        while not self.task.clock.passed and (num_sweeps is None or self.replicas.sweeps < num_sweeps):
            steps = min(_INTERVAL, REFRESH - self.replicas.sweeps % REFRESH)
            betas = np.repeat(self.betas[self.rung].reshape(-1, 1), steps, axis=1)
            self.replicas.sweep(betas)
            self._exchange(exchanges % 2)
            exchanges += 1
            share = self.task.clock.share if num_sweeps is None else self.replicas.sweeps / num_sweeps
            if exchanges % _ADAPT == 0 and share < _ADAPTING:
                self._adapt()
            if exchanges % _LOOK == 0:
                self._look()
            if progress is not None:
                progress(min(1.0, share))
        if self._compound:
            self.replicas.descend()
        self._look()

    def _exchange(self, parity: int) -> None:
        reads, rungs = self.rung.shape
        energies = self.replicas.energies().reshape(reads, rungs)
        at = np.argsort(self.rung, axis=1)  # replica at each rung
        low = np.arange(parity, rungs - 1, 2)
        rows = np.arange(reads)[:, None]
        warm, chilly = at[:, low], at[:, low + 1]
        gain = (self.betas[low] - self.betas[low + 1]) * (energies[rows, warm] - energies[rows, chilly])
        swap = np.log(self.rng.random(gain.shape) + 1e-300) < gain
        self.tried[low] += reads
        self.taken[low] += swap.sum(axis=0)
        self.rung[rows, warm] += swap
        self.rung[rows, chilly] -= swap

    def _adapt(self) -> None:
        """Rungs move towards equal rates: a gap grows with the rate across it."""
        gaps = np.diff(np.log(self.betas)) * np.sqrt(self.rates() + 0.02)
        total = np.log(self.betas[-1] / self.betas[0])
        inner = np.cumsum(gaps)[:-1] * (total / gaps.sum()) if gaps.sum() > 0 else np.log(self.betas[1:-1] / self.betas[0])
        self.betas[1:-1] = self.betas[0] * np.exp(inner)
        self.tried[:], self.taken[:] = 0, 0

    def _look(self) -> None:
        """Keeps each ladder's best. The replicas stay as they are: descents start from copies of the coldest, and replicas
        with constraints or squares keep the best that they have been in themselves.
        """
        replicas: Replicas = self.replicas
        if self._compound:
            found = replicas.states()
        else:
            rungs = self.rung.shape[1]
            cold = (self.rung >= rungs - max(1, rungs // 4)).reshape(-1)
            copies = place(self.task.compiled, (), replicas.states()[cold], self.task.stream)
            copies.descend()
            found = copies.states()
        pool = np.concatenate([self.best, found])
        energies = np.atleast_1d(self.task.plain.energy(pool))
        _, first = np.unique(pool, axis=0, return_index=True)
        order = first[np.argsort(energies[first], kind="stable")]
        self.best = pool[order[: self.task.reads]]
