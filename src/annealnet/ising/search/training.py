"""Epochs of anneals and steps: a state that can be stopped, written, read and continued to the same result."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.files import arrays_of, replacing
from annealnet.interruption import Interruption
from annealnet.ising.formulation.phases import Phases
from annealnet.ising.formulation.rules import DeepStateRule, TrainingRule
from annealnet.ising.network.spins import Floats, IsingNetwork
from annealnet.ising.search.optimisers import Adam, Moments, Optimiser
from annealnet.samplers import sampler_fingerprint
from annealnet.samplers.seeds import Purpose, derived_seed, stream
from annealnet.whole_numbers import whole_attributes

__all__ = ["EpochRecord", "Training", "TrainingState"]

#: Share of the couplings at their limit beyond which a learning rate is called diverging.
_SATURATED = 0.5
#: Name of the file in a checkpoint's folder.
CHECKPOINT = "training.npz"
#: Why a state has stopped that Ctrl-C has ended.
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: its number from 1, the share of samples that gave cause to learn, anneals so far."""

    epoch: int
    wrong: float
    anneals: int


@dataclass(frozen=True)
class TrainingState:
    """Everything that continuing needs.

    Attributes:
        network: as trained so far.
        moments: of the optimiser.
        steps: taken.
        history: of the epochs.
        stopped: why training ended before its last epoch, or "".
    """

    network: IsingNetwork
    moments: Moments
    steps: int = 0
    history: tuple[EpochRecord, ...] = ()
    stopped: str = ""

    def save(self, path: str | Path, fingerprint: str = "") -> Path:
        """Writes arrays as .npz (no pickle), under a temporary name first."""
        arrays: dict[str, NDArray[Any]] = {f"p{i}": part for i, part in enumerate(self.network.parameters)}
        for i, moment in enumerate(self.moments):
            arrays |= {f"m{i}_{j}": part for j, part in enumerate(moment)}
        arrays["history"] = np.array([(r.epoch, r.wrong, r.anneals) for r in self.history]).reshape(-1, 3)
        arrays["steps"], arrays["fingerprint"] = np.array(self.steps), np.array(fingerprint)
        arrays["stopped"] = np.array(self.stopped)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return Path(path)

    def loaded(self, path: str | Path, fingerprint: str = "") -> TrainingState:
        """This state as a checkpoint has it.

        Raises:
            ValueError: a checkpoint that is damaged, or of other settings or data.
        """
        arrays = arrays_of(path, f"checkpoint {path}")
        if str(arrays.get("fingerprint")) != fingerprint:
            raise ValueError(f"checkpoint {path} belongs to other settings or data: give another path, or remove it")
        parameters = [arrays[f"p{i}"] for i in range(len(self.network.parameters))]
        moments = tuple(tuple(arrays[f"m{i}_{j}"] for j in range(len(part))) for i, part in enumerate(self.moments))
        history = tuple(EpochRecord(int(e), float(w), int(a)) for e, w, a in arrays["history"])
        network = self.network.with_parameters(parameters)
        return TrainingState(network, moments, int(arrays["steps"]), history, str(arrays["stopped"]))


