"""What removals cost the network's answers: pairwise refit errors, in the task's unit by a measured removal in every group.

The refit error F_r of a reading layer (:mod:`.pruning_error`) is exact for one and two channels, with everything else in
place. A plan removes many, and their error is not noise but structure, which the layers behind feel more. So the weakest
quarter of every dependency group is really removed, the network compensated, and its divergence measured:

    ρ_g = D(dense, network without the quarter Q_g, refitted) / Σ_r pᵀF_r p |_{p = Q_g}

with the task's divergence D (:mod:`.task`). Pairs inside a group are scaled by ρ_g, pairs between two groups by √(ρ_g ρ_h).
*Our reconstruction.*
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import nn

from annealnet.compression.measuring.pruning_error import pairwise_contribution, pairwise_refit_error, slot_blocks
from annealnet.compression.measuring.sensitivity import FINE_BITS, Sensitivity
from annealnet.compression.measuring.task import Task
from annealnet.compression.network.calibration import answers_of
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.kinds import weight_of
from annealnet.compression.network.rows import layer_rows, sampled_rows, weight_matrix
from annealnet.compression.network.structure import DependencyGroup, Layer
from annealnet.compression.network.surgery import remove
from annealnet.compression.refitting.compensation import PROBED_FAN_IN, DenseAnswers, compensate
from annealnet.compression.refitting.visits import visit
from annealnet.compression.rounding import Rounding

__all__ = ["PROBED_SHARE", "measure_removals", "refit_errors"]

#: Rows behind the Gram matrices of layers too wide for a refit in the model; enough for sums over whole channels.
_PROBED_ROWS = 4_096
#: Share of every group that is removed to find its scale.
PROBED_SHARE = 0.25


@torch.no_grad()
def refit_errors(
    dense: nn.Module, graph: NetworkGraph, answers: DenseAnswers, sensitivity: Sensitivity, ridge: float
) -> sparse.csr_matrix:
    """Σ_r κ_r F_r over every reading layer: float64 ``(num_units, num_units)``, symmetric."""
    rows: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    cols: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    values: list[np.ndarray] = [np.empty(0)]

    def add(name: str, module: nn.Module, x: torch.Tensor) -> None:
        for ids, error in _layer_errors(module, graph.layer(name), x, answers.seed, ridge):
            rows.append(np.repeat(ids, len(ids)))
            cols.append(np.tile(ids, len(ids)))
            values.append(sensitivity.kappa[name] * error.ravel())

    visit(dense, answers.x, [layer.name for layer in graph.layers if (layer.in_units >= 0).any()], add, answer=False)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    return sparse.coo_matrix(entries, shape=(graph.num_units, graph.num_units)).tocsr()


def _layer_errors(
    module: nn.Module, layer: Layer, x: torch.Tensor, seed: int, ridge: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(unit ids, F) for each weight group of one reading layer; depthwise layers pass their channel on and add nothing."""
    if layer.depthwise:
        return []
    rows = layer_rows(module, x, seed, sampled_rows(layer))
    matrices = weight_matrix(module, weight_of(module))
    slots = torch.from_numpy(layer.in_units).reshape(layer.groups, -1)
    found = []
    for group in range(layer.groups):
        ids, blocks = slot_blocks(slots[group], matrices.shape[1])
        if len(ids):
            seen = rows[: _PROBED_ROWS if rows.shape[2] > PROBED_FAN_IN else len(rows), group]
            gram = seen.T @ seen / len(seen)
            if rows.shape[2] > PROBED_FAN_IN:
                error = pairwise_contribution(gram, matrices[group], blocks)
            else:
                error = pairwise_refit_error(gram, matrices[group], blocks, ridge)
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
    pruning_ridge: float,
) -> sparse.csr_matrix:
    """The pairwise energy of removals in the task's unit: float64 ``(num_units, num_units)``, symmetric, E = pᵀ(·)p.

    Args:
        dense: the network, batch norms folded.
        graph: its structure.
        answers: its answers on the calibration inputs.
        task: what «as good as the dense network» means.
        sensitivity: κ of its layers.
        rounding: of the compensated layers (at 8 bits).
        ridge: λ of the refits.
        pruning_ridge: λ inside F; larger than ``ridge``, since with many channels gone at once a channel can lean on
            fewer others than a pair model assumes.
    """
    errors = refit_errors(dense, graph, answers, sensitivity, pruning_ridge)
    scale = np.ones(graph.num_units)
    for group in graph.groups:
        scale[list(group.units)] = np.sqrt(_group_scale(dense, graph, answers, task, rounding, ridge, errors, group))
    spread = sparse.diags(scale)
    return sparse.csr_matrix(spread @ errors @ spread)


def _group_scale(
    dense: nn.Module,
    graph: NetworkGraph,
    answers: DenseAnswers,
    task: Task,
    rounding: Rounding,
    ridge: float,
    errors: sparse.csr_matrix,
    group: DependencyGroup,
) -> float:
    units = np.array(group.units)
    inside = errors[units][:, units].toarray()
    count = max(1, int(PROBED_SHARE * len(units)))
    if count >= len(units):
        return 1.0
    weakest = _greedy(inside, count)
    predicted = float(inside[np.ix_(weakest, weakest)].sum())
    if predicted <= 0:
        return 1.0
    keep = np.ones(graph.num_units, dtype=bool)
    keep[units[weakest]] = False
    small = remove(dense, graph, keep)
    bits = {layer.name: FINE_BITS for layer in graph.layers}
    compensate(small, graph, keep, bits, answers, rounding, ridge, largest_fan_in=PROBED_FAN_IN)
    return task(answers.logits, answers_of(small, answers.x)) / predicted


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
