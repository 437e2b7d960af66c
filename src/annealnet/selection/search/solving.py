"""From an energy of masks to masks: the native sampler on all rows at once, any other sampler row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import dimod
import numpy as np

from annealnet.energy import SharedGramEnergy
from annealnet.interruption import Interruption
from annealnet.samplers import SharedGramSampler, sample_energy
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.selection.formulation.readout import with_count

__all__ = ["Effort", "choose_gain", "sample_masks", "search_masks"]

#: Steps of the search for the gain: each halves the distance of two neighbouring gains, on a logarithmic scale.
_STEPS = (1.0, 0.5, 0.25)
#: Share of the sweeps that a trial of a gain gets.
_TRIAL = 0.2
#: Sweeps of a search after an interruption.
_HASTE = 10


@dataclass(frozen=True)
class Effort:
    """How hard to look.

    Attributes:
        sampler: any dimod sampler; None for the native one.
        reads: per row.
        sweeps: of the native sampler.
        seed: of everything.
    """

    sampler: dimod.Sampler | None = None
    reads: int = 4
    sweeps: int = 300
    seed: int = 0


def sample_masks(
    energy: SharedGramEnergy, effort: Effort, count: int | None = None, sweeps: int | None = None
) -> tuple[np.ndarray, float]:
    """Masks bool ``(reads, rows, width)``, every row's best read first, and the energy of the first.

    Args:
        energy: of the masks.
        effort: which sampler, how long.
        count: exact number of ones per row, or None.
        sweeps: instead of the effort's.

    Raises:
        ValueError: when a sampler keeps no row's count.
    """
    rows, width = energy.shape
    if effort.sampler is None:
        answer = SharedGramSampler().sample_energy(
            with_count(energy, count), num_reads=effort.reads, num_sweeps=sweeps or effort.sweeps, seed=effort.seed
        )
        states = answer.record.sample.reshape(-1, rows, width).astype(bool)
        return states, float(answer.first.energy)
    columns = []
    for number, row in enumerate(energy.rows()):
        model = with_count(row, count)
        own = derived_seed(effort.seed, Purpose.ROWS, number)
        answer = sample_energy(effort.sampler, model, num_reads=effort.reads, seed=own)
        good = answer.record.is_feasible
        if not good.any():
            raise ValueError(
                f"{type(effort.sampler).__name__} returned no mask with kept={count} of {width}: leave kept open, "
                "or take another sampler"
            )
        kept = answer.record.sample[good].astype(bool)
        columns.append(kept[np.arange(effort.reads) % len(kept)])
    states = np.stack(columns, axis=1)
    return states, float(energy.energy(states[0].reshape(-1)))


@dataclass(frozen=True, eq=False)
class _Trial:
    """What a brief search under one gain found."""

    masks: np.ndarray
    energy: float


def _gain(
    energy_of: Callable[[float], SharedGramEnergy], first: float, effort: Effort, count: int | None,
    known: dict[float, _Trial],
) -> float:  # fmt: skip
    """The best gain; ``known`` is filled with the trial of every gain that is looked at."""
    brief = max(10, int(_TRIAL * effort.sweeps))

    def least(exponent: float) -> float:
        gain = float(first * 2.0**exponent)
        if gain not in known:
            known[gain] = _Trial(*sample_masks(energy_of(gain), effort, count, brief))
        return known[gain].energy

    at = 0.0
    for step in _STEPS:
        while True:
            better = min((at - step, at, at + step), key=least)
            if better == at or abs(better) > 8:
                break
            at = better
    return float(first * 2.0**at)


def choose_gain(energy_of: Callable[[float], SharedGramEnergy], first: float, effort: Effort, count: int | None) -> float:
    """The gain whose (briefly searched) least energy is least, by steps of a factor 2, then √2, then ⁴√2.

    Energies of different gains can be compared: each is the whole squared loss.

    Args:
        energy_of: the energy under a gain.
        first: gain to begin with.
        effort: which sampler; its sweeps are cut to a fifth.
        count: ones per row, or None.
    """
    return _gain(energy_of, first, effort, count, {})


def search_masks(
    energy_of: Callable[[float], SharedGramEnergy], first: float, effort: Effort, count: int | None, stop: Interruption
) -> tuple[np.ndarray, float]:
    """The best gain, then its masks as :func:`sample_masks` gives them. Ctrl-C keeps the best masks of the search so far.

    Args:
        energy_of, first, count: as in :func:`choose_gain`.
        effort: of the last search; the gain is chosen with single reads.
        stop: of the selection; once it has happened, one brief trial of the first gain is all.
    """
    known: dict[float, _Trial] = {}
    if stop.happened:
        return sample_masks(energy_of(first), replace(effort, reads=1), count, _HASTE)
    with stop.kept("the selection", lambda: bool(known)):
        gain = _gain(energy_of, first, replace(effort, reads=1), count, known)
        return sample_masks(energy_of(gain), effort, count)
    best = min(known.values(), key=lambda trial: trial.energy)
    return best.masks, best.energy
