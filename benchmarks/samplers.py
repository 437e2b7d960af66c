"""Samplers beside their peers in one process run: same instances, same wall time, same number of cores.

python -m benchmarks.samplers [--part dense,peers,exact,gset,jobs,million,conformance] [--seconds 5] [--seeds 5]
                              [--threads 1]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import dimod
import numpy as np

from annealnet.energy import DenseEnergy, FactoredEnergy
from annealnet.report.summary import best_in_bold
from annealnet.samplers import NATIVE, AnnealingSampler, AutoSampler
from annealnet.samplers.seeds import Purpose, derived_seed
from benchmarks.annealers import (
    BEST_KNOWN,
    annealed_by_dwave,
    annealed_by_openjij,
    annealed_by_us,
    clocked,
    complete,
    filling,
    gset,
    range_of,
    seconds_of,
    spread,
)
from benchmarks.parts import one_core, parser_of, run_parts


def part_gset(options: argparse.Namespace) -> Iterator[str]:
    """Best cut in equal wall time."""
    yield f"Best cut in {options.seconds:g} s, ours on {options.threads} core(s), peers on one;"
    yield f"median (least … largest) of {options.seeds} seeds:\n"
    yield "| instance | bits | best known | annealnet (AutoSampler) | dwave-samplers SA | OpenJij SA |"
    yield "|---|---|---|---|---|---|"
    for name in options.instances.split(","):
        energy = gset(options.data, name)
        bqm, beta = energy.to_bqm(), range_of(energy)
        AutoSampler().sample_energy(energy, time_limit=1.0, seed=0)
        solvers: list[Callable[[int], float]] = [
            lambda seed, e=energy: AutoSampler().sample_energy(e, time_limit=options.seconds, seed=seed).first.energy
        ]
        for peer in (annealed_by_dwave, annealed_by_openjij):
            one = partial(peer, bqm, beta)
            solvers.append(lambda seed, one=one: filling(options.seconds, one, seed)[0])
        cuts = [[-float(solver(seed)) for seed in range(options.seeds)] for solver in solvers]
        cells = best_in_bold([spread(found) for found in cuts], [float(np.median(found)) for found in cuts])
        yield f"| {name} | {energy.num_variables} | {BEST_KNOWN[name]} | " + " | ".join(cells) + " |"


def part_dense(options: argparse.Namespace) -> Iterator[str]:
    """Complete graph of 2 000 bits: kernel time, time to the same energy, bandwidth; then sparse updates."""
    from annealnet.samplers.compiled import compile_energy
    from annealnet.samplers.replicas import place

    energy = complete(2000)
    bqm, beta = energy.to_bqm(), range_of(energy)
    compiled = compile_energy(energy)
    states = np.random.default_rng(0).integers(0, 2, (1, 2000), dtype=np.int8)

    def kernel() -> None:
        replicas = place(compiled, (), states, np.uint64(1))
        betas = np.geomspace(*beta, 1000)
        replicas.sweep(betas[:512])
        replicas.sweep(betas[512:])

    ours = seconds_of(kernel)
    theirs = seconds_of(lambda: annealed_by_dwave(bqm, beta, 1000, 0), 3)
    jij = seconds_of(lambda: annealed_by_openjij(bqm, beta, 1000, 0), 1)
    yield "Complete graph, 2 000 bits, ±1; 1 000 sweeps × 1 read, median seconds:\n"
    yield "| annealnet (kernel) | dwave-samplers SA | OpenJij SA (dict) |"
    yield "|---|---|---|"
    cells = [f"{ours:.3f}", f"{theirs:.2f} ({theirs / ours:.0f}×)", f"{jij:.1f} ({jij / ours:.0f}×)"]
    yield "| " + " | ".join(best_in_bold(cells, [ours, theirs, jij], min)) + " |\n"
    yield "Seconds to dwave-samplers' median energy of 1 000 sweeps: runs of one number of sweeps are repeated, one seed"
    yield "after another, until one is there; set-up included; each solver at the number that suits it best; median"
    yield f"(least … largest) of {options.seeds}:\n"
    yield "| its temperatures | cut | annealnet | dwave-samplers SA | ratio |"
    yield "|---|---|---|---|---|"
    for name, span in (("ours", beta), ("its own", None)):
        peer = partial(annealed_by_dwave, bqm, span)
        target = float(np.median([peer(1000, seed) for seed in range(options.seeds)]))
        mine = _best_time(target, partial(annealed_by_us, energy), (250, 500, 1000), options.seeds)
        peers = _best_time(target, peer, (1000, 2000), options.seeds)
        ratio = np.median(peers[1]) / np.median(mine[1])
        cells = best_in_bold(
            [_seconds(*mine), _seconds(*peers)], [float(np.median(times)) for _, times in (mine, peers)], min
        )
        yield f"| {name} | {-target:.0f} | {cells[0]} | {cells[1]} | {ratio:.0f}× |"
    yield ""
    source = np.ones(50_000_000, dtype=np.float32)
    target_array = np.empty_like(source)
    memory = 2 * source.nbytes / seconds_of(lambda: np.copyto(target_array, source))
    small = np.ones(2000, dtype=np.float32)
    row = np.ones(2000, dtype=np.float32)
    adding = _row_seconds(small, row)
    flips = _flips(compiled, states, beta)
    yield (
        f"Flips in those 1 000 sweeps: {flips:,}; each reads a row and rewrites the fields, 24 kB. At the measured "
        f"{adding * 1e9:.0f} ns for one such multiply-add of arrays in cache ({24_000 / adding / 1e9:.0f} GB/s; "
        f"memory copies at {memory / 1e9:.0f} GB/s) "
        f"the flips alone need {flips * adding:.3f} s: the kernel takes {ours / (flips * adding):.1f}× that.\n"
    )
    yield "Spin updates per second, millions, whole schedule:\n"
    yield "| instance | annealnet, 16 reads | annealnet, 1 read | dwave-samplers SA | ratio |"
    yield "|---|---|---|---|---|"
    for name in ("G22", "G81"):
        sparse = gset(options.data, name)
        model, span, n = sparse.to_bqm(), range_of(sparse), sparse.num_variables
        rates = []
        for reads in (16, 1):
            took = seconds_of(partial(AnnealingSampler().sample_energy, sparse, num_reads=reads, num_sweeps=1000, seed=0), 3)
            rates.append(reads * n * 1000 / took / 1e6)
        took = seconds_of(partial(annealed_by_dwave, model, span, 1000, 0), 3)
        peer = n * 1000 / took / 1e6
        cells = best_in_bold([f"{rate:.0f}" for rate in (*rates, peer)], [*rates, peer])
        yield f"| {name} | " + " | ".join(cells) + f" | {rates[0] / peer:.1f}× |"


def _best_time(
    target: float, solver: Callable[[int, int], float], choices: Sequence[int], seeds: int
) -> tuple[int, list[float]]:
    """The number of sweeps with the least median time to the target, and its times."""
    found = {sweeps: [_time_to(target, solver, sweeps, seed) for seed in range(seeds)] for sweeps in choices}
    best = min(found, key=lambda sweeps: float(np.median(found[sweeps])))
    return best, found[best]


def _seconds(sweeps: int, times: Sequence[float]) -> str:
    return f"{np.median(times):.2f} s ({min(times):.2f} … {max(times):.2f}; {sweeps} sweeps)"


def _time_to(target: float, solver: Callable[[int, int], float], sweeps: int, seed: int) -> float:
    """Seconds until a run, one seed after another, is at or below the target; infinite after 20 s."""
    began = time.perf_counter()
    for attempt in range(1000):
        if solver(sweeps, derived_seed(seed, Purpose.ATTEMPTS, attempt)) <= target:
            return time.perf_counter() - began
        if time.perf_counter() - began > 20:
            break
    return float("inf")


def _row_seconds(fields: np.ndarray, row: np.ndarray) -> float:
    """Seconds of one fields += step · row of 2 000 float32 in cache, in a compiled loop."""
    import numba

    add_compiled = numba.njit(fastmath=True)(_add_rows)
    add_compiled(fields, row, 10)
    return seconds_of(lambda: add_compiled(fields, row, 10_000)) / 10_000


def _add_rows(target: np.ndarray, source: np.ndarray, times: int) -> None:
    for k in range(times):
        step = np.float32(1.0) if k & 1 else np.float32(-1.0)
        for j in range(target.shape[0]):
            target[j] += step * source[j]


def _flips(compiled: object, states: np.ndarray, beta: tuple[float, float]) -> int:
    """Accepted proposals of one anneal, counted between sweeps (a bit that flips back within a sweep cannot)."""
    from annealnet.samplers.replicas import place

    replicas = place(compiled, (), states, np.uint64(1))  # type: ignore[arg-type]
    before, count = replicas.states(), 0
    for value in np.geomspace(*beta, 1000):
        replicas.sweep(np.array([value]))
        now = replicas.states()
        count += int((now != before).sum())
        before = now
    return count


def part_jobs(options: argparse.Namespace) -> Iterator[str]:
    """The published compression energy of ResNet-18's shapes: ours in its factored form, peers on the expanded model."""
    from annealnet.architectures import resnet18
    from annealnet.studies.wang2025 import hamiltonian_of

    hamiltonian = hamiltonian_of(resnet18().eval())
    energy = hamiltonian.energy()
    _, optimum, exact_seconds = hamiltonian.optimum()
    began = time.perf_counter()
    bqm = energy.to_bqm()
    building = time.perf_counter() - began
    beta = range_of(energy)
    yield f"Published compression energy, ResNet-18: {energy.num_variables} bits, {bqm.num_interactions:,} couplings;"
    yield f"proven optimum in {1000 * exact_seconds:.1f} ms. Gap to it, relative, and seconds (set-up included), median of"
    yield f"{options.seeds} seeds:\n"
    own = (energy.factors.data.nbytes + energy.factors.indices.nbytes + energy.linear.nbytes) / 1e6
    yield f"(The expanded model takes {building:.2f} s to build, counted with the peers, and {bqm.nbytes() / 1e6:.1f} MB;"
    yield f"the squares take {own:.2f} MB.)\n"
    yield "| solver | gap | seconds |"
    yield "|---|---|---|"
    runs: list[tuple[str, Callable[[int], float], float]] = [
        ("annealnet, 1 read × 1 000 sweeps", lambda s: annealed_by_us(energy, 1000, s), 0.0),
        ("annealnet, 1 read × 100 sweeps", lambda s: annealed_by_us(energy, 100, s), 0.0),
        ("dwave-samplers SA, 1 000 sweeps, our temperatures", lambda s: annealed_by_dwave(bqm, beta, 1000, s), building),
        ("dwave-samplers SA, 1 000 sweeps, its own", lambda s: annealed_by_dwave(bqm, None, 1000, s), building),
        ("dwave-samplers SA, 10 000 sweeps, its own", lambda s: annealed_by_dwave(bqm, None, 10_000, s), building),
        ("OpenJij SA, 1 000 sweeps, its own", lambda s: annealed_by_openjij(bqm, None, 1000, s), building),
    ]
    for name, work, extra in runs:
        work(0)
        gaps, seconds = [], []
        for seed in range(options.seeds):
            began = time.perf_counter()
            gaps.append((work(seed) - optimum) / abs(optimum))
            seconds.append(time.perf_counter() - began + extra)
        yield f"| {name} | {np.median(gaps):.1e} | {np.median(seconds):.2f} |"


