"""What a simulated quantum device holds: the energies of all states, in units of its largest coupling."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy, from_bqm
from annealnet.samplers.kernels.statevector import all_energies

__all__ = ["Landscape", "check_memory", "uniform_state"]

#: float64: real part, imaginary part, energy.
BYTES_PER_STATE = 24
#: Share of the free memory that a state vector may take.
_SHARE = 0.8


def check_memory(qubits: int, bytes_per_state: int = BYTES_PER_STATE) -> None:
    """Refuses what does not fit, before any of it is taken.

    Args:
        qubits: of the device.
        bytes_per_state: all arrays together.

    Raises:
        ValueError: says how much would be needed and what is free.

    Example:
        >>> check_memory(60)
        Traceback (most recent call last):
        ...
        ValueError: 60 qubits are too many: their 2^60 amplitudes take ...
    """
    needed = bytes_per_state * 2.0**qubits
    free = float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    if needed > _SHARE * free:
        raise ValueError(
            f"{qubits} qubits are too many: their 2^{qubits} amplitudes take {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB "
            "are free: give fewer bits, or take AnnealingSampler, which simulates no amplitudes"
        )


def uniform_state(qubits: int) -> np.ndarray:
    """All amplitudes equal: the ground state of the transverse field, float64 ``(2, 2ⁿ)``."""
    state = np.zeros((2, 1 << qubits))
    state[0] = 2.0 ** (-qubits / 2)
    return state


@dataclass(frozen=True, eq=False)
class Landscape:
    """The cost Hamiltonian C = (E − mean) / unit, diagonal in the bits; bit i of an index is variable i.

    Attributes:
        num_qubits: n.
        fields: h ``(n,)``, of C in spins s = 2x − 1.
        couplings: J ``(n, n)``, upper triangle, of C in spins: C = Σ h_i s_i + Σ_{i<j} J_ij s_i s_j.
        unit: largest coefficient of E in spins, so that those of C lie within ±1, as an annealer scales them.
        mean: of E over all states.
    """

    num_qubits: int
    fields: np.ndarray
    couplings: np.ndarray
    unit: float
    mean: float

    @classmethod
    def of(cls, energy: Energy | ConstrainedEnergy) -> Landscape:
        """Reads an energy; constraints become penalties, whose auxiliary bits are further qubits.

        Raises:
            ValueError: when the states of so many qubits do not fit into memory.

        Example:
            >>> from annealnet.energy import DenseEnergy
            >>> land = Landscape.of(DenseEnergy(np.array([[0.0, 4.0], [0.0, 0.0]])))
            >>> land.unit, land.mean, (land.energies * land.unit + land.mean).tolist()
            (1.0, 1.0, [0.0, 0.0, 0.0, 4.0])
        """
        if isinstance(energy, ConstrainedEnergy):
            plain = _penalised(energy) if energy.constraints else energy.energy_part
        else:
            plain = energy
        check_memory(plain.num_variables)
        linear, offset = plain.expanded_linear()
        matrix = plain.couplings().toarray()
        fields = np.asarray(linear) / 2 + matrix.sum(axis=1) / 4
        couplings = np.triu(matrix, 1) / 4
        largest = max(float(np.abs(fields).max(initial=0)), float(np.abs(couplings).max(initial=0)))
        unit = largest if largest > 0 else 1.0
        mean = offset + float(np.sum(linear)) / 2 + float(couplings.sum())
        return cls(plain.num_variables, fields / unit, couplings / unit, unit, mean)

    @cached_property
    def energies(self) -> np.ndarray:
        """C of every state, float64 ``(2ⁿ,)``."""
        both = self.couplings + self.couplings.T
        linear = 2 * self.fields - 2 * both.sum(axis=1)
        offset = float(self.couplings.sum() - self.fields.sum())
        return np.asarray(all_energies(4 * both, linear, offset))

    @cached_property
    def ground_states(self) -> np.ndarray:
        """Indices of the states of least energy (within 10⁻⁹ of the unit)."""
        return np.flatnonzero(self.energies <= self.energies.min() + 1e-9)

    def logical_gates(self, layers: int) -> dict[str, int]:
        """Gates of so many layers (Trotter steps, QAOA layers) where all qubits are neighbours: RZZ; H, RZ and RX.

        What a device needs after routing, in its own gates, :func:`.resources.count_resources` says.
        """
        singles = self.num_qubits + layers * (self.num_qubits + int(np.count_nonzero(self.fields)))
        return {"two_qubit": layers * int(np.count_nonzero(self.couplings)), "one_qubit": singles}

    def states(self, codes: np.ndarray, variables: int | None = None) -> np.ndarray:
        """int8 ``(codes, variables)`` bits of indices."""
        return ((np.asarray(codes)[:, None] >> np.arange(variables or self.num_qubits)) & 1).astype(np.int8)


def _penalised(energy: ConstrainedEnergy) -> Energy:
    """The penalty model, its first variables being the energy's own."""
    bqm: dimod.BinaryQuadraticModel = energy.to_bqm()
    own = list(range(energy.num_variables))
    others = [v for v in bqm.variables if v not in set(own)]
    check_memory(len(own) + len(others))
    order = {v: i for i, v in enumerate([*own, *others])}
    plain = dimod.BinaryQuadraticModel(bqm.vartype)
    plain.add_linear_from((i, bqm.linear.get(v, 0.0)) for v, i in order.items())
    plain.add_quadratic_from((order[u], order[v], bias) for u, v, bias in bqm.iter_quadratic())
    plain.offset = bqm.offset
    return from_bqm(plain)[0]
