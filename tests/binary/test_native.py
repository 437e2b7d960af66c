"""Weight-space moves: losses that are exact, chances that are Boltzmann's, networks that are best."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.binary import (
    Architecture,
    BinaryNetwork,
    NativeTraining,
    default_scale,
    one_per_class,
    random_codes,
    single_output,
)
from annealnet.binary.search.flat import flatten, new_state
from annealnet.binary.search.kernels import _anneal, _rebuild_all, anneal, rebuild_all
from annealnet.binary.search.losses import (
    exponentials,
    soft_changes,
    stepped_changes,
    total_loss,
)
from annealnet.datasets import digits
from annealnet.preparation import RealCoding
from annealnet.samplers.kernels.random import streams


def cross_entropy(scores: np.ndarray, y: np.ndarray, scale: float) -> float:
    shifted = scale * (scores - scores.max(axis=1, keepdims=True))
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]).sum())


def codes_for(kind: int, outputs: int) -> np.ndarray:
    if outputs == 1:
        return single_output()
    return one_per_class(outputs) if kind == 0 else random_codes(3, outputs, kind)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=5), st.booleans(), st.booleans(), st.integers(0, 99), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_the_state_stays_true_through_every_kind_of_move(
    sizes: list[int], skips: bool, bias: bool, seed: int, hard: bool, whole: bool
) -> None:
    """After hot sweeps: pre-activations, signs, scores and loss are those of the weights, computed anew."""
    extra = tuple(tuple(range(m - 1)) for m in range(1, len(sizes))) if skips else ()
    shape = Architecture(tuple(sizes), extra, bias)
    codes = codes_for(seed % 2, sizes[-1])
    rng = np.random.default_rng(seed)
    samples = 23
    values = rng.integers(-9, 10, (samples, sizes[0])) if whole else rng.choice([-1, 1], (samples, sizes[0]))
    x, y = values.astype(np.int8), rng.integers(0, len(codes), samples)
    flat, scale = flatten(shape, codes), 0.0 if hard else 0.3
    w = rng.choice(np.array([-1, 1], dtype=np.int8), (2, shape.num_weights))
    state = new_state(flat, w, np.zeros((2, flat.signs), np.int16), samples, streams(np.uint64(seed), 2))
    inputs = np.ascontiguousarray(x.T)
    rebuild_all(flat, inputs, state)
    anneal(flat, inputs, y, scale, np.full((2, 4), 0.2), 3 if bias else 0, state)
    for r in range(2):
        network = BinaryNetwork.from_flat(shape, codes, state.w[r], state.b[r])
        scores = network.scores(x)
        np.testing.assert_array_equal(state.t[r].T, scores)
        expected = float(network.errors(x, y)) if hard else cross_entropy(scores, y, scale)
        assert state.loss[r, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert state.loss[r, 1] <= state.loss[r, 0]
        best = BinaryNetwork.from_flat(shape, codes, state.best_w[r], state.best_b[r])
        found = best.errors(x, y) if hard else cross_entropy(best.scores(x), y, scale)
        assert state.loss[r, 1] == pytest.approx(found, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("loss", ["errors", "cross_entropy"])
@pytest.mark.parametrize(
    ("sizes", "more"),
    [((2, 2), {}), ((2, 1, 1), {}), ((1, 2, 1), {}), ((1, 1, 1, 2), {}), ((2, 1, 1), {"skips": ((), (0,))})],
)
def test_long_runs_visit_networks_with_boltzmann_chances(sizes: tuple[int, ...], more: dict, loss: str) -> None:
    """Every state's share against e^{−βL}/Z over all weight vectors."""
    shape, codes = Architecture(sizes, **more), codes_for(0, sizes[-1])
    rng = np.random.default_rng(7)
    x = rng.choice(np.array([-1, 1], dtype=np.int8), (5, sizes[0]))
    y = rng.integers(0, len(codes), 5)
    scale, beta = (0.0, 0.8) if loss == "errors" else (0.4, 1.5)
    flat = flatten(shape, codes)
    every = np.array(list(product((-1, 1), repeat=shape.num_weights)), dtype=np.int8)
    losses = []
    for w in every:
        network = BinaryNetwork.from_flat(shape, codes, w)
        losses.append(network.errors(x, y) if loss == "errors" else cross_entropy(network.scores(x), y, scale))
    chance = np.exp(-beta * np.array(losses))
    chance /= chance.sum()
    reads, rounds = 4000, 12
    state = new_state(
        flat, rng.choice(np.array([-1, 1], dtype=np.int8), (reads, shape.num_weights)),
        np.zeros((reads, flat.signs), np.int16), 5, streams(np.uint64(1), reads),
    )  # fmt: skip
    inputs = np.ascontiguousarray(x.T)
    rebuild_all(flat, inputs, state)
    counts = np.zeros(len(every))
    powers = 1 << np.arange(shape.num_weights)[::-1]
    anneal(flat, inputs, y, scale, np.full((reads, 200), beta), 0, state)  # the start is forgotten
    for _ in range(rounds):
        anneal(flat, inputs, y, scale, np.full((reads, 3), beta), 0, state)
        counts += np.bincount((state.w > 0) @ powers, minlength=len(every))
    share = counts / counts.sum()
    assert np.abs(share - chance).sum() < 0.05  # total variation; shot noise alone gives about 0.02


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["anneal", "exchange"]), st.sampled_from([(3, 1), (2, 2, 1), (4, 1), (2, 1, 2)]))
def test_the_best_network_of_small_problems_is_found(seed: int, schedule: str, sizes: tuple[int, ...]) -> None:
    shape, codes = Architecture(sizes), codes_for(0, sizes[-1])
    rng = np.random.default_rng(seed)
    x = rng.choice(np.array([-1, 1], dtype=np.int8), (6, sizes[0]))
    y = rng.integers(0, len(codes), 6)
    least = min(
        BinaryNetwork.from_flat(shape, codes, np.array(w, dtype=np.int8)).errors(x, y)
        for w in product((-1, 1), repeat=shape.num_weights)
    )
    found = NativeTraining(sweeps=100, reads=8, loss="errors", schedule=schedule).train(shape, codes, x, y, seed)
    assert found.errors == found.loss == least


