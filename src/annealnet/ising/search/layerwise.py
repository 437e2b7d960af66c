"""Deep networks a few layers at a time: a window on the annealer, frozen fields below it, frozen targets above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.ising.network.spins import Floats, IsingNetwork
from annealnet.ising.search.training import INTERRUPTED, EpochRecord, Training
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.whole_numbers import whole_number

__all__ = ["signs_at", "targets_at", "train_windows", "window_of"]


def signs_at(network: IsingNetwork, x: NDArray[Any], layer: int) -> Floats:
    """What a window's first layer sees: the inputs for layer 0, else the feed-forward signs of layer − 1.

    Raises:
        ValueError: couplings inside the layers that are passed, which signs cannot follow.
    """
    if layer == 0:
        return network.checked(x)
    _check_frozen(network, range(layer))
    fields = network.model(x).fields[0]
    for block, bias in zip(network.couplings[: layer - 1], network.biases[1:], strict=False):
        fields = np.where(fields < 0, -1, 1).astype(np.float32) @ block + bias
    return np.where(fields < 0, np.float32(-1), np.float32(1))


def targets_at(network: IsingNetwork, x: NDArray[Any], targets: Floats, layer: int) -> Floats:
    """Spins ±1 that a layer should take: the outputs' targets handed down through the frozen layers above it.

    t_l = sign(J_l t_{l+1} + fields from the feed-forward signs below): the state of least energy of layer l between its
    neighbours, from the output downwards.

    Raises:
        ValueError: couplings inside the layers that are passed, whose least energy is not a matter of signs.
    """
    _check_frozen(network, range(layer, len(network.sizes) - 1))
    wanted = targets
    for below in range(len(network.sizes) - 2, layer - 1, -1):
        if below == 0:
            own = network.model(x).fields[0]
        else:
            own = signs_at(network, x, below) @ network.couplings[below - 1] + network.biases[below]
        fields = own + wanted @ network.couplings[below].T
        wanted = np.where(fields < 0, np.float32(-1), np.float32(1))
    return wanted


def _check_frozen(network: IsingNetwork, layers: range) -> None:
    coupled = [layer for layer in layers if network.inner[layer] is not None]
    if coupled:
        raise ValueError(
            f"layers {coupled} are frozen and have couplings inside, which signs cannot follow: train all layers at once "
            "with Training, or create the network with inner=False"
        )


def window_of(network: IsingNetwork, first: int, last: int) -> IsingNetwork:
    """Layers first … last as a network of its own, whose inputs are what the layer below sends.

    Raises:
        ValueError: a window that is no part of the network.
    """
    if not 0 <= first <= last < len(network.sizes):
        raise ValueError(f"window {first} … {last} is no part of layers 0 … {len(network.sizes) - 1}")
    whole = last == len(network.sizes) - 1
    patterns = None if network.patterns is None else network.patterns[first : last + 1]
    return replace(
        network,
        inputs=network.inputs if first == 0 else network.couplings[first - 1],
        couplings=network.couplings[first:last],
        biases=network.biases[first : last + 1],
        codes=network.codes if whole else np.ones((1, network.sizes[last]), np.float32),
        patterns=patterns,
        inner=network.inner[first : last + 1],
        inner_patterns=None if network.inner_patterns is None else network.inner_patterns[first : last + 1],
    )


def _put_back(network: IsingNetwork, window: IsingNetwork, first: int) -> IsingNetwork:
    blocks = [network.inputs, *network.couplings]
    biases = list(network.biases)
    blocks[first : first + len(window.couplings) + 1] = [window.inputs, *window.couplings]
    biases[first : first + len(window.biases)] = window.biases
    inner = list(network.inner)
    inner[first : first + len(window.inner)] = window.inner
    whole = replace(network, inner=tuple(inner))
    return whole.with_parameters([*blocks, *biases, *whole.inner_blocks])


def train_windows(
    network: IsingNetwork,
    training: Training,
    x: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    window: int = 2,
    sweeps: int = 1,
) -> tuple[IsingNetwork, tuple[EpochRecord, ...]]:
    """Trains a deep network with an annealer that holds ``window`` layers (our reading of Zhang & Kamenev's active layers).

    A sweep goes from the outputs down to the inputs and back up; each window is trained as a network of its own, on the
    feed-forward signs of the layers below and towards the targets handed down from above.

    Args:
        network: of any depth, at least ``window`` layers.
        training: of every window; each has a folder of its own in the checkpoint.
        x: inputs ``(samples, n_in)``; ``labels``: class numbers ``(samples,)``.
        window: layers on the annealer.
        sweeps: down and up again.

    Returns:
        The network, and the records of all windows in order; at Ctrl-C as they are by then.

    Raises:
        ValueError: windows or sweeps out of range, or couplings inside layers that would be frozen.
    """
    depth = len(network.sizes)
    window, sweeps = whole_number("window", window, 1, depth), whole_number("sweeps", sweeps, 1)
    x, targets = np.asarray(x, np.float32), network.targets(labels)
    records: list[EpochRecord] = []
    for number, first in enumerate(_path(depth - window, sweeps)):
        last = first + window - 1
        inputs, wanted = signs_at(network, x, first), targets_at(network, x, targets, last)
        part = window_of(network, first, last)
        folder = None if training.checkpoint is None else Path(training.checkpoint) / f"window-{number}"
        own = replace(training, seed=derived_seed(training.seed, Purpose.WINDOWS, number), checkpoint=folder)
        state = own.run_targets(part, inputs, wanted)
        network = _put_back(network, state.network, first)
        records.extend(state.history)
        if state.stopped == INTERRUPTED:
            break
    return network, tuple(records)


def _path(top: int, sweeps: int) -> Sequence[int]:
    """First layers of the windows: top … 0 … top, again and again."""
    once = [*range(top, -1, -1), *range(1, top + 1)]
    return [*once, *[first for _ in range(sweeps - 1) for first in once[1:]]]
