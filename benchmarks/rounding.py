"""Rounding weights on a Gram matrix: annealed beside nearest, GPTQ and AdaRound (ours, written from the papers), same grids.

python -m benchmarks.rounding [--part layers,accuracy,cost] [--data ../shared/data/cifar10] [--seeds 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.architectures import digits_cnn, digits_transformer
from annealnet.compression import quantize
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import weight_of
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.rows import gram_of
from annealnet.compression.refitting.batches import Batches
from annealnet.compression.refitting.courses import Course
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE, regularised
from annealnet.compression.reporting import measure
from annealnet.compression.rounding import (
    AdaRounding,
    AnnealedRounding,
    Annealing,
    GptqRounding,
    Lattice,
    NearestRounding,
    Rounding,
    anneal_codes,
    layer_lattices,
)
from annealnet.compression.rounding.adaround import adaround_codes
from annealnet.compression.rounding.gptq import gptq_codes
from annealnet.compression.rounding.grids import Grid
from annealnet.datasets import digits, subset
from annealnet.report.summary import best_in_bold, mean_and_spread
from annealnet.studies.cifar10 import cifar10_images, trained_resnet20
from annealnet.studies.training import train_dense
from benchmarks.parts import cifar10_folder, parser_of, run_parts


def _networks(data: Path) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name, trained network, 1 024 calibration inputs."""
    split = cifar10_images(data)
    yield "ResNet-20, CIFAR-10", trained_resnet20(data), torch.from_numpy(subset(split.x_train, split.y_train, 1024, 0)[0])
    small = digits(seed=0)
    images = torch.from_numpy(small.x_train)
    labels = torch.from_numpy(small.y_train)
    for name, make in (("digits CNN", digits_cnn), ("digits transformer", digits_transformer)):
        torch.manual_seed(0)
        yield name, train_dense(make(), images, labels, epochs=20, seed=0), images[:1024]


