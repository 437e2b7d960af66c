"""Every job asks its sampler with seeds that no neighbouring seed of the job asks with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dimod
import numpy as np
import pytest

from annealnet.binary import single_output
from annealnet.binary.formulation import Lean
from annealnet.binary.network.architecture import Architecture
from annealnet.binary.search.rounds import dropout_rounds, vote_over_batches
from annealnet.ising.formulation.phases import Phases
from annealnet.ising.formulation.rules import ContrastiveDivergence, DeepStateRule, EquilibriumPropagation, TrainingRule
from annealnet.ising.network.spins import IsingNetwork
from annealnet.ising.search.layerwise import train_windows
from annealnet.ising.search.training import Training
from annealnet.samplers import LayeredAnnealing, LayeredReads, Schedule
from annealnet.selection.formulation.readout import ReadoutProblem
from annealnet.selection.search.solving import Effort, sample_masks

RNG = np.random.default_rng(0)
SIGNS = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=np.int8)
MAJORITY = (SIGNS.sum(axis=1) > 0).astype(int)
NEIGHBOURS = range(5)


class Asked(dimod.Sampler):
    """Random states, and the seeds that it was asked with."""

    parameters: dict[str, Any] = {"num_reads": [], "seed": []}  # noqa: RUF012
    properties: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def sample(self, bqm: dimod.BinaryQuadraticModel, num_reads: int = 1, seed: int = 0) -> dimod.SampleSet:
        self.seeds.append(seed)
        return dimod.RandomSampler().sample(bqm, num_reads=num_reads, seed=seed)


@dataclass
class AskedLayers:
    """Anneals, and notes the seeds."""

    seeds: list[int] = field(default_factory=list)

    def sample_layers(self, model: Any, schedule: Schedule, *, seed: int = 0, **parameters: Any) -> LayeredReads:
        self.seeds.append(seed)
        return LayeredAnnealing(0).sample_layers(model, schedule, seed=seed, **parameters)


def voting(seed: int) -> list[int]:
    sampler = Asked()
    shape = Architecture((3, 1))
    vote_over_batches(Lean(), sampler, shape, single_output(), SIGNS, MAJORITY, seed, batch_size=3, rounds=4, num_reads=2)
    return sampler.seeds


def dropping(seed: int) -> list[int]:
    sampler = Asked()
    dropout_rounds(Lean(), sampler, Architecture((3, 1)), single_output(), SIGNS, MAJORITY, seed, rounds=4, num_reads=2)
    return sampler.seeds


def masking(seed: int) -> list[int]:
    sampler = Asked()
    problem = ReadoutProblem.of(RNG.random((20, 5)), np.sign(RNG.normal(size=(20, 4))), 0.1)
    sample_masks(problem.weight_energy(RNG.normal(size=(4, 5)), 0.5), Effort(sampler, reads=2, seed=seed))
    return sampler.seeds


def learning(rule: TrainingRule) -> Callable[[int], list[int]]:
    def job(seed: int) -> list[int]:
        sampler = AskedLayers()
        network = IsingNetwork.create((3, 4), 2, spins_per_class=1, seed=0)
        x = RNG.normal(size=(9, 3)).astype(np.float32)
        Training(rule, Phases(sampler), epochs=2, batch_size=4, seed=seed).run(network, x, np.arange(9) % 2)  # type: ignore[arg-type]
        return sampler.seeds

    return job


def sliding(seed: int) -> list[int]:
    sampler = AskedLayers()
    network = IsingNetwork.create((3, 4, 4), 2, spins_per_class=1, seed=0)
    x = RNG.normal(size=(9, 3)).astype(np.float32)
    training = Training(DeepStateRule(2), Phases(sampler), epochs=1, batch_size=9, seed=seed)  # type: ignore[arg-type]
    train_windows(network, training, x, np.arange(9) % 2)
    return sampler.seeds


@pytest.mark.parametrize(
    ("job", "calls"),
    [
        (voting, 4),
        (dropping, 4),
        (masking, 4),
        (learning(DeepStateRule(2)), 12),
        (learning(EquilibriumPropagation(centred=True, skip=False)), 18),
        (learning(ContrastiveDivergence(1, 2)), 12),
        (sliding, 6),
    ],
)
def test_neighbouring_seeds_share_no_call(job: Callable[[int], list[int]], calls: int) -> None:
    asked = [job(seed) for seed in NEIGHBOURS]
    assert [len(seeds) for seeds in asked] == [calls] * len(NEIGHBOURS)
    assert len({seed for seeds in asked for seed in seeds}) == calls * len(NEIGHBOURS)
    assert job(1) == asked[1], "the same seed asks the same"


@pytest.mark.parametrize(
    "rule", [DeepStateRule(2), EquilibriumPropagation(centred=True, skip=False), ContrastiveDivergence(1, 2)]
)
def test_neighbouring_seeds_of_a_rule_share_no_phase(rule: TrainingRule) -> None:
    """With ``2 * seed + 1`` the first seed's second phase ran on the second seed itself."""
    network = IsingNetwork.create((3, 4), 2, spins_per_class=1, seed=0)
    x, targets = RNG.normal(size=(2, 3)).astype(np.float32), network.targets(np.arange(2))
    sampler = AskedLayers()
    for seed in NEIGHBOURS:
        rule.direction(network, x, targets, Phases(sampler), seed)  # type: ignore[arg-type]
    assert len(set(sampler.seeds)) == len(sampler.seeds) >= 2 * len(NEIGHBOURS)
    assert not set(sampler.seeds) & set(range(100)), "no phase runs on the rule's own seed, nor on a neighbour's"
