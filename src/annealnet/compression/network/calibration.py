"""The user's data, read into memory and checked before any work starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from annealnet.compression.network.batches import (
    Batch,
    LikeTheFirst,
    check_masks,
    check_names,
    collated,
    first_line,
    joined,
    read_batch,
    told_beside,
)
from annealnet.compression.network.inputs import Inputs

__all__ = ["Calibration", "read_batches"]

#: Samples of a Dataset that are put into a batch.
_BATCH = 512


@dataclass(frozen=True)
class Calibration:
    """Samples in memory.

    Attributes:
        x: what a network is called with; floating-point numbers are float32.
        y: labels ``(samples, …)``: int64 for classes, float32 for numbers; None where none were given.
    """

    x: Inputs
    y: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor | Inputs, y: Tensor | None = None) -> Calibration:
        """A single tensor is the one positional input."""
        return cls(Inputs.of(x), y)

    @property
    def num_bytes(self) -> int:
        """Of inputs and labels.

        Example:
            >>> Calibration.of(torch.zeros(2, 3), torch.tensor([0, 1])).num_bytes
            40
        """
        held = [*self.x.tensors.values(), *([] if self.y is None else [self.y])]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    def __str__(self) -> str:
        """How much it is, which a generator does not say before it is read.

        Example:
            >>> print(Calibration.of(torch.zeros(2, 3)))
            2 samples, 24 bytes in memory
        """
        return f"{len(self.x):,} samples, {self.num_bytes:,} bytes in memory"


def read_batches(
    data: Any,
    argument: str = "data",
    samples: int | None = None,
    model: nn.Module | None = None,
    output: str | int | None = None,
) -> Calibration:
    """Reads batches into memory: ``(x, y)``, ``(x, None)``, ``[x]`` or plain ``x``; maps of inputs by name; several inputs.

    Args:
        data: an iterable of batches, such as a DataLoader or a generator; a Dataset of samples; one tensor, array or map of
            all samples; or one pair ``(x, y)`` of them. What a batch may be says :mod:`.batches`. An IterableDataset may
            hold samples or batches: where its labels are single numbers its items are samples, else a DataLoader must say.
            Floating-point inputs become float32, int32 and int64 stay: they are tokens; of several inputs all whole numbers
            and masks stay what they are.
        argument: the name errors use.
        samples: stop after this many.
        model: that is called with them: names of inputs are checked, and it is told to keep no cache. None knows no model.
        output: name or number of the model's answer that counts; None finds it.

    Raises:
        ValueError: when there are no samples, they are not tensors or arrays, shapes or names differ between batches, only
            some batches have labels, the model does not take an input, or a number is NaN or infinite.

    Example:
        >>> read_batches([(torch.zeros(2, 3), torch.tensor([0, 1]))]).x.shapes
        {'0': (3,)}
        >>> len(read_batches(torch.zeros(5, 3)).x)
        5
    """
    if output is not None and (isinstance(output, bool) or not isinstance(output, str | int)):
        raise ValueError(f"output={output!r} must be a name or the number of one of the model's answers")
    found: list[Batch] = []
    like: LikeTheFirst | None = None
    seen, held = 0, isinstance(data, Tensor | np.ndarray | list | tuple | Mapping)
    for number, given in enumerate(_batches(data, argument)):
        where = f"{argument}: batch {number}"
        batch = read_batch(given, where, model)
        if model is not None and not found:
            check_names((*batch.kwargs, *batch.settings), model, where)
        like = like or LikeTheFirst(batch)
        like.check(batch, where)
        found.append(batch if held else batch.clone())
        seen += len(batch)
        if samples is not None and seen >= samples:
            break
    if seen == 0:
        raise ValueError(f"{argument} is empty: give at least one batch of samples (a few hundred are a good start)")
    whole = joined(found, argument)
    check_masks(whole, argument)
    whole = whole if model is None else told_beside(whole, model)
    inputs = replace(whole.inputs, output=output)
    return Calibration(inputs[:samples], None if whole.y is None else whole.y[:samples])


def _batches(data: Any, argument: str) -> Iterator[Any]:
    """The batches in whatever was given."""
    if isinstance(data, Tensor | np.ndarray):
        data = [data]
    elif isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data):
        if data[0].shape[1:] == data[1].shape[1:]:
            raise ValueError(f"{argument} holds two tensors of one shape: give [(x, y)], or [x1, x2] for two batches")
        data = [data]
    elif isinstance(data, Mapping) or (isinstance(data, tuple) and _named_or_several(data)):
        data = [data]
    elif isinstance(data, tuple | list) and _like_inputs_and_labels(data):
        raise ValueError(
            f"{argument} holds {len(data)} tensors, the second of them like labels of the first: give (x, y) or [(x, y)]"
        )
    elif isinstance(data, str | bytes):
        raise ValueError(f"{argument} is a {type(data).__name__}: give batches, such as [(x, y)], or one tensor of samples")
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset) and not hasattr(data, "__len__"):
        raise ValueError(f"{argument} is a {type(data).__name__} without a length: give a DataLoader")
    elif isinstance(data, Dataset) or hasattr(data, "__getitems__"):  # the second: Hugging Face's, not torch's
        yield from _streamed(data, argument) if isinstance(data, IterableDataset) else _loaded(data, argument)
        return
    elif not isinstance(data, Iterable):
        raise ValueError(f"{argument}={data!r} is no data: give batches, such as [(x, y)], or one tensor of samples")
    yield from data


def _named_or_several(data: tuple[Any, ...]) -> bool:
    """Whether a pair is inputs by name, or several of them, and labels; as batches they would differ in kind."""
    return (
        len(data) == 2
        and isinstance(data[1], Tensor | np.ndarray)
        and (isinstance(data[0], Mapping) or (isinstance(data[0], tuple) and len(data[0]) > 1))
    )


def _like_inputs_and_labels(data: tuple[Any, ...] | list[Any]) -> bool:
    """Whether the second is no batch like the first but has an entry for each of its samples: fewer axes, or classes."""
    if len(data) < 2 or not all(isinstance(part, Tensor | np.ndarray) and part.ndim for part in data[:2]):
        return False
    x, y = (torch.as_tensor(part) for part in data[:2])
    classes = x.is_floating_point() and not y.is_floating_point()
    return len(x) == len(y) and (y.ndim < x.ndim or classes)


def _loaded(data: Dataset[Any], argument: str) -> Iterator[Any]:
    try:
        yield from DataLoader(data, batch_size=_BATCH, collate_fn=collated)
    except (TypeError, RuntimeError) as error:  # torch's collate, of samples that are no tensors or differ in shape
        raise ValueError(f"{argument} cannot be put into batches ({first_line(error)}): give a DataLoader") from error


def _streamed(data: IterableDataset[Any], argument: str) -> Iterator[Any]:
    """Batches of samples, as a DataLoader makes them; items that may be whole batches are not guessed at."""

    def samples() -> Iterator[Any]:
        for number, item in enumerate(data):
            if not _is_sample(item):
                raise ValueError(
                    f"{argument}: item {number} of {type(data).__name__} may be a sample or a whole batch: give "
                    "DataLoader(data, batch_size=None) where it is a batch, DataLoader(data, batch_size=64) where a sample"
                )
            yield item

    yield from _loaded(_Stream(samples()), argument)


class _Stream(IterableDataset[Any]):
    """Samples as they come, read once."""

    def __init__(self, samples: Iterator[Any]) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[Any]:
        return self._samples


def _is_sample(item: Any) -> bool:
    """Whether nothing in it can be the axis of samples of a batch: its label is a single number."""
    parts = list(item) if isinstance(item, tuple | list) else [item]
    if not all(isinstance(part, Tensor | np.ndarray) for part in parts[:1]):
        return True  # no tensor at all: for whoever puts it into a batch to refuse
    return len(parts) > 1 and np.ndim(parts[1]) == 0
