"""Shapes of answers and labels: compared, and as errors and reports say them."""

from __future__ import annotations

from torch import Tensor

__all__ = ["in_words", "same_sizes", "sizes_in_words"]


def same_sizes(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether sizes are equal but for axes of one entry."""
    return [size for size in one if size != 1] == [size for size in other if size != 1]


def in_words(tensor: Tensor) -> str:
    """Its shape, as errors and reports say it."""
    return sizes_in_words(tuple(tensor.shape[1:]))


def sizes_in_words(shape: tuple[int, ...]) -> str:
    """Sizes behind that of the samples.

    Example:
        >>> sizes_in_words((3, 4)), sizes_in_words(())
        ('(N, 3, 4)', '(N,)')
    """
    return f"(N{''.join(f', {size}' for size in shape)}{',' if not shape else ''})"
