"""Metropolis sweeps of sixteen reads side by side on one sparse energy: every instruction serves sixteen reads.

Fields and signs are stored ``(n, 16)``, so that a proposal is a vector operation, and the neighbour lists, which cost most
on sparse energies, are read once for all. Random numbers are xorshift128 in 32-bit words, one stream per lane. exp(−y) is
(1 − z + z²/2 − z³/6)²⁵⁶ with z = y/256, within 10⁻³ of itself up to y = 22, from where a proposal is refused: no branch, no
table, no call.
"""

from __future__ import annotations

import numba
import numpy as np

from annealnet.samplers.kernels.random import next_state, seeded

__all__ = ["LANES", "lane_streams", "start_lanes", "sweep_lanes"]

#: Reads per group: one cache line of float32.
LANES = 16
_REFUSED = np.float32(22.0)
_Z = np.float32(1.0 / 256.0)
_UNIT = np.float32(1.0 / 16777216.0)
_ONE, _ZERO, _TWO = np.float32(1.0), np.float32(0.0), np.float32(2.0)
_HALF, _SIXTH = np.float32(0.5), np.float32(1.0 / 6.0)


@numba.njit(cache=True)
def lane_streams(seed: np.uint64, groups: int) -> np.ndarray:
    """xorshift128 states uint32 ``(groups, 4, 16)``, each lane from its own read number."""
    found = np.empty((groups, 4, LANES), dtype=np.uint32)
    for g in range(groups):
        for lane in range(LANES):
            stream = seeded(seed, g * LANES + lane)
            for word in range(4):
                stream = next_state(stream)
                found[g, word, lane] = np.uint32(stream >> np.uint64(32)) | np.uint32(1)
    return found


@numba.njit(cache=True, parallel=True)
def start_lanes(
    linear: np.ndarray, starts: np.ndarray, columns: np.ndarray, values: np.ndarray,
    signs: np.ndarray, fields: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    """Fields ``(groups, n, 16)`` and energies ``(groups, 16)`` of signs 1 − 2x ``(groups, n, 16)``, all float32 but
    energies.
    """
    groups, n, _ = signs.shape
    for g in numba.prange(groups):
        total = np.zeros(LANES)
        for i in range(n):
            own = np.full(LANES, linear[i], dtype=np.float32)
            for k in range(starts[i], starts[i + 1]):
                other = signs[g, columns[k]]
                for lane in range(LANES):
                    own[lane] += values[k] * (_HALF - _HALF * other[lane])
            for lane in range(LANES):
                fields[g, i, lane] = own[lane]
                total[lane] += (0.5 - 0.5 * signs[g, i, lane]) * 0.5 * (own[lane] + linear[i])
        for lane in range(LANES):
            energies[g, lane] = total[lane]


@numba.njit(cache=True, parallel=True, fastmath=True)
def sweep_lanes(
    starts: np.ndarray, columns: np.ndarray, values: np.ndarray,
    signs: np.ndarray, fields: np.ndarray, energies: np.ndarray, betas: np.ndarray, random: np.ndarray,
) -> None:  # fmt: skip
    """Sweeps every group, betas float32 ``(groups, sweeps, 16)``, in place."""
    groups, n, _ = signs.shape
    for g in numba.prange(groups):
        group_signs, group_fields, words = signs[g], fields[g], random[g]
        step = np.zeros(LANES, dtype=np.float32)
        gained = np.zeros(LANES, dtype=np.float64)
        word = 0
        for sweep in range(betas.shape[1]):
            beta = betas[g, sweep]
            for i in range(n):
                s, f = group_signs[i], group_fields[i]
                least = np.float32(1e30)
                for lane in range(LANES):
                    least = min(least, f[lane] * s[lane] * beta[lane])
                if least >= _REFUSED:
                    continue
                oldest, newest = words[word], words[(word + 3) & 3]
                taken = _ZERO
                for lane in range(LANES):
                    t = oldest[lane]
                    t = np.uint32(t ^ np.uint32(t << np.uint32(11)))
                    t = np.uint32(t ^ np.uint32(t >> np.uint32(8)))
                    w = newest[lane]
                    w = np.uint32(np.uint32(w ^ np.uint32(w >> np.uint32(19))) ^ t)
                    oldest[lane] = w
                    uniform = np.float32(np.int32(np.uint32(w >> np.uint32(8)))) * _UNIT
                    cost = f[lane] * s[lane] * beta[lane]
                    z = min(max(cost, _ZERO), _REFUSED) * _Z
                    e = _ONE - z * (_ONE - z * (_HALF - z * _SIXTH))
                    e = e * e
                    e = e * e
                    e = e * e
                    e = e * e
                    e = e * e
                    e = e * e
                    e = e * e
                    e = e * e
                    chance = e if cost != _ZERO else _HALF  # see :mod:`.free`: a flip that costs nothing
                    chosen = s[lane] if uniform < chance else _ZERO
                    step[lane] = chosen
                    taken += abs(chosen)
                word = (word + 1) & 3
                if taken == _ZERO:
                    continue
                for k in range(starts[i], starts[i + 1]):
                    other, value = group_fields[columns[k]], values[k]
                    for lane in range(LANES):
                        other[lane] += value * step[lane]
                for lane in range(LANES):
                    gained[lane] += f[lane] * step[lane]
                    s[lane] -= _TWO * step[lane]
        # the words are turned so that the next call starts with the oldest one again
        for lane in range(LANES):
            a, b = words[word, lane], words[(word + 1) & 3, lane]
            c, d = words[(word + 2) & 3, lane], words[(word + 3) & 3, lane]
            words[0, lane], words[1, lane], words[2, lane], words[3, lane] = a, b, c, d
            energies[g, lane] += gained[lane]
