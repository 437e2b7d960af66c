"""Compiled visits of an output: its weights are proposed one after the other.

**The visit.** While only output o's weights move, a sample's loss depends on one number: how far the output's score has
moved. Let P₊, P₋ and P₀ be the sample's chances of the classes whose score rises with the output's, falls with it, and does
not read it (classes' codes +1, −1 and 0), and c_y its own class's code. When the output's score moves by 2 h,

    ΔL = ln(P₊ e^δ + P₋ e^−δ + P₀) − c_y δ,     δ = 2 scale h,

with h_s = −w x_s for a flip of the weight w that reads x. After an accepted flip, P₊ becomes P₊ e^δ over the sum, and so on.
Class scores and exponentials are handed what the visit changed once, at its end.

**Most flips are decided by less.** Let A = Σ_s (P₊ − P₋ − c_y) δ_s be the slope and B = ½ Σ_s Var_s δ_s² (Var of the code
under P) the bend. Then

    A ≤ ΔL,     |ΔL − A − B| ≤ κ₃/6 Σ_s |δ_s|³,

the first because a log-sum-exp is convex, the second by Taylor: no number within a range of width g has a third central
moment beyond κ₃ = g³/(6√3). The random number that decides is drawn first. If the bounds give the answer, it is the answer
that ΔL would have given, after reading 5 or 10 bytes per sample and without an exponential (the bounds are our derivation).

Errors (scale 0) are counted the same way from margins: the highest wrong class of each group against the right one.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from annealnet.binary.search.losses import logarithms, moved, sample_change, sums
from annealnet.samplers.kernels.random import next_state, uniform

__all__ = ["Margins", "Output", "accepted", "new_output", "visit_output"]

#: Exponents up to which a visit goes on with its chances before they are computed anew: numbers at losses' floor of e⁻⁸⁰
#: are nothing after that many upwards, and as many downwards of the others.
_ROOM = 10.0
#: The same in halves of a score for errors, and where margins are cut: 8 · 1500 + 8 · 127 < 15 000, and the sum is an int16.
_HARD_ROOM, _CUT = 1500, 15_000
#: Halves of a score that an int16 bears beside the largest step.
_MOST_ROOM = 30_000
_FAST = {"reassoc", "contract", "nsz"}


class Output(NamedTuple):
    """What a visit knows of each sample, ``(N,)`` each; float32 but for ``shift``.

    Attributes:
        raised, lowered, left: chances P₊, P₋, P₀.
        own: the code of the sample's class.
        slope, variance: of the code under P: mean − own, and its variance.
        after, logs: to write to.
        shift: half of the score's move, int16.
    """

    raised: NDArray[np.float32]
    lowered: NDArray[np.float32]
    left: NDArray[np.float32]
    own: NDArray[np.float32]
    slope: NDArray[np.float32]
    variance: NDArray[np.float32]
    after: NDArray[np.float32]
    logs: NDArray[np.float32]
    shift: NDArray[np.int16]


class Margins(NamedTuple):
    """The same for errors, int16 ``(N,)`` each: a group whose margin is above 0 beats the right class.

    Margins are 2 (t_c − t_y), one more for classes before the right one, so that nothing ties; cut at ±15 000.
    """

    raised: NDArray[np.int16]
    lowered: NDArray[np.int16]
    left: NDArray[np.int16]
    own: NDArray[np.int16]


@numba.njit(cache=True)
def new_output(samples):  # type: ignore[no-untyped-def]
    """Memory for visits."""
    rows, whole = np.zeros((8, samples), dtype=np.float32), np.zeros((5, samples), dtype=np.int16)
    output = Output(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], whole[0])
    return output, Margins(whole[1], whole[2], whole[3], whole[4])


@numba.njit(cache=True)
def accepted(change, beta, random):  # type: ignore[no-untyped-def]
    """Metropolis; what costs nothing is taken half the time. Gives (answer, next random state).

    "Nothing" leaves room for the rounding of float32 sums: a flip whose change rounds to 0 one way and to a little more the
    other way would be taken half the time there and always back.
    """
    if beta * change < -1e-3:
        return True, random
    following = next_state(random)
    chance = 0.5 if beta * change < 1e-3 else np.exp(-beta * change)
    return uniform(following) < chance, following


# ---- cross-entropy -------------------------------------------------------------------------------------------


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def take_chances(t, e, y, code, scale, output):  # type: ignore[no-untyped-def]
    """Each sample's chances under the scores as they are now."""
    raised, lowered, left, total = output.raised, output.lowered, output.left, output.after
    sums(t, e, scale, total)
    raised[:] = 0
    lowered[:] = 0
    left[:] = 0
    for c in range(len(t)):
        group = raised if code[c] > 0 else lowered if code[c] < 0 else left
        for s in range(len(y)):
            group[s] += e[c, s]
    for s in range(len(y)):
        output.own[s] = code[y[s]]
    _normalise(output)


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _normalise(output):  # type: ignore[no-untyped-def]
    """Chances over their sum, which stands in ``after``; slope and variance from them."""
    raised, lowered, left, own, after = output.raised, output.lowered, output.left, output.own, output.after
    # loops over few arrays: beside many, the compiler does not look whether they overlap, and takes numbers one by one
    for s in range(len(after)):
        after[s] = np.float32(1) / after[s]
    for group in (raised, lowered, left):
        for s in range(len(after)):
            group[s] *= after[s]
    slope, variance = output.slope, output.variance
    for s in range(len(after)):
        slope[s] = raised[s] - lowered[s] - own[s]
    for s in range(len(after)):
        mean = raised[s] - lowered[s]
        variance[s] = raised[s] + lowered[s] - mean * mean


