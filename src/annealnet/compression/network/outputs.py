"""Which tensor of what a network gives back counts: of a tuple, a map, an object of fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["answer_in", "named_answer_in"]

#: Names under which networks answer what they were trained for, the likeliest first.
ANSWERS = ("logits", "prediction_logits", "image_embeds", "text_embeds", "last_hidden_state", "pooler_output")


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
