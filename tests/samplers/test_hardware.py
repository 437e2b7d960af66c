"""Hardware on mock devices with real graphs: embedding, chains, retries, the cache, and five hostile starts."""

from __future__ import annotations

import sys

import dimod
import numpy as np
import pytest
from dwave.cloud.exceptions import RequestTimeout, SolverFailureError, SolverOfflineError
from dwave.system.testing import MockDWaveSampler

from annealnet import cli
from annealnet.energy import DenseEnergy
from annealnet.samplers import AnnealingSampler, CacheComposite, EmbeddedSampler, RetryComposite, fit, hybrid, qpu
from annealnet.samplers.composites import split_reads
from annealnet.samplers.hardware import find_embedding, precision, topology_graph


def dense(n: int, seed: int = 0) -> dimod.BinaryQuadraticModel:
    rng = np.random.default_rng(seed)
    return DenseEnergy(np.triu(rng.choice([-1.0, 1.0], (n, n)), 1), rng.choice([-1.0, 1.0], n)).to_bqm()


def ring(n: int) -> dimod.BinaryQuadraticModel:
    return dimod.BinaryQuadraticModel({}, {(i, (i + 1) % n): -1.0 for i in range(n)}, 0.0, "SPIN")


def device(topology: str = "pegasus", shape: int = 4) -> MockDWaveSampler:
    shapes = {"pegasus": [shape], "zephyr": [shape, 4]}
    return MockDWaveSampler(
        topology_type=topology,
        topology_shape=shapes[topology],
        substitute_sampler=AnnealingSampler(),
        substitute_kwargs={"seed": 0},
    )


@pytest.mark.parametrize("topology", ["pegasus", "zephyr"])
@pytest.mark.parametrize("bqm", [dense(8), ring(30)], ids=["dense", "ring"])
def test_a_mock_device_solves_what_is_embedded(topology, bqm):
    sampler = EmbeddedSampler(device(topology))
    answer = sampler.sample(bqm, num_reads=10)
    dimod.testing.assert_response_energies(answer, bqm)
    assert answer.vartype is bqm.vartype
    best = AnnealingSampler().sample(bqm, num_reads=20, seed=0).first.energy
    assert answer.first.energy == pytest.approx(best)
    assert "chain_break_fraction" in answer.record.dtype.names
    assert not answer.info["embedding"]["reused"]
    scaled = bqm.copy()
    scaled.scale(0.5)
    assert sampler.sample(scaled, num_reads=2).info["embedding"]["reused"]


def test_broken_chains_are_counted_and_mended():
    sampler = EmbeddedSampler(device())
    bqm = dense(12)
    answer = sampler.sample(bqm, num_reads=20, chain_strength=0.01)
    assert answer.record.chain_break_fraction.max() > 0
    dimod.testing.assert_response_energies(answer, bqm)


def test_an_empty_model_needs_no_device():
    assert len(EmbeddedSampler(device()).sample(dimod.BinaryQuadraticModel("SPIN")).variables) == 0


def test_no_embedding_says_how_many_bits_and_what_would_do():
    with pytest.raises(ValueError, match=r"60 bits.*blocks"):
        EmbeddedSampler(device(shape=2)).sample(dense(60))


@pytest.mark.parametrize("topology", ["pegasus", "zephyr"])
def test_cliques_fit_up_to_the_figures_known(topology):
    graph = topology_graph(topology)
    embedding = find_embedding(dense(100), graph)
    assert len(embedding) == 100
    assert all(graph.subgraph(chain).number_of_nodes() == len(chain) for chain in embedding.values())
    used = [q for chain in embedding.values() for q in chain]
    assert len(used) == len(set(used))
    assert not fit(dense(190), topology).fits


class Flaky(dimod.Sampler):
    """Raises what it is told to, then answers."""

    parameters = {"num_reads": [], "seed": []}  # noqa: RUF012
    properties = {}  # noqa: RUF012

    def __init__(self, *errors: BaseException | None) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.reads: list[int | None] = []

    def fingerprint_state(self):
        return {}

    def sample(self, bqm, **parameters):
        self.calls += 1
        self.reads.append(parameters.get("num_reads"))
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return AnnealingSampler().sample(bqm, **parameters)


@pytest.mark.parametrize(
    "error", [TimeoutError("slow"), ConnectionResetError("dropped"), RequestTimeout("x"), SolverOfflineError("x")]
)
def test_passing_errors_are_asked_again_with_longer_waits(error):
    waits: list[float] = []
    child = Flaky(error, error, None)
    answer = RetryComposite(child, wait=0.5, sleep=waits.append).sample(ring(4), num_reads=3, seed=0)
    assert (len(answer), answer.info["attempts"], answer.info["failed"]) == (3, 3, None)
    assert waits == [0.5, 1.0]


