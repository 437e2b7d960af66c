"""Answers to constrained energies: whoever gave them, the first one is feasible, and lowest, wherever any is."""

from __future__ import annotations

import dimod
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from annealnet.energy import (
    AffineCount,
    Cardinality,
    ConstrainedEnergy,
    DenseEnergy,
    LinearBudget,
    OneHot,
    ProductBudget,
    SharedGramEnergy,
    SparseEnergy,
    Term,
)
from annealnet.samplers import (
    AnnealingSampler,
    AutoSampler,
    CacheComposite,
    DistributedSampler,
    ExactSampler,
    GroverSampler,
    RetryComposite,
    SharedGramSampler,
    TemperingSampler,
    Workers,
    sample_energy,
)

N = 5


def constraint_of(kind: str, rng: np.random.Generator):
    if kind == "one-hot":
        return OneHot([0, 1, 2])
    if kind == "cardinality":
        return Cardinality([3, 4], int(rng.integers(3)))
    if kind == "linear":
        return LinearBudget(rng.integers(0, 4, N), int(rng.integers(0, 8)))
    counts = (AffineCount(2, (0, 1), (-1, -1)), AffineCount(1, (2,), (1,)))
    return ProductBudget(counts, (Term(1, (0, 1)),), int(rng.integers(0, 5)))


def model_of(kinds: list[str], seed: int, unit: float) -> ConstrainedEnergy:
    rng = np.random.default_rng(seed)
    plain = DenseEnergy(unit * rng.normal(size=(N, N)), unit * rng.normal(size=N), unit * float(rng.normal()))
    if seed % 2:
        plain = SparseEnergy(rng.integers(N, size=N), rng.integers(N, size=N), unit * rng.normal(size=N), plain.linear)
    return ConstrainedEnergy(plain, [constraint_of(kind, rng) for kind in kinds])


models = st.builds(
    model_of,
    st.lists(st.sampled_from(["one-hot", "cardinality", "linear", "product"]), unique=True, max_size=3),
    st.integers(0, 10**6),
    st.sampled_from([1e-9, 1.0, 1e9]),
)


class Guessing(dimod.Sampler):
    """Random states: most of them break the constraints, and are lower than any that keeps them."""

    parameters = {"num_reads": [], "seed": []}  # noqa: RUF012
    properties = {}  # noqa: RUF012

    def sample(self, bqm, num_reads=10, seed=None):
        states = np.random.default_rng(seed).integers(0, 2, (num_reads, bqm.num_variables), dtype=np.int8)
        return dimod.SampleSet.from_samples_bqm((states, list(bqm.variables)), bqm)


def check(answer: dimod.SampleSet, model: ConstrainedEnergy) -> None:
    assert list(answer.variables) == list(range(N))
    states = answer.record.sample
    good = model.feasible(states)
    assert np.array_equal(answer.record.is_feasible, good)
    assert np.allclose(answer.record.objective, model.energy(states), rtol=1e-12)
    assume(good.any())
    least = model.energy(states[good]).min()
    for ranked in (answer, answer.truncate(3, sorted_by="energy"), answer.aggregate(), answer.lowest(), answer.copy()):
        state = np.array([ranked.first.sample[i] for i in range(N)])
        assert model.is_feasible(state)
        assert ranked.first.energy == pytest.approx(least, rel=1e-12)
        assert ranked.first.objective == ranked.first.energy


@pytest.mark.parametrize("wrap", [
    lambda child, path: child,
    lambda child, path: RetryComposite(child, reads_per_call=7),
    lambda child, path: CacheComposite(RetryComposite(child, reads_per_call=7), path / "answers.sqlite"),
    lambda child, path: DistributedSampler(child, Workers("sequential"), reads_per_piece=5),
    lambda child, path: DistributedSampler(RetryComposite(child), Workers("threading", 2), reads_per_piece=9),
], ids=["alone", "retry", "cache", "distributed", "both"])  # fmt: skip
@settings(max_examples=25, deadline=None)
@given(models, st.integers(0, 1000))
def test_other_peoples_samplers_and_composites(tmp_path_factory, wrap, model, seed):
    sampler = wrap(Guessing(), tmp_path_factory.mktemp("cache"))
    check(sample_energy(sampler, model, num_reads=30, seed=seed), model)


@pytest.mark.parametrize("sampler", [
    AnnealingSampler(), TemperingSampler(), AutoSampler(), ExactSampler(), GroverSampler(),
    DistributedSampler(AnnealingSampler(), Workers("sequential"), reads_per_piece=5),
], ids=lambda sampler: type(sampler).__name__)  # fmt: skip
@settings(max_examples=15, deadline=None)
@given(models, st.integers(0, 1000))
def test_our_samplers(sampler, model, seed):
    every = ((np.arange(2**N)[:, None] >> np.arange(N)) & 1).astype(np.int8)
    assume(model.feasible(every).any())
    asked = {"num_reads": 12, "seed": seed, "num_sweeps": 20}
    known = {name: value for name, value in asked.items() if name in sampler.parameters}
    for answer in (sampler.sample_energy(model, **known), sample_energy(sampler, model, **known)):
        check(answer, model)
        assert answer.record.is_feasible.all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_all_states_of_all_composites_joined_rank_as_one(seed):
    model = model_of(["one-hot", "linear"], seed, 1.0)
    pieces = [sample_energy(Guessing(), model, num_reads=reads, seed=seed + reads) for reads in (1, 2, 20)]
    check(dimod.concatenate(pieces), model)
    scores = np.concatenate([piece.record.energy for piece in pieces])
    good = np.concatenate([piece.record.is_feasible for piece in pieces])
    if good.any() and not good.all():
        assert scores[good].max() < scores[~good].min()


def test_plain_models_come_back_without_what_constraints_need():
    bqm = dimod.BinaryQuadraticModel({"b": 1.0, "a": -1.0}, {}, 0.0, "SPIN")
    answer = AnnealingSampler().sample(bqm, num_reads=3, seed=0)
    assert set(answer.record.dtype.names) == {"sample", "energy", "num_occurrences"}
    assert answer.first.sample == {"b": -1, "a": 1}


def test_rows_under_one_gram_matrix_say_that_they_are_feasible():
    energy = SharedGramEnergy(np.eye(3), np.ones((2, 3)), np.arange(6.0).reshape(2, 3))
    model = ConstrainedEnergy(energy, [Cardinality([0, 1, 2], 1), Cardinality([3, 4, 5], 2)])
    answer = SharedGramSampler().sample_energy(model, num_reads=4, seed=0)
    assert answer.record.is_feasible.all()
    assert np.array_equal(answer.record.objective, answer.record.energy)
