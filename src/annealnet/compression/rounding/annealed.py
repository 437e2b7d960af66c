"""Annealed rounding of a lattice.

GPTQ's answer is where it starts. Graduated mean fields look for better ones from the other side, where nothing is decided
yet; each row takes its best, is annealed from there in a gentle heat bath, and descends to where no pair of codes helps.
Whatever a step finds, a row keeps the best it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from annealnet.compression.rounding.gptq import gptq_codes
from annealnet.compression.rounding.lattice import Lattice
from annealnet.samplers.seeds import kernel_words
from annealnet.whole_numbers import whole_attributes

__all__ = ["Annealing", "anneal_codes", "graduation"]

#: Correlated inputs that a weight may move together with.
_PARTNERS = 8
#: κ of the mean fields rises with these powers of the time, one after the other; slowly at first is what pays.
_POWERS = (2.0, 3.0, 1.5, 4.0)
#: Multiply-adds that a layer is worth, and what a sweep of a mean field, one of the heat bath and a pass over pairs cost,
#: in products of the weights with the Gram matrix, made one row at a time (a mean field's are made in blocks).
_MOST_PRODUCTS, _FIELD_COST, _SWEEP_COST, _PAIR_COST = 1e11, 0.2, 0.4, 8.0
#: Sweeps below which a mean field finds nothing.
_SHORTEST_FIELD = 20
Start = Literal["gptq", "nearest"]


@dataclass(frozen=True)
class Annealing:
    """How hard to try.

    Attributes:
        fields: graduated mean fields, each on a schedule of its own.
        field_sweeps: sweeps of one.
        sweeps: visits of every weight in the heat bath; 0 only descends.
        heat: first temperature, in units of a row's error per weight at the start.
        cold: last temperature, in the same units.
        repeats: heat baths, each from the best so far.
        pairs: passes of pair moves at the end.
        start: GPTQ's answer or nearest rounding; the better of the two is what must be beaten.

    Raises:
        ValueError: when a number is out of range.
    """

    fields: int = 4
    field_sweeps: int = 600
    sweeps: int = 800
    heat: float = 2.0
    cold: float = 0.2
    repeats: int = 1
    pairs: int = 2
    start: Start = "gptq"

    def __post_init__(self) -> None:
        whole_attributes(self, 0, "fields", "sweeps", "pairs")
        whole_attributes(self, 1, "repeats", "field_sweeps")
        if not 0 < self.cold <= self.heat:
            raise ValueError(
                f"heat={self.heat!r} and cold={self.cold!r} must be positive, heat the larger: 2.0 and 0.2 are a good start"
            )
        if self.start not in ("gptq", "nearest"):
            raise ValueError(f"start={self.start!r} is not known: there are gptq and nearest")

    def within(self, rows: int, inputs: int) -> Annealing:
        """The same, or as much of it as a layer of this size allows in some ten seconds on two cores.

        A mean field is worth most and comes first, with fewer sweeps if need be; then pairs, then sweeps of the heat bath.

        Example:
            >>> Annealing().within(64, 576) == Annealing(), Annealing().within(512, 4608).fields
            (True, 1)
        """
        left = _MOST_PRODUCTS / max(1, rows * inputs**2)
        affordable = int(0.75 * left / _FIELD_COST)
        fields = min(self.fields, max(1, affordable // self.field_sweeps))
        field_sweeps = min(self.field_sweeps, affordable)  # several fields only where all of their sweeps fit
        if fields == 0 or field_sweeps < min(_SHORTEST_FIELD, self.field_sweeps):
            fields, field_sweeps = 0, self.field_sweeps
        left -= _FIELD_COST * fields * field_sweeps
        pairs = self.pairs if _PAIR_COST * self.pairs <= left else 0
        sweeps = min(self.sweeps, max(0, int((left - _PAIR_COST * pairs) / _SWEEP_COST)))
        return replace(self, fields=fields, field_sweeps=field_sweeps, sweeps=sweeps, pairs=pairs)


def anneal_codes(
    lattice: Lattice, effort: Annealing, seed: int, start: np.ndarray | None = None, first_row: int = 0
) -> np.ndarray:
    """Codes int16 ``(rows, n)``, in no row worse than the start.

    Args:
        lattice: the layer.
        effort: how hard to try.
        seed: of the heat bath.
        start: codes to begin from, or None for the one ``effort`` names.
        first_row: number of the first row, where the lattice holds some of a layer's.

    Example:
        >>> from annealnet.compression.rounding.grids import Grid
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(50, 8)).astype(np.float32)
        >>> scale, zero = np.full((4, 1), 0.5, dtype=np.float32), np.zeros((4, 1), dtype=np.float32)
        >>> weights = rng.normal(size=(4, 8)).astype(np.float32)
        >>> lattice = Lattice(x.T @ x, weights, scale, zero, np.zeros(8, dtype=int), Grid(3))
        >>> bool((lattice.errors(anneal_codes(lattice, Annealing(), 0)) <= lattice.errors(gptq_codes(lattice))).all())
        True
    """
    from annealnet.compression.rounding.graduated import graduate_rows
    from annealnet.compression.rounding.kernels import anneal_rows, descend_pairs

    if start is None:
        start = gptq_codes(lattice) if effort.start == "gptq" else lattice.nearest()
    best, least = start.copy(), lattice.errors(start)
    common = (lattice.gram, lattice.weights, lattice.scale, lattice.zero, lattice.column, lattice.levels)
    partners = _partners(lattice.gram) if effort.sweeps else np.zeros((lattice.weights.shape[1], 1), dtype=np.int32)
    shares = np.geomspace(1.0, effort.cold / effort.heat, effort.sweeps).astype(np.float32)
    streams = kernel_words(seed, effort.repeats + 1)
    for number in range(effort.fields):
        codes = np.empty_like(best)
        graduate_rows(*common, codes, graduation(effort.field_sweeps, number))
        anneal_rows(*common, codes, partners, np.zeros(len(codes), dtype=np.float32), shares[:0], streams[0], 0)
        least = _keep_better(lattice, codes, best, least)
    heats: list[float] = [0.0] + [effort.heat] * (effort.repeats if effort.sweeps else 0)  # descent alone comes first
    for stream, heat in zip(streams, heats, strict=False):
        codes = best.copy()
        temperatures = (heat * least / lattice.weights.shape[1]).astype(np.float32)
        anneal_rows(*common, codes, partners, temperatures, shares if heat else shares[:0], stream, first_row)
        least = _keep_better(lattice, codes, best, least)
    if effort.pairs:
        codes = best.copy()
        descend_pairs(*common, codes, effort.pairs)
        anneal_rows(*common, codes, partners, np.zeros(len(codes), dtype=np.float32), shares[:0], streams[0], 0)
        _keep_better(lattice, codes, best, least)
    return best


def graduation(sweeps: int, number: int) -> np.ndarray:
    """κ of each sweep of the mean field of this number: float32 ``(sweeps,)``, from 0 to 1.

    Example:
        >>> graduation(3, 0).tolist()
        [0.0, 0.25, 1.0]
    """
    power = _POWERS[number % len(_POWERS)] + 0.25 * (number // len(_POWERS))
    return np.asarray(np.linspace(0.0 if sweeps > 1 else 1.0, 1.0, sweeps) ** power, dtype=np.float32)


def _keep_better(lattice: Lattice, codes: np.ndarray, best: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Rows of ``codes`` that are better go into ``best``; the errors of ``best``."""
    errors = lattice.errors(codes)
    better = errors < least
    best[better] = codes[better]
    return np.asarray(np.where(better, errors, least))


def _partners(gram: np.ndarray) -> np.ndarray:
    """The most correlated inputs of each: int32 ``(n, k)``."""
    n = len(gram)
    root = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    close = np.abs(gram / root)  # in units of each row's own length, which its order does not see
    np.fill_diagonal(close, -1.0)
    k = max(1, min(_PARTNERS, n - 1))
    return np.ascontiguousarray(np.argpartition(-close, k - 1, axis=1)[:, :k], dtype=np.int32)