@numba.njit(cache=True, fastmath=_FAST)
def slope_sum(row, slope):  # type: ignore[no-untyped-def]
    """Σ_s slope_s x_s."""
    found = np.float32(0)
    for s in range(len(row)):
        found += np.float32(row[s]) * slope[s]
    return found


@numba.njit(cache=True, fastmath=_FAST)
def bend_sums(row, variance):  # type: ignore[no-untyped-def]
    """Σ_s variance_s x_s², and Σ_s |x_s|³."""
    found, cubes = np.float32(0), np.float32(0)
    for s in range(len(row)):
        value = np.float32(row[s])
        square = value * value
        found += square * variance[s]
        cubes += square * abs(value)
    return found, cubes


@numba.njit(cache=True, fastmath=_FAST)
def weigh(row, way, table, both, output):  # type: ignore[no-untyped-def]
    """``after`` = P₊ e^δ + P₋ e^−δ + P₀ for half-steps h = way · x; ``table`` holds e^{2 scale k} for k = −K … K."""
    raised, lowered, left, after, middle = output.raised, output.lowered, output.left, output.after, len(table) // 2
    for s in range(len(row)):
        after[s] = raised[s] * table[np.uint32(middle + way * np.int32(row[s]))] + left[s]
    if both:
        for s in range(len(row)):
            after[s] += lowered[s] * table[np.uint32(middle - way * np.int32(row[s]))]


@numba.njit(cache=True, fastmath=_FAST)
def soft_change(row, way, scale, table, both, output):  # type: ignore[no-untyped-def]
    """ΔL, exactly, for half-steps h = way · x."""
    weigh(row, way, table, both, output)
    after, logs, own = output.after, output.logs, output.own
    samples = len(row)
    # products of four are within e^±80, and have one logarithm
    quarter = samples // 4
    for s in range(quarter):
        after[s] *= after[quarter + s] * after[2 * quarter + s] * after[3 * quarter + s]
    for s in range(samples - 4 * quarter):
        after[quarter + s] = after[4 * quarter + s]
    count = samples - 3 * quarter
    logarithms(after[:count], after.view(np.int32)[:count], logs[:count])
    found = np.float32(0)
    for s in range(count):
        found += logs[s]
    return found - np.float32(2 * scale * way) * slope_sum(row, own)