def part_million(options: argparse.Namespace) -> Iterator[str]:
    """A million bits in 256 squares, in a process of its own so that its memory is its own."""
    code = "from benchmarks.samplers import million; million()"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    yield answer.stdout.strip()


def million() -> None:
    """100 sweeps of 1 000 000 bits, each in one of 256 squares; prints seconds and peak memory."""
    from scipy import sparse

    n, squares = 1_000_000, 256
    rng = np.random.default_rng(0)
    owners = rng.integers(squares, size=n)
    factors = sparse.csr_matrix((rng.normal(size=n), (owners, np.arange(n))), shape=(squares, n))
    energy = FactoredEnergy(factors, np.ones(squares), rng.normal(size=squares), 0.01 * rng.normal(size=n))
    began = time.perf_counter()
    answer = AnnealingSampler().sample_energy(energy, num_reads=1, num_sweeps=100, seed=0)
    seconds = time.perf_counter() - began
    bound = answer.info["certificate"]["lower_bound"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"One million bits in 256 squares (one number per bit), 100 sweeps: {seconds:.1f} s, {memory:.2f} GB at most; "
        f"energy {answer.first.energy:.4f}, lower bound {bound:.4f}."
    )


def part_conformance(options: argparse.Namespace) -> Iterator[str]:
    """Who keeps which promise."""
    import openjij
    from dwave import samplers as dwave_samplers

    from annealnet.testing import CHECKS, conformance

    peers: dict[str, dimod.Sampler] = {
        "dwave-samplers SA": dwave_samplers.SimulatedAnnealingSampler(),
        "dwave-samplers tabu": dwave_samplers.TabuSampler(),
        "dwave-samplers path integral": dwave_samplers.PathIntegralAnnealingSampler(),
        "OpenJij SA": openjij.SASampler(),
    }
    rows = {make().__class__.__name__: (make(), {}) for name, make in NATIVE.items() if name != "exact"}
    rows |= {name: (sampler, {"num_reads": 20}) for name, sampler in peers.items()}
    yield "| sampler | " + " | ".join(name.replace("_", " ") for name in CHECKS) + " |"
    yield "|---" * (len(CHECKS) + 1) + "|"
    for name, (sampler, parameters) in rows.items():
        findings = conformance(sampler, **parameters)
        marks = {True: "yes", False: "**no**", None: "–"}
        print(f"{name}: {[f'{f.check}: {f.words}' for f in findings if f.passed is False]}", file=sys.stderr, flush=True)
        yield f"| {name} | " + " | ".join(marks[f.passed] for f in findings) + " |"


