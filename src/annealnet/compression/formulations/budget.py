"""What the compressed network may cost: bytes of the files written, and multiply-adds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from annealnet.whole_numbers import whole_attributes

__all__ = ["Budget", "Limits", "NoPlan"]


class NoPlan(ValueError):
    """No plan within the budget was found: the method's end, where another method may find one."""


@dataclass(frozen=True)
class Limits:
    """A budget in absolute numbers.

    Attributes:
        bytes: most bytes of ``plan.json`` and ``model.safetensors`` together, or None.
        macs: most multiply-adds of one sample's forward pass, or None.
    """

    bytes: int | None
    macs: int | None


@dataclass(frozen=True)
class Budget:
    """How small the network must become. Met, never exceeded; several limits hold together.

    Args:
        size_ratio: dense bytes (float32 state dict as a safetensors file) over compressed bytes (both files that
            ``save`` writes); 10 means a tenth.
        bytes: most bytes of the files written.
        macs_ratio: dense over compressed multiply-adds of one forward pass.

    Raises:
        ValueError: when no limit is given, when size is given twice, or a limit is not a positive number.

    Example:
        >>> Budget(size_ratio=10).limits(dense_bytes=1_094_288, dense_macs=40_000_000)
        Limits(bytes=109428, macs=None)
    """

    size_ratio: float | None = None
    bytes: int | None = None
    macs_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.size_ratio is None and self.bytes is None and self.macs_ratio is None:
            raise ValueError("budget is empty: give size_ratio=…, bytes=… or macs_ratio=…")
        if self.size_ratio is not None and self.bytes is not None:
            raise ValueError("size_ratio and bytes both limit the size: give one of them")
        for name in ("size_ratio", "macs_ratio"):
            ratio = getattr(self, name)
            if ratio is not None and not (math.isfinite(ratio) and ratio >= 1):
                raise ValueError(f"{name}={ratio!r} must be a number of at least 1 (10 means a tenth of the dense network)")
        whole_attributes(self, 1, "bytes")

    def limits(self, dense_bytes: int, dense_macs: int) -> Limits:
        """The budget in bytes and multiply-adds for a dense network of this size."""
        size = self.bytes
        if self.size_ratio is not None:
            size = math.floor(dense_bytes / self.size_ratio)
        macs = None if self.macs_ratio is None else math.floor(dense_macs / self.macs_ratio)
        return Limits(size, macs)
