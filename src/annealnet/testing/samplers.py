"""Checks for any dimod sampler."""

from __future__ import annotations

import time
from typing import Any

import dimod
import numpy as np

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, LinearBudget
from annealnet.samplers.external import sample_energy, takes
from annealnet.testing.findings import Check, Failed, Finding, NotApplicable, findings

__all__ = ["CHECKS", "conformance"]

_TIME_NAMES = ("time_limit", "timeout")


def _rugged(n: int, seed: int) -> dimod.BinaryQuadraticModel:
    rng = np.random.default_rng(seed)
    return DenseEnergy(np.triu(rng.choice([-1.0, 1.0], (n, n)), 1), rng.choice([-0.5, 0.5], n)).to_bqm()


def _sorted_sample(answer: dimod.SampleSet) -> np.ndarray:
    return np.asarray(answer.record.sample[:, np.argsort([str(v).zfill(9) for v in answer.variables])])


def _needs(sampler: dimod.Sampler, name: str) -> None:
    if not takes(sampler, name):
        raise NotApplicable(f"has no parameter {name}")


def states_and_energies_agree(sampler: dimod.Sampler, **parameters: Any) -> None:
    """Energies are those of the states, with offset, in the model's vartype and labels."""
    model = dimod.BinaryQuadraticModel({5: 0.5, 3: -0.25, 7: 0.0}, {(5, 3): 1.0, (3, 7): -2.0}, 3.0, "SPIN")
    for vartype in ("SPIN", "BINARY"):
        bqm = model.change_vartype(vartype, inplace=False)
        answer = sampler.sample(bqm, **parameters)
        if answer.vartype is not bqm.vartype:
            raise Failed(f"a {vartype} model came back as {answer.vartype.name}")
        if set(answer.variables) != set(bqm.variables):
            raise Failed(f"variables {list(bqm.variables)} came back as {list(answer.variables)}")
        true = bqm.energies(answer)
        if not np.allclose(true, answer.record.energy, rtol=1e-5, atol=1e-6):
            raise Failed(f"{vartype}: says energy {answer.record.energy[0]}, the state has {true[0]}")


def edge_cases_are_handled(sampler: dimod.Sampler, **parameters: Any) -> None:
    """Empty, single-bit, constant and disconnected models."""
    empty = sampler.sample(dimod.BinaryQuadraticModel("BINARY"), **parameters)
    if len(empty.variables):
        raise Failed("an empty model came back with variables")
    for name, bqm, least in (
        ("single bit", dimod.BinaryQuadraticModel({0: -1.0}, {}, 0.5, "BINARY"), -0.5),
        ("constant", dimod.BinaryQuadraticModel({0: 0.0, 1: 0.0}, {}, 2.0, "BINARY"), 2.0),
        ("disconnected", dimod.BinaryQuadraticModel({0: 1.0, 1: -1.0, 2: -2.0}, {}, 0.0, "BINARY"), -3.0),
    ):
        found = float(sampler.sample(bqm, **parameters).first.energy)
        if abs(found - least) > 1e-6:
            raise Failed(f"{name}: least energy {least}, found {found}")


def ground_states_are_found(sampler: dimod.Sampler, cases: int = 20, **parameters: Any) -> None:
    """All of ``cases`` random models of 2 to 12 bits, against enumeration."""
    for case in range(cases):
        bqm = _rugged(2 + case % 11, case)
        least = float(dimod.ExactSolver().sample(bqm).first.energy)
        found = float(sampler.sample(bqm, **parameters).first.energy)
        if found > least + 1e-6:
            raise Failed(f"case {case} ({bqm.num_variables} bits): least energy {least}, found {found}")


def reads_differ(sampler: dimod.Sampler, **parameters: Any) -> None:
    """Reads under one seed are not copies of each other (all energies are equal, so that nothing pulls them together)."""
    _needs(sampler, "num_reads")
    seed = {"seed": 3} if takes(sampler, "seed") else {}
    flat = dimod.BinaryQuadraticModel(dict.fromkeys(range(16), 0.0), {(0, 1): 0.0}, 0.0, "BINARY")
    states = _sorted_sample(sampler.sample(flat, **{**parameters, **seed, "num_reads": 8}))
    if len(np.unique(states, axis=0)) < 2:
        raise Failed("eight reads under one seed are identical")


def seeds_repeat(sampler: dimod.Sampler, **parameters: Any) -> None:
    """The same seed gives the same states."""
    _needs(sampler, "seed")
    bqm = _rugged(200, 2)
    one, two = (_sorted_sample(sampler.sample(bqm, **{**parameters, "seed": 11})) for _ in range(2))
    if one.shape != two.shape or not np.array_equal(one, two):
        raise Failed("the same seed gave other states")


