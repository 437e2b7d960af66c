"""The user's network and data, checked before any work starts."""

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
    check_names,
    collated,
    first_line,
    joined,
    read_batch,
    told_beside,
)
from annealnet.compression.network.inputs import Inputs, answer_in
from annealnet.compression.network.kinds import with_heads_that_can_go
from annealnet.compression.network.precision import copied, in_float32

__all__ = [
    "Calibration",
    "all_answers_of",
    "answers_of",
    "check_network",
    "check_samples",
    "copies",
    "labels_that_count",
    "read_batches",
    "that_count",
]

#: Samples that go through a network at once.
BATCH = 512
#: Inputs whose squares come near the end of float32: an answer that overflows is theirs.
_LARGE = 1e15


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


# ---- the data --------------------------------------------------------------------------------------------


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
    seen = 0
    for number, given in enumerate(_batches(data, argument)):
        where = f"{argument}: batch {number}"
        batch = read_batch(given, where, model)
        if model is not None and not found:
            check_names((*batch.kwargs, *batch.settings), model, where)
        like = like or LikeTheFirst(batch)
        like.check(batch, where)
        found.append(batch)
        seen += len(batch)
        if samples is not None and seen >= samples:
            break
    if seen == 0:
        raise ValueError(f"{argument} is empty: give at least one batch of samples (a few hundred are a good start)")
    whole = joined(found, argument)
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
        yield from DataLoader(data, batch_size=BATCH, collate_fn=collated)
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


# ---- the network -----------------------------------------------------------------------------------------


def copies(x: Tensor | Inputs, batch_size: int = BATCH) -> Iterator[Inputs]:
    """The inputs in batches of their own memory: a forward that changes its input in place changes only its copy.

    Every network that is run on calibration inputs is handed them by this function.

    Example:
        >>> x = torch.ones(3, 1)
        >>> [len(batch.main.zero_()) for batch in copies(x, 2)], float(x.sum())
        ([2, 1], 3.0)
    """
    for part in Inputs.of(x).split(batch_size):
        yield part.clone()


@torch.no_grad()
def all_answers_of(model: nn.Module, x: Tensor | Inputs, batch_size: int = BATCH) -> Tensor:
    """The network's answers to all inputs: ``(samples, …)``; the inputs are not changed, whatever its forward does.

    Example:
        >>> x = -torch.ones(3, 1)
        >>> all_answers_of(nn.ReLU(inplace=True), x).flatten().tolist(), float(x.sum())
        ([0.0, 0.0, 0.0], -3.0)
    """
    return torch.cat([batch.answer(model) for batch in copies(x, batch_size)])


def answers_of(model: nn.Module, x: Tensor | Inputs, batch_size: int = BATCH) -> Tensor:
    """Those of the network's answers that count: where an attention mask leaves positions out, ``(positions, …)``.

    Example:
        >>> answers_of(nn.Linear(3, 2), torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """
    return that_count(Inputs.of(x), all_answers_of(model, x, batch_size))


def that_count(x: Inputs, answers: Tensor) -> Tensor:
    """Of answers ``(samples, positions, …)`` to these inputs the positions that count, one behind the other.

    Where inputs are padded, each position that counts is judged like a sample; the others are not judged at all.

    Example:
        >>> x = Inputs(kwargs={"input_ids": torch.ones(1, 3), "attention_mask": torch.tensor([[1, 1, 0]])})
        >>> that_count(x, torch.zeros(1, 3, 5)).shape
        torch.Size([2, 5])
    """
    counted = x.counted(answers)
    return answers if counted is None else answers[counted]


def labels_that_count(x: Inputs, answers: Tensor, y: Tensor | None, argument: str = "data") -> Tensor | None:
    """The labels of :func:`that_count`'s positions.

    Args:
        x: inputs of all samples.
        answers: the network's to any of them.
        y: labels of all samples, or None.
        argument: the name errors use.

    Raises:
        ValueError: when the network answers at every position and labels have none.
    """
    counted = x.counted(answers)
    if y is None or counted is None:
        return y
    if y.shape[:2] != counted.shape:
        raise ValueError(
            f"{argument}: labels of shape (N{''.join(f', {size}' for size in y.shape[1:])}) do not fit answers at "
            f"{counted.shape[1]} positions each: give labels (N, {counted.shape[1]}, …), or no labels"
        )
    return y[counted]


def check_network(model: nn.Module, x: Tensor | Inputs) -> nn.Module:
    """A float32 copy in evaluation mode that is known to take these samples and to answer finite numbers.

    Raises:
        ValueError: when a weight is NaN or infinite, or the network does not take samples of this shape.

    Example:
        >>> check_network(nn.Linear(3, 2), torch.zeros(1, 3)).training
        False
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"model: {name!r} holds NaN or infinite values: load weights of a trained network")
    single = in_float32(model)
    dense = with_heads_that_can_go((copied(model) if single is model else single).eval().requires_grad_(False))
    check_samples(dense, x)
    return dense


def check_samples(dense: nn.Module, x: Tensor | Inputs, argument: str = "data") -> None:
    """Runs a network on two samples.

    Raises:
        ValueError: when it does not take them, or does not answer a tensor of finite numbers with an entry per sample.

    Example:
        >>> check_samples(nn.Linear(3, 2), torch.zeros(1, 3))
    """
    some = Inputs.of(x)[:2]
    try:
        with torch.no_grad():
            found = some.clone().call(dense)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"{argument}: samples of {_shape_in_words(some)} do not fit the model ({first_line(error)}): "
            + ("give (samples, 1) with x.unsqueeze(1), or inputs" if some.main.ndim == 1 else "give inputs")
            + " as the network was trained on"
        ) from error
    answer = answer_in(found, some.output)
    if answer.ndim == 0 or len(answer) != len(some):
        raise ValueError(
            f"model answers {tuple(answer.shape)} to {len(some)} samples: wrap it so that samples are the first dimension"
        )
    if not torch.isfinite(that_count(some, answer)).all():
        largest = max(float(tensor.float().abs().max()) for tensor in some.tensors.values())
        raise ValueError(
            "model answers NaN or infinite values on the first samples: "
            + (
                f"{argument} holds numbers as large as {largest:.3g}, scale the inputs as in training"
                if largest > _LARGE
                else "check its weights and the inputs' scale"
            )
        )


def _shape_in_words(x: Inputs) -> str:
    if len(x.tensors) == 1 and x.args:
        return f"shape {tuple(x.main.shape[1:])}"
    return ", ".join(f"{name} {shape}" for name, shape in x.shapes.items())
