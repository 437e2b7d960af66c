"""Zhang & Kamenev 2025, part (a): how the error falls with training effort, annealer against backpropagation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from annealnet.datasets import digits
from annealnet.ising import Adam, DeepStateRule, IsingNetwork, Phases, Training, deployed
from annealnet.report.study import Chart, Series, Table
from annealnet.studies.sign_backprop import train_sign_network

__all__ = ["EffortRow", "anneal_multiplications", "fitted_exponent", "prepared_digits", "scaling_parts", "scaling_rows"]

#: Hidden spins, and epochs of the runs; each run ends its own learning-rate schedule.
HIDDEN, EPOCHS, BATCH = 96, (1, 2, 4, 8, 16), 32
#: Learning rates tried for each of the two, on a split that is not reported.
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


def prepared_digits(seed: int, hidden: Sequence[int]) -> tuple[IsingNetwork, tuple[NDArray[np.float32], ...]]:
    """A fresh network for the digits, and x_train, y_train, x_test, y_test with flat images."""
    split = digits(seed)
    x, test = split.x_train.reshape(-1, 64), split.x_test.reshape(-1, 64)
    network = IsingNetwork.create((64, *hidden), 10, seed=seed)
    centre = x.mean(0)
    scale = float(0.55 / np.sqrt(((x - centre) ** 2).mean()))
    data: tuple[NDArray[np.float32], ...] = (x, split.y_train, test, split.y_test)  # type: ignore[assignment]
    return replace(network, centre=centre, scale=scale), data


def anneal_multiplications(network: IsingNetwork, sweeps: int, reads: int) -> float:
    """Multiply-adds per sample of a deep-state step: fields of the inputs once per phase, full local fields per sweep and
    read (an upper bound: our kernel mends only what changed), moments of the reads.
    """
    inner = float(sum(block.size for block in network.couplings))
    fields = 2 * network.inputs.size
    anneals = sweeps * (reads * 2 * inner + inner)
    moments = (reads + 1) * inner + network.inputs.size
    return fields + anneals + moments


def _annealed(seed: int, epochs: int, rate: float) -> EffortRow:
    network, (x, y, test, wanted) = prepared_digits(seed, (HIDDEN,))
    rule, phases = DeepStateRule(), Phases()
    state = Training(rule, phases, Adam(rate), epochs, BATCH, seed=seed).run(network, x, y.astype(np.int64))
    cost = anneal_multiplications(network, len(phases.forward.betas), rule.reads) * len(x) * epochs
    found = phases.free(state.network, test, reads=10, seed=seed)
    sampled = state.network.scores(found.best[:, -network.sizes[-1] :].astype(np.float32)).argmax(1)
    with torch.no_grad():
        direct = deployed(state.network)(torch.from_numpy(test)).argmax(1).numpy()
    errors = float((direct != wanted).mean()), float((sampled != wanted).mean())
    return EffortRow("annealer", seed, epochs, state.history[-1].anneals, cost, *errors)


def _propagated(seed: int, epochs: int, rate: float) -> EffortRow:
    network, (x, y, test, wanted) = prepared_digits(seed, (HIDDEN,))
    module = train_sign_network(network, x, y.astype(np.int64), epochs=epochs, rate=rate, batch_size=BATCH, seed=seed)
    with torch.no_grad():
        answer = module(torch.from_numpy(network.prepared(test))).argmax(1).numpy()
    error = float((answer != wanted).mean())
    cost = 3.0 * (network.inputs.size + network.couplings[0].size) * len(x) * epochs
    return EffortRow("backpropagation", seed, epochs, len(x) * epochs, cost, error, error)


def scaling_rows(seeds: int, epochs: Sequence[int] = EPOCHS, rates: Sequence[float] = RATES) -> tuple[EffortRow, ...]:
    """All runs; each method takes, for each number of epochs, the rate that did best on split 1000 + 1001."""
    rows: list[EffortRow] = []
    for method in (_annealed, _propagated):
        for count in epochs:
            tried = {rate: sum(method(1000 + k, count, rate).error for k in range(2)) for rate in rates}
            best = min(tried, key=lambda rate: tried[rate])
            rows += [method(seed, count, best) for seed in range(seeds)]
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


def scaling_parts(seeds: int, say: Callable[[str], None]) -> tuple[Table, Table, Chart, Chart]:
    """Errors, exponents and pictures."""
    say("(a) error against effort")
    rows = scaling_rows(seeds)
    methods: dict[str, tuple[str, Callable[[EffortRow], float]]] = {
        "annealer, sampled": ("annealer", lambda r: r.sampled_error),
        "annealer, deployed": ("annealer", lambda r: r.error),
        "backpropagation": ("backpropagation", lambda r: r.error),
    }
    errors, fits, by_epoch, by_cost = [], [], [], []
    for name, (method, error) in methods.items():
        own = [row for row in rows if row.method == method]
        groups = [[row for row in own if row.epochs == count] for count in EPOCHS]
        values = [np.array([100 * error(row) for row in group]) for group in groups]
        for count, group, value in zip(EPOCHS, groups, values, strict=True):
            costs = (str(count), f"{group[0].calls:,}", f"{group[0].multiplications:.1e}")
            errors.append((name, *costs, f"{value.mean():.1f} ± {value.std():.1f}"))
        every = np.array([error(row) for row in own])
        fit = fitted_exponent(np.array([float(row.epochs) for row in own]), every)
        fits.append((name, f"{fit[0]:.2f}", f"{fit[1]:.2f} … {fit[2]:.2f}"))
        low, mean, high = ([float(f(value)) for value in values] for f in (np.min, np.mean, np.max))
        by_epoch.append(Series(name, [float(count) for count in EPOCHS], mean, low, high))
        by_cost.append(Series(name, [group[0].multiplications for group in groups], mean, low, high))
    note = (
        f"Digits, 64-{HIDDEN}-40, {seeds} seeds, test error in percent, mean ± standard deviation. Each run has a rate "
        "schedule of its own; the rate is the best of four for each method and length, on splits that are not reported. "
        "Calls: anneals, or samples through forward and backward pass."
    )
    published = "The paper gives 1.01 (annealer) and 0.78 (backpropagation) on MNIST, error against training effort."
    return (
        Table("Error against effort", ("method", "epochs", "calls", "multiply-adds", "error %"), tuple(errors), note),
        Table("Exponent of error ∝ epochs^−α", ("method", "α", "95 % bootstrap"), tuple(fits),
              published + " Calls and multiply-adds grow in proportion to epochs, so α is the same on all three axes."),
        Chart("Error against epochs", "epochs", "test error, %", tuple(by_epoch), log_x=True, log_y=True),
        Chart("Error against multiply-adds", "multiply-adds", "test error, %", tuple(by_cost), log_x=True, log_y=True),
    )  # fmt: skip