@dataclass(frozen=True)
class Training:
    """Minibatches through a rule; the learning rate falls as half a cosine.

    Args:
        rule: of learning.
        phases: of annealing.
        optimiser: of moving.
        epochs: over the samples.
        batch_size: samples per step, all annealed in one call.
        decay: whether the learning rate falls to zero over the epochs.
        seed: of order and anneals.
        checkpoint: folder written to after every epoch and continued from where it has something, or None.
        say: told every epoch.
    """

    rule: TrainingRule = field(default_factory=DeepStateRule)
    phases: Phases = field(default_factory=Phases)
    optimiser: Optimiser = field(default_factory=Adam)
    epochs: int = 60
    batch_size: int = 32
    decay: bool = True
    seed: int = 0
    checkpoint: str | Path | None = None
    say: Callable[[EpochRecord], None] | None = None

    def __post_init__(self) -> None:
        whole_attributes(self, 0, "epochs", "seed")
        whole_attributes(self, 1, "batch_size")

    def start(self, network: IsingNetwork) -> TrainingState:
        """Before the first step."""
        return TrainingState(network, self.optimiser.start(network.parameters))

    def run(self, network: IsingNetwork, x: NDArray[Any], labels: NDArray[np.int64]) -> TrainingState:
        """Trains on class numbers; errors as :meth:`run_targets`."""
        return self.run_targets(network, x, network.targets(labels))

    def run_targets(self, network: IsingNetwork, x: NDArray[Any], targets: Floats) -> TrainingState:
        """Trains on output spins ``(samples, n_L)``.

        Returns:
            The last state; at Ctrl-C the state by then, with a warning. Where a learning rate diverges (numbers that are not
            finite, or more than half of the couplings at their limit) training stops, warns, and returns the state before
            that epoch.

        Raises:
            ValueError: no samples, features or targets of a wrong shape, a checkpoint of other settings.
        """
        x = np.asarray(x, dtype=np.float32)
        if not len(x) or len(x) != len(targets):
            raise ValueError(f"x has {len(x)} samples and there are {len(targets)} targets: give as many, at least one")
        network.checked(x[:1])
        if not np.isfinite(x).all():
            raise ValueError("x holds NaN or infinite numbers: fill or drop them")
        state, name = self.start(network), self._fingerprint(network, x, targets)
        place = None if self.checkpoint is None else Path(self.checkpoint) / CHECKPOINT
        if place is not None and place.exists():
            state = state.loaded(place, name)
        stop = Interruption()
        with stop.kept("training"):
            while len(state.history) < self.epochs and not state.stopped:
                state = self.epoch(state, x, targets)
                if place is not None and state.stopped != INTERRUPTED:
                    state.save(place, name)
                if self.say is not None and not state.stopped:
                    self.say(state.history[-1])
        return replace(state, stopped=INTERRUPTED) if stop.happened else state

    def epoch(self, state: TrainingState, x: Floats, targets: Floats) -> TrainingState:
        """One pass over the samples, in an order that only the seed and the epoch's number decide.

        Ctrl-C ends it: the state then is ``stopped``, with the network of the steps by then and without a record.
        """
        number = len(state.history)
        order = stream(self.seed, Purpose.ORDER, number).permutation(len(x))
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        network, moments, steps = state.network, state.moments, state.steps
        wrong, anneals = 0.0, state.history[-1].anneals if state.history else 0
        stop = Interruption()
        with stop.kept("training"):
            for index, batch in enumerate(batches):
                place = (number + index / len(batches)) / max(self.epochs, 1)
                share = 0.5 * (1 + np.cos(np.pi * min(place, 1.0))) if self.decay else 1.0
                own = derived_seed(self.seed, Purpose.STEPS, steps)
                learned = self.rule.direction(network, x[batch], targets[batch], self.phases, own)
                steps += 1
                with np.errstate(all="ignore"):
                    moved, moments = self.optimiser.move(network.parameters, learned.steps, moments, steps, float(share))
                reason = _diverged(network, moved)
                if reason:
                    warnings.warn(
                        f"training stopped in epoch {number + 1}: {reason}; the last good state is kept", stacklevel=3
                    )
                    return replace(state, stopped=reason)
                network = network.with_parameters(moved)
                wrong += learned.wrong * len(batch) / len(x)
                anneals += learned.anneals
        if stop.happened:
            return TrainingState(network, moments, steps, state.history, INTERRUPTED)
        record = EpochRecord(number + 1, wrong, anneals)
        return TrainingState(network, moments, steps, (*state.history, record))

    def _fingerprint(self, network: IsingNetwork, x: Floats, targets: Floats) -> str:
        """Of everything that the trained network follows from, the phases' sampler included."""
        run = [self.rule, self.phases, self.optimiser, self.epochs, self.batch_size, self.decay, self.seed]
        inner = [[block is not None for block in network.inner], network.inner_patterns]
        return sampler_fingerprint([run, network.limits, network.sizes, inner, list(network.parameters), x, targets])


def _diverged(network: IsingNetwork, moved: tuple[Floats, ...]) -> str:
    """Why these parameters are no network any more, or ""."""
    if not all(np.isfinite(part).all() for part in moved):
        return "the parameters are not finite, lower the learning rate"
    blocks = (*moved[1 : 1 + len(network.couplings)], *moved[2 * len(network.sizes) :])
    count = sum(block.size for block in blocks)
    saturated = sum(int((np.abs(block) >= network.limits.coupling).sum()) for block in blocks)
    if count and saturated > _SATURATED * count:
        return f"{saturated} of {count} couplings are at their limit, lower the learning rate"
    return ""
