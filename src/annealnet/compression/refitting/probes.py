"""What a probe refits, and on how much: many networks are probed while measuring, so none may take minutes.

Layers with a larger fan-in than a thousand that lie behind the changed ones stay as they are in a probe: refitting them
would take minutes. One that is itself rounded in a probe is refitted, and rounded without its Gram matrix; one that lost
channels keeps the weights that are left.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.rows import gram_of
from annealnet.compression.network.structure import Layer
from annealnet.compression.refitting.dense_answers import DenseAnswers

__all__ = ["answers_for_probes", "fits_probes", "probed_gram", "refitted_behind"]

#: The largest fan-in of layers that probes refit.
_FAN_IN = 1024
#: Samples of a probe, and rows per weight of an output channel; more samples where those have too few rows.
_SAMPLES, _ROWS = 256, 4


def fits_probes(fan_in: int) -> bool:
    """Whether probes refit a layer of this fan-in behind the changed ones, and form its Gram matrix for roundings.

    Example:
        >>> fits_probes(576), fits_probes(4608)
        (True, False)
    """
    return fan_in <= _FAN_IN


def probed_gram(rows: Tensor) -> Tensor | None:
    """XᵀX per row and group, float64 ``(groups, fan_in, fan_in)``; None where the layer is too wide for a probe.

    Args:
        rows: ``(rows, groups, fan_in)``.
    """
    return gram_of(rows) / len(rows) if fits_probes(rows.shape[2]) else None


def refitted_behind(graph: NetworkGraph, first: str) -> list[str]:
    """A layer and those behind it that a probe refits whatever it changes: none too wide."""
    names = [layer.name for layer in graph.layers]
    return [layer.name for layer in graph.layers[names.index(first) :] if fits_probes(_fan_in(layer))]


def answers_for_probes(answers: DenseAnswers, dense: nn.Module, graph: NetworkGraph) -> DenseAnswers:
    """The same on the first samples only, as many as probes need: 256, and four rows per weight of a refitted output.

    A probe's divergence is taken on the rows that it was fitted to: with fewer rows it would look mended when it is not.
    """
    rows = {layer.name: _ROWS * _fan_in(layer) for layer in graph.layers if fits_probes(_fan_in(layer))}
    needed = [math.ceil(count / positions) for name, count in rows.items() if (positions := graph.output_shapes[name])]
    samples = max([_SAMPLES, *needed])
    return answers if len(answers.x) <= samples else DenseAnswers.of(dense, graph, answers.x[:samples], answers.seed)


def _fan_in(layer: Layer) -> int:
    return math.prod(layer.weight_shape[1:])
