"""Samplers that know no constraints plan a network within its budget: dwave-samplers', OpenJij's, a mock device."""

from __future__ import annotations

import itertools

import dimod
import numpy as np
import pytest
import torch
from torch import nn

import annealnet as an
from annealnet.architectures import digits_cnn
from annealnet.compression import DataAware, Published
from annealnet.compression.formulations.candidates import Candidates, anneal_plans, best_distinct
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.formulations.priced import CALLS, priced_plans
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.starts import feasible_starts
from annealnet.compression.network.calibration import Calibration
from annealnet.datasets import digits
from annealnet.energy import Certificate, coefficient_range, priced_energy
from annealnet.samplers import (
    AnnealingSampler,
    BifurcationSampler,
    DistributedSampler,
    RetryComposite,
    Workers,
)
from annealnet.studies.training import train_dense

PLANS = DataAware(reads=8, sweeps=300)
#: Of the digits network.
BITS = 85


def sampler(name: str) -> dimod.Sampler:
    if name == "dwave-samplers":
        return pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    if name == "openjij":
        return pytest.importorskip("openjij").SASampler()
    testing = pytest.importorskip("dwave.system.testing")
    device = testing.MockDWaveSampler(
        topology_type="pegasus", topology_shape=[9], substitute_sampler=AnnealingSampler(), substitute_kwargs={"seed": 0}
    )
    busclique = pytest.importorskip("minorminer.busclique")
    cliques = busclique.find_clique_embedding(BITS, device.to_networkx_graph())  # a search for one takes most of a minute
    from dwave.system import FixedEmbeddingComposite

    return FixedEmbeddingComposite(device, {bit: tuple(cliques[bit]) for bit in range(BITS)})


@pytest.fixture(scope="module")
def digits_problem() -> Problem:
    """The digits network, 8 channels wide: 85 bits, a sixth of the bytes and less than half of the multiply-adds."""
    split = digits(seed=0)
    x, y = torch.from_numpy(split.x_train), torch.from_numpy(split.y_train)
    torch.manual_seed(0)
    network = train_dense(digits_cnn(width=8), x, y, epochs=3, seed=0, say=lambda _: None)
    return prepare(network, Calibration.of(x[:128]), an.Budget(size_ratio=6, macs_ratio=2), seed=0)


@pytest.mark.parametrize("name", ["dwave-samplers", "openjij", "mock device"])
def test_each_plans_the_digits_network_within_its_budget(digits_problem, name):
    found = PLANS.propose(digits_problem, sampler(name), 3, seed=0)
    energy = PLANS.energy(digits_problem)
    assert energy.feasible(found.states).all()
    for state in found.states:
        assert digits_problem.space.fits(*digits_problem.space.decode(state), digits_problem.limits)
    native = PLANS.propose(digits_problem, None, 3, seed=0)
    assert found.energies[0] <= 2 * native.energies[0]
    assert found.reads["reads"] == CALLS * PLANS.reads
    assert 0 <= found.reads["feasible_reads"] <= found.reads["reads"]
    assert found.reads["feasible_reads"] + found.reads["mended_reads"] > 0
    assert type(sampler(name)).__name__ in found.certificate.sampler
    assert found.certificate.energy == found.energies[0] >= found.certificate.lower_bound


def test_the_qubo_is_small_and_in_one_range(digits_problem):
    model = PLANS.energy(digits_problem)
    space = digits_problem.space
    start = feasible_starts(space, np.zeros(space.graph.num_units), {}, digits_problem.limits)[0]
    before, after = model.to_bqm(), priced_energy(model, [0.1, 0.1], start).to_bqm()
    assert after.num_variables == space.num_variables < before.num_variables / 5
    assert coefficient_range(after) < 1e8 < 1e12 < coefficient_range(before)


def test_two_runs_with_one_seed_are_equal(digits_problem):
    runs = [PLANS.propose(digits_problem, sampler("dwave-samplers"), 3, seed=5) for _ in range(2)]
    assert np.array_equal(runs[0].states, runs[1].states)
    assert runs[0].reads == runs[1].reads


