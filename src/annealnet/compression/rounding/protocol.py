"""How weights go to their grid, as an interface."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from annealnet.compression.rounding.grids import Quantized

__all__ = ["Rounding", "rounder_name"]


class Rounding(Protocol):
    """How weights go to their grid."""

    @property
    def group(self) -> int | None:
        """Weights of an output channel that share a scale; None for all of them."""
        ...

    @property
    def symmetric(self) -> bool:
        """Whether zero points are 0."""
        ...

    def __call__(self, weight: Tensor, bits: int, gram: Tensor | None) -> Quantized:
        """Rounds a weight.

        Args:
            weight: ``(out_channels, ...)``.
            bits: 1 … 8.
            gram: what is known of the inputs, G of ``(groups, fan_in, fan_in)``: the error of a row z is
                (z − w)ᵀ G (z − w); ``groups`` is 1 but for grouped convolutions. None where nothing is known.
        """
        ...

    def quick(self) -> Rounding:
        """The same with less effort, for probes and for candidates that are only compared; itself where there is no less."""
        ...


def rounder_name(rounding: Rounding) -> str:
    """What certificates and reports call a rounding: its class, and the torch device where it runs on one.

    Example:
        >>> from annealnet.compression.rounding import AnnealedRounding, NearestRounding
        >>> rounder_name(NearestRounding()), rounder_name(AnnealedRounding(device="cpu"))
        ('NearestRounding', 'AnnealedRounding on cpu')
    """
    place = getattr(rounding, "place", None)
    return type(rounding).__name__ + ("" if place is None else f" on {place}")
