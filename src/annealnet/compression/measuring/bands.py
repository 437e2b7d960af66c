"""What refitting mends, by a fixed number of full probes however deep the network is.

The layers behind an error are refitted and mend part of it: a share that differs little between neighbours (on ResNet-20 a
half to two thirds), but can differ much at both ends of a network. So the first and the last part are probed alone, all
others in a few bands of neighbours, each in one probe: its parts are changed together, what is behind is refitted, and the
divergence that is left is shared out in proportion to what the parts do to first order (:mod:`.first_order`):

    D_i = D(band) · d_i / Σ_{j ∈ band} d_j

Where there are no more parts than probes, every part has a probe of its own; and so has a part whose first order is not
known (the answers cannot be differentiated with respect to it). *Our reconstruction.*
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

__all__ = ["bands", "mended"]

#: Bands between the first and the last part.
_BETWEEN = 4


def bands(parts: Sequence[str]) -> list[list[str]]:
    """At most six bands, in order: the first part, four of neighbours, the last part.

    Example:
        >>> bands(list("abc"))
        [['a'], ['b'], ['c']]
        >>> bands(list("abcdefghij"))
        [['a'], ['b', 'c'], ['d', 'e'], ['f', 'g'], ['h', 'i'], ['j']]
    """
    if len(parts) <= _BETWEEN + 2:
        return [[part] for part in parts]
    edges = [0, *(1 + np.linspace(0, len(parts) - 2, _BETWEEN + 1).round().astype(int)).tolist(), len(parts)]
    return [list(parts[first:last]) for first, last in pairwise(edges)]


def mended(first_order: Mapping[str, float], probe: Callable[[list[str]], float]) -> dict[str, float]:
    """The divergence of each part after a refit.

    Args:
        first_order: of each part, in order of execution, without a refit; 0 where it is not known.
        probe: the divergence of some parts changed together, refitted.

    Example:
        >>> mended({"a": 2.0, "b": 4.0, "c": 0.0}, lambda band: 1.0 * len(band))
        {'a': 1.0, 'b': 1.0, 'c': 1.0}
        >>> found = mended(dict.fromkeys("abcdefghij", 2.0), lambda band: 1.0 * len(band))
        >>> set(found.values()), len(found)
        ({1.0}, 10)
    """
    known = [part for part, value in first_order.items() if value > 0]
    unknown = [[part] for part, value in first_order.items() if not value > 0]
    found: dict[str, float] = {}
    for band in bands(known) + unknown:
        divergence, whole = probe(band), sum(first_order[part] for part in band)
        found |= {part: divergence * (first_order[part] / whole if len(band) > 1 else 1.0) for part in band}
    return found
