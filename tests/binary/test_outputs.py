"""Visits of an output: changes, their bounds and what an accepted flip leaves behind, against the definition."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.binary import Architecture, BinaryNetwork, NativeTraining, one_per_class, random_codes, single_output
from annealnet.binary.search.flat import flatten, new_state
from annealnet.binary.search.kernels import anneal, rebuild_all
from annealnet.binary.search.losses import exponentials, total_loss
from annealnet.binary.search.outputs import (
    far_change,
    hard_errors,
    hard_take,
    new_output,
    slope_sum,
    soft_bounds,
    soft_change,
    soft_take,
    take_chances,
    take_margins,
)
from annealnet.samplers.kernels.random import streams


def losses(scores: np.ndarray, y: np.ndarray, scale: float) -> np.ndarray:
    """Cross-entropy of each sample; scores ``(C, N)``."""
    shifted = scale * (scores - scores.max(axis=0)).astype(np.float64)
    return np.log(np.exp(shifted).sum(axis=0)) - shifted[y, np.arange(len(y))]


class Case(NamedTuple):
    """Scores, exponentials, classes, an output's code, a row of inputs, minus its weight, the table of powers."""

    t: np.ndarray
    e: np.ndarray
    y: np.ndarray
    code: np.ndarray
    row: np.ndarray
    way: np.int32
    table: np.ndarray
    both: bool
    width: int

    @property
    def then(self) -> np.ndarray:
        """Scores after the flip."""
        return self.t + 2 * self.way * self.row.astype(np.int32) * self.code[:, None]


def case_of(seed: int, scale: float, reach: int, inputs: int, codes: int) -> Case:
    rng = np.random.default_rng(seed)
    samples, classes = 37, 4
    t = rng.integers(-reach, reach + 1, (classes, samples)).astype(np.int32)
    low = (0, -1, -1)[codes]
    code = rng.integers(low, 2, classes).astype(np.int8)
    if codes == 2:
        code[code == 0] = 1
    row = rng.integers(-inputs, inputs + 1, samples).astype(np.int8)
    e = np.empty((classes, samples), np.float32)
    if scale > 0:
        exponentials(t, scale, e)
    table = np.exp(np.arange(-inputs, inputs + 1) * 2 * scale).astype(np.float32)
    way = np.int32(rng.choice([-1, 1]))
    width = int(code.max()) - int(code.min())
    return Case(t, e, rng.integers(0, classes, samples), code, row, way, table, bool((code < 0).any()), width)


soft_cases = st.builds(
    lambda seed, scale, reach, inputs, codes: (case_of(seed, scale, reach, inputs, codes), scale),
    st.integers(0, 9999), st.sampled_from([0.002, 0.01, 0.035]), st.sampled_from([2, 30, 300, 30_000]),
    st.sampled_from([1, 9, 127]), st.integers(0, 2),
)  # fmt: skip


@settings(max_examples=150)
@given(soft_cases)
def test_a_change_is_exact_and_lies_within_its_bounds(drawn: tuple[Case, float]) -> None:
    case, scale = drawn
    output, _ = new_output(len(case.y))
    take_chances(case.t, case.e, case.y, case.code, scale, output)
    change = float((losses(case.then, case.y, scale) - losses(case.t, case.y, scale)).sum())
    size = 1e-5 * max(1.0, 2 * scale * float(np.abs(case.row.astype(int)).sum()))  # float32 sums
    found = soft_change(case.row, case.way, scale, case.table, case.both, output)
    assert found == pytest.approx(change, abs=size)
    assert far_change(case.t, case.y, case.code, case.row, case.way, scale) == pytest.approx(change, abs=size)
    slope = 2 * scale * case.way * slope_sum(case.row, output.slope)
    least, most = soft_bounds(slope, case.row, scale, case.width, output)
    assert least - size <= change <= most + size


@settings(max_examples=100)
@given(soft_cases)
def test_chances_after_a_flip_are_those_of_the_new_scores(drawn: tuple[Case, float]) -> None:
    case, scale = drawn
    output, fresh = new_output(len(case.y))[0], new_output(len(case.y))[0]
    take_chances(case.t, case.e, case.y, case.code, scale, output)
    soft_take(case.row, case.way, case.table, case.both, output)
    then = np.ascontiguousarray(case.then)
    e = np.empty_like(case.e)
    exponentials(then, scale, e)
    take_chances(then, e, case.y, case.code, scale, fresh)
    for name in ("raised", "lowered", "left", "own", "slope", "variance"):
        np.testing.assert_allclose(getattr(output, name), getattr(fresh, name), atol=2e-5, err_msg=name)


