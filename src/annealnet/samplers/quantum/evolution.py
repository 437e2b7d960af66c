"""The Schrödinger equation of an anneal, by second-order splitting; and what can be asked of a state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from annealnet.samplers.kernels.statevector import evolve_layers
from annealnet.samplers.quantum.controls import AnnealPath, Controls
from annealnet.samplers.quantum.landscape import Landscape, uniform_state
from annealnet.whole_numbers import whole_number

__all__ = ["TrotterSteps", "anneal", "basis_state", "entanglement_entropy", "probabilities", "success_probability"]


@dataclass(frozen=True, eq=False)
class TrotterSteps:
    """i ∂ψ/∂t = H(s(t)) ψ in steps of δ: e^{−iδB C/2} e^{iδA ΣX} e^{−iδB C/2}, A and B at the step's middle.

    The error falls with δ². Halves of C between two steps are one turn.

    Attributes:
        thetas: turns of C before each mixing ``(steps,)``.
        phis: mixing angles ``(steps,)``.
        last: the half turn at the end.
        s: at the end of each step ``(steps,)``.

    Example:
        >>> steps = TrotterSteps.of(AnnealPath.forward(1.0), Controls.linear(), 2)
        >>> steps.phis.tolist(), steps.thetas.tolist(), steps.last
        ([0.375, 0.125], [0.0625, 0.25], 0.1875)
    """

    thetas: np.ndarray
    phis: np.ndarray
    last: float
    s: np.ndarray

    @classmethod
    def of(cls, path: AnnealPath, controls: Controls, steps: int) -> TrotterSteps:
        """Cuts a path into equal steps."""
        steps = whole_number("steps", steps, 1)
        step = path.duration / steps
        transverse, problem = controls.at(path.at((np.arange(steps) + 0.5) * step))
        halves = problem * step / 2
        thetas = halves.copy()
        thetas[1:] += halves[:-1]
        return cls(thetas, transverse * step, float(halves[-1]), path.at((np.arange(steps) + 1) * step))

    def pieces(self, count: int) -> Iterator[tuple[int, int]]:
        """First and last step of ``count`` pieces of about one length."""
        edges = np.unique(np.linspace(0, len(self.phis), count + 1).round().astype(int))
        yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def basis_state(qubits: int, code: int) -> np.ndarray:
    """One classical state, float64 ``(2, 2ⁿ)``."""
    state = np.zeros((2, 1 << qubits))
    state[0, code] = 1.0
    return state


def anneal(landscape: Landscape, steps: TrotterSteps, state: np.ndarray | None = None) -> np.ndarray:
    """The state at the end, float64 ``(2, 2ⁿ)``: real and imaginary parts.

    Args:
        landscape: the problem.
        steps: the drive.
        state: to start from (changed in place), or None for the ground state of the transverse field.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> land = Landscape.of(DenseEnergy(np.zeros((2, 2)), np.array([1.0, -1.0])))
        >>> final = anneal(land, TrotterSteps.of(AnnealPath.forward(20.0), Controls.linear(), 200))
        >>> success_probability(final, land) > 0.98
        True
    """
    found = uniform_state(landscape.num_qubits) if state is None else state
    evolve_layers(found, landscape.energies, steps.thetas, steps.phis)
    evolve_layers(found, landscape.energies, np.array([steps.last]), np.array([0.0]))
    return found


def probabilities(state: np.ndarray) -> np.ndarray:
    """|ψ(x)|², float64 ``(2ⁿ,)``."""
    return np.asarray(state[0].astype(np.float64) ** 2 + state[1].astype(np.float64) ** 2)


def success_probability(state: np.ndarray, landscape: Landscape) -> float:
    """Chance that one measurement gives a ground state."""
    at = landscape.ground_states
    return float((state[0, at] ** 2 + state[1, at] ** 2).sum())


def entanglement_entropy(state: np.ndarray, cut: int) -> float:
    """Von Neumann entropy of qubits 0 … cut−1 with the others, in bits: 0 for a product, at most min(cut, n − cut).

    −Σ p log₂ p over the squared singular values p of the amplitudes as a matrix.

    Args:
        state: ``(2, 2ⁿ)``, real and imaginary parts.
        cut: number of qubits on the one side, 1 … n−1.

    Raises:
        ValueError: when a side would be empty.

    Example:
        >>> bell = np.zeros((2, 4)); bell[0, 0] = bell[0, 3] = 0.5**0.5
        >>> round(entanglement_entropy(bell, 1), 9)
        1.0
    """
    qubits = int(state.shape[1]).bit_length() - 1
    if not 1 <= cut < qubits:
        raise ValueError(f"cut={cut!r} must leave qubits on both sides: give 1 to {qubits - 1}")
    matrix = (state[0] + 1j * state[1]).reshape(1 << (qubits - cut), 1 << cut)
    small = matrix.conj().T @ matrix if cut <= qubits - cut else matrix @ matrix.conj().T
    shares = np.linalg.eigvalsh(small)
    shares = shares[shares > 1e-15]
    return float(-(shares * np.log2(shares)).sum())
