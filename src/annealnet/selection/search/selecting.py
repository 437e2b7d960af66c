"""One function per kind of selection: from data to a masked network. All end in the same way, see :func:`finished`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from annealnet.energy import from_bqm
from annealnet.interruption import Interruption
from annealnet.samplers import AutoSampler, ExactSampler, sample_energy
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.selection.formulation.adjacent import AdjacentNK, adjacent_readout
from annealnet.selection.formulation.readout import ReadoutProblem, class_targets, kept_count
from annealnet.selection.formulation.walsh import MAX_ENUMERATED, WalshPolynomial
from annealnet.selection.network.masked import MaskedNetwork
from annealnet.selection.network.random import RandomNetwork
from annealnet.selection.search.layers import Teacher, random_teacher, select_hidden_weights, trained_teacher
from annealnet.selection.search.refining import refine_masks
from annealnet.selection.search.solving import Effort, search_masks

__all__ = ["SELECTIONS", "Selected", "Task"]

#: States on which a Walsh expansion of many bits is fitted.
_WALSH_SAMPLES = 4000
#: Answers of a Walsh model that are ranked by the loss itself: a cut expansion is a rough guide.
_WALSH_READS = 64


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked for.

    Attributes:
        network: the random network.
        x: prepared inputs float32 ``(samples, features)``.
        codes: classes.
        effort: how hard to look.
        kept: share or number of bits that are 1, per row of the mask; None leaves it open.
        ridge, balance: regularisers.
        neighbours: K of adjacent selection.
        order: of the Walsh expansion, or None.
        teacher: of hidden layers, or None where they keep all weights.
        refine: sweeps of annealing on the loss itself, over the weights of both layers.
        stop: whether Ctrl-C has ended a search; what remains is done in haste then.
    """

    network: RandomNetwork
    x: np.ndarray
    codes: np.ndarray
    effort: Effort
    kept: float | int | None
    ridge: float
    balance: float
    neighbours: int
    order: int | None
    teacher: Teacher | None
    refine: int = 0
    stop: Interruption = field(default_factory=Interruption)

    @property
    def targets(self) -> np.ndarray:
        """±1 per class."""
        return class_targets(self.codes, self.network.classes)


@dataclass(frozen=True, eq=False)
class Selected:
    """What came of it.

    Attributes:
        small: the network.
        energy: of the sampler's first answer: the squared loss (with regularisers) that was asked to be least.
        error: share of the training samples that the network gets wrong: what the answers were ranked by.
    """

    small: MaskedNetwork
    energy: float
    error: float


def finished(
    task: Task, problem: ReadoutProblem, candidates: np.ndarray, energy: float,
    neurons: tuple[np.ndarray | None, ...], hidden: tuple[np.ndarray | None, ...], features: np.ndarray, per_class: bool,
) -> Selected:  # fmt: skip
    """Gives every candidate its best gain and intercept, and keeps the one with the fewest training errors.

    Args:
        task: the request.
        problem: of the last layer's features.
        candidates: bool ``(reads, rows, H)``: readout masks (rows = classes) or neuron masks (one row).
        energy: of the first candidate.
        neurons, hidden: masks of the layers below.
        features: A ``(samples, H)``.
        per_class: whether the rows are classes.
    """
    weights = task.network.readout()
    best: Selected | None = None
    for mask in candidates:
        masked = weights * (mask if per_class else mask[0])
        gain = problem.best_gain(masked)
        readout = np.asarray(gain * masked, dtype=np.float32)
        intercept = problem.intercept(readout)
        error = float(((features @ readout.T + intercept).argmax(axis=1) != task.codes).mean())
        if best is None or error < best.error:
            last = None if per_class else mask[0]
            small = MaskedNetwork(
                task.network, gain, intercept, (*neurons[:-1], last) if not per_class else neurons,
                hidden, mask if per_class else None,
            )  # fmt: skip
            best = Selected(small, energy, error)
    assert best is not None
    return best


def _open(depth: int) -> tuple[None, ...]:
    return (None,) * depth


def _features(task: Task, hidden: tuple[np.ndarray | None, ...]) -> np.ndarray:
    h = task.x
    for layer, mask in enumerate(hidden):
        h = task.network.features(h, layer, mask)
    return h


def readout_weights(task: Task) -> Selected:
    """Weights of the readout, on random hidden layers (global = neuron-wise) or on hidden layers that a teacher chose."""
    network, depth = task.network, task.network.depth
    hidden: tuple[np.ndarray | None, ...] = _hidden(task) if task.teacher is not None else _open(depth)
    features = _features(task, hidden)
    problem = ReadoutProblem.of(features, task.targets, task.ridge, task.balance)
    weights = network.readout()
    count = kept_count(task.kept, weights.shape[1])
    energy_of = partial(problem.weight_energy, weights)
    masks, energy = search_masks(energy_of, problem.typical_weight(), task.effort, count, task.stop)
    found = finished(task, problem, masks, energy, _open(depth), hidden, features, per_class=True)
    return _refined(task, found) if task.refine and not task.stop.happened else found


