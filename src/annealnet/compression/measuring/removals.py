"""What removals cost the network's answers: pairwise refit errors, in the task's unit by a measured removal in every group.

The refit error F_r of a reading layer (:mod:`.pruning_error`) is exact for one and two channels, with everything else in
place. A plan removes many, and their error is not noise but structure, which the layers behind feel more. So the weakest
quarter Q_g of every dependency group is removed and its readers are refitted; what that does to the answers is taken from a
few passes back through the network (:mod:`.first_order`), and what the refit of the whole network mends from a few probes in
which the quarters of neighbouring groups really go (:mod:`.bands`):

    ρ_g = D(dense, network without the quarter Q_g, refitted) / Σ_r pᵀF_r p |_{p = Q_g}

with the task's divergence D (:mod:`.task`). Pairs inside a group are scaled by ρ_g, pairs between two groups by √(ρ_g ρ_h).
*Our reconstruction.*
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from annealnet.compression.measuring.bands import mended
from annealnet.compression.measuring.first_order import Change, first_order
from annealnet.compression.measuring.pruning_error import block_sum, pairwise_contribution, pairwise_refit_error, slot_blocks
from annealnet.compression.measuring.sensitivity import FINE_BITS, Sensitivity
from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.answers import answers_of
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.kinds import weight_of
from annealnet.compression.network.rows import weight_matrix
from annealnet.compression.network.structure import DependencyGroup, Layer
from annealnet.compression.network.surgery import remove
from annealnet.compression.refitting.compensation import compensate
from annealnet.compression.refitting.dense_answers import DenseAnswers, unheard
from annealnet.compression.refitting.probes import answers_for_probes, fits_probes, probed_gram, refitted_behind
from annealnet.compression.refitting.ridge import pruning_ridge, regularised
from annealnet.compression.rounding import Rounding

__all__ = [
    "PROBED_SHARE",
    "Quarter",
    "divergence_without",
    "measure_removals",
    "refit_errors",
    "refits_without",
    "weakest_quarters",
]

#: Rows behind the Gram matrices of layers too wide for a refit in the model; enough for sums over whole channels.
_FEW_ROWS = 4_096
#: Share of every group that is removed to find its scale.
PROBED_SHARE = 0.25


@torch.no_grad()
def refit_errors(
    dense: nn.Module, graph: NetworkGraph, answers: DenseAnswers, sensitivity: Sensitivity, ridge: float
) -> sparse.csr_matrix:
    """Σ_r κ_r F_r over every reading layer: float64 ``(num_units, num_units)``, symmetric."""
    found: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def add(name: str, module: nn.Module, rows: Tensor) -> None:
        for ids, error in _layer_errors(module, graph.layer(name), rows, ridge):
            known = found.setdefault(ids.tobytes(), (ids, np.zeros_like(error, dtype=np.float64)))[1]
            known += sensitivity.kappa[name] * error

    reading = [layer.name for layer in graph.layers if (layer.in_units >= 0).any() and not layer.by_value]
    for course, some in answers.courses(dense, reading):
        course.look(some, add, unheard)
    return block_sum(list(found.values()), graph.num_units)


def _layer_errors(module: nn.Module, layer: Layer, rows: Tensor, ridge: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """(unit ids, F) for each weight group of one reading layer; depthwise layers pass their channel on and add nothing."""
    if layer.depthwise:
        return []
    matrices = weight_matrix(module, weight_of(module))
    slots = torch.from_numpy(layer.in_units).reshape(layer.groups, -1)
    found = []
    for group in range(layer.groups):
        ids, blocks = slot_blocks(slots[group], matrices.shape[1])
        if len(ids):
            seen = rows[: len(rows) if fits_probes(rows.shape[2]) else _FEW_ROWS, group]
            gram = seen.T @ seen / len(seen)
            if fits_probes(rows.shape[2]):
                regular = regularised(gram.double(), ridge, len(seen))
                error = pairwise_refit_error(regular, matrices[group], blocks)
            else:
                error = pairwise_contribution(gram, matrices[group], blocks)
            found.append((ids.numpy(), error.numpy()))
    return found


@torch.no_grad()
def measure_removals(
    dense: nn.Module,
    graph: NetworkGraph,
    answers: DenseAnswers,
    task: Task,
    sensitivity: Sensitivity,
    rounding: Rounding,
    ridge: float,
) -> sparse.csr_matrix:
    """The pairwise energy of removals in the task's unit: float64 ``(num_units, num_units)``, symmetric, E = pᵀ(·)p.

    Args:
        dense: the network, batch norms folded.
        graph: its structure.
        answers: its answers on the calibration inputs.
        task: what «as good as the dense network» means.
        sensitivity: κ of its layers.
        rounding: of the compensated layers (at 8 bits).
        ridge: λ of the refits; inside F it is :func:`.pruning_ridge` of it.
    """
    errors = refit_errors(dense, graph, answers, sensitivity, pruning_ridge(ridge))
    quarters = weakest_quarters(errors, graph)
    gone = {name: quarter.units for name, quarter in quarters.items()}
    first = first_order(dense, answers.x, task, refits_without(dense, graph, answers, gone, ridge), answers.seed)

    fewer = answers_for_probes(answers, dense, graph)

    def probe(names: list[str]) -> float:
        units = np.concatenate([gone[name] for name in names])
        return divergence_without(dense, graph, units, fewer, task, rounding, ridge)

    measured = mended({name: first.get(name, 0.0) for name in quarters}, probe)
    scale = np.ones(graph.num_units)
    for group in graph.groups:
        if group.name in quarters:
            scale[list(group.units)] = np.sqrt(measured[group.name] / quarters[group.name].predicted)
    errors.data *= scale[errors.indices]  # in place: of a language model these are gigabytes
    for unit, factor in enumerate(scale):
        errors.data[errors.indptr[unit] : errors.indptr[unit + 1]] *= factor
    return errors


@dataclass(frozen=True, eq=False)
class Quarter:
    """The weakest channels of a group.

    Attributes:
        units: int64 ``(k,)``.
        predicted: energy of their removal before it is scaled.
    """

    units: np.ndarray
    predicted: float


def weakest_quarters(errors: sparse.csr_matrix, graph: NetworkGraph) -> dict[str, Quarter]:
    """Of each dependency group, by its name; groups of one channel, or where a quarter goes for nothing, have none.

    Args:
        errors: of removals, ``(num_units, num_units)``, as :func:`refit_errors` gives them.
        graph: the network's structure.
    """
    found = {group.name: _weakest_quarter(errors, group) for group in graph.groups}
    return {name: quarter for name, quarter in found.items() if quarter is not None}


def _weakest_quarter(errors: sparse.csr_matrix, group: DependencyGroup) -> Quarter | None:
    units = np.array(group.units)
    inside = errors[units][:, units].toarray()
    count = max(1, int(PROBED_SHARE * len(units)))
    if count >= len(units):
        return None
    weakest = _greedy(inside, count)
    predicted = float(inside[np.ix_(weakest, weakest)].sum())
    return Quarter(units[weakest], predicted) if predicted > 0 else None


def refits_without(
    dense: nn.Module, graph: NetworkGraph, answers: DenseAnswers, gone: Mapping[str, np.ndarray], ridge: float
) -> dict[str, dict[str, Change]]:
    """What each layer gains when units that it reads go: their weights vanish, the others are refitted.

    Args:
        dense, graph, answers: as in :func:`measure_removals`.
        gone: units by the name of their set; the sets are disjoint.
        ridge: λ of the refits.

    Returns:
        For each set that some layer reads, the changes by the layers' names.
    """
    found: dict[str, dict[str, Change]] = {name: {} for name in gone}
    names, owner = list(gone), np.full(graph.num_units + 1, -1)  # the last entry is for slots of unit -1
    for number, name in enumerate(names):
        owner[gone[name]] = number
    lost: dict[str, dict[str, np.ndarray]] = {}
    for layer in graph.layers:
        owners = owner[layer.in_units]
        own = {names[number]: owners == number for number in np.unique(owners[owners >= 0])}
        if own and not layer.depthwise and not layer.by_value:  # tables lose columns of heads that others read
            lost[layer.name] = own

    def refit(place: str, module: nn.Module, rows: Tensor) -> None:
        layer = graph.layer(place)
        mean, seen = rows.double().mean(0), probed_gram(rows)
        gram = None if seen is None else regularised(seen, ridge, len(rows))
        for name, slots in lost[place].items():
            found[name][place] = _refit_without(module, layer, slots, gram, mean)

    for course, some in answers.courses(dense, list(lost)):
        course.look(some, refit, unheard)
    return {name: changes for name, changes in found.items() if changes}


def _refit_without(module: nn.Module, layer: Layer, lost: np.ndarray, gram: Tensor | None, mean: Tensor) -> Change:
    """What a layer gains when input slots ``lost`` go: regularised least squares, its outputs' means kept.

    A layer too wide to be refitted, ``gram`` None, loses these weights and its bias stays.
    """
    weight = weight_of(module).detach()
    matrix = weight_matrix(module, weight).double()
    per_slot = matrix.shape[1] * layer.groups // len(lost)
    absent = torch.from_numpy(np.repeat(lost.reshape(layer.groups, -1), per_slot, axis=1))
    step = torch.where(absent[:, :, None], -matrix, torch.zeros_like(matrix))
    shift = torch.zeros(len(weight))
    if gram is not None:
        for group, (own, gone) in enumerate(zip(gram, absent, strict=True)):
            left = ~gone
            step[group, left] = torch.linalg.solve(own[left][:, left], own[left][:, gone] @ matrix[group, gone])
        shift = -torch.einsum("gi,gio->go", mean, step).reshape(-1).float()
    return Change(step.transpose(1, 2).reshape(weight.shape).float(), shift)


@torch.no_grad()
def divergence_without(
    dense: nn.Module,
    graph: NetworkGraph,
    gone: np.ndarray,
    answers: DenseAnswers,
    task: Task,
    rounding: Rounding,
    ridge: float,
) -> float:
    """Divergence of the network without units ``gone``, everything from the first layer that lost channels refitted.

    Arguments as in :func:`measure_removals`.
    """
    keep = np.ones(graph.num_units, dtype=bool)
    keep[gone] = False
    small = remove(dense, graph, keep)
    bits = {layer.name: FINE_BITS for layer in graph.layers}
    first = next(layer.name for layer in graph.layers if np.isin(gone, [*layer.out_units, *layer.in_units]).any())
    compensate(small, graph, keep, bits, answers, rounding, ridge, refitted_behind(graph, first))
    return task(answers.logits, answers_of(small, answers.x, answers.batches.at_once))


def _greedy(errors: np.ndarray, count: int) -> np.ndarray:
    """Channels removed one by one, each time the one that adds least: int64 ``(count,)``."""
    chosen: list[int] = []
    cost = errors.diagonal().copy()
    for _ in range(count):
        cost[chosen] = np.inf
        best = int(np.argmin(cost))
        chosen.append(best)
        cost = cost + 2 * errors[best]
    return np.array(chosen)
