"""Numbers as they are stored: float16, times one power of two for all scales of a layer and one for its biases.

    v ≈ 2^e · h,      h: float16,      e = ⌊log₂ max |v|⌋ − 15

The largest number lies at the upper end of float16 and every number down to 2⁻²⁹ of it keeps float16's eleven significant
bits, whether the layer lives at 1e-12 or at 1e9. So two bytes per number and one per exponent are known before anything is
computed. *Our reconstruction.*
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["EXPONENTS", "from_halves", "storable", "stored", "stored_bias", "stored_scales", "to_halves"]

#: Least and largest e: float32 holds every product exactly between them.
EXPONENTS = (-100, 112)
#: Of float16: the largest number, the smallest one, and the bits of its fraction.
_LARGEST, _SMALLEST, _FRACTION = 65504.0, 2.0**-24, 10
#: Scales below this share of a layer's largest have fewer than five bits left: their weights are taken for zero.
_FAINTEST = 2.0**-35


def _eleven_bits(values: np.ndarray) -> np.ndarray:
    """float64 values of eleven significant bits, ties to even."""
    fraction, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(fraction, _FRACTION + 1)), exponent - _FRACTION - 1))


def storable(scale: np.ndarray) -> np.ndarray:
    """Scales that are tried, float32 with float16's eleven bits and any exponent; zero becomes one.

    Example:
        >>> storable(np.array([0.0, 0.1])).tolist() == [1.0, float(np.float16(0.1))]
        True
        >>> float(storable(np.array([1e-9]))[0]) == float(np.float16(1e-9 * 2**30)) / 2**30
        True
    """
    top = _LARGEST * 2.0 ** EXPONENTS[1]
    rounded = _eleven_bits(np.where(np.asarray(scale) == 0, 1.0, scale))
    return np.asarray(np.clip(rounded, -top, top), dtype=np.float32)


def to_halves(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers as a file holds them: h, float16 of the same shape, and e within ``EXPONENTS``.

    Raises:
        ValueError: when a number is NaN or infinite.

    Example:
        >>> to_halves(np.array([3e9, -1e9]))[1], from_halves(*to_halves(np.array([2.0**40, 3072.0]))).tolist()
        (16, [1099511627776.0, 3072.0])
    """
    wanted = np.asarray(values, dtype=np.float64)
    if not np.isfinite(wanted).all():
        raise ValueError("values holds NaN or infinite numbers, which cannot be stored: mend the network they come from")
    peak = float(np.abs(_eleven_bits(wanted)).max(initial=0.0))
    exponent = 0 if peak == 0 else int(np.clip(np.frexp(peak)[1] - 16, *EXPONENTS))
    return np.clip(np.ldexp(wanted, -exponent), -_LARGEST, _LARGEST).astype(np.float16), exponent


def from_halves(halves: np.ndarray, exponent: int) -> np.ndarray:
    """2^e · h, exactly: float32."""
    return np.asarray(np.ldexp(halves.astype(np.float64), exponent), dtype=np.float32)


def stored(values: np.ndarray) -> np.ndarray:
    """The numbers that come back from a file: float32; stored again, they stay.

    Example:
        >>> once = stored(np.array([1e-12, 0.1, 7e8]))
        >>> bool((stored(once) == once).all()), stored(np.array([0.1])).tolist() == [float(np.float16(0.1))]
        (True, True)
    """
    return from_halves(*to_halves(values))


def stored_bias(bias: Tensor) -> Tensor:
    """A layer's biases as they are stored: float32 of the same shape.

    Example:
        >>> stored_bias(torch.tensor([1e6, 0.25])).tolist()
        [999936.0, 0.25]
    """
    return torch.from_numpy(stored(bias.detach().cpu().float().numpy()))


def stored_scales(scale: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A layer's scales as they are stored, all positive.

    Args:
        scale: positive, one per output channel or group.
        used: bool of the same shape, whether a weight on that scale is not zero. Scales that are not used take the largest
            one's place, so that they do not move the others.

    Returns:
        Scales, float32; and bool of the same shape: used, but too small beside the largest one to be told from zero.

    Example:
        >>> stored_scales(np.array([0.5, 1.0, 1e-20]), np.array([True, False, True]))[0].tolist()
        [0.5, 0.5, 9.094947017729282e-13]
    """
    scale = np.asarray(scale, dtype=np.float64)
    top = float(scale.max(initial=0.0, where=used)) or 1.0
    halves, exponent = to_halves(np.where(used, scale, top))
    return from_halves(np.maximum(halves, np.float16(_SMALLEST)), exponent), used & (scale < _FAINTEST * top)
