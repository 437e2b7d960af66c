"""`annealnet study whitaker2022`: neuron selection, global and local: annealers, simulated quantum devices, exact methods.

(a) Accuracy against width and kept share, for every scope and sampler, beside the baselines.
(b) What locality buys a quantum device, and what it costs in accuracy.
(c) Grover's oracle calls against the bound and against classical counts. Dynamic programming stands in every table: it
    solves the adjacent formulation exactly, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from annealnet.datasets import Split, digits
from annealnet.report.study import Chart, Series, StudyReport, Table, write_study
from annealnet.samplers import AdiabaticSampler, ExactSampler, GroverSampler, QAOASampler
from annealnet.studies.demo_rows import DemoRow
from annealnet.studies.mnist import mnist_split
from annealnet.studies.selection_tables import (
    LocalityRow,
    Say,
    Score,
    baseline_scores,
    grover_rows,
    locality_rows,
    selection_scores,
)

__all__ = ["SCOPES", "conclusion", "demo_row", "run_study"]

#: Rows of all seeds by neurons and formulation.
LocalityRows = dict[tuple[int, str], list[LocalityRow]]

#: What is compared at every width.
SCOPES: dict[str, dict[str, Any]] = {
    "weights, global = neuron-wise": {"select": "weights", "scope": "neuronwise"},
    "weights, layer-wise, random teacher": {"select": "weights", "scope": "layerwise", "teacher": "random"},
    "weights, layer-wise, trained teacher": {"select": "weights", "scope": "layerwise", "teacher": "trained"},
    "weights, layer-wise, then annealed on the loss": {"select": "weights", "scope": "layerwise", "refine": 100},
    "weights, adjacent K = 2 (dynamic programming)": {"select": "weights", "scope": "adjacent", "neighbours": 2},
    "neurons, global": {"select": "neurons", "scope": "global"},
    "neurons, adjacent K = 2 (dynamic programming)": {"select": "neurons", "scope": "adjacent", "neighbours": 2},
}
_WIDTHS = (64, 256, 1024)
_SIZES = (8, 12, 16, 20)


def run_study(out: Path, data: Path | None, seeds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs all three parts and writes study.json, study.md, study.html.

    Args:
        out: folder.
        data: folder of MNIST's test files, for one more table; None leaves it out.
        seeds: splits, networks and searches.
        say: told what was found.
    """
    splits = [digits(seed).flat for seed in range(seeds)]
    curves, accuracy = _accuracy(splits, say)
    rows = _locality_rows(splits[0], seeds, say)
    parts = [*accuracy, _samplers(splits, say), *_locality(rows), *_grover(splits[0], say)]
    if data is not None:
        parts.insert(3, _mnist(data, min(seeds, 3), say))
    report = StudyReport(
        "Neuron selection, global and local (Whitaker 2022)",
        "Subnetworks of random networks, found without training a weight. The formulations are our reconstruction; the "
        f"paper gives no figures. {conclusion(curves, rows)}",
        tuple(parts),
        {"data": "digits, 75/25", "seeds": seeds},
    )
    write_study(report, out)
    return report.to_document()


def conclusion(curves: dict[str, list[float]], rows: LocalityRows) -> str:
    """What the tables say about locality, in their own numbers.

    Args:
        curves: held-out accuracy in percent by name and width.
        rows: of every size and formulation.
    """
    bits = max(size for size, _ in rows)
    whole = _mean(rows[bits, "global"])
    said = []
    for (size, name), found in rows.items():
        if size == bits and name != "global":
            own = _mean(found)
            said.append(
                f"{name}: {own['two_qubit_gates'] / max(whole['two_qubit_gates'], 1e-9):.0%} of the gates, "
                f"{own['peak_entropy'] / max(whole['peak_entropy'], 1e-9):.0%} of the peak entropy, accuracy of the optimum "
                f"{100 * own['accuracy']:.1f} % (global {100 * whole['accuracy']:.1f} %)"
            )
    pairs = ((name, curves[name]) for name in curves if name.startswith("neurons") and curves[name])
    widest = "; ".join(f"{name} {values[-1]:.1f} %" for name, values in pairs)
    return (
        f"Of {bits} neurons that one output may read, beside the global energy, {'; '.join(said)}. "
        f"Held-out accuracy at the largest width measured: {widest}."
    )