def _refined(task: Task, found: Selected) -> Selected:
    """The weights of both layers annealed on the loss itself, from where the energies' answers stand."""
    network, small = task.network, found.small
    assert small.readout is not None
    if task.kept is not None:
        raise ValueError("kept with refine is not supported: its single flips change the number; leave one of them out")
    first = small.hidden[0] if small.hidden[0] is not None else np.ones((network.widths[0], network.fan_in(0)), dtype=bool)
    own = derived_seed(task.effort.seed, Purpose.REFINEMENT)
    first, last = refine_masks(network, task.x, task.targets, first, small.readout, task.refine, own, task.stop)
    features = _features(task, (first,))
    problem = ReadoutProblem.of(features, task.targets, task.ridge, task.balance)
    return finished(task, problem, last[None], found.energy, _open(1), (first,), features, per_class=True)


def _hidden(task: Task) -> tuple[np.ndarray | None, ...]:
    """Weight masks of all hidden layers, from the lowest up."""
    network = task.network
    if network.image_shape is not None:
        raise ValueError(
            "image_shape with a teacher: hidden weights are selected in dense layers only; leave one of them out"
        )
    trained = (
        trained_teacher(network, task.x, task.codes, task.effort.seed, stop=task.stop) if task.teacher == "trained" else None
    )
    h, found = task.x, []
    for layer in range(network.depth):
        targets = random_teacher(network, task.codes, layer) if trained is None else trained[layer]
        mask = select_hidden_weights(network, layer, h, targets, task.effort, task.kept, task.ridge, task.stop)
        found.append(mask)
        h = network.features(h, layer, mask)
    return tuple(found)


def layered_neurons(task: Task) -> Selected:
    """Neurons, layer by layer: every layer's mask makes a random readout of that layer good; the last readout stays."""
    network = task.network
    h = task.x
    neurons: list[np.ndarray | None] = []
    for layer in range(network.depth):
        features = network.features(h, layer)
        last = layer == network.depth - 1
        if last:
            weights = network.readout()
        else:
            own = derived_seed(network.seed, Purpose.HEADS, layer)
            head = replace(network, widths=network.widths[: layer + 1], seed=own)
            weights = head.readout()
        problem = ReadoutProblem.of(features, task.targets, task.ridge, task.balance)
        count = kept_count(task.kept, features.shape[1])
        whole, ones = problem.of_neurons(weights), np.ones((1, features.shape[1]))
        energy_of = partial(whole.weight_energy, ones)
        masks, energy = search_masks(energy_of, 2 * problem.typical_weight(), task.effort, count, task.stop)
        if last:
            return finished(task, problem, masks, energy, (*neurons, None), _open(network.depth), features, per_class=False)
        neurons.append(masks[0, 0])
        h = features * masks[0, 0]
    raise AssertionError("a network has a last layer")


def global_neurons(task: Task) -> Selected:
    """All neurons at once. One hidden layer: exactly quadratic. More: the loss is expanded to a stated order (Walsh)."""
    if task.network.depth == 1:
        return layered_neurons(task)
    return _expanded_neurons(task)


def _expanded_neurons(task: Task) -> Selected:
    network = task.network
    sizes = [network.layer_width(k) for k in range(network.depth)]
    bits = sum(sizes)
    if task.order is None:
        raise ValueError(
            f"order=None: the loss of {network.depth} hidden layers is not quadratic in their neurons; give the order of "
            "its Walsh expansion (2 is a QUBO), or scope='layerwise'"
        )
    if task.kept is not None:
        raise ValueError("kept with a Walsh expansion is not supported: leave it open, or take scope='layerwise'")
    cuts = np.cumsum(sizes)[:-1]

    def problem_of(mask: np.ndarray) -> tuple[ReadoutProblem, np.ndarray, list[np.ndarray]]:
        parts = np.split(mask.astype(bool), cuts)
        h = task.x
        for layer, part in enumerate(parts):
            h = network.features(h, layer) * part
        return ReadoutProblem.of(h, task.targets, task.ridge, task.balance), h, parts

    best: list[tuple[float, np.ndarray]] = []

    def losses(masks: np.ndarray) -> np.ndarray:
        found = []
        for mask in masks:
            problem = problem_of(mask)[0]
            u = network.readout() * np.split(mask, cuts)[-1]
            size, along = float(((u @ problem.gram) * u).sum()), float((u * problem.cross.T).sum())
            found.append(problem.target_square - (along**2 / size if size > 0 else 0.0))
            if not best or found[-1] < best[0][0]:
                best[:] = [(found[-1], mask)]
        return np.array(found)

    energy = np.inf
    with task.stop.kept("the selection", lambda: bool(best)):
        energy, masks = _walsh_masks(task, losses, bits)
        best.clear()  # the sampler's answers are asked for, not the states that the expansion was fitted on
        losses(masks)
    energy, chosen = (energy if np.isfinite(energy) else best[0][0]), best[0][1]
    problem, features, parts = problem_of(chosen)
    return finished(
        task, problem, parts[-1][None, None], float(energy), tuple(parts), _open(network.depth), features,
        per_class=False,
    )  # fmt: skip


