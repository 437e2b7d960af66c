"""The cheapest rivals of small networks, on the digits: python -m benchmarks.rivals [--part linear,relu,ridge]

Linear models and small ReLU networks in float32 lose nothing when they are rounded to 4 bit, so a ±1 network, a mask or an
annealed network has to be compared with these, at their bytes. What a rival leaves open (the penalty C, the ridge) is
chosen on a fifth of the training part; the test part is used once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from annealnet import quantize
from annealnet.datasets import Split, digits, split
from benchmarks.parts import one_core, parser_of, run_parts

__all__ = ["main"]

HEAD = "| network | bits per weight | bytes | test accuracy, % |\n|---|---|---|---|"


def _shown(values: list[float]) -> str:
    return f"{100 * mean(values):.2f} ± {100 * (stdev(values) if len(values) > 1 else 0):.2f}"


def _rounded(weights: np.ndarray, bits: int, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Every column to its own symmetric grid, to nearest; of twenty scales the one with the least error ‖x (z − w)‖.

    Returns the weights and their bytes: packed codes and one float16 scale a column.
    """
    top = 2 ** (bits - 1) - 1
    largest = np.abs(weights).max(axis=0)
    best, least = np.zeros_like(weights), np.full(weights.shape[1], np.inf)
    for share in np.linspace(0.1, 1.0, 20):
        scale = np.where(largest > 0, share * largest / top, 1.0).astype(np.float16).astype(np.float64)
        values = np.clip(np.rint(weights / scale), -top, top) * scale
        error = ((x @ (values - weights)) ** 2).sum(axis=0)
        best[:, error < least] = values[:, error < least]
        least = np.minimum(error, least)
    return best, -(-weights.size * bits // 8) + 2 * weights.shape[1]


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == labels).mean())


def _inner(part: Split, seed: int) -> Split:
    """A fifth of the training part to choose on."""
    return split(part.x_train, part.y_train, 0.2, seed)


def part_linear(options: argparse.Namespace) -> Iterator[str]:
    """Logistic regression, its weights rounded to nearest; bytes with one float16 intercept a class."""
    found: dict[int, list[float]] = {}
    sizes: dict[int, int] = {}
    for seed in range(options.seeds):
        part = digits(seed=seed, test_share=0.2).flat
        tried = _inner(part, seed)
        grid = [10.0**k for k in range(-3, 3)]
        scores = [LogisticRegression(C=c, max_iter=2000).fit(tried.x_train, tried.y_train) for c in grid]
        best = grid[int(np.argmax([model.score(tried.x_test, tried.y_test) for model in scores]))]
        model = LogisticRegression(C=best, max_iter=2000).fit(part.x_train, part.y_train)
        for bits in (8, 4, 3, 2):
            weights, size = _rounded(model.coef_.T, bits, part.x_train)
            intercept = model.intercept_.astype(np.float16).astype(np.float64)
            found.setdefault(bits, []).append(_accuracy(part.x_test @ weights + intercept, part.y_test))
            sizes[bits] = size + 2 * len(intercept)
    yield f"Digits, 80/20, {options.seeds} seeds; logistic regression, C chosen on a fifth of the training part:\n"
    yield HEAD
    for bits, values in found.items():
        yield f"| 64-10, linear | {bits} | {sizes[bits]} | {_shown(values)} |"


def _trained(hidden: int, x: Tensor, y: Tensor, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000)
    for _ in range(1000):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
        schedule.step()
    return net


def part_relu(options: argparse.Namespace) -> Iterator[str]:
    """64-h-10 with rectified neurons, trained by Adam for 1 000 whole-batch steps and rounded by `annealnet.quantize`."""
    yield f"Digits, 80/20, {options.seeds} seeds; trained in float32, rounded by annealnet.quantize; all bytes of the"
    yield "folder's two files, and those of the tensors alone (codes, scales, biases):\n"
    yield "| network | bits per weight | bytes of the files | of the tensors | test accuracy, % |"
    yield "|---|---|---|---|---|"
    for hidden, bits in ((16, 4), (16, 3), (64, 4), (64, 3)):
        values, files, tensors = [], [], []
        for seed in range(options.seeds):
            part = digits(seed=seed, test_share=0.2).flat
            x, y = torch.from_numpy(part.x_train), torch.from_numpy(part.y_train)
            small = quantize(_trained(hidden, x, y, seed), [x], bits=bits, seed=seed)
            with torch.no_grad():
                values.append(_accuracy(small.model(torch.from_numpy(part.x_test)).numpy(), part.y_test))
            with tempfile.TemporaryDirectory() as folder:
                small.save(folder)
                files.append(sum(path.stat().st_size for path in Path(folder).iterdir()))
            tensors.append(sum(-(-grid.codes.numel() * bits // 8) + 4 * len(grid.codes) for grid in small.grids.values()))
        yield f"| 64-{hidden}-10, ReLU | {bits} | {mean(files):.0f} | {mean(tensors):.0f} | {_shown(values)} |"


def part_ridge(options: argparse.Namespace) -> Iterator[str]:
    """Ridge regression on 4 096 random rectified neurons, rounded to nearest: the rival of one-bit masks."""
    found: dict[int, list[float]] = {}
    sizes: dict[int, int] = {}
    for seed in range(options.seeds):
        part = digits(seed).flat
        rng = np.random.default_rng(seed)
        hidden = rng.choice([-1.0, 1.0], size=(part.x_train.shape[1], 4096))
        tried = _inner(part, seed)
        strengths = [10.0**k for k in range(-3, 4)]
        fits = [_ridge(np.maximum(tried.x_train @ hidden, 0), tried.y_train, strength) for strength in strengths]
        checked = [_accuracy(np.maximum(tried.x_test @ hidden, 0) @ fit, tried.y_test) for fit in fits]
        features = np.maximum(part.x_train @ hidden, 0)
        weights = _ridge(features, part.y_train, strengths[int(np.argmax(checked))])
        for bits in (8, 4, 3, 2):
            values, sizes[bits] = _rounded(weights, bits, features)
            scores = np.maximum(part.x_test @ hidden, 0) @ values
            found.setdefault(bits, []).append(_accuracy(scores, part.y_test))
    yield f"Digits, 75/25, {options.seeds} seeds; ridge regression on 4 096 random neurons (a seed), its strength chosen on"
    yield "a fifth of the training part:\n"
    yield HEAD
    for bits, values in found.items():
        yield f"| 64-4096-10, ridge readout | {bits} | {sizes[bits]:,} | {_shown(values)} |"


def _ridge(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Weights ``(features, 10)`` of least squares on ±1 targets; the strength in units of the mean square of a feature."""
    targets = np.where(labels[:, None] == np.arange(10), 1.0, -1.0)
    gram = features @ features.T  # fewer samples than neurons: the dual form
    ridge = strength * np.trace(gram) / len(gram)
    return np.asarray(features.T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), targets))


PARTS = {"linear": part_linear, "relu": part_relu, "ridge": part_ridge}


def main(arguments: list[str] | None = None) -> str:
    """Runs the parts asked for and returns their tables."""
    return run_parts(PARTS, one_core(parser_of(__doc__, PARTS, 5), arguments))


if __name__ == "__main__":
    print(main())
