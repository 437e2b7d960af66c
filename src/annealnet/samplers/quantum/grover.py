"""Minimum finding by Grover search (Dürr & Høyer 1996), with the oracle calls a device would be charged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.kernels.statevector import all_energies
from annealnet.samplers.native import NativeSampler
from annealnet.samplers.quantum.landscape import check_memory
from annealnet.samplers.quantum.measurement import Request, answer_of
from annealnet.whole_numbers import whole_number

__all__ = ["GroverSampler", "MinimumSearch", "durr_hoyer_bound", "find_minimum", "marked_chance"]

#: How fast the number of iterations may grow while nothing is found (Boyer, Brassard, Høyer & Tapp 1998).
_GROWTH = 6 / 5


def durr_hoyer_bound(qubits: int) -> float:
    """22.5 √N + 1.4 (log₂ N)², N = 2ⁿ: after so many calls the minimum is found with probability ½ or more; half of it
    bounds the mean (Dürr & Høyer 1996).

    Example:
        >>> durr_hoyer_bound(10)
        860.0
    """
    return 22.5 * 2 ** (qubits / 2) + 1.4 * qubits**2


def marked_chance(marked: int, size: int, iterations: int) -> float:
    """Chance that a measurement after some Grover iterations gives a marked state: sin²((2j + 1) asin √(t/N)).

    Example:
        >>> marked_chance(1, 4, 1)
        1.0
    """
    return math.sin((2 * iterations + 1) * math.asin(math.sqrt(marked / size))) ** 2


@dataclass(frozen=True)
class MinimumSearch:
    """One run of the algorithm.

    Attributes:
        code: state held at the end.
        calls: oracle calls charged in all.
        calls_to_best: calls charged when the state held at the end was found.
        rounds: measurements.
    """

    code: int
    calls: int
    calls_to_best: int
    rounds: int


def find_minimum(order: np.ndarray, values: np.ndarray, budget: int, rng: np.random.Generator) -> MinimumSearch:
    """Dürr & Høyer's search on a table.

    The state always lies in the plane of the two uniform superpositions, of marked and of unmarked states, so that the
    angle in that plane gives the exact statistics of every measurement; no state vector is needed, and this is no
    approximation. What is charged: one call per Grover iteration (the oracle that marks values below the threshold) and one
    per measured state, whose value has to be looked up.

    Args:
        order: states by ascending value ``(N,)``.
        values: the values in that order.
        budget: calls after which it stops.
        rng: the measurements.

    Example:
        >>> values = np.arange(64.0)
        >>> find_minimum(np.arange(64), values, 500, np.random.default_rng(0)).code
        0
    """
    size = len(order)
    place = int(rng.integers(size))  # where the threshold stands in the order
    calls, best_calls, rounds, width = 1, 1, 0, 1.0
    while calls < budget:
        iterations = int(rng.integers(math.ceil(width)))
        if calls + iterations + 1 > budget:
            break
        calls += iterations + 1
        rounds += 1
        marked = int(np.searchsorted(values, values[place], side="left"))
        if rng.random() < marked_chance(marked, size, iterations):
            place = int(rng.integers(marked))
            best_calls, width = calls, 1.0
        else:
            width = min(_GROWTH * width, math.sqrt(size))
    return MinimumSearch(int(order[place]), calls, best_calls, rounds)


class GroverSampler(NativeSampler):
    """Each read is one run of Dürr and Høyer's minimum finding; infeasible states are never marked.

    Example:
        >>> answer = GroverSampler().sample_qubo({(0, 0): -1.0, (0, 1): 2.0, (1, 1): -1.5}, seed=0)
        >>> float(answer.first.energy)
        -1.5
    """

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "budget", "seed"), "Grover minimum finding, its exact statistics simulated (to about 26 bits)"
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 1,
        budget: int | None = None,
        seed: int | None = None,
    ) -> dimod.SampleSet:
        """Runs the search ``num_reads`` times.

        Args:
            energy: any form; constraints are part of the oracle, which needs no penalty and no auxiliary bit.
            num_reads: independent runs.
            budget: oracle calls of a run; None takes :func:`durr_hoyer_bound`.
            seed: of all measurements.

        Returns:
            Samples; ``info`` has oracle_calls (per read, by ascending energy), calls_to_best, success (share of the reads
            that hold a minimum), bound, qubits, timing and certificate.

        Raises:
            ValueError: with more qubits than memory, a budget below 1, or no state that keeps the constraints.
        """
        request = Request.of(energy, num_reads, seed)
        n = energy.num_variables
        budget = None if budget is None else whole_number("budget", budget, 1)
        check_memory(n)
        order, values = _ordered(energy)
        rng = np.random.default_rng(request.seed)
        limit = math.ceil(durr_hoyer_bound(n)) if budget is None else budget
        runs = [find_minimum(order, values, limit, rng) for _ in range(request.reads)]
        codes = np.array([run.code for run in runs])
        states = ((codes[:, None] >> np.arange(n)) & 1).astype(np.int8)
        if isinstance(energy, ConstrainedEnergy):
            good = energy.feasible(states)
            if not good.any():
                raise ValueError(f"no read found a state that keeps the constraints: raise budget={limit} or num_reads")
            states, runs = states[good], [run for run, kept in zip(runs, good.tolist(), strict=True) if kept]
        found = np.atleast_1d(energy.energy(states))
        by_energy = np.argsort(found, kind="stable")
        info = {
            "qubits": n, "bound": durr_hoyer_bound(n), "oracle_calls": [runs[i].calls for i in by_energy],
            "calls_to_best": [runs[i].calls_to_best for i in by_energy],
            "success": float(np.mean(found <= values[0] + 1e-9 * max(1.0, abs(float(values[0]))))),
        }  # fmt: skip
        return answer_of(type(self).__name__, request, states[by_energy], info)


def _ordered(energy: Energy | ConstrainedEnergy) -> tuple[np.ndarray, np.ndarray]:
    """States by ascending energy, and the energies; infeasible ones are infinite."""
    plain = energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy
    linear, offset = plain.expanded_linear()
    values = all_energies(plain.couplings().toarray(), np.asarray(linear, dtype=np.float64), float(offset))
    if isinstance(energy, ConstrainedEnergy) and energy.constraints:
        n = energy.num_variables
        for first in range(0, len(values), 1 << 16):
            codes = np.arange(first, min(first + (1 << 16), len(values)))
            good = energy.feasible((codes[:, None] >> np.arange(n)) & 1)
            values[codes[~good]] = np.inf
    order = np.argsort(values, kind="stable")
    return order, values[order]
