"""Networks trained on an annealer: python -m benchmarks.ising [--part digits,sampler,protocol,mnist,inside,noise]"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dimod
import numpy as np
import torch

from annealnet.datasets import digits
from annealnet.ising import Adam, DeepStateRule, Descent, IsingNetworkClassifier, deployed
from annealnet.ising.baselines.sign_backprop import train_sign_network
from annealnet.report.summary import best_in_bold, mean_and_spread
from annealnet.samplers import LayeredAnnealing, LayeredModel, LayeredReads, NoisyLayers, Schedule
from annealnet.studies.mnist import mnist_split
from annealnet.studies.zhang_parts import protocol_parts
from annealnet.studies.zhang_scaling import prepared
from benchmarks.parts import one_core, parser_of, run_parts


def _mean(values: Sequence[float], scale: float = 100.0, digits_shown: int = 1) -> str:
    return mean_and_spread((scale * value for value in values), f".{digits_shown}f")


def part_digits(options: argparse.Namespace) -> Iterator[str]:
    """Digits, 75/25: sampled, deployed, and backpropagation of the same sign network."""
    sampled, direct, means, one, baseline, seconds = [], [], [], [], [], []
    for seed in range(options.seeds):
        s = digits(seed).flat
        x, test = s.x_train, s.x_test
        began = time.perf_counter()
        model = IsingNetworkClassifier(random_state=seed).fit(x, s.y_train)
        seconds.append(time.perf_counter() - began)
        sampled.append(model.score_sampled(test, s.y_test))
        direct.append(model.score(test, s.y_test))
        with torch.no_grad():
            for found, sweeps in ((means, 10), (one, 0)):
                inputs = torch.from_numpy(model.preparation_.inputs(test))
                answer = deployed(model.network_, sweeps)(inputs).argmax(1).numpy()
                found.append(float((answer == s.y_test).mean()))
        start, inputs = prepared(s, model.hidden, seed)
        rival = train_sign_network(start, inputs.x_train, s.y_train, epochs=60, rate=0.01, batch_size=32, seed=seed)
        with torch.no_grad():
            answer = rival(torch.from_numpy(inputs.x_test)).argmax(1).numpy()
        baseline.append(float((answer == s.y_test).mean()))
    yield f"Digits, 64-256-40, 60 epochs, {options.seeds} seeds, accuracy in percent, mean ± standard deviation:\n"
    yield "| network | accuracy | seconds |"
    yield "|---|---|---|"
    yield f"| annealed, best of 10 reads | {_mean(sampled)} | {_mean(seconds, 1.0)} |"
    yield f"| deployed, ground states of all classes | {_mean(direct)} | the same |"
    yield f"| deployed, 10 mean-field sweeps | {_mean(means)} | the same |"
    yield f"| deployed, one pass of signs | {_mean(one)} | the same |"
    yield f"| straight-through backpropagation of the sign network | {_mean(baseline)} | – |"


def part_sampler(options: argparse.Namespace) -> Iterator[str]:
    """Spin updates per second on 100 problems of 120 + 40 spins, 10 reads each, ours and peers on the same problems."""
    import openjij
    from dwave.samplers import SimulatedAnnealingSampler

    rng = np.random.default_rng(0)
    model = LayeredModel((0.2 * rng.normal(size=(120, 40)),), (rng.normal(size=(100, 120)), rng.normal(size=(100, 40))))
    yield "100 problems of 160 spins and 4 800 shared couplings, 10 reads each, β from 0.05 to 10: million spin updates per"
    yield f"second (ours: median of {2 * options.seeds} runs among the peers'), mean of the best energies; one core.\n"
    yield "| sampler | sweeps | updates, set-up counted | updates, set-up left out | energy |"
    yield "|---|---|---|---|---|"
    for sweeps in (20, 100, 1000):
        work = 100 * 10 * 160 * sweeps / 1e6
        schedule = Schedule.forward(0.05, 10.0, sweeps)
        LayeredAnnealing().sample_layers(model, Schedule((1.0,)))
        ours: list[LayeredReads] = []
        dwave, jij = SimulatedAnnealingSampler(), openjij.SASampler()
        peers: dict[str, Callable[[dimod.BinaryQuadraticModel], dimod.SampleSet]] = {
            "dwave-samplers SA": lambda bqm, s=sweeps, d=dwave: d.sample(
                bqm, num_reads=10, num_sweeps=s, beta_range=(0.05, 10.0), seed=1
            ),
            "OpenJij SA": lambda bqm, s=sweeps, o=jij: o.sample(
                bqm, num_reads=10, num_sweeps=s, beta_min=0.05, beta_max=10.0, seed=1
            ),
        }
        clocks: dict[str, tuple[float, float, float]] = {}
        for name, sample in peers.items():
            building, sampling, energies = 0.0, 0.0, []
            for problem in range(100):
                if problem % (100 // options.seeds) == 0:  # in between, since the clock of a machine is not steady
                    ours.append(LayeredAnnealing().sample_layers(model, schedule, reads=10, seed=len(ours)))
                began = time.perf_counter()
                bqm = model.bqm(problem)
                built = time.perf_counter()
                energies.append(float(sample(bqm).first.energy))
                building, sampling = building + built - began, sampling + time.perf_counter() - built
            clocks[name] = building, sampling, float(np.mean(energies))
        rate = work / float(np.median([reads.seconds for reads in ours]))
        energy = float(np.mean([reads.energies.min(1).mean() for reads in ours]))
        both = [rate, *(work / (building + sampling) for building, sampling, _ in clocks.values())]
        alone = [rate, *(work / sampling for _, sampling, _ in clocks.values())]
        told = best_in_bold([f"{rate:.0f}", *(f"{own:.1f} ({rate / own:.0f}× behind)" for own in both[1:])], both)
        sampled = best_in_bold([f"{rate:.0f}", *(f"{own:.1f} ({rate / own:.0f}×)" for own in alone[1:])], alone)
        found = [energy, *(best for _, _, best in clocks.values())]
        for name, one, other, best in zip(("annealnet", *clocks), told, sampled, found, strict=True):
            yield f"| {name} | {sweeps} | {one} | {other} | {best:.2f} |"


def part_protocol(options: argparse.Namespace) -> Iterator[str]:
    """Laydevant's protocol."""
    (table,) = protocol_parts(options.data, options.seeds, lambda _: None)
    yield table.note + "\n"
    yield table.markdown()