def small_problem(seed: int) -> Problem:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    return prepare(
        network, Calibration.of(torch.randn(32, 4)), an.Budget(bytes=690), widths=(2, 4, 8), seed=seed,
        layer_widths={"0": (8,), "4": (8,)},
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_small_plans_are_close_to_the_enumerated_optimum(seed):
    problem = small_problem(seed)
    model = PLANS.energy(problem)
    free = problem.graph.num_units
    states = []
    for removed in itertools.product((0, 1), repeat=free):
        for width in problem.space.widths["2"]:
            bits = {"0": 8, "2": width, "4": 8}
            states.append(problem.space.encode(np.array(removed) == 0, bits))
    states_array = np.array(states)
    energies = model.energy(states_array)[model.feasible(states_array)]
    found = PLANS.propose(problem, sampler("dwave-samplers"), 1, seed=0)
    rank = int((energies < found.energies[0] - 1e-12).sum())
    assert rank <= 0.02 * len(energies)


class Stuck(dimod.Sampler):
    """Answers the same state whatever is asked."""

    parameters = {"num_reads": []}  # noqa: RUF012
    properties = {}  # noqa: RUF012

    def __init__(self, bit: int) -> None:
        self.bit = bit

    def sample(self, bqm, **parameters):
        return dimod.SampleSet.from_samples_bqm([dict.fromkeys(bqm.variables, self.bit)] * parameters["num_reads"], bqm)


@pytest.mark.parametrize("bit", [0, 1])
def test_reads_that_break_everything_are_mended(digits_problem, bit):
    found = PLANS.propose(digits_problem, Stuck(bit), 1, seed=0)
    told = {"reads": 64, "feasible_reads": 0, "mended_reads": CALLS, "calls": CALLS}
    assert {name: found.reads[name] for name in told} == told
    assert digits_problem.space.fits(*digits_problem.space.decode(found.states[0]), digits_problem.limits)


def test_what_cannot_be_mended_is_refused_with_numbers():
    problem = small_problem(0)
    model = PLANS.energy(problem)
    budget = model.constraints[-1]
    tight = type(model)(model.energy_part, [*model.constraints[:-1], type(budget)(budget.counts, budget.terms, 1)])
    start = problem.space.encode(*problem.space.smallest())
    with pytest.raises(ValueError, match=r"sampler=Stuck gave 32 reads in 8 calls, none within the budget.*%"):
        priced_plans(tight, Stuck(0), 4, 0, {}, start)


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, "AutoSampler: AnnealingSampler"), (AnnealingSampler(), "AnnealingSampler"),
     (RetryComposite(AnnealingSampler()), "RetryComposite(AnnealingSampler)"),
     (BifurcationSampler(), "BifurcationSampler"),
     (DistributedSampler(AnnealingSampler(), Workers("threading", 1)), "DistributedSampler(AnnealingSampler)")],
)  # fmt: skip
def test_certificates_name_the_sampler_with_all_it_wraps(given, name):
    problem = small_problem(1)
    found = PLANS.propose(problem, given, 2, seed=0)
    assert found.certificate.sampler == name
    published = Published().propose(problem, given, 2, seed=0).certificate
    assert published.sampler == ("BlockPrefixSolver" if given is None else f"BlockPrefixSolver, {name}")


def test_candidates_are_kept_in_a_document():
    model = PLANS.energy(small_problem(0))
    starts = np.array([small_problem(0).space.encode(*small_problem(0).space.smallest())])
    found = anneal_plans(model, None, 3, 0, 4, 50, starts)
    again = Candidates.from_document(found.to_document())
    assert np.array_equal(again.states, found.states)
    assert (again.certificate, again.reads) == (found.certificate, found.reads)
    assert (np.diff(found.energies) >= 0).all()


def test_a_proof_holds_only_for_the_state_that_it_is_of():
    model = PLANS.energy(small_problem(0))
    state = small_problem(0).space.encode(*small_problem(0).space.smallest())
    value = float(model.energy(state))
    for energy, proven in ((value, True), (value - 1.0, False)):
        found = best_distinct(model, state[None], 1, Certificate(energy, energy, True, "x", 0, 1, 0.0), {})
        assert (found.certificate.proven, found.certificate.energy) == (proven, value)


def test_a_sampler_without_answers_is_named():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="sampler=NullSampler gave no reads"):
        an.compress(
            net, x, an.Budget(size_ratio=1.1), formulation=DataAware(reads=2, sweeps=50), sampler=dimod.NullSampler()
        )