def part_peers(options: argparse.Namespace) -> Iterator[str]:
    """A complete graph in equal wall time, every peer that takes one."""
    import simulated_bifurcation
    from dwave.samplers import PathIntegralAnnealingSampler, TabuSampler

    energy = complete(2000)
    bqm, beta, limit = energy.to_bqm(), range_of(energy), options.seconds
    half = np.triu(energy.matrix, 1)
    AutoSampler().sample_energy(energy, time_limit=2.0, seed=0)  # compiled
    yield f"Complete graph, 2 000 bits, ±1, {limit:g} s on one core, median (least … largest) cut of {options.seeds} seeds,"
    yield "and the median of the seconds really taken (OpenJij needs longer than that to take in the couplings):\n"
    yield "| solver | cut | seconds |"
    yield "|---|---|---|"

    def ours(seed: int) -> float:
        return float(AutoSampler().sample_energy(energy, time_limit=limit, seed=seed).first.energy)

    def bifurcated(seed: int) -> float:
        import torch

        torch.manual_seed(seed)
        _, least = simulated_bifurcation.minimize(
            torch.from_numpy(half.astype(np.float32)), torch.from_numpy(energy.linear.astype(np.float32)),
            domain="binary", agents=32, mode="ballistic", verbose=False, timeout=limit, max_steps=1_000_000,
        )  # fmt: skip
        return float(least)

    def tabu(seed: int) -> float:
        answer = TabuSampler().sample(bqm, num_reads=1, timeout=int(1000 * limit), seed=seed)
        return float(answer.first.energy)

    def path_integral(sweeps: int, seed: int) -> float:
        sampler = PathIntegralAnnealingSampler()
        return float(sampler.sample(bqm, num_reads=1, num_sweeps=sweeps, seed=seed).first.energy)

    solvers: dict[str, Callable[[int], tuple[float, float]]] = {
        "annealnet (AutoSampler)": partial(clocked, ours),
        "dwave-samplers SA, our temperatures": partial(filling, limit, partial(annealed_by_dwave, bqm, beta)),
        "dwave-samplers path integral": partial(filling, limit, path_integral),
        "dwave-samplers tabu": partial(clocked, tabu),
        "simulated-bifurcation (ballistic, 32 agents)": partial(clocked, bifurcated),
    }
    for name, solver in solvers.items():
        found = [solver(seed) for seed in range(options.seeds)]
        cuts = [-energy_found for energy_found, _ in found]
        yield f"| {name} | {spread(cuts)} | {np.median([seconds for _, seconds in found]):.1f} |"