def _mean(rows: list[LocalityRow]) -> dict[str, float]:
    """Of every number, over seeds."""
    numbers = [name for name, value in asdict(rows[0]).items() if not isinstance(value, str)]
    return {name: float(np.mean([asdict(row)[name] for row in rows])) for name in numbers}


def _cells(score: Score) -> tuple[str, ...]:
    size = f"{score.bytes:,.0f}" if score.bytes else "–"
    return score.method, score.shown, f"{score.kept:.0%}", size, f"{score.seconds:.1f}"


def _accuracy(splits: list[Split], say: Say) -> tuple[dict[str, list[float]], list[Table | Chart]]:
    """Curves by name, and what is shown."""
    rows: list[tuple[str, ...]] = []
    curves: dict[str, list[float]] = {name: [] for name in SCOPES}
    for width in _WIDTHS:
        for name, settings in SCOPES.items():
            if width == 1024 and "layer-wise" in name:
                continue  # 65 536 bits of hidden weights: minutes
            score = selection_scores(name, splits, width=width, **settings)
            curves[name].append(100 * float(np.mean(score.accuracies)))
            rows.append((str(width), *_cells(score)))
            say(f"width {width}, {name}: {score.shown} %")
        others = baseline_scores(width, splits, epochs=50 if width <= 256 else 0)
        rows.extend((str(width), *_cells(score)) for score in others)
    columns = ("width", "method", "held-out accuracy, %", "kept", "bytes", "seconds")
    series = tuple(Series(name, _WIDTHS[: len(values)], values) for name, values in curves.items())
    shares = []
    for share in (0.1, 0.25, 0.5, 0.75):
        for kind in ("signed", "kaiming"):
            score = selection_scores(f"weights, {kind}", splits, width=256, kept=share, weights=kind)
            shares.append((f"{share:.0%}", *_cells(score)))
    return curves, [
        Table("Accuracy against width", columns, tuple(rows), "Digits, 75/25; mean ± standard deviation over seeds."),
        Chart("Accuracy against width of the random layer", "neurons", "held-out accuracy, %", series, log_x=True),
        Table(
            "Accuracy against kept share, width 256", ("kept exactly", *columns[1:]), tuple(shares),
            "The share is a cardinality of every output's row, kept by swaps.",
        ),
    ]  # fmt: skip


def _samplers(splits: list[Split], say: Say) -> Table:
    """Twelve neurons, so that every machine can take part."""
    samplers = {
        "native annealing": None, "exact enumeration": ExactSampler(), "adiabatic, simulated": AdiabaticSampler(),
        "QAOA p = 3, simulated": QAOASampler(), "Grover, simulated": GroverSampler(),
    }  # fmt: skip
    rows = []
    for scope in ("global", "adjacent"):
        for name, sampler in samplers.items():
            score = selection_scores(
                f"{scope}, {name}", splits, width=12, select="neurons", scope=scope, sampler=sampler, num_reads=20
            )
            shown = "dynamic programming" if scope == "adjacent" and sampler is None else name
            rows.append((scope, shown, score.shown, f"{score.seconds:.2f}"))
            say(f"12 neurons, {score.method}: {score.shown} %")
    return Table(
        "Every sampler, twelve neurons", ("scope", "sampler", "held-out accuracy, %", "seconds"), tuple(rows),
        "So few neurons that every machine can take part: what is compared is whether they agree.",
    )  # fmt: skip


def _locality_rows(data: Split, seeds: int, say: Say) -> LocalityRows:
    found: LocalityRows = {}
    for seed in range(seeds):
        for row in locality_rows(_SIZES, data, seed):
            found.setdefault((row.bits, row.formulation), []).append(row)
            say(f"N = {row.bits}, {row.formulation}: success {row.adiabatic:.2f}, peak entropy {row.peak_entropy:.2f} bits")
    return found


