"""The demo's row of networks trained on an annealer."""

from __future__ import annotations

import time

import numpy as np
import torch

from annealnet.datasets import digits
from annealnet.ising import IsingNetworkClassifier
from annealnet.ising.baselines.sign_backprop import train_sign_network
from annealnet.studies.demo_rows import DemoRow
from annealnet.studies.zhang_scaling import prepared

__all__ = ["ising_row"]


def ising_row(seed: int) -> DemoRow:
    """An Ising network of 128 hidden spins on the digits, deployed; beside backpropagation of the same sign network."""
    began = time.perf_counter()
    raw = digits(seed).flat
    model = IsingNetworkClassifier((128,), epochs=30, random_state=seed).fit(raw.x_train, raw.y_train)
    network, (x, y, test, wanted) = prepared(raw, (128,), seed)
    module = train_sign_network(network, x, y.astype(np.int64), epochs=30, rate=0.01, batch_size=32, seed=seed)
    with torch.no_grad():
        answer = module(torch.from_numpy(test)).argmax(1).numpy()
    seconds = time.perf_counter() - began
    accuracy, baseline = model.score(raw.x_test, wanted), float((answer == wanted).mean())
    return DemoRow(
        "train on an annealer", "64-128-40 Ising", accuracy, "straight-through", baseline, model.num_bytes_, seconds
    )
