"""Whole visits of an output against a walk in float64 with the same random numbers; small enough to be interpreted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.binary import Architecture
from annealnet.binary.search.flat import Flat, flatten
from annealnet.binary.search.kernels import largest_read
from annealnet.binary.search.losses import exponentials
from annealnet.binary.search.outputs import Margins, Output, new_output, take_chances, take_margins, visit_output
from annealnet.samplers.kernels.random import next_state, streams, uniform

#: Margins that no cut has touched, however far a visit has gone since: 15 000 less 8 · (1500 + 128), and a little.
UNCUT = 1900


class Case(NamedTuple):
    """A network without hidden layers before output 0 is visited; x ``(n, N)``, t ``(C, N)``."""

    codes: np.ndarray
    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    t: np.ndarray
    scale: float
    beta: float
    seed: int

    @property
    def flat(self) -> Flat:
        return flatten(Architecture((len(self.x), self.codes.shape[1])), self.codes)


class Visited(NamedTuple):
    """What a visit leaves behind."""

    w: np.ndarray
    t: np.ndarray
    output: Output
    margins: Margins


def exponentials_of(t: np.ndarray, scale: float) -> np.ndarray:
    e = np.ones(t.shape, np.float32)
    if scale > 0:
        exponentials(t, scale, e)
    return e


def first_state(case: Case) -> np.uint64:
    with np.errstate(over="ignore"):  # interpreted, numpy speaks of words that wrap
        return np.uint64(streams(np.uint64(case.seed), 1)[0])


def visited(case: Case) -> Visited:
    """The kernel's visit."""
    w, t, random = case.w.copy(), case.t.copy(), first_state(case)
    f = np.zeros((0, case.x.shape[1]), np.int8)
    output, margins = new_output(case.x.shape[1])
    reach = max(1, int(np.abs(case.x.astype(int)).max()))
    with np.errstate(all="ignore"):  # interpreted, numpy speaks of exponents beyond float32, too
        table = np.exp(np.arange(-reach, reach + 1) * 2 * case.scale).astype(np.float32)
        visit_output(
            case.flat, case.x, case.y, case.scale, w, f, t, exponentials_of(t, case.scale), 0, case.beta, table, output,
            margins, random,
        )  # fmt: skip
    return Visited(w, t, output, margins)


def loss_of(case: Case, t: np.ndarray) -> float:
    """Errors, or the cross-entropy by its definition."""
    if case.scale == 0:
        return float((t.argmax(axis=0) != case.y).sum())
    shifted = case.scale * (t - t.max(axis=0)).astype(np.float64)
    return float((np.log(np.exp(shifted).sum(axis=0)) - shifted[case.y, np.arange(len(case.y))]).sum())


def walked(case: Case) -> tuple[np.ndarray, np.ndarray, int]:
    """Weights and scores after the same visit by losses' definition, and how many of its decisions no rounding can turn.

    It ends where rounding of float32 sums could turn one.
    """
    w, t, random = case.w.copy(), case.t.astype(np.int64), first_state(case)
    for i in range(len(case.x)):
        then = t - 2 * int(w[i]) * case.codes[:, :1].astype(np.int64) * case.x[i].astype(np.int64)
        change = case.beta * (loss_of(case, then) - loss_of(case, t))
        moves = 2 * case.scale * float(np.abs(case.x[i].astype(int)).sum())
        rounding = 0.0 if case.scale == 0 else case.beta * (1e-5 * moves + 1e-6 * len(case.y))
        if case.scale > 0 and min(abs(change - 1e-3), abs(change + 1e-3)) <= rounding:
            return w, t, i
        yes = change < -1e-3
        if not yes:
            with np.errstate(all="ignore"):
                random = np.uint64(next_state(random))
                draw = uniform(random)
            yes = draw < (0.5 if change < 1e-3 else np.exp(-change))
            if change >= 1e-3 and abs(change + np.log(max(draw, 1e-300))) <= rounding:
                return w, t, i
        if yes:
            w[i], t = -w[i], then
    return w, t, len(w)


def assert_fresh(case: Case, found: Visited) -> None:
    """Chances or margins after a visit are those that the scores have now."""
    output, margins = new_output(len(case.y))
    code = case.codes[:, 0].copy()
    if case.scale == 0:
        take_margins(found.t, case.y, code, margins)
        for name, fresh, kept in zip(Margins._fields, margins, found.margins, strict=True):
            np.testing.assert_array_equal(np.clip(kept, -UNCUT, UNCUT), np.clip(fresh, -UNCUT, UNCUT), err_msg=name)
        return
    with np.errstate(all="ignore"):
        take_chances(found.t, exponentials_of(found.t, case.scale), case.y, code, case.scale, output)
    for name in ("raised", "lowered", "left", "own", "slope", "variance"):
        np.testing.assert_allclose(getattr(found.output, name), getattr(output, name), atol=1e-4, err_msg=name)


