"""The kernel of layered anneals against heat baths that are drawn spin by spin from fields summed anew."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.samplers import LayeredAnnealing, LayeredModel, Schedule
from annealnet.samplers.kernels import layers
from annealnet.samplers.kernels.random import next_state, seeded
from annealnet.samplers.kernels.simd import rows_of_lanes

WORD, HALF = 2**64, 2**32
UNSURE = 5e-4  # exponentials are within 10⁻³ of themselves


@pytest.fixture(autouse=True)
def _lanes_in_numpy(lanes, monkeypatch) -> Iterator[None]:
    """Instructions have no meaning for the interpreter; compiled kernels take no notice."""
    if numba.config.DISABLE_JIT:
        for name in ("clipped", "floats_of", "load", "lowest", "ones", "splat", "store", "under", "word_lanes"):
            monkeypatch.setattr(layers, name, getattr(lanes, name))
    with np.errstate(over="ignore"):
        yield


def share(key: int, spin: int) -> float:
    """A number in [0, 1) for one spin: 24 bits of murmur3's finaliser (Appleby), keyed by both halves of a word."""
    h = (key + spin * 0x9E3779B9) % HALF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B % HALF) ^ (key >> 32)
    h = (h ^ (h >> 13)) * 0xC2B2AE35 % HALF
    return (h ^ (h >> 16)) / HALF


def heat_bath(model: LayeredModel, problem: int, spins: np.ndarray, betas, quenches, free, stream: int) -> bool:
    """One anneal in place, as its docstring says it; False where rounding could have decided a draw."""
    begins = np.cumsum([0, *model.sizes])
    n, couplings = model.num_variables, np.zeros((model.num_variables,) * 2)
    for l, block in enumerate(model.couplings):
        couplings[begins[l] : begins[l + 1], begins[l + 1] : begins[l + 2]] = block
    couplings += couplings.T
    for l, block in enumerate(model.inner):
        if block is not None:
            couplings[begins[l] : begins[l + 1], begins[l] : begins[l + 1]] = block
    outer = np.concatenate([fields[problem] for fields in model.fields]).astype(np.float64)
    for sweep in range(len(betas) + quenches):
        before = spins.copy()
        for l in np.flatnonzero(free):
            stream = int(next_state(np.uint64(stream)))
            key = stream * 0x2545F4914F6CDD1D % WORD
            for i in range(begins[l], begins[l + 1]):
                field = outer[i] + couplings[i] @ spins
                if sweep >= len(betas):
                    if 0 < abs(field) < 1e-4:
                        return False
                    spins[i] = np.sign(field) if field else spins[i]
                else:
                    chance, drawn = 1 / (1 + math.exp(-2 * betas[sweep] * field)), share(key, int(i - begins[l]))
                    if abs(chance - drawn) < UNSURE:
                        return False
                    spins[i] = 1 if drawn < chance else -1
        if sweep >= len(betas) and (spins == before).all():
            break
    assert len(spins) == n
    return True


def model_of(sizes: tuple[int, ...], coupled: tuple[bool, ...], problems: int, seed: int) -> LayeredModel:
    rng = np.random.default_rng(seed)
    upper = [np.triu(rng.normal(size=(n, n)), 1) / math.sqrt(n) for n in sizes]
    return LayeredModel(
        tuple(rng.normal(size=shape) / math.sqrt(shape[0]) for shape in itertools.pairwise(sizes)),
        tuple(rng.normal(size=(problems, n)) for n in sizes),
        tuple(block + block.T if chosen else None for block, chosen in zip(upper, coupled, strict=True)),
    )


@pytest.mark.parametrize("quenches", [0, 1, 20])
@pytest.mark.parametrize(
    ("sizes", "coupled", "free"),
    [
        ((3,), (False,), (True,)),
        ((17,), (True,), (True,)),
        ((5, 18, 2), (False, True, False), (True, True, True)),
        ((40, 3), (True, False), (True, True)),
        ((70, 33, 20), (False, False, False), (True, True, True)),
        ((4, 68), (False, True), (False, True)),
        ((4, 6, 5), (False, False, False), (True, False, True)),
        ((130, 2), (False, False), (True, True)),
    ],
)
def test_anneals_are_heat_baths_spin_by_spin(sizes, coupled, free, quenches):
    model = model_of(sizes, coupled, 2, len(sizes) + quenches)
    reads, betas = 3, (0.2, 0.7)
    starts = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (2, reads, model.num_variables))
    found = LayeredAnnealing(quenches).sample_layers(
        model, Schedule(betas), reads=reads, seed=4, starts=starts, held=[not x for x in free]
    )
    np.testing.assert_allclose(found.energies, model.energy(found.states), atol=1e-3)
    seed, sure = np.uint64(np.random.SeedSequence(4).generate_state(1, np.uint64)[0]), 0
    for problem, read in itertools.product(range(2), range(reads)):
        spins = starts[problem, read].astype(np.int64)
        if heat_bath(model, problem, spins, betas, quenches, free, int(seeded(seed, problem * reads + read))):
            assert (found.states[problem, read] == spins).all()
            sure += 1
    assert sure >= 3


