"""The same evolutions as Qiskit circuits: variable i is qubit i, s = 2x − 1 = −Z. Needs ``annealnet[quantum]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from annealnet.samplers.quantum.evolution import TrotterSteps
from annealnet.samplers.quantum.landscape import Landscape

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["grover_circuit", "layered_circuit", "qiskit_module", "trotter_circuit"]


def qiskit_module(name: str = "qiskit") -> Any:
    """Qiskit or a part of it, imported when it is first needed.

    Raises:
        ValueError: when it is not installed; names the extra.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed, which circuits need: pip install 'annealnet[quantum]'") from error


def _turn(circuit: QuantumCircuit, landscape: Landscape, theta: float) -> None:
    """e^{−iθC}: one RZ per field, one RZZ per coupling."""
    for i, field in enumerate(landscape.fields.tolist()):
        if field:
            circuit.rz(-2 * theta * field, i)
    for i, j in zip(*np.nonzero(landscape.couplings), strict=True):
        circuit.rzz(2 * theta * float(landscape.couplings[i, j]), int(i), int(j))


def layered_circuit(landscape: Landscape, thetas: np.ndarray, phis: np.ndarray, last: float = 0.0) -> QuantumCircuit:
    """|+⟩ⁿ, then layers e^{iφΣX} e^{−iθC}, then e^{−i·last·C}: QAOA's circuit, or an anneal's.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> land = Landscape.of(DenseEnergy(np.array([[0.0, 4.0], [0.0, 0.0]])))
        >>> sorted(layered_circuit(land, np.array([0.1]), np.array([0.2])).count_ops().items())
        [('h', 2), ('rx', 2), ('rz', 2), ('rzz', 1)]
    """
    circuit: QuantumCircuit = qiskit_module().QuantumCircuit(landscape.num_qubits)
    circuit.h(range(landscape.num_qubits))
    for theta, phi in zip(thetas.tolist(), phis.tolist(), strict=True):
        _turn(circuit, landscape, theta)
        circuit.rx(-2 * phi, range(landscape.num_qubits))
    if last:
        _turn(circuit, landscape, last)
    return circuit


def trotter_circuit(landscape: Landscape, steps: TrotterSteps) -> QuantumCircuit:
    """A forward anneal, step for step as :func:`.evolution.anneal` computes it."""
    return layered_circuit(landscape, steps.thetas, steps.phis, steps.last)


def grover_circuit(marked: np.ndarray, iterations: int) -> QuantumCircuit:
    """Grover's search for small cases: the oracle as a diagonal of ±1, then the reflection about the mean.

    Args:
        marked: bool ``(2ⁿ,)``: which states the oracle marks.
        iterations: oracle calls.

    Raises:
        ValueError: with more than 12 qubits (the diagonal is written out gate by gate) or a length that is no power of 2.
    """
    qubits = int(len(marked)).bit_length() - 1
    if len(marked) != 1 << qubits or not 1 <= qubits <= 12:
        raise ValueError(f"marked has {len(marked)} entries: give 2ⁿ of them with n from 1 to 12")
    library = qiskit_module("qiskit.circuit.library")
    circuit: QuantumCircuit = qiskit_module().QuantumCircuit(qubits)
    circuit.h(range(qubits))
    oracle = library.DiagonalGate(np.where(marked, -1.0, 1.0).tolist())
    mirror = library.DiagonalGate([1.0, *[-1.0] * (len(marked) - 1)])
    for _ in range(iterations):
        circuit.append(oracle, range(qubits))
        circuit.h(range(qubits))
        circuit.append(mirror, range(qubits))
        circuit.h(range(qubits))
    return circuit
