"""Compiled weight-space moves: one weight of one neuron flips, and every sample's loss follows exactly.

**The visit.** While only neuron u's own weights move, the rest of the network is fixed; so a sample's loss can take two
values only, one for f_u = +1 and one for f_u = −1. Let D_s be the change of sample s's loss if f_u flipped there. It is
computed once per visit; then flipping weight w_i changes z_s by −2 w_i x_is, and the loss by

    ΔL = Σ_s D_s [sign(z_s − 2 w_i x_is) ≠ sign(z_s)],

a masked sum over contiguous memory, and after an accepted flip D_s changes its sign exactly where f_u flipped. A
proposal costs N of those (7 bytes each), whatever the rest of the network; what the visit changed is handed down once, at
its end.

Layout: inputs ``(n_0, N)`` int8, pre-activations ``(H, N)`` int16 and signs ``(H, N)`` int8 with the samples contiguous;
class scores ``(C, N)`` int32 and their exponentials float32 likewise. Networks are flat arrays, see
:class:`annealnet.binary.search.flat.Flat`.
"""

from __future__ import annotations

import numba
import numpy as np

from annealnet.binary.search.losses import (
    exponentials,
    hard_changes,
    moved,
    soft_changes,
    stepped_changes,
    total_loss,
)
from annealnet.binary.search.outputs import accepted, new_output, visit_output
from annealnet.samplers.kernels.random import below, next_state

__all__ = ["anneal", "rebuild", "rebuild_all"]


@numba.njit(cache=True)
def rebuild(flat, x, w, b, z, f, t):  # type: ignore[no-untyped-def]
    """Pre-activations, signs and class scores of one replica from its weights."""
    samples = x.shape[1]
    score = np.zeros(samples, dtype=np.int32)
    t[:] = 0
    for m in range(len(flat.layer_start) - 1):
        begin, end = flat.source_start[m], flat.source_start[m + 1]
        for u in range(flat.layer_start[m], flat.layer_start[m + 1]):
            score[:] = b[u] if u < flat.signs else 0
            for i in range(begin, end):
                source = flat.source[i]
                row = x[source] if source < flat.inputs else f[source - flat.inputs]
                if w[flat.row_start[u] + i - begin] > 0:
                    for s in range(samples):
                        score[s] += row[s]
                else:
                    for s in range(samples):
                        score[s] -= row[s]
            if u < flat.signs:
                for s in range(samples):
                    z[u, s] = score[s]
                    f[u, s] = 1 if score[s] > 0 else -1
            else:
                for c in range(len(t)):
                    code = np.int32(flat.codes[c, u - flat.signs])
                    if code != 0:
                        for s in range(samples):
                            t[c, s] += code * score[s]


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _masked_sum(z, row, step, d):  # type: ignore[no-untyped-def]
    """Σ_s d_s over the samples whose sign changes when z_s becomes z_s + step · row_s."""
    found = np.float32(0)
    for s in range(len(z)):
        moved = np.int16(z[s] + np.int16(step * row[s]))
        found += d[s] if (moved > 0) != (z[s] > 0) else np.float32(0)
    return found


@numba.njit(cache=True)
def _move(z, row, step, d):  # type: ignore[no-untyped-def]
    """z += step · row; d changes its sign where z does."""
    for s in range(len(z)):
        moved = np.int16(z[s] + np.int16(step * row[s]))
        d[s] = -d[s] if (moved > 0) != (z[s] > 0) else d[s]
        z[s] = moved


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _hand_up(changed, f, v, scale, t, e):  # type: ignore[no-untyped-def]
    """Class scores change by −2 f_s v_c where ``changed``; f is the sign before."""
    for c in range(len(t)):
        if v[c] == 0:
            continue
        up, down = np.float32(np.exp(2 * scale * v[c])), np.float32(np.exp(-2 * scale * v[c]))
        for s in range(len(f)):
            step = np.int32(-2 * f[s] * v[c])
            t[c, s] += step if changed[s] else np.int32(0)
            e[c, s] = moved(e[c, s] * (down if f[s] > 0 else up)) if changed[s] else e[c, s]


@numba.njit(cache=True)
def _column(flat, w, u):  # type: ignore[no-untyped-def]
    """v_c = Σ_o codes_co w_o: what sign unit u adds to the class scores when it is +1."""
    v = np.zeros(len(flat.codes), dtype=np.int32)
    last = len(flat.layer_start) - 2
    place = flat.place[last, u]
    if place >= 0:
        for o in range(flat.codes.shape[1]):
            weight = w[flat.row_start[flat.signs + o] + place]
            for c in range(len(v)):
                v[c] += flat.codes[c, o] * weight
    return v