def part_mnist(options: argparse.Namespace) -> Iterator[str]:
    """8 000 training and 2 000 test images beside backpropagation of the same sign network."""
    splits = [mnist_split(options.data, seed) for seed in range(min(options.seeds, 3))]
    yield f"MNIST (its 10 000 test images), 8 000 for training and 2 000 for the test, {len(splits)} splits, 784-256-40, 30"
    yield "epochs, one core, accuracy in percent:\n"
    yield "| training | sampled | deployed | seconds | peak memory of the process so far, MB |"
    yield "|---|---|---|---|---|"

    def classifier(seed: int, optimiser: Adam | Descent, epochs: int = 30) -> IsingNetworkClassifier:
        return IsingNetworkClassifier(
            (256,), rule=DeepStateRule(margin=100.0), optimiser=optimiser, epochs=epochs, random_state=seed
        )

    classifier(0, Adam(0.001), epochs=1).fit(splits[0].x_train[:200], splits[0].y_train[:200])  # kernels loaded
    for rate in (0.001, 0.003, 0.01):
        direct, seconds = [], []
        for seed, own in enumerate(splits):
            start, (x, y, test, wanted) = prepared(own, (256,), seed)
            began = time.perf_counter()
            rival = train_sign_network(start, x, y, epochs=30, rate=rate, batch_size=32, seed=seed)
            seconds.append(time.perf_counter() - began)
            with torch.no_grad():
                answer = rival(torch.from_numpy(test)).argmax(1).numpy()
            direct.append(float((answer == wanted).mean()))
        yield f"| straight-through, Adam {rate} | – | {_mean(direct, digits_shown=2)} | {_mean(seconds, 1.0)} | {_peak()} |"
    for name, optimiser in (("Adam 0.001", Adam(0.001)), ("descent 0.05", Descent(0.05, 0.01))):
        sampled, direct, seconds = [], [], []
        for seed, own in enumerate(splits):
            began = time.perf_counter()
            model = classifier(seed, optimiser).fit(own.x_train, own.y_train)
            seconds.append(time.perf_counter() - began)
            sampled.append(model.score_sampled(own.x_test, own.y_test))
            direct.append(model.score(own.x_test, own.y_test))
        shown = (_mean(sampled, digits_shown=2), _mean(direct, digits_shown=2), _mean(seconds, 1.0))
        yield f"| deep states, {name} | {shown[0]} | {shown[1]} | {shown[2]} | {_peak()} |"