def test_errors_that_stay_are_reported():
    waits: list[float] = []
    child = Flaky(*[TimeoutError("slow")] * 9)
    with pytest.raises(TimeoutError, match="slow"):
        RetryComposite(child, attempts=3, sleep=waits.append).sample(ring(4))
    assert child.calls == 3
    quota = Flaky(SolverFailureError("Insufficient remaining solver access time"))
    with pytest.raises(SolverFailureError, match="access time"):
        RetryComposite(quota, sleep=waits.append).sample(ring(4))
    assert quota.calls == 1


def test_finished_samples_are_kept_when_the_quota_ends():
    child = Flaky(None, None, SolverFailureError("Insufficient remaining solver access time"))
    answer = RetryComposite(child, reads_per_call=4, sleep=lambda _: None).sample(ring(12), num_reads=20, seed=1)
    assert len(answer) == 8
    assert "access time" in answer.info["failed"]


def test_pieces_of_reads_have_seeds_of_their_own():
    flat = dimod.BinaryQuadraticModel(dict.fromkeys(range(20), 0.0), {}, 0.0, "BINARY")
    sampler = RetryComposite(AnnealingSampler(), reads_per_call=4)
    one, two = (sampler.sample(flat, num_reads=10, seed=3).record.sample for _ in range(2))
    assert np.array_equal(one, two)
    assert len(np.unique(one, axis=0)) == 10


def test_states_to_start_from_go_with_their_reads_in_every_form():
    flat = dimod.BinaryQuadraticModel(dict.fromkeys(range(5), 0.0), {}, 0.0, "BINARY")
    starts = np.eye(5, dtype=np.int8)
    retrying = RetryComposite(AnnealingSampler(), reads_per_call=2)
    cold = {"num_sweeps": 1, "beta_range": (50.0, 50.0), "seed": 0}
    bqm = dimod.BinaryQuadraticModel(
        dict.fromkeys(range(5), 1.0), {(i, j): -3.0 for i in range(5) for j in range(i)}, 0.0, "BINARY"
    )
    whole = AnnealingSampler().sample(bqm, num_reads=5, initial_states=starts, **cold)
    assert np.array_equal(
        retrying.sample(bqm, num_reads=5, initial_states=starts, **cold).record.sample, whole.record.sample
    )
    dwave = pytest.importorskip("dwave.samplers").SimulatedAnnealingSampler()
    retrying = RetryComposite(dwave, reads_per_call=2)
    asked = {"num_reads": 5, "num_sweeps": 0, "seed": 0}
    for given in (starts, (starts, list(range(5))), dimod.SampleSet.from_samples(starts, "BINARY", 0.0)):
        states = (given, list(range(5))) if isinstance(given, np.ndarray) else given
        found = retrying.sample(flat, initial_states=states, **asked)
        assert np.array_equal(found.record.sample[:, np.argsort(found.variables)], starts)
    one = retrying.sample(flat, initial_states=starts[2], initial_states_generator="tile", **asked)
    assert (one.record.sample == starts[2]).all()


def test_no_sample_is_paid_for_twice(tmp_path):
    child = Flaky()
    cached = CacheComposite(child, tmp_path / "answers.sqlite")
    bqm = dense(6)
    first = cached.sample(bqm, num_reads=5, seed=1)
    again = CacheComposite(child, tmp_path / "answers.sqlite").sample(bqm.copy(), seed=1, num_reads=5)
    assert child.calls == 1
    assert (first.info["cached"], again.info["cached"]) == (False, True)
    assert np.array_equal(first.record.sample, again.record.sample)
    assert np.allclose(first.record.energy, again.record.energy)
    assert again.vartype is bqm.vartype
    cached.sample(bqm, num_reads=6, seed=1)
    other = bqm.copy()
    other.add_linear(0, 1e-9)
    cached.sample(other, num_reads=5, seed=1)
    assert child.calls == 3


def test_the_order_of_variables_does_not_matter_to_the_cache(tmp_path):
    child = Flaky()
    cached = CacheComposite(child, tmp_path / "answers.sqlite")
    cached.sample(dimod.BinaryQuadraticModel({"a": 1.0, "b": 2.0}, {"ab": -1.0}, 0.0, "SPIN"), seed=0)
    cached.sample(dimod.BinaryQuadraticModel({"b": 2.0, "a": 1.0}, {"ba": -1.0}, 0.0, "SPIN"), seed=0)
    assert child.calls == 1


def test_two_devices_share_no_answers(tmp_path):
    place = tmp_path / "answers.sqlite"
    bqm = dense(6)
    chips = [EmbeddedSampler(device()), EmbeddedSampler(device("zephyr")), EmbeddedSampler(device(), seed=1)]
    for chip in chips:
        wrapped = [CacheComposite(RetryComposite(chip, reads_per_call=size), place) for size in (None, 2)]
        told = [cache.sample(bqm, num_reads=4).info["cached"] for cache in (*wrapped, *wrapped)]
        assert told == [False, False, True, True]


