"""Binary networks: annealed weights beside straight-through gradients, QUBOs beside the proven optimum, packed inference."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from annealnet.artifact import SmallNetwork
from annealnet.binary import Architecture, BinaryNetwork, NativeTraining, one_per_class
from annealnet.binary.baselines.straight_through import train_straight_through
from annealnet.binary.deploy import DeployedBinary, to_module
from annealnet.datasets import Split, digits
from annealnet.preparation import Labels, Preparation, coding_of
from annealnet.report.summary import mean_and_spread
from annealnet.studies.mnist import mnist_split
from annealnet.studies.sasdelli2021 import COLUMNS, MORE_COLUMNS, NATIVE, batches_of, solve_batch
from benchmarks.parts import parser_of, run_parts

__all__ = ["main"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
#: Inputs by name: coding and its levels.
INPUTS = {"real (8 bit)": ("real", 1), "±1 (one threshold)": ("thermometer", 1)}


def percent(values: list[float]) -> str:
    """Mean ± standard deviation."""
    return mean_and_spread(100 * value for value in values)


def digit_split(seed: int) -> Split:
    """80/20, flattened."""
    return digits(seed=seed, test_share=0.2).flat


def row(
    name: str, hidden: int, inputs: str, split_of: Callable[[int], Split], sweeps: int, options: argparse.Namespace
) -> str:
    """Annealed and gradient-trained networks of one architecture on the same splits, as a line of a table."""
    kind, levels = INPUTS[inputs]
    ours, voted, theirs, our_seconds, their_seconds = [], [], [], [], []
    for seed in range(options.seeds):
        x, y, x_test, y_test = split_of(seed)
        coding = coding_of(kind, x, levels)
        codes = one_per_class(10)
        shape = Architecture((coding.width, hidden, 10), bias=True)
        train, test = coding.encode(x), coding.encode(x_test)
        found = NativeTraining(sweeps, 2).train(shape, codes, train, y, seed)
        ours.append(float((found.network.predict(test) == y_test).mean()))
        together = sum(network.scores(test) for network in (found.network, *found.others))
        voted.append(float((np.argmax(together, axis=1) == y_test).mean()))
        our_seconds.append(found.seconds)
        began = time.perf_counter()
        network = train_straight_through(shape, codes, train, y, seed, epochs=options.epochs)
        their_seconds.append(time.perf_counter() - began)
        theirs.append(float((network.predict(test) == y_test).mean()))
    deployed = DeployedBinary(found.network, whole=kind == "real")
    file = SmallNetwork(Preparation(coding, Labels(np.arange(10))), deployed).num_bytes
    bare = sum(array.nbytes for array in deployed.to_parts().arrays.values())
    accuracies = (percent(ours), percent(voted), percent(theirs))
    cells = (name, inputs, f"{file}", f"{bare}", *accuracies, f"{median(our_seconds):.1f}", f"{median(their_seconds):.1f}")
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| network, training samples | inputs | bytes of the file | of weights and biases | annealed | two reads vote "
    "| straight-through, untuned | seconds, annealed (two reads) | seconds, gradients |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def _warm() -> None:
    """Compiles what is timed."""
    x, y = np.ones((2, 2), np.int8), np.array([0, 1])
    NativeTraining(1, 1).train(Architecture((2, 1, 2), bias=True), one_per_class(2), x, y, 0)


def digits_part(options: argparse.Namespace) -> Iterator[str]:
    """64-h-10, on real and on ±1 inputs."""
    _warm()
    yield f"Digits, test accuracy in percent, {options.seeds} seeds, {options.sweeps} sweeps, {options.epochs} epochs\n"
    yield HEAD
    for inputs in INPUTS:
        for hidden in (16, 64):
            yield row(f"64-{hidden}-10, 1437", hidden, inputs, digit_split, options.sweeps, options)


def mnist_part(options: argparse.Namespace) -> Iterator[str]:
    """784-64-10 on 8 000 images."""
    if not (DATA / "mnist").is_dir():
        yield "MNIST: skipped, no data folder"
        return
    _warm()
    yield f"MNIST, 8 000 / 2 000, test accuracy in percent, {options.mnist_sweeps} sweeps, {options.epochs} epochs\n"
    yield HEAD
    few = argparse.Namespace(**{**vars(options), "seeds": min(options.seeds, options.mnist_seeds)})
    yield row("784-64-10, 8000", 64, "real (8 bit)", partial(mnist_split, DATA / "mnist"), options.mnist_sweeps, few)
    yield f"\nMost memory of the whole process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB"


def rate_part(options: argparse.Namespace) -> Iterator[str]:
    """Proposals per second against the bytes they must read."""
    _warm()
    yield "| network | samples | million proposals per second, two reads | GB/s of samples' data | of a plain sum's |"
    yield "|---|---|---|---|---|"
    rng = np.random.default_rng(options.seed)
    stream = np.ones(2**24, dtype=np.float32)
    began = time.perf_counter()
    for _ in range(5):
        stream.sum()
    plain = 5 * stream.nbytes / (time.perf_counter() - began) / 1e9
    shapes = (
        ((64, 64, 10), 1437), ((784, 64, 10), 8000), ((15, 7, 1), 8), ((64, 64, 64, 10), 1437),
        ((64, 10), 1437), ((784, 10), 8000),
    )  # fmt: skip
    for sizes, samples in shapes:
        x = rng.choice(np.array([-1, 1], dtype=np.int8), (samples, sizes[0]))
        codes = one_per_class(10) if sizes[-1] == 10 else np.array([[-1], [1]], dtype=np.int8)
        y = rng.integers(0, len(codes), samples)
        shape = Architecture(sizes)
        found = NativeTraining(max(20, 2_000_000 // (samples * sizes[1])), 2).train(shape, codes, x, y, 0)
        rate = found.proposals / found.seconds
        # pre-activation, change of loss, input; of an output's weight that is refused for its slope: slope, input
        gigabytes = rate * samples * (7 if len(sizes) > 2 else 5) / 1e9
        yield f"| {shape} | {samples} | {rate / 1e6:.2f} | {gigabytes:.1f} | {gigabytes / plain:.2f} |"


def qubo_part(options: argparse.Namespace) -> Iterator[str]:
    """How often each solver reaches the proven optimum of a batch of a1a."""
    data = DATA / "a1a"
    if not data.is_dir():
        yield "a1a: skipped, no data folder"
        return
    solvers = ("lean, our recombination", "published, our recombination", NATIVE)  # the study has the peers, too
    yield f"{options.batches} batches of a1a per size\n"
    yield "| network | K | solver | best network found | optimal energy found | seconds, median (most) |"
    yield "|---|---|---|---|---|---|"
    for columns in (COLUMNS, MORE_COLUMNS):
        shape = Architecture((len(columns), 3, 1))
        for samples in (4, 8):
            outcomes = [
                outcome
                for number, batch in enumerate(batches_of(data, columns, samples, options.batches))
                for outcome in solve_batch(shape, batch, number, solvers)
            ]
            for solver in solvers:
                found = [o for o in outcomes if o.solver == solver]
                best = mean(o.errors == o.least for o in found)
                energies = [abs(o.excess_energy) < 1e-6 for o in found if o.excess_energy is not None]
                right = f"{mean(energies):.0%}" if energies else "–"
                times = [o.seconds for o in found]
                yield (f"| {shape} | {samples} | {solver} | {best:.0%} | {right} | {median(times):.3f} ({max(times):.3f}) |")


def inference_part(options: argparse.Namespace) -> Iterator[str]:
    """The packed network beside the float network in PyTorch, one thread each."""
    yield "| network | batch | packed, µs per sample | PyTorch float32, µs per sample | ratio |"
    yield "|---|---|---|---|---|"
    rng = np.random.default_rng(options.seed)
    torch.set_num_threads(1)
    for sizes in ((64, 64, 10), (784, 64, 10), (784, 1024, 1024, 10)):
        network = BinaryNetwork.random(Architecture(sizes), one_per_class(10), 0)
        packed, module = network.packed(), to_module(network)
        for batch in (1, 1000):
            x = rng.choice(np.array([-1, 1], dtype=np.int8), (batch, sizes[0]))
            floats = torch.from_numpy(x.astype(np.float32))
            with torch.no_grad():
                ours = _microseconds(partial(packed.scores, x), batch)
                theirs = _microseconds(partial(module, floats), batch)
            yield f"| {network.shape} | {batch} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.1f} |"


def _microseconds(call: Callable[[], object], batch: int) -> float:
    """Median time of a call, per sample."""
    call()
    times = []
    for _ in range(30 if batch > 1 else 300):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e6 * median(times) / batch


PARTS = {"digits": digits_part, "mnist": mnist_part, "rate": rate_part, "qubo": qubo_part, "inference": inference_part}


def main(arguments: list[str] | None = None) -> str:
    """Runs the parts asked for; gives their tables."""
    parser = parser_of(__doc__, PARTS, seeds=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--mnist-sweeps", type=int, default=300)
    parser.add_argument("--mnist-seeds", type=int, default=1)
    parser.add_argument("--batches", type=int, default=100)
    return run_parts(PARTS, parser.parse_args(arguments))


if __name__ == "__main__":
    main()
