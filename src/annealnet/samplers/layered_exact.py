"""Small layered models exactly: every state with its Boltzmann weight, and the Schrödinger equation of an anneal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from annealnet.samplers.layered import CheckedLayers, LayeredReads, LayeredTask, Spins
from annealnet.samplers.seeds import Purpose, stream

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


def _conditioned(task: LayeredTask) -> tuple[list[tuple[int, NDArray[np.int64]]], NDArray[np.float64]]:
    """Reads that are held in the same state, and for each such group the energies of all states ``(groups, 2ⁿ)``, +∞ where
    a held spin would have moved.
    """
    states, held = all_states(task.model.num_variables), task.held_spins
    energies = task.model.energy(np.repeat(states[None], task.model.num_problems, axis=0))
    groups = list(task.alike(held))
    found = np.stack([energies[problem] for problem, _ in groups])
    for row, (problem, reads) in zip(found, groups, strict=True):
        row[(states[:, held] != task.states[problem, reads[0], held]).any(axis=1)] = np.inf
    return groups, found


class EnumeratedLayers(CheckedLayers):
    """All 2ⁿ states with weights exp(−βE)/Z, β the schedule's last: means over the reads are exact thermal means.

    Every state comes back, whatever ``reads`` is. Where layers are held, the weights are the mean over the reads of
    ``starts``, each with its own held states; a state that no read can be in has an infinite energy and no weight.

    Example:
        >>> from annealnet.samplers import LayeredModel, Schedule
        >>> model = LayeredModel((), (np.array([[1.0]]),))
        >>> found = EnumeratedLayers().sample_layers(model, Schedule((0.5,)))
        >>> float((found.shares * found.states[:, :, 0]).sum()).__round__(4), round(float(np.tanh(0.5)), 4)
        (0.4621, 0.4621)
    """

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        groups, found = _conditioned(task)
        chances = np.exp(-task.schedule.betas[-1] * (found - found.min(1, keepdims=True)))
        chances /= chances.sum(1, keepdims=True)
        weights, energies = np.zeros((2, task.model.num_problems, found.shape[1]))
        energies += np.inf
        for (problem, reads), row, share in zip(groups, found, chances, strict=True):
            weights[problem] += share * (len(reads) / task.reads)
            energies[problem] = np.minimum(energies[problem], row)
        states = np.repeat(all_states(task.model.num_variables)[None], task.model.num_problems, axis=0)
        return LayeredReads(states, energies, weights=weights)


class QuantumLayers(CheckedLayers):
    """Quantum annealing by the Schrödinger equation: H(s) = −(1 − s) Γ Σ_i X_i + s E/scale, s from 0 to 1.

    Split-step integration of 2ⁿ amplitudes per problem; every problem is annealed once (for each state that layers are held
    in), and its reads are measured from the last state. The schedule of temperatures plays no part, and starts for free
    layers are refused: a forward anneal has none.

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
        groups, found = _conditioned(task)
        every, rng = all_states(task.model.num_variables), stream(task.seed, Purpose.MEASUREMENTS)
        energies = np.empty(task.states.shape[:2])
        for (problem, reads), own, row in zip(groups, found, self._chances(found, ~task.held_spins), strict=True):
            drawn = rng.choice(len(row), size=len(reads), p=row)
            task.states[problem, reads], energies[problem, reads] = every[drawn], own[drawn]
        return LayeredReads(task.states, energies)

    def _chances(self, energies: NDArray[np.float64], free: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Probabilities of the states after the anneal, as the energies ``(groups, 2ⁿ)``."""
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
