"""The demo's row of networks trained on an annealer."""

from __future__ import annotations

import os
import tempfile
import time

import numpy as np
import torch

from annealnet.ising import IsingNetworkClassifier
from annealnet.ising.baselines.sign_backprop import train_sign_network
from annealnet.studies.demo_rows import DemoRow
from annealnet.studies.zhang_scaling import prepared_digits

__all__ = ["ising_row"]


def ising_row(seed: int) -> DemoRow:
    """An Ising network of 128 hidden spins on the digits, deployed; beside backpropagation of the same sign network."""
    began = time.perf_counter()
    network, (x, y, test, wanted) = prepared_digits(seed, (128,))
    model = IsingNetworkClassifier((128,), epochs=30, random_state=seed).fit(x, y)
    module = train_sign_network(network, x, y.astype(np.int64), epochs=30, rate=0.01, batch_size=32, seed=seed)
    with torch.no_grad():
        answer = module(torch.from_numpy(network.prepared(test))).argmax(1).numpy()
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.npz")
        np.savez(path, *model.network_.parameters)
        size = os.path.getsize(path)
    accuracy, baseline = model.score(test, wanted), float((answer == wanted).mean())
    return DemoRow("train on an annealer", "64-128-40 Ising", accuracy, "straight-through", baseline, size, seconds)
