"""The measurements of the study of Whitaker 2022 as plain rows, so that benchmarks and tests can ask for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from annealnet.artifact import SmallNetwork
from annealnet.datasets import Split
from annealnet.energy import Energy
from annealnet.preparation import Labels, Preparation, ScaledCoding
from annealnet.report.summary import mean_and_spread
from annealnet.samplers import AdiabaticSampler, GroverSampler, QAOASampler
from annealnet.samplers.quantum import Landscape, count_resources, durr_hoyer_bound, layered_circuit
from annealnet.selection import (
    NeuronSelectionClassifier,
    RandomNetwork,
    ReadoutProblem,
    adjacent_readout,
    class_targets,
    greedy_forward,
    random_masks,
)
from annealnet.selection.baselines.edge_popup import EdgePopup, edge_popup
from annealnet.selection.deploy import DeployedSelection
from annealnet.selection.search.solving import Effort, choose_gain, sample_masks

__all__ = ["LocalityRow", "Score", "baseline_scores", "grover_rows", "locality_rows", "selection_scores"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Score:
    """One method on several seeds.

    Attributes:
        method: name.
        accuracies: on held-out samples, one per seed.
        kept: mean share of ones among the mask's bits.
        bytes: of the file, mean; 0 where there is none.
        seconds: mean time of a fit.
    """

    method: str
    accuracies: tuple[float, ...]
    kept: float
    bytes: float
    seconds: float

    @property
    def shown(self) -> str:
        """Percent, mean ± standard deviation."""
        return mean_and_spread(100 * accuracy for accuracy in self.accuracies)


def selection_scores(method: str, splits: list[Split], **settings: Any) -> Score:
    """Fits a ``NeuronSelectionClassifier`` on every split, the split's number being the seed."""
    accuracies, kept, sizes, seconds = [], [], [], []
    for seed, data in enumerate(splits):
        began = time.perf_counter()
        model = NeuronSelectionClassifier(**settings, random_state=seed).fit(data.x_train, data.y_train)
        seconds.append(time.perf_counter() - began)
        accuracies.append(float(model.score(data.x_test, data.y_test)))
        bits = np.concatenate([mask.ravel() for mask in model.network_.masks])
        kept.append(float(bits.mean()))
        sizes.append(model.num_bytes_)
    return Score(method, tuple(accuracies), float(np.mean(kept)), float(np.mean(sizes)), float(np.mean(seconds)))


