"""Names of inputs that say which positions count."""

from __future__ import annotations

__all__ = ["DECODER_MASK", "MASK", "POSITION_MASKS", "is_mask"]

#: ``(samples, positions)``, zero where a position is padding: of what a network reads, and of what its decoder does.
MASK, DECODER_MASK = POSITION_MASKS = ("attention_mask", "decoder_attention_mask")


def is_mask(name: str) -> bool:
    """Whether an input of this name leaves something out where it is zero: no number to be drawn or stirred.

    Example:
        >>> is_mask("attention_mask"), is_mask("bool_mask"), is_mask("input_ids")
        (True, True, False)
    """
    return name.endswith("mask")
