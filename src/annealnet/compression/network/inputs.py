"""What a network is called with and what it answers: tensors, dicts, several inputs; a tensor, a tuple, an object of fields.

Everything that runs a network on calibration data does it through :class:`Inputs`, so that nothing else knows how this
network wants to be called, or where in its answer the numbers are.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["Inputs", "answer_in", "calling_settings", "plain_attention"]

#: Names under which networks answer what they were trained for, the likeliest first.
ANSWERS = ("logits", "prediction_logits", "last_hidden_state", "image_embeds", "text_embeds", "pooler_output")


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of some samples, as the network takes them.

    Attributes:
        args: tensors given by position, each ``(samples, …)``.
        kwargs: tensors given by name, each ``(samples, …)``.
        settings: what every call is given beside, the same for all samples: ``use_cache=False``.
        output: name or number of the answer that counts; None finds it (:func:`answer_in`).

    Raises:
        ValueError: when there is no tensor, or their numbers of samples differ.

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
    settings: Mapping[str, Any] = field(default_factory=dict)
    output: str | int | None = None

    def __post_init__(self) -> None:
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

    def __len__(self) -> int:
        return len(self.main)

    def __getitem__(self, some: slice | Tensor) -> Inputs:
        """Some of the samples."""
        return self._each(lambda tensor: tensor[some])

    def split(self, batch_size: int) -> Iterator[Inputs]:
        """Batches of so many samples, views of these."""
        for first in range(0, len(self), batch_size):
            yield self[first : first + batch_size]

    def clone(self) -> Inputs:
        """In memory of their own."""
        return self._each(Tensor.clone)

    def _each(self, change: Any) -> Inputs:
        return replace(
            self,
            args=tuple(change(tensor) for tensor in self.args),
            kwargs={name: change(tensor) for name, tensor in self.kwargs.items()},
        )

    def call(self, model: nn.Module) -> Any:
        """Whatever the network gives back. The network sees these very tensors: give it a :meth:`clone`."""
        with plain_attention():
            return model(*self.args, **self.kwargs, **self.settings)

    def answer(self, model: nn.Module) -> Tensor:
        """The tensor that counts in what the network gives back, see :func:`answer_in`."""
        return answer_in(self.call(model), self.output)


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """PyTorch's transformer layers call their parts, not one fused operation for inference that reads their weights."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def calling_settings(model: nn.Module) -> dict[str, Any]:
    """What a network has to be told with every call: to keep no cache of earlier tokens, where it would.

    Example:
        >>> calling_settings(nn.Linear(2, 1))
        {}
    """
    return {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}


def answer_in(found: Any, output: str | int | None = None) -> Tensor:
    """The tensor in an answer that counts: itself, the one named, the one of a known name, or the first of floats.

    Args:
        found: what a network gave back: a tensor, a sequence, a map, an object of fields.
        output: a name (of a map's entry or an object's field), or a place in a sequence.

    Raises:
        ValueError: when there is no such tensor; says which there are.

    Example:
        >>> answer_in({"loss": torch.zeros(()), "logits": torch.ones(2, 3)}).shape
        torch.Size([2, 3])
        >>> answer_in((torch.zeros(2, 1), torch.zeros(2, 5)), output=1).shape
        torch.Size([2, 5])
    """
    if isinstance(found, Tensor) and output is None:
        return found
    named = dict(found) if isinstance(found, Mapping) else {}
    if output is not None:
        return _asked_for(found, named, output)
    for name in ANSWERS:
        if isinstance(named.get(name), Tensor):
            return torch.as_tensor(named[name])
    for leaf in pytree.tree_leaves(found):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.ndim > 0:
            return leaf
    raise ValueError(
        f"model answers with {type(found).__name__} without a tensor of numbers per sample: name one with output=, or wrap "
        "the model so that it returns one tensor"
    )


def _asked_for(found: Any, named: Mapping[str, Any], output: str | int) -> Tensor:
    value = named.get(output) if isinstance(output, str) else None
    if isinstance(output, int) and isinstance(found, tuple | list) and -len(found) <= output < len(found):
        value = found[output]
    if isinstance(value, Tensor):
        return value
    there = [name for name, entry in named.items() if isinstance(entry, Tensor)]
    if isinstance(found, tuple | list):
        there = [str(place) for place, entry in enumerate(found) if isinstance(entry, Tensor)]
    raise ValueError(
        f"output={output!r} is no tensor in the model's answer ({type(found).__name__}): "
        + (f"there are {', '.join(there)}" if there else "it answers a single tensor: leave output out")
    )
