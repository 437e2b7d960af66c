"""The anneals that training is made of, each one call for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.ising.network.spins import IsingNetwork
from annealnet.samplers import LayeredAnnealing, LayeredReads, LayeredSampler, Schedule
from annealnet.samplers.seeds import Purpose, stream

__all__ = ["Phases"]


@dataclass(frozen=True)
class Phases:
    """Which sampler anneals, and how.

    Args:
        sampler: of layered models: native, torch, exact, quantum, or any dimod sampler in
            :class:`~annealnet.samplers.DimodLayers`.
        forward: schedule from hot to cold.
        reverse: schedule around a given state.
    """

    sampler: LayeredSampler = field(default_factory=LayeredAnnealing)
    forward: Schedule = field(default_factory=lambda: Schedule.forward(0.1, 1.0, 15))
    reverse: Schedule = field(default_factory=lambda: Schedule.reverse(5.0, 0.5, 21))

    def free(self, network: IsingNetwork, x: NDArray[Any], *, reads: int = 1, seed: int = 0) -> LayeredReads:
        """Nothing but the inputs given: what the network answers by itself."""
        return self.sampler.sample_layers(network.model(x), self.forward, reads=reads, seed=seed)

    def clamped(
        self, network: IsingNetwork, x: NDArray[Any], targets: NDArray[Any], *, reads: int = 1, seed: int = 0
    ) -> LayeredReads:
        """Output spins held at the targets ``(samples, n_L)``.

        Raises:
            ValueError: targets that are not ±1 of that shape, which no spin can be held at.
        """
        model = network.model(x)
        wanted = (model.num_problems, model.sizes[-1])
        if np.shape(targets) != wanted or not (np.abs(targets) == 1).all():
            raise ValueError(f"targets has shape {np.shape(targets)}: outputs are clamped to −1 and 1 of shape {wanted}")
        rng = stream(seed, Purpose.CLAMPED_STARTS)
        starts = (2 * rng.integers(0, 2, (len(targets), reads, model.num_variables)) - 1).astype(np.int8)
        starts[..., -model.sizes[-1] :] = np.asarray(targets, dtype=np.int8)[:, None]
        held = [False] * (len(model.sizes) - 1) + [True]
        return self.sampler.sample_layers(model, self.forward, reads=reads, seed=seed, starts=starts, held=held)

    def nudged(
        self,
        network: IsingNetwork,
        x: NDArray[Any],
        targets: NDArray[Any],
        nudge: float,
        starts: NDArray[np.int8] | None,
        *,
        reads: int = 1,
        seed: int = 0,
    ) -> LayeredReads:
        """Fields nudge · target added to the outputs, annealed back from ``starts`` (None: a forward anneal)."""
        model = network.model(x)
        pulled = (*model.fields[:-1], model.fields[-1] + np.asarray(np.float32(nudge) * targets, np.float32))
        schedule = self.forward if starts is None else self.reverse
        return self.sampler.sample_layers(replace(model, fields=pulled), schedule, reads=reads, seed=seed, starts=starts)
