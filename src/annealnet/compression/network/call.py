"""One operation of a traced network, with what is known of its operands, whichever tracer found it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import fx

from annealnet.compression.network.channel_labels import Channels, LabelClasses, Labelled
from annealnet.compression.network.passage import NotUnderstood, Passage

__all__ = ["Call", "Rule"]


@dataclass(frozen=True)
class Call:
    """One operation of the traced network.

    Attributes:
        node: its place in the graph.
        values: labels of everything computed so far.
        shapes: shapes of every tensor computed so far, this one included.
        classes: the labels' equivalence classes.
        pin: pins labels and notes the reason.
        literal: whether sizes stand in the program as they do in the source, so that a number is a number for good. Where
            sizes were computed on the way (an exported graph), removals are tried afterwards instead.
        constants: whole numbers ``(n,)`` that the program itself holds, by the values that they are.
    """

    node: fx.Node
    values: dict[fx.Node, Labelled | None]
    shapes: dict[fx.Node, tuple[int, ...]]
    classes: LabelClasses
    pin: Callable[[np.ndarray, str], None]
    literal: bool = True
    constants: Mapping[fx.Node, np.ndarray] = field(default_factory=dict)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        if self.node not in self.shapes:
            raise NotUnderstood("it does not give one tensor")
        return self.shapes[self.node]

    def labelled(self) -> Iterator[Labelled]:
        """Every operand that carries labels."""
        for node in self.node.all_input_nodes:
            value = self.values.get(node)
            if value is not None:
                yield value

    def value(self, argument: Any) -> Labelled | None:
        """The labels of an argument, None for constants."""
        return self.values.get(argument) if isinstance(argument, fx.Node) else None

    def shape(self, argument: Any) -> tuple[int, ...] | None:
        """The shape of a tensor argument, None for other values."""
        return self.shapes.get(argument) if isinstance(argument, fx.Node) else None

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by position or keyword."""
        if len(self.node.args) > place:
            return self.node.args[place]
        return self.node.kwargs.get(name, default)

    def passage(self) -> Passage:
        """The one tensor that goes through: no other operand may be a tensor or carry labels."""
        operand = self.argument(0, "input")
        value = self.value(operand)
        if any(other is not value for other in self.labelled()):
            raise NotUnderstood("several operands carry channels")
        others = [node for node in self.node.all_input_nodes if node is not operand]
        if any(self.value(node) is None and self.shape(node) for node in others):
            raise NotUnderstood("it takes a second tensor")
        return Passage(value, self.shape(operand), self.out_shape, self.classes, self.pin)

    def channels(self) -> Channels:
        """The first operand, which alone may carry labels."""
        value = self.value(self.argument(0, "input"))
        if not isinstance(value, Channels) or any(other is not value for other in self.labelled()):
            raise NotUnderstood("several operands carry channels")
        return value


Rule = Callable[[Call], Labelled | None]
