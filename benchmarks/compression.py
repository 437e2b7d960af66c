"""ResNet-20 on CIFAR-10: every method at the same bytes, same calibration data, same compensation, same fine-tuning.

python -m benchmarks.compression [--data ../shared/data/cifar10] [--ratios 4,6,8,10] [--seeds 3] [--epochs 0]
                                [--rounding nearest]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from annealnet.compression import Budget
from annealnet.compression.building.checkpoint import Checkpoint
from annealnet.compression.building.finetune import FineTuning
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.fingerprint import run_fingerprint
from annealnet.compression.reporting import measure
from annealnet.compression.rounding import AnnealedRounding, GptqRounding, NearestRounding, Rounding
from annealnet.datasets import subset
from annealnet.report.summary import best_in_bold, mean_and_spread, summarise
from annealnet.studies.cifar10 import cifar10_images, trained_resnet20
from annealnet.studies.comparison import CANDIDATES, METHODS, Outcome, compare
from benchmarks.parts import cifar10_folder

ROUNDINGS: dict[str, Rounding] = {"annealed": AnnealedRounding(), "gptq": GptqRounding(), "nearest": NearestRounding()}


def table(outcomes: Sequence[Outcome], ratios: Sequence[float], tuned: bool) -> str:
    """Accuracy in percent, mean ± standard deviation over seeds, one row per method, the best of a column in bold."""
    lines = ["| method | " + " | ".join(f"{ratio:g}×" for ratio in ratios) + " |", "|---" * (len(ratios) + 1) + "|"]
    columns = []
    for ratio in ratios:
        found = [one for one in outcomes if one.budget == Budget(size_ratio=ratio)]
        values = [
            [100 * v for one in found if one.method == method and (v := one.tuned if tuned else one.accuracy) is not None]
            for method in METHODS
        ]
        cells = [mean_and_spread(own) if own else "–" for own in values]
        columns.append(best_in_bold(cells, [summarise(own)[0] if own else None for own in values]))
    lines += [
        f"| {method} | " + " | ".join(row) + " |" for method, row in zip(METHODS, zip(*columns, strict=True), strict=True)
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> str:
    """Runs what is not on disk yet and returns the table before fine-tuning and, if asked for, the one after it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar10_folder(parser)
    parser.add_argument("--ratios", default="4,6,8,10,16")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounding", choices=sorted(ROUNDINGS), default="annealed")
    parser.add_argument("--epochs", type=float, default=0.0)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path, default=Path("runs/compression"))
    options = parser.parse_args(arguments)
    ratios = [float(text) for text in options.ratios.split(",")]
    network, split = trained_resnet20(options.data), cifar10_images(options.data)
    test = Calibration.of(torch.from_numpy(split.x_test), torch.from_numpy(split.y_test))
    training = Calibration.of(torch.from_numpy(split.x_train), torch.from_numpy(split.y_train))
    tuning = FineTuning(epochs=options.epochs) if options.epochs else None
    dense = measure(network, test.x, test.y)[2]
    print(f"dense: {dense:.2%} of {len(test.x)} test images", file=sys.stderr, flush=True)
    budgets = [Budget(size_ratio=ratio) for ratio in ratios]
    judged = [run_fingerprint(network, part) for part in (test, training)]
    outcomes: list[Outcome] = []
    for seed in range(options.seeds):
        x, y = subset(split.x_train, split.y_train, options.samples, seed)
        calibration = Calibration.of(torch.from_numpy(x), torch.from_numpy(y))
        run = run_fingerprint(network, calibration, judged, tuning, options.rounding, CANDIDATES)
        found, _ = compare(
            network, calibration, test, budgets, seed, methods=options.methods.split(","), fine_tuning=tuning,
            rounding=ROUNDINGS[options.rounding],
            training=training, steps=Checkpoint(options.out / "outcomes", run),
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )  # fmt: skip
        outcomes += found
    before = "Without fine-tuning:\n\n" + table(outcomes, ratios, tuned=False)
    if tuning is None:
        return before
    return f"{before}\n\nAfter {options.epochs:g} epoch(s) of fine-tuning:\n\n" + table(outcomes, ratios, tuned=True)


if __name__ == "__main__":
    print(main())
