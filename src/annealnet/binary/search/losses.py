"""Compiled losses of a binary network and their changes: cross-entropy of softmax(scale · t), or errors (scale 0).

Arrays have the classes first and the samples contiguous: scores t ``(C, N)`` int32, and float32 e, which are in proportion
to exp(scale · t) within each sample. Where exponents are beyond what products of float32 bear, losses are computed from t in
float64, sample by sample.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "exponentials",
    "hard_changes",
    "logarithms",
    "moved",
    "renew",
    "sample_change",
    "soft_changes",
    "stepped_changes",
    "sums",
    "total_loss",
    "wrong_answer",
]

#: Exponents that stay normal float32 numbers, those whose steps are safe beside that floor, and an e that is not.
_DEEPEST, _SAFE, _TINY = 80.0, 20.0, np.float32(1e-25)
#: How far a sum of e may drift either way from the 1 of its largest at first: so far above the floor _TINY that what is
#: lost there is less than 1e-19 of the sum.
_DRIFT = np.float32(1e6)
#: Powers of a table that are products of one power.
_BLOCK = 64
#: Exponents of float64 beside which 1 stays 1.
_NOTHING = 40.0
_LN2 = np.float32(0.6931471805599453)
#: ln(1+t) on [√½ − 1, √2 − 1], relative error below 2e-7 (minimax, from Cephes' logf).
_P = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
      -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip


@numba.njit(cache=True)
def logarithms(values, bits, out):  # type: ignore[no-untyped-def]
    """out = ln(values) for positive normal float32, vectorised; ``bits`` is the same memory seen as int32."""
    for s in range(len(values)):
        # the exponent is split off so that the mantissa lies in [√½, √2)
        exponent = (bits[s] - 0x3F3504F3) >> 23
        mantissa_bits = bits[s] - (exponent << 23)
        out[s] = np.float32(exponent)
        bits[s] = mantissa_bits
    for s in range(len(values)):
        t = values[s] - np.float32(1)
        p = np.float32(_P[0])
        for k in range(1, 9):
            p = p * t + np.float32(_P[k])
        square = t * t
        out[s] = out[s] * _LN2 + (t - np.float32(0.5) * square + t * square * p)


@numba.njit(cache=True)
def renew(t, e, s, scale):  # type: ignore[no-untyped-def]
    """e of sample s anew: exp(scale · (t − the sample's largest)), at least e⁻⁸⁰."""
    most = t[0, s]
    for c in range(1, len(t)):
        most = max(most, t[c, s])
    for c in range(len(t)):
        e[c, s] = np.float32(np.exp(max(scale * (t[c, s] - most), -_DEEPEST)))


@numba.njit(cache=True)
def _powers(t, scale, deepest):  # type: ignore[no-untyped-def]
    """Each sample's largest score, and e^{−scale k}, at least e^{−deepest}, for the k by which scores lie below it."""
    classes, samples = t.shape
    most = t[0].copy()
    for c in range(1, classes):
        for s in range(samples):
            most[s] = max(most[s], t[c, s])
    below = 0
    for c in range(classes):
        for s in range(samples):
            below = max(below, most[s] - t[c, s])
    last = min(below, int(deepest / scale) + 1)
    # most of a table's time is exponentials: of one block, and one per block after that, the rest are products
    table, least = np.empty(last + 1), np.exp(-deepest)
    for k in range(min(_BLOCK, last + 1)):
        table[k] = max(np.exp(-k * scale), least)
    for begin in range(_BLOCK, last + 1, _BLOCK):
        power = np.exp(-begin * scale)
        for k in range(min(_BLOCK, last + 1 - begin)):
            table[begin + k] = max(power * table[k], least)
    return most, table


@numba.njit(cache=True)
def exponentials(t, scale, e):  # type: ignore[no-untyped-def]
    """The same for all samples, from a table over whole numbers."""
    most, powers = _powers(t, scale, _DEEPEST)
    table, last = powers.astype(np.float32), len(powers) - 1
    for c in range(len(t)):
        for s in range(len(most)):
            e[c, s] = table[min(most[s] - t[c, s], last)]


@numba.njit(cache=True)
def moved(value):  # type: ignore[no-untyped-def]
    """An exponential after a step; infinite where it has become so small or large that its sample is to be renewed."""
    return value if _TINY < value < np.float32(1) / _TINY else np.float32(np.inf)


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def sums(t, e, scale, total):  # type: ignore[no-untyped-def]
    """total_s = Σ_c e_cs; samples whose e have drifted out of range are renewed before.

    Only the proportions of a sample's e matter. Steps move them by products, which may leave float32; a sum within
    ``_DRIFT`` of 1 says that the largest is near 1, and those at the floor of e⁻⁸⁰ are nothing beside it.
    """
    classes, samples = e.shape
    total[:] = 0
    for c in range(classes):
        for s in range(samples):
            total[s] += e[c, s]
    for s in range(samples):
        if not (np.float32(1) / _DRIFT < total[s] < _DRIFT):
            renew(t, e, s, scale)
            total[s] = 0
            for c in range(classes):
                total[s] += e[c, s]


@numba.njit(cache=True)
def wrong_answer(t, s, y):  # type: ignore[no-untyped-def]
    """1 if sample s is answered wrongly: the first of the largest scores wins."""
    for c in range(len(t)):
        if t[c, s] > t[y, s] or (t[c, s] == t[y, s] and c < y):
            return np.float32(1)
    return np.float32(0)


@numba.njit(cache=True)
def total_loss(t, y, scale):  # type: ignore[no-untyped-def]
    """Errors (scale 0), else the cross-entropy of softmax(scale · t), summed over the samples."""
    found = 0.0
    if scale == 0:
        for s in range(len(y)):
            found += wrong_answer(t, s, y[s])
        return found
    most, table = _powers(t, scale, _NOTHING)
    last, parts = len(table) - 1, np.zeros(len(y))
    for c in range(len(t)):
        for s in range(len(y)):
            parts[s] += table[min(most[s] - t[c, s], last)]
    for s in range(len(y)):
        found += np.log(parts[s]) - scale * (t[y[s], s] - most[s])
    return found


@numba.njit(cache=True)
def sample_change(t, s, y, steps, scale):  # type: ignore[no-untyped-def]
    """Change of one sample's loss when its class scores change by ``steps``."""
    if scale == 0:
        wrong = np.float32(0)
        for c in range(len(steps)):
            lead = t[c, s] + steps[c] - t[y, s] - steps[y]
            if lead > 0 or (lead == 0 and c < y):
                wrong = np.float32(1)
        return wrong - wrong_answer(t, s, y)
    most, then = t[0, s], t[0, s] + steps[0]
    for c in range(1, len(steps)):
        most, then = max(most, t[c, s]), max(then, t[c, s] + steps[c])
    before, after = 0.0, 0.0
    for c in range(len(steps)):
        before += np.exp(scale * (t[c, s] - most))
        after += np.exp(scale * (t[c, s] + steps[c] - then))
    return np.float32(np.log(after) - np.log(before) + scale * (then - most - steps[y]))


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def soft_changes(t, e, f, y, v, scale, work, d):  # type: ignore[no-untyped-def]
    """d_s: change of the cross-entropy if class scores change by −2 f_s v_c."""
    classes, samples = e.shape
    if 2 * scale * np.abs(v).max() > _SAFE:
        for s in range(samples):
            d[s] = sample_change(t, s, y[s], (-2 * f[s] * v).astype(np.int32), scale)
        return
    before, after = work[0], work[1]
    sums(t, e, scale, before)
    after[:] = 0
    for c in range(classes):
        up, down = np.float32(np.exp(2 * scale * v[c])), np.float32(np.exp(-2 * scale * v[c]))
        for s in range(samples):
            after[s] += e[c, s] * (down if f[s] > 0 else up)
    for s in range(samples):
        after[s] = after[s] / before[s]
    logarithms(after, after.view(np.int32), d)
    for s in range(samples):
        d[s] += np.float32(2 * scale) * f[s] * v[y[s]]


@numba.njit(cache=True)
def hard_changes(t, f, y, v, d):  # type: ignore[no-untyped-def]
    """d_s: change of the errors if class scores change by −2 f_s v_c."""
    for s in range(len(y)):
        right = t[y[s], s] - 2 * f[s] * v[y[s]]
        wrong = np.float32(0)
        for c in range(len(t)):
            score = t[c, s] - 2 * f[s] * v[c]
            if score > right or (score == right and c < y[s]):
                wrong = np.float32(1)
                break
        d[s] = wrong - wrong_answer(t, s, y[s])


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def stepped_changes(t, e, y, steps, scale, work, d):  # type: ignore[no-untyped-def]
    """d_s: change of the loss when class scores change by any whole numbers ``steps`` ``(C, N)``."""
    classes, samples = steps.shape
    if scale == 0:
        change = np.empty(classes, dtype=np.int32)
        for s in range(samples):
            for c in range(classes):
                change[c] = steps[c, s]
            d[s] = sample_change(t, s, y[s], change, scale)
        return
    widest = int(_SAFE / scale)  # larger steps are not for float32
    table = np.exp(np.arange(-widest, widest + 1) * scale).astype(np.float32)
    before, after, reach = work[0], work[1], work[3]
    sums(t, e, scale, before)
    after[:] = 0
    reach[:] = 0
    for c in range(classes):
        for s in range(samples):
            step = steps[c, s]
            reach[s] = max(reach[s], np.float32(abs(step)))
            after[s] += e[c, s] * table[min(max(step, -widest), widest) + widest]
    for s in range(samples):
        after[s] = after[s] / before[s]
    logarithms(after, after.view(np.int32), d)
    for s in range(samples):
        if reach[s] > widest:
            d[s] = sample_change(t, s, y[s], steps[:, s].copy(), scale)
        else:
            d[s] -= np.float32(scale * steps[y[s], s])
