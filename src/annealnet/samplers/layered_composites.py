"""Layered samplers around layered samplers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from annealnet.samplers.layered import Floats, LayeredModel, LayeredReads, LayeredSampler, Schedule, Spins
from annealnet.samplers.seeds import Purpose, stream
from annealnet.whole_numbers import whole_number

__all__ = ["BestOf", "NoisyLayers"]


class BestOf:
    """Keeps the read of least energy out of several: one read per problem comes back for each that was asked for.

    Args:
        sampler: of the reads.
        tries: per read that is kept.
    """

    def __init__(self, sampler: LayeredSampler, tries: int = 10) -> None:
        tries = whole_number("tries", tries, 1)
        self.sampler, self.tries = sampler, tries

    def sample_layers(
        self,
        model: LayeredModel,
        schedule: Schedule,
        *,
        reads: int = 1,
        seed: int = 0,
        starts: Spins | None = None,
        held: Sequence[bool] | None = None,
    ) -> LayeredReads:
        """Anneals every problem ``reads · tries`` times, from ``starts`` (repeated) where they are given."""
        repeated = None if starts is None else np.repeat(starts, self.tries, axis=1)
        found = self.sampler.sample_layers(model, schedule, reads=reads * self.tries, seed=seed, starts=repeated, held=held)
        energies = found.energies.reshape(-1, reads, self.tries)
        best = energies.argmin(-1)[..., None]
        states = found.states.reshape(*energies.shape, -1)
        kept = np.take_along_axis(states, best[..., None], axis=2)[:, :, 0]
        return LayeredReads(kept, energies.min(-1), found.seconds, info=found.info)


class NoisyLayers:
    """Control errors of an analog machine: it anneals a model that is a little off, and is judged by the right one.

    Every call programs the machine anew: each coupling is off by a Gaussian error, the same for all problems of the
    call, and each field of each problem by its own. A coupling of exactly 0 is none, and has no error. Energies are
    those of the model that was asked for.

    Args:
        sampler: of the reads.
        fields: standard deviation of the fields' errors, in the model's units.
        couplings: that of the couplings'. Where couplings reach ±1, a quantum annealer has some hundredths.

    Raises:
        ValueError: a negative or infinite deviation.

    Example:
        >>> from annealnet.samplers import LayeredAnnealing
        >>> model = LayeredModel((np.ones((3, 2)),), (np.full((4, 3), 0.1), np.zeros((4, 2))))
        >>> noisy = NoisyLayers(LayeredAnnealing(), fields=0.02, couplings=0.02)
        >>> noisy.sample_layers(model, Schedule.forward(0.1, 5.0, 50), reads=2, seed=1).energies.min().round(3).item()
        -6.3
    """

    def __init__(self, sampler: LayeredSampler, *, fields: float = 0.0, couplings: float = 0.0) -> None:
        for name, value in (("fields", fields), ("couplings", couplings)):
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}={value!r} is a standard deviation: give a number of at least 0")
        self.sampler, self.fields, self.couplings = sampler, fields, couplings

    @property
    def _depth(self) -> int:
        """Layers of noise inside this one: each draws errors of its own."""
        inner: Any = self.sampler
        depth = 0
        while inner is not None:
            depth += isinstance(inner, NoisyLayers)
            inner = getattr(inner, "sampler", None)
        return depth

    def sample_layers(
        self,
        model: LayeredModel,
        schedule: Schedule,
        *,
        reads: int = 1,
        seed: int = 0,
        starts: Spins | None = None,
        held: Sequence[bool] | None = None,
    ) -> LayeredReads:
        """Anneals the disturbed problems; arguments and errors are those of the sampler."""
        rng = stream(seed, Purpose.CONTROL_ERRORS, self._depth)

        def errors(block: Floats, deviation: float) -> Floats:
            return np.asarray(rng.standard_normal(block.shape) * deviation, dtype=np.float32)

        def coupled(block: Floats) -> Floats:
            return np.where(block == 0, block, block + errors(block, self.couplings))

        def inside(block: Floats | None) -> Floats | None:
            upper = None if block is None else np.triu(coupled(block), 1)
            return None if upper is None else upper + upper.T

        disturbed = replace(
            model, couplings=tuple(coupled(block) for block in model.couplings),
            fields=tuple(block + errors(block, self.fields) for block in model.fields),
            inner=tuple(inside(block) for block in model.inner),
        )  # fmt: skip
        found = self.sampler.sample_layers(disturbed, schedule, reads=reads, seed=seed, starts=starts, held=held)
        return replace(found, energies=model.energy(found.states))
