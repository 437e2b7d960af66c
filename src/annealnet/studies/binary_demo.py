"""The demo's row of binary networks: annealed weights beside straight-through gradients, digits, one architecture."""

from __future__ import annotations

import time

import numpy as np

from annealnet.artifact import SmallNetwork
from annealnet.binary import Architecture, NativeTraining, one_per_class
from annealnet.binary.baselines.straight_through import train_straight_through
from annealnet.binary.deploy import DeployedBinary
from annealnet.datasets import digits
from annealnet.preparation import Labels, Preparation, RealCoding
from annealnet.studies.demo_rows import DemoRow

__all__ = ["binary_row"]


def binary_row(seed: int) -> DemoRow:
    """A 64-64-10 network of ±1 weights; both trainings see the same 8-bit inputs."""
    split = digits(seed=seed)
    x, x_test = split.x_train.reshape(-1, 64), split.x_test.reshape(-1, 64)
    coding = RealCoding.fit(x)
    train, test = coding.encode(x), coding.encode(x_test)
    shape, codes = Architecture((64, 64, 10), bias=True), one_per_class(10)
    began = time.perf_counter()
    found = NativeTraining(sweeps=500).train(shape, codes, train, split.y_train, seed)
    baseline = train_straight_through(shape, codes, train, split.y_train, seed, epochs=50)
    seconds = time.perf_counter() - began
    small = SmallNetwork(Preparation(coding, Labels(np.arange(10))), DeployedBinary(found.network, coding.whole))
    ours, theirs = (float((network.predict(test) == split.y_test).mean()) for network in (found.network, baseline))
    return DemoRow("±1 weights, annealed", str(shape), ours, "straight-through gradients", theirs, small.num_bytes, seconds)