def _grams(network: nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each layer's weight and the Gram matrices of its inputs in the dense network, ridge as in `quantize`."""
    graph = trace(network, x[:2])
    folded = fold_batch_norms(network, graph)
    found: list[tuple[str, Tensor, Tensor]] = []

    def keep(name: str, module: nn.Module, rows: Tensor) -> None:
        gram = regularised(gram_of(rows), DEFAULT_RIDGE, len(rows)) / len(rows)
        found.append((name, weight_of(module).detach(), gram.float()))

    seen = [layer.name for layer in graph.layers if not layer.by_value]
    Course.whole(folded, Batches.of(folded, graph, x)).look(seen, keep)
    yield from found


def part_layers(options: argparse.Namespace) -> Iterator[str]:
    """Layer errors on the same grid: every layer, every width."""
    solvers: dict[str, Callable[[Lattice], np.ndarray]] = {
        "nearest": Lattice.nearest,
        "AdaRound": adaround_codes,
        "GPTQ": gptq_codes,
        "annealed": lambda lattice: anneal_codes(lattice, Annealing(), 0),
    }
    yield "Layer error over GPTQ's on the same per-channel grid: geometric mean over layers (largest). «Worse» counts layers"
    yield "where the annealed error is above GPTQ's or AdaRound's.\n"
    yield "| network | bits | nearest | AdaRound | annealed | annealed / AdaRound | worse | GPTQ, s | Ada, s | ours, s |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, network, x in _networks(options.data):
        if options.networks not in name:
            continue
        layers = list(_grams(network, x))
        for bits in range(2, 9):
            errors: dict[str, list[float]] = {solver: [] for solver in solvers}
            seconds = dict.fromkeys(solvers, 0.0)
            for _, weight, gram in layers:
                lattices = layer_lattices(weight, Grid(bits), gram)
                for solver, work in solvers.items():
                    began = time.perf_counter()
                    codes = [work(lattice) for lattice in lattices]
                    seconds[solver] += time.perf_counter() - began
                    errors[solver].append(sum(float(a.errors(c).sum()) for a, c in zip(lattices, codes, strict=True)))
            table = {solver: np.maximum(np.array(values), 1e-30) for solver, values in errors.items()}
            ours = table["annealed"]
            worse = int(((ours > table["GPTQ"] * (1 + 1e-9)) | (ours > table["AdaRound"] * (1 + 1e-9))).sum())
            compared = [table[solver] / table["GPTQ"] for solver in ("nearest", "AdaRound", "annealed")]
            cells = best_in_bold([_ratio(own) for own in compared], [_middle(own) for own in compared], min)
            yield (
                f"| {name} | {bits} | " + " | ".join(cells) + f" | {_ratio(ours / table['AdaRound'])} | "
                f"{worse} of {len(layers)} | {seconds['GPTQ']:.1f} | {seconds['AdaRound']:.1f} | {seconds['annealed']:.1f} |"
            )


def _ratio(ratios: np.ndarray) -> str:
    return f"{_middle(ratios):.3f} ({ratios.max():.3f})"


def _middle(ratios: np.ndarray) -> float:
    return float(np.exp(np.log(ratios).mean()))


def part_accuracy(options: argparse.Namespace) -> Iterator[str]:
    """ResNet-20, weights only, every layer at the same width."""
    network, split = trained_resnet20(options.data), cifar10_images(options.data)
    test, labels = torch.from_numpy(split.x_test), torch.from_numpy(split.y_test)
    roundings: dict[str, Rounding] = {
        "annealed": AnnealedRounding(),
        "AdaRound": AdaRounding(),
        "GPTQ": GptqRounding(),
        "nearest": NearestRounding(),
    }
    widths = (4, 3, 2)
    yield f"Top-1 in percent of {len(test)} test images, all layers at one width, mean ± standard deviation over"
    yield f"{options.seeds} seeds of 1 024 unlabelled calibration images; every method gets the same refit and bias"
    yield "correction.\n"
    yield "| rounding | " + " | ".join(f"{bits} bit" for bits in widths) + " | seconds per network |"
    yield "|---" * (len(widths) + 2) + "|"
    found: dict[tuple[str, int], list[float]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in roundings}
    for name, rounding in roundings.items():
        for bits in widths:
            for seed in range(options.seeds):
                x = torch.from_numpy(subset(split.x_train, split.y_train, 1024, seed)[0])
                began = time.perf_counter()
                small = quantize(network, [x], bits, rounding=rounding, seed=seed)
                seconds[name].append(time.perf_counter() - began)
                accuracy = 100 * (measure(small.model, test, labels)[2] or 0.0)
                found.setdefault((name, bits), []).append(accuracy)
    columns = []
    for bits in widths:
        values = [found[name, bits] for name in roundings]
        columns.append(best_in_bold([mean_and_spread(own) for own in values], [float(np.mean(own)) for own in values]))
    for name, cells in zip(roundings, zip(*columns, strict=True), strict=True):
        yield f"| {name} | " + " | ".join(cells) + f" | {np.median(seconds[name]):.0f} |"
    plain = []
    for bits in widths:
        graph = trace(network, test[:2])
        bare = fold_batch_norms(network, graph)
        for layer in graph.layers:
            module = bare.get_submodule(layer.name)
            grid = NearestRounding()(torch.as_tensor(module.weight), bits)
            put_on_grid(bare, {layer.name: grid})
        plain.append(f"{100 * (measure(bare, test, labels)[2] or 0.0):.2f}")
    yield "| nearest, no calibration data at all | " + " | ".join(plain) + " | – |"


def part_cost(options: argparse.Namespace) -> Iterator[str]:
    """Error against time on one wide layer."""
    rng = np.random.default_rng(0)
    n = 768
    mixing = rng.normal(size=(n, n)) * (np.arange(1, n + 1) ** -0.7)
    x = np.maximum(rng.normal(size=(4 * n, n)) @ mixing.T, 0)
    gram = torch.from_numpy((x.T @ x / len(x)).astype(np.float32))[None]
    weight = torch.from_numpy((rng.normal(size=(n, n)) * 0.05).astype(np.float32))
    (lattice,) = layer_lattices(weight, Grid(4), gram)
    start = gptq_codes(lattice)
    base, basis = _timed(lattice, lambda: gptq_codes(lattice))
    yield f"A layer of {n} × {n} at 4 bit (rectified correlated inputs, random weights): error over GPTQ's, and time, GPTQ's"
    yield "own included in ours; median of three.\n"
    yield "| | error | seconds | times GPTQ |"
    yield "|---|---|---|---|"
    yield f"| GPTQ | 1 | {basis:.3f} | 1 |"
    efforts = {
        "single steps down": Annealing(fields=0, sweeps=0, pairs=0),
        "heat bath of 10 sweeps": Annealing(fields=0, sweeps=10, pairs=0),
        "heat bath of 40 sweeps": Annealing(fields=0, sweeps=40, pairs=0),
        "one mean field of 100 sweeps, pairs": Annealing(fields=1, field_sweeps=100, sweeps=0),
        "two mean fields, heat bath of 200 sweeps, pairs": Annealing(fields=2, sweeps=200),
        "four mean fields, heat bath of 800 sweeps, pairs (default)": Annealing(),
    }
    for name, effort in efforts.items():
        error, seconds = _timed(lattice, lambda effort=effort: anneal_codes(lattice, effort, 0, start))  # type: ignore[misc]
        yield f"| annealed: {name} | {error / base:.3f} | {seconds + basis:.3f} | {(seconds + basis) / basis:.1f} |"
    error, seconds = _timed(lattice, lambda: adaround_codes(lattice), repeats=1)
    yield f"| AdaRound, 3 000 steps | {error / base:.3f} | {seconds:.3f} | {seconds / basis:.0f} |"


def _timed(lattice: Lattice, work: Callable[[], np.ndarray], repeats: int = 3) -> tuple[float, float]:
    """Error and median seconds, after one call to compile."""
    if repeats > 1:
        work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        codes = work()
        times.append(time.perf_counter() - began)
    return float(lattice.errors(codes).sum()), float(np.median(times))


PARTS = {"layers": part_layers, "accuracy": part_accuracy, "cost": part_cost}


def main(arguments: Sequence[str] | None = None) -> str:
    """Runs the parts asked for, prints each line as it comes, and returns all of them."""
    parser = parser_of(__doc__, PARTS, seeds=3)
    cifar10_folder(parser)
    parser.add_argument("--networks", default="", help="part layers: only networks with this in their name")
    return run_parts(PARTS, parser.parse_args(arguments))


if __name__ == "__main__":
    print(main())
