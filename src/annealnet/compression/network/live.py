"""How many bytes a forward holds at once, and how many samples may therefore go through a network together."""

from __future__ import annotations

import contextlib
import math
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from annealnet.compression.network.inputs import Inputs

__all__ = ["Forward", "LiveBytes", "samples_at_once"]

#: Bytes of tensors that a forward of calibration inputs may hold; where all samples are more, they go through in batches.
MOST_FORWARD_BYTES = 2**29


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
        """Counted on the first two samples of some inputs."""
        one = _live_bytes(network, inputs[:1])
        return cls(one, max(0, _live_bytes(network, inputs[:2]) - one) if len(inputs) > 1 else one)

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
