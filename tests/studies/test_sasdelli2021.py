"""The paper's experiment on a small scale, whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annealnet.binary import Architecture
from annealnet.studies.binary_demo import binary_row
from annealnet.studies.demo_rows import rival_row
from annealnet.studies.sasdelli2021 import COLUMNS, NATIVE, SOLVERS, batches_of, fit_table, solve_batch

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "a1a"


def test_every_solver_is_measured_against_the_proof() -> None:
    batch = batches_of(None, COLUMNS, 4, 1)[0]
    outcomes = solve_batch(Architecture((3, 3, 1)), batch, 0)
    assert [o.solver for o in outcomes] == [*(name for name, *_ in SOLVERS), NATIVE]
    for outcome in outcomes:
        assert outcome.errors >= outcome.least
        if outcome.excess_energy is not None:
            assert outcome.excess_energy >= -1e-6
    assert outcomes[-1].errors == outcomes[-1].least


def test_lean_fits_with_fewer_qubits() -> None:
    table = fit_table((((2, 1, 1), 2),), lambda _: None)
    qubits = {(row[2], row[4]): int(row[5]) for row in table.rows}
    assert qubits["lean", "Advantage"] < qubits["published", "Advantage"]


def test_batches_of_the_papers_columns() -> None:
    if not DATA.is_dir():
        pytest.skip("the a1a data are not here")
    first, second = batches_of(DATA, COLUMNS, 8, 2)
    assert first.x.shape == (8, 3)
    assert set(np.unique(first.x)) <= {-1, 1}
    assert set(np.unique(first.y)) <= {0, 1}
    assert not (first.y == second.y).all() or not (first.x == second.x).all()


def test_the_demo_row_is_measured() -> None:
    row = binary_row(0)
    assert row.accuracy > 0.9
    assert row.bytes < 1_300  # 720 of weights and biases, the rest says how features and labels are read
    rival = rival_row(0)
    assert rival.accuracy > 0.9
    assert rival.bytes == 360
