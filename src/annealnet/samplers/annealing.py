"""Simulated annealing in Numba: every energy form, constraints kept exactly, threads over reads."""

from __future__ import annotations

from typing import Any

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.compiled import CompiledEnergy
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.replicas import place
from annealnet.samplers.schedule import Progress, beta_chunks

__all__ = ["AnnealingSampler", "checked_beta_range", "default_beta_range"]

#: From random states, to see how far fields cancel.
_DESCENTS = 4


def default_beta_range(compiled: CompiledEnergy) -> tuple[float, float]:
    """From the energy itself: hot where most flips are taken, cold where none is.

    1 over the root mean square field (over a quarter of the largest, where that is more) to 20 over it. Colder still where
    many fields are much weaker than that, and where fields cancel in low states, as those of penalties do: the cold end is
    20 over the median energy that a flip costs after a descent, where that is less. A square keeps its sum near its least
    value, where differences of single terms decide: it asks for 20 over the own terms |c_r| a_ri² of its weaker bits.
    """
    scales = compiled.field_scales()
    scales = scales[scales > 0]
    if not len(scales):
        return 1.0, 20.0
    rms = float(np.sqrt(np.mean(scales**2)))
    weak = 4 * float(np.quantile(scales, 0.05))
    if compiled.factors.nnz:
        entries = compiled.factors.tocoo()
        own = np.abs(compiled.weights[entries.row]) * entries.data**2
        weak = min(weak, float(np.quantile(own[own > 0], 0.05))) if (own > 0).any() else weak
    else:
        weak = min(weak, _settled_cost(compiled))
    hot, cold = 1.0 / max(rms, float(scales.max()) / 4), 20.0 / max(min(rms, weak), 1e-9 * rms)
    return hot / compiled.scale, cold / compiled.scale


def _settled_cost(compiled: CompiledEnergy) -> float:
    """Median energy, in own units, that a flip costs where no flip gains: of bits with fields, after four descents."""
    bits = np.random.default_rng(0).integers(0, 2, (_DESCENTS, len(compiled.linear)), dtype=np.int8)
    replicas = place(compiled, (), bits, np.uint64(1))
    replicas.descend()
    states = replicas.states().astype(np.float32)
    coupled = states @ compiled.dense if compiled.dense is not None else (compiled.couplings @ states.T).T
    costs = (compiled.linear + coupled) * (1 - 2 * states)
    costs = costs[costs > 0]
    return float(np.median(costs)) if len(costs) else np.inf


def checked_beta_range(given: tuple[float, float] | None, compiled: CompiledEnergy) -> tuple[float, float]:
    """The given range, or the default one.

    Raises:
        ValueError: when it is not 0 < hot ≤ cold.
    """
    if given is None:
        return default_beta_range(compiled)
    if not 0 < given[0] <= given[1] < np.inf:
        raise ValueError(f"beta_range={given!r} must be (hot, cold) with 0 < hot ≤ cold")
    return float(given[0]), float(given[1])


class AnnealingSampler(NativeSampler):
    """Metropolis annealing on a geometric schedule, with a greedy descent at its end.

    Example:
        >>> bqm = dimod.BinaryQuadraticModel({"a": -1.0, "b": -1.0}, {("a", "b"): 3.0}, 0.0, "BINARY")
        >>> float(AnnealingSampler().sample(bqm, num_reads=4, seed=1).first.energy)
        -1.0
    """

    keeps_constraints = True

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "num_sweeps", "beta_range", "seed", "initial_states", "time_limit", "progress"),
            "Metropolis annealing in Numba; keeps cardinalities and budgets exactly",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int | None = None,
        num_sweeps: int | None = None,
        beta_range: tuple[float, float] | None = None,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
        time_limit: float | None = None,
        progress: Progress | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy; constraints hold in every read that is returned.

        Args:
            energy: any form, with or without constraints.
            num_reads: independent anneals; None is 10, and 40 up to 64 bits, whose optimum may be a needle in a haystack.
            num_sweeps: proposals per bit and read; None is 1 000, or as many as fit when there is a time limit.
            beta_range: (hot, cold) inverse temperatures; None takes :func:`default_beta_range`.
            seed: None draws one; without a time limit the same seed gives the same reads whatever the number of threads.
            initial_states: ``(num_reads, n)`` of 0 and 1, or None for random ones.
            time_limit: seconds. Alone, the schedule is stretched to fill it; with ``num_sweeps`` the schedule is cut off.
                (The first call on a machine also compiles its kernels, once.)
            progress: told the share of the work done.

        Returns:
            Samples over variables 0 … n−1, vartype BINARY; ``info`` has timing, beta_range, seed, sweeps and certificate.

        Raises:
            ValueError: when a parameter is out of range, or no state within the constraints could be found.
        """
        if num_sweeps is None and time_limit is None:
            num_sweeps = 1000
        if num_reads is None:
            num_reads = 10 if energy.num_variables > 64 else 40
        task = Task.of(energy, num_reads, seed, time_limit, progress, num_sweeps)
        hot, cold = checked_beta_range(beta_range, task.compiled)
        replicas = place(task.compiled, task.constraints, task.starts(initial_states), task.stream)
        prepared = task.clock.elapsed
        for betas in beta_chunks(hot, cold, num_sweeps, task.clock, progress):
            replicas.sweep(betas)
        replicas.descend()
        timing: dict[str, Any] = {"preprocessing": prepared, "sampling": task.clock.elapsed - prepared}
        states = replicas.states()
        timing["total"] = task.clock.elapsed
        return task.answer(type(self).__name__, states, timing=timing, beta_range=(hot, cold), num_sweeps=replicas.sweeps)
