"""The work threshold: small work on one thread, large on all, and the same numbers either way."""

from __future__ import annotations

from types import SimpleNamespace

import numba
import numpy as np
import pytest

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, SharedGramEnergy, SparseEnergy
from annealnet.samplers import (
    AnnealingSampler,
    ExactSampler,
    RecombinationSampler,
    SharedGramSampler,
    TabuSampler,
    TemperingSampler,
)
from annealnet.samplers.kernels import threads
from annealnet.samplers.kernels.threads import WORTH, Pace, threads_for

ALL = numba.config.NUMBA_NUM_THREADS


@pytest.fixture(autouse=True)
def _all_threads():
    before = numba.get_num_threads()
    numba.set_num_threads(ALL)
    yield
    numba.set_num_threads(before)


def used(wrap, steps: float) -> int:
    with wrap(steps):
        return numba.get_num_threads()


@pytest.mark.parametrize("wrap", [threads_for, Pace().threads_for])
def test_small_work_runs_on_one_thread_and_large_on_all(wrap):
    assert used(wrap, 1000) == 1
    assert used(wrap, WORTH) == ALL
    numba.set_num_threads(1)  # the user's own limit is kept
    assert used(wrap, WORTH) == 1


def test_the_number_of_threads_is_put_back_after_errors():
    def fails() -> None:
        with threads_for(1):
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert numba.get_num_threads() == ALL


@pytest.mark.skipif(ALL == 1, reason="one core")
def test_middle_work_tries_both_and_goes_on_with_the_faster():
    pace = Pace()
    assert {used(pace.threads_for, WORTH / 2) for _ in range(2 * threads._AGAIN)} == {1, ALL}
    for slower in (False, True):
        pace._seconds = {slower: 2.0, not slower: 1.0}
        pace._calls = threads._AGAIN
        assert (used(pace.threads_for, WORTH / 2) == ALL) == (not slower)
        pace._seconds = {slower: 2.0, not slower: 1.0}
        pace._calls = 2 * threads._AGAIN - 1  # the other one is tried again
        assert (used(pace.threads_for, WORTH / 2) == ALL) == slower


@pytest.mark.skipif(ALL == 1, reason="one core")
def test_middle_work_is_compared_by_the_step(monkeypatch):
    """Ten times the steps in five times the time are twice as fast, whichever came first; a mean forgets by quarters."""
    now = [0.0]
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def took(pace: Pace, steps: float, seconds: float) -> int:
        with pace.threads_for(steps):
            now[0] += seconds
            return numba.get_num_threads()

    pace = Pace()
    assert took(pace, 100_000, 90.0) == 1  # may load kernels, and is not counted
    assert took(pace, 100_000, 1.0) == 1
    assert took(pace, 1_000_000, 5.0) == ALL
    assert pace._seconds == pytest.approx({False: 1e-5, True: 5e-6})
    assert took(pace, 100_000, 2.1) == ALL
    assert pace._seconds[True] == pytest.approx(5e-6 + 0.25 * (2.1e-5 - 5e-6))
    assert took(pace, 100_000, 9.0) == ALL  # 9.0e-6 is still less than 1e-5, what follows is not
    assert took(pace, 100_000, 0.5) == 1
    assert pace._seconds[False] == pytest.approx(1e-5 + 0.25 * (5e-6 - 1e-5))


@pytest.mark.skipif(ALL == 1, reason="one core")
@pytest.mark.parametrize(("steps", "kept"), [(49_999, False), (50_000, True), (WORTH - 1, True), (WORTH, False)])
def test_middle_work_lies_between_two_limits(steps, kept):
    pace = Pace()
    pace._calls = threads._LOADING
    used(pace.threads_for, steps)
    assert bool(pace._seconds) == kept


def energies():
    rng = np.random.default_rng(0)
    dense = DenseEnergy(rng.normal(size=(24, 24)), rng.normal(size=24))
    sparse = SparseEnergy(rng.integers(24, size=48), rng.integers(24, size=48), rng.normal(size=48), rng.normal(size=24))
    return {
        "dense": dense, "sparse": sparse, "constrained": ConstrainedEnergy(dense, [Cardinality(range(12), 5)]),
        "rows": SharedGramEnergy(np.eye(6) + 1.0, rng.normal(size=(4, 6)), rng.normal(size=(4, 6))),
    }  # fmt: skip


@pytest.mark.parametrize(("sampler", "form", "asked"), [
    (AnnealingSampler(), "dense", {"num_reads": 4}),
    (AnnealingSampler(), "sparse", {"num_reads": 4}),
    (AnnealingSampler(), "sparse", {"num_reads": 20}),
    (AnnealingSampler(), "constrained", {"num_reads": 4}),
    (TemperingSampler(), "dense", {"num_replicas": 4}),
    (TemperingSampler(), "constrained", {"num_replicas": 4}),
    (RecombinationSampler(), "sparse", {"num_sweeps": 600}),
    (TabuSampler(), "sparse", {"num_sweeps": 5}),
    (SharedGramSampler(), "rows", {}),
    (ExactSampler(), "dense", {"num_reads": 5}),
])  # fmt: skip
def test_threads_change_no_answer(sampler, form, asked, monkeypatch):
    energy, sweeps = energies()[form], {} if isinstance(sampler, ExactSampler) else {"num_sweeps": 20}
    answers = []
    for worth in (0, 10**12):
        monkeypatch.setattr(threads, "WORTH", worth)
        answers.append(sampler.sample_energy(energy, seed=3, **{**sweeps, **asked}))
    assert np.array_equal(answers[0].record.sample, answers[1].record.sample)
    assert np.array_equal(answers[0].record.energy, answers[1].record.energy)
