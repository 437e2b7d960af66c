"""Studies of networks trained on an annealer: what is chosen is chosen on training samples."""

from __future__ import annotations

import numpy as np
import pytest

from annealnet.datasets import Split, split
from annealnet.studies import zhang_scaling
from annealnet.studies.zhang_scaling import EffortRow, prepared, scaling_rows


def part(seed: int) -> Split:
    """Samples that know whether they are for the test."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), np.repeat(np.arange(3), 20)
    data = split(x, y, 0.25, seed)
    data.x_test[:, 0] = 99.0
    return data


def test_rates_are_chosen_without_the_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, int, float]] = []

    def run(own: Split, seed: int, epochs: int, rate: float) -> EffortRow:
        reported = bool((own.x_test[:, 0] == 99.0).all())
        assert not (own.x_train[:, 0] == 99.0).any()
        assert reported or not (own.x_test[:, 0] == 99.0).any()
        asked.append((reported, seed, rate))
        return EffortRow("m", seed, epochs, 1, 1.0, abs(rate - 0.1 * (seed + 1)), 0.0)

    monkeypatch.setattr(zhang_scaling, "_annealed", run)
    monkeypatch.setattr(zhang_scaling, "_propagated", run)
    rows = scaling_rows(part, 2, epochs=(1, 2), rates=(0.1, 0.2, 0.5))
    assert len(rows) == 2 * 2 * 2
    assert {(seed, rate) for reported, seed, rate in asked if reported} == {(0, 0.1), (1, 0.2)}


def test_inputs_are_prepared_by_the_training_part() -> None:
    network, data = prepared(part(0), (8,), seed=0)
    assert network.sizes == (8, 40)
    assert np.sqrt((data.x_train**2).mean()) == pytest.approx(0.55, rel=0.01)
    assert np.abs(data.x_test[:, 0]).max() == pytest.approx(np.abs(data.x_test[:, 0]).min())  # cut, not in the scale
