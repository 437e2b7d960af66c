"""The cheapest rivals of small networks, on the digits: python -m benchmarks.rivals [--part linear,relu,ridge]

Linear models and small ReLU networks in float32 lose nothing when they are rounded to 4 bit, so a ±1 network, a mask or an
annealed network has to be compared with these, at their bytes. What a rival leaves open (the penalty C, the weight decay,
the ridge) is chosen, after rounding, on a fifth of the training part; the test part is used once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import nn

from annealnet import quantize
from annealnet.compression import CompressedNetwork
from annealnet.datasets import Split, digits, split
from annealnet.report.summary import mean_and_spread
from annealnet.studies.linear_rival import linear_rival, rounded_columns
from benchmarks.parts import one_core, parser_of, run_parts

__all__ = ["main"]

#: Weight decays of ReLU networks that are tried.
DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
#: Strengths of ridge regression, and numbers of random neurons, that are tried.
STRENGTHS = tuple(10.0**k for k in range(-3, 4))
WIDTHS = (256, 512, 768, 1024, 1088, 1280, 1536, 2048)
HEAD = "| network | bits per weight | bytes | test accuracy, % |\n|---|---|---|---|"


def _shown(values: list[float]) -> str:
    return mean_and_spread(100 * value for value in values)


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores.argmax(axis=1) == labels).mean())


def _inner(part: Split, seed: int) -> Split:
    """A fifth of the training part to choose on."""
    return split(part.x_train, part.y_train, 0.2, seed)


def part_linear(options: argparse.Namespace) -> Iterator[str]:
    """Logistic regression, its weights rounded to nearest; bytes with one float16 intercept a class."""
    yield f"Digits, 80/20, {options.seeds} seeds; logistic regression, C chosen on a fifth of the training part:\n"
    yield HEAD
    for bits in (8, 4, 3, 2):
        found = [linear_rival(digits(seed=seed, test_share=0.2).flat, bits, seed) for seed in range(options.seeds)]
        yield f"| 64-10, linear | {bits} | {found[0].num_bytes} | {_shown([rival.accuracy for rival in found])} |"


@cache
def _trained(hidden: int, decay: float, seed: int, inner: bool) -> nn.Sequential:
    """On the digits' training part, or on what :func:`_inner` leaves of it to train on."""
    part = digits(seed=seed, test_share=0.2).flat
    part = _inner(part, seed) if inner else part
    x, y = torch.from_numpy(part.x_train), torch.from_numpy(part.y_train)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 10))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1000)
    for _ in range(1000):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
        schedule.step()
    return net


def _rounded(hidden: int, bits: int, decay: float, seed: int, inner: bool) -> tuple[float, CompressedNetwork]:
    """Accuracy on the part held out, and the network."""
    part = digits(seed=seed, test_share=0.2).flat
    part = _inner(part, seed) if inner else part
    small = quantize(_trained(hidden, decay, seed, inner), [torch.from_numpy(part.x_train)], bits=bits, seed=seed)
    with torch.no_grad():
        return _accuracy(small.model(torch.from_numpy(part.x_test)).numpy(), part.y_test), small