def test_the_same_seed_gives_the_same_network_whatever_the_chunks() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (50, 9)), rng.integers(0, 3, 50)
    shape, codes = Architecture((9, 6, 3), bias=True), one_per_class(3)
    seen: list[float] = []
    first = NativeTraining(sweeps=60, reads=3).train(shape, codes, x, y, 5, progress=seen.append)
    second = NativeTraining(sweeps=60, reads=3).train(shape, codes, x, y, 5)
    assert (first.network.flat_weights == second.network.flat_weights).all()
    assert first.loss == second.loss
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert first.proposals == 60 * 3 * shape.num_weights


def test_kernels_are_compiled_once_whatever_arrays_and_numbers_are_given() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (20, 4)), rng.integers(0, 2, 20)
    shape, codes = Architecture((4, 3, 2)), one_per_class(2)
    NativeTraining(sweeps=2, scale=1.0).train(shape, codes, x, y, 0)
    before = len(_anneal.signatures), len(_rebuild_all.signatures)
    columns, classes, words = np.asfortranarray(x), y.astype(np.int32), np.asfortranarray(codes)
    for array in (columns, classes, words, y):
        array.setflags(write=False)
    NativeTraining(sweeps=2, scale=1).train(shape, words, columns, classes, 0)
    NativeTraining(sweeps=2, batch_size=5).train(shape, words, columns, y, 0)
    assert (len(_anneal.signatures), len(_rebuild_all.signatures)) == before


def test_an_interruption_keeps_the_best_so_far() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.choice(np.array([-1, 1], dtype=np.int8), (50, 9)), rng.integers(0, 2, 50)

    def stop(share: float) -> None:
        if share > 0:
            raise KeyboardInterrupt

    with pytest.warns(RuntimeWarning, match="interrupted: the best so far is kept"):
        found = NativeTraining(sweeps=10_000).train(Architecture((9, 4, 1)), single_output(), x, y, 0, progress=stop)
    assert not found.complete
    assert found.errors == found.network.errors(x, y) < 25


def test_mini_batches_are_judged_on_all_samples() -> None:
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-1, 1], dtype=np.int8), (300, 15))
    y = (x[:, :7].sum(axis=1) > 0).astype(np.int64)
    shape, codes = Architecture((15, 1)), single_output()
    found = NativeTraining(sweeps=100, reads=1, batch_size=50).train(shape, codes, x, y, 0)
    scores = found.network.scores(x)
    assert found.loss == pytest.approx(cross_entropy(scores, y, 0.8 / 30**0.5), rel=1e-6)
    everything = NativeTraining(sweeps=100, reads=1).train(shape, codes, x, y, 0)
    assert found.errors <= everything.errors + 15


