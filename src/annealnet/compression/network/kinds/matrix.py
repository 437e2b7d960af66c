"""A parameter that is a layer of its own: a recurrent layer's matrix, an attention's packed projections, a user's own.

What multiplies it is not seen by anyone who listens to modules, so that it is rounded by value, without data; its channels
stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from annealnet.compression.network.kinds.protocol import LayerKind, LayerLabels
from annealnet.compression.network.passage import NotUnderstood, Passage

__all__ = ["Matrix", "MatrixKind"]


class Matrix(nn.Module):
    """One parameter of a module, seen as a layer; it belongs to no network, and what is written to it the module has.

    Example:
        >>> lstm = nn.LSTM(2, 3)
        >>> Matrix(lstm, "weight_ih_l0").weight is lstm.weight_ih_l0
        True
    """

    def __init__(self, owner: nn.Module, leaf: str) -> None:
        super().__init__()
        object.__setattr__(self, "owner", owner)  # past nn.Module: it is not this one's child
        self.leaf = leaf

    @property
    def weight(self) -> Tensor:
        """The parameter itself."""
        found = getattr(object.__getattribute__(self, "owner"), self.leaf)
        assert isinstance(found, Tensor)
        return found

    def put(self, weight: Tensor) -> None:
        """Another parameter in its place, of any size."""
        old = self.weight
        setattr(object.__getattribute__(self, "owner"), self.leaf, nn.Parameter(weight, requires_grad=old.requires_grad))


@dataclass(frozen=True)
class MatrixKind(LayerKind):
    """Rounded row by row; of tables, those columns can be removed that are of heads, or of the stream (:mod:`..stream`)."""

    word: str = "matrix"
    reads_rows: bool = False

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        """All of it stays."""
        weight = self.weight(module)
        if passage.value is not None:
            passage.pin(passage.value.labels, "it is read by a matrix whose channels stay")
        stay = [torch.full((extent,), -1).numpy() for extent in weight.shape[:2]]
        return LayerLabels(len(passage.out_shape) - 1, stay[0], stay[1])

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """They are not known."""
        raise NotUnderstood("what multiplies it is not seen")

    def put_weight(self, module: nn.Module, weight: Tensor) -> None:
        """In the module that owns it."""
        assert isinstance(module, Matrix)
        module.put(weight)

    def bias(self, module: nn.Module) -> Tensor | None:
        """Stays with its module."""
        return None

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        """Its owner notes none."""

    def expects(self, module: nn.Module) -> str:
        """Whatever its module takes."""
        return "what its module takes"
