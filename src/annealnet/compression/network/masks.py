"""Inputs that say which positions count: their names, and what they leave of answers and of what layers read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["DECODER_MASK", "MASK", "POSITION_MASKS", "counted_positions", "is_mask", "without_padding"]

#: ``(samples, positions)``, zero where a position is padding: of what a network reads, and of what its decoder does.
MASK, DECODER_MASK = POSITION_MASKS = ("attention_mask", "decoder_attention_mask")


def is_mask(name: str) -> bool:
    """Whether an input of this name leaves something out where it is zero: no number to be drawn or stirred.

    Example:
        >>> is_mask("attention_mask"), is_mask("bool_mask"), is_mask("input_ids")
        (True, True, False)
    """
    return name.endswith("mask")


def counted_positions(named: Mapping[str, Tensor], output: str | int | None, answers: Tensor) -> Tensor | None:
    """Which positions of answers count: bool ``(samples, positions)``; None where there is nothing to leave out.

    Args:
        named: a call's tensors by name.
        output: name or number of the answer that counts.
        answers: those to any samples; only their shape is read.
    """
    decoded = any(name.startswith("decoder_") for name in named) and not str(output).startswith("encoder_")
    mask = named.get(DECODER_MASK if decoded else MASK)
    if mask is None or mask.ndim != 2 or answers.ndim < 3 or mask.shape[1] != answers.shape[1]:
        return None
    return mask != 0


def without_padding(named: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Of what a layer reads, ``(samples, positions, features)``, what is no padding: ``(rows, features)``.

    Args:
        named: a call's tensors by name.
        x: what the layer reads; as it is where no mask is of that shape, where masks differ, or nothing is padded.
    """
    masks = [named[name] != 0 for name in POSITION_MASKS if name in named]
    masks = [mask for mask in masks if x.ndim == 3 and mask.shape == x.shape[:2]]
    if not masks or not all(torch.equal(mask, masks[0]) for mask in masks) or bool(masks[0].all()):
        return x
    return x[masks[0]] if bool(masks[0].any()) else x
