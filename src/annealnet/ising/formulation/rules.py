"""Training rules: which states are pulled down and which pushed up, from the anneals of one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from annealnet.ising.formulation.phases import Phases
from annealnet.ising.network.spins import Floats, IsingNetwork
from annealnet.samplers import LayeredReads, Schedule
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.whole_numbers import whole_attributes

__all__ = ["ContrastiveDivergence", "DeepStateRule", "Direction", "EquilibriumPropagation", "TrainingRule", "contrast"]


@dataclass(frozen=True)
class Direction:
    """What one batch says.

    Attributes:
        steps: uphill directions of W, J_1 …, b_1 …, and the K_l that exist, means over the batch.
        wrong: share of samples that gave cause to learn.
        anneals: reads taken.
    """

    steps: tuple[Floats, ...]
    wrong: float
    anneals: int


class TrainingRule(Protocol):
    """Turns a batch into a direction."""

    def direction(self, network: IsingNetwork, x: Floats, targets: Floats, phases: Phases, seed: int) -> Direction:
        """Anneals what it needs and compares; ``targets`` are output spins ``(samples, n_L)``."""


def contrast(
    network: IsingNetwork, x: Floats, terms: list[tuple[NDArray[np.int8], NDArray[np.float64]]]
) -> tuple[Floats, ...]:
    """Σ over terms, samples and reads of weight · ∂(−E)/∂(W, J, b, K): moments of states, over the number of samples.

    That of K_l is s_l s_lᵀ off the diagonal: K_ij and K_ji are one coupling, and each holds its slope.

    Args:
        network: whose energy.
        x: inputs ``(samples, n_in)``.
        terms: states ``(samples, reads, n)`` and signed weights ``(samples, reads)``.
    """
    inputs = network.checked(x)
    cuts = np.cumsum(network.sizes)[:-1]
    totals = [np.zeros_like(part) for part in network.parameters]
    coupled = [number for number, block in enumerate(network.inner) if block is not None]
    for states, weights in terms:
        kept = np.abs(weights).sum(1) > 0
        if not kept.any():
            continue
        share = (weights[kept] / len(x)).astype(np.float32)[..., None]
        layers = np.split(states[kept].astype(np.float32), cuts, axis=-1)
        weighted = [layer * share for layer in layers]
        totals[0] += inputs[kept].T @ weighted[0].sum(1)
        for number, (below, above) in enumerate(zip(weighted[:-1], layers[1:], strict=True)):
            totals[1 + number] += below.reshape(-1, below.shape[-1]).T @ above.reshape(-1, above.shape[-1])
        for number, layer in enumerate(weighted):
            totals[len(layers) + number] += layer.sum((0, 1))
        for place, number in enumerate(coupled, 2 * len(layers)):
            flat = (block.reshape(-1, network.sizes[number]) for block in (weighted[number], layers[number]))
            totals[place] += next(flat).T @ next(flat)
    for total in totals[2 * len(network.sizes) :]:
        np.fill_diagonal(total, 0.0)
    return tuple(totals)


def answered(network: IsingNetwork, states: NDArray[np.int8]) -> NDArray[np.int8]:
    """Output spins of states ``(…, n)``."""
    return states[..., -network.sizes[-1] :]


@dataclass(frozen=True)
class DeepStateRule:
    """Pushes up every wrong state at or below the right one (our reconstruction of Zhang & Kamenev, arXiv 2506.05244).

    s⁺ is annealed with the outputs clamped, R reads {s⁻} with them free; for every read whose outputs are wrong and
    E(s⁻) ≤ E(s⁺) + margin, −E(s⁺) + E(s⁻) climbs: J += η(s⁺s⁺ᵀ − s⁻s⁻ᵀ). A step for one sample always lowers the energy
    of its right state relative to those wrong ones.

    Args:
        reads: R.
        margin: energy by which right states should lie below all wrong ones.
        temperature: deeper wrong states count more, as exp(−(E − E_min)/temperature); None counts all alike.
    """

    reads: int = 4
    margin: float = 60.0
    temperature: float | None = None

    def __post_init__(self) -> None:
        whole_attributes(self, 1, "reads")
        if self.margin < 0 or (self.temperature is not None and self.temperature <= 0):
            raise ValueError(f"{self!r}: margin at least 0, temperature above 0 or None")

    def direction(self, network: IsingNetwork, x: Floats, targets: Floats, phases: Phases, seed: int) -> Direction:
        """As in :class:`TrainingRule`."""
        free = phases.free(network, x, reads=self.reads, seed=derived_seed(seed, Purpose.FREE_PHASE))
        right = phases.clamped(network, x, targets, seed=derived_seed(seed, Purpose.CLAMPED_PHASE))
        below = free.energies <= right.energies.min(1, keepdims=True) + self.margin
        wrong = (answered(network, free.states) != targets[:, None]).any(-1) & below
        weights = wrong * free.shares
        if self.temperature is not None:
            above = free.energies - free.energies.min(1, keepdims=True)
            weights = wrong * np.exp(-above / self.temperature)
            weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-30) * wrong.any(1, keepdims=True)
        steps = contrast(network, x, [(right.best[:, None], weights.sum(1, keepdims=True)), (free.states, -weights)])
        return Direction(steps, float(wrong.any(1).mean()), free.energies.size + right.energies.size)


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Free anneal, then a nudged one that starts from it (Laydevant, Marković & Grollier, Nat. Commun. 15:3671, 2024).

    The outputs get fields β·target, the machine anneals back from the free state, and with φ = −∂E/∂θ the parameters move by
    (φ(nudged) − φ(free))/β. Samples whose every free read is right already are skipped. Over exact thermal reads
    the direction tends to that of steepest descent of ⟨−target·s⟩/T as β → 0.

    Args:
        nudge: β.
        reads: of every phase; :class:`~annealnet.samplers.BestOf` keeps the best, as published.
        centred: compares +β with −β, whose error is of second order in β.
        skip: whether samples that are right are left out (published) or not (exact gradients).
    """

    nudge: float = 5.0
    reads: int = 1
    centred: bool = False
    skip: bool = True

    def __post_init__(self) -> None:
        whole_attributes(self, 1, "reads")
        if not self.nudge > 0:
            raise ValueError(f"nudge={self.nudge!r} must be above 0")

    def direction(self, network: IsingNetwork, x: Floats, targets: Floats, phases: Phases, seed: int) -> Direction:
        """As in :class:`TrainingRule`."""
        free = phases.free(network, x, reads=self.reads, seed=derived_seed(seed, Purpose.FREE_PHASE))
        wrong = (answered(network, free.states) != targets[:, None]).any((1, 2)) if self.skip else np.ones(len(x), bool)
        kept = np.flatnonzero(wrong)
        if not len(kept):
            return Direction(tuple(np.zeros_like(p) for p in network.parameters), 0.0, free.energies.size)
        inputs, wanted = x[kept], targets[kept]
        starts = free.states[kept] if free.weights is None else None
        own = [derived_seed(seed, Purpose.NUDGED_PHASE, number) for number in range(2)]
        up = phases.nudged(network, inputs, wanted, self.nudge, starts, reads=self.reads, seed=own[0])
        down = LayeredReads(free.states[kept], free.energies[kept], weights=free.shares[kept])
        anneals = free.energies.size + up.energies.size
        if self.centred:
            down = phases.nudged(network, inputs, wanted, -self.nudge, starts, reads=self.reads, seed=own[1])
            anneals += down.energies.size
        factor = len(kept) / len(x) / (self.nudge * (2 if self.centred else 1))
        steps = contrast(network, inputs, [(up.states, up.shares * factor), (down.states, -down.shares * factor)])
        return Direction(steps, float(wrong.mean()), anneals)


