"""What a network is called with and what it answers: tensors, dicts, several inputs; a tensor, a tuple, an object of fields.

Everything that runs a network on calibration data does it through :class:`Inputs`, so that nothing else knows how this
network wants to be called, or where in its answer the numbers are.
"""

from __future__ import annotations

import contextlib
import inspect
import keyword
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from annealnet.compression.network.masks import DECODER_MASK, MASK, POSITION_MASKS, is_mask

__all__ = [
    "AT_ONCE",
    "Answering",
    "Inputs",
    "Sample",
    "Setting",
    "Signature",
    "answer_in",
    "calling_settings",
    "named_answer_in",
    "plain_attention",
]

#: Samples that go through a network at once.
AT_ONCE = 512
#: What a call may be given beside tensors: it is written into ``plan.json``.
Setting = bool | int | float | str | None
#: Names under which networks answer what they were trained for, the likeliest first.
ANSWERS = ("logits", "prediction_logits", "image_embeds", "text_embeds", "last_hidden_state", "pooler_output")


class Sample(NamedTuple):
    """One sample of a tensor: the name of its dtype, its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """How a network is called: what one sample of each tensor is, what is given beside, which answer counts.

    Attributes:
        args: tensors given by position.
        kwargs: tensors given by name.
        settings: what every call is given beside.
        output: name or number of the answer that counts; None finds it.

    Raises:
        ValueError: when a name cannot be a parameter's, or a setting is no plain value.

    Example:
        >>> called = Signature.single(3, 8, 8)
        >>> called.args, called.zeros(2).shapes
        ((Sample(dtype='float32', shape=(3, 8, 8)),), {'0': (3, 8, 8)})
    """

    args: tuple[Sample, ...] = ()
    kwargs: Mapping[str, Sample] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    output: str | int | None = None

    def __post_init__(self) -> None:
        _check_names(self.kwargs, self.settings)

    @classmethod
    def single(cls, *shape: int, dtype: str = "float32") -> Signature:
        """One tensor given by position."""
        return cls((Sample(dtype, shape),))

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Of all tensors."""
        return tuple(self.named_samples.values())

    @property
    def named_samples(self) -> dict[str, Sample]:
        """Of all tensors by name; those given by position are called by their number."""
        return {str(place): sample for place, sample in enumerate(self.args)} | dict(self.kwargs)

    @property
    def is_single(self) -> bool:
        """Whether it is one tensor by position, and nothing else is to be said."""
        return len(self.args) == 1 and not self.kwargs and not self.settings and self.output is None

    @property
    def num_elements(self) -> int:
        """Of one sample, all tensors together."""
        return sum(math.prod(sample.shape) for sample in self.samples)

    def zeros(self, samples: int = 1) -> Inputs:
        """Inputs of this kind: zeros; ones where they are masks, which leave nothing out."""

        def some(sample: Sample, name: str = "") -> Tensor:
            make = torch.ones if is_mask(name) else torch.zeros
            return make((samples, *sample.shape), dtype=getattr(torch, sample.dtype))

        return Inputs(
            tuple(some(sample) for sample in self.args),
            {name: some(sample, name) for name, sample in self.kwargs.items()},
            self.settings,
            self.output,
        )


