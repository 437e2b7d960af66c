# mypy: disable-error-code="untyped-decorator"
"""The two sums that scale search needs, for every output channel and many scales, in one pass each.

Written for the CPU's caches: a channel's weights stay in the first level while all scales are tried on them.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["projections", "rounding_errors"]


@numba.njit(cache=True, fastmath=True)
def rounding_errors(weights: np.ndarray, moments: np.ndarray, scales: np.ndarray, q: int) -> np.ndarray:
    """Σ_i m_i (w_i − s · clip(round(w_i / s), ±q))² for every channel and scale.

    Args:
        weights: float32 ``(channels, fan_in)``.
        moments: float32 ``(fan_in,)``, the weight m of each error.
        scales: float32 ``(channels, tried)``, positive.
        q: largest code.

    Returns:
        float32 ``(channels, tried)``.

    Example:
        >>> one = np.ones((1, 1), dtype=np.float32)
        >>> rounding_errors(0.75 * one, one[0], np.array([[0.5, 0.25]], dtype=np.float32), 1).tolist()
        [[0.0625, 0.25]]
    """
    channels, fan_in = weights.shape
    limit = np.float32(q)
    errors = np.empty(scales.shape, dtype=np.float32)
    for o in range(channels):
        for k in range(scales.shape[1]):
            s = scales[o, k]
            inverse = np.float32(1) / s
            total = np.float32(0)
            for i in range(fan_in):
                code = min(max(np.rint(weights[o, i] * inverse), -limit), limit)
                residual = weights[o, i] - s * code
                total += moments[i] * residual * residual
            errors[o, k] = total
    return errors


@numba.njit(cache=True, fastmath=True)
def projections(weights: np.ndarray, moments: np.ndarray, scale: np.ndarray, q: int) -> np.ndarray:
    """Σ m w c and Σ m c² for the codes c of one scale per channel: float32 ``(2, channels)``.

    Their quotient is the least-squares scale of those codes.

    Example:
        >>> one = np.ones((1, 2), dtype=np.float32)
        >>> projections(0.75 * one, one[0], np.array([0.5], dtype=np.float32), 1).ravel().tolist()
        [1.5, 2.0]
    """
    channels, fan_in = weights.shape
    limit = np.float32(q)
    sums = np.zeros((2, channels), dtype=np.float32)
    for o in range(channels):
        inverse = np.float32(1) / scale[o]
        for i in range(fan_in):
            code = min(max(np.rint(weights[o, i] * inverse), -limit), limit)
            sums[0, o] += moments[i] * weights[o, i] * code
            sums[1, o] += moments[i] * code * code
    return sums
