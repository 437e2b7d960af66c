"""The quantum approximate optimisation algorithm, simulated on all amplitudes, with exact gradients."""

from __future__ import annotations

from typing import Any, Literal

import dimod
import numpy as np
from scipy.optimize import minimize

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.kernels.statevector import diagonal_overlap, evolve_layers, mixer_overlap, turn_and_mix
from annealnet.samplers.native import NativeSampler
from annealnet.samplers.quantum.angles import Angles, field_size, fourier_basis
from annealnet.samplers.quantum.evolution import entanglement_entropy, probabilities, success_probability
from annealnet.samplers.quantum.landscape import Landscape, check_memory, uniform_state
from annealnet.samplers.quantum.measurement import Request, measured
from annealnet.whole_numbers import whole_number

__all__ = ["QAOASampler", "expected_cost", "expected_cost_and_gradient", "optimise_angles", "qaoa_state"]

Strategy = Literal["interp", "fourier"]


def qaoa_state(landscape: Landscape, angles: Angles) -> np.ndarray:
    """The state after all layers, float64 ``(2, 2ⁿ)``."""
    state = uniform_state(landscape.num_qubits)
    evolve_layers(state, landscape.energies, angles.gammas / field_size(landscape), angles.betas)
    return state


def expected_cost(landscape: Landscape, angles: Angles) -> float:
    """⟨C⟩ after all layers."""
    state = qaoa_state(landscape, angles)
    return float(diagonal_overlap(state, state, landscape.energies)[0])


def expected_cost_and_gradient(landscape: Landscape, angles: Angles) -> tuple[float, np.ndarray]:
    """⟨C⟩ and its derivatives by γ then β ``(2p,)``, exact, at about three times the work of ⟨C⟩ for any p.

    Adjoint: λ = Cψ is carried back through the layers beside ψ; ∂/∂β = −2 Im⟨λ|ΣX|ψ⟩, ∂/∂γ = 2 Im⟨λ|C|ψ⟩.

    Example:
        >>> from annealnet.energy import DenseEnergy
        >>> land = Landscape.of(DenseEnergy(np.zeros((1, 1)), np.array([2.0])))  # C = s: ⟨C⟩ = −sin 2β sin 2γ
        >>> value, slope = expected_cost_and_gradient(land, Angles(np.array([0.3]), np.array([0.4])))
        >>> bool(np.isclose(value, -np.sin(0.8) * np.sin(0.6))), bool(np.isclose(slope[1], -2 * np.cos(0.8) * np.sin(0.6)))
        (True, True)
    """
    energies, size = landscape.energies, field_size(landscape)
    state = qaoa_state(landscape, angles)
    adjoint = state * energies
    value = float(diagonal_overlap(state, state, energies)[0])
    slopes = np.empty(2 * angles.depth)
    for k in range(angles.depth - 1, -1, -1):
        beta, theta = float(angles.betas[k]), float(angles.gammas[k]) / size
        slopes[angles.depth + k] = -2 * mixer_overlap(adjoint, state)
        for vector in (state, adjoint):
            turn_and_mix(vector, energies, 0.0, -beta)
        slopes[k] = 2 * diagonal_overlap(adjoint, state, energies)[1] / size
        for vector in (state, adjoint):
            turn_and_mix(vector, energies, -theta, 0.0)
    return value, slopes


