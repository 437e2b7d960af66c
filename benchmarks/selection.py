"""Neuron selection and simulated quantum devices beside what a user would take instead, in one run.

python -m benchmarks.selection [--part digits,small,mnist,mnist-small,quantum,grover,locality] [--seeds 5]
    [--mnist ../shared/data/mnist]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from annealnet.datasets import digits
from annealnet.energy import DenseEnergy
from annealnet.report.summary import mean_and_spread
from annealnet.samplers.quantum import (
    Angles,
    AnnealPath,
    Controls,
    Landscape,
    TrotterSteps,
    anneal,
    durr_hoyer_bound,
    expected_cost,
    expected_cost_and_gradient,
    find_minimum,
    layered_circuit,
    trotter_circuit,
)
from annealnet.samplers.quantum.angles import field_size
from annealnet.studies.mnist import mnist_split
from annealnet.studies.selection_tables import LocalityRow, Score, baseline_scores, locality_rows, selection_scores
from benchmarks.parts import parser_of, run_parts

_HEAD = ["| method | held-out accuracy, % | kept | bytes | seconds |", "|---|---|---|---|---|"]


def _line(score: Score) -> str:
    size = f"{score.bytes:,.0f}" if score.bytes else "–"
    return f"| {score.method} | {score.shown} | {score.kept:.0%} | {size} | {score.seconds:.1f} |"


def _digits(options: argparse.Namespace) -> Iterator[str]:
    """Point 1: 4 096 neurons."""
    splits = [digits(seed).flat for seed in range(options.seeds)]
    selection_scores("warm", splits[:1], width=32)  # kernels are compiled
    selection_scores("warm", splits[:1], width=32, kept=0.5)
    yield f"Digits, 75/25, {options.seeds} seeds, width 4 096:"
    yield ""
    yield from _HEAD
    for kind in ("signed", "kaiming"):
        for select in ("neurons", "weights"):
            yield _line(selection_scores(f"{select}, {kind}", splits, width=4096, select=select, weights=kind))
    for score in baseline_scores(4096, splits, epochs=0):
        yield _line(score)


def _small(options: argparse.Namespace) -> Iterator[str]:
    """Point 1: 256 neurons, half of the weights kept, beside edge-popup."""
    splits = [digits(seed).flat for seed in range(options.seeds)]
    yield f"Digits, 75/25, {options.seeds} seeds, width 256:"
    yield ""
    yield from _HEAD
    for name, settings in {
        "weights of the readout, 50 %": {"kept": 0.5},
        "weights of the readout, open": {},
        "weights of both layers, random teacher, 50 %": {"scope": "layerwise", "kept": 0.5},
        "weights of both layers, random teacher, open": {"scope": "layerwise"},
        "weights of both layers, trained teacher, open": {"scope": "layerwise", "teacher": "trained"},
        "weights of both layers, random teacher, Gaussian, open": {"scope": "layerwise", "weights": "kaiming"},
        "weights of both layers, then annealed on the loss": {"scope": "layerwise", "refine": 100},
        "both layers, then annealed on the loss, Gaussian": {"scope": "layerwise", "refine": 100, "weights": "kaiming"},
        "weights of the readout, 64 random 3 × 3 filters": {"image_shape": (1, 8, 8), "width": 64},
    }.items():
        yield _line(selection_scores(name, splits, **{"width": 256, **settings}))
    for score in baseline_scores(256, splits, epochs=100):
        yield _line(score)


def _mnist(options: argparse.Namespace) -> Iterator[str]:
    """Point 1: the same on MNIST's test images."""
    if not options.mnist.exists():
        yield f"MNIST: left out, {options.mnist} is not there"
        return
    splits = [mnist_split(options.mnist, seed) for seed in range(min(options.seeds, options.mnist_seeds))]
    yield f"MNIST, 8 000 / 2 000 of the test images, {len(splits)} seeds, width 4 096:"
    yield ""
    yield from _HEAD
    for kind in ("signed", "kaiming"):
        for select in ("neurons", "weights"):
            yield _line(selection_scores(f"{select}, {kind}", splits, width=4096, select=select, weights=kind))
    for score in baseline_scores(4096, splits, epochs=0):
        yield _line(score)


def _mnist_small(options: argparse.Namespace) -> Iterator[str]:
    """Point 1: 256 neurons on MNIST's test images, beside edge-popup."""
    if not options.mnist.exists():
        yield f"MNIST: left out, {options.mnist} is not there"
        return
    splits = [mnist_split(options.mnist, seed) for seed in range(min(options.seeds, options.mnist_seeds))]
    yield f"MNIST, 8 000 / 2 000 of the test images, {len(splits)} seeds, width 256:"
    yield ""
    yield from _HEAD
    yield _line(selection_scores("weights of the readout", splits, width=256))
    yield _line(selection_scores("weights of both layers, random teacher", splits, width=256, scope="layerwise"))
    yield _line(
        selection_scores(
            "both layers, then annealed on the loss, 20 sweeps", splits, width=256, scope="layerwise", refine=20
        )
    )
    *_, popup = baseline_scores(256, splits, epochs=20)
    yield _line(popup)