@settings(max_examples=100)
@given(st.integers(0, 9999), st.sampled_from([2, 300, 30_000]), st.sampled_from([1, 9, 127]), st.integers(0, 2))
def test_margins_count_the_errors(seed: int, reach: int, inputs: int, codes: int) -> None:
    case = case_of(seed, 0.0, reach, inputs, codes)
    margins = new_output(len(case.y))[1]
    assert take_margins(case.t, case.y, case.code, margins) == (case.t.argmax(axis=0) != case.y).sum()
    wrong = (case.then.argmax(axis=0) != case.y).sum()
    assert hard_errors(case.row, case.way, margins) == wrong
    hard_take(case.row, case.way, margins)
    assert hard_errors(np.zeros_like(case.row), case.way, margins) == wrong


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 9999), st.sampled_from([0.0, 0.001, 0.01, 0.1, 2.0]), st.sampled_from([1, 127]), st.integers(0, 2),
    st.sampled_from([(), (3,)]),
)  # fmt: skip
def test_scores_and_loss_stay_those_of_the_weights_however_far_a_visit_goes(
    seed: int, scale: float, inputs: int, codes: int, hidden: tuple[int, ...]
) -> None:
    """Hot visits of many weights shift scores beyond what one set of chances or margins bears."""
    rng = np.random.default_rng(seed)
    table = (one_per_class(4), random_codes(4, 5, seed), single_output())[codes]
    sizes = (60, *hidden, table.shape[1])
    shape = Architecture(sizes, ((),) * len(hidden) + ((0,),) if hidden else ())  # outputs read inputs and signs
    samples = 41
    x = rng.integers(-inputs, inputs + 1, (samples, 60)).astype(np.int8)
    y, flat = rng.integers(0, len(table), samples), flatten(shape, table)
    w = np.ones((1, shape.num_weights), dtype=np.int8)
    x[: samples // 2] = np.abs(x[: samples // 2])  # all weights +1: flips go the same way in these
    state = new_state(flat, w, np.zeros((1, flat.signs), np.int16), samples, streams(np.uint64(seed), 1))
    columns = np.ascontiguousarray(x.T)
    rebuild_all(flat, columns, state)
    for beta in (1e-6, 0.1, 3.0):
        anneal(flat, columns, y, scale, np.full((1, 2), beta), 0, state)
        network = BinaryNetwork.from_flat(shape, table, state.w[0], state.b[0])
        scores = network.scores(x)
        np.testing.assert_array_equal(state.t[0].T, scores)
        loss = float((scores.argmax(axis=1) != y).sum()) if scale == 0 else float(losses(scores.T, y, scale).sum())
        assert state.loss[0, 0] == pytest.approx(loss, rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(st.integers(0, 999), st.sampled_from([1e-4, 0.01, 0.3, 40.0]), st.sampled_from([2, 300, 30_000]))
def test_exponentials_and_loss_from_tables_are_the_definition(seed: int, scale: float, reach: int) -> None:
    rng = np.random.default_rng(seed)
    t, y = rng.integers(-reach, reach + 1, (4, 23)).astype(np.int32), rng.integers(0, 4, 23)
    e = np.empty(t.shape, np.float32)
    exponentials(t, scale, e)
    np.testing.assert_allclose(e, np.exp(np.maximum(scale * (t - t.max(axis=0)).astype(float), -80.0)), rtol=1e-6)
    assert total_loss(t, y, scale) == pytest.approx(float(losses(t, y, scale).sum()), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "errors"])
@pytest.mark.parametrize("hidden", [(), (5,)])
def test_the_same_seed_gives_the_same_network_on_any_number_of_threads(hidden: tuple[int, ...], loss: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(-127, 128, (200, 12)).astype(np.int8), rng.integers(0, 3, 200)
    shape, most = Architecture((12, *hidden, 3)), numba.get_num_threads()
    found = []
    try:
        for threads in (1, most):
            numba.set_num_threads(threads)
            found.append(NativeTraining(30, 4, loss).train(shape, one_per_class(3), x, y, 7))  # type: ignore[arg-type]
    finally:
        numba.set_num_threads(most)
    first, second = found
    assert first.loss == second.loss
    for one, other in zip((first.network, *first.others), (second.network, *second.others), strict=True):
        np.testing.assert_array_equal(one.flat_weights, other.flat_weights)