@numba.njit(cache=True)
def far_change(t, y, code, row, way, scale):  # type: ignore[no-untyped-def]
    """The same where exponents are beyond float32: sample by sample, from the scores."""
    steps = np.empty(len(t), dtype=np.int32)
    found = 0.0
    for s in range(len(row)):
        for c in range(len(t)):
            steps[c] = 2 * way * np.int32(row[s]) * code[c]
        found += sample_change(t, s, y[s], steps, scale)
    return np.float32(found)


@numba.njit(cache=True, inline="always")  # see visit_output
def soft_bounds(slope, row, scale, width, output):  # type: ignore[no-untyped-def]
    """Least and most that ΔL can be, of slope A; codes lie within a range of ``width``."""
    squares, cubes = bend_sums(row, output.variance)
    bend, rest = 2 * scale**2 * squares, (2 * scale * width) ** 3 / (36 * np.sqrt(3.0)) * cubes
    return slope + max(0.0, bend - rest), slope + bend + rest


@numba.njit(cache=True, inline="always")  # see visit_output
def _soft_verdict(row, way, scale, table, both, width, beta, output, random):  # type: ignore[no-untyped-def]
    """Whether a flip is taken, and the next random state: by bounds, if they say it."""
    following = next_state(random)
    # draw ≥ e^{−β ΔL}, as soon as ΔL is known to be so large
    refused = max(-np.log(max(uniform(following), 1e-300)), 1e-3)
    slope = 2 * scale * way * slope_sum(row, output.slope)
    if beta * slope > refused:
        return False, following
    least, most = soft_bounds(slope, row, scale, width, output)
    if beta * least > refused:
        return False, following
    if beta * most < -1e-3:
        return True, random
    if beta * least > 1e-3 and beta * most < refused:
        return True, following
    return accepted(soft_change(row, way, scale, table, both, output), beta, random)


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def soft_take(row, way, table, both, output):  # type: ignore[no-untyped-def]
    """Chances after an accepted flip."""
    raised, lowered, left, after, middle = output.raised, output.lowered, output.left, output.after, len(table) // 2
    for s in range(len(row)):
        raised[s] *= table[np.uint32(middle + way * np.int32(row[s]))]
    if both:
        for s in range(len(row)):
            lowered[s] *= table[np.uint32(middle - way * np.int32(row[s]))]
    for s in range(len(row)):
        after[s] = raised[s] + lowered[s] + left[s]
    _normalise(output)


# ---- errors --------------------------------------------------------------------------------------------------