def part_exact(options: argparse.Namespace) -> Iterator[str]:
    """Seconds to a proof on dense energies with whole coefficients; HiGHS and CP-SAT get a minute."""
    from annealnet.samplers import ExactSampler
    from annealnet.samplers.branching import branch_and_bound

    limit = 60.0
    yield "Seconds to the proven optimum, dense, couplings drawn from −3 … 3:\n"
    yield "| bits | annealnet, enumeration | HiGHS, linearised | CP-SAT, linearised |"
    yield "|---|---|---|---|"
    for n in (20, 24, 28, 30, 32):
        rng = np.random.default_rng(n)
        energy = DenseEnergy(np.triu(rng.integers(-3, 4, (n, n)).astype(float), 1), rng.integers(-3, 4, n).astype(float))
        ExactSampler().sample_energy(complete(12))
        least, seconds = clocked(lambda _, e=energy: float(ExactSampler().sample_energy(e).first.energy), 0)
        cells, figures = [f"{seconds:.2f}"], [seconds]
        provers: tuple[Callable[[int], float], ...] = (
            lambda _, e=energy: branch_and_bound(e, limit).bound, lambda _, e=energy: _cp_sat(e, limit),
        )  # fmt: skip
        for prover in provers:
            bound, seconds = clocked(prover, 0)
            proven = abs(bound - least) < 1e-3
            cells.append(f"{seconds:.2f}" if proven else f"not in {limit:g}, gap {least - bound:.0f}")
            figures.append(seconds if proven else None)
        yield f"| {n} | " + " | ".join(best_in_bold(cells, figures, min)) + " |"


