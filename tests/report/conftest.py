"""A report of realistic size, made from the real shapes of ResNet-20."""

from __future__ import annotations

import numpy as np
import pytest

from annealnet.report import CompressionReport, LayerRow, MethodRow, Totals


@pytest.fixture(scope="session")
def resnet20_report() -> CompressionReport:
    """ResNet-20 on CIFAR-10 at a tenth of its size; the figures are made up, the shapes are not."""
    layers = tuple(_layers(np.random.default_rng(0)))
    return CompressionReport(
        title="Channels and bit-widths decided together, a tenth of the size",
        network="ResNet-20",
        data="CIFAR-10, 10 000 test images",
        dense=Totals(1_094_288, sum(r.macs_before for r in layers), 0.412, 0.8733, (1.31, 1.27, 1.62)),
        small=Totals(109_402, sum(r.macs_after for r in layers), 0.533, 0.8412, (0.74, 0.71, 0.98)),
        layers=layers,
        methods=_methods(),
        certificate={
            "energy": 3.8124,
            "lower_bound": 3.1077,
            "proven": False,
            "gap": 0.7047,
            "sampler": "AnnealingSampler",
            "seed": 0,
            "reads": 64,
            "seconds": 9.31,
        },
        candidates=_candidates(np.random.default_rng(1)),
        notes=(
            "Accuracy is measured without fine-tuning unless a row says so.",
            "Shortcuts without weights (option A) tie the outer channels of a stage; those stay dense.",
            "Below 8 bit the ONNX model is smaller, not faster.",
        ),
        settings={"budget": {"size_ratio": 10}, "formulation": "data_aware", "calibration": 1024, "seed": 0},
        ours="data_aware",
    )


def _layers(rng: np.random.Generator) -> list[LayerRow]:
    shapes = [("conv1", 3, 16, 32)]
    for stage, width, side in ((1, 16, 32), (2, 32, 16), (3, 64, 8)):
        for block in range(3):
            first = width // 2 if stage > 1 and block == 0 else width
            shapes.append((f"layer{stage}.{block}.conv1", first, width, side))
            shapes.append((f"layer{stage}.{block}.conv2", width, width, side))
    rows = []
    reading = 3
    for name, inputs, outputs, side in shapes:
        kept = int(outputs * rng.uniform(0.45, 0.9)) if name.endswith(".conv1") else outputs
        bits = 8 if name == "conv1" else int(rng.integers(2, 6))
        reading = inputs if not name.endswith(".conv2") else reading
        weights, left = 9 * inputs * outputs, 9 * reading * kept
        rows.append(
            LayerRow(
                name,
                "conv",
                outputs,
                kept,
                bits,
                4 * weights,
                left * bits // 8 + 4 * kept,
                weights * side**2,
                left * side**2,
            )
        )
        reading = kept
    rows.append(LayerRow("linear", "linear", 10, 10, 8, 2600, 680, 640, 640))
    return rows


def _methods() -> tuple[MethodRow, ...]:
    figures = [
        ("data_aware", 0.8412, 0.006, 0.533, 9.3, False),
        ("data_aware", 0.8601, 0.002, 0.441, 9.3, True),
        ("published", 0.7120, 0.021, 0.967, 1.2, False),
        ("ILP widths + L1", 0.7655, 0.014, 0.790, 0.4, False),
        ("ILP widths + L1", 0.8390, 0.004, 0.512, 0.4, True),
        ("Taylor + uniform bits", 0.7411, 0.018, 0.851, 0.9, False),
        ("L1 + uniform bits", 0.6902, 0.009, 1.043, 0.1, False),
        ("genetic algorithm", 0.7268, 0.034, 0.902, 61.0, False),
        ("random", 0.3316, 0.071, 2.310, 0.1, False),
    ]
    return tuple(
        MethodRow(name, 109_390 + i, 19_800_000, mean, spread, loss, seconds, (0, 1, 2), tuned)
        for i, (name, mean, spread, loss, seconds, tuned) in enumerate(figures)
    )


def _candidates(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    energies = 3.81 + rng.exponential(0.15, 24)
    losses = 0.5 + 0.3 * (energies - 3.8) + rng.normal(0, 0.02, 24)
    return (*((float(e), float(v)) for e, v in zip(energies, losses, strict=True)), (4.9, float("nan")))