def test_what_was_cut_short_is_never_served_as_a_whole_answer(tmp_path):
    quota = SolverFailureError("Insufficient remaining solver access time")
    child = Flaky(None, None, quota, None, quota)
    cached = CacheComposite(RetryComposite(child, reads_per_call=4, sleep=lambda _: None), tmp_path / "answers.sqlite")
    bqm = ring(12)
    first = cached.sample(bqm, num_reads=20)
    assert (len(first), first.info["cached"], child.reads) == (8, False, [4, 4, 4])
    second = cached.sample(bqm, num_reads=20)  # the quota ends again
    assert (len(second), second.info["cached"]) == (12, False)
    third = cached.sample(bqm, num_reads=20)
    assert (len(third), third.info["cached"], third.info["failed"], child.reads[5:]) == (20, False, None, [4, 4])
    assert {tuple(row) for row in first.record.sample} <= {tuple(row) for row in third.record.sample}
    again = cached.sample(bqm, num_reads=20)
    assert (len(again), again.info["cached"], child.calls) == (20, True, 7)


def test_a_seeded_answer_that_was_cut_short_is_asked_anew_as_a_whole(tmp_path):
    bqm = ring(12)
    child = Flaky(None, SolverFailureError("x"))
    retrying = RetryComposite(child, reads_per_call=4, sleep=lambda _: None)
    cached = CacheComposite(retrying, tmp_path / "answers.sqlite")
    assert len(cached.sample(bqm, num_reads=8, seed=1)) == 4
    whole = cached.sample(bqm, num_reads=8, seed=1)
    assert np.array_equal(whole.record.sample, retrying.sample(bqm, num_reads=8, seed=1).record.sample)
    assert cached.sample(bqm, num_reads=8, seed=1).info["cached"]


class Short(Flaky):
    """Finds one read, however many were asked for."""

    def sample(self, bqm, **parameters):
        return super().sample(bqm, **parameters).truncate(1)


def test_short_answers_are_handed_on_and_not_kept(tmp_path):
    cached = CacheComposite(Short(), tmp_path / "answers.sqlite")
    told = [cached.sample(ring(4), num_reads=3, seed=0) for _ in range(2)]
    assert [(len(answer), answer.info["cached"]) for answer in told] == [(1, False), (1, False)]


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(ValueError, match=r"notes\.txt"):
        CacheComposite(Flaky(), tmp_path / "notes.txt")


@pytest.mark.parametrize("make", [qpu, hybrid])
def test_without_a_token_the_error_says_how_to_set_it(make, monkeypatch, tmp_path):
    monkeypatch.delenv("DWAVE_API_TOKEN", raising=False)
    monkeypatch.setenv("DWAVE_CONFIG_FILE", str(tmp_path / "none.conf"))
    (tmp_path / "none.conf").write_text("[defaults]\n")
    with pytest.raises(ValueError, match="DWAVE_API_TOKEN"):
        make()


def test_precision_counts_range_and_steps():
    told = precision(dimod.BinaryQuadraticModel({"a": 1.0, "b": 0.25}, {"ab": 0.5}, 0.0, "SPIN"))
    assert told == {"range": 4.0, "bits": 2.0, "lost": 0.0}
    assert precision(dimod.BinaryQuadraticModel({"a": 1.0, "b": 1e-3}, {}, 0.0, "SPIN"))["lost"] == 0.5
    assert precision(dimod.BinaryQuadraticModel({"a": 0.0}, {}, 0.0, "SPIN"))["bits"] == 0.0


def test_the_command_answers_will_it_fit(monkeypatch, capsys, tmp_path):
    place = tmp_path / "triangle.coo"
    place.write_text("0 1 1\n1 2 1\n0 2 -1\n")
    monkeypatch.setattr(sys, "argv", ["annealnet", "fit", str(place), "--topology", "zephyr"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    text = capsys.readouterr().out
    assert "3 bits, 3 couplings" in text
    assert "fits: 3 qubits" in text
    monkeypatch.setattr(sys, "argv", ["annealnet", "fit", str(place), "--topology", "torus"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2


def test_one_attempt_and_one_read_a_call_are_the_least():
    child = Flaky()
    assert len(RetryComposite(child, attempts=1, reads_per_call=1).sample(ring(4), num_reads=2, seed=0)) == 2
    assert child.reads == [1, 1]
    for asked in ({"attempts": 0}, {"reads_per_call": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            RetryComposite(child, **asked)


@pytest.mark.parametrize("given", [np.eye(3, 4, dtype=np.int8), np.eye(3, 4, dtype=np.int8).tolist()], ids=["array", "list"])
def test_pieces_of_reads_take_their_rows_of_plain_states(given):
    pieces = split_reads({"num_reads": 3, "initial_states": given}, 2)
    assert [np.asarray(piece["initial_states"]).tolist() for piece in pieces] == [
        [[1, 0, 0, 0], [0, 1, 0, 0]], [[0, 0, 1, 0]],
    ]  # fmt: skip
    others = split_reads({"num_reads": 4, "initial_states": given}, 2)  # not one for each read
    assert all(piece["initial_states"] is given for piece in others)
    row = np.array([1, 0, 1], dtype=np.int8)  # one state alone, though it has as many bits as there are reads
    assert all(
        np.array_equal(piece["initial_states"], row) for piece in split_reads({"num_reads": 3, "initial_states": row}, 2)
    )
