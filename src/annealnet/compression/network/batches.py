"""One batch as a user's loader gives it: which tensors are inputs, which are labels, what is neither.

    x                               one input, by position
    (x, y), (x, None), [x]          the same with labels, or without
    {"input_ids": …, "labels": …}   inputs by name; ``labels`` or ``label`` are y and never passed to the model
    ((x1, x2), y), ((x1, x2),)      several inputs by position: (x1, x2) alone would be inputs and labels
    ({…}, y)                        inputs by name, labels beside

Sequences of different lengths are padded on the right where an ``attention_mask`` says which positions count.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack, get_args, get_origin, is_typeddict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from annealnet.compression.network.forward import calling_settings
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.masks import POSITION_MASKS
from annealnet.compression.network.signature import Setting

__all__ = [
    "Batch",
    "LikeTheFirst",
    "check_masks",
    "check_names",
    "collated",
    "first_line",
    "joined",
    "read_batch",
    "told_beside",
]

#: Entries of a map that are labels, unless the model cannot be called without them.
_LABELS = ("labels", "label")
#: Label of positions that do not count, in torch and in :class:`~annealnet.compression.measuring.tasks.Classification`.
_IGNORED = -100
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Batch:
    """What a batch holds.

    Attributes:
        args: inputs by position.
        kwargs: inputs by name.
        settings: entries of a map that are no tensors.
        y: labels, or None.
    """

    args: tuple[Tensor, ...] = ()
    kwargs: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    y: Tensor | None = None

    @property
    def inputs(self) -> Inputs:
        """Without labels."""
        return Inputs(self.args, self.kwargs, self.settings)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All inputs by name or place."""
        return {str(place): tensor for place, tensor in enumerate(self.args)} | dict(self.kwargs)

    @property
    def single(self) -> bool:
        """Whether it is one tensor by position."""
        return len(self.args) == 1 and not self.kwargs

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def clone(self) -> Batch:
        """In memory of its own: who gave it may fill the same tensors again."""
        own = {name: tensor.clone() for name, tensor in self.kwargs.items()}
        return replace(
            self, args=tuple(map(Tensor.clone, self.args)), kwargs=own, y=None if self.y is None else self.y.clone()
        )


# ---- one batch ---------------------------------------------------------------------------------------------


def read_batch(batch: Any, where: str, model: nn.Module | None = None) -> Batch:
    """Inputs and labels of one batch.

    Args:
        batch: as the module says.
        where: names it in errors.
        model: whose forward says whether ``label`` is an input; None takes it for labels.

    Raises:
        ValueError: when it is none of these, or a number is NaN or infinite.

    Example:
        >>> found = read_batch({"input_ids": torch.ones(2, 3, dtype=torch.long), "labels": [0, 1]}, "data")
        >>> list(found.kwargs), found.y
        (['input_ids'], tensor([0, 1]))
    """
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if not 1 <= len(parts) <= 2:
        several = len(parts) > 2 and all(isinstance(part, Tensor | np.ndarray) for part in parts)
        mend = " of all samples, or ((x1, x2), y) for several inputs" if several else ""
        raise ValueError(f"{where} holds {len(parts)} things: give x, or (x, y){mend}")
    x, y = parts[0], parts[1] if len(parts) == 2 else None
    if isinstance(x, Mapping):
        found, named = _by_name(x, where, model)
        if named is not None and y is not None:
            raise ValueError(f"{where} has labels in its map and beside it: give one of them")
        y = named if y is None else y
    elif isinstance(x, tuple | list) and x and all(isinstance(part, Tensor | np.ndarray) for part in x):
        found = Batch(tuple(_named_numbers(part, f"{where}: input {place}") for place, part in enumerate(x)))
    elif isinstance(x, Tensor | np.ndarray):
        found = Batch((_as_input(numbers(x, f"{where}: inputs")),))
    else:
        raise ValueError(f"{where} holds {type(x).__name__}, not a tensor: give batches of (x, y) tensors")
    _check_samples(found, where)
    return replace(found, y=None if y is None else _labels(y, len(found), where))


