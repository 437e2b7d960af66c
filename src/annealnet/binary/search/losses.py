"""Compiled losses of a binary network and their changes: cross-entropy of softmax(scale · t), or errors (scale 0).

Arrays have the classes first and the samples contiguous: scores t ``(C, N)`` int32, e = exp(scale · t) float32.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = [
    "chosen_sum",
    "exponentials",
    "hard_changes",
    "hard_steps",
    "input_change",
    "sample_change",
    "soft_changes",
    "soft_steps",
    "stepped_changes",
    "total_loss",
    "wrong_answer",
]

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
def exponentials(t, scale, e):  # type: ignore[no-untyped-def]
    """e = exp(scale · t), from a table over whole numbers."""
    widest = 0
    for c in range(len(t)):
        for s in range(t.shape[1]):
            widest = max(widest, abs(t[c, s]))
    table = np.exp(np.arange(-widest, widest + 1) * scale).astype(np.float32)
    for c in range(len(t)):
        for s in range(t.shape[1]):
            e[c, s] = table[t[c, s] + widest]


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
    for s in range(len(y)):
        if scale == 0:
            found += wrong_answer(t, s, y[s])
        else:
            most = t[0, s]
            for c in range(1, len(t)):
                most = max(most, t[c, s])
            part = 0.0
            for c in range(len(t)):
                part += np.exp(scale * (t[c, s] - most))
            found += np.log(part) - scale * (t[y[s], s] - most)
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
    most = t[0, s]
    for c in range(1, len(steps)):
        most = max(most, t[c, s], t[c, s] + steps[c])
    before, after = 0.0, 0.0
    for c in range(len(steps)):
        before += np.exp(scale * (t[c, s] - most))
        after += np.exp(scale * (t[c, s] + steps[c] - most))
    return np.float32(np.log(after / before) - scale * steps[y])


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def soft_changes(e, f, y, v, scale, work, d):  # type: ignore[no-untyped-def]
    """d_s: change of the cross-entropy if class scores change by −2 f_s v_c."""
    classes, samples = e.shape
    before, after = work[0], work[1]
    before[:] = 0
    after[:] = 0
    for c in range(classes):
        up, down = np.float32(np.exp(2 * scale * v[c])), np.float32(np.exp(-2 * scale * v[c]))
        for s in range(samples):
            before[s] += e[c, s]
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
    widest = 0
    for c in range(classes):
        for s in range(samples):
            widest = max(widest, abs(steps[c, s]))
    table = np.exp(np.arange(-widest, widest + 1) * scale).astype(np.float32)
    before, after = work[0], work[1]
    before[:] = 0
    after[:] = 0
    for c in range(classes):
        for s in range(samples):
            before[s] += e[c, s]
            after[s] += e[c, s] * table[steps[c, s] + widest]
    for s in range(samples):
        after[s] = after[s] / before[s]
    logarithms(after, after.view(np.int32), d)
    for s in range(samples):
        d[s] -= np.float32(scale * steps[y[s], s])


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def soft_steps(e, y, code, scale, work, up, down):  # type: ignore[no-untyped-def]
    """Changes of the cross-entropy when an output's score rises or falls by 2."""
    classes, samples = e.shape
    before, after = work[0], work[1]
    for way in range(2):
        size = np.float32(2 - 4 * way)
        out = up if way == 0 else down
        before[:] = 0
        after[:] = 0
        for c in range(classes):
            factor = np.float32(np.exp(scale * size * code[c]))
            for s in range(samples):
                before[s] += e[c, s]
                after[s] += e[c, s] * factor
        for s in range(samples):
            after[s] = after[s] / before[s]
        logarithms(after, after.view(np.int32), out)
        for s in range(samples):
            out[s] -= np.float32(scale) * size * code[y[s]]


@numba.njit(cache=True)
def hard_steps(t, y, code, up, down):  # type: ignore[no-untyped-def]
    """Changes of the errors when an output's score rises or falls by 2."""
    steps = np.empty(len(t), dtype=np.int32)
    for s in range(len(y)):
        for c in range(len(t)):
            steps[c] = 2 * code[c]
        up[s] = sample_change(t, s, y[s], steps, 0.0)
        for c in range(len(t)):
            steps[c] = -2 * code[c]
        down[s] = sample_change(t, s, y[s], steps, 0.0)


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def chosen_sum(row, weight, up, down):  # type: ignore[no-untyped-def]
    """Σ_s of ``up`` where −weight · row_s is positive, of ``down`` elsewhere."""
    found = np.float32(0)
    for s in range(len(row)):
        found += up[s] if weight * row[s] < 0 else down[s]
    return found


@numba.njit(cache=True)
def input_change(t, y, code, row, weight, scale):  # type: ignore[no-untyped-def]
    """Change of the loss when a weight that carries any whole number into an output flips."""
    steps = np.empty(len(t), dtype=np.int32)
    found = np.float32(0)
    for s in range(len(y)):
        for c in range(len(t)):
            steps[c] = -2 * weight * np.int32(row[s]) * code[c]
        found += sample_change(t, s, y[s], steps, scale)
    return found