def part_relu(options: argparse.Namespace) -> Iterator[str]:
    """64-h-10 with rectified neurons, trained by Adam for 1 000 whole-batch steps and rounded by `annealnet.quantize`."""
    yield f"Digits, 80/20, {options.seeds} seeds; trained in float32, rounded by annealnet.quantize; the weight decay is"
    yield "chosen on a fifth of the training part. All bytes of the folder's two files, and those of the tensors alone"
    yield "(codes, scales, biases):\n"
    yield "| network | bits per weight | bytes of the files | of the tensors | test accuracy, % |"
    yield "|---|---|---|---|---|"
    for hidden, bits in ((16, 4), (16, 3), (64, 4), (64, 3)):
        values, files, tensors = [], [], []
        for seed in range(options.seeds):
            decay = max(DECAYS, key=lambda tried, seed=seed: _rounded(hidden, bits, tried, seed, True)[0])
            accuracy, small = _rounded(hidden, bits, decay, seed, False)
            values.append(accuracy)
            with tempfile.TemporaryDirectory() as folder:
                small.save(folder)
                files.append(sum(path.stat().st_size for path in Path(folder).iterdir()))
            tensors.append(sum(-(-grid.codes.numel() * bits // 8) + 4 * len(grid.codes) for grid in small.grids.values()))
        yield f"| 64-{hidden}-10, ReLU | {bits} | {mean(files):.0f} | {mean(tensors):.0f} | {_shown(values)} |"


def part_ridge(options: argparse.Namespace) -> Iterator[str]:
    """Ridge regression on random rectified neurons, rounded to nearest: the rival of one-bit masks."""
    whole: dict[int, list[tuple[float, int]]] = {bits: [] for bits in (8, 4, 3, 2)}
    small: list[tuple[float, int]] = []
    chosen: list[str] = []
    for seed in range(options.seeds):
        part = digits(seed).flat
        tried = _inner(part, seed)
        for bits, found in whole.items():
            _, strength = max(_checked(tried, seed, 4096, bits, strength) for strength in STRENGTHS)
            found.append(_readout(part, seed, 4096, bits, strength))
        _, strength, width, bits = max(
            (*_checked(tried, seed, width, bits, strength), width, bits)
            for width in WIDTHS for bits in (2, 3, 4, 8) for strength in STRENGTHS
            if 10 * width * bits / 8 + 20 <= options.mask_bytes
        )  # fmt: skip
        small.append(_readout(part, seed, width, bits, strength))
        chosen.append(f"{width} at {bits} bit")
    yield f"Digits, 75/25, {options.seeds} seeds; ridge regression on random neurons (a seed). Its strength is chosen on a"
    yield f"fifth of the training part, in the last row neurons and bits within {options.mask_bytes:,} bytes as well:"
    yield f"{', '.join(chosen)}\n"
    yield HEAD
    for bits, values in whole.items():
        yield f"| 64-4096-10, ridge readout | {bits} | {values[0][1]:,} | {_shown([accuracy for accuracy, _ in values])} |"
    least, most = min(size for _, size in small), max(size for _, size in small)
    sizes = f"{least:,} … {most:,}"
    yield f"| fewer neurons, ridge readout | chosen | {sizes} | {_shown([accuracy for accuracy, _ in small])} |"


def _checked(part: Split, seed: int, width: int, bits: int, strength: float) -> tuple[float, float]:
    """Accuracy on the part to choose on, and the strength."""
    return _readout(part, seed, width, bits, strength)[0], strength


def _readout(part: Split, seed: int, width: int, bits: int, strength: float) -> tuple[float, int]:
    """Accuracy of a rounded ridge readout of random neurons, and its bytes."""
    hidden = np.random.default_rng(seed).choice([-1.0, 1.0], size=(part.x_train.shape[1], width))
    features = np.maximum(part.x_train @ hidden, 0)
    weights, size = rounded_columns(_ridge(features, part.y_train, strength), bits, features)
    return _accuracy(np.maximum(part.x_test @ hidden, 0) @ weights, part.y_test), size


def _ridge(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Weights ``(features, 10)`` of least squares on ±1 targets; the strength in units of the mean square of a feature."""
    targets = np.where(labels[:, None] == np.arange(10), 1.0, -1.0)
    if features.shape[1] > len(features):  # the dual form is the smaller one
        gram = features @ features.T
        ridge = strength * np.trace(gram) / len(gram)
        return np.asarray(features.T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), targets))
    gram = features.T @ features
    ridge = strength * np.trace(gram) / len(features)
    return np.asarray(np.linalg.solve(gram + ridge * np.eye(len(gram)), features.T @ targets))


PARTS = {"linear": part_linear, "relu": part_relu, "ridge": part_ridge}


def main(arguments: list[str] | None = None) -> str:
    """Runs the parts asked for and returns their tables."""
    parser = parser_of(__doc__, PARTS, 5)
    parser.add_argument(
        "--mask-bytes", type=int, default=5_692, help="bytes of the mask that the ridge readout stands beside"
    )
    return run_parts(PARTS, one_core(parser, arguments))


if __name__ == "__main__":
    print(main())