def _best(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _landscape(n: int) -> Landscape:
    rng = np.random.default_rng(0)
    land = Landscape.of(DenseEnergy(rng.normal(size=(n, n)), rng.normal(size=n)))
    land.energies.sum()
    return land


def _quantum(options: argparse.Namespace) -> Iterator[str]:
    """Point 3: beside Qiskit Aer's state vectors."""
    from qiskit_aer import AerSimulator

    aer = AerSimulator(method="statevector")

    def theirs(circuit: object) -> tuple[np.ndarray, float]:
        circuit.save_statevector()  # type: ignore[attr-defined]
        began = time.perf_counter()
        result = aer.run(circuit).result()
        return np.asarray(result.get_statevector()), time.perf_counter() - began

    yield "| work | annealnet | Qiskit Aer | ratio | largest difference of an amplitude |"
    yield "|---|---|---|---|---|"
    land = _landscape(16)
    steps = TrotterSteps.of(AnnealPath.forward(50.0), Controls.linear(), 1000)
    anneal(land, TrotterSteps.of(AnnealPath.forward(1.0), Controls.linear(), 2))
    ours = _best(lambda: anneal(land, steps))
    state, seconds = theirs(trotter_circuit(land, steps))
    found = anneal(land, steps)
    error = np.abs(state - (found[0] + 1j * found[1])).max()
    yield f"| anneal, 16 qubits, 1 000 steps | {ours:.2f} s | {seconds:.2f} s | {seconds / ours:.0f}× | {error:.0e} |"
    large = _landscape(20)
    angles = Angles(np.linspace(0.2, 0.8, 10), np.linspace(0.6, 0.1, 10))
    ours = _best(lambda: expected_cost(large, angles))
    state, seconds = theirs(layered_circuit(large, angles.gammas / field_size(large), angles.betas))
    from annealnet.samplers.quantum import qaoa_state

    found = qaoa_state(large, angles)
    error = np.abs(state - (found[0] + 1j * found[1])).max()
    told = f"{ours:.3f} s | {seconds:.2f} s | {seconds / ours:.0f}× | {error:.0e}"
    yield f"| QAOA, 20 qubits, p = 10, one evaluation | {told} |"
    slope = _best(lambda: expected_cost_and_gradient(large, angles))
    yield f"| the same with all 20 derivatives | {slope:.2f} s | – | – | – |"
    script = (
        "import numpy as np\n"
        "from annealnet.energy import DenseEnergy\n"
        "from annealnet.samplers.quantum import AdiabaticSampler\n"
        "def run(n):\n"
        "    energy = DenseEnergy(np.random.default_rng(0).normal(size=(n, n)))\n"
        "    AdiabaticSampler().sample_energy(energy, steps=5, seed=0)\n"
        "    peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "    return int(peak.split()[1]) / 1024\n"
        "run(14); print(run(14), run(20))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(float, answer.stdout.split())
    yield ""
    yield f"An anneal of 20 qubits takes {after - before:.0f} MB more than one of 14 ({after:.0f} MB with imports)."


def _grover(options: argparse.Namespace) -> Iterator[str]:
    """Point 4: 200 random landscapes for every size."""
    rng = np.random.default_rng(0)
    yield "| N | mean calls until the minimum is held | bound on the mean | 2^(N/2) | success within twice the bound |"
    yield "|---|---|---|---|---|"
    for n in (8, 10, 12, 14, 16):
        runs = []
        for _ in range(200):
            values = rng.normal(size=1 << n)
            order = np.argsort(values)
            runs.append((find_minimum(order, values[order], int(durr_hoyer_bound(n)), rng), order[0]))
        calls = [run.calls_to_best for run, _ in runs]
        success = np.mean([run.code == best for run, best in runs])
        told = f"{mean_and_spread(calls, '.0f')} | {durr_hoyer_bound(n) / 2:.0f} | {2 ** (n / 2):.0f}"
        yield f"| {n} | {told} | {success:.1%} |"


def _locality(options: argparse.Namespace) -> Iterator[str]:
    """Point 5: global against local."""
    data = digits(0).flat
    yield "| N | formulation | couplings | CZ gates | depth | peak entropy | adiabatic | QAOA | quality | accuracy | ms |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for size in (8, 12, 16, 20):
        rows = [row for seed in range(options.locality_seeds) for row in locality_rows((size,), data, seed)]
        for name in dict.fromkeys(row.formulation for row in rows):
            yield _locality_line([row for row in rows if row.formulation == name])


def _locality_line(rows: list[LocalityRow]) -> str:
    def told(name: str, digits: int) -> str:
        return mean_and_spread((getattr(row, name) for row in rows), f".{digits}f")

    first = rows[0]
    cells = [
        f"{first.bits} | {first.formulation} | {first.couplings}", told("two_qubit_gates", 0), told("depth", 0),
        told("peak_entropy", 3), told("adiabatic", 2), told("qaoa", 3), told("quality", 3), told("accuracy", 3),
        f"{1e3 * float(np.mean([row.exact_seconds for row in rows])):.2f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


_PARTS = {
    "digits": _digits,
    "small": _small,
    "mnist": _mnist,
    "mnist-small": _mnist_small,
    "quantum": _quantum,
    "grover": _grover,
    "locality": _locality,
}


def main(arguments: Sequence[str] | None = None) -> str:
    """Runs the parts asked for and returns their tables."""
    parser = parser_of(__doc__, _PARTS, seeds=5)
    parser.add_argument("--mnist-seeds", type=int, default=5)
    parser.add_argument("--locality-seeds", type=int, default=3)
    parser.add_argument("--mnist", type=Path, default=Path("../shared/data/mnist"))
    return run_parts(_PARTS, parser.parse_args(arguments))


if __name__ == "__main__":
    print(main())
