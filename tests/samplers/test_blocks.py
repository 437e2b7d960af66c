"""Energies larger and smaller than a chip."""

from __future__ import annotations

import dimod
import numpy as np
import pytest
from dwave.system.testing import MockDWaveSampler
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.energy import DenseEnergy, from_bqm
from annealnet.samplers import AnnealingSampler, BlockSampler, EmbeddedSampler, ExactSampler, TiledSampler
from annealnet.samplers.blocks import conditioned


def dense(n: int, seed: int = 0) -> dimod.BinaryQuadraticModel:
    rng = np.random.default_rng(seed)
    return DenseEnergy(np.triu(rng.choice([-1.0, 1.0], (n, n)), 1), rng.choice([-1.0, 1.0], n), 2.0).to_bqm()


def chip() -> MockDWaveSampler:
    return MockDWaveSampler(
        topology_type="zephyr", topology_shape=[3, 4], substitute_sampler=AnnealingSampler(), substitute_kwargs={"seed": 0}
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000), st.data())
def test_a_block_sees_the_rest_as_fields(n, seed, data):
    rng = np.random.default_rng(seed)
    energy = DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n), 1.0)
    block = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True)))
    state = rng.integers(0, 2, n, dtype=np.int8)
    part = conditioned(energy, state, block)
    states = np.repeat(state[None], 4, axis=0)
    states[:, block] = rng.integers(0, 2, (4, len(block)))
    whole = energy.energy(states)
    assert np.allclose(part.energies(states[:, block]) - part.energies(states[:1, block])[0], whole - whole[0])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 14), st.integers(1, 6), st.integers(0, 1000))
def test_blocks_find_what_no_block_can_better(n, size, seed):
    bqm = dense(n, seed)
    answer = BlockSampler(ExactSampler(), size).sample(bqm, num_reads=3, seed=seed)
    dimod.testing.assert_response_energies(answer, bqm)
    if size >= n:
        assert answer.first.energy == pytest.approx(dimod.ExactSolver().sample(bqm).first.energy)
    energy, _ = from_bqm(bqm)
    for state in answer.record.sample:
        assert energy.flip_deltas(state).min() >= -1e-9  # single bits are within every block


def test_the_energy_never_rises_and_seeds_repeat():
    bqm = dense(60, 1)
    starts = AnnealingSampler().sample(bqm, num_reads=2, num_sweeps=3, seed=0)
    sampler = BlockSampler(AnnealingSampler(), 20)
    asked = {"num_reads": 2, "seed": 4, "initial_states": starts.record.sample, "child_parameters": {"num_sweeps": 20}}
    runs = [sampler.sample(bqm, **asked) for _ in range(2)]
    assert (runs[0].record.energy <= starts.record.energy + 1e-9).all()
    assert np.array_equal(runs[0].record.sample, runs[1].record.sample)


def test_a_state_of_the_same_energy_is_taken():
    """Plateaus are crossed: nothing pulls a block back to where it was."""
    level = dimod.BinaryQuadraticModel(dict.fromkeys(range(6), 0.0), {}, 0.0, "BINARY")
    child = ExactSampler()
    answer = BlockSampler(child, 3).sample(level, num_reads=1, seed=0, initial_states=np.ones((1, 6), dtype=np.int8))
    chosen = child.sample(dimod.BinaryQuadraticModel(dict.fromkeys(range(3), 0.0), {}, 0.0, "BINARY")).first.sample
    assert not all(chosen.values())  # another than the state that is there
    assert sorted(answer.record.sample[0]) == sorted([*chosen.values()] * 2)


def test_a_chip_takes_what_is_larger_than_it_in_blocks():
    device = EmbeddedSampler(chip())
    bqm = dense(70)
    with pytest.raises(ValueError, match="in blocks"):
        device.sample(bqm, num_reads=1)
    answer = BlockSampler(device, 12, rounds=8).sample(bqm, seed=0, child_parameters={"num_reads": 10})
    best = AnnealingSampler().sample(bqm, num_reads=20, seed=0).first.energy
    assert answer.first.energy <= 0.9 * best
    assert len(device._found) <= 2  # blocks of one shape, and a shorter last one


def test_copies_lie_side_by_side():
    bqm = dense(8)
    sampler = TiledSampler(chip(), max_tiles=4)
    answer = sampler.sample(bqm, num_reads=99)
    assert answer.record.num_occurrences.sum() == 100  # 25 anneals of four tiles
    assert answer.info["tiles"] == 4
    dimod.testing.assert_response_energies(answer, bqm)
    assert answer.first.energy == pytest.approx(dimod.ExactSolver().sample(bqm).first.energy)
    chains = [qubit for tile in sampler._embeddings(bqm) for chain in tile.values() for qubit in chain]
    assert len(chains) == len(set(chains))


def test_bits_without_couplings_have_a_qubit_of_their_own():
    bqm = dimod.BinaryQuadraticModel({"a": 1.0, "b": 0.0, "c": -1.0}, {"ab": 1.0}, 0.0, "SPIN")
    answer = TiledSampler(chip(), max_tiles=2).sample(bqm, num_reads=4)
    assert answer.first.sample == {"a": -1, "b": 1, "c": 1}


def test_many_models_of_one_shape_in_few_calls():
    models = [dense(6, seed) for seed in range(7)]
    answers = TiledSampler(chip(), max_tiles=3).sample_batch(models, num_reads=50)
    assert len(answers) == 7
    for bqm, answer in zip(models, answers, strict=True):
        dimod.testing.assert_response_energies(answer, bqm)
        assert answer.first.energy == pytest.approx(dimod.ExactSolver().sample(bqm).first.energy)
    assert [answer.info["tiles"] for answer in answers] == [3, 3, 3, 3, 3, 3, 1]


def test_bad_requests_name_the_argument():
    with pytest.raises(ValueError, match="block_bits"):
        BlockSampler(AnnealingSampler(), 0)
    with pytest.raises(ValueError, match="max_tiles"):
        TiledSampler(chip(), max_tiles=0)
    with pytest.raises(ValueError, match="num_reads"):
        BlockSampler(AnnealingSampler()).sample(dense(4), num_reads=0)
    with pytest.raises(ValueError, match="initial_states"):
        BlockSampler(AnnealingSampler()).sample(dense(4), initial_states=np.zeros((1, 3)))
    with pytest.raises(ValueError, match="2 shapes"):
        TiledSampler(chip()).sample_batch([dense(4), dense(5)])
    with pytest.raises(ValueError, match="cannot be embedded"):
        TiledSampler(chip()).sample(dense(100), num_reads=1)
    empty = dimod.BinaryQuadraticModel("SPIN")
    assert len(BlockSampler(AnnealingSampler()).sample(empty).variables) == 0
    assert len(TiledSampler(chip()).sample(empty).variables) == 0
