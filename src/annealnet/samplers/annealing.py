"""Simulated annealing in Numba: every energy form, constraints kept exactly, threads over reads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dimod
import numpy as np
from scipy import sparse

from annealnet.energy import Cardinality, Certificate, ConstrainedEnergy, Constraint, Energy, from_bqm, lower_bound
from annealnet.samplers.compiled import CompiledEnergy, compile_constraints, compile_energy

__all__ = ["AnnealingSampler", "default_beta_range"]

#: Random moves a read may take to come within the budgets.
_REPAIRS_PER_VARIABLE = 400


def default_beta_range(compiled: CompiledEnergy) -> tuple[float, float]:
    """From the energy's own local fields: hot where nearly every flip is taken, cold where none is.

    0.1 over the root mean square field to 20 over it, colder still where many fields are much weaker than that.
    """
    scales = compiled.field_scales()
    scales = scales[scales > 0]
    if not len(scales):
        return 0.1, 20.0
    rms = float(np.sqrt(np.mean(scales**2)))
    weak = float(np.quantile(scales, 0.05))
    return 0.1 / rms, 20.0 / max(min(rms, 4 * weak), 1e-6 * rms)


class AnnealingSampler(dimod.Sampler):
    """Metropolis annealing on a geometric schedule, with a greedy descent at its end.

    Example:
        >>> bqm = dimod.BinaryQuadraticModel({"a": -1.0, "b": -1.0}, {("a", "b"): 3.0}, 0.0, "BINARY")
        >>> float(AnnealingSampler().sample(bqm, num_reads=4, seed=1).first.energy)
        -1.0
    """

    # dimod declares both as abstract properties; every instance has its own
    parameters: Any = None
    properties: Any = None

    def __init__(self) -> None:
        self.parameters = {name: [] for name in ("num_reads", "num_sweeps", "beta_range", "seed", "initial_states")}
        self.properties = {"description": "Metropolis annealing in Numba; keeps cardinalities and budgets exactly"}

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: Any) -> dimod.SampleSet:
        """Samples a binary quadratic model; parameters as :meth:`sample_energy`.

        ``initial_states`` are in the model's variable order and vartype.
        """
        self._known(parameters)
        if bqm.num_variables == 0:
            return dimod.SampleSet.from_samples_bqm([{}], bqm)
        energy, labels = from_bqm(bqm)
        starts = parameters.get("initial_states")
        if starts is not None and bqm.vartype is dimod.SPIN:
            parameters["initial_states"] = (np.asarray(starts) + 1) // 2
        answer = self.sample_energy(energy, **parameters)
        answer = answer.relabel_variables(dict(enumerate(labels)), inplace=False)
        return answer.change_vartype(bqm.vartype, inplace=False)

    def sample_energy(
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 10,
        num_sweeps: int = 1000,
        beta_range: tuple[float, float] | None = None,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
    ) -> dimod.SampleSet:
        """Samples an energy; constraints hold in every read that is returned.

        Args:
            energy: any form, with or without constraints.
            num_reads: independent anneals.
            num_sweeps: proposals per bit and read.
            beta_range: (hot, cold) inverse temperatures; None takes :func:`default_beta_range`.
            seed: None draws one; the same seed gives the same reads whatever the number of threads.
            initial_states: ``(num_reads, n)`` of 0 and 1, or None for random ones.

        Returns:
            Samples over variables 0 … n−1, vartype BINARY; ``info`` has timing, beta_range, seed and certificate.

        Raises:
            ValueError: when a parameter is out of range, or no state within the constraints could be found.
        """
        if num_reads < 1 or num_sweeps < 1:
            raise ValueError(f"num_reads={num_reads!r} and num_sweeps={num_sweeps!r} must be at least 1")
        if beta_range is not None and not 0 < beta_range[0] <= beta_range[1] < np.inf:
            raise ValueError(f"beta_range={beta_range!r} must be (hot, cold) with 0 < hot ≤ cold")
        began = time.perf_counter()
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
        plain = energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy
        compiled = compile_energy(plain)
        hot, cold = beta_range or default_beta_range(compiled)
        betas = np.geomspace(hot, cold, num_sweeps)
        states = self._starts(energy, num_reads, seed, initial_states)
        stream = np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        prepared = time.perf_counter()
        constraints = energy.constraints if isinstance(energy, ConstrainedEnergy) else ()
        if constraints or compiled.factors.nnz:
            states = _anneal_compound(constraints, compiled, states, betas, stream)
        else:
            _anneal_free(compiled, states, betas, stream)
        sampled = time.perf_counter()
        energies = np.atleast_1d(plain.energy(states))
        seconds = time.perf_counter() - began
        certificate = Certificate(
            float(energies.min()), lower_bound(energy), False, type(self).__name__, seed, num_reads, seconds
        )
        info = {
            "timing": {"preprocessing": prepared - began, "sampling": sampled - prepared, "total": seconds},
            "beta_range": (float(hot), float(cold)), "seed": seed, "certificate": certificate.to_document(),
        }  # fmt: skip
        return dimod.SampleSet.from_samples(
            (states, list(range(plain.num_variables))), energy=energies, vartype="BINARY", info=info
        )

    def _known(self, parameters: dict[str, Any]) -> None:
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no parameter: there are {', '.join(self.parameters)}")

    def _starts(self, energy: Energy | ConstrainedEnergy, reads: int, seed: int, given: np.ndarray | None) -> np.ndarray:
        n = energy.num_variables
        if given is not None:
            states = np.array(given, dtype=np.int8)
            if states.shape != (reads, n) or not np.isin(states, (0, 1)).all():
                raise ValueError(f"initial_states has shape {states.shape}: give 0 and 1 of shape ({reads}, {n})")
            return np.ascontiguousarray(states)
        rng = np.random.default_rng(seed)
        states = rng.integers(0, 2, (reads, n), dtype=np.int8)
        for constraint in energy.constraints if isinstance(energy, ConstrainedEnergy) else ():
            if isinstance(constraint, Cardinality):
                members = np.array(constraint.variables, dtype=np.int64)
                for state in states:
                    state[members] = 0
                    state[rng.choice(members, constraint.count, replace=False)] = 1
        return states


def _anneal_free(compiled: CompiledEnergy, states: np.ndarray, betas: np.ndarray, stream: np.uint64) -> None:
    from annealnet.samplers.kernels.free import anneal_dense, anneal_sparse

    if compiled.dense is not None:
        anneal_dense(compiled.dense, compiled.linear.astype(np.float32), states, betas, stream)
    else:
        couplings = compiled.couplings
        neighbours = (couplings.indptr.astype(np.int64), couplings.indices.astype(np.int64), couplings.data)
        anneal_sparse(compiled.linear, *neighbours, states, betas, stream)


def _anneal_compound(
    constraints: Sequence[Constraint],
    compiled: CompiledEnergy,
    states: np.ndarray,
    betas: np.ndarray,
    stream: np.uint64,
) -> np.ndarray:
    """With constraints or squares: compound moves. Returns the feasible reads."""
    import numba

    from annealnet.samplers.kernels.constrained import anneal_read

    for constraint in constraints:
        if isinstance(constraint, Cardinality) and not constraint.holds(states).all():
            raise ValueError(
                f"initial_states break a cardinality: {constraint.count} of {len(constraint.variables)} variables must be 1"
            )
    couplings, factors = compiled.couplings, compiled.factors
    if compiled.dense is not None:
        couplings = sparse.csr_matrix(compiled.dense.astype(np.float64))
    by_row = sparse.csr_matrix(factors)
    energy = (
        *(couplings.indptr.astype(np.int64), couplings.indices.astype(np.int64), couplings.data),
        *(factors.indptr.astype(np.int64), factors.indices.astype(np.int64), factors.data, compiled.weights),
    )
    members = (by_row.indptr.astype(np.int64), by_row.indices.astype(np.int64))
    limits = compile_constraints(states.shape[1], constraints)
    problem = (energy, limits.sets, members, limits.counts, limits.budgets)
    repairs = _REPAIRS_PER_VARIABLE * states.shape[1]

    def read(number: int) -> float:
        state = states[number]
        return float(
            anneal_read(compiled.linear, compiled.shifts, limits.constants, problem, state, betas, stream, number, repairs)
        )

    with ThreadPoolExecutor(numba.get_num_threads()) as threads:  # the kernel lets go of the interpreter
        left = np.array(list(threads.map(read, range(len(states)))))
    if (left > 0).all():
        raise ValueError(
            f"no state within the budgets was found (the nearest exceeds one by {left.min():.3%}): "
            "loosen the budget, or give initial_states that keep it"
        )
    return np.asarray(states[left == 0])
