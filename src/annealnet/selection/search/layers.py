"""Hidden layers chosen one after the other: each neuron's weights, so that the neuron says what a teacher says."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np

from annealnet.interruption import Interruption
from annealnet.selection.formulation.readout import ReadoutProblem, kept_count
from annealnet.selection.network.draws import signs
from annealnet.selection.network.random import RandomNetwork
from annealnet.selection.search.solving import Effort, search_masks

__all__ = ["Teacher", "random_teacher", "select_hidden_weights", "trained_teacher"]

Teacher = Literal["random", "trained"]


def random_teacher(network: RandomNetwork, codes: np.ndarray, layer: int) -> np.ndarray:
    """Targets float32 ``(samples, width)``: every neuron has a random half of the classes for which it is to be active.

    No network is trained: the codes are those of error-correcting output codes (our reconstruction).
    """
    width = network.widths[layer]
    table = np.empty((network.classes, width), dtype=np.float32)
    order = signs(network.seed, 1000 + layer, network.classes * width).reshape(network.classes, width)
    table[:] = order
    table[0, (order == order[0]).all(axis=0)] *= -1  # a neuron that is the same for all classes says nothing
    return np.asarray(table[codes])


def trained_teacher(
    network: RandomNetwork, x: np.ndarray, codes: np.ndarray, seed: int, epochs: int = 40, stop: Interruption | None = None
) -> list[np.ndarray]:
    """What enters the ReLUs of a network of the same shape that *is* trained by gradients (Adam): the other kind of teacher.

    Args:
        network: gives the shape; dense.
        x: prepared inputs ``(samples, features)``.
        codes: classes.
        seed: of weights and batches.
        epochs: passes.
        stop: of the selection that this is part of.

    Returns:
        float32 ``(samples, width)`` per hidden layer.
    """
    import torch
    from torch import Tensor, nn

    from annealnet.gradients import descend

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = [network.inputs, *network.widths]
        layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        head = nn.Linear(sizes[-1], network.classes)
    inputs, labels = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(codes)

    def loss_of(batch: Tensor) -> Tensor:
        h = inputs[batch]
        for layer in layers:
            h = torch.relu(layer(h))
        return nn.functional.cross_entropy(head(h), labels[batch])

    optimiser = torch.optim.AdamW([*layers.parameters(), *head.parameters()], 1e-3)
    descend(optimiser, loss_of, len(x), epochs=epochs, batch_size=64, seed=seed, stop=stop)
    found = []
    with torch.no_grad():
        h = inputs
        for layer in layers:
            z = layer(h)
            found.append(z.numpy().copy())
            h = torch.relu(z)
    return found


def select_hidden_weights(
    network: RandomNetwork, layer: int, inputs: np.ndarray, targets: np.ndarray, effort: Effort, kept: float | int | None,
    ridge: float, stop: Interruption | None = None,
) -> np.ndarray:  # fmt: skip
    """Masks of a hidden layer's weights, bool ``(width, fan-in)``.

    Neuron j: 1/S Σ_s (γ Σ_i W_ji m_ji h_si − T_sj)² is least; all neurons share the Gram matrix of the layer's inputs. Only
    the targets' shape counts: the gain γ is dropped afterwards (a ReLU does not mind), and the random biases stay.

    Args:
        network: the random network, dense at this layer.
        layer: which.
        inputs: h ``(samples, fan-in)``, the layer's inputs as they are once the layers below are masked.
        targets: T ``(samples, width)``.
        effort: how hard to look.
        kept: of each neuron's weights.
        ridge: see :class:`ReadoutProblem`.
        stop: of the selection that this is part of.
    """
    weights, _ = network.hidden_weights(layer)
    problem = ReadoutProblem.of(inputs, targets, ridge)
    count = kept_count(kept, network.fan_in(layer))
    start = problem.typical_weight() / float(np.abs(weights).mean())
    masks, _ = search_masks(partial(problem.weight_energy, weights), start, effort, count, stop or Interruption())
    return np.asarray(masks[0])
