"""What a kind of layer has to say of itself: three small bases, one for each thing that can happen to a module.

* :class:`LayerKind`: its weights go on a grid and its channels may go (linear, convolutions).
* :class:`NormKind`: it is folded into the layer before it, or narrowed with it (batch norms, group norms).
* :class:`Kind` alone: channels pass through; nothing of it goes on a grid (activations, pooling, embeddings).

A kind is a frozen value without state of its own: everything it says is said of the module it is given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.compression.network.channel_labels import Labelled
from annealnet.compression.network.kinds.narrowing import narrowed
from annealnet.compression.network.passage import Passage

__all__ = ["Kind", "LayerKind", "LayerLabels", "NormKind"]


@dataclass(frozen=True, eq=False)
class LayerLabels:
    """What labels a layer reads and gives.

    Attributes:
        axis: the dimension of its result in which its channels lie.
        outputs: int64 ``(outputs,)``.
        reads: int64 ``(inputs,)``, -1 where an input channel stays.
    """

    axis: int
    outputs: np.ndarray
    reads: np.ndarray


class Kind(ABC):
    """A kind of module that labels pass through."""

    @abstractmethod
    def passes(self, module: nn.Module, passage: Passage) -> Labelled | None:
        """The labels behind the module.

        Raises:
            NotUnderstood: when they are not known; what comes in is pinned then.
        """

    def why_dense(self, module: nn.Module) -> str:
        """Why its parameters, where it has any, are stored as they are."""
        return f"{type(module).__name__} is not a kind of layer whose weights go on a grid"


class NormKind(Kind):
    """A normalisation of every channel, or of every group of them, by moments that do not depend on any other channel."""

    def why_dense(self, module: nn.Module) -> str:
        """Why it was not folded."""
        if self.affine(module) is None:
            return "it normalises by each batch's own moments"
        return "it does not follow one layer alone, so it cannot be folded"

    @abstractmethod
    def num_channels(self, module: nn.Module) -> int:
        """How many channels it normalises."""

    @abstractmethod
    def affine(self, module: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Scale and shift of each channel, ``(channels,)``; None where they depend on the batch."""

    @abstractmethod
    def narrow(self, module: nn.Module, kept: np.ndarray) -> None:
        """Leaves the channels kept, bool ``(channels,)``, in place."""


@dataclass(frozen=True)
class LayerKind(ABC):
    """A kind of layer whose weights go on a grid: on every row of its input it is a matrix product.

        y[:, g] = rows[:, g] · W_g + b,      W_g: (fan_in, outputs / groups)

    Attributes:
        word: what reports call it.
        weight_name: the parameter that goes on the grid, ``(outputs, inputs / groups, *kernel)``.
        bias_name: the parameter that is added to every output channel, ``(outputs,)``, or None.
        transposed_in_onnx: whether an ONNX file may hold the weight transposed.
        reads_rows: whether it is a product of rows that data show; else it is rounded by value.
        multiplies: whether its weights cost multiply-adds.
        spreads: whether each weight is met once for every position of the input, not of the output.
        by_position: whether every position of ``(samples, positions, features)`` is a row, so that padded ones are left out.
        inside: whether the module has a forward of its own, somewhere in which the product is: a convolution that pads
            first. What is said of its input is then said of the product's.
    """

    word: str
    weight_name: str = "weight"
    bias_name: str = "bias"
    transposed_in_onnx: bool = False
    reads_rows: bool = True
    multiplies: bool = True
    spreads: bool = False
    by_position: bool = False
    inside: bool = False

    @abstractmethod
    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        """Fresh labels for its outputs, the labels it reads, and what has to be one (``passage.classes.tie``)."""

    @abstractmethod
    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """What its weights are multiplied with, at sampled positions: ``(rows, groups, fan_in)``.

        Positions depend on the shape of the result and the generator only, not on the number of channels: the dense and the
        narrowed layer read the same ones. Where all are read, they come in the order of the result, channels aside.

        Args:
            module: the layer.
            x: its input.
            generator: draws the positions.
            max_rows: how many at most (at least one per sample may be kept).
        """

    @abstractmethod
    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        """Sets what the module notes of its own size, after its parameters were narrowed."""

    @abstractmethod
    def expects(self, module: nn.Module) -> str:
        """The input it takes, in words, for errors: «3 channels in dimension 1»."""

    def groups(self, module: nn.Module) -> int:
        """Into how many groups inputs and outputs are split; as many as inputs: depthwise."""
        return 1

    def understands(self, module: nn.Module) -> bool:
        """Whether all that is said here holds of this very module; if not, its weight is no more than a matrix."""
        return True

    def weight(self, module: nn.Module) -> Tensor:
        """The weights ``(outputs, inputs / groups, *kernel)``: the parameter itself, or a view of it."""
        found = getattr(module, self.weight_name)
        assert isinstance(found, Tensor)
        return found

    def laid(self, weight: Tensor) -> Tensor:
        """Weights ``(outputs, inputs / groups, *kernel)`` as the parameter lies."""
        return weight

    def put_weight(self, module: nn.Module, weight: Tensor) -> None:
        """Other weights, of any size, in place of the parameter: ``(outputs, inputs / groups, *kernel)``."""
        old = getattr(module, self.weight_name)
        setattr(module, self.weight_name, nn.Parameter(self.laid(weight), requires_grad=old.requires_grad))

    def bias(self, module: nn.Module) -> Tensor | None:
        """The bias ``(outputs,)``, the parameter itself; None where there is none."""
        found = getattr(module, self.bias_name, None)
        return found if isinstance(found, Tensor) else None

    def narrow(self, module: nn.Module, kept_out: np.ndarray, kept_in: np.ndarray) -> None:
        """Leaves the outputs ``(outputs,)`` and inputs ``(inputs,)`` kept, both bool, in place.

        All groups of a grouped layer read the same places; a depthwise output reads its only one.
        """
        groups, weight, bias = self.groups(module), self.weight(module), self.bias(module)
        depthwise = groups > 1 and groups == len(kept_in)
        reads = np.ones(1, dtype=bool) if depthwise else kept_in[: len(kept_in) // groups]
        self.put_weight(module, narrowed(weight.detach(), kept_out, reads))
        if bias is not None:
            setattr(module, self.bias_name, narrowed(bias, kept_out))
        self.resize(module, int(kept_out.sum()), int(kept_in.sum()))
