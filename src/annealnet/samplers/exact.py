"""The proven optimum: every state where there are few, branch and bound where there are many."""

from __future__ import annotations

import dimod
import numpy as np

from annealnet.energy import Certificate, ConstrainedEnergy, Energy, lower_bound
from annealnet.samplers.annealing import AnnealingSampler
from annealnet.samplers.answers import lowest_first, scored
from annealnet.samplers.branching import Bounded, branch_and_bound
from annealnet.samplers.kernels.threads import threads_for
from annealnet.samplers.native import NativeSampler, Task
from annealnet.samplers.schedule import Clock
from annealnet.samplers.seeds import checked_seed
from annealnet.whole_numbers import whole_number

__all__ = ["MAX_BITS", "MAX_CONSTRAINED_BITS", "ExactSampler"]

#: 2³² states take seconds, 2³⁶ a minute.
MAX_BITS = 36
#: Constraints are checked state by state, which is slower.
MAX_CONSTRAINED_BITS = 28
#: Bits of the states whose constraints are checked at a time.
_BLOCK_BITS = 16
#: Bits of the states between two looks at the clock: about a tenth of a second.
_CHUNK_BITS = 27
#: Share of the time limit that annealing gets to find the state that branch and bound then tries to prove.
_SEARCH = 0.1


class ExactSampler(NativeSampler):
    """Enumerates all states to 36 bits (28 with constraints); beyond, branches and bounds inside a time limit.

    Enumeration proves its answer. Branch and bound (HiGHS, on the linearised energy) starts beside an annealed state and
    gives the lower bound it reached; ``info["certificate"]`` says whether the gap was closed, ``info["method"]`` how.

    Example:
        >>> answer = ExactSampler().sample_qubo({(0, 0): -1.0, (0, 1): 2.0, (1, 1): -1.5})
        >>> float(answer.first.energy), answer.info["certificate"]["proven"]
        (-1.5, True)
    """

    keeps_constraints = True

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "seed", "time_limit"),
            f"enumeration to {MAX_BITS} bits, proven; then branch and bound with a gap",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 1,
        seed: int | None = None,
        time_limit: float | None = None,
    ) -> dimod.SampleSet:
        """The ``num_reads`` lowest (feasible) states, lowest first.

        Args:
            energy: any form, with or without constraints.
            num_reads: states returned; after branch and bound all but the first are annealed ones.
            seed: of the annealing beside branch and bound; enumeration draws nothing.
            time_limit: seconds; needed where states are too many to enumerate. An enumeration that is cut off says so: it
                is not proven.

        Raises:
            ValueError: with too many bits and no time limit, or when no state keeps the constraints.
        """
        num_reads, seed = whole_number("num_reads", num_reads, 1), None if seed is None else checked_seed(seed)
        clock = Clock(time_limit)
        constrained = isinstance(energy, ConstrainedEnergy) and bool(energy.constraints)
        n, limit = energy.num_variables, MAX_CONSTRAINED_BITS if constrained else MAX_BITS
        if n > limit:
            if time_limit is None:
                raise ValueError(
                    f"energy has {n} bits, enumeration ends at {limit}: give a time_limit for branch and bound, "
                    "or take AutoSampler, which proves nothing"
                )
            return _bounded(Task.of(energy, num_reads, seed, time_limit, None))
        if constrained:
            assert isinstance(energy, ConstrainedEnergy)
            states, whole = _lowest_feasible(energy, num_reads, clock)
        else:
            plain = energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy
            states, whole = _lowest(plain, num_reads, clock)
        if not len(states):
            raise ValueError("no state keeps the constraints: loosen one of them" if whole else _too_short(time_limit))
        return _answer(energy, states, clock, whole, lower_bound(energy), "enumeration", None)


def _too_short(limit: float | None) -> str:
    return f"time_limit={limit!r} ended before a state was found that keeps the constraints: give more time"


def _answer(
    energy: Energy | ConstrainedEnergy,
    states: np.ndarray,
    clock: Clock,
    proven: bool,
    bound: float,
    method: str,
    seed: int | None,
) -> dimod.SampleSet:
    answer = lowest_first(scored(energy, states, {}))
    least, seconds = float(answer.record.energy[0]), clock.elapsed
    certificate = Certificate(least, least if proven else min(bound, least), proven, "ExactSampler", seed, 1, seconds)
    answer.info.update({"timing": {"total": seconds}, "certificate": certificate.to_document(), "method": method})
    return answer