@settings(max_examples=20)
@given(st.sampled_from([16, 32, 48, 64, 96, 112, 144]), st.integers(0, 5), st.integers(0, 99))
def test_fields_are_mended_by_the_rows_of_what_changed(width, count, seed):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(2, 16)), rng.normal(size=(6, width)).astype(np.float32)]
    rows, places = rows_of_lanes(blocks)
    fields = rng.normal(size=width + 48).astype(np.float32)
    changed, steps = rng.integers(0, 6, 5).astype(np.uint64), rng.choice(np.float32([-2, 2]), 5)
    wanted = fields.copy()
    wanted[16 : 16 + width] += steps[:count] @ blocks[1][changed[:count].astype(int)]
    layers._mend(fields, np.uint64(16), np.uint64(width), rows, places[1], changed, steps, np.uint64(count))
    np.testing.assert_allclose(fields, wanted, atol=1e-5)


@pytest.mark.parametrize("size", [1, 16, 17, 63, 64, 65, 130])
def test_a_cold_layer_turns_along_its_fields_and_tells_what_changed(size):
    rng = np.random.default_rng(size)
    fields = np.zeros(16 + 160, dtype=np.float32)
    fields[16 : 16 + size] = rng.choice([-1.5, 0.0, 0.5], size)
    fields[16 + size :] = 1.0  # of nobody, and no spin may come of it
    bits = rng.integers(0, 2**63, 5).astype(np.uint64)
    spare = size % 64
    last = 1 + (size - 1) // 64
    if spare:
        bits[last] &= np.uint64(2**spare - 1)
    before = bits.copy()
    up = [int(before[1 + j // 64]) >> j % 64 & 1 for j in range(size)]
    wanted = [u if f == 0 else int(f > 0) for u, f in zip(up, fields[16 : 16 + size], strict=True)]
    changed, steps = np.zeros(size + 4, np.uint64), np.zeros(size + 4, np.float32)
    nothing = np.float32(0.0)
    count = int(
        layers._visit(
            bits, np.uint64(1), fields, np.uint64(16), np.uint64(size), True, nothing, np.uint64(9), changed, steps
        )
    )
    assert [int(bits[1 + j // 64]) >> j % 64 & 1 for j in range(size)] == wanted
    assert bits[0] == before[0]
    assert (bits[last + 1 :] == before[last + 1 :]).all()
    moved = [j for j in range(size) if wanted[j] != up[j]]
    assert changed[:count].tolist() == moved
    assert steps[:count].tolist() == [2.0 if wanted[j] else -2.0 for j in moved]


def test_every_draw_is_a_hash_against_its_chance():
    """1/(1 + exp(−2βf)) from one end to the other, to the thousandth of an exponential that is promised."""
    size, beta = 320, 0.2
    fields = np.concatenate([np.linspace(-9, 9, 160), np.linspace(4, 8, 160)]).astype(np.float32)
    found = (
        LayeredAnnealing(0).sample_layers(LayeredModel((), (fields[None],)), Schedule((beta,)), reads=60, seed=2).states[0]
    )
    seed, sure = np.uint64(np.random.SeedSequence(2).generate_state(1, np.uint64)[0]), 0
    chances = 1 / (1 + np.exp(-2 * beta * fields.astype(np.float64)))
    for read in range(60):
        key = int(next_state(np.uint64(seeded(seed, read)))) * 0x2545F4914F6CDD1D % WORD
        drawn = np.array([share(key, spin) for spin in range(size)])
        told = np.abs(drawn - chances) > 2.6e-4
        assert (found[read] == np.where(drawn < chances, 1, -1))[told].all()
        sure += int(told.sum())
    assert sure > 0.99 * 60 * size


def test_a_model_without_sweeps_to_make_is_left_as_it_is():
    """Held layers do not move, and the energies are those of the starts."""
    model = model_of((40, 17, 70), (True, False, True), 2, 0)
    starts = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (2, 2, 127))
    found = LayeredAnnealing(5).sample_layers(model, Schedule((1.0,)), reads=2, starts=starts, held=(True,) * 3)
    assert (found.states == starts).all()
    np.testing.assert_allclose(found.energies, model.energy(starts), rtol=1e-5, atol=1e-3)
