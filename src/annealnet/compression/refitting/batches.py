"""The calibration inputs in batches that a forward can hold, and the rows that are drawn of each layer while they pass.

Where all samples are few enough bytes (:mod:`~annealnet.compression.network.live`) there is one batch. Else every batch
gives its share of a layer's rows, at positions drawn from the seed and the batch's number: the dense and the compressed
network read the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.live import samples_at_once
from annealnet.compression.network.rows import layer_rows, sampled_rows
from annealnet.samplers.seeds import Purpose, derived_seed

__all__ = ["Batches", "Stacked", "rows_kept"]


@dataclass(frozen=True, eq=False)
class Batches:
    """Samples that go through a network some at a time.

    Attributes:
        graph: the dense network's, whose layers say how many rows are drawn.
        inputs: all samples.
        at_once: samples of a batch; the last may have fewer.
        seed: draws the positions.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
        >>> batches = Batches(trace(net, torch.zeros(2, 3)), Inputs.of(torch.ones(10, 3)), at_once=4)
        >>> batches.count, len(batches.batch(2)), batches.rows(2, "0", net[0], torch.ones(2, 3)).shape
        (3, 2, torch.Size([2, 1, 3]))
    """

    graph: NetworkGraph
    inputs: Inputs
    at_once: int
    seed: int = 0

    @classmethod
    def of(cls, dense: nn.Module, graph: NetworkGraph, x: Tensor | Inputs, seed: int = 0) -> Batches:
        """As large as the dense network's forward allows."""
        inputs = Inputs.of(x)
        return cls(graph, inputs, samples_at_once(dense, inputs), seed)

    @property
    def count(self) -> int:
        """How many batches there are."""
        return math.ceil(len(self.inputs) / self.at_once)

    def batch(self, number: int) -> Inputs:
        """The samples of one batch, a view: give a forward a clone."""
        return self.inputs[number * self.at_once : (number + 1) * self.at_once]

    def rows(self, number: int, name: str, module: nn.Module, given: Tensor) -> Tensor:
        """The rows that are drawn of a layer in one batch.

        Args:
            number: of the batch.
            name: of the layer in the graph.
            module: the layer, of the dense network or of a smaller one.
            given: its input in this batch.

        Returns:
            float32 ``(rows, groups, fan_in)``; all batches' together are as many as :func:`.sampled_rows` says.
        """
        wanted = sampled_rows(self.graph.layer(name))
        if self.count == 1:
            return layer_rows(module, given, self.seed, wanted, self.inputs)
        batch = self.batch(number)
        before = number * self.at_once
        share = wanted * (before + len(batch)) // len(self.inputs) - wanted * before // len(self.inputs)
        return layer_rows(module, given, derived_seed(self.seed, Purpose.POSITIONS, number), max(1, share), batch)


def rows_kept(graph: NetworkGraph, layer: Layer, samples: int) -> int:
    """Rows that are kept of a layer: all there are, or as many as are sampled, and one of each sample at least."""
    positions = max(1, graph.output_shapes[layer.name])
    return min(samples * positions, max(samples, sampled_rows(layer)))


class Stacked:
    """Tensors that come batch by batch, one behind the other in memory that is asked for once.

    Pieces that are kept between what a forward takes and gives back would leave holes in memory, several times their size.

    Args:
        batches: how many pieces are expected; there may be more or fewer. Of one, the piece itself is kept.

    Example:
        >>> stacked = Stacked(2)
        >>> for rows in (2, 3, 1):
        ...     stacked.add(torch.ones(rows, 4))
        >>> stacked.whole().shape
        torch.Size([6, 4])
    """

    def __init__(self, batches: int) -> None:
        self._batches, self._held, self._used = batches, torch.empty(0), 0

    def add(self, piece: Tensor) -> None:
        """Copies it behind those before."""
        used = self._used + len(piece)
        if self._batches == 1 and not self._used:
            self._held, self._used = piece, used
            return
        if not self._used:
            self._held = piece.new_empty(self._batches * len(piece), *piece.shape[1:])
        elif used > len(self._held):
            longer = piece.new_empty(2 * used, *piece.shape[1:])
            longer[: self._used] = self._held[: self._used]
            self._held = longer
        self._held[self._used : used] = piece
        self._used = used

    def whole(self) -> Tensor:
        """All of them."""
        return self._held[: self._used]
