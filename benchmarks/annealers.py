"""What the samplers' benchmarks share: instances, our annealer and its peers asked alike, and clocks."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dimod
import numpy as np

from annealnet.energy import DenseEnergy, Energy, SparseEnergy
from annealnet.samplers import AnnealingSampler

BEST_KNOWN = {"G1": 11624, "G14": 3064, "G22": 13359, "G39": 2408, "G43": 6660, "G67": 6950, "G81": 14060}


def cut_energy(rows: np.ndarray, cols: np.ndarray, weights: np.ndarray, n: int) -> SparseEnergy:
    """E = −cut: Σ w (2 x_i x_j − x_i − x_j)."""
    linear = -np.bincount(rows, weights, n) - np.bincount(cols, weights, n)
    return SparseEnergy(rows, cols, 2 * weights, linear)


def gset(folder: Path, name: str) -> SparseEnergy:
    """A Max-Cut instance of the G-set."""
    with gzip.open(folder / f"{name}.txt.gz", "rt") as file:
        n, _ = map(int, file.readline().split())
        entries = np.loadtxt(file)
    return cut_energy(entries[:, 0].astype(int) - 1, entries[:, 1].astype(int) - 1, entries[:, 2], n)


def complete(n: int, seed: int = 7) -> DenseEnergy:
    """Max-Cut on a complete graph with weights ±1, as K2000."""
    weights = np.triu(np.random.default_rng(seed).choice([-1.0, 1.0], (n, n)), 1)
    return DenseEnergy(2 * weights, -(weights + weights.T).sum(axis=1))


def annealed_by_us(energy: Energy, sweeps: int, seed: int) -> float:
    """Ours, one read, in the range of its own."""
    answer = AnnealingSampler().sample_energy(energy, num_reads=1, num_sweeps=sweeps, seed=seed)
    return float(answer.first.energy)


def annealed_by_dwave(bqm: dimod.BinaryQuadraticModel, beta: tuple[float, float] | None, sweeps: int, seed: int) -> float:
    """dwave-samplers, one read; with our temperature range, or its own (seconds to compute on dense energies)."""
    from dwave.samplers import SimulatedAnnealingSampler

    span = None if beta is None else list(beta)
    answer = SimulatedAnnealingSampler().sample(bqm, num_reads=1, num_sweeps=sweeps, seed=seed, beta_range=span)
    return float(answer.first.energy)


def annealed_by_openjij(bqm: dimod.BinaryQuadraticModel, beta: tuple[float, float] | None, sweeps: int, seed: int) -> float:
    """OpenJij, one read; the same range, or its own."""
    import openjij

    low, high = beta or (None, None)
    answer = openjij.SASampler().sample(bqm, num_reads=1, num_sweeps=sweeps, seed=seed, beta_min=low, beta_max=high)
    return float(answer.first.energy)


def range_of(energy: Energy) -> tuple[float, float]:
    """Our default temperature range, given to the peers as well."""
    found = AnnealingSampler().sample_energy(energy, num_reads=1, num_sweeps=1, seed=0).info["beta_range"]
    return float(found[0]), float(found[1])


def filling(seconds: float, work: Callable[[int, int], float], seed: int) -> tuple[float, float]:
    """Calls ``work(sweeps, seed)`` with as many sweeps as fill the time: its energy, and the seconds it took.

    Set-up inside the call is not held against it: it is timed with one sweep, and runs grow until a sweep's own time
    shows.
    """

    def timed(sweeps: int) -> float:
        began = time.perf_counter()
        work(sweeps, seed)
        return time.perf_counter() - began

    setup, sweeps, took = timed(1), 50, 0.0
    while took < setup + 0.05 * seconds:
        sweeps *= 2
        took = timed(sweeps)
    sweeps = max(1, int(sweeps * (seconds - setup) / (took - setup)))
    began = time.perf_counter()
    energy = work(sweeps, seed)
    return energy, time.perf_counter() - began


def spread(values: Sequence[float]) -> str:
    """Median (least … largest)."""
    return f"{np.median(values):.0f} ({min(values):.0f} … {max(values):.0f})"


def seconds_of(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def clocked(work: Callable[[int], float], seed: int) -> tuple[float, float]:
    """What the work gives, and the seconds it took."""
    began = time.perf_counter()
    return work(seed), time.perf_counter() - began
