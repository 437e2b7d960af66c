"""The default: picks a sampler by the energy's form and size, lets the likely ones compete, and says what it chose
and why.
"""

from __future__ import annotations

from typing import Any

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, DenseEnergy, Energy, SparseEnergy
from annealnet.samplers.annealing import AnnealingSampler
from annealnet.samplers.exact import ExactSampler
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.recombination import RecombinationSampler
from annealnet.samplers.schedule import Clock, Progress
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.samplers.tabu import TabuSampler
from annealnet.samplers.tempering import TemperingSampler

__all__ = ["AutoSampler"]

#: Bits that are enumerated at once, in well under a second, without and with constraints.
_ENUMERATED, _ENUMERATED_CONSTRAINED = 24, 20
#: Couplings per bit up to which partition crossover finds pieces to exchange.
_SPARSE = 64
#: Share of the time or sweeps that each sampler gets to show what it can; and of the polish.
_TRIAL, _POLISH = 0.15, 0.1
#: What recombination may be behind in its trial, of the way from random states to the best: it goes on gaining where anneals
#: no longer do.
_LEAD = 0.005
#: Seconds from which a time limit leaves room to load all kernels before the trials, and bits of the energy that loads them.
_WORTH_LOADING, _TINY = 3.0, 32
#: Shares of a time limit after which no further sampler is loaded, or has its trial.
_LOADED, _LATE = 0.2, 0.75
#: Sweeps of it, enough for some rounds of every sampler.
_LOADING = 300
#: Bits up to which tabu search is worth its n numbers a move.
_TABU = 5000