def _check_names(kwargs: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    for name in (*kwargs, *settings):
        # names become code when a network is traced
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"data: {_short(name)} cannot be the name of an input: give names of the forward's parameters")
    twice = [name for name in kwargs if name in settings]
    if twice:
        raise ValueError(f"data: {twice[0]!r} is a tensor and a setting at once: give one of them")
    for name, value in settings.items():
        if not (value is None or isinstance(value, bool | int | float | str)):
            raise ValueError(
                f"data: {name!r} is {type(value).__name__}: give a tensor, a number, a word, True, False or None"
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of some samples, as the network takes them.

    Attributes:
        args: tensors given by position, each ``(samples, …)``.
        kwargs: tensors given by name, each ``(samples, …)``.
        settings: what every call is given beside, the same for all samples: ``use_cache=False``.
        output: name or number of the answer that counts; None finds it (:func:`answer_in`).

    Raises:
        ValueError: when there is no tensor, or their numbers of samples differ; see also :class:`Signature`.

    Example:
        >>> x = Inputs.of(torch.ones(5, 3))
        >>> len(x), [len(part) for part in x.split(2)], x.answer(nn.Linear(3, 2)).shape
        (5, [2, 2, 1], torch.Size([5, 2]))
        >>> ids = Inputs(kwargs={"input": torch.tensor([[1, 2], [0, 1]])})
        >>> ids[:1].answer(nn.Embedding(3, 4)).shape, ids.shapes
        (torch.Size([1, 2, 4]), {'input': (2,)})
    """

    args: tuple[Tensor, ...] = ()
    kwargs: Mapping[str, Tensor] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    output: str | int | None = None

    def __post_init__(self) -> None:
        _check_names(self.kwargs, self.settings)
        found = {name: len(tensor) if tensor.ndim else 1 for name, tensor in self.tensors.items()}
        if not found:
            raise ValueError("data: a batch without a tensor: give the tensors that the model takes")
        if len(set(found.values())) > 1:
            said = ", ".join(f"{name}: {count}" for name, count in found.items())
            raise ValueError(f"data: a batch whose tensors have different numbers of samples ({said}): give one entry each")

    @classmethod
    def of(cls, x: Tensor | Inputs) -> Inputs:
        """A single tensor as the one positional input; inputs as they are."""
        return x if isinstance(x, Inputs) else cls((x,))

    @classmethod
    def joined(cls, parts: Sequence[Inputs]) -> Inputs:
        """Batches that are called alike, one behind the other."""
        first = parts[0]
        return replace(
            first,
            args=tuple(torch.cat(tensors) for tensors in zip(*(part.args for part in parts), strict=True)),
            kwargs={name: torch.cat([part.kwargs[name] for part in parts]) for name in first.kwargs},
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name; those given by position are called by their number."""
        return {str(place): tensor for place, tensor in enumerate(self.args)} | dict(self.kwargs)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """One sample's shape of each tensor."""
        return {name: tuple(tensor.shape[1:]) for name, tensor in self.tensors.items()}

    @property
    def main(self) -> Tensor:
        """The first tensor, for those who look at the inputs' nature."""
        return next(iter(self.tensors.values()))

    @property
    def signature(self) -> Signature:
        """How the network is called with them."""

        def sample(tensor: Tensor) -> Sample:
            return Sample(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:]))

        named = {name: sample(tensor) for name, tensor in self.kwargs.items()}
        return Signature(tuple(map(sample, self.args)), named, dict(self.settings), self.output)

    def __len__(self) -> int:
        return len(self.main)

    def __getitem__(self, some: slice | Tensor) -> Inputs:
        """Some of the samples."""
        return self.each(lambda tensor: tensor[some])

    def split(self, batch_size: int) -> Iterator[Inputs]:
        """Batches of so many samples, views of these."""
        for first in range(0, len(self), batch_size):
            yield self[first : first + batch_size]

    def clone(self) -> Inputs:
        """In memory of their own."""
        return self.each(Tensor.clone)

    def each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """With every tensor changed, and nothing else."""
        return replace(
            self,
            args=tuple(change(tensor) for tensor in self.args),
            kwargs={name: change(tensor) for name, tensor in self.kwargs.items()},
        )

    # ---- running a network -----------------------------------------------------------------------------------

    def like(self, model: nn.Module) -> Inputs:
        """On the network's device, and floating-point numbers in its dtype: those of its first floating-point parameter.

        Example:
            >>> Inputs.of(torch.ones(5, 3)).like(nn.Linear(3, 2).bfloat16()).main.dtype
            torch.bfloat16
        """
        first = next((weight for weight in model.parameters() if weight.is_floating_point()), None)
        if first is None:
            return self
        device, dtype = first.device, first.dtype
        return self.each(lambda tensor: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype))

    def call(self, model: nn.Module) -> Any:
        """Whatever the network gives back, on its device and in its dtype. It sees these very tensors, where they are there
        already and of that dtype: give it a :meth:`clone`.
        """
        given = self.like(model)
        with plain_attention():
            return model(*given.args, **given.kwargs, **given.settings)

    def answer(self, model: nn.Module) -> Tensor:
        """The tensor that counts in what the network gives back, see :func:`answer_in`."""
        return answer_in(self.call(model), self.output)

    def counted(self, answers: Tensor) -> Tensor | None:
        """Which positions of answers count: bool ``(samples, positions)``; None where there is nothing to leave out.

        An ``attention_mask`` ``(samples, positions)`` says so for answers ``(n, positions, …)`` of at least three axes; in a
        call with ``decoder_…`` inputs the answers are the decoder's, and it is ``decoder_attention_mask``.

        Args:
            answers: those to any samples; only their shape is read.

        Example:
            >>> x = Inputs(kwargs={"input_ids": torch.ones(1, 3), "attention_mask": torch.tensor([[1, 1, 0]])})
            >>> x.counted(torch.zeros(1, 3, 5)), x.counted(torch.zeros(1, 3))
            (tensor([[ True,  True, False]]), None)
        """
        decoded = any(name.startswith("decoder_") for name in self.kwargs) and not str(self.output).startswith("encoder_")
        mask = self.kwargs.get(DECODER_MASK if decoded else MASK)
        if mask is None or mask.ndim != 2 or answers.ndim < 3 or mask.shape[1] != answers.shape[1]:
            return None
        return mask != 0

    def present(self, x: Tensor) -> Tensor:
        """Of what a layer reads, ``(samples, positions, features)``, what is no padding: ``(rows, features)``.

        As it is where no mask is of that shape, where masks differ, or nothing is padded.

        Example:
            >>> x = Inputs(kwargs={"input_ids": torch.ones(1, 3), "attention_mask": torch.tensor([[1, 1, 0]])})
            >>> x.present(torch.zeros(1, 3, 5)).shape, x.present(torch.zeros(1, 4, 5)).shape
            (torch.Size([2, 5]), torch.Size([1, 4, 5]))
        """
        masks = [self.kwargs[name] != 0 for name in POSITION_MASKS if name in self.kwargs]
        masks = [mask for mask in masks if x.ndim == 3 and mask.shape == x.shape[:2]]
        if not masks or not all(torch.equal(mask, masks[0]) for mask in masks) or bool(masks[0].all()):
            return x
        return x[masks[0]] if bool(masks[0].any()) else x


