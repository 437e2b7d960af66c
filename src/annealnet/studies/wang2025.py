"""`annealnet study wang2025`: the published Hamiltonian against its exact optimum, then against what came after it.

(a) Annealing, a genetic algorithm and REINFORCE on H(P, Q) of ResNet-20, ResNet-18 and VGG-16 (filters as in the paper): how
    often each reaches the *proven* optimum, how far it stays above it, and in what time.
(b) Published against data-aware against additive baselines: accuracy at equal bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from annealnet.architectures import resnet18, resnet20, vgg16_bn
from annealnet.compression import Budget
from annealnet.compression.baselines.genetic import evolve
from annealnet.compression.formulations.hamiltonian import FilterBlock, Hamiltonian, balanced_beta
from annealnet.compression.network.calibration import Calibration
from annealnet.datasets import subset
from annealnet.report.summary import mean_and_spread
from annealnet.samplers import AnnealingSampler
from annealnet.studies.cifar10 import cifar10_images, trained_resnet20
from annealnet.studies.comparison import Outcome, compare, in_words
from annealnet.studies.demo import digits_setup

__all__ = ["SolverRow", "hamiltonian_of", "run_study", "solve_with_everything"]

Say = Callable[[str], None]
#: An energy counts as the optimum within this relative distance (float32 data, float64 sums).
TOLERANCE = 1e-9
#: Share of the weight-bits that the optimum should take away; γ is bisected to it.
REDUCTION = 0.5


@dataclass(frozen=True)
class SolverRow:
    """One solver on one network's Hamiltonian.

    Attributes:
        network, solver: names.
        bits: of P and Q.
        hits: share of runs that reach the proven optimum.
        gap: mean energy above it, relative to its size.
        seconds: mean time of a run.
    """

    network: str
    solver: str
    bits: int
    hits: float
    gap: float
    seconds: float


def hamiltonian_of(network: nn.Module, reduction: float = REDUCTION) -> Hamiltonian:
    """H over every convolution's filters, each layer a block of its own (as in the paper), γ bisected to a reduction.

    Args:
        network: its convolution weights count.
        reduction: share of weight-bits that the optimum takes away, R of the optimum.
    """
    blocks = tuple(
        FilterBlock.of_weight(name, module.weight.detach().numpy())
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    )
    beta = balanced_beta(blocks)
    low, high = 0.0, 1e-6
    while _reduction(Hamiltonian(blocks, high, beta)) < reduction:
        high *= 2
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _reduction(Hamiltonian(blocks, middle, beta)) >= reduction else (middle, high)
    return Hamiltonian(blocks, high, beta)


def _reduction(h: Hamiltonian) -> float:
    """R of the optimum: the share of weight-bits that is gone."""
    removed, widths = h.decode(h.optimum()[0])
    kept = total = 0.0
    for block, gone in zip(h.blocks, removed, strict=True):
        for layer in block.layers:
            total += 8 * layer.size * len(gone)
            kept += widths[layer.name] * layer.size * (~gone).sum()
    return 1 - kept / total


def solve_with_everything(name: str, h: Hamiltonian, runs: int, say: Say = lambda _: None) -> list[SolverRow]:
    """The exact optimum and ``runs`` runs of each solver."""
    energy = h.energy()
    _, optimum, seconds = h.optimum()
    rows = [SolverRow(name, "exact (block prefix)", h.num_variables, 1.0, 0.0, seconds)]
    AnnealingSampler().sample_energy(energy, num_reads=1, num_sweeps=1, seed=0)  # compiled before it is timed

    def annealed(sweeps: int) -> Iterable[tuple[float, float]]:
        for seed in range(runs):
            began = time.perf_counter()
            answer = AnnealingSampler().sample_energy(energy, num_reads=8, num_sweeps=sweeps, seed=seed)
            yield float(answer.first.energy), time.perf_counter() - began

    def evolved() -> Iterable[tuple[float, float]]:
        for seed in range(runs):
            found = evolve(energy, seed, target=optimum)
            yield found.energy, found.seconds

    def reinforced() -> Iterable[tuple[float, float]]:
        from annealnet.studies.reinforce import reinforce

        for seed in range(runs):
            found = reinforce(energy, seed, target=optimum)
            yield found.energy, found.seconds

    solvers: list[tuple[str, Iterable[tuple[float, float]]]] = [
        ("annealing, 8 × 1 000 sweeps", annealed(1000)),
        ("annealing, 8 × 10 000 sweeps", annealed(10_000)),
        ("genetic algorithm", evolved()),
        ("REINFORCE", reinforced()),
    ]
    for solver, results in solvers:
        found = list(results)
        gaps = [(value - optimum) / abs(optimum) for value, _ in found]
        hits = float(np.mean([gap <= TOLERANCE for gap in gaps]))
        rows.append(
            SolverRow(name, solver, h.num_variables, hits, float(np.mean(gaps)), float(np.mean([s for _, s in found])))
        )
        say(f"{name}: {solver}: optimum in {hits:.0%} of {runs} runs, mean gap {rows[-1].gap:.2e}")
    return rows


def _solver_table(rows: list[SolverRow]) -> str:
    lines = ["| network | bits | solver | reaches the proven optimum | mean gap | seconds |", "|---|---|---|---|---|---|"]
    lines += [f"| {r.network} | {r.bits} | {r.solver} | {r.hits:.0%} | {r.gap:.1e} | {r.seconds:.3f} |" for r in rows]
    return "\n".join(lines)


def _accuracy_table(outcomes: list[Outcome]) -> str:
    budgets = list(dict.fromkeys(o.budget for o in outcomes))
    lines = ["| method | " + " | ".join(map(in_words, budgets)) + " |", "|---" * (len(budgets) + 1) + "|"]
    for method in dict.fromkeys(o.method for o in outcomes):
        cells = []
        for budget in budgets:
            values = [100 * o.accuracy for o in outcomes if o.method == method and o.budget == budget]
            cells.append(mean_and_spread(values) if values else "–")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run_study(out: Path, data: Path | None, seeds: int, say: Say) -> dict[str, Any]:
    """Both parts; writes wang2025.md and wang2025.json to ``out``.

    Args:
        out: folder of the results.
        data: a CIFAR-10 folder with ``resnet20.safetensors``; None takes the digits CNN for part (b).
        seeds: runs per solver are ten times this; seeds of calibration data in (b).
        say: told what is being done.
    """
    torch.manual_seed(0)
    small = resnet20().eval() if data is None else trained_resnet20(data)
    trained = "trained" if data is not None else "random weights"
    networks = {
        f"ResNet-20 ({trained})": small,
        "ResNet-18 (random weights)": resnet18().eval(),
        "VGG-16 (random weights)": vgg16_bn().eval(),
    }
    rows: list[SolverRow] = []
    for name, network in networks.items():
        rows += solve_with_everything(name, hamiltonian_of(network), 10 * seeds, say)
    outcomes: list[Outcome] = []
    for seed in range(seeds):
        network, calibration, test = _job(small, data, seed, say)
        budgets = [Budget(size_ratio=ratio) for ratio in (8, 12, 16)]
        outcomes += compare(network, calibration, test, budgets, seed, say=say)[0]
    text = (
        "## The published Hamiltonian: who finds its proven optimum\n\n" + _solver_table(rows)
        + "\n\n## Accuracy at equal bytes, percent, no fine-tuning\n\n" + _accuracy_table(outcomes) + "\n"
    )  # fmt: skip
    document = {"text": text, "solvers": [r.__dict__ for r in rows], "outcomes": [o.to_document() for o in outcomes]}
    out.mkdir(parents=True, exist_ok=True)
    (out / "wang2025.md").write_text(text)
    (out / "wang2025.json").write_text(json.dumps(document))
    return document


def _job(trained: nn.Module, data: Path | None, seed: int, say: Say) -> tuple[nn.Module, Calibration, Calibration]:
    if data is None:
        return digits_setup(seed, say)
    split = cifar10_images(data)
    x, y = subset(split.x_train, split.y_train, 1024, seed)
    calibration = Calibration.of(torch.from_numpy(x), torch.from_numpy(y))
    return trained, calibration, Calibration.of(torch.from_numpy(split.x_test), torch.from_numpy(split.y_test))