def codes_of(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Output 0 raises one class; or has any code; or there are two classes, and nothing but it."""
    if kind == "pair":
        return np.array([[-1], [1]], dtype=np.int8)
    if kind == "one per class":
        return np.eye(4, dtype=np.int8)
    return rng.integers(-1, 2, (4, 2)).astype(np.int8)


kinds = st.sampled_from(["pair", "one per class", "any"])


def one_way(seed: int, scale: float, kind: str, reach: int, apart: int) -> Case:
    """Most samples are far on the wrong side of output 0, and every flip shifts all samples the same way."""
    rng = np.random.default_rng(seed)
    codes, samples, weights = codes_of(kind, rng), 6, 70
    x = rng.integers(max(1, reach // 2), reach + 1, (weights, samples)).astype(np.int8)
    x[:, rng.random(samples) < 0.3] *= -1
    t = rng.integers(-apart, apart + 1, (len(codes), samples)).astype(np.int32)
    way = np.int8(rng.choice([-1, 1]))
    y = rng.integers(0, len(codes), samples)
    t[y, np.arange(samples)] -= np.int32(apart)
    return Case(codes, x, y, np.full(codes.shape[1] * weights, way), t, scale, float(rng.choice([0.0, 3.0])), seed)


@given(
    st.integers(0, 9999), st.sampled_from([0.0, 0.01, 0.03, 0.039]), kinds, st.sampled_from([60, 127]),
    st.sampled_from([50, 3000, 9000]),
)  # fmt: skip
def test_chances_and_margins_follow_a_visit_however_far_it_goes_one_way(
    seed: int, scale: float, kind: str, reach: int, apart: int
) -> None:
    """They bear some shift only, so they must have been renewed on the way."""
    case = one_way(seed, scale, kind, reach, apart)
    found = visited(case)
    flipped = found.w[: len(case.x)] != case.w[: len(case.x)]
    step = 2 * (case.x * -case.w[: len(case.x), None].astype(int) * flipped[:, None]).sum(axis=0)
    np.testing.assert_array_equal(found.t, case.t + case.codes[:, :1].astype(int) * step)
    assert_fresh(case, found)


def test_every_flip_is_taken_while_it_helps_however_far_away_the_right_answer_is() -> None:
    """The right class lies 8 000 below, which is 240 nats: 16 flips of 508, more than any float32 of a chance bears."""
    codes, weights, samples = np.array([[1], [-1]], dtype=np.int8), 30, 3
    t = np.tile(np.array([[-4_000], [4_000]], dtype=np.int32), (1, samples))
    x, w = np.full((weights, samples), 127, np.int8), np.full(weights, -1, np.int8)
    found = visited(Case(codes, x, np.zeros(samples, np.int64), w, t, 0.03, 10.0, 5))
    assert (found.w[:16] == 1).all()
    assert (found.t[0] > 0).all()


def drawn_case(
    seed: int, scale: float, kind: str, signs: bool, samples: int, away: float, duplicates: bool, beta: float
) -> Case:  # fmt: skip
    """Scores of a network's size, or right classes that lie ``away`` nats above or below the others."""
    rng = np.random.default_rng(seed)
    codes, weights = codes_of(kind, rng), int(rng.integers(1, 9))
    x = (rng.choice([-1, 1], (weights, samples)) if signs else rng.integers(-128, 128, (weights, samples))).astype(np.int8)
    t = rng.integers(-20, 21, (len(codes), samples)).astype(np.int32)
    y = rng.integers(0, len(codes), samples)
    t[y, np.arange(samples)] += (rng.choice([-1, 1], samples) * away / (scale or 1.0)).astype(np.int32)
    if duplicates:
        chosen = rng.integers(0, max(1, samples // 2), samples)
        x, t, y = np.ascontiguousarray(x[:, chosen]), np.ascontiguousarray(t[:, chosen]), y[chosen]
    w = rng.choice(np.array([-1, 1], dtype=np.int8), codes.shape[1] * weights)
    return Case(codes, x, y, w, t, scale, beta, seed)


cases = st.builds(
    drawn_case, st.integers(0, 99_999), st.sampled_from([0.0, 0.01, 0.03, 0.1, 0.5, 1.0, 4.9, 10.0]), kinds,
    st.booleans(), st.sampled_from([1, 2, 7, 24]), st.sampled_from([0.0, 2.0, 50.0]), st.booleans(),
    st.sampled_from([0.01, 0.3, 3.0, 30.0]),
)  # fmt: skip


@settings(max_examples=400)
@given(cases)
def test_a_visit_takes_the_flips_that_their_exact_changes_would_take(case: Case) -> None:
    found = visited(case)
    w, t, known = walked(case)
    np.testing.assert_array_equal(found.w[:known], w[:known])
    if known == len(case.x):
        np.testing.assert_array_equal(found.t, t)
        assert_fresh(case, found)


def test_few_walks_end_early() -> None:
    """What the test above leaves out is little."""
    rng = np.random.default_rng(0)
    asked = known = 0
    for seed in range(200):
        scale, beta = float(rng.choice([0.01, 0.1, 1.0, 10.0])), float(rng.choice([0.01, 0.3, 3.0, 30.0]))
        case = drawn_case(seed, scale, "any", bool(seed % 2), 7, 2.0, False, beta)
        asked, known = asked + len(case.x), known + walked(case)[2]
    assert known > 0.98 * asked


@pytest.mark.parametrize(
    ("sizes", "skips", "largest"), [((3, 2), (), 128), ((3, 4, 2), (), 1), ((3, 4, 2), ((), (0,)), 128)]
)
def test_only_numbers_that_outputs_read_decide_how_far_a_flip_may_go(
    sizes: tuple[int, ...], skips: tuple[tuple[int, ...], ...], largest: int
) -> None:
    """Large inputs of a hidden layer do not send its outputs to the slow path for exponents beyond float32."""
    x = np.array([[0, 1], [5, 3], [-128, 2]], dtype=np.int8)
    assert largest_read(flatten(Architecture(sizes, skips), np.eye(2, dtype=np.int8)), x) == largest
