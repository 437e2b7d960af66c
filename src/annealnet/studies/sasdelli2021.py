"""`annealnet study sasdelli2021`: binary networks on quantum annealers, the paper's experiment and what came after it.

Batches of the a1a data with 3 features, a 3-3-1 network, K = 4 and 8 samples per batch. For every batch the least number
of training errors is proven with hard constraints (CP-SAT; the paper used Gurobi); then each solver gets the batch as an
energy: simulated annealing on the published QUBO, plain and embedded on an ideal Pegasus graph; our samplers on the
published and the lean QUBO; annealing of the weights themselves. Told are excess errors, feasibility and time, as the
paper's figures do. A 7-3-1 network on more columns is ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

import dimod
import numpy as np
from numpy.typing import NDArray

from annealnet.binary import Architecture, NativeTraining, single_output
from annealnet.binary.baselines.reference import least_errors
from annealnet.binary.formulation import Lean, Published, TrainingEnergy
from annealnet.datasets import read_csv
from annealnet.report.study import Chart, Series, StudyReport, Table, write_study
from annealnet.samplers import AnnealingSampler, RecombinationSampler
from annealnet.samplers.hardware import fit, topology_graph
from annealnet.samplers.seeds import Purpose, stream

__all__ = ["Batch", "Outcome", "batches_of", "fit_table", "run_study", "solve_batch"]

Say = Callable[[str], None]
#: The paper's columns of the feature matrix, and four more for a larger network (ours).
COLUMNS = (6, 22, 36)
MORE_COLUMNS = (*COLUMNS, 10, 38, 50, 2)
READS = 1000
#: Seconds that a time-limited sampler gets per batch.
SECONDS = 0.9


@dataclass(frozen=True, eq=False)
class Batch:
    """K samples: inputs ±1 ``(K, n)`` and class numbers ``(K,)``."""

    x: NDArray[np.int8]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """One solver on one batch.

    Attributes:
        network: its architecture.
        samples: K.
        batch: its number.
        solver: name.
        least: proven least errors.
        errors: of the best network among the samples.
        excess_energy: least sampled energy above the proven optimum; None for weight-space training.
        feasible: share of samples that keep all constraints; None likewise.
        seconds: solver's time.
        reference_seconds: of the proof.
    """

    network: str
    samples: int
    batch: int
    solver: str
    least: int
    errors: int
    excess_energy: float | None
    feasible: float | None
    seconds: float
    reference_seconds: float


def batches_of(data: Path | None, columns: tuple[int, ...], samples: int, count: int, seed: int = 0) -> list[Batch]:
    """Batches drawn without replacement inside a batch; without data random features and labels take their place.

    Args:
        data: folder with ``a1a.csv.gz``, or None.
        columns: of the feature matrix.
        samples: K.
        count: batches.
        seed: of the draw.
    """
    rng = stream(seed, Purpose.TABLE_ROWS, samples, len(columns))
    if data is None:
        x = rng.choice(np.array([-1, 1], dtype=np.int8), (1605, len(columns)))
        y = rng.integers(0, 2, 1605)
    else:
        features, labels = read_csv(data / "a1a.csv.gz" if data.is_dir() else data)
        x = np.where(features[:, columns] > 0.5, 1, -1).astype(np.int8)
        y = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    chosen = [rng.choice(len(x), samples, replace=False) for _ in range(count)]
    return [Batch(np.ascontiguousarray(x[rows]), y[rows]) for rows in chosen]


def _published(training: TrainingEnergy, seed: int) -> dimod.SampleSet:
    from dwave.samplers import SimulatedAnnealingSampler

    return SimulatedAnnealingSampler().sample(training.energy.to_bqm(), num_reads=READS, num_sweeps=1000, seed=seed)


@cache
def _embedding(shape: tuple[int, ...], samples: int) -> dict[Any, Any]:
    """One embedding of the published energy's graph in an ideal Pegasus serves all batches of one size.

    The pattern of couplings does not depend on the samples' values.
    """
    from annealnet.samplers.hardware import find_embedding

    batch = Batch(np.ones((samples, shape[0]), dtype=np.int8), np.zeros(samples, dtype=np.int64))
    training = Published().energy(Architecture(shape), single_output(), batch.x, batch.y)
    return dict(find_embedding(training.energy.to_bqm(), topology_graph("pegasus"), seed=0))


def _embedded(training: TrainingEnergy, seed: int) -> dimod.SampleSet:
    from dwave.embedding import embed_bqm, unembed_sampleset
    from dwave.embedding.chain_strength import uniform_torque_compensation
    from dwave.samplers import SimulatedAnnealingSampler

    bqm = training.energy.to_bqm()
    embedding = _embedding(training.shape.sizes, len(training.outputs))
    chained = embed_bqm(bqm, embedding, topology_graph("pegasus"), chain_strength=uniform_torque_compensation)
    found = SimulatedAnnealingSampler().sample(chained, num_reads=READS, num_sweeps=1000, seed=seed)
    return unembed_sampleset(found, embedding, bqm)


def _annealed(training: TrainingEnergy, seed: int) -> dimod.SampleSet:
    return AnnealingSampler().sample_energy(training.energy, num_reads=READS, num_sweeps=1000, seed=seed)


def _recombined(training: TrainingEnergy, seed: int) -> dimod.SampleSet:
    return RecombinationSampler().sample_energy(training.energy, time_limit=SECONDS, seed=seed)


#: Solvers of energies: name, formulation, function.
SOLVERS: tuple[tuple[str, Any, Callable[[TrainingEnergy, int], dimod.SampleSet]], ...] = (
    ("published, dwave-samplers SA", Published(), _published),
    ("published, SA embedded on Pegasus", Published(), _embedded),
    ("published, our SA", Published(), _annealed),
    ("published, our recombination", Published(), _recombined),
    ("lean, dwave-samplers SA", Lean(), _published),
    ("lean, our SA", Lean(), _annealed),
    ("lean, our recombination", Lean(), _recombined),
)
NATIVE = "native (weights themselves)"


def solve_batch(shape: Architecture, batch: Batch, number: int, solvers: tuple[str, ...] | None = None) -> list[Outcome]:
    """Every solver on one batch, each beside the proven optimum.

    Args:
        shape: of the network, one output.
        batch: the samples.
        number: of the batch; seeds the solvers.
        solvers: names; None takes all.
    """
    codes = single_output()
    exact = least_errors(shape, codes, batch.x, batch.y)
    if not exact.proven or exact.errors is None:
        raise RuntimeError(f"batch {number} of {shape}: CP-SAT did not prove an optimum in its time")
    outcomes = []
    for name, formulation, solve in SOLVERS:
        if solvers is not None and name not in solvers:
            continue
        training = formulation.energy(shape, codes, batch.x, batch.y)
        began = time.perf_counter()
        answer = solve(training, number)
        seconds = time.perf_counter() - began
        order = [answer.variables.index(v) for v in range(training.energy.num_variables)]
        states = np.unique(answer.record.sample[:, order].astype(np.uint8), axis=0)
        errors = min(network.errors(batch.x, batch.y) for network in training.decode(states))
        weight = answer.record.num_occurrences / answer.record.num_occurrences.sum()
        feasible = float(weight @ training.feasible(answer.record.sample[:, order]))
        excess = float(answer.record.energy.min()) - exact.errors
        outcomes.append(
            Outcome(str(shape), len(batch.y), number, name, exact.errors, errors, excess, feasible, seconds, exact.seconds)
        )
    if solvers is None or NATIVE in solvers:
        training_of_weights = NativeTraining(sweeps=200, reads=20, loss="errors")
        found = training_of_weights.train(shape, codes, batch.x, batch.y, number)
        outcomes.append(
            Outcome(
                str(shape), len(batch.y), number, NATIVE, exact.errors, found.errors, None, None, found.seconds,
                exact.seconds,
            )
        )  # fmt: skip
    return outcomes


def _rates(outcomes: list[Outcome]) -> Table:
    """One row per network, batch size and solver."""
    rows = []
    for network, samples, solver in dict.fromkeys((o.network, o.samples, o.solver) for o in outcomes):
        found = [o for o in outcomes if (o.network, o.samples, o.solver) == (network, samples, solver)]
        energies = [o.excess_energy for o in found if o.excess_energy is not None]
        feasible = [o.feasible for o in found if o.feasible is not None]
        rows.append(
            (
                network, str(samples), solver, f"{mean(o.errors == o.least for o in found):.0%}",
                f"{mean(abs(e) < 1e-6 for e in energies):.0%}" if energies else "–",
                f"{mean(o.errors - o.least for o in found):.2f}", f"{mean(feasible):.1%}" if feasible else "–",
                f"{median(o.seconds for o in found):.3f}", f"{max(o.seconds for o in found):.3f}",
            )
        )  # fmt: skip
    head = ("network", "K", "solver", "best network found", "optimal energy found", "excess errors", "feasible samples",
            "seconds (median)", "seconds (most)")  # fmt: skip
    note = (
        "Best network: the best of the weights among the samples makes as few errors as any network can (proven by CP-SAT). "
        "Optimal energy: a sample with auxiliary bits right, too."
    )
    return Table("Who finds the proven optimum", head, tuple(rows), note)


def fit_table(networks: tuple[tuple[tuple[int, ...], int], ...], say: Say) -> Table:
    """Which network and batch fits which machine: published beside lean, ideal graphs."""
    rows = []
    for sizes, samples in networks:
        shape = Architecture(sizes)
        x = np.ones((samples, sizes[0]), dtype=np.int8)
        y = np.zeros(samples, dtype=np.int64)
        for formulation in (Published(), Lean()):
            bqm = formulation.energy(shape, single_output(), x, y).to_bqm()
            for topology, machine in (("pegasus", "Advantage"), ("zephyr", "Advantage2")):
                found = fit(bqm, topology)
                cells = (
                    (f"{found.qubits}", f"{found.chain_mean:.1f}", f"{found.chain_longest}")
                    if found.fits
                    else ("no", "–", "–")
                )
                rows.append((str(shape), str(samples), formulation.name, str(found.bits), machine, *cells))
            say(f"fitted {shape}, K = {samples}, {formulation.name}")
    head = ("network", "K", "formulation", "bits", "machine (ideal graph)", "qubits", "mean chain", "longest chain")
    return Table("What fits a quantum annealer", head, tuple(rows), "Embeddings by minorminer, one seed.")


def _charts(outcomes: list[Outcome]) -> list[Chart]:
    """As the paper draws them: a histogram of excess errors, and excess errors against excess time."""
    charts = []
    for network, samples in dict.fromkeys((o.network, o.samples) for o in outcomes):
        found = [o for o in outcomes if (o.network, o.samples) == (network, samples)]
        worst = max(o.errors - o.least for o in found)
        names = [str(k) for k in range(worst + 1)]
        bars, clouds = [], []
        for solver in dict.fromkeys(o.solver for o in found):
            ours = [o for o in found if o.solver == solver]
            counts = [float(sum(o.errors - o.least == k for o in ours)) for k in range(worst + 1)]
            bars.append(Series(solver, names, counts))
            clouds.append(Series(solver, [max(o.seconds - o.reference_seconds, 1e-4) for o in ours],
                                 [float(o.errors - o.least) for o in ours]))  # fmt: skip
        charts.append(
            Chart(f"Excess errors, {network}, K = {samples}", "training errors above the proven optimum", "batches",
                  tuple(bars), "bars")
        )  # fmt: skip
        charts.append(
            Chart(f"Excess errors and time, {network}, K = {samples}", "seconds above the proof's", "excess errors",
                  tuple(clouds), "points", log_x=True, note="Times at or below the proof's are drawn at 0.0001 s.")
        )  # fmt: skip
    return charts


def run_study(out: Path, data: Path | None, seeds: int, say: Say) -> dict[str, Any]:
    """The paper's experiment (20 batches per size, times ``seeds`` / 3); writes the study's page, tables and pictures.

    Args:
        out: folder of the results.
        data: folder with ``a1a.csv.gz``; None takes random bits in its place, and says so.
        seeds: 3 gives the paper's 20 batches; the number of batches grows with it.
        say: told what is being done.
    """
    count = max(1, round(20 * seeds / 3))
    outcomes: list[Outcome] = []
    for columns in (COLUMNS, MORE_COLUMNS):
        shape = Architecture((len(columns), 3, 1))
        for samples in (4, 8):
            names = None if columns == COLUMNS else (*(name for name, *_ in SOLVERS if "embedded" not in name), NATIVE)
            for number, batch in enumerate(batches_of(data, columns, samples, count)):
                outcomes += solve_batch(shape, batch, number, names)
            say(f"{shape}, K = {samples}: {count} batches")
    fits = fit_table((((3, 3, 1), 4), ((3, 3, 1), 8), ((7, 3, 1), 4), ((7, 3, 1), 8), ((7, 3, 1), 16)), say)
    where = "a1a" if data is not None else "random bits (no data folder was given)"
    summary = (
        f"Data: {where}, {count} batches per size. Solvers of energies: {READS} reads of 1 000 sweeps, or {SECONDS} s. "
        "Infeasible samples still hold weights, and those are judged by their true errors."
    )
    report = StudyReport(
        "Sasdelli & Chin 2021: binary networks as a QUBO", summary, (_rates(outcomes), fits, *_charts(outcomes)),
        {"batches": count, "reads": READS, "columns": list(COLUMNS)},
    )  # fmt: skip
    page = write_study(report, out)
    document = report.to_document()
    document["outcomes"] = [o.__dict__ for o in outcomes]
    document["text"] += f"\n\nWritten to {page.parent}"
    return document
