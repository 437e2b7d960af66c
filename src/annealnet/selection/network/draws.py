"""Random numbers that a file can rely on: counter-based, the same in every version of NumPy and on every machine.

NumPy promises no stable stream between versions, and a network kept as «seed + mask» is lost when its weights change. Draw k
of a stream is splitmix64 of a counter, so that any part can be drawn on its own.
"""

from __future__ import annotations

import numpy as np

__all__ = ["normals", "signs", "uniforms", "words"]

_STEP, _STREAM = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_ONE, _TWO = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def words(seed: int, stream: int, count: int) -> np.ndarray:
    """uint64 ``(count,)``.

    Example:
        >>> words(1, 0, 2).tolist() == words(1, 0, 3)[:2].tolist(), int(words(1, 0, 1)[0]) != int(words(1, 1, 1)[0])
        (True, True)
    """
    with np.errstate(over="ignore"):
        base = _mixed(np.array([seed], dtype=np.uint64) * _STEP + np.uint64(stream + 1) * _STREAM)
        return _mixed(base + np.arange(1, count + 1, dtype=np.uint64) * _STEP)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _ONE
    z = (z ^ (z >> np.uint64(27))) * _TWO
    return np.asarray(z ^ (z >> np.uint64(31)))


def signs(seed: int, stream: int, count: int) -> np.ndarray:
    """−1 or +1, float32 ``(count,)``; exact everywhere.

    Example:
        >>> float(abs(signs(0, 0, 1000).mean())) < 0.1
        True
    """
    return np.where(words(seed, stream, count) >> np.uint64(63), np.float32(1.0), np.float32(-1.0))


def uniforms(seed: int, stream: int, count: int) -> np.ndarray:
    """In (0, 1), float64 ``(count,)``."""
    return np.asarray(((words(seed, stream, count) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


def normals(seed: int, stream: int, count: int) -> np.ndarray:
    """Standard normal, float32 ``(count,)``, by Box and Muller; equal up to the last place of log and cos."""
    pairs = uniforms(seed, stream, 2 * count).reshape(2, count)
    return np.asarray(np.sqrt(-2 * np.log(pairs[0])) * np.cos(2 * np.pi * pairs[1]), dtype=np.float32)