@numba.njit(cache=True)
def _read_by_signs(flat, layer, u):  # type: ignore[no-untyped-def]
    """Whether a later layer of signs reads unit u."""
    return (flat.place[layer + 1 : len(flat.layer_start) - 2, u] >= 0).any()


@numba.njit(cache=True)
def _ripple(flat, w, z, f, layer, u, drop, lift, steps):  # type: ignore[no-untyped-def]
    """What follows, in every sample, when unit u's output changes by ``drop[u]``; all loops run along the samples.

    Filled for the later sign units: ``drop`` ``(H, N)``, the changes of their outputs (−2 f or 0), and ``lift`` ``(H, N)``,
    those of their pre-activations; and ``steps`` ``(C, N)``, the changes of the class scores.
    """
    samples = drop.shape[1]
    steps[:] = 0
    for m in range(layer + 1, len(flat.layer_start) - 2):
        for q in range(flat.layer_start[m], flat.layer_start[m + 1]):
            lift[q] = 0
            for v in range(u, flat.layer_start[m]):
                place = flat.place[m, v]
                if place >= 0 and (v == u or v >= flat.layer_start[layer + 1]):
                    weight = np.int16(w[flat.row_start[q] + place])
                    for s in range(samples):
                        lift[q, s] += weight * drop[v, s]
            for s in range(samples):
                moved = (z[q, s] + lift[q, s] > 0) != (z[q, s] > 0)
                drop[q, s] = np.int8(-2 * f[q, s]) if moved else np.int8(0)
    for v in range(u, flat.signs):
        if v == u or v >= flat.layer_start[layer + 1]:
            column = _column(flat, w, v)
            for c in range(len(steps)):
                if column[c] != 0:
                    for s in range(samples):
                        steps[c, s] += column[c] * np.int32(drop[v, s])


@numba.njit(cache=True)
def _deep_changes(flat, w, z, f, t, e, y, scale, layer, u, deep, work, d):  # type: ignore[no-untyped-def]
    """d_s when later layers of signs lie above u."""
    drop, lift, steps = deep
    for s in range(len(y)):
        drop[u, s] = -2 * f[u, s]
    _ripple(flat, w, z, f, layer, u, drop, lift, steps)
    stepped_changes(t, e, y, steps, scale, work, d)


@numba.njit(cache=True)
def _hand_down(flat, w, z, f, t, e, scale, layer, u, changed, deep):  # type: ignore[no-untyped-def]
    """Follows the changed samples' ripples for good (f and z of u itself are the caller's)."""
    drop, lift, steps = deep
    for s in range(len(changed)):
        drop[u, s] = -2 * f[u, s] if changed[s] else 0
    _ripple(flat, w, z, f, layer, u, drop, lift, steps)
    for q in range(flat.layer_start[layer + 1], flat.signs):
        for s in range(len(changed)):
            z[q, s] += lift[q, s]
            f[q, s] += drop[q, s]
    for c in range(len(steps)):
        for s in range(len(changed)):
            t[c, s] += steps[c, s]
    if scale > 0:
        exponentials(t, scale, e)


@numba.njit(cache=True)
def _visit_sign(flat, x, y, scale, w, b, z, f, t, e, layer, u, beta, bias_step, work, deep_work, random):  # type: ignore[no-untyped-def]
    """Proposes every weight (and the bias) of one sign unit; gives the random state."""
    samples = x.shape[1]
    d = work[2]
    v = _column(flat, w, u)
    deep = _read_by_signs(flat, layer, u)
    if deep:
        _deep_changes(flat, w, z, f, t, e, y, scale, layer, u, deep_work, work, d)
    elif scale == 0:
        hard_changes(t, f[u], y, v, d)
    else:
        soft_changes(t, e, f[u], y, v, scale, work, d)
    row_z = z[u]
    begin, start = flat.source_start[layer], flat.row_start[u]
    for i in range(flat.source_start[layer + 1] - begin):
        source = flat.source[begin + i]
        row = x[source] if source < flat.inputs else f[source - flat.inputs]
        step = np.int16(-2 * w[start + i])
        yes, random = accepted(_masked_sum(row_z, row, step, d), beta, random)
        if yes:
            _move(row_z, row, step, d)
            w[start + i] = -w[start + i]
    if bias_step > 0:
        ones = np.ones(samples, dtype=np.int8)
        random = next_state(random)
        size = 1 + below(random, bias_step)
        random = next_state(random)
        step = np.int16(size if below(random, 2) == 1 else -size)
        if abs(b[u] + step) <= 8 * bias_step:
            yes, random = accepted(_masked_sum(row_z, ones, step, d), beta, random)
            if yes:
                _move(row_z, ones, step, d)
                b[u] += step
    changed = np.empty(samples, dtype=np.bool_)
    for s in range(samples):
        changed[s] = (row_z[s] > 0) != (f[u, s] > 0)
    if deep:
        _hand_down(flat, w, z, f, t, e, scale, layer, u, changed, deep_work)
    else:
        _hand_up(changed, f[u], v, scale, t, e)
    for s in range(samples):
        f[u, s] = 1 if row_z[s] > 0 else -1
    return random


