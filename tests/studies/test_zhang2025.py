"""The parts of the study, each on a case small enough for a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annealnet.datasets import Split, digits
from annealnet.studies.zhang2025 import run_study
from annealnet.studies.zhang_parts import depth_parts, expected_queries, grover_parts, transition_parts
from annealnet.studies.zhang_scaling import fitted_exponent, scaling_rows


def quiet(_: str) -> None:
    """Says nothing."""


def few(seed: int) -> Split:
    part = digits(seed).flat
    return part._replace(x_train=part.x_train[:300], y_train=part.y_train[:300])


def test_effort_is_counted_and_more_of_it_helps() -> None:
    rows = scaling_rows(few, seeds=2, epochs=(1, 6), rates=(0.003, 0.01))
    assert [(row.method, row.epochs, row.seed) for row in rows] == [
        (method, epochs, seed) for method in ("annealer", "backpropagation") for epochs in (1, 6) for seed in (0, 1)
    ]
    for row in rows:
        assert 0 <= row.error < 1
        assert row.calls == 300 * row.epochs * (5 if row.method == "annealer" else 1)  # four free reads and a clamped one
    for method in ("annealer", "backpropagation"):
        error = {n: np.mean([row.error for row in rows if (row.method, row.epochs) == (method, n)]) for n in (1, 6)}
        cost = {n: {row.multiplications for row in rows if (row.method, row.epochs) == (method, n)} for n in (1, 6)}
        assert error[6] < error[1]
        assert cost[6] == {6 * one for one in cost[1]}


def test_the_exponent_of_a_power_law_with_noise_lies_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    effort = np.repeat(2.0 ** np.arange(6), 5)
    error = 0.3 * effort**-0.7 * np.exp(0.1 * rng.normal(size=30))
    found, low, high = fitted_exponent(effort, error)
    assert low < 0.7 < high
    assert low < found < high


def test_training_turns_the_glass_into_order() -> None:
    table, order, gaps, _ = transition_parts(quiet, widths=(24,), epochs=3)
    first, last = table.rows[0], table.rows[-1]
    assert float(last[2]) < float(first[2])  # fewer distinct states
    assert order.series[0].y[-1] > order.series[0].y[0]
    assert gaps.series[0].y[-1] > gaps.series[0].y[0]


def test_windows_of_two_layers_train_deeper_networks() -> None:
    (table,) = depth_parts(1, quiet, depths=(2, 3), width=32, epochs=2)
    for row in table.rows:
        assert float(row[1].split(" ")[0]) > 60


def test_grovers_queries_grow_as_the_root_of_the_drawings() -> None:
    table, _ = grover_parts(quiet, hidden=(4, 6, 8))
    *rows, exponents = table.rows
    assert all(float(row[2]) <= float(row[1]) for row in rows)
    assert float(exponents[1]) == pytest.approx(1.0, abs=0.1)
    assert float(exponents[2]) == pytest.approx(0.5, abs=0.15)
    assert expected_queries(64, 64) == 1
    with pytest.raises(ValueError, match="marked=0"):
        expected_queries(64, 0)


def test_a_folder_without_mnist_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the folder of MNIST"):
        run_study(tmp_path / "out", tmp_path, 1, quiet)
    assert not (tmp_path / "out").exists()
