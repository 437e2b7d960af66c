"""What a network is called with and what it answers: tensors, dicts, several inputs; a tensor, a tuple, an object of fields.

Everything that runs a network on calibration data does it through :class:`Inputs`, so that nothing else knows how this
network wants to be called, or where in its answer the numbers are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from annealnet.compression.network.forward import plain_attention
from annealnet.compression.network.masks import counted_positions, is_mask, without_padding
from annealnet.compression.network.outputs import answer_in
from annealnet.compression.network.signature import Sample, Setting, Signature, check_names

__all__ = ["Inputs"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of some samples, as the network takes them.

    Attributes:
        args: tensors given by position, each ``(samples, …)``.
        kwargs: tensors given by name, each ``(samples, …)``.
        settings: what every call is given beside, the same for all samples: ``use_cache=False``.
        output: name or number of the answer that counts; None finds it (:func:`.answer_in`).

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
        check_names(self.kwargs, self.settings)
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
    def zeros(cls, called: Signature, samples: int = 1) -> Inputs:
        """Inputs of that kind: zeros; ones where they are masks, which leave nothing out.

        Example:
            >>> Inputs.zeros(Signature.single(3, 8, 8), 2).shapes
            {'0': (3, 8, 8)}
        """

        def some(sample: Sample, name: str = "") -> Tensor:
            make = torch.ones if is_mask(name) else torch.zeros
            return make((samples, *sample.shape), dtype=getattr(torch, sample.dtype))

        named = {name: some(sample, name) for name, sample in called.kwargs.items()}
        return cls(tuple(some(sample) for sample in called.args), named, called.settings, called.output)

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
        """The tensor that counts in what the network gives back, see :func:`.answer_in`."""
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
        return counted_positions(self.kwargs, self.output, answers)

    def present(self, x: Tensor) -> Tensor:
        """Of what a layer reads, ``(samples, positions, features)``, what is no padding: ``(rows, features)``.

        As it is where no mask is of that shape, where masks differ, or nothing is padded.

        Example:
            >>> x = Inputs(kwargs={"input_ids": torch.ones(1, 3), "attention_mask": torch.tensor([[1, 1, 0]])})
            >>> x.present(torch.zeros(1, 3, 5)).shape, x.present(torch.zeros(1, 4, 5)).shape
            (torch.Size([2, 5]), torch.Size([1, 4, 5]))
        """
        return without_padding(self.kwargs, x)