@dataclass(frozen=True, eq=False)
class _Readout:
    """A random network's features and the problem of its readout."""

    network: RandomNetwork
    train: np.ndarray
    test: np.ndarray
    problem: ReadoutProblem

    @classmethod
    def of(cls, data: Split, width: int, seed: int, ridge: float = 0.01) -> _Readout:
        network = RandomNetwork(seed, data.x_train.shape[1], (width,), len(np.unique(data.y_train)))
        coding = ScaledCoding.fit(data.x_train, rms=1.0)
        train, test = (network.features(coding.encode(x), 0) for x in (data.x_train, data.x_test))
        problem = ReadoutProblem.of(train, class_targets(data.y_train, network.classes), ridge)
        return cls(network, train, test, problem)

    def accuracy(self, readout: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
        """Of final weights ``(classes, width)``."""
        scores = features @ readout.T + self.problem.intercept(readout)
        return float((scores.argmax(axis=1) == labels).mean())

    def masked_accuracy(self, mask: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
        """Of a mask, with its best gain."""
        masked = self.network.readout() * mask
        return self.accuracy(self.problem.best_gain(masked) * masked, features, labels)


def baseline_scores(width: int, splits: list[Split], epochs: int = 100) -> Iterator[Score]:
    """Random masks (the best of 100 by energy), greedy forward selection, ridge regression, edge-popup: one network each.

    Args:
        width: of the one hidden layer.
        splits: data, the number being the seed.
        epochs: of edge-popup; 0 leaves it out.
    """

    def scored(method: str, fit: Callable[[int, Split, _Readout], tuple[float, float, float]]) -> Score:
        found, seconds = [], []
        for seed, data in enumerate(splits):
            readout = _Readout.of(data, width, seed)
            began = time.perf_counter()
            found.append(fit(seed, data, readout))
            seconds.append(time.perf_counter() - began)
        accuracies, kept, sizes = zip(*found, strict=True)
        return Score(method, accuracies, float(np.mean(kept)), float(np.mean(sizes)), float(np.mean(seconds)))

    def energy_of(readout: _Readout) -> Any:
        return readout.problem.weight_energy(readout.network.readout(), readout.problem.typical_weight())

    def random(seed: int, data: Split, readout: _Readout) -> tuple[float, float, float]:
        masks = random_masks((readout.network.classes, width), 0.5, 100, seed)
        best = masks[int(np.argmin(energy_of(readout).energy(masks.reshape(100, -1))))]
        return readout.masked_accuracy(best, readout.test, data.y_test), 0.5, 0.0

    def greedy(seed: int, data: Split, readout: _Readout) -> tuple[float, float, float]:
        mask = greedy_forward(energy_of(readout))
        return readout.masked_accuracy(mask, readout.test, data.y_test), float(mask.mean()), 0.0

    def ridge(seed: int, data: Split, readout: _Readout) -> tuple[float, float, float]:
        weights = readout.problem.ridge_readout()
        return readout.accuracy(weights, readout.test, data.y_test), 1.0, 4.0 * weights.size

    def popup(seed: int, data: Split, readout: _Readout) -> tuple[float, float, float]:
        preparation = Preparation(ScaledCoding.fit(data.x_train, rms=1.0), Labels(np.unique(data.y_train)))
        inputs = preparation.inputs(data.x_train)
        found = edge_popup(readout.network, inputs, data.y_train, seed, EdgePopup(epochs=epochs))
        small = SmallNetwork(preparation, DeployedSelection(found))
        return float((small.predict(data.x_test) == data.y_test).mean()), 0.5, float(small.num_bytes)

    yield scored("random weight masks (best of 100)", random)
    yield scored("greedy forward, weight mask", greedy)
    yield scored("ridge regression, real weights", ridge)
    if epochs:
        yield scored(f"edge-popup, both layers, {epochs} epochs of gradients", popup)


@dataclass(frozen=True, eq=False)
class _OneOutput:
    """Which of N random neurons one output reads, on a question with two answers: is the label in the upper half?

    Attributes:
        problem: of that output.
        weights: ±1 ``(1, N)``.
        test: features of the held-out samples.
        upper: their answers.
    """

    problem: ReadoutProblem
    weights: np.ndarray
    test: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, data: Split, bits: int, seed: int) -> _OneOutput:
        middle = (int(data.y_train.max()) + 1) // 2
        upper, upper_test = ((labels >= middle).astype(int) for labels in (data.y_train, data.y_test))
        halves = Split(data.x_train, upper, data.x_test, upper_test)
        readout = _Readout.of(halves, bits, seed)
        targets = class_targets(halves.y_train, 2)[:, 1:]
        return cls(ReadoutProblem.of(readout.train, targets), readout.network.readout()[1:], readout.test, halves.y_test)

    def accuracy(self, mask: np.ndarray) -> float:
        """Of a mask ``(N,)``, with its best gain and intercept, on held-out samples."""
        masked = self.weights * mask
        weights = self.problem.best_gain(masked) * masked
        scores = self.test @ weights[0] + self.problem.intercept(weights)[0]
        return float(((scores > 0) == self.upper).mean())

    def gain(self, seed: int) -> float:
        """Of least energy."""
        effort = Effort(reads=4, sweeps=200, seed=seed)
        return choose_gain(partial(self.problem.weight_energy, self.weights), self.problem.typical_weight(), effort, None)


@dataclass(frozen=True)
class LocalityRow:
    """One formulation of one selection of N neurons, on every machine.

    Attributes:
        bits: N.
        formulation: global, or adjacent with K.
        qubits, couplings: of the energy.
        two_qubit_gates, depth: of one QAOA layer (or Trotter step) routed onto a heavy-hex device.
        peak_entropy: bits across the middle cut, largest along the anneal.
        adiabatic, qaoa: exact success probabilities.
        quality: (E_max − ⟨E⟩) / (E_max − E_min) after the anneal.
        accuracy: on held-out samples of the formulation's exact optimum.
        exact_seconds: of dynamic programming (adjacent) or enumeration (global).
    """

    bits: int
    formulation: str
    qubits: int
    couplings: int
    two_qubit_gates: int
    depth: int
    peak_entropy: float
    adiabatic: float
    qaoa: float
    quality: float
    accuracy: float
    exact_seconds: float


def locality_rows(
    sizes: tuple[int, ...], data: Split, seed: int, anneal_time: float = 50.0, layers: int = 3,
    neighbours: tuple[int, ...] = (1, 2, 3),
) -> Iterator[LocalityRow]:  # fmt: skip
    """Which of N random neurons one output reads: a global energy against windows of K + 1 neighbours, on the same devices.

    The output has to say whether a label is in the upper half: a question that so few neurons can nearly answer.
    """
    from annealnet.samplers import ExactSampler

    for bits in sizes:
        case = _OneOutput.of(data, bits, seed)
        gain = case.gain(seed)
        dense = case.problem.weight_energy(case.weights, gain).rows()[0]
        began = time.perf_counter()
        best = ExactSampler().sample_energy(dense).record.sample[0]
        yield _locality("global", dense, best, time.perf_counter() - began, case, anneal_time, layers)
        for k in neighbours:
            chain = adjacent_readout(case.problem, case.weights, gain * np.sqrt(bits / (k + 1)), k)
            began = time.perf_counter()
            best, _ = chain.optimum()
            seconds = time.perf_counter() - began
            yield _locality(f"adjacent, K = {k}", chain.to_energy(), best, seconds, case, anneal_time, layers)


def _locality(
    name: str, energy: Energy, best: np.ndarray, seconds: float, case: _OneOutput, anneal_time: float, layers: int
) -> LocalityRow:  # fmt: skip
    land = Landscape.of(energy)
    points = 20 if land.num_qubits <= 16 else 8  # of 2²⁰ amplitudes each takes a second
    annealed = AdiabaticSampler().sample_energy(
        energy, anneal_time=anneal_time, steps=max(100, int(10 * anneal_time)), entropy_points=points, seed=0
    )
    qaoa = QAOASampler().sample_energy(energy, depth=layers, seed=0, iterations=20)
    cost = count_resources(layered_circuit(land, np.array([0.5]), np.array([0.5])), "heavy_hex")
    high, low = (v * land.unit + land.mean for v in (float(land.energies.max()), float(land.energies.min())))
    return LocalityRow(
        len(best), name, land.num_qubits, int(np.count_nonzero(land.couplings)), cost.two_qubit_gates, cost.depth,
        max(value for _, value in annealed.info["entropy"]), annealed.info["success_probability"],
        qaoa.info["success_probability"], (high - annealed.info["expectation"]) / (high - low),
        case.accuracy(best), seconds,
    )  # fmt: skip


def grover_rows(sizes: tuple[int, ...], data: Split, seed: int, runs: int = 50) -> Iterator[tuple[int, dict[str, float]]]:
    """Oracle calls to find the best mask of one output: Grover against classical counts."""
    for bits in sizes:
        case = _OneOutput.of(data, bits, seed)
        energy = case.problem.weight_energy(case.weights, case.gain(seed))
        answer = GroverSampler().sample_energy(energy, num_reads=runs, seed=seed)
        least = float(answer.first.energy)
        sweeps = _sweeps_to(energy, least)
        yield bits, {
            "calls": float(np.mean(answer.info["calls_to_best"])), "bound": durr_hoyer_bound(bits) / 2,
            "root": 2.0 ** (bits / 2), "success": float(answer.info["success"]), "random": 2.0 ** (bits - 1),
            "enumeration": 2.0**bits, "annealing": float(sweeps * bits), "dynamic": (bits - 2) * 2.0**3,
        }  # fmt: skip


def _sweeps_to(energy: Any, least: float) -> int:
    """Sweeps, times reads, after which the native annealer holds the minimum."""
    sweeps = 1
    while sweeps < 2**14:
        _, value = sample_masks(energy, Effort(reads=4, sweeps=sweeps, seed=0))
        if value <= least + 1e-6 * max(1.0, abs(least)):
            return 4 * sweeps
        sweeps *= 2
    return 4 * sweeps