def _by_name(entries: Mapping[Any, Any], where: str, model: nn.Module | None) -> tuple[Batch, Any]:
    """A map's tensors and plain values, and its labels."""
    needed = _needed(model)
    labels = [name for name in _LABELS if name in entries and name not in needed]
    if len(labels) > 1:
        raise ValueError(f"{where} has both 'labels' and 'label': give one of them")
    others = {name: value for name, value in entries.items() if name not in labels}
    settings = {name: value for name, value in others.items() if isinstance(value, _PLAIN)}
    tensors = {name: _named_numbers(v, f"{where}: {name!r}") for name, v in others.items() if name not in settings}
    if not tensors:
        raise ValueError(f"{where} is a map without a tensor to put in: give the tensors that the model takes")
    return Batch(kwargs=tensors, settings=settings), entries[labels[0]] if labels else None


def _needed(model: nn.Module | None) -> set[str]:
    """Parameters that a forward cannot be called without."""
    if model is None:
        return set()
    parameters = inspect.signature(model.forward).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name for one in parameters if one.default is one.empty and one.kind in plain}


def _check_samples(found: Batch, where: str) -> None:
    for name, tensor in found.tensors.items():
        if tensor.ndim == 0:
            what = "is a single number" if found.single else f"{name!r} is a single number"
            raise ValueError(f"{where} {what}: give tensors of shape (samples, …)")
    counts = {name: len(tensor) for name, tensor in found.tensors.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise ValueError(f"{where} has tensors with different numbers of samples ({said}): give one entry per sample each")


def _labels(y: Any, samples: int, where: str) -> Tensor:
    found = numbers(y, f"{where}: labels")
    if found.ndim == 0 or len(found) != samples:
        raise ValueError(
            f"{where} has {samples} samples and {len(found) if found.ndim else 1} labels: give one label each"
            + ("" if found.ndim else ", or, where it is a single sample, batches of them (x.unsqueeze(0), y.unsqueeze(0))")
        )
    return found.float() if found.is_floating_point() else found.long()


def numbers(values: Any, what: str) -> Tensor:
    """As a dense, finite tensor of real numbers on the CPU."""
    try:
        found = torch.as_tensor(np.array(values) if isinstance(values, np.ndarray) else values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} are {type(values).__name__}, not numbers ({first_line(error)}): give a tensor") from error
    if found.layout != torch.strided or found.is_quantized:
        mend = ".dequantize()" if found.is_quantized else ".to_dense()"
        raise ValueError(f"{what} are {'quantised' if found.is_quantized else 'sparse'}: give a dense tensor, with {mend}")
    if found.is_complex():
        raise ValueError(f"{what} are complex: give real numbers")
    if not torch.isfinite(found.float() if found.is_floating_point() else found).all():
        raise ValueError(f"{what} hold NaN or infinite values (in float32): clean them first")
    return found


def _as_input(x: Tensor) -> Tensor:
    return x if x.dtype in (torch.int32, torch.int64) else x.float()  # whole numbers are tokens of an embedding


def _named_numbers(values: Any, what: str) -> Tensor:
    """One of several inputs: whole numbers and masks stay what they are."""
    found = numbers(values, what)
    return found.float() if found.is_floating_point() else found


def first_line(error: Exception) -> str:
    """Of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


# ---- several batches ---------------------------------------------------------------------------------------


class LikeTheFirst:
    """Checks that each batch holds what the first one held.

    Args:
        first: the first batch.
    """

    def __init__(self, first: Batch) -> None:
        self._first = first
        self._pads = any(name in first.kwargs for name in POSITION_MASKS)

    def check(self, batch: Batch, where: str) -> None:
        """Raises a ValueError that names what differs."""
        first = self._first
        if batch.tensors.keys() != first.tensors.keys() or batch.settings.keys() != first.settings.keys():
            raise ValueError(
                f"{where} holds {', '.join((*batch.tensors, *batch.settings))}, the first held "
                f"{', '.join((*first.tensors, *first.settings))}: give the same in every batch"
            )
        for name, value in batch.settings.items():
            if type(value) is not type(first.settings[name]) or value != first.settings[name]:
                raise ValueError(
                    f"{where} has {name}={value!r}, the first {first.settings[name]!r}: what is no tensor must be the same "
                    "in all batches"
                )
        for name, tensor in batch.tensors.items():
            self._check_shape(name, tensor, first.tensors[name], where)
        self._check_labels(batch.y, where)

    def _check_shape(self, name: str, found: Tensor, first: Tensor, where: str) -> None:
        if found.shape[1:] == first.shape[1:] or (self._pads and _differ_in_length(found, first)):
            return
        own = "" if self._first.single else f"{name!r} of "
        mend = "give samples of one shape"
        if _differ_in_length(found, first):
            mend += ": pad sequences, and give an attention_mask of the padded positions" if not self._first.single else ""
        raise ValueError(
            f"{where} has {own}samples of shape {tuple(found.shape[1:])}, the first had {tuple(first.shape[1:])}: {mend}"
        )

    def _check_labels(self, y: Tensor | None, where: str) -> None:
        first = self._first.y
        if (y is None) != (first is None):
            raise ValueError(f"{where} has {'no ' if y is None else ''}labels, unlike the first: give all or none")
        if y is None or first is None or y.shape[1:] == first.shape[1:]:
            return
        if y.is_floating_point() or not (self._pads and _differ_in_length(y, first)):
            raise ValueError(
                f"{where} has labels of shape {tuple(y.shape[1:])}, the first had {tuple(first.shape[1:])}: "
                "give labels of one shape"
            )


def _differ_in_length(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors' samples differ in their first axis only."""
    return one.ndim == other.ndim >= 2 and one.shape[2:] == other.shape[2:]


def joined(batches: Sequence[Batch], argument: str = "data") -> Batch:
    """All batches as one, sequences padded to the longest.

    Example:
        >>> def words(*ids):
        ...     return read_batch({"input_ids": [ids], "attention_mask": [[1] * len(ids)]}, "data")
        >>> joined([words(5, 6, 7), words(8)]).kwargs["attention_mask"].tolist()
        [[1, 1, 1], [1, 0, 0]]
    """
    _check_padding(batches, argument)
    padded = {name: _padded([batch.tensors[name] for batch in batches], 0) for name in batches[0].tensors}
    labels = [batch.y for batch in batches if batch.y is not None]
    count = len(batches[0].args)
    return replace(
        batches[0],
        args=tuple(torch.cat(padded[str(place)]) for place in range(count)),
        kwargs={name: torch.cat(padded[name]) for name in batches[0].kwargs},
        y=torch.cat(_padded(labels, _IGNORED)) if labels else None,
    )


def _padded(tensors: Sequence[Tensor], value: int) -> list[Tensor]:
    """All as long as the longest in the axis behind the samples."""
    if len({tensor.shape[1:] for tensor in tensors}) == 1:
        return list(tensors)
    longest = max(tensor.shape[1] for tensor in tensors)
    return [F.pad(t, (*([0, 0] * (t.ndim - 2)), 0, longest - t.shape[1]), value=value) for t in tensors]


def _check_padding(batches: Sequence[Batch], argument: str) -> None:
    """Only what is as long as a mask, in every batch, can be padded: the mask says that the rest does not count."""
    for name, first in batches[0].tensors.items():
        lengths = [batch.tensors[name].shape[1:2] for batch in batches]
        if len(set(lengths)) == 1:
            continue
        masks = [mask for mask in POSITION_MASKS if mask in batches[0].kwargs]
        if not any(lengths == [batch.kwargs[mask].shape[1:2] for batch in batches] for mask in masks):
            raise ValueError(
                f"{argument}: {name!r} has samples of shape {tuple(first.shape[1:])} and others, and is not as long as its "
                f"{' or '.join(masks)}: pad it to one length"
            )


def collated(samples: Sequence[Any]) -> Any:
    """Samples of a Dataset as one batch: maps of lists, too, padded; anything else as torch does it."""
    if not all(isinstance(sample, Mapping) for sample in samples):
        return default_collate(list(samples))
    found = []
    for number, sample in enumerate(samples):
        entries = {name: value if isinstance(value, str | None) else _one(value) for name, value in sample.items()}
        found.append(read_batch(entries, f"data: sample {number}"))
    like = LikeTheFirst(found[0])
    for number, one in enumerate(found):
        like.check(one, f"data: sample {number}")
    whole = joined(found)
    labels = {name: whole.y for name in _LABELS if name in samples[0]}  # which they are, the model's forward may say
    return {**whole.kwargs, **whole.settings, **labels}


def _one(value: Any) -> Any:
    return numbers(value, "data: a sample's entry")[None]


# ---- the batches of a model ----------------------------------------------------------------------------------


def check_names(names: Iterable[str], model: nn.Module, where: str) -> None:
    """Raises a ValueError for a name that the model's forward does not take; says which it takes.

    Example:
        >>> check_names(["weights"], nn.Linear(2, 1), "data: batch 0")
        Traceback (most recent call last):
        ValueError: data: batch 0 has 'weights', which Linear.forward does not take: it takes input
    """
    parameters = inspect.signature(model.forward).parameters
    rest = next((one for one in parameters.values() if one.kind is one.VAR_KEYWORD), None)
    beside = [] if rest is None else _declared(rest.annotation)
    if beside is None:
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    by_name = [name for name, one in parameters.items() if one.kind not in positional] + beside
    for name in names:
        if name not in by_name:
            raise ValueError(
                f"{where} has {name!r}, which {type(model).__name__}.forward does not take: it takes {', '.join(by_name)}"
            )


def _declared(annotation: Any) -> list[str] | None:
    """Names that ``**kwargs: Unpack[…]`` of a typed dictionary takes; None where it takes any."""
    kinds = get_args(annotation)
    return sorted(kinds[0].__annotations__) if get_origin(annotation) is Unpack and is_typeddict(kinds[0]) else None


def check_masks(whole: Batch, argument: str) -> None:
    """Raises a ValueError for a mask by which no position of any sample counts.

    Example:
        >>> mask = torch.zeros(1, 3)
        >>> check_masks(Batch(kwargs={"input_ids": torch.ones(1, 3), "attention_mask": mask}), "data")
        Traceback (most recent call last):
        ValueError: data: attention_mask is 0 everywhere, so that nothing is judged: give 1 where positions count
    """
    for name in POSITION_MASKS:
        mask = whole.kwargs.get(name)
        if mask is not None and mask.ndim == 2 and not bool((mask != 0).any()):
            raise ValueError(f"{argument}: {name} is 0 everywhere, so that nothing is judged: give 1 where positions count")


def told_beside(batch: Batch, model: nn.Module) -> Batch:
    """What a model needs beside: no cache, a decoder's inputs made of the labels; labels that are the next tokens.

    Language models are given their own inputs as labels and move them by one place inside. They answer at each position
    the next token, so that is what the labels become; the last position has none.

    Example:
        >>> ids = torch.tensor([[1, 2, 3]])
        >>> told_beside(Batch(kwargs={"input_ids": ids}, y=ids), nn.Embedding(4, 2)).y
        tensor([[   2,    3, -100]])
    """
    batch = replace(batch, settings={**batch.settings, **calling_settings(model)})
    ids, y = batch.kwargs.get("input_ids"), batch.y
    if y is None or ids is None:
        return batch
    make = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if make is not None and not {"decoder_input_ids", "decoder_inputs_embeds"} & set(batch.kwargs):
        return replace(batch, kwargs={**batch.kwargs, "decoder_input_ids": make(labels=y)})
    if y.shape == ids.shape and y.ndim == 2 and bool(((y == ids) | (y == _IGNORED)).all()):
        return replace(batch, y=F.pad(y[:, 1:], (0, 1), value=_IGNORED))
    return batch
