"""The study's rows on small cases, the demo's row, the example file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from annealnet.datasets import digits
from annealnet.studies import STUDIES
from annealnet.studies.demo_rows import ROWS
from annealnet.studies.mnist import mnist_split
from annealnet.studies.selection_tables import (
    LocalityRow,
    baseline_scores,
    grover_rows,
    locality_rows,
    selection_scores,
)
from annealnet.studies.whitaker2022 import conclusion

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def splits():
    return [digits(seed).flat for seed in range(2)]


def test_the_study_and_the_demo_know_it():
    assert STUDIES["whitaker2022"].endswith(":run_study")
    assert any("whitaker2022" in row for row in ROWS)


def test_scores_have_one_accuracy_per_seed(splits):
    score = selection_scores("weights", splits, width=24, num_sweeps=20)
    assert len(score.accuracies) == 2
    assert 0.2 < np.mean(score.accuracies) < 1
    assert 0 < score.kept < 1
    assert score.shown.endswith(f"{100 * np.std(score.accuracies, ddof=1):.2f}")


def test_selection_lies_between_random_masks_and_real_weights(splits):
    ours = selection_scores("weights", splits, width=64, num_sweeps=50)
    found = {score.method: float(np.mean(score.accuracies)) for score in baseline_scores(64, splits, epochs=0)}
    random = next(v for k, v in found.items() if k.startswith("random"))
    ridge = next(v for k, v in found.items() if k.startswith("ridge"))
    assert random + 0.2 < np.mean(ours.accuracies)
    assert np.mean(ours.accuracies) < ridge + 0.01


def test_locality_makes_the_machines_work_easier(splits):
    pytest.importorskip("qiskit", reason="needs annealnet[quantum]")
    rows = {row.formulation: row for row in locality_rows((8,), splits[0], 0, layers=2, neighbours=(1, 3))}
    whole, chain, band = rows["global"], rows["adjacent, K = 1"], rows["adjacent, K = 3"]
    assert (chain.couplings, band.couplings, whole.couplings) == (7, 7 + 6 + 5, 28)
    assert chain.two_qubit_gates < band.two_qubit_gates < whole.two_qubit_gates
    assert chain.qubits == band.qubits == whole.qubits == 8
    for row in rows.values():
        assert 0 < row.adiabatic <= 1
        assert 0.5 < row.quality <= 1 + 1e-9
        assert row.peak_entropy <= 4


def test_the_conclusion_is_what_the_rows_say():
    def row(bits, name, gates, entropy, accuracy):
        return LocalityRow(bits, name, bits, 0, gates, 0, entropy, 0.0, 0.0, 0.0, accuracy, 0.0)

    rows = {
        (4, "global"): [row(4, "global", 7, 1.0, 0.1)],
        (8, "global"): [row(8, "global", 100, 2.0, 0.7), row(8, "global", 300, 2.0, 0.8)],
        (8, "adjacent, K = 1"): [row(8, "adjacent, K = 1", 50, 0.5, 0.9)],
    }
    said = conclusion({"neurons, global": [1.0, 90.0], "neurons, adjacent": [2.0, 95.5], "weights, global": [99.0]}, rows)
    assert "Of 8 neurons" in said
    assert "adjacent, K = 1: 25% of the gates, 25% of the peak entropy" in said
    assert "accuracy of the optimum 90.0 % (global 75.0 %)" in said
    assert "neurons, global 90.0 %; neurons, adjacent 95.5 %" in said


def test_grover_is_counted_against_the_bound(splits):
    ((bits, row),) = grover_rows((8,), splits[0], 0, runs=40)
    assert bits == 8
    assert row["calls"] < row["bound"]
    assert row["root"] == 16
    assert row["success"] >= 0.9
    assert row["dynamic"] == 6 * 8
    assert math.isfinite(row["annealing"])


def test_mnist_is_read_where_it_is():
    folder = ROOT.parent / "shared" / "data" / "mnist"
    if not folder.exists():
        pytest.skip("the MNIST files are not here")
    data = mnist_split(folder, 0)
    assert data.x_train.shape == (8000, 784)
    assert data.x_test.shape == (2000, 784)