def threads_do_not_matter(sampler: dimod.Sampler, **parameters: Any) -> None:
    """The same seed gives the same states with one thread and with all."""
    _needs(sampler, "seed")
    import numba
    import torch

    bqm = _rugged(200, 3)
    before, others = numba.get_num_threads(), torch.get_num_threads()
    every = numba.config.NUMBA_NUM_THREADS
    answers = []
    try:
        for threads in (1, every):
            numba.set_num_threads(threads)
            torch.set_num_threads(threads)
            answers.append(_sorted_sample(sampler.sample(bqm, **{**parameters, "seed": 11})))
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(others)
    one, two = answers
    if one.shape != two.shape or not np.array_equal(one, two):
        raise Failed(f"one thread and {every} threads gave other states")


def bad_parameters_are_refused(sampler: dimod.Sampler, **parameters: Any) -> None:
    """No reads at all is an error that says so."""
    _needs(sampler, "num_reads")
    try:
        sampler.sample(_rugged(4, 0), **{**parameters, "num_reads": 0})
    except (ValueError, TypeError):
        return
    raise Failed("num_reads=0 was accepted")


def cardinality_is_kept(sampler: dimod.Sampler, **parameters: Any) -> None:
    """Constraints are kept in every read (samplers with ``sample_energy``)."""
    if not hasattr(sampler, "sample_energy"):
        raise NotApplicable("takes plain models only")
    rng = np.random.default_rng(0)
    energy = DenseEnergy(np.triu(rng.normal(size=(12, 12)), 1), rng.normal(size=12))
    model = ConstrainedEnergy(energy, [Cardinality(range(8), 3)])
    try:
        states = _sorted_sample(sampler.sample_energy(model, **parameters))
    except ValueError as refusal:
        raise NotApplicable(f"refuses constraints: {refusal}") from refusal
    if not model.feasible(states).all():
        raise Failed("a read breaks the cardinality")


def first_answers_are_feasible(sampler: dimod.Sampler, **parameters: Any) -> None:
    """Through :func:`~annealnet.samplers.sample_energy`, ``first`` keeps the constraints wherever a read does, and has the
    least energy of those.
    """
    rng = np.random.default_rng(1)
    energy = DenseEnergy(np.triu(rng.normal(size=(6, 6)), 1), rng.normal(size=6) - 2.0)
    model = ConstrainedEnergy(energy, [Cardinality(range(3), 1), LinearBudget(np.array([0, 0, 0, 1, 2, 3]), 3)])
    try:
        answer = sample_energy(sampler, model, **parameters)
    except ValueError as refusal:
        raise NotApplicable(f"refuses constraints: {refusal}") from refusal
    states = _sorted_sample(answer)
    good = model.feasible(states)
    if not good.any():
        raise NotApplicable(f"none of {len(states)} reads keeps the constraints")
    first = answer.first
    if not model.is_feasible(np.array([first.sample[i] for i in range(6)])):
        raise Failed("the first answer breaks a constraint, though a read keeps them")
    least = float(model.energy(states[good]).min())
    if abs(first.energy - least) > 1e-6:
        raise Failed(f"the first answer has energy {first.energy}, a feasible read {least}")


def time_limits_hold(sampler: dimod.Sampler, seconds: float = 1.0, **parameters: Any) -> None:
    """A limit is kept within a tenth, on 1 000 dense bits, once kernels are compiled."""
    name = next((name for name in _TIME_NAMES if takes(sampler, name)), None)
    if name is None:
        raise NotApplicable("has no time limit")
    bqm = _rugged(1000, 0)
    unit = 1000.0 if name == "timeout" else 1.0  # D-Wave's tabu counts milliseconds
    began = time.perf_counter()
    from annealnet.energy import from_bqm

    from_bqm(bqm)
    reading = time.perf_counter() - began
    sampler.sample(bqm, **{**parameters, name: 0.2 * unit})
    began = time.perf_counter()
    sampler.sample(bqm, **{**parameters, name: seconds * unit})
    took = time.perf_counter() - began - reading
    if took > 1.1 * seconds:
        raise Failed(f"asked for {seconds:g} s, took {took:.2f} s")


#: Every check by name.
CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        states_and_energies_agree,
        edge_cases_are_handled,
        ground_states_are_found,
        reads_differ,
        seeds_repeat,
        threads_do_not_matter,
        bad_parameters_are_refused,
        cardinality_is_kept,
        first_answers_are_feasible,
        time_limits_hold,
    )
}


def conformance(sampler: dimod.Sampler, leave_out: tuple[str, ...] = (), **parameters: Any) -> list[Finding]:
    """Runs every check on a sampler.

    Args:
        sampler: any dimod sampler.
        leave_out: names of checks that are not run.
        parameters: passed to each call of the sampler.

    Returns:
        One finding per check; a check that ends in an unexpected error has failed.

    Example:
        >>> from annealnet.samplers import AutoSampler
        >>> found = conformance(AutoSampler(), leave_out=("time_limits_hold",), num_sweeps=50)
        >>> [finding.check for finding in found if finding.passed is False]
        []
    """
    return findings(CHECKS, leave_out, lambda check: check(sampler, **parameters))
