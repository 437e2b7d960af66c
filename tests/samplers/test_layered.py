"""Layered anneals: against enumeration, against exact thermal means, and against the promises of their docstrings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import dimod
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.samplers import (
    AnnealingSampler,
    BestOf,
    DimodLayers,
    EmbeddedSampler,
    EnumeratedLayers,
    LayeredAnnealing,
    LayeredModel,
    LayeredReads,
    LayeredSampler,
    NoisyLayers,
    QuantumLayers,
    Schedule,
    layered,
    layered_dimod,
    layered_torch,
)
from annealnet.samplers.layered import LayeredTask
from annealnet.samplers.layered_exact import all_states
from annealnet.samplers.layered_torch import TorchLayeredAnnealing
from annealnet.samplers.seeds import Purpose, stream

COLD = Schedule.forward(0.05, 8.0, 60)
NATIVE: dict[str, LayeredSampler] = {"numba": LayeredAnnealing(), "torch": TorchLayeredAnnealing("cpu")}


def model_of(sizes: tuple[int, ...], problems: int, seed: int, coupled: Sequence[bool] = ()) -> LayeredModel:
    """Gaussian numbers; layers that are ``coupled`` have couplings inside."""
    rng = np.random.default_rng(seed)
    blocks = tuple(rng.normal(size=shape) for shape in itertools.pairwise(sizes))
    fields = tuple(rng.normal(size=(problems, n)) for n in sizes)
    upper = [np.triu(rng.normal(size=(n, n)), 1) for n in sizes] if coupled else []
    inner = tuple(block + block.T if chosen else None for block, chosen in zip(upper, coupled, strict=True))
    return LayeredModel(blocks, fields, inner)


def model_from(layers: list[tuple[int, bool]], problems: int, seed: int) -> LayeredModel:
    return model_of(tuple(n for n, _ in layers), problems, seed, [chosen for _, chosen in layers])


models = st.builds(
    model_from,
    st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=3),
    st.integers(1, 3),
    st.integers(0, 10**6),
)


@given(models)
@settings(max_examples=25)
def test_both_faces_have_the_same_energy(model: LayeredModel) -> None:
    states = np.repeat(all_states(model.num_variables)[None], model.num_problems, 0)
    for problem in range(model.num_problems):
        bqm = model.bqm(problem)
        inside = sum(len(block) * (len(block) - 1) // 2 for block in model.inner if block is not None)
        assert bqm.num_interactions == sum(block.size for block in model.couplings) + inside
        np.testing.assert_allclose(model.energy(states)[problem], bqm.energies(states[problem]), atol=1e-4)


@pytest.mark.parametrize("name", NATIVE)
@given(models, st.integers(0, 1000))
@settings(max_examples=15)
def test_anneals_find_the_ground_states_of_small_models(name: str, model: LayeredModel, seed: int) -> None:
    found = NATIVE[name].sample_layers(model, COLD, reads=40, seed=seed)
    np.testing.assert_allclose(found.energies, model.energy(found.states), atol=1e-3)
    np.testing.assert_allclose(
        found.energies.min(1), EnumeratedLayers().sample_layers(model, COLD).energies.min(1), atol=1e-3
    )
    assert (model.energy(found.best[:, None])[:, 0] <= found.energies.min(1) + 1e-3).all()


wide = st.builds(
    model_from,
    st.lists(st.tuples(st.sampled_from([1, 15, 16, 17, 33, 63, 64, 65, 130]), st.booleans()), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 10**6),
)


@pytest.mark.parametrize("name", NATIVE)
@given(wide, st.integers(0, 1000))
@settings(max_examples=15)
def test_layers_of_every_width_end_in_minima_with_the_energies_they_have(name: str, model: LayeredModel, seed: int) -> None:
    found = NATIVE[name].sample_layers(model, Schedule.forward(0.01, 3.0, 10), reads=2, seed=seed)
    np.testing.assert_allclose(found.energies, model.energy(found.states), rtol=1e-4, atol=1e-2)
    for spin in range(model.num_variables):
        turned = found.states.copy()
        turned[..., spin] *= -1
        assert (model.energy(turned) >= model.energy(found.states) - 1e-3).all()


@pytest.mark.parametrize("name", NATIVE)
def test_wide_layers_are_drawn_from_the_boltzmann_distribution(name: str) -> None:
    """Spins of a free layer without neighbours are independent: P(up) = 1/(1 + exp(−2βh)), each with its own numbers."""
    fields = np.linspace(-2, 2, 150, dtype=np.float32)[None]
    model = LayeredModel((), (np.repeat(fields, 4, 0),))
    sampler = LayeredAnnealing(quenches=0) if name == "numba" else TorchLayeredAnnealing("cpu", quenches=0)
    spins = sampler.sample_layers(model, Schedule((0.7,) * 3), reads=5000, seed=3).states.reshape(-1, 150)
    expected = np.tanh(0.7 * fields[0])
    spread = np.sqrt((1 - expected**2) / len(spins)) + 1e-9
    assert np.abs((spins.mean(0) - expected) / spread).max() < 4.5
    together = np.corrcoef(spins.T) - np.eye(150)
    assert np.abs(together).max() < 6 / np.sqrt(len(spins))


@pytest.mark.parametrize("coupled", [(), (True, False, True)])
@pytest.mark.parametrize("sampler", [LayeredAnnealing(quenches=0), TorchLayeredAnnealing("cpu", quenches=0)])
def test_long_runs_at_one_temperature_draw_from_the_boltzmann_distribution(
    sampler: LayeredSampler, coupled: tuple[bool, ...]
) -> None:
    model, schedule = model_of((3, 2, 2), 2, 4, coupled), Schedule((0.4,) * 30)
    exact = EnumeratedLayers().sample_layers(model, schedule)
    drawn = sampler.sample_layers(model, schedule, reads=40_000, seed=0)
    wanted = np.einsum("pr,pri->pi", exact.shares, exact.states)
    np.testing.assert_allclose(drawn.states.mean(1), wanted, atol=0.025)  # five standard errors
    pairs = np.einsum("pr,pri,prj->pij", exact.shares, exact.states, exact.states)
    drawn_pairs = np.einsum("pri,prj->pij", *[drawn.states.astype(np.float64)] * 2) / drawn.states.shape[1]
    np.testing.assert_allclose(drawn_pairs, pairs, atol=0.025)


@pytest.mark.parametrize("name", NATIVE)
def test_couplings_of_zero_inside_layers_change_not_a_bit(name: str) -> None:
    without = model_of((40, 23, 9), 4, seed=6)
    zeros = LayeredModel(without.couplings, without.fields, tuple(np.zeros((n, n)) for n in without.sizes))
    one, two = (NATIVE[name].sample_layers(model, COLD, reads=3, seed=2) for model in (without, zeros))
    assert (one.states == two.states).all()
    assert (one.energies == two.energies).all()


@pytest.mark.parametrize("name", NATIVE)
def test_a_layer_that_only_couples_inside_is_a_ferromagnet_or_a_frustrated_one(name: str) -> None:
    # twelve spins, all pairs at ±1: E = −½((Σs)² − 12) has its least value −66, and +½((Σs)² − 12) has −6 where Σs = 0
    pairs = np.ones((12, 12)) - np.eye(12)
    for sign, least, total in ((1.0, -66.0, 12), (-1.0, -6.0, 0)):
        model = LayeredModel((), (np.zeros((1, 12)),), (sign * pairs,))
        found = NATIVE[name].sample_layers(model, COLD, reads=10, seed=0)
        np.testing.assert_allclose(found.energies, least, atol=1e-3)
        assert (np.abs(found.states.sum(-1)) == total).all()


@pytest.mark.parametrize("name", NATIVE)
@given(models, st.data())
@settings(max_examples=15)
def test_held_layers_never_move(name: str, model: LayeredModel, data: st.DataObject) -> None:
    held = data.draw(st.lists(st.booleans(), min_size=len(model.sizes), max_size=len(model.sizes)))
    rng = np.random.default_rng(0)
    starts = rng.choice(np.array([-1, 1], np.int8), (model.num_problems, 3, model.num_variables))
    found = NATIVE[name].sample_layers(model, COLD, reads=3, seed=1, starts=starts, held=held)
    fixed = np.repeat(held, model.sizes)
    assert (found.states[..., fixed] == starts[..., fixed]).all()
    assert set(np.unique(found.states)) <= {-1, 1}


def test_the_same_seed_gives_the_same_reads_whatever_the_number_of_threads(every_thread: None) -> None:
    model = model_of((20, 10), 5, seed=0)
    first = LayeredAnnealing().sample_layers(model, COLD, reads=4, seed=3)
    threads = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    second = LayeredAnnealing().sample_layers(model, COLD, reads=4, seed=3)
    numba.set_num_threads(threads)
    assert (first.states == second.states).all()
    hot = Schedule((1e-6,))
    other = LayeredAnnealing(quenches=0).sample_layers(model, hot, reads=4, seed=4).states
    assert (LayeredAnnealing(quenches=0).sample_layers(model, hot, reads=4, seed=3).states != other).any()


def test_a_cold_reverse_anneal_stays_where_it_starts_and_a_hot_one_leaves() -> None:
    model = LayeredModel((np.full((12, 8), 0.5),), (np.zeros((1, 12)), np.zeros((1, 8))))
    starts = np.ones((1, 50, 20), np.int8)
    stay = LayeredAnnealing().sample_layers(model, Schedule.reverse(20.0, 10.0, 9), reads=50, starts=starts)
    leave = LayeredAnnealing().sample_layers(model, Schedule.reverse(20.0, 1e-3, 9), reads=50, starts=starts)
    assert (stay.states == 1).all()
    assert 0.2 < (leave.states[..., 0] == 1).mean() < 0.8


def test_the_best_of_several_is_never_worse() -> None:
    model = model_of((10, 8), 4, seed=2)
    quick = Schedule((0.5,) * 2)
    single = LayeredAnnealing(0).sample_layers(model, quick, reads=20, seed=0)
    best = BestOf(LayeredAnnealing(0), 10).sample_layers(model, quick, reads=2, seed=0)
    assert best.states.shape == (4, 2, 18)
    np.testing.assert_allclose(best.energies.min(1), single.energies.min(1), atol=1e-4)
    np.testing.assert_allclose(best.energies, model.energy(best.states), atol=1e-3)


def test_a_slow_quantum_anneal_ends_in_the_ground_state_and_a_sudden_one_does_not() -> None:
    model = model_of((3, 3), 3, seed=5)
    ground = EnumeratedLayers().sample_layers(model, COLD).energies.min(1, keepdims=True)
    shares = [
        (QuantumLayers(duration, 800).sample_layers(model, COLD, reads=400).energies < ground + 1e-4).mean()
        for duration in (0.01, 200.0)
    ]
    assert shares[0] < 0.1
    assert shares[1] > 0.9


class Counting(dimod.Sampler):
    """Exact, and remembers what it was asked for."""

    parameters = None
    properties = None

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: object) -> dimod.SampleSet:
        self.calls.append({"bqm": bqm, **parameters})
        return dimod.ExactSolver().sample(bqm).truncate(3)


@pytest.mark.parametrize("coupled", [(), (True, True, True)])
def test_any_dimod_sampler_serves_and_held_layers_are_fields_for_it(coupled: tuple[bool, ...]) -> None:
    model, device = model_of((3, 2, 2), 2, 1, coupled), Counting()
    starts = np.ones((2, 3, 7), np.int8)
    found = DimodLayers(device).sample_layers(model, COLD, reads=3, starts=starts, held=(False, False, True))
    exact = EnumeratedLayers().sample_layers(model, COLD, reads=3, starts=starts, held=(False, False, True))
    np.testing.assert_allclose(found.energies.min(1), exact.energies.min(1), atol=1e-4)
    assert (found.states[..., 5:] == 1).all()
    assert {len(call["bqm"].variables) for call in device.calls} == {5}  # type: ignore[attr-defined]
    reverse = DimodLayers(device, reverse={"anneal_schedule": [[0, 1], [1, 0.5], [2, 1]]})
    reverse.sample_layers(model, COLD, reads=3, starts=starts)
    assert device.calls[-1]["initial_state"] == dict.fromkeys(range(7), 1)
    with pytest.raises(ValueError, match="reverse was not"):
        DimodLayers(device).sample_layers(model, COLD, reads=3, starts=starts)


@given(models, st.data())
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("sampler", [DimodLayers(AnnealingSampler(), num_sweeps=50), QuantumLayers(3.0, 30)])
def test_every_read_keeps_the_layers_it_is_held_in(
    sampler: LayeredSampler, model: LayeredModel, data: st.DataObject
) -> None:
    held = data.draw(st.lists(st.booleans(), min_size=len(model.sizes), max_size=len(model.sizes)).filter(any))
    starts = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (model.num_problems, 5, model.num_variables))
    found = sampler.sample_layers(model, COLD, reads=5, seed=1, starts=starts, held=held)
    fixed = np.repeat(held, model.sizes)
    assert (found.states[..., fixed] == starts[..., fixed]).all()
    np.testing.assert_allclose(found.energies, model.energy(found.states), atol=1e-3)


def test_thermal_means_are_those_of_reads_that_are_held_apart() -> None:
    model, schedule = model_of((3, 2, 2), 2, 4), Schedule((0.4,) * 30)
    starts = np.random.default_rng(3).choice(np.array([-1, 1], np.int8), (2, 3, 7))
    held = (True, False, False)
    exact = EnumeratedLayers().sample_layers(model, schedule, reads=3, starts=starts, held=held)
    many = np.repeat(starts, 8000, axis=1)
    drawn = LayeredAnnealing(0).sample_layers(model, schedule, reads=24_000, seed=0, starts=many, held=held)
    wanted = np.einsum("pr,pri->pi", exact.shares, exact.states)
    np.testing.assert_allclose(drawn.states.mean(1), wanted, atol=0.03)
    np.testing.assert_allclose(exact.shares.sum(1), 1.0)


def test_dimod_samplers_get_the_seed_and_repeat_under_it() -> None:
    model = model_of((6, 4), 3, seed=0)
    hot = {"num_sweeps": 1, "beta_range": (1e-3, 1e-3)}
    layers = DimodLayers(AnnealingSampler(), **hot)
    one, two, other = (layers.sample_layers(model, COLD, reads=8, seed=seed).states for seed in (5, 5, 6))
    assert (one == two).all()
    assert (one != other).any()
    assert (one[0] != one[1]).any()  # problems do not share their draws
    fixed = DimodLayers(AnnealingSampler(), seed=3, **hot)
    assert (
        fixed.sample_layers(model, COLD, reads=8, seed=5).states == fixed.sample_layers(model, COLD, reads=8, seed=6).states
    ).all()


def test_reverse_anneals_begin_in_the_state_of_every_read() -> None:
    model, device = model_of((3, 2), 1, 1), Counting()
    starts = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (1, 4, 5))
    starts[0, 3] = starts[0, 0]
    DimodLayers(device, reverse={"anneal_schedule": []}).sample_layers(model, COLD, reads=4, starts=starts)
    asked = {tuple(call["initial_state"].values()): call["num_reads"] for call in device.calls}  # type: ignore[attr-defined]
    assert asked == {tuple(starts[0, 0].tolist()): 2, tuple(starts[0, 1].tolist()): 1, tuple(starts[0, 2].tolist()): 1}


def test_errors_of_a_machine_and_its_measurements_are_drawn_apart() -> None:
    """Were they one stream, the first error and the first measurement would follow from one number."""
    streams = [stream(7, purpose).random(4) for purpose in Purpose]
    assert len(np.unique(np.round(streams, 12))) == 4 * len(Purpose)
    model = LayeredModel((), (np.full((64, 1), 1e-9),))
    seen = Seeing()
    errors, spins = [], []
    for seed in range(60):
        NoisyLayers(seen, fields=1.0).sample_layers(model, COLD, seed=seed)
        errors.append(seen.models[-1].fields[0].ravel() > 0)
        spins.append(QuantumLayers(0.01, 2).sample_layers(model, COLD, seed=seed).states.ravel() > 0)
    agreement = np.mean(np.array(errors)[:, 0] == np.array(spins)[:, 0])
    assert 0.2 < agreement < 0.8


class Seeing(EnumeratedLayers):
    """Keeps the models it is given."""

    def __init__(self) -> None:
        self.models: list[LayeredModel] = []

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        self.models.append(task.model)
        return super()._anneal(task)


def test_control_errors_change_what_the_machine_sees_and_not_what_is_reported() -> None:
    model, machine = model_of((5, 4), 100, seed=1, coupled=(True, False)), Seeing()
    model.couplings[0][1] = 0.0  # no such couplings
    noisy = NoisyLayers(machine, fields=0.1, couplings=0.05)
    found = noisy.sample_layers(model, COLD, seed=2)
    for seed in range(3, 40):
        noisy.sample_layers(model, COLD, seed=seed)
    np.testing.assert_allclose(found.energies, model.energy(found.states))
    fields = [seen.fields[0] - model.fields[0] for seen in machine.models]
    blocks = np.array([seen.couplings[0] - model.couplings[0] for seen in machine.models])
    inner = np.array([np.asarray(seen.inner[0]) - np.asarray(model.inner[0]) for seen in machine.models])
    assert np.std(fields) == pytest.approx(0.1, rel=0.05)
    assert np.std(blocks[:, [0, 2, 3, 4]]) == pytest.approx(0.05, rel=0.1)
    assert not blocks[:, 1].any()
    assert np.std(inner[:, *np.triu_indices(5, 1)]) == pytest.approx(0.05, rel=0.1)
    assert (inner == inner.transpose(0, 2, 1)).all()
    quiet = NoisyLayers(LayeredAnnealing()).sample_layers(model, COLD, seed=2)
    assert (quiet.states == LayeredAnnealing().sample_layers(model, COLD, seed=2).states).all()


def test_large_control_errors_lose_the_ground_state() -> None:
    model = model_of((4, 3), 50, seed=3)
    best = EnumeratedLayers().sample_layers(model, COLD).energies.min(1)
    machines = [NoisyLayers(LayeredAnnealing(), fields=s, couplings=s) for s in (0.01, 0.3, 3.0)]
    found = [machine.sample_layers(model, COLD, reads=10).energies.min(1) for machine in machines]
    shares = [np.mean(energies < best + 1e-4) for energies in found]
    assert shares[0] > 0.8
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize("coupled", [(), (True, False)])
def test_one_embedding_serves_all_problems_of_a_batch(coupled: tuple[bool, ...]) -> None:
    testing = pytest.importorskip("dwave.system.testing")
    device = testing.MockDWaveSampler(topology_type="zephyr", topology_shape=[2], substitute_kwargs={"seed": 1})
    sampler = EmbeddedSampler(device)
    model = model_of((6, 4), 3, 0, coupled)
    found = DimodLayers(sampler).sample_layers(model, COLD, reads=20)
    assert [info["reused"] for info in found.info["embeddings"]] == [False, True, True]
    np.testing.assert_allclose(found.energies, model.energy(found.states))
    exact = EnumeratedLayers().sample_layers(model, COLD).energies.min(1)
    assert (found.energies.min(1) < 0.5 * exact).all()


def test_a_graph_that_cannot_hold_the_layers_says_how_many_chains_they_need() -> None:
    testing = pytest.importorskip("dwave.system.testing")
    device = testing.MockDWaveSampler(topology_type="zephyr", topology_shape=[1])
    with pytest.raises(ValueError, match=r"needs 60 chains of (\d+) qubits") as refused:
        DimodLayers(EmbeddedSampler(device)).sample_layers(model_of((30, 30), 1, seed=0), COLD)
    assert "48 qubits" in str(refused.value)


def test_complete_layers_get_the_regular_embedding_of_a_biclique() -> None:
    pytest.importorskip("minorminer")
    import dwave.graphs

    from annealnet.samplers.hardware import find_embedding

    graph, bqm = dwave.graphs.zephyr_graph(3), model_of((20, 12), 1, seed=0).bqm(0)
    chains = find_embedding(bqm, graph)
    used = [qubit for chain in chains.values() for qubit in chain]
    assert len(used) == len(set(used))
    assert all(any(graph.has_edge(a, b) for a in chains[u] for b in chains[v]) for u, v in bqm.quadratic)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: LayeredModel((np.ones((2, 2)),), (np.ones((1, 2)), np.ones((1, 3)))), "couplings"),
        (lambda: LayeredModel((), (np.ones((0, 2)),)), "at least one problem"),
        (lambda: LayeredModel((), (np.full((1, 2), np.nan),)), "NaN"),
        (lambda: LayeredModel((), (np.ones((1, 2)),), (None, None)), "inner has 2 entries"),
        (lambda: LayeredModel((), (np.ones((1, 2)),), (np.zeros((3, 3)),)), r"inner\[0\] has shape"),
        (lambda: LayeredModel((), (np.ones((1, 2)),), (np.array([[0, 1], [2, 0]]),)), "symmetric"),
        (lambda: LayeredModel((), (np.ones((1, 2)),), (np.eye(2),)), "diagonal of 0"),
        (lambda: LayeredModel((), (np.ones((1, 1)),), (np.full((1, 1), np.nan),)), "NaN"),
        (lambda: Schedule(()), "betas"),
        (lambda: Schedule.forward(2.0, 1.0, 3), "hot"),
        (lambda: LayeredAnnealing(-1), "quenches"),
        (lambda: NoisyLayers(LayeredAnnealing(), fields=-0.1), "fields"),
        (lambda: NoisyLayers(LayeredAnnealing(), couplings=float("nan")), "couplings"),
        (lambda: LayeredAnnealing().sample_layers(model_of((2,), 1, 0), COLD, reads=0), "reads"),
        (lambda: LayeredAnnealing().sample_layers(model_of((2,), 1, 0), COLD, held=(True,)), "need starts"),
        (lambda: LayeredAnnealing().sample_layers(model_of((2,), 1, 0), COLD, starts=np.zeros((1, 1, 2))), "starts"),
        (lambda: EnumeratedLayers().sample_layers(model_of((9, 9), 1, 0), COLD), "up to 16"),
    ],
)
def test_bad_input_is_refused(work: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        work()  # type: ignore[operator]


def test_schedules_are_geometric_and_reverse_ones_are_mirrored() -> None:
    assert Schedule.forward(2.0, 2.0, 1).betas == (2.0,)
    assert Schedule.forward(0.5, 8.0, 5).betas == pytest.approx((0.5, 1, 2, 4, 8))
    assert Schedule.reverse(8.0, 0.5, 9).betas == pytest.approx((8, 4, 2, 1, 0.5, 1, 2, 4, 8))
    assert Schedule.reverse(4.0, 1.0, 4).betas == pytest.approx((4, 2, 1, 2, 4))
    for hot, cold in ((0.0, 1.0), (1.0, np.inf), (1.0, 0.5)):
        with pytest.raises(ValueError, match="hot"):
            Schedule.forward(hot, cold, 3)
    for betas in ((0.0,), (1.0, np.inf), (1.0, -1.0)):
        with pytest.raises(ValueError, match="betas"):
            Schedule(betas)


def test_work_is_counted_from_the_spins_that_move() -> None:
    """A step for every free spin, and a fiftieth of its neighbours' rows; per problem, read and sweep."""
    model = model_of((3, 5, 2), 4, 0)
    states = np.zeros((4, 6, 10), np.int8)
    for free, steps in (
        ((True, True, True), 3 * (1 + 0.02 * 5) + 5 * (1 + 0.02 * 5) + 2 * (1 + 0.02 * 5)),
        ((True, False, True), 3 * (1 + 0.02 * 5) + 2 * (1 + 0.02 * 5)),
        ((False, True, False), 5 * (1 + 0.02 * (3 + 2))),
    ):
        task = LayeredTask(model, Schedule((1.0,) * 7), 6, 0, states, np.array(free), False)
        assert layered._work(task) == pytest.approx(steps * 4 * 6 * 7)
    uneven = LayeredTask(model_of((3, 5), 1, 0), Schedule((1.0,)), 1, 0, states[:1, :1, :8], np.array([False, True]), False)
    assert layered._work(uneven) == pytest.approx(5 * (1 + 0.02 * 3))