def optimise_angles(
    landscape: Landscape, depth: int, strategy: Strategy = "interp", iterations: int = 60, start: Angles | None = None
) -> tuple[Angles, int]:
    """Angles of a low ⟨C⟩, grown layer by layer, each depth by L-BFGS; and the number of gradients it took.

    Args:
        landscape: the problem.
        depth: p.
        strategy: how the angles of one more layer begin: «interp» stretches them, «fourier» keeps their amplitudes.
        iterations: of L-BFGS at each depth.
        start: angles to begin from (those of another problem: transfer), of at most ``depth`` layers.

    Raises:
        ValueError: with a depth below that of ``start``, or an unknown strategy.
    """
    depth, iterations = whole_number("depth", depth, 1), whole_number("iterations", iterations, 0)
    if strategy not in ("interp", "fourier"):
        raise ValueError(f"strategy={strategy!r} is not known: there are interp and fourier")
    angles = Angles.first() if start is None else start
    if angles.depth > depth:
        raise ValueError(f"angles have {angles.depth} layers, depth={depth} is less: give a depth of at least that")
    spent = 0
    while True:
        basis = np.eye(2 * angles.depth) if strategy == "interp" else fourier_basis(angles.depth)

        def objective(amplitudes: np.ndarray, basis: np.ndarray = basis) -> tuple[float, np.ndarray]:
            value, slopes = expected_cost_and_gradient(landscape, Angles.split(basis @ amplitudes))
            return value, basis.T @ slopes

        first = np.linalg.solve(basis, angles.joined())
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
        spent += int(found.nfev)
        angles = Angles.split(basis @ found.x)
        if angles.depth == depth:
            return angles, spent
        angles = angles.interpolated() if strategy == "interp" else _one_more_amplitude(found.x)


def _one_more_amplitude(amplitudes: np.ndarray) -> Angles:
    half = len(amplitudes) // 2
    longer = np.concatenate([amplitudes[:half], [0.0], amplitudes[half:], [0.0]])
    return Angles.split(fourier_basis(half + 1) @ longer)


class QAOASampler(NativeSampler):
    """p layers of cost and mixer on all amplitudes; angles optimised by exact gradients, or given.

    A constraint becomes a penalty, and only shots that keep it are returned, as :class:`AdiabaticSampler` does.

    Example:
        >>> bqm = dimod.BinaryQuadraticModel({}, {"ab": 1.0, "bc": -0.5}, 0.0, "SPIN")
        >>> answer = QAOASampler().sample(bqm, depth=2, num_reads=20, seed=0)
        >>> float(answer.first.energy), len(answer.info["angles"]["gammas"])
        (-1.5, 2)
    """

    def __init__(self) -> None:
        super().__init__(
            ("num_reads", "depth", "strategy", "iterations", "angles", "seed"),
            "QAOA, simulated on all amplitudes (to about 24 bits)",
        )

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 100,
        depth: int = 3,
        strategy: Strategy = "interp",
        iterations: int = 60,
        angles: Angles | None = None,
        seed: int | None = None,
    ) -> dimod.SampleSet:
        """Finds angles and measures ``num_reads`` times.

        Args:
            energy: any form; constraints become penalties.
            num_reads: measurements.
            depth: layers p; not read where ``angles`` are given.
            strategy: see :func:`optimise_angles`.
            iterations: of L-BFGS per depth.
            angles: used as they are: angles found on another problem.
            seed: of the measurements.

        Returns:
            Samples; ``info`` has angles, success_probability (exact), expectation, evaluations (gradients on all amplitudes;
            a device would need shots for each), entropy of the middle cut, qubits, logical_gates, timing and certificate.

        Raises:
            ValueError: with more qubits than memory, or a parameter out of range.
        """
        request = Request.of(energy, num_reads, seed)
        landscape = Landscape.of(energy)
        check_memory(landscape.num_qubits, 40)  # a second state for the gradient
        chosen, evaluations = (angles, 0) if angles else optimise_angles(landscape, depth, strategy, iterations)
        state = qaoa_state(landscape, chosen)
        n = landscape.num_qubits
        info: dict[str, Any] = {
            "success_probability": success_probability(state, landscape),
            "angles": {"gammas": chosen.gammas.tolist(), "betas": chosen.betas.tolist()},
            "evaluations": evaluations,
            "logical_gates": landscape.logical_gates(chosen.depth),
            "entropy": entanglement_entropy(state, n // 2) if n > 1 else 0.0,
        }
        return measured(type(self).__name__, request, landscape, probabilities(state), info)