class Answering(nn.Module):
    """A network that takes its tensors by position, in the order of :attr:`Inputs.tensors`, and answers the one that counts.

    Example:
        >>> x = Inputs(kwargs={"input": torch.ones(1, 3)})
        >>> Answering(nn.Linear(3, 2), x)(torch.ones(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.network = network
        self._positions, self._names = len(inputs.args), tuple(inputs.kwargs)
        self._settings, self._output = dict(inputs.settings), inputs.output

    def forward(self, *tensors: Tensor) -> Tensor:
        """The answer that counts."""
        named = dict(zip(self._names, tensors[self._positions :], strict=True))
        return answer_in(self.network(*tensors[: self._positions], **named, **self._settings), self._output)


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """PyTorch's transformer layers call their parts, not one fused operation for inference that reads their weights."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def calling_settings(model: nn.Module) -> dict[str, Setting]:
    """What a network has to be told with every call: to keep no cache of earlier tokens, where it would.

    Example:
        >>> calling_settings(nn.Linear(2, 1))
        {}
    """
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


# ---- which tensor of an answer -------------------------------------------------------------------------------


def answer_in(found: Any, output: str | int | None = None) -> Tensor:
    """The tensor in an answer that counts: itself, the one named, the one of a known name, or the first of floats.

    Args:
        found: what a network gave back: a tensor, a sequence, a map, an object of fields.
        output: a name (of a map's entry or an object's field), or a place in a sequence or map.

    Raises:
        ValueError: when there is no such tensor; says which there are.

    Example:
        >>> answer_in({"loss": torch.zeros(()), "logits": torch.ones(2, 3)}).shape
        torch.Size([2, 3])
        >>> answer_in((torch.zeros(2, 1), torch.zeros(2, 5)), output=1).shape
        torch.Size([2, 5])
    """
    return named_answer_in(found, output)[1]


def named_answer_in(found: Any, output: str | int | None = None) -> tuple[str | None, Tensor]:
    """:func:`answer_in`, and the name it has where it was asked for by name or is of a known one.

    Example:
        >>> named_answer_in({"last_hidden_state": torch.ones(2, 3)})[0], named_answer_in((torch.ones(2, 3),))[0]
        ('last_hidden_state', None)
    """
    if isinstance(found, Tensor) and output is None:
        return None, found
    named = _fields(found)
    if output is not None:
        return (output if isinstance(output, str) else None), _asked_for(found, named, output)
    for name in ANSWERS:
        if isinstance(named.get(name), Tensor):
            return name, torch.as_tensor(named[name])
    for leaf in pytree.tree_leaves(named or found):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 0:
            return None, leaf
    raise ValueError(
        f"model answers with {type(found).__name__} without a tensor of numbers per sample: name one with output=, or wrap "
        "the model so that it returns one tensor"
    )


def _fields(found: Any) -> dict[str, Any]:
    """What has a name: entries of a map, fields of a named tuple, a dataclass or another object."""
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(found, Tensor | list | str | bytes | int | float | None):
        return {}
    if isinstance(found, tuple):
        return dict(found._asdict()) if hasattr(found, "_asdict") else {}
    if is_dataclass(found):
        return {entry.name: getattr(found, entry.name) for entry in fields(found)}
    return dict(vars(found)) if hasattr(found, "__dict__") else {}


def _asked_for(found: Any, named: Mapping[str, Any], output: str | int) -> Tensor:
    places = list(found) if isinstance(found, tuple | list) else list(named.values())
    value = named.get(output) if isinstance(output, str) else None
    if isinstance(output, int) and not isinstance(output, bool) and -len(places) <= output < len(places):
        value = places[output]
    if isinstance(value, Tensor):
        return value
    there = [repr(name) for name, entry in named.items() if isinstance(entry, Tensor)]
    there = there or [str(place) for place, entry in enumerate(places) if isinstance(entry, Tensor)]
    raise ValueError(
        f"output={output!r} is no tensor in the model's answer ({type(found).__name__}): "
        + (f"there are {', '.join(there)}" if there else "it answers a single tensor: leave output out")
    )
