"""Rows of a network's layers, gathered while batches pass: looked at in one go, or met one layer after another.

A network that runs cannot be paused for all batches at once. So where there are several, layers that are only looked at are
gathered some at a time, as many as their rows fit; and layers that are changed one by one, each after every batch has run up
to it through what was changed before. One batch is passed once, stopping in front of each layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from annealnet.compression.network.kinds import layer_at
from annealnet.compression.refitting.batches import Batches, Stacked, rows_kept
from annealnet.compression.refitting.visits import listen, never_runs

__all__ = ["AtRows", "Course"]

#: Told a layer's name, the layer, and rows that it multiplies with its weights, ``(rows, groups, fan_in)``.
AtRows = Callable[[str, nn.Module, Tensor], None]

#: Bytes of the rows of layers that are looked at together, unless one alone has more.
_MOST_ROW_BYTES = 2**27


@dataclass(frozen=True, eq=False)
class Course:
    """A network, or a part of it, that can be run batch by batch.

    Attributes:
        network: has the layers.
        batches: the calibration inputs.
        run: runs the part on the batch of that number; gives what it answers.
        ends: told each batch's number and answer once all layers have been met; None wants no answers, and nothing behind
            the last layer is run for them.

    Example:
        >>> from annealnet.compression.network.graph import trace
        >>> from annealnet.compression.network.inputs import Inputs
        >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).eval()
        >>> x = torch.ones(3, 1)
        >>> course = Course.whole(net, Batches(trace(net, x), Inputs.of(x), at_once=2))
        >>> def fill(name, layer, rows):
        ...     print(name, rows.flatten().tolist())
        ...     layer.weight.data.fill_(1.0)
        >>> course.change(["0", "2"], fill)
        0 [1.0, 1.0, 1.0]
        2 [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """

    network: nn.Module
    batches: Batches
    run: Callable[[int], Any]
    ends: Callable[[int, Any], None] | None = None

    @classmethod
    def whole(cls, network: nn.Module, batches: Batches, ends: Callable[[int, Any], None] | None = None) -> Course:
        """The whole network; it sees copies of the inputs, whatever it does to them."""
        return cls(network, batches, lambda number: batches.batch(number).clone().answer(network), ends)

    @torch.no_grad()
    def each(self, layers: Collection[str], at: AtRows, idle: Callable[[str], None] | None = None) -> None:
        """Runs every batch once, and tells the rows of each layer in each batch as they come.

        Args:
            layers: names of layers that are modules of the network, in order of execution.
            at: told of each layer's rows in one batch; changes nothing.
            idle: told of each layer that no sample came to, as happens to experts of a mixture; None refuses these.

        Raises:
            ValueError: when a layer does not run, and ``idle`` is None.
        """
        self._pass(layers, at, idle, self.ends)

    @torch.no_grad()
    def look(self, layers: Sequence[str], at: AtRows, idle: Callable[[str], None] | None = None) -> None:
        """Tells the rows of each layer, of all batches together; as :meth:`each`, and ``at`` changes nothing."""
        if self.batches.count == 1:
            self._pass(layers, at, idle, self.ends)
            return
        parts = list(self._together(layers))
        for number, some in enumerate(parts):
            self._gathered(some, at, idle, self.ends if number + 1 == len(parts) else None)
        if not parts:
            self._pass((), at, idle, self.ends)

    @torch.no_grad()
    def change(self, layers: Sequence[str], at: AtRows, idle: Callable[[str], None] | None = None) -> None:
        """Tells the rows of each layer as they are after all that ``at`` did to the layers before; else as :meth:`look`."""
        if self.batches.count == 1:
            self._pass(layers, at, idle, self.ends)
            return
        for name in layers:
            self._gathered([name], at, idle, None)
        self._pass((), at, idle, self.ends)

    def _pass(
        self,
        layers: Collection[str],
        at: AtRows,
        idle: Callable[[str], None] | None,
        ends: Callable[[int, Any], None] | None,
    ) -> None:
        if not layers and ends is None:
            return
        unmet = dict.fromkeys(layers)
        for number in range(self.batches.count):

            def met(name: str, module: nn.Module, given: Tensor, number: int = number) -> None:
                unmet.pop(name, None)
                at(name, module, self.batches.rows(number, name, module, given))

            answer = listen(self.network, layers, met, partial(self.run, number), ends is not None, lambda name: None)
            if ends is not None:
                ends(number, answer)
        for name in unmet:
            if idle is None:
                raise never_runs(name)
            idle(name)

    def _gathered(
        self,
        layers: Sequence[str],
        at: AtRows,
        idle: Callable[[str], None] | None,
        ends: Callable[[int, Any], None] | None,
    ) -> None:
        """Runs every batch, and then tells the rows of these layers, of all batches one behind the other."""
        met: dict[str, Stacked] = {}

        def keep(name: str, module: nn.Module, rows: Tensor) -> None:
            met.setdefault(name, Stacked(self.batches.count)).add(rows)  # copied: it may be a view of what is written over

        self._pass(layers, keep, idle, ends)
        for name in layers:
            if name in met:
                at(name, layer_at(self.network, name), met.pop(name).whole())

    def _together(self, layers: Sequence[str]) -> Iterator[list[str]]:
        """Layers whose rows are held at once."""
        sizes = [self._row_bytes(name) for name in layers]
        most, held, some = max([_MOST_ROW_BYTES, *sizes]), 0, list[str]()
        for name, size in zip(layers, sizes, strict=True):
            if some and held + size > most:
                yield some
                held, some = 0, []
            some.append(name)
            held += size
        if some:
            yield some

    def _row_bytes(self, name: str) -> int:
        graph = self.batches.graph
        layer = graph.layer(name)
        rows = rows_kept(graph, layer, len(self.batches.inputs))
        return 4 * rows * layer.groups * math.prod(layer.weight_shape[1:])