class AutoSampler(NativeSampler):
    """Enumeration where it is cheap; annealing where constraints or given states ask for it; else the winner of a short
    contest.

    ``info["chosen"]`` and ``info["reason"]`` say what happened, ``info["trials"]`` what each sampler found in its trial.

    Example:
        >>> bqm = dimod.BinaryQuadraticModel({"a": -1.0, "b": -1.0}, {("a", "b"): 3.0}, 0.0, "BINARY")
        >>> answer = AutoSampler().sample(bqm, num_reads=1)
        >>> float(answer.first.energy), answer.info["chosen"], answer.info["certificate"]["proven"]
        (-1.0, 'ExactSampler', True)
    """

    keeps_constraints = True

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "seed", "initial_states", "time_limit", "progress"),
            "picks a sampler by form and size, and says why",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 10,
        num_sweeps: int | None = None,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy; constraints hold in every read that is returned.

        Args:
            energy: any form, with or without constraints.
            num_reads: states returned, lowest energy first.
            num_sweeps: sweeps of the chosen sampler (trials come on top); None is its default.
            seed: None draws one; without a time limit the same seed gives the same answer.
            initial_states: ``(num_reads, n)`` of 0 and 1 to anneal from, or None.
            time_limit: seconds for everything together.
            progress: told the share of the chosen sampler's work.

        Raises:
            ValueError: when a parameter is out of range, or no state within the constraints could be found.
        """
        n = energy.num_variables
        common: dict[str, Any] = {"seed": seed, "time_limit": time_limit, "progress": progress}
        constrained = isinstance(energy, ConstrainedEnergy) and bool(energy.constraints)
        if initial_states is None and n <= (_ENUMERATED_CONSTRAINED if constrained else _ENUMERATED):
            Task.of(energy, num_reads, seed, time_limit, progress, num_sweeps)  # the request is checked all the same
            answer = ExactSampler().sample_energy(energy, num_reads=num_reads)
            return _named(answer, "ExactSampler", f"{n} bits are enumerated at once, and the optimum is proven")
        if initial_states is not None:
            answer = AnnealingSampler().sample_energy(
                energy, num_reads=num_reads, num_sweeps=num_sweeps, initial_states=initial_states, **common
            )
            return _named(answer, "AnnealingSampler", "states to start from are given")
        task = Task.of(energy, num_reads, seed, time_limit, progress, num_sweeps)
        if task.constraints or task.compiled.factors.nnz:
            answer = AnnealingSampler().sample_energy(energy, num_reads=num_reads, num_sweeps=num_sweeps, **common)
            return _named(answer, "AnnealingSampler", "its compound moves keep constraints and squares")
        return _contest(task, num_sweeps)


def _contest(task: Task, num_sweeps: int | None) -> dimod.SampleSet:
    """Trials, then the winner with the rest of the work, then a polish by tabu search."""
    n, limit = task.plain.num_variables, task.clock.limit
    entrants: list[NativeSampler] = [AnnealingSampler(), TemperingSampler()]
    if task.compiled.dense is None and task.compiled.couplings.nnz <= _SPARSE * n:
        entrants.insert(0, RecombinationSampler())
    whole = 1000 if num_sweeps is None and limit is None else num_sweeps
    pool: list[tuple[np.ndarray, np.ndarray]] = []
    trials: dict[str, float] = {}
    polish = n <= _TABU
    if limit is not None and limit >= _WORTH_LOADING:
        loaded = _loaded([*entrants, *([TabuSampler()] if polish else [])], task.compiled.dense is not None, task.clock)
        entrants, polish = [e for e in loaded if not isinstance(e, TabuSampler)], polish and len(loaded) > len(entrants)
    for number, entrant in enumerate(entrants):
        if trials and task.clock.share > _LATE:
            break
        effort = _effort(_TRIAL, whole, limit, task.clock.elapsed)
        answer = entrant.sample_energy(task.energy, seed=derived_seed(task.seed, Purpose.TRIALS, number), **effort)
        pool.append((answer.record.sample, answer.record.energy))
        trials[type(entrant).__name__] = float(answer.first.energy)
    lead = _LEAD * abs(min(trials.values()) - _typical(task))
    handicaps = {e: lead if isinstance(e, RecombinationSampler) else 0.0 for e in entrants}
    winner = min(entrants[: len(trials)], key=lambda entrant: trials[type(entrant).__name__] - handicaps[entrant])
    rest = None if limit is None else (limit - task.clock.elapsed) / limit - (_POLISH if polish else 0.0)
    effort = _effort(1.0 if rest is None else max(0.01, rest), whole, limit, task.clock.elapsed)
    own = derived_seed(task.seed, Purpose.WINNER)
    answer = winner.sample_energy(task.energy, seed=own, progress=task.progress, **effort)
    pool.append((answer.record.sample, answer.record.energy))
    states = _lowest(pool, task.reads)
    polish = polish and not task.clock.passed
    if polish:
        left = None if limit is None else max(0.01 * limit, limit - task.clock.elapsed)
        answer = TabuSampler().sample_energy(
            task.energy, num_reads=len(states), initial_states=states, seed=derived_seed(task.seed, Purpose.POLISH),
            time_limit=left, num_sweeps=None if whole is None else max(1, whole // 50),
        )  # fmt: skip
        states = _lowest([(states, task.plain.energy(states)), (answer.record.sample, answer.record.energy)], task.reads)
    name = type(winner).__name__
    told = ", ".join(f"{entrant} {least:.6g}" for entrant, least in trials.items())
    found = (
        "least energy" if trials[name] == min(trials.values()) else "near the least energy, as crossover goes on gaining,"
    )
    reason = f"{found} in a short trial ({told})" + ("; polished by TabuSampler" if polish else "")
    return _named(task.answer("AutoSampler", states), name, reason, trials)


def _typical(task: Task) -> float:
    """Mean energy of a few random states."""
    return float(np.mean(task.plain.energy(task.random_states(np.random.default_rng(0)))))


def _loaded(samplers: list[NativeSampler], dense: bool, clock: Clock) -> list[NativeSampler]:
    """Those whose kernels, of later rounds too, could be loaded while there was time, so that nobody's trial is spent on
    that; the first in any case. Where a new installation compiles them, fewer compete rather than that the limit is passed.
    """
    rows = np.arange(_TINY)
    tiny: Energy = SparseEnergy(rows, (rows + 1) % _TINY, np.ones(_TINY), np.zeros(_TINY))
    if dense:
        tiny = DenseEnergy(np.triu(np.ones((_TINY, _TINY)), 1))
    found: list[NativeSampler] = []
    for sampler in samplers:
        if found and clock.share > _LOADED:
            break
        sampler.sample_energy(tiny, num_reads=2, num_sweeps=_LOADING, seed=0)
        found.append(sampler)
    return found


def _effort(share: float, sweeps: int | None, limit: float | None, elapsed: float) -> dict[str, Any]:
    """A share of the whole work as num_sweeps or time_limit."""
    if limit is None:
        assert sweeps is not None
        return {"num_sweeps": max(1, round(share * sweeps))}
    seconds = max(1e-3, min(share * limit, limit - elapsed))
    return {"time_limit": seconds} if sweeps is None else {"time_limit": seconds, "num_sweeps": sweeps}


def _lowest(pool: list[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """The ``count`` lowest states, distinct as far as there are enough."""
    states = np.concatenate([found for found, _ in pool]).astype(np.int8)
    energies = np.concatenate([np.atleast_1d(values) for _, values in pool])
    _, first = np.unique(states, axis=0, return_index=True)
    best = first[np.argsort(energies[first], kind="stable")][:count]
    others = np.setdiff1d(np.argsort(energies, kind="stable"), best, assume_unique=True)
    chosen = np.concatenate([best, others])[:count]
    return np.ascontiguousarray(states[chosen[np.argsort(energies[chosen], kind="stable")]])


def _named(answer: dimod.SampleSet, chosen: str, reason: str, trials: dict[str, float] | None = None) -> dimod.SampleSet:
    found = answer.truncate(len(answer), sorted_by="energy")
    found.info.update({"chosen": chosen, "reason": reason, "trials": trials or {}})
    return found
