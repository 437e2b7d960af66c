"""Seeds: what follows from one meets nothing else that follows from it or from another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from annealnet.energy import DenseEnergy, Energy
from annealnet.samplers import AutoSampler
from annealnet.samplers.native import Task
from annealnet.samplers.seeds import Purpose, checked_seed, derived_seed, kernel_words, stream

SEEDS = st.one_of(st.integers(0, 50), st.integers(0, 2**63 - 1), st.integers(0, 2**31).map(lambda high: high << 32))
PURPOSES = st.sampled_from(list(Purpose))
NUMBERS = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)), max_size=3).map(tuple)
KEYS = st.tuples(SEEDS, PURPOSES, NUMBERS)


def test_a_seed_is_kept_drawn_or_refused() -> None:
    assert [checked_seed(value) for value in (0, 7, np.int64(2**40))] == [0, 7, 2**40]
    with pytest.raises(ValueError, match="seed=-1"):
        checked_seed(-1)
    drawn = [checked_seed(None) for _ in range(64)]
    assert len(set(drawn)) == 64
    assert min(drawn) >= 0
    assert 2**30 < max(drawn) < 2**31


@given(KEYS, KEYS)
def test_derived_seeds_meet_only_where_seed_purpose_and_numbers_are_the_same(one: tuple, other: tuple) -> None:
    (seed, purpose, numbers), (other_seed, other_purpose, others) = one, other
    first, second = derived_seed(seed, purpose, *numbers), derived_seed(other_seed, other_purpose, *others)
    assert (first == second) == (one == other)
    draw, other_draw = stream(seed, purpose, *numbers).random(), stream(other_seed, other_purpose, *others).random()
    assert (draw == other_draw) == (one == other)


@given(SEEDS, PURPOSES, NUMBERS)
def test_what_is_derived_is_in_every_generators_range_and_not_the_seeds_own_stream(
    seed: int, purpose: Purpose, numbers: tuple[int, ...]
) -> None:
    found = derived_seed(seed, purpose, *numbers)
    assert 0 <= found < 2**31
    assert found != int(kernel_words(seed)[0] >> np.uint64(33))
    assert stream(seed, purpose, *numbers).random() != np.random.default_rng(seed).random()
    longer = stream(seed, purpose, *numbers, 0)
    assert longer.random() != stream(seed, purpose, *numbers).random(), "a number of 0 is a number"


def test_the_numbers_of_one_seed_are_not_those_of_its_neighbours() -> None:
    """With ``seed + number`` the second draw of seed 0 was the first of seed 1."""
    keys = list(product(range(10), Purpose, range(25)))
    assert len({derived_seed(*key) for key in keys}) == len(keys)
    assert len({stream(*key).random() for key in keys}) == len(keys)


def test_large_seeds_do_not_run_into_purposes_and_numbers() -> None:
    """The words of ``[2³² + 7, 1]`` are those of ``[7, 1, 1]``."""
    low, high = 7, (int(Purpose.STARTS) << 32) + 7
    assert derived_seed(low, Purpose.STARTS, int(Purpose.STARTS)) != derived_seed(high, Purpose.STARTS)
    assert stream(low, Purpose.STARTS, int(Purpose.STARTS)).random() != stream(high, Purpose.STARTS).random()


def test_derived_seeds_are_the_same_everywhere() -> None:
    assert derived_seed(0, Purpose.PIECES, 1) == 296733916
    assert derived_seed(2**40 + 3, Purpose.ROUNDING, 2, 5) == 582731320
    assert derived_seed(np.int64(3), Purpose.PIECES, np.int32(1)) == derived_seed(3, Purpose.PIECES, 1)
    assert [int(word) for word in kernel_words(0, 2)] == [15793235383387715774, 12390638538380655177]


@pytest.mark.parametrize("number", [-1, 2**32])
def test_numbers_that_are_no_word_are_refused(number: int) -> None:
    for derive in (derived_seed, stream):
        with pytest.raises(ValueError, match=rf"number={number} must lie between 0 and 4294967295"):
            derive(0, Purpose.PIECES, number)


def test_seeds_that_are_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="must be below 2¹²⁸"):
        derived_seed(2**128, Purpose.PIECES)
    with pytest.raises(ValueError, match="seed=-1 does not do"):
        stream(-1, Purpose.STARTS)


@given(SEEDS, st.integers(1, 9))
def test_the_words_of_kernels_are_distinct_and_longer_requests_begin_with_the_shorter(seed: int, count: int) -> None:
    words = kernel_words(seed, count)
    assert words.dtype == np.uint64
    assert len(set(words.tolist())) == count
    assert words[0] == kernel_words(seed)[0]
    assume(seed > 0)
    assert words[0] != kernel_words(seed - 1)[0]


def test_neighbouring_seeds_of_auto_share_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials, the winner's run and the polish, of eight neighbouring seeds."""
    asked: list[int | None] = []

    def noted(
        energy: Energy, num_reads: int, seed: int | None, *rest: Any, _of: Callable[..., Task] = Task.of, **more: Any
    ) -> Task:
        asked.append(seed)
        return _of(energy, num_reads, seed, *rest, **more)

    monkeypatch.setattr(Task, "of", noted)
    energy = DenseEnergy(np.triu(np.random.default_rng(0).normal(size=(40, 40))))
    for seed in range(8):
        AutoSampler().sample_energy(energy, num_reads=2, num_sweeps=20, seed=seed)
    assert len(asked) == 8 * 5, "its own, two trials, the winner's run, the polish"
    assert len(set(asked)) == len(asked)