def _locality(found: LocalityRows) -> list[Table | Chart]:
    means = {key: _mean(rows) for key, rows in found.items()}
    names = ("qubits", "couplings", "two_qubit_gates", "depth", "peak_entropy", "adiabatic", "qaoa", "quality", "accuracy")
    formats = ("{:.0f}", "{:.0f}", "{:.0f}", "{:.0f}", "{:.2f}", "{:.2f}", "{:.3f}", "{:.4f}", "{:.3f}")
    cells = tuple(
        (str(bits), name, *(f.format(row[n]) for n, f in zip(names, formats, strict=True)),
         f"{1e3 * row['exact_seconds']:.1f}")
        for (bits, name), row in means.items()
    )  # fmt: skip
    columns = (
        "N", "formulation", "qubits", "couplings", "two-qubit gates", "depth", "peak entropy, bits", "adiabatic success",
        "QAOA success", "quality", "accuracy of the optimum", "exact, ms",
    )  # fmt: skip
    note = (
        "Gates and depth of one layer on a heavy-hex device (CZ, RZ, √X), after routing; success after an anneal of 50 ħ "
        "over the largest coupling and after QAOA with 3 layers; exact: enumeration or, adjacent, dynamic programming."
    )
    kinds = list(dict.fromkeys(name for _, name in found))
    curves = tuple(
        Series(
            name,
            [b for b, k in found if k == name],
            [row["adiabatic"] for (_, k), row in means.items() if k == name],
        )
        for name in kinds
    )
    gates = tuple(
        Series(
            name,
            [b for b, k in found if k == name],
            [row["two_qubit_gates"] for (_, k), row in means.items() if k == name],
        )
        for name in kinds
    )
    return [
        Table("What locality buys", columns, cells, note),
        Chart("Success probability of one anneal", "neurons", "probability of the optimum", curves),
        Chart("Two-qubit gates of one layer on heavy-hex", "neurons", "gates", gates, log_y=True),
    ]


def _grover(data: Split, say: Say) -> list[Table | Chart]:
    rows = dict(grover_rows(_SIZES, data, 0))
    cells = []
    for bits, row in rows.items():
        cells.append((
            str(bits), f"{row['calls']:.0f}", f"{row['root']:.0f}", f"{row['bound']:.0f}", f"{row['success']:.0%}",
            f"{row['random']:,.0f}", f"{row['enumeration']:,.0f}", f"{row['annealing']:,.0f}", f"{row['dynamic']:.0f}",
        ))  # fmt: skip
        say(f"N = {bits}: {row['calls']:.0f} oracle calls, bound {row['bound']:.0f}")
    columns = (
        "N", "Grover, mean calls", "2^(N/2)", "Dürr–Høyer bound", "success", "random search, mean", "enumeration",
        "annealing, flips tried*", "dynamic programming, steps",
    )  # fmt: skip
    note = (
        "Calls until the minimum is held. A call to Grover's oracle evaluates the whole loss on a superposition, an "
        "annealer's flip reads one number. Dynamic programming solves the adjacent formulation, K = 2, exactly. "
        "* Four reads; the greedy descent at their end, a few sweeps more, is not counted."
    )
    sizes = list(rows)
    curves = tuple(
        Series(name, sizes, [rows[n][key] for n in sizes])
        for name, key in (("Grover", "calls"), ("2^(N/2)", "root"), ("bound", "bound"), ("enumeration", "enumeration"),
                          ("annealing, flips", "annealing"), ("dynamic programming", "dynamic"))
    )  # fmt: skip
    return [
        Table("Queries", columns, tuple(cells), note),
        Chart("Queries to find the best mask", "neurons", "queries", curves, log_y=True),
    ]


def _mnist(folder: Path, seeds: int, say: Say) -> Table:
    splits = [mnist_split(folder, seed) for seed in range(seeds)]
    rows = []
    for width in (256, 1024):
        for select in ("weights", "neurons"):
            score = selection_scores(f"{select}, global", splits, width=width, select=select)
            rows.append((str(width), *_cells(score)))
            say(f"MNIST, width {width}, {select}: {score.shown} %")
    return Table(
        "MNIST, 8 000 / 2 000 of the test images", ("width", "method", "held-out accuracy, %", "kept", "bytes", "seconds"),
        tuple(rows),
    )  # fmt: skip


def demo_row(seed: int) -> DemoRow:
    """A weight mask on 1 024 random neurons."""
    ours = selection_scores("weights", [digits(seed).flat], width=1024, num_sweeps=100)
    return DemoRow(
        "select weights, train none", "64-1024-10, random ±, masked", ours.accuracies[0], round(ours.bytes), ours.seconds
    )