def _cp_sat(energy: DenseEnergy, limit: float) -> float:
    """The bound OR-Tools' CP-SAT reaches, one product variable per coupling, one worker."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    bits = [model.new_bool_var(f"x{i}") for i in range(energy.num_variables)]
    terms = [int(value) * bit for value, bit in zip(energy.linear, bits, strict=True)]
    for i, j in zip(*np.triu(energy.matrix, 1).nonzero(), strict=True):
        both = model.new_bool_var(f"y{i}_{j}")
        model.add_multiplication_equality(both, [bits[i], bits[j]])
        terms.append(int(energy.matrix[i, j]) * both)
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = limit
    solver.parameters.num_workers = 1
    solver.solve(model)
    return float(solver.best_objective_bound)


PARTS = {
    "dense": part_dense,
    "peers": part_peers,
    "exact": part_exact,
    "gset": part_gset,
    "jobs": part_jobs,
    "million": part_million,
    "conformance": part_conformance,
}


def main(arguments: Sequence[str] | None = None) -> str:
    """Runs the parts asked for, prints each line as it comes, and returns all of them."""
    parser = parser_of(__doc__, PARTS, seeds=5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/gset"))
    parser.add_argument("--instances", default=",".join(BEST_KNOWN))
    parser.add_argument("--seconds", type=float, default=5.0)
    return run_parts(PARTS, one_core(parser, arguments))


if __name__ == "__main__":
    print(main())
