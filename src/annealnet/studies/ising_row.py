"""The demo's row of networks trained on an annealer."""

from __future__ import annotations

import time

from annealnet.datasets import digits
from annealnet.ising import IsingNetworkClassifier
from annealnet.studies.demo_rows import DemoRow

__all__ = ["ising_row"]


def ising_row(seed: int) -> DemoRow:
    """An Ising network of 128 hidden spins on the digits, deployed by its ground states."""
    began = time.perf_counter()
    part = digits(seed).flat
    model = IsingNetworkClassifier((128,), epochs=30, random_state=seed).fit(part.x_train, part.y_train)
    seconds = time.perf_counter() - began
    return DemoRow(
        "train on an annealer", "64-128-40 Ising", model.score(part.x_test, part.y_test), model.num_bytes_, seconds
    )