def _lowest(energy: Energy, count: int, clock: Clock) -> tuple[np.ndarray, bool]:
    """The lowest states, and whether all were looked at."""
    from annealnet.samplers.kernels.gray import TILE_BITS, lowest_codes, tile_energies

    n = energy.num_variables
    linear = np.asarray(energy.expanded_linear()[0], dtype=np.float64)
    matrix = np.ascontiguousarray(energy.couplings().toarray())
    low = min(n, TILE_BITS)
    prefix = min(n - low, max(8, n - _CHUNK_BITS + 3))  # a chunk has at least eight parts to share among threads
    parts, step = 1 << prefix, min(1 << prefix, max(8, 1 << max(0, prefix - max(0, n - _CHUNK_BITS))))
    table = tile_energies(matrix, linear, low)
    energies, codes = np.zeros(0), np.zeros(0, dtype=np.int64)
    for first in range(0, parts, step):
        if first and clock.passed:
            return _bits(codes, n), False
        with threads_for(step << (n - prefix)):
            found, at = lowest_codes(matrix, linear, table, low, prefix, first, step, min(count, 1 << (n - prefix)))
        energies = np.concatenate([energies, found.ravel()])
        codes = np.concatenate([codes, at.ravel()])
        order = np.argsort(energies, kind="stable")[: min(count, 1 << n)]
        energies, codes = energies[order], codes[order]
    return _bits(codes, n), True


def _lowest_feasible(energy: ConstrainedEnergy, count: int, clock: Clock) -> tuple[np.ndarray, bool]:
    """The lowest states that keep the constraints, block by block of 2¹⁶, and whether all were looked at."""
    from annealnet.samplers.kernels.gray import tile_energies

    n, plain = energy.num_variables, energy.energy_part
    linear = np.asarray(plain.expanded_linear()[0], dtype=np.float64)
    matrix = np.ascontiguousarray(plain.couplings().toarray())
    low = min(n, _BLOCK_BITS)
    block = np.zeros((1 << low, n), dtype=np.int8)
    block[:, :low] = _bits(np.arange(1 << low), low)
    table, low_bits = tile_energies(matrix, linear, low), block[:, :low].astype(np.float64)
    best, energies = np.zeros((0, n), dtype=np.int8), np.zeros(0)
    for high in range(1 << (n - low)):
        if high and clock.passed:
            return best, False
        block[:, low:] = (high >> np.arange(n - low)) & 1
        upper = block[0, low:].astype(np.float64)
        good = np.flatnonzero(energy.feasible(block))
        if not len(good):
            continue
        base = linear[low:] @ upper + 0.5 * upper @ matrix[low:, low:] @ upper
        values = base + table[good] + low_bits[good] @ (matrix[:low, low:] @ upper)
        keep = np.argpartition(values, min(count, len(good)) - 1)[:count]
        best = np.concatenate([best, block[good[keep]]])
        energies = np.concatenate([energies, values[keep]])
        order = np.argsort(energies, kind="stable")[:count]
        best, energies = best[order], energies[order]
    return best, True


def _bounded(task: Task) -> dimod.SampleSet:
    """An annealed state first, then as much proof as the time allows."""
    assert task.clock.limit is not None
    annealed = AnnealingSampler().sample_energy(
        task.energy, num_reads=max(8, task.reads), seed=task.seed, time_limit=_SEARCH * task.clock.limit
    )
    states = annealed.record.sample.astype(np.int8)
    found: Bounded = branch_and_bound(task.energy, max(1e-3, task.clock.limit - task.clock.elapsed))
    if found.state is not None:
        states = np.concatenate([found.state[None], states])
    order = np.argsort(task.energy.energy(states), kind="stable")[: task.reads]
    least = float(task.energy.energy(states[order[0]]))
    bound = max(found.bound, lower_bound(task.energy))
    proven = least - bound <= found.tolerance
    return _answer(task.energy, states[order], task.clock, proven, bound, "branch and bound", task.seed)


def _bits(codes: np.ndarray, n: int) -> np.ndarray:
    """Bit i of each code is variable i: int8 ``(codes, n)``."""
    return ((codes[:, None] >> np.arange(n)) & 1).astype(np.int8)