def part_inside(options: argparse.Namespace) -> Iterator[str]:
    """Digits with and without couplings inside the hidden layer."""
    yield f"Digits, 75/25, {options.seeds} seeds, couplings inside the hidden layer and none, accuracy in percent:\n"
    yield "| hidden spins | couplings inside | sampled | deployed | seconds |"
    yield "|---|---|---|---|---|"
    for hidden, inside in itertools.product((8, 16, 32, 64), (False, True)):
        sampled, direct, seconds = [], [], []
        for seed in range(options.seeds):
            s = digits(seed).flat
            model = IsingNetworkClassifier((hidden,), hidden_couplings=inside, random_state=seed)
            began = time.perf_counter()
            model.fit(s.x_train, s.y_train)
            seconds.append(time.perf_counter() - began)
            sampled.append(model.score_sampled(s.x_test, s.y_test))
            direct.append(model.score(s.x_test, s.y_test))
        yield (f"| {hidden} | {'yes' if inside else 'no'} | {_mean(sampled)} | {_mean(direct)} | {_mean(seconds, 1.0)} |")


def part_noise(options: argparse.Namespace) -> Iterator[str]:
    """Digits on a machine with control errors, trained without and with them."""
    levels = (0.0, 0.02, 0.05, 0.1, 0.2)
    yield f"Digits, 64-64-40, 75/25, {options.seeds} seeds: sampled accuracy in percent on a machine whose couplings (up to"
    yield "±1) and fields (up to ±4) are off by Gaussian errors of the given standard deviation:\n"
    yield "| trained with errors of | " + " | ".join(f"{level:g}" for level in levels) + " | deployed |"
    yield "|---" * (len(levels) + 2) + "|"

    def machine(level: float) -> NoisyLayers:
        return NoisyLayers(LayeredAnnealing(), fields=level, couplings=level)

    for own in (0.0, 0.05, 0.1, 0.2):
        found: list[list[float]] = [[] for _ in (*levels, None)]
        for seed in range(options.seeds):
            s = digits(seed).flat
            model = IsingNetworkClassifier((64,), sampler=machine(own), random_state=seed).fit(s.x_train, s.y_train)
            for cell, level in zip(found, levels, strict=False):
                cell.append(model.set_params(sampler=machine(level)).score_sampled(s.x_test, s.y_test))
            found[-1].append(model.score(s.x_test, s.y_test))
        yield f"| {own:g} | " + " | ".join(_mean(cell) for cell in found) + " |"


def _peak() -> str:
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}"


PARTS = {
    "digits": part_digits,
    "sampler": part_sampler,
    "protocol": part_protocol,
    "mnist": part_mnist,
    "inside": part_inside,
    "noise": part_noise,
}


def main(arguments: Sequence[str] | None = None) -> str:
    """Runs the parts asked for, prints each line as it comes, and returns all of them."""
    parser = parser_of(__doc__, PARTS, seeds=5)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mnist"))
    return run_parts(PARTS, one_core(parser, arguments))


if __name__ == "__main__":
    print(main())