@numba.njit(cache=True)
def take_margins(t, y, code, margins):  # type: ignore[no-untyped-def]
    """Each sample's margins under the scores as they are now; gives the errors."""
    margins.raised[:] = -_CUT
    margins.lowered[:] = -_CUT
    margins.left[:] = -_CUT
    right, classes = np.empty(len(y), dtype=np.int32), y.astype(np.int32)
    for s in range(len(y)):
        margins.own[s] = code[y[s]]
        right[s] = t[y[s], s]
    for c in range(len(t)):
        group = margins.raised if code[c] > 0 else margins.lowered if code[c] < 0 else margins.left
        row, number = t[c], np.int32(c)
        for s in range(len(right)):
            lead = min(max(np.int32(row[s] - right[s]), np.int32(-_CUT // 2)), np.int32(_CUT // 2 - 1))
            margin = np.int16(2 * lead + np.int32(number < classes[s]))
            group[s] = max(group[s], margin if number != classes[s] else np.int16(-_CUT))
    errors = np.int32(0)
    for s in range(len(y)):
        errors += np.int32(max(margins.raised[s], margins.lowered[s], margins.left[s]) > 0)
    return errors


@numba.njit(cache=True)
def hard_errors(row, way, margins):  # type: ignore[no-untyped-def]
    """Errors after half-steps h = way · x."""
    raised, lowered, left, own = margins.raised, margins.lowered, margins.left, margins.own
    found = np.int32(0)
    for s in range(len(row)):
        step = np.int16(4 * way * np.int16(row[s]))
        right = np.int16(step * own[s])
        most = max(np.int16(raised[s] + step), np.int16(lowered[s] - step), left[s])
        found += np.int32(most > right)
    return found


@numba.njit(cache=True)
def hard_take(row, way, margins):  # type: ignore[no-untyped-def]
    """Margins after an accepted flip."""
    raised, lowered, left, own = margins.raised, margins.lowered, margins.left, margins.own
    for s in range(len(row)):
        step = np.int16(4 * way * np.int16(row[s]))
        right = np.int16(step * own[s])
        raised[s] += step - right
        lowered[s] -= step + right
        left[s] -= right


# ---- the visit -----------------------------------------------------------------------------------------------


@numba.njit(cache=True, inline="always")  # see visit_output
def _begin(t, e, y, code, scale, output, margins):  # type: ignore[no-untyped-def]
    """Chances or margins anew; gives the errors, where they are what counts."""
    output.shift[:] = 0
    if scale == 0:
        return take_margins(t, y, code, margins)
    take_chances(t, e, y, code, scale, output)
    return np.int32(0)


@numba.njit(cache=True, inline="always")  # see visit_output
def _take(row, way, scale, table, both, output, margins):  # type: ignore[no-untyped-def]
    """What an accepted flip changes; gives how far the farthest sample has been shifted."""
    if scale > 0:
        soft_take(row, way, table, both, output)
    else:
        hard_take(row, way, margins)
    shift, farthest = output.shift, np.int16(0)
    for s in range(len(row)):
        shift[s] += np.int16(way * np.int16(row[s]))
        farthest = max(farthest, np.int16(abs(shift[s])))
    return farthest


@numba.njit(cache=True, error_model="numpy", fastmath=_FAST)
def _hand_down(t, e, code, scale, output):  # type: ignore[no-untyped-def]
    """Class scores and their exponentials follow the shifts."""
    shift, factor = output.shift, output.after
    if scale > 0:
        for s in range(len(shift)):
            factor[s] = np.exp(np.float32(2 * scale) * np.float32(shift[s]))
    for c in range(len(t)):
        if code[c] != 0:
            twice = np.int32(2) * np.int32(code[c])
            for s in range(len(shift)):
                t[c, s] += twice * np.int32(shift[s])
            if scale > 0:
                for s in range(len(shift)):
                    e[c, s] = moved(e[c, s] * factor[s] if twice > 0 else e[c, s] / factor[s])


@numba.njit(cache=True)
def visit_output(flat, x, y, scale, w, f, t, e, o, beta, table, output, margins, random):  # type: ignore[no-untyped-def]
    """Proposes every weight of one output; gives the random state.

    ``table`` is as for :func:`weigh`, K the largest number that an output reads, and at least 1.
    """
    layer = len(flat.layer_start) - 2
    # few samples: handing nine arrays to a function takes longer than their loops, so what is called per weight is inlined
    code, lowest, highest = flat.codes[:, o].copy(), 1, -1
    for c in range(len(code)):
        lowest, highest = min(lowest, code[c]), max(highest, code[c])
    both, width = lowest < 0, highest - lowest
    far = scale * (len(table) - 1) > _ROOM
    room = 0 if far else min(0.5 * _ROOM / scale, _MOST_ROOM) if scale > 0 else _HARD_ROOM
    errors, taken = _begin(t, e, y, code, scale, output, margins), False
    begin, start = flat.source_start[layer], flat.row_start[flat.signs + o]
    for i in range(flat.source_start[layer + 1] - begin):
        source = flat.source[begin + i]
        row = x[source] if source < flat.inputs else f[source - flat.inputs]
        way = -np.int32(w[start + i])
        if scale == 0:
            then = hard_errors(row, way, margins)
            yes, random = accepted(np.float32(then - errors), beta, random)
            errors = then if yes else errors
        elif far:
            yes, random = accepted(far_change(t, y, code, row, way, scale), beta, random)
        else:
            yes, random = _soft_verdict(row, way, scale, table, both, width, beta, output, random)
        if yes:
            w[start + i] = -w[start + i]
            taken = True
            if _take(row, way, scale, table, both, output, margins) > room:
                _hand_down(t, e, code, scale, output)
                _begin(t, e, y, code, scale, output, margins)
                taken = False
    if taken:
        _hand_down(t, e, code, scale, output)
    return random