def _walsh_masks(task: Task, losses: Callable[[np.ndarray], np.ndarray], bits: int) -> tuple[float, np.ndarray]:
    """Least energy of the expansion that the sampler found, and all of its answers."""
    assert task.order is not None
    if bits <= min(MAX_ENUMERATED, 12):
        states = (np.arange(1 << bits)[:, None] >> np.arange(bits)) & 1
        walsh = WalshPolynomial.from_values(losses(states.astype(np.int8)), min(task.order, bits))
    else:
        own = derived_seed(task.effort.seed, Purpose.EXPANSION)  # its states are not those that the sampler begins with
        walsh = WalshPolynomial.fitted(losses, bits, task.order, _WALSH_SAMPLES, own)
    energy, labels = from_bqm(walsh.to_bqm())
    sampler = task.effort.sampler or AutoSampler()
    answer = sample_energy(sampler, energy, num_reads=max(_WALSH_READS, task.effort.reads), seed=task.effort.seed)
    at = [labels.index(i) for i in range(bits)]
    return float(answer.first.energy), np.unique(answer.record.sample[:, at], axis=0)


def adjacent(task: Task, per_class: bool) -> Selected:
    """Windows of K + 1 neighbouring neurons, each on its own; by dynamic programming, or by the sampler on a chain."""
    if task.kept is not None:
        raise ValueError("kept with scope='adjacent' is not supported: dynamic programming counts no ones; leave it open")
    features = _features(task, _open(task.network.depth))
    problem = ReadoutProblem.of(features, task.targets, task.ridge, task.balance)
    weights = task.network.readout()

    def landscapes(gain: float) -> list[AdjacentNK]:
        if not per_class:
            return [adjacent_readout(problem, weights, gain, task.neighbours)]
        return [
            adjacent_readout(replace(problem, cross=problem.cross[:, d : d + 1]), weights[d : d + 1], gain, task.neighbours)
            for d in range(len(weights))
        ]

    first = _window_gain(problem, task.neighbours)
    gains = first * 2.0 ** np.arange(-3.0, 3.5, 0.5)
    gain = float(min(gains, key=lambda g: sum(nk.optimum()[1] for nk in landscapes(float(g)))))
    rows, energy = [], 0.0
    for number, nk in enumerate(landscapes(gain)):
        mask, value = nk.optimum()
        with task.stop.kept("the selection"):  # dynamic programming has an answer to every row in any case
            if not task.stop.happened:
                mask, value = _solved(nk, task, number)
        rows.append(mask.astype(bool))
        energy += value
    masks = np.stack(rows)[None]
    return finished(task, problem, masks, energy, _open(task.network.depth), _open(task.network.depth), features, per_class)


def _window_gain(problem: ReadoutProblem, neighbours: int) -> float:
    """Size of a real weight where K + 1 neurons have to do alone."""
    size = np.abs(problem.cross).mean() / (np.diagonal(problem.gram).mean() * (neighbours + 1))
    return max(float(size), 1e-12)


def _solved(nk: AdjacentNK, task: Task, number: int) -> tuple[np.ndarray, float]:
    if task.effort.sampler is None:
        return nk.optimum()
    energy = nk.to_energy()
    sampler = task.effort.sampler
    if isinstance(sampler, ExactSampler) and energy.num_variables > 36:
        raise ValueError("sampler=ExactSampler() cannot enumerate so many bits: leave sampler=None, which is exact here")
    own = derived_seed(task.effort.seed, Purpose.CHAINS, number)
    answer = sample_energy(sampler, energy, num_reads=task.effort.reads, seed=own)
    mask = answer.record.sample[0, : nk.num_variables]
    return mask, float(nk.values(mask[None])[0])


#: What (select, scope) does.
SELECTIONS: dict[tuple[str, str], Callable[[Task], Selected]] = {
    ("weights", "global"): readout_weights,
    ("weights", "neuronwise"): readout_weights,
    ("weights", "layerwise"): lambda task: readout_weights(task if task.teacher else replace(task, teacher="random")),
    ("weights", "adjacent"): lambda task: adjacent(task, per_class=True),
    ("neurons", "global"): global_neurons,
    ("neurons", "layerwise"): layered_neurons,
    ("neurons", "adjacent"): lambda task: adjacent(task, per_class=False),
}
