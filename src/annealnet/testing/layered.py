"""Checks for any sampler of layered models: whatever has ``sample_layers``."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.samplers import EnumeratedLayers, LayeredModel, LayeredReads, LayeredSampler, Schedule
from annealnet.testing.findings import Check, Failed, Finding, NotApplicable, findings

__all__ = ["LAYERED_CHECKS", "layered_conformance"]

#: Long and cold: ends in ground states of small models.
_COLD = Schedule.forward(0.05, 8.0, 60)


def _model(sizes: tuple[int, ...], problems: int, seed: int, size: float = 1.0, inside: bool = False) -> LayeredModel:
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> NDArray[np.float32]:
        return np.asarray(size * rng.normal(size=shape), dtype=np.float32)

    blocks = tuple(drawn(below, above) for below, above in itertools.pairwise(sizes))
    upper = [np.triu(drawn(n, n), 1) for n in sizes] if inside else []
    return LayeredModel(blocks, tuple(drawn(problems, n) for n in sizes), tuple(block + block.T for block in upper))


def _flat(problems: int) -> LayeredModel:
    """All states have one energy, so that nothing pulls reads together."""
    return _model((9, 7), problems, 0, size=0.0)


def _drawn(sampler: LayeredSampler, model: LayeredModel, schedule: Schedule, **asked: Any) -> LayeredReads:
    """An answer that is made of draws."""
    found = sampler.sample_layers(model, schedule, **asked)
    if found.weights is not None:
        raise NotApplicable("gives every state with its weight, and draws none")
    return found


def answers_have_their_shapes(sampler: LayeredSampler, schedule: Schedule) -> None:
    """Reads are ±1 of shape (problems, reads, spins), one energy each; weights, where there are any, sum up to 1."""
    model = _model((4, 3), 3, 1)
    found = sampler.sample_layers(model, schedule, reads=5, seed=1)
    count = found.states.shape[1] if found.weights is not None else 5
    if found.states.shape != (3, count, 7) or found.energies.shape != (3, count):
        raise Failed(f"3 problems of 7 spins, 5 reads: states {found.states.shape}, energies {found.energies.shape}")
    if not (np.abs(found.states) == 1).all():
        raise Failed(f"spins are {np.unique(found.states).tolist()}, not −1 and 1")
    if not np.allclose(found.shares.sum(axis=1), 1.0):
        raise Failed(f"weights sum up to {found.shares.sum(axis=1).tolist()}")


def layered_energies_agree(sampler: LayeredSampler, schedule: Schedule) -> None:
    """Energies are those of the states, couplings inside layers counted once."""
    for inside in (False, True):
        model = _model((4, 3, 2), 3, 2, inside=inside)
        found = sampler.sample_layers(model, schedule, reads=4, seed=1)
        true = model.energy(found.states)
        wrong = ~np.isclose(found.energies, true, rtol=1e-4, atol=1e-3) & np.isfinite(found.energies)
        if wrong.any():
            raise Failed(f"says energy {found.energies[wrong][0]}, the state has {true[wrong][0]}")


def layered_ground_states_are_found(sampler: LayeredSampler, schedule: Schedule) -> None:
    """The best of 40 reads of small models, against enumeration."""
    for seed, inside in itertools.product(range(4), (False, True)):
        model = _model((3, 4, 2), 3, seed, inside=inside)
        found = sampler.sample_layers(model, schedule, reads=40, seed=seed).energies.min(axis=1)
        least = EnumeratedLayers().sample_layers(model, schedule).energies.min(axis=1)
        if (found > least + 1e-3).any():
            at = int(np.argmax(found - least))
            raise Failed(f"least energy {least[at]}, found {found[at]}")


def reads_and_problems_differ(sampler: LayeredSampler, schedule: Schedule) -> None:
    """Under one seed, neither reads nor problems are copies of each other."""
    states = _drawn(sampler, _flat(4), schedule, reads=8, seed=3).states
    if len(np.unique(states[0], axis=0)) < 2:
        raise Failed("eight reads under one seed are identical")
    if len(np.unique(states.reshape(4, -1), axis=0)) < 2:
        raise Failed("four problems under one seed have identical reads")


def layered_seeds_repeat(sampler: LayeredSampler, schedule: Schedule) -> None:
    """The same seed gives the same reads, another seed others."""
    one, two, other = (_drawn(sampler, _flat(4), schedule, reads=6, seed=seed).states for seed in (11, 11, 12))
    if not np.array_equal(one, two):
        raise Failed("the same seed gave other reads")
    if np.array_equal(one, other):
        raise Failed("another seed gave the same reads")


def held_layers_stay(sampler: LayeredSampler, schedule: Schedule) -> None:
    """Every read keeps the state that it is held in; the free layers follow it, and no array of the caller changes."""
    fields = tuple(np.zeros((2, n), dtype=np.float32) for n in (3, 4))
    model = LayeredModel((np.full((3, 4), 2.0, dtype=np.float32),), fields)
    starts = np.ones((2, 6, 7), dtype=np.int8)
    starts[:, ::2, :3] = -1
    given = starts.copy()
    found = sampler.sample_layers(model, schedule, reads=6, seed=2, starts=starts, held=(True, False))
    if not np.array_equal(starts, given):
        raise Failed("the starts that were given have been changed")
    if found.weights is not None:
        mean = np.einsum("pr,pri->pi", found.shares, found.states)
        if not np.allclose(mean[:, :3], 0.0, atol=1e-6):
            raise Failed(f"half of the reads are held up and half down, the mean is {mean[0, 0]}")
        return
    if not np.array_equal(found.states[..., :3], starts[..., :3]):
        raise Failed("a held layer has moved")
    if (found.states[..., 3:] != starts[..., :1]).any():
        raise Failed("a free layer does not follow the layer that its read is held in")


def layered_threads_do_not_matter(sampler: LayeredSampler, schedule: Schedule) -> None:
    """The same seed gives the same reads with one thread and with all."""
    import numba
    import torch

    before, others = numba.get_num_threads(), torch.get_num_threads()
    answers = []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            torch.set_num_threads(threads)
            answers.append(_drawn(sampler, _flat(4), schedule, reads=6, seed=11).states)
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(others)
    if not np.array_equal(answers[0], answers[1]):
        raise Failed("one thread and all threads gave other reads")


def bad_layered_requests_are_refused(sampler: LayeredSampler, schedule: Schedule) -> None:
    """No reads, held layers without starts, and starts of a wrong shape are errors that say so."""
    requests: dict[str, dict[str, Any]] = {
        "reads=0": {"reads": 0},
        "held layers without starts": {"held": (True, False)},
        "starts of a wrong shape": {"starts": np.ones((1, 1, 3), dtype=np.int8), "held": (True, False)},
    }
    for name, asked in requests.items():
        try:
            sampler.sample_layers(_flat(2), schedule, **asked)
        except (ValueError, TypeError):
            continue
        raise Failed(f"{name} was accepted")


#: Every check of a layered sampler by name.
LAYERED_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        answers_have_their_shapes,
        layered_energies_agree,
        layered_ground_states_are_found,
        reads_and_problems_differ,
        layered_seeds_repeat,
        held_layers_stay,
        layered_threads_do_not_matter,
        bad_layered_requests_are_refused,
    )
}


def layered_conformance(
    sampler: LayeredSampler, leave_out: tuple[str, ...] = (), schedule: Schedule = _COLD
) -> list[Finding]:
    """Runs every check on a layered sampler.

    Args:
        sampler: whatever has ``sample_layers``.
        leave_out: names of checks that are not run.
        schedule: of every call; long and cold enough to end in ground states of nine spins.

    Returns:
        One finding per check; a check that ends in an unexpected error has failed.

    Example:
        >>> from annealnet.samplers import LayeredAnnealing
        >>> [finding.check for finding in layered_conformance(LayeredAnnealing()) if not finding.passed]
        []
    """
    return findings(LAYERED_CHECKS, leave_out, lambda check: check(sampler, schedule))