@numba.njit(cache=True)
def _sweep(flat, x, y, scale, w, b, z, f, t, e, beta, bias_step, work, table, output, margins, deep_work, random):  # type: ignore[no-untyped-def]
    """Visits every unit once, layer by layer; gives the random state."""
    if scale > 0:
        exponentials(t, scale, e)  # products of float32 drift
    for layer in range(len(flat.layer_start) - 1):
        for u in range(flat.layer_start[layer], flat.layer_start[layer + 1]):
            if u < flat.signs:
                random = _visit_sign(flat, x, y, scale, w, b, z, f, t, e, layer, u, beta, bias_step, work, deep_work, random)
            else:
                random = visit_output(flat, x, y, scale, w, f, t, e, u - flat.signs, beta, table, output, margins, random)
    return random


@numba.njit(cache=True)
def largest_read(flat, x):  # type: ignore[no-untyped-def]
    """The largest number, in size, that an output reads, and at least a sign's 1."""
    layer, found = len(flat.layer_start) - 2, np.int32(1)
    for i in range(flat.source_start[layer], flat.source_start[layer + 1]):
        if flat.source[i] < flat.inputs:
            for s in range(x.shape[1]):
                found = max(found, abs(np.int32(x[flat.source[i], s])))
    return found


@numba.njit(cache=True)
def _replica(flat, x, y, scale, betas, bias_step, w, b, z, f, t, e, loss, best_w, best_b, random):  # type: ignore[no-untyped-def]
    """All sweeps of one replica; ``loss`` is (last, least) and changed; gives the random state."""
    work = np.empty((4, x.shape[1]), dtype=np.float32)
    output, margins = new_output(x.shape[1])
    reach = largest_read(flat, x)
    table = np.exp(np.arange(-reach, reach + 1) * 2 * scale).astype(np.float32)
    deep_work = (np.zeros(f.shape, dtype=np.int8), np.zeros(z.shape, dtype=np.int16), np.zeros(t.shape, dtype=np.int32))
    for beta in betas:
        random = _sweep(
            flat, x, y, scale, w, b, z, f, t, e, beta, bias_step, work, table, output, margins, deep_work, random
        )
        loss[0] = total_loss(t, y, scale)
        if loss[0] < loss[1]:
            loss[1] = loss[0]
            best_w[:] = w
            best_b[:] = b
    return random


@numba.njit(cache=True, parallel=True)
def _anneal(flat, x, y, scale, betas, bias_step, w, b, z, f, t, e, loss, best_w, best_b, streams):  # type: ignore[no-untyped-def]
    for r in numba.prange(len(betas)):
        streams[r] = _replica(
            flat,
            x,
            y,
            scale,
            betas[r],
            bias_step,
            w[r],
            b[r],
            z[r],
            f[r],
            t[r],
            e[r],
            loss[r],
            best_w[r],
            best_b[r],
            streams[r],
        )


def anneal(flat, x, y, scale, betas, bias_step, state):  # type: ignore[no-untyped-def]
    """Sweeps every replica through its temperatures and keeps its best weights.

    Args:
        flat: the architecture.
        x: inputs, int8 ``(n_0, N)``.
        y: class numbers, int64 ``(N,)``.
        scale: of the class scores in the cross-entropy; 0 counts errors.
        betas: inverse temperatures, ``(R, sweeps)``.
        bias_step: largest change of a bias in a proposal; 0 leaves biases alone.
        state: changed in place; must be rebuilt.
    """
    _anneal(flat, x, y, scale, betas, bias_step, *state)


@numba.njit(cache=True, parallel=True)
def _rebuild_all(flat, x, w, b, z, f, t):  # type: ignore[no-untyped-def]
    for r in numba.prange(len(w)):
        rebuild(flat, x, w[r], b[r], z[r], f[r], t[r])


def rebuild_all(flat, x, state):  # type: ignore[no-untyped-def]
    """Pre-activations, signs and class scores of every replica."""
    _rebuild_all(flat, x, state.w, state.b, state.z, state.f, state.t)
