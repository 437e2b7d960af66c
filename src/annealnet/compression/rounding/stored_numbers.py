"""Numbers as they are stored: float16 where that keeps them, float32 where it would not."""

from __future__ import annotations

import numpy as np

__all__ = ["SMALLEST_HALF", "storable"]

#: float16 keeps at least five significant bits above this; smaller scales are kept in float32.
SMALLEST_HALF = 2.0**-20
_LARGEST_HALF = 65504.0


def storable(scale: np.ndarray) -> np.ndarray:
    """Scales as stored: float16 numbers, or float32 where these would lose them; zero becomes one.

    Example:
        >>> storable(np.array([0.0, 0.1, 1e-9])).tolist() == [1.0, float(np.float16(0.1)), float(np.float32(1e-9))]
        True
    """
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    within = (np.abs(scale) >= SMALLEST_HALF) & (np.abs(scale) <= _LARGEST_HALF)
    return np.where(within, np.where(within, scale, 1).astype(np.float16).astype(np.float32), scale)
