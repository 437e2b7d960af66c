"""Every state, in Gray-code order, one flip at a time: the proven optimum of small energies."""

from __future__ import annotations

import time

import dimod
import numpy as np

from annealnet.energy import Certificate, ConstrainedEnergy, Energy
from annealnet.samplers.native import NativeSampler

__all__ = ["MAX_BITS", "ExactSampler"]

#: 2²⁸ states take seconds; each further bit doubles that.
MAX_BITS = 28
#: States whose constraints are checked at a time.
_BLOCK_BITS = 16


class ExactSampler(NativeSampler):
    """Enumerates all states; with constraints, the feasible ones. The answer is proven.

    Example:
        >>> answer = ExactSampler().sample_qubo({(0, 0): -1.0, (0, 1): 2.0, (1, 1): -1.5})
        >>> float(answer.first.energy), answer.info["certificate"]["proven"]
        (-1.5, True)
    """

    def __init__(self) -> None:
        super().__init__(("num_reads",), f"Gray-code enumeration to {MAX_BITS} bits, proven")

    def sample_energy(self, energy: Energy | ConstrainedEnergy, *, num_reads: int = 1) -> dimod.SampleSet:  # type: ignore[override]
        """The ``num_reads`` lowest (feasible) states, lowest first.

        Raises:
            ValueError: with more than 28 bits, or when no state keeps the constraints.
        """
        n = energy.num_variables
        if n > MAX_BITS:
            raise ValueError(f"energy has {n} bits, enumeration ends at {MAX_BITS}: take AnnealingSampler, or fix some bits")
        if num_reads < 1:
            raise ValueError(f"num_reads={num_reads!r} must be at least 1")
        began = time.perf_counter()
        states, energies = _lowest(energy, n, num_reads)
        if not len(states):
            raise ValueError("no state keeps the constraints: loosen one of them")
        seconds = time.perf_counter() - began
        least = float(energies[0])
        certificate = Certificate(least, least, True, type(self).__name__, None, 1, seconds)
        info = {"timing": {"total": seconds}, "certificate": certificate.to_document()}
        return dimod.SampleSet.from_samples((states, list(range(n))), energy=energies, vartype="BINARY", info=info)


def _lowest(energy: Energy | ConstrainedEnergy, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of 2¹⁶ states: energies by Gray code in a kernel, the best of each block kept."""
    from annealnet.samplers.kernels.gray import gray_energies

    plain = energy.energy_part if isinstance(energy, ConstrainedEnergy) else energy
    linear, offset = plain.expanded_linear()
    matrix = np.ascontiguousarray(plain.couplings().toarray())
    low = min(n, _BLOCK_BITS)
    constrained = isinstance(energy, ConstrainedEnergy) and bool(energy.constraints)
    best_states = np.zeros((0, n), dtype=np.int8)
    best_energies = np.zeros(0)
    step = 1 << min(8, n - low)  # high parts handled by one parallel call
    for first in range(0, 1 << (n - low), step):
        values = gray_energies(matrix, np.asarray(linear), offset, low, first, step)
        codes = np.arange(first << low, (first + step) << low, dtype=np.int64)
        flat = values.ravel()
        if constrained:
            assert isinstance(energy, ConstrainedEnergy)
            good = energy.feasible(_bits(codes, n))
            codes, flat = codes[good], flat[good]
        if not len(flat):
            continue
        keep = np.argpartition(flat, min(count, len(flat)) - 1)[:count]
        best_states = np.concatenate([best_states, _bits(codes[keep], n)])
        best_energies = np.concatenate([best_energies, flat[keep]])
        order = np.argsort(best_energies, kind="stable")[:count]
        best_states, best_energies = best_states[order], best_energies[order]
    exact = np.atleast_1d(plain.energy(best_states)) if len(best_states) else best_energies
    order = np.argsort(exact, kind="stable")
    return best_states[order], exact[order]


def _bits(codes: np.ndarray, n: int) -> np.ndarray:
    """Bit i of each code is variable i: int8 ``(codes, n)``."""
    return ((codes[:, None] >> np.arange(n)) & 1).astype(np.int8)
