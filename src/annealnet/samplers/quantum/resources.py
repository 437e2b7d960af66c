"""What a run asks of a gate-model device: qubits, depth, gates after routing, oracle calls. Needs ``annealnet[quantum]``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from annealnet.samplers.quantum.circuits import qiskit_module

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Resources", "Topology", "count_resources", "coupling_map"]

Topology = Literal["full", "line", "grid", "heavy_hex"]
_BASIS = ["rz", "sx", "x", "cz"]


@dataclass(frozen=True)
class Resources:
    """What a circuit takes.

    Attributes:
        topology: of the device it was laid out on.
        qubits: used.
        depth: gates one after the other.
        one_qubit_gates, two_qubit_gates: in the device's own gates.
        queries: oracle calls, 0 where there is no oracle.
    """

    topology: str
    qubits: int
    depth: int
    one_qubit_gates: int
    two_qubit_gates: int
    queries: int = 0

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def coupling_map(topology: Topology, qubits: int) -> Any:
    """The smallest device of a family with at least so many qubits, as Qiskit's ``CouplingMap``; None where all are coupled.

    Raises:
        ValueError: when the family is not known.
    """
    maps = qiskit_module("qiskit.transpiler").CouplingMap
    if topology == "full":
        return None
    if topology == "line":
        return maps.from_line(qubits)
    if topology == "grid":
        rows = math.isqrt(qubits - 1) + 1 if qubits > 1 else 1
        return maps.from_grid(rows, -(-qubits // rows))
    if topology == "heavy_hex":
        distance = 3
        while maps.from_heavy_hex(distance).size() < qubits:
            distance += 2
        return maps.from_heavy_hex(distance)
    raise ValueError(f"topology={topology!r} is not known: there are full, line, grid and heavy_hex")


def count_resources(
    circuit: QuantumCircuit, topology: Topology = "heavy_hex", *, queries: int = 0, seed: int = 0, effort: int = 1
) -> Resources:
    """Transpiles to RZ, √X, X and CZ on a device's couplings and counts.

    Args:
        circuit: from :mod:`.circuits`.
        topology: family of the device.
        queries: oracle calls, passed on.
        seed: of Qiskit's routing.
        effort: Qiskit's optimisation level, 0 to 3.

    Example:
        >>> import numpy as np
        >>> from annealnet.energy import DenseEnergy
        >>> from annealnet.samplers.quantum import Landscape, layered_circuit
        >>> land = Landscape.of(DenseEnergy(np.triu(np.ones((4, 4)), 1)))
        >>> circuit = layered_circuit(land, np.array([0.1]), np.array([0.2]))
        >>> count_resources(circuit, "full").two_qubit_gates  # six couplings, two CZ each
        12
    """
    routed = qiskit_module().transpile(
        circuit, coupling_map=coupling_map(topology, circuit.num_qubits), basis_gates=_BASIS, seed_transpiler=seed,
        optimization_level=effort,
    )  # fmt: skip
    used = {qubit for instruction in routed.data for qubit in instruction.qubits}
    gates = [instruction for instruction in routed.data if instruction.operation.name not in ("barrier", "measure")]
    singles = sum(len(instruction.qubits) == 1 for instruction in gates)
    pairs = sum(len(instruction.qubits) == 2 for instruction in gates)
    return Resources(topology, len(used), routed.depth(), singles, pairs, queries)
