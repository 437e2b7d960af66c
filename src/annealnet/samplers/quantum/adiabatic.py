"""A simulated coherent quantum annealer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dimod
import numpy as np

from annealnet.energy import ConstrainedEnergy, Energy
from annealnet.samplers.kernels.statevector import evolve_layers
from annealnet.samplers.native import NativeSampler
from annealnet.samplers.quantum.controls import AnnealPath, Controls
from annealnet.samplers.quantum.evolution import (
    TrotterSteps,
    basis_state,
    entanglement_entropy,
    probabilities,
    success_probability,
)
from annealnet.samplers.quantum.landscape import Landscape, uniform_state
from annealnet.samplers.quantum.measurement import Request, measured
from annealnet.whole_numbers import whole_number

__all__ = ["AdiabaticSampler"]

#: Steps per unit of time: couplings are at most 1, and a step turns a spin by few tenths of a radian.
STEPS_PER_TIME = 20


class AdiabaticSampler(NativeSampler):
    """Integrates the Schrödinger equation of H(s) = −A(s) Σ X + B(s) C on all 2ⁿ amplitudes and measures the end.

    Closed system: no temperature, no noise, no embedding. Energies are scaled so that the largest coefficient in spins is
    1; time is in ħ over that. With ``anneal_schedule`` beginning at s = 1 it anneals back from ``initial_states`` (one
    state) and forward again. A constraint becomes a penalty (its auxiliary bits are qubits), and only shots that keep it are
    returned: ``info["kept_share"]`` says how many a device would have had to throw away.

    Args:
        controls: A(s) and B(s); None takes 1 − s and s.

    Example:
        >>> bqm = dimod.BinaryQuadraticModel({}, {"ab": 1.0, "bc": -0.5}, 0.0, "SPIN")
        >>> answer = AdiabaticSampler().sample(bqm, num_reads=10, seed=0)
        >>> float(answer.first.energy), answer.info["success_probability"] > 0.9
        (-1.5, True)
    """

    def __init__(self, controls: Controls | None = None) -> None:
        super().__init__(
            ("num_reads", "anneal_time", "steps", "anneal_schedule", "initial_states", "entropy_points", "seed"),
            "a coherent quantum annealer, simulated on all amplitudes (to about 24 bits)",
        )
        self.controls = Controls.linear() if controls is None else controls

    def sample_energy(  # type: ignore[override]  # the parameters by name
        self,
        energy: Energy | ConstrainedEnergy,
        *,
        num_reads: int = 100,
        anneal_time: float = 20.0,
        steps: int | None = None,
        anneal_schedule: Sequence[tuple[float, float]] | None = None,
        initial_states: np.ndarray | None = None,
        entropy_points: int = 0,
        seed: int | None = None,
    ) -> dimod.SampleSet:
        """Anneals once and measures ``num_reads`` times.

        Args:
            energy: any form; constraints become penalties.
            num_reads: measurements (each of an anneal of its own, as on a device).
            anneal_time: of a linear forward anneal, in ħ over the largest coefficient.
            steps: of the integration; None takes 20 per unit of time, at least 100.
            anneal_schedule: points (t, s) instead: pauses, quenches, reverse anneals.
            initial_states: ``(1, n)`` or ``(n,)`` of 0 and 1, where the schedule begins at s = 1.
            entropy_points: how many times on the way the entanglement entropy of the middle cut is measured (after a step's
                mixing, before its second half turn of C: an error of the order of a step).
            seed: of the measurements; the evolution is deterministic.

        Returns:
            Samples; ``info`` has success_probability (exact), expectation, steps, anneal_time, qubits, logical_gates (of the
            same steps on a gate machine), entropy (pairs of s and bits), timing and certificate.

        Raises:
            ValueError: with more qubits than memory, a bad schedule, or a reverse anneal without a state.
        """
        request = Request.of(energy, num_reads, seed)
        path = AnnealPath.forward(anneal_time) if anneal_schedule is None else AnnealPath(tuple(anneal_schedule))
        entropy_points = whole_number("entropy_points", entropy_points, 0)
        count = max(100, int(np.ceil(STEPS_PER_TIME * path.duration))) if steps is None else steps
        plan = TrotterSteps.of(path, self.controls, count)
        landscape = Landscape.of(energy)
        state = _start(landscape, path, initial_states)
        entropy: list[tuple[float, float]] = []
        for first, last in plan.pieces(max(1, min(entropy_points, count))):
            evolve_layers(state, landscape.energies, plan.thetas[first:last], plan.phis[first:last])
            if entropy_points and landscape.num_qubits > 1:
                entropy.append((float(plan.s[last - 1]), entanglement_entropy(state, landscape.num_qubits // 2)))
        evolve_layers(state, landscape.energies, np.array([plan.last]), np.array([0.0]))
        info: dict[str, Any] = {
            "success_probability": success_probability(state, landscape), "steps": count, "anneal_time": path.duration,
            "entropy": entropy, "logical_gates": landscape.logical_gates(count),
        }  # fmt: skip
        return measured(type(self).__name__, request, landscape, probabilities(state), info)


def _start(landscape: Landscape, path: AnnealPath, given: np.ndarray | None) -> np.ndarray:
    n = landscape.num_qubits
    if not path.is_reverse:
        if given is not None:
            raise ValueError("initial_states is for reverse anneals: give an anneal_schedule that begins at s = 1")
        return uniform_state(n)
    bits = None if given is None else np.asarray(given).reshape(-1)
    if bits is None or bits.shape != (n,) or not np.isin(bits, (0, 1)).all():
        raise ValueError(f"a reverse anneal begins in a state: give initial_states with {n} bits of 0 and 1")
    return basis_state(n, int((bits.astype(np.int64) << np.arange(n)).sum()))
