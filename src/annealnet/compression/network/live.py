"""How many bytes a forward holds at once, and how many samples may therefore go through a network together."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from annealnet.compression.network.inputs import Inputs

__all__ = ["Forward", "LiveBytes", "batches_of", "samples_at_once"]

#: Bytes of tensors that a forward of calibration inputs may hold; where all samples are more, they go through in batches.
MOST_FORWARD_BYTES = 2**29
#: Samples of a batch at most where nothing is measured on the whole; so few go together whatever they hold.
_MOST_SAMPLES, _FEW = 512, 2


@dataclass(frozen=True)
class Forward:
    """What a forward holds at once, counted on one sample and on two: it grows by as much with each sample.

    Attributes:
        one: bytes for one sample.
        each: bytes that every further sample adds.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
        >>> forward = Forward.of(net, Inputs.of(torch.zeros(4, 3)))
        >>> forward.bytes(1), forward.bytes(10)    # numbers of 4 bytes: 5 and 2 are there at once
        (28, 280)
    """

    one: int
    each: int

    @classmethod
    def of(cls, network: nn.Module, inputs: Inputs) -> Forward:
        """Counted on the first two samples of some inputs; half of both where one alone does not go through."""
        if len(inputs) < 2:
            one = _live_bytes(network, inputs)
            return cls(one, one)
        both = _live_bytes(network, inputs[:2])
        try:
            one = _live_bytes(network, inputs[:1])
        except (RuntimeError, ValueError, IndexError):  # moments of a batch, or a dimension that is squeezed out
            one = both // 2
        return cls(one, max(0, both - one))

    def bytes(self, samples: int) -> int:
        """Of a forward of so many samples."""
        return max(self.one, self.each * samples)

    def at_once(self, samples: int) -> int:
        """Samples of each batch: all where they hold no more than half a gigabyte, else as even as batches can be."""
        if self.bytes(samples) <= MOST_FORWARD_BYTES:
            return samples
        batches = math.ceil(samples / max(1, MOST_FORWARD_BYTES // max(1, self.each)))
        return math.ceil(samples / batches)


def samples_at_once(network: nn.Module, inputs: Inputs) -> int:
    """How many of the samples go through a network together, see :meth:`Forward.at_once`.

    Args:
        network: in evaluation mode.
        inputs: all samples.

    Example:
        >>> samples_at_once(nn.Linear(3, 2), Inputs.of(torch.zeros(1000, 3)))
        1000
    """
    return Forward.of(network, inputs).at_once(len(inputs))


def batches_of(network: nn.Module, inputs: Inputs) -> Iterator[Inputs]:
    """The samples in batches of as many as go through a network together; a few always do.

    Example:
        >>> [len(batch) for batch in batches_of(nn.Linear(3, 2), Inputs.of(torch.zeros(600, 3)))]
        [512, 88]
    """
    at_once = len(inputs) if len(inputs) <= _FEW else samples_at_once(network, inputs)
    yield from inputs.split(min(_MOST_SAMPLES, at_once))


def _live_bytes(network: nn.Module, inputs: Inputs) -> int:
    some, live = inputs.clone(), LiveBytes()
    # operations of a higher order let nobody watch: what was seen up to there
    with contextlib.suppress(NotImplementedError), torch.no_grad(), live:
        some.call(network)
    return live.most


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made and not yet gone.

    Attributes:
        most: the most there were at once.

    Example:
        >>> with LiveBytes() as live:
        ...     for _ in range(3):
        ...         x = torch.ones(5) + 1
        >>> live.most    # the one before, ones, and their sum
        60
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        given = {_place(tensor) for tensor in pytree.tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
        found = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(found):
            if isinstance(tensor, Tensor) and _place(tensor) not in given | self._seen:
                self._count(tensor)
        return found

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = _place(tensor), storage.nbytes()
        self._seen.add(place)
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self._now -= size


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
