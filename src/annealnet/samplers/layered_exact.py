"""Small layered models exactly: every state with its Boltzmann weight, and the Schrödinger equation of an anneal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from annealnet.samplers.layered import CheckedLayers, LayeredModel, LayeredReads, LayeredTask, Spins

__all__ = ["EnumeratedLayers", "QuantumLayers"]

#: Spins up to which every state is looked at.
LARGEST = 16


def all_states(spins: int) -> Spins:
    """Every state of ``spins`` spins, int8 ``(2ⁿ, n)``.

    Raises:
        ValueError: when there are too many.
    """
    if spins > LARGEST:
        raise ValueError(f"a model of {spins} spins has 2^{spins} states: this sampler takes up to {LARGEST} spins")
    return (2 * ((np.arange(2**spins)[:, None] >> np.arange(spins)) & 1) - 1).astype(np.int8)


def _allowed(model: LayeredModel, starts: Spins, free: NDArray[np.bool_]) -> tuple[Spins, NDArray[np.float64]]:
    """All states ``(problems, 2ⁿ, n)`` and their energies, +∞ where a held spin would have moved."""
    states = np.repeat(all_states(model.num_variables)[None], model.num_problems, axis=0)
    energies = model.energy(states)
    held = np.repeat(~free, model.sizes)
    energies[(states[:, :, held] != starts[:, :1, held]).any(-1)] = np.inf
    return states, energies


class EnumeratedLayers(CheckedLayers):
    """All 2ⁿ states with weights exp(−βE)/Z, β the schedule's last: means over the reads are exact thermal means.

    Every state comes back, whatever ``reads`` is; held layers keep the states of the first read in ``starts``.

    Example:
        >>> from annealnet.samplers import LayeredModel, Schedule
        >>> model = LayeredModel((), (np.array([[1.0]]),))
        >>> found = EnumeratedLayers().sample_layers(model, Schedule((0.5,)))
        >>> float((found.shares * found.states[:, :, 0]).sum()).__round__(4), round(float(np.tanh(0.5)), 4)
        (0.4621, 0.4621)
    """

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        states, energies = _allowed(task.model, task.states, task.free)
        weights = np.exp(-task.schedule.betas[-1] * (energies - energies.min(1, keepdims=True)))
        weights /= weights.sum(1, keepdims=True)
        return LayeredReads(states, energies, weights=weights)


class QuantumLayers(CheckedLayers):
    """Quantum annealing by the Schrödinger equation: H(s) = −(1 − s) Γ Σ_i X_i + s E/scale, s from 0 to 1.

    Split-step integration of 2ⁿ amplitudes per problem; every problem is annealed once, and its reads are measured from
    the last state. The schedule of temperatures plays no part, and starts for free layers are refused: a forward anneal
    has none.

    Args:
        duration: of the anneal, in units of one over the scaled energy; longer is more adiabatic.
        steps: of the integration.

    Example:
        >>> from annealnet.samplers import LayeredModel, Schedule
        >>> model = LayeredModel((np.ones((2, 2)),), (np.array([[0.5, 0.5]]), np.zeros((1, 2))))
        >>> QuantumLayers().sample_layers(model, Schedule((1.0,)), reads=20, seed=0).best.tolist()
        [[1, 1, 1, 1]]
    """

    def __init__(self, duration: float = 60.0, steps: int = 300) -> None:
        if not duration > 0 or steps < 1:
            raise ValueError(f"duration={duration!r}, steps={steps!r} must be above 0")
        self.duration, self.steps = duration, steps

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        if task.started and task.free.all():
            raise ValueError("starts were given, but a quantum anneal starts from all states at once: hold layers, or none")
        states, energies = _allowed(task.model, task.states, task.free)
        chances = self._chances(energies, np.repeat(task.free, task.model.sizes))
        rng = np.random.default_rng([task.seed, 3])
        drawn = np.stack([rng.choice(len(row), size=task.reads, p=row) for row in chances])
        rows = np.arange(len(states))[:, None]
        return LayeredReads(states[rows, drawn], energies[rows, drawn])

    def _chances(self, energies: NDArray[np.float64], free: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Probabilities of the states after the anneal ``(problems, 2ⁿ)``."""
        possible = np.isfinite(energies)
        finite = np.where(possible, energies, 0.0)
        scaled = finite / np.maximum(np.abs(finite).max(1, keepdims=True), 1e-12) * free.sum()
        amplitudes = possible / np.sqrt(possible.sum(1, keepdims=True)) + 0j
        spins, dt = len(free), self.duration / self.steps
        for step in range(self.steps):
            s = (step + 0.5) / self.steps
            amplitudes *= np.exp(-0.5j * dt * s * scaled)
            angle = dt * (1 - s)
            for spin in np.flatnonzero(free):
                pairs = amplitudes.reshape(len(energies), 2 ** (spins - 1 - spin), 2, 2**spin)
                amplitudes = (np.cos(angle) * pairs + 1j * np.sin(angle) * pairs[:, :, ::-1]).reshape(energies.shape)
            amplitudes *= np.exp(-0.5j * dt * s * scaled)
        chances = np.abs(amplitudes) ** 2
        return np.asarray(chances / chances.sum(1, keepdims=True))
