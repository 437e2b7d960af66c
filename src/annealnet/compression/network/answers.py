"""The user's network on calibration inputs: that it takes them, what it answers, and which of its answers count."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from annealnet.compression.network.batches import first_line
from annealnet.compression.network.casts import last_cast
from annealnet.compression.network.given import working_copy
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.live import batches_of
from annealnet.compression.network.outputs import answer_in
from annealnet.compression.network.precision import in_float32

__all__ = [
    "all_answers_of",
    "answers_of",
    "check_network",
    "check_samples",
    "copies",
    "labels_that_count",
    "that_count",
]

#: Whole numbers that may be rows of a table.
_TOKENS = (torch.int32, torch.int64)
#: Inputs whose squares come near the end of float32: an answer that overflows is theirs.
_LARGE = 1e15
#: In what torch raises where the dtypes of two operands differ.
_OF_DTYPES = ("dtype", "scalar type", "data type")


def copies(x: Tensor | Inputs, batch_size: int) -> Iterator[Inputs]:
    """The inputs in batches of their own memory: a forward that changes its input in place changes only its copy.

    Example:
        >>> x = torch.ones(3, 1)
        >>> [len(batch.main.zero_()) for batch in copies(x, 2)], float(x.sum())
        ([2, 1], 3.0)
    """
    for part in Inputs.of(x).split(batch_size):
        yield part.clone()


@torch.no_grad()
def all_answers_of(model: nn.Module, x: Tensor | Inputs, at_once: int | None = None) -> Tensor:
    """The network's answers to all inputs: ``(samples, …)``, on the CPU, numbers in float32 whatever the network's dtype is.

    The inputs are not changed, whatever its forward does.

    Args:
        model: a network.
        x: all inputs.
        at_once: samples that go through it together; None counts them (:func:`.batches_of`).

    Example:
        >>> x = -torch.ones(3, 1)
        >>> all_answers_of(nn.ReLU(inplace=True), x).flatten().tolist(), float(x.sum())
        ([0.0, 0.0, 0.0], -3.0)
    """
    inputs = Inputs.of(x)
    batches = batches_of(model, inputs) if at_once is None else inputs.split(at_once)
    found = torch.cat([batch.clone().answer(model).cpu() for batch in batches])
    return found.float() if found.is_floating_point() else found


def answers_of(model: nn.Module, x: Tensor | Inputs, at_once: int | None = None) -> Tensor:
    """Those of the network's answers that count: where an attention mask leaves positions out, ``(positions, …)``.

    Arguments as of :func:`all_answers_of`.

    Example:
        >>> answers_of(nn.Linear(3, 2), torch.ones(5, 3)).shape
        torch.Size([5, 2])
    """
    return that_count(Inputs.of(x), all_answers_of(model, x, at_once))


def that_count(x: Inputs, answers: Tensor) -> Tensor:
    """Of answers ``(samples, positions, …)`` to these inputs the positions that count, one behind the other.

    Where inputs are padded, each position that counts is judged like a sample; the others are not judged at all.

    Example:
        >>> x = Inputs(kwargs={"input_ids": torch.ones(1, 3), "attention_mask": torch.tensor([[1, 1, 0]])})
        >>> that_count(x, torch.zeros(1, 3, 5)).shape
        torch.Size([2, 5])
    """
    counted = x.counted(answers)
    if counted is None:
        return answers
    return answers.flatten(0, 1) if bool(counted.all()) else answers[counted]  # a language model's are gigabytes


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
    dense = in_float32(working_copy(model)).eval().requires_grad_(False)
    check_samples(dense, x)
    return dense


def check_samples(dense: nn.Module, x: Tensor | Inputs, argument: str = "data") -> None:
    """Runs a network on two samples, and on those that hold the largest and the smallest of whole numbers, tokens mostly.

    Raises:
        ValueError: when it does not take them, casts to a precision that its next layer does not take, or does not answer a
            tensor of finite numbers with an entry per sample.

    Example:
        >>> check_samples(nn.Linear(3, 2), torch.zeros(1, 3))
    """
    some = _telling(Inputs.of(x))
    try:
        with torch.no_grad():
            found = some.clone().call(dense)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError) as error:
        cast = last_cast(dense, some) if any(word in str(error) for word in _OF_DTYPES) else None
        if cast is not None:
            raise ValueError(
                f"model does not run in float32, in which everything is computed ({first_line(error)}): {cast}; take the "
                "cast out, or cast to the dtype of what reads it next, as x.to(self.linear.weight.dtype) does"
            ) from error
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


def _telling(x: Inputs) -> Inputs:
    """The first two samples, and those at the ends of what a table may be asked for."""
    places = [0, 1][: len(x)]
    for tensor in x.tensors.values():
        if tensor.dtype in _TOKENS and tensor.numel():
            flat = tensor.reshape(len(x), -1)
            places += [int(flat.amax(1).argmax()), int(flat.amin(1).argmin())]
    return x[torch.tensor(list(dict.fromkeys(places)))]


def _shape_in_words(x: Inputs) -> str:
    if len(x.tensors) == 1 and x.args:
        return f"shape {tuple(x.main.shape[1:])}{_range_in_words(x.main)}"
    return ", ".join(f"{name} {tuple(tensor.shape[1:])}{_range_in_words(tensor)}" for name, tensor in x.tensors.items())


def _range_in_words(tensor: Tensor) -> str:
    known = tensor.dtype in _TOKENS and tensor.numel()
    return f", {int(tensor.min())} to {int(tensor.max())}" if known else ""