def test_shares_of_reads_are_equal_unless_told() -> None:
    energies = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]])
    states = np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    reads = LayeredReads(states, energies)
    assert reads.shares == pytest.approx(np.full((2, 3), 1 / 3))
    assert reads.best.tolist() == [[2, 3], [10, 11]]
    assert LayeredReads(states, energies, weights=energies).shares is energies


def test_starts_are_random_signs_of_a_purpose_and_given_ones_are_copied() -> None:
    model = model_of((30, 20), 3, 0)
    states, free = layered.checked_start(model, 4, 1, None, None)
    assert states.shape == (3, 4, 50)
    assert set(np.unique(states)) == {-1, 1}
    assert abs(states.mean()) < 0.15
    assert free.tolist() == [True, True]
    given_states, free = layered.checked_start(model, 4, 1, states, [False, True])
    assert given_states is not states
    assert (given_states == states).all()
    assert free.tolist() == [True, False]
    with pytest.raises(ValueError, match="held"):
        layered.checked_start(model, 4, 1, states, [True])
    with pytest.raises(ValueError, match="starts has shape"):
        layered.checked_start(model, 5, 1, states, None)


def test_all_states_are_listed_with_spin_i_at_bit_i() -> None:
    assert all_states(2).tolist() == [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    assert all_states(16).shape == (2**16, 16)
    with pytest.raises(ValueError, match="up to 16"):
        all_states(17)


def test_exact_means_are_boltzmanns_and_held_reads_have_their_share() -> None:
    model, beta = model_of((2, 2), 2, 3), 0.6
    states = all_states(4).astype(np.float64)
    found = EnumeratedLayers().sample_layers(model, Schedule((9.0, beta)))
    energies = model.energy(np.repeat(states[None], 2, 0))
    weights = np.exp(-beta * energies)
    np.testing.assert_allclose(found.shares, weights / weights.sum(1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(found.energies, energies, atol=1e-6)
    starts = np.ones((2, 3, 4), np.int8)
    starts[:, 2, 0] = -1
    held = EnumeratedLayers().sample_layers(model, Schedule((beta,)), reads=3, starts=starts, held=(True, False))
    wanted = np.zeros_like(weights)
    for first, part in ((1, 2 / 3), (-1, 1 / 3)):
        kept = (states[:, 0] == first) & (states[:, 1] == 1)
        wanted += part * weights * kept / (weights * kept).sum(1, keepdims=True)
    np.testing.assert_allclose(held.shares, wanted, atol=1e-9)
    assert (np.isinf(held.energies) == (states[:, 1] == -1)).all()


@pytest.mark.parametrize("held", [(False, False), (True, False)])
def test_quantum_anneals_follow_the_schrodinger_equation(held: tuple[bool, bool]) -> None:
    """Against exponentials of the whole Hamiltonian in many short slices."""
    from scipy.linalg import expm

    model, spins, duration = model_of((2, 2), 1, 3), 4, 2.0
    sampler = QuantumLayers(duration, 400)
    states, free = all_states(spins), np.repeat(~np.array(held), 2)
    energies = model.energy(states[None])[0]
    possible = (states[:, ~free] == 1).all(axis=1)
    scaled = np.where(possible, energies, 0.0)
    scaled = scaled / np.abs(scaled).max() * free.sum()
    codes, mixing = np.arange(16), np.zeros((16, 16))
    for spin in np.flatnonzero(free):
        mixing[codes, codes ^ (1 << int(spin))] += 1
    psi = possible / np.sqrt(possible.sum()) + 0j
    slices = 800
    for k in range(slices):
        s = (k + 0.5) / slices
        psi = expm(-1j * duration / slices * (s * np.diag(scaled) - (1 - s) * mixing)) @ psi
    found = sampler._chances(np.where(possible, energies, np.inf)[None], free)[0]
    np.testing.assert_allclose(found, np.abs(psi) ** 2, atol=1e-4)
    assert found.sum() == pytest.approx(1.0)


def test_quantum_reads_are_measured_from_the_last_state() -> None:
    model = model_of((2, 1), 2, 5)
    sampler = QuantumLayers(1.5, 60)
    found = sampler.sample_layers(model, COLD, reads=4000, seed=1)
    codes = ((found.states > 0) * np.array([1, 2, 4])).sum(-1)
    chances = sampler._chances(model.energy(np.repeat(all_states(3)[None], 2, 0)), np.ones(3, bool))
    for problem in range(2):
        np.testing.assert_allclose(np.bincount(codes[problem], minlength=8) / 4000, chances[problem], atol=0.03)
    np.testing.assert_allclose(found.energies, model.energy(found.states))
    with pytest.raises(ValueError, match="all states at once"):
        sampler.sample_layers(model, COLD, starts=np.ones((2, 1, 3), np.int8))
    for bad in ((0.0, 5), (-1.0, 5), (1.0, 0)):
        with pytest.raises(ValueError, match="must be above 0"):
            QuantumLayers(*bad)
    assert QuantumLayers(1.0, 1).steps == 1


def test_torch_draws_layer_by_layer_from_their_fields() -> None:
    import torch

    model = model_of((3, 4, 2), 2, 7, coupled=(False, True, False))
    states = np.random.default_rng(0).choice(np.array([-1.0, 1.0]), (2, 9)).astype(np.float32)
    spins = [torch.from_numpy(np.ascontiguousarray(part)) for part in model.split(states)]
    outer = [torch.from_numpy(block.copy()) for block in model.fields]
    blocks = [torch.from_numpy(block.copy()) for block in model.couplings]
    below, middle, above = model.split(states)
    wanted = [
        model.fields[0] + middle @ model.couplings[0].T,
        model.fields[1] + below @ model.couplings[0] + above @ model.couplings[1].T,
        model.fields[2] + middle @ model.couplings[1],
    ]
    for layer in range(3):
        np.testing.assert_allclose(layered_torch._local(layer, spins, outer, blocks).numpy(), wanted[layer], atol=1e-6)
    fields = torch.tensor([[-1.0, 0.0, 2.0, 0.5]])
    assert layered_torch._moved(torch.tensor([[1.0, -1.0, -1.0, 1.0]]), fields, 0.0, None).tolist() == [[-1, -1, 1, 1]]
    uniform = torch.tensor([[0.26, 0.49, 0.88, 0.63]])  # chances at β = ½: 0.269, 0.5, 0.881, 0.622
    assert layered_torch._moved(spins[0], fields, 0.5, uniform).tolist() == [[1, 1, 1, -1]]
    inside = torch.from_numpy(np.asarray(model.inner[1]))
    local = torch.from_numpy(wanted[1]) + spins[1] @ inside
    cold = spins[1].clone()
    layered_torch._move_in_turn(cold, local.clone(), inside, 0.0, None)
    for row in range(2):
        s = middle[row].copy()
        for i in range(4):
            s[i] = np.sign(wanted[1][row, i] + s @ np.asarray(model.inner[1])[i])
        assert cold[row].tolist() == s.tolist()


def test_torch_quenches_after_the_last_temperature_only() -> None:
    model = model_of((6, 5), 3, 1)
    with pytest.raises(ValueError, match="quenches"):
        TorchLayeredAnnealing("cpu", -1)
    hot = TorchLayeredAnnealing("cpu", 0).sample_layers(model, Schedule((1e-6,)), reads=200, seed=0)
    assert abs(hot.states.mean()) < 0.05
    np.testing.assert_allclose(hot.energies, model.energy(hot.states))
    cold = TorchLayeredAnnealing("cpu", 30).sample_layers(model, Schedule((1e-6,)), reads=5, seed=0)
    for spin in range(11):
        turned = cold.states.copy()
        turned[..., spin] *= -1
        assert (model.energy(turned) >= cold.energies - 1e-4).all()


def test_the_best_of_several_is_the_least_of_its_own_tries() -> None:
    """Tries of a read lie side by side, and so do starts that are repeated for them."""

    class Listed(EnumeratedLayers):
        def sample_layers(self, model: LayeredModel, schedule: Schedule, **asked: object) -> LayeredReads:  # type: ignore[override]
            self.asked = asked
            states = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (2, 6, model.num_variables))
            self.states = states
            return LayeredReads(states, model.energy(states), 1.5, info={"a": 1})

    model, inner = model_of((4, 3), 2, 0), Listed()
    starts = np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (2, 2, 7))
    found = BestOf(inner, 3).sample_layers(model, COLD, reads=2, seed=5, starts=starts)
    assert (inner.asked["reads"], inner.asked["seed"], inner.asked["held"]) == (6, 5, None)
    assert (inner.asked["starts"] == np.repeat(starts, 3, axis=1)).all()  # type: ignore[attr-defined]
    energies = model.energy(inner.states)
    for problem, read in itertools.product(range(2), range(2)):
        tries = slice(3 * read, 3 * read + 3)
        assert found.energies[problem, read] == energies[problem, tries].min()
        assert (found.states[problem, read] == inner.states[problem, tries][energies[problem, tries].argmin()]).all()
    assert (found.seconds, found.info) == (1.5, {"a": 1})


def test_noise_takes_zero_for_none_and_counts_how_deep_it_lies() -> None:
    inner = LayeredAnnealing()
    assert NoisyLayers(inner, fields=0.0, couplings=0.0).fields == 0.0
    for bad in (-1e-9, np.inf):
        with pytest.raises(ValueError, match="fields"):
            NoisyLayers(inner, fields=bad)
    once = NoisyLayers(inner)
    assert [once._depth, NoisyLayers(once)._depth, NoisyLayers(BestOf(once, 2))._depth] == [0, 1, 1]


def test_rows_are_listed_as_often_as_they_were_found() -> None:
    answer = dimod.SampleSet.from_samples(
        ([[1, -1, 1], [-1, 1, 1]], ["b", "a", "c"]), energy=[0, 0], vartype="SPIN", num_occurrences=[2, 1]
    )
    assert layered_dimod._rows(answer, ["a", "c"]).tolist() == [[-1, 1], [-1, 1], [1, 1]]
    wanted = DimodLayers(Counting()).sample_layers(model_of((2, 2), 1, 0), COLD, reads=5)
    few = dimod.ExactSolver().sample(model_of((2, 2), 1, 0).bqm(0)).truncate(3)
    cycle = few.record.sample[np.arange(5) % 3][:, np.argsort(list(few.variables))]
    assert (wanted.states[0] == cycle).all()


def test_fields_are_of_one_number_of_problems_and_blocks_one_less_than_layers() -> None:
    one, two = np.ones((1, 2)), np.ones((2, 2))
    for couplings, fields, words in (
        ((), (), "0 layers"), ((two,), (one,), "1 blocks for 1"), ((), (one, one), "0 blocks for 2"),
        ((two,), (one, two), "at least one problem"), ((), (np.ones(2),), "at least one problem"),
        ((), (np.ones((1, 0)),), "at least one problem"), ((np.full((2, 2), np.inf),), (one, one), "NaN"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            LayeredModel(couplings, fields)
