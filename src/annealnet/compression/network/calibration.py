"""The user's network and data, checked before any work starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from annealnet.compression.network.precision import copied, in_float32

__all__ = ["Calibration", "answers_of", "check_network", "check_samples", "copies", "read_batches"]

#: Samples that go through a network at once.
BATCH = 512
#: Inputs whose squares come near the end of float32: an answer that overflows is theirs.
_LARGE = 1e15


@dataclass(frozen=True)
class Calibration:
    """Samples in memory.

    Attributes:
        x: float32 ``(samples, …)``, or int32 or int64 where a network reads tokens.
        y: labels ``(samples, …)``: int64 for classes, float32 for numbers; None where none were given.
    """

    x: Tensor
    y: Tensor | None


# ---- the data --------------------------------------------------------------------------------------------


def read_batches(data: Any, argument: str = "data", samples: int | None = None) -> Calibration:
    """Reads batches of ``(x, y)``, ``(x, None)``, ``[x]`` or plain ``x`` into memory.

    Args:
        data: an iterable of batches, such as a DataLoader or a generator; a Dataset of samples; one tensor or array of
            all samples; or one pair ``(x, y)`` of them. An IterableDataset may hold either: where its labels are single
            numbers its items are samples, else a DataLoader must say. Floating-point inputs become float32, int32 and
            int64 stay: they are tokens.
        argument: the name errors use.
        samples: stop after this many.

    Raises:
        ValueError: when there are no samples, they are not tensors or arrays, shapes differ between batches, only some
            batches have labels, or a number is NaN or infinite.

    Example:
        >>> read_batches([(torch.zeros(2, 3), torch.tensor([0, 1]))]).x.shape
        torch.Size([2, 3])
        >>> read_batches(torch.zeros(5, 3)).x.shape
        torch.Size([5, 3])
    """
    xs: list[Tensor] = []
    ys: list[Tensor | None] = []
    seen = 0
    for number, batch in enumerate(_batches(data, argument)):
        where = f"{argument}: batch {number}"
        x, y = _pair(batch, where)
        if xs and x.shape[1:] != xs[0].shape[1:]:
            raise ValueError(
                f"{where} has samples of shape {tuple(x.shape[1:])}, the first had {tuple(xs[0].shape[1:])}: "
                "give samples of one shape"
            )
        if ys and (y is None) != (ys[0] is None):
            raise ValueError(f"{where} has {'no ' if y is None else ''}labels, unlike the first: give all or none")
        if y is not None and ys and ys[0] is not None and y.shape[1:] != ys[0].shape[1:]:
            raise ValueError(
                f"{where} has labels of shape {tuple(y.shape[1:])}, the first had {tuple(ys[0].shape[1:])}: "
                "give labels of one shape"
            )
        xs.append(x)
        ys.append(y)
        seen += len(x)
        if samples is not None and seen >= samples:
            break
    if seen == 0:
        raise ValueError(f"{argument} is empty: give at least one batch of samples (a few hundred are a good start)")
    labels = [y for y in ys if y is not None]
    return Calibration(torch.cat(xs)[:samples], torch.cat(labels)[:samples] if labels else None)


def _batches(data: Any, argument: str) -> Iterator[Any]:
    """The batches in whatever was given."""
    if isinstance(data, Tensor | np.ndarray):
        data = [data]
    elif isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data):
        if data[0].shape[1:] == data[1].shape[1:]:
            raise ValueError(f"{argument} holds two tensors of one shape: give [(x, y)], or [x1, x2] for two batches")
        data = [data]
    elif isinstance(data, tuple | list) and _like_inputs_and_labels(data):
        raise ValueError(
            f"{argument} holds {len(data)} tensors, the second of them like labels of the first: give (x, y) or [(x, y)]"
        )
    elif isinstance(data, str | bytes | Mapping):
        raise ValueError(f"{argument} is a {type(data).__name__}: give batches, such as [(x, y)], or one tensor of samples")
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset) and not hasattr(data, "__len__"):
        raise ValueError(f"{argument} is a {type(data).__name__} without a length: give a DataLoader")
    elif isinstance(data, Dataset):
        yield from _streamed(data, argument) if isinstance(data, IterableDataset) else _loaded(data, argument)
        return
    elif not isinstance(data, Iterable):
        raise ValueError(f"{argument}={data!r} is no data: give batches, such as [(x, y)], or one tensor of samples")
    yield from data


def _like_inputs_and_labels(data: tuple[Any, ...] | list[Any]) -> bool:
    """Whether the second is no batch like the first but has an entry for each of its samples: fewer axes, or classes."""
    if len(data) < 2 or not all(isinstance(part, Tensor | np.ndarray) and part.ndim for part in data[:2]):
        return False
    x, y = (torch.as_tensor(part) for part in data[:2])
    classes = x.is_floating_point() and not y.is_floating_point()
    return len(x) == len(y) and (y.ndim < x.ndim or classes)


def _loaded(data: Dataset[Any], argument: str) -> Iterator[Any]:
    try:
        yield from DataLoader(data, batch_size=BATCH)
    except (TypeError, RuntimeError) as error:  # torch's collate, of samples that are no tensors or differ in shape
        raise ValueError(f"{argument} cannot be put into batches ({_first_line(error)}): give a DataLoader") from error


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


def _pair(batch: Any, where: str) -> tuple[Tensor, Tensor | None]:
    """Inputs and labels of one batch."""
    if isinstance(batch, Mapping):
        names = ", ".join(map(repr, batch))
        raise ValueError(f"{where} is a dict with {names}: give the one tensor that the model takes, or (x, y)")
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if not 1 <= len(parts) <= 2:
        several = len(parts) > 2 and all(isinstance(part, Tensor | np.ndarray) for part in parts)
        raise ValueError(f"{where} holds {len(parts)} things: give x, or (x, y)" + (" of all samples" if several else ""))
    x, y = parts[0], parts[1] if len(parts) == 2 else None
    if not isinstance(x, Tensor | np.ndarray):
        raise ValueError(f"{where} holds {type(x).__name__}, not a tensor: give batches of (x, y) tensors")
    x = _numbers(x, f"{where}: inputs")
    if x.ndim == 0:
        raise ValueError(f"{where} is a single number: give tensors of shape (samples, …)")
    if y is None:
        return _as_inputs(x), None
    y = _numbers(y, f"{where}: labels")
    if y.ndim == 0 or len(y) != len(x):
        raise ValueError(
            f"{where} has {len(x)} samples and {len(y) if y.ndim else 1} labels: give one label each"
            + (", or, where it is a single sample, batches of them (x.unsqueeze(0), y.unsqueeze(0))" if y.ndim == 0 else "")
        )
    return _as_inputs(x), y.float() if y.is_floating_point() else y.long()


def _numbers(values: Any, what: str) -> Tensor:
    try:
        found = torch.as_tensor(np.array(values) if isinstance(values, np.ndarray) else values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} are {type(values).__name__}, not numbers ({_first_line(error)}): give a tensor") from error
    if found.layout != torch.strided or found.is_quantized:
        mend = ".dequantize()" if found.is_quantized else ".to_dense()"
        raise ValueError(f"{what} are {'quantised' if found.is_quantized else 'sparse'}: give a dense tensor, with {mend}")
    if found.is_complex():
        raise ValueError(f"{what} are complex: give real numbers")
    if not torch.isfinite(found.float() if found.is_floating_point() else found).all():
        raise ValueError(f"{what} hold NaN or infinite values (in float32): clean them first")
    return found


def _as_inputs(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.int32, torch.int64) else x.float()  # whole numbers are tokens of an embedding


# ---- the network -----------------------------------------------------------------------------------------


def copies(x: Tensor, batch_size: int = BATCH) -> Iterator[Tensor]:
    """The inputs in batches of their own memory: a forward that changes its input in place changes only its copy.

    Every network that is run on calibration inputs is handed them by this function.

    Example:
        >>> x = torch.ones(3, 1)
        >>> [len(batch.zero_()) for batch in copies(x, 2)], float(x.sum())
        ([2, 1], 3.0)
    """
    for part in x.split(batch_size):
        yield part.clone()


@torch.no_grad()
def answers_of(model: nn.Module, x: Tensor, batch_size: int = BATCH) -> Tensor:
    """The network's answers to all inputs: ``(samples, …)``; the inputs are not changed, whatever its forward does.

    Example:
        >>> x = -torch.ones(3, 1)
        >>> answers_of(nn.ReLU(inplace=True), x).flatten().tolist(), float(x.sum())
        ([0.0, 0.0, 0.0], -3.0)
    """
    return torch.cat([model(batch) for batch in copies(x, batch_size)])


def check_network(model: nn.Module, x: Tensor) -> nn.Module:
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
    dense = (copied(model) if single is model else single).eval().requires_grad_(False)
    check_samples(dense, x)
    return dense


def check_samples(dense: nn.Module, x: Tensor, argument: str = "data") -> None:
    """Runs a network on two samples.

    Raises:
        ValueError: when it does not take them, or does not answer one tensor of finite numbers with an entry per sample.

    Example:
        >>> check_samples(nn.Linear(3, 2), torch.zeros(1, 3))
    """
    try:
        with torch.no_grad():
            answer = dense(x[:2].clone())
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"{argument}: samples of shape {tuple(x.shape[1:])} do not fit the model ({_first_line(error)}): "
            + ("give (samples, 1) with x.unsqueeze(1), or inputs" if x.ndim == 1 else "give inputs")
            + " as the network was trained on"
        ) from error
    if not isinstance(answer, Tensor):
        raise ValueError(f"model answers with {type(answer).__name__}: wrap it so that it returns one tensor of logits")
    if not torch.isfinite(answer).all():
        largest = float(x[:2].abs().max())
        raise ValueError(
            "model answers NaN or infinite values on the first samples: "
            + (
                f"{argument} holds numbers as large as {largest:.3g}, scale the inputs as in training"
                if largest > _LARGE
                else "check its weights and the inputs' scale"
            )
        )
    if answer.ndim == 0 or len(answer) != len(x[:2]):
        raise ValueError(
            f"model answers {tuple(answer.shape)} to {len(x[:2])} samples: wrap it so that samples are the first dimension"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
