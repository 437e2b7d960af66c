"""The demo's row of binary networks."""

from __future__ import annotations

import time

from annealnet.binary.estimator import BinaryNetworkClassifier
from annealnet.datasets import digits
from annealnet.studies.demo_rows import DemoRow

__all__ = ["binary_row"]


def binary_row(seed: int) -> DemoRow:
    """A 64-64-10 network of ±1 weights on the digits."""
    part = digits(seed).flat
    began = time.perf_counter()
    model = BinaryNetworkClassifier((64,), sweeps=500, random_state=seed).fit(part.x_train, part.y_train)
    seconds = time.perf_counter() - began
    return DemoRow("±1 weights, annealed", "64-64-10", model.score(part.x_test, part.y_test), model.num_bytes_, seconds)