@dataclass(frozen=True)
class ContrastiveDivergence:
    """CD-k on p(s | x) (Hinton, Neural Computation 14, 2002): k heat-bath sweeps at temperature 1 from the clamped state.

    Args:
        sweeps: k.
        reads: chains per sample.
    """

    sweeps: int = 5
    reads: int = 4

    def __post_init__(self) -> None:
        whole_attributes(self, 1, "sweeps", "reads")

    def direction(self, network: IsingNetwork, x: Floats, targets: Floats, phases: Phases, seed: int) -> Direction:
        """As in :class:`TrainingRule`; the sampler must draw at the last temperature (``LayeredAnnealing(quenches=0)``)."""
        chain = replace(phases, forward=Schedule((1.0,) * self.sweeps))
        right = chain.clamped(network, x, targets, reads=self.reads, seed=derived_seed(seed, Purpose.CLAMPED_PHASE))
        model: Any = network.model(x)
        own = derived_seed(seed, Purpose.FREE_PHASE)
        left = chain.sampler.sample_layers(model, chain.forward, reads=self.reads, seed=own, starts=right.states)
        wrong = (answered(network, left.states) != targets[:, None]).any((1, 2))
        steps = contrast(network, x, [(right.states, right.shares), (left.states, -left.shares)])
        return Direction(steps, float(wrong.mean()), right.energies.size + left.energies.size)
