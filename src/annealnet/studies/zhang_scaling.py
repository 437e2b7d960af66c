"""Zhang & Kamenev 2025, part (a): how the error falls with training effort, annealer against backpropagation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from annealnet.datasets import Split, digits, split
from annealnet.ising import Adam, DeepStateRule, IsingNetwork, Phases, Training, deployed
from annealnet.ising.baselines.sign_backprop import train_sign_network
from annealnet.ising.network.spins import INPUT_RMS
from annealnet.preparation import ScaledCoding
from annealnet.report.study import Chart, Series, Table
from annealnet.report.summary import mean_and_spread
from annealnet.studies.mnist import mnist_split

__all__ = [
    "EffortRow",
    "anneal_multiplications",
    "fitted_exponent",
    "prepared",
    "prepared_digits",
    "scaling_parts",
    "scaling_rows",
]

#: Hidden spins, and epochs of the runs; each run ends its own learning-rate schedule.
HIDDEN, EPOCHS, BATCH = 96, (1, 2, 4, 8, 16), 32
#: Learning rates tried for each of the two, on a part of the training samples.
RATES = (0.001, 0.003, 0.01, 0.03)


@dataclass(frozen=True)
class EffortRow:
    """One run: who, its effort on three axes, and its errors on the test part (shares)."""

    method: str
    seed: int
    epochs: int
    calls: int
    multiplications: float
    error: float
    sampled_error: float


def prepared(part: Split, hidden: Sequence[int], seed: int) -> tuple[IsingNetwork, Split]:
    """A fresh network for samples as rows, and these as its inputs."""
    coding = ScaledCoding.fit(part.x_train, INPUT_RMS)
    inputs = part._replace(x_train=coding.encode(part.x_train), x_test=coding.encode(part.x_test))
    return IsingNetwork.create((coding.width, *hidden), 10, seed=seed), inputs


def prepared_digits(seed: int, hidden: Sequence[int]) -> tuple[IsingNetwork, Split]:
    """A fresh network for the digits, and their flat images as its inputs."""
    return prepared(digits(seed).flat, hidden, seed)


def anneal_multiplications(network: IsingNetwork, sweeps: int, reads: int) -> float:
    """Multiply-adds per sample of a deep-state step: fields of the inputs once per phase, full local fields per sweep and
    read (an upper bound: our kernel mends only what changed), moments of the reads.
    """
    inner = float(sum(block.size for block in network.couplings))
    fields = 2 * network.inputs.size
    anneals = sweeps * (reads * 2 * inner + inner)
    moments = (reads + 1) * inner + network.inputs.size
    return fields + anneals + moments


def _annealed(part: Split, seed: int, epochs: int, rate: float) -> EffortRow:
    network, (x, y, test, wanted) = prepared(part, (HIDDEN,), seed)
    rule, phases = DeepStateRule(), Phases()
    state = Training(rule, phases, Adam(rate), epochs, BATCH, seed=seed).run(network, x, y.astype(np.int64))
    cost = anneal_multiplications(network, len(phases.forward.betas), rule.reads) * len(x) * epochs
    found = phases.free(state.network, test, reads=10, seed=seed)
    sampled = state.network.scores(found.best[:, -network.sizes[-1] :].astype(np.float32)).argmax(1)
    with torch.no_grad():
        direct = deployed(state.network)(torch.from_numpy(test)).argmax(1).numpy()
    errors = float((direct != wanted).mean()), float((sampled != wanted).mean())
    return EffortRow("annealer", seed, epochs, state.history[-1].anneals, cost, *errors)


def _propagated(part: Split, seed: int, epochs: int, rate: float) -> EffortRow:
    network, (x, y, test, wanted) = prepared(part, (HIDDEN,), seed)
    module = train_sign_network(network, x, y.astype(np.int64), epochs=epochs, rate=rate, batch_size=BATCH, seed=seed)
    with torch.no_grad():
        answer = module(torch.from_numpy(test)).argmax(1).numpy()
    error = float((answer != wanted).mean())
    cost = 3.0 * (network.inputs.size + network.couplings[0].size) * len(x) * epochs
    return EffortRow("backpropagation", seed, epochs, len(x) * epochs, cost, error, error)


def scaling_rows(
    part: Callable[[int], Split], seeds: int, epochs: Sequence[int] = EPOCHS, rates: Sequence[float] = RATES
) -> tuple[EffortRow, ...]:
    """All runs; each method takes, for each split and length, the rate that did best on a fifth of the training part.

    Args:
        part: the flat split of a seed.
        seeds: splits that are reported, 0 … seeds − 1.
        epochs: lengths of the runs.
        rates: learning rates tried.
    """
    rows: list[EffortRow] = []
    for method in (_annealed, _propagated):
        for count in epochs:
            for seed in range(seeds):
                own = part(seed)
                inner = split(own.x_train, own.y_train, 0.2, seed)  # the test part has no say
                tried = {rate: method(inner, seed, count, rate).error for rate in rates}
                rows.append(method(own, seed, count, min(tried, key=lambda rate: tried[rate])))
    return tuple(rows)


def fitted_exponent(effort: NDArray[np.float64], error: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    """α of error ∝ effort^−α by least squares on logarithms, with a 95 % bootstrap interval over runs.

    Example:
        >>> effort = np.repeat([1.0, 10.0, 100.0], 5)
        >>> fitted_exponent(effort, effort**-0.5)
        (0.5, 0.5, 0.5)
    """
    x, y = np.log(effort), np.log(np.maximum(error, 1e-4))
    rng, slopes = np.random.default_rng(seed), []
    for _ in range(1000):
        chosen = rng.integers(0, len(x), len(x))
        if np.ptp(x[chosen]) > 0:
            slopes.append(-np.polyfit(x[chosen], y[chosen], 1)[0])
    low, high = np.quantile(slopes, [0.025, 0.975])
    return round(float(-np.polyfit(x, y, 1)[0]), 6), round(float(low), 6), round(float(high), 6)


def scaling_parts(data: Path | None, seeds: int, say: Callable[[str], None]) -> tuple[Table | Chart, ...]:
    """Errors, exponents and pictures: on the digits, and on MNIST where its folder is given."""
    say("(a) error against effort")
    tasks: dict[str, Callable[[int], Split]] = {"digits": lambda seed: digits(seed).flat}
    if data is not None:
        tasks["MNIST"] = lambda seed: mnist_split(data, seed)
    methods: dict[str, tuple[str, Callable[[EffortRow], float]]] = {
        "annealer, sampled": ("annealer", lambda r: r.sampled_error),
        "annealer, deployed": ("annealer", lambda r: r.error),
        "backpropagation (sign network)": ("backpropagation", lambda r: r.error),
    }
    tables: list[Table] = []
    charts: list[Chart] = []
    fits: list[tuple[str, ...]] = []
    for task, part in tasks.items():
        rows = scaling_rows(part, seeds)
        errors, by_epoch, by_cost = [], [], []
        for name, (method, error) in methods.items():
            own = [row for row in rows if row.method == method]
            groups = [[row for row in own if row.epochs == count] for count in EPOCHS]
            values = [np.array([100 * error(row) for row in group]) for group in groups]
            for count, group, value in zip(EPOCHS, groups, values, strict=True):
                costs = (str(count), f"{group[0].calls:,}", f"{group[0].multiplications:.1e}")
                errors.append((name, *costs, mean_and_spread(value, ".1f")))
            every = np.array([error(row) for row in own])
            fit = fitted_exponent(np.array([float(row.epochs) for row in own]), every)
            fits.append((task, name, f"{fit[0]:.2f}", f"{fit[1]:.2f} … {fit[2]:.2f}"))
            low, mean, high = ([float(f(value)) for value in values] for f in (np.min, np.mean, np.max))
            by_epoch.append(Series(name, [float(count) for count in EPOCHS], mean, low, high))
            by_cost.append(Series(name, [group[0].multiplications for group in groups], mean, low, high))
        train, test = part(0).x_train, part(0).x_test
        note = (
            f"{len(train)} and {len(test)} images, {train.shape[1]}-{HIDDEN}-40, {seeds} seeds, test error in percent, "
            "mean ± standard deviation. Each run has a rate schedule of its own; the rate is the best of four for each "
            "method, length and split, on a fifth of the split's training images. Calls: anneals, or samples through "
            "forward and backward pass."
        )
        heads = ("method", "epochs", "calls", "multiply-adds", "error %")
        tables.append(Table(f"Error against effort, {task}", heads, tuple(errors), note))
        for axis, series in (("epochs", by_epoch), ("multiply-adds", by_cost)):
            title = f"Error against {axis}, {task}"
            charts.append(Chart(title, axis, "test error, %", tuple(series), log_x=True, log_y=True))
    note = (
        "The paper gives 1.01 (annealer) and 0.78 (backpropagation) on MNIST, error against training effort. Calls and "
        "multiply-adds grow in proportion to epochs, so α is the same on all three axes."
    )
    fitted = Table("Exponent of error ∝ epochs^−α", ("task", "method", "α", "95 % bootstrap"), tuple(fits), note)
    return (*tables, fitted, *charts)