@settings(max_examples=60)
@given(st.integers(0, 999), st.sampled_from([0.01, 0.3, 3.0, 40.0]), st.sampled_from([2, 300, 30_000]))
def test_changes_of_the_loss_are_exact_however_far_scores_lie_apart(seed: int, scale: float, reach: int) -> None:
    """Exponentials of such scores are 0 or infinite in float32, whose quotients were a ZeroDivisionError."""
    rng = np.random.default_rng(seed)
    samples, classes = 17, 4
    t = rng.integers(-reach, reach + 1, (classes, samples)).astype(np.int32)
    y, f = rng.integers(0, classes, samples), rng.choice(np.array([-1, 1], np.int8), samples)
    v = rng.integers(-3, 4, classes).astype(np.int32)
    e, work = np.empty((classes, samples), np.float32), np.empty((4, samples), np.float32)
    exponentials(t, scale, e)
    if seed % 2:  # as steps may leave them
        e[:, ::3] = rng.choice(np.array([0.0, np.inf, 1e-30, 1e30], np.float32))

    def change(steps: np.ndarray) -> np.ndarray:
        def losses(scores: np.ndarray) -> np.ndarray:
            return np.array([cross_entropy(column[None], y[s : s + 1], scale) for s, column in enumerate(scores.T)])

        return losses(t.astype(float) + steps) - losses(t.astype(float))

    def close(found: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5 * max(1.0, np.abs(expected).max()))

    d = np.empty(samples, np.float32)
    soft_changes(t, e, f, y, v, scale, work, d)
    close(d, change(-2.0 * f * v[:, None]))
    steps = np.ascontiguousarray(-2 * f * v[:, None] * rng.integers(0, 40, samples), dtype=np.int32)
    stepped_changes(t, e, y, steps, scale, work, d)
    close(d, change(steps))


@pytest.mark.parametrize("sizes", [(6, 3), (6, 4, 3), (6, 4, 4, 3)])
@pytest.mark.parametrize("scale", [5.0, 500.0])
def test_training_with_scores_beyond_float32_ends_well(sizes: tuple[int, ...], scale: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-127, 128, (40, 6)).astype(np.int8)
    y = x[:, :3].argmax(axis=1)
    codes = one_per_class(3)
    found = NativeTraining(sweeps=20, scale=scale).train(Architecture(sizes, bias=True), codes, x, y, 0)
    assert found.loss == pytest.approx(cross_entropy(found.network.scores(x).astype(float), y, scale), rel=1e-6, abs=1e-6)
    assert found.errors == found.network.errors(x, y)


def test_networks_without_hidden_layers_learn_in_their_own_scale() -> None:
    """Scores count the inputs' size: the softmax of plain sums of whole numbers would be a step."""
    split = digits(seed=0).flat
    coding = RealCoding.fit(split.x_train)
    x, shape = coding.encode(split.x_train), Architecture((64, 10))
    assert default_scale(shape, one_per_class(10), 400.0) == pytest.approx(default_scale(shape, one_per_class(10)) / 20)
    found = NativeTraining(sweeps=60, reads=1).train(shape, one_per_class(10), x, split.y_train, 0)
    assert (found.network.predict(coding.encode(split.x_test)) == split.y_test).mean() > 0.85


def test_the_loss_kernel_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    scores, y = rng.integers(-50, 50, (20, 4)).astype(np.int32), rng.integers(0, 4, 20)
    assert total_loss(np.ascontiguousarray(scores.T), y, 0.3) == pytest.approx(cross_entropy(scores, y, 0.3))
    assert total_loss(np.ascontiguousarray(scores.T), y, 0.0) == (scores.argmax(axis=1) != y).sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NativeTraining(sweeps=0), "sweeps=0 does not do: give a whole number of at least 1"),
        (lambda: NativeTraining(loss="hinge"), "there are cross_entropy and errors"),  # type: ignore[arg-type]
        (lambda: NativeTraining(schedule="cool"), "there are anneal and exchange"),  # type: ignore[arg-type]
        (lambda: NativeTraining(hot=-1.0), "hot=-1.0 must be above 0"),
    ],
)
def test_bad_settings_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((2, 3)), [0, 1], "give int8 of shape"),
        (np.ones((2, 2), np.int8), [0], "give one label per sample"),
        (np.ones((2, 2), np.int8), [0, 2], "give 0 to 1"),
    ],
)
def test_bad_data_are_refused(x: np.ndarray, y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NativeTraining().train(Architecture((2, 1)), single_output(), x, np.array(y), 0)


def test_sums_beyond_16_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond 16 bits"):
        NativeTraining().train(Architecture((300, 1)), single_output(), np.full((1, 300), 127, np.int8), np.array([0]), 0)
