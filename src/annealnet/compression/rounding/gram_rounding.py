"""Roundings that know the Gram matrix of the inputs: annealed, and the two that users have today."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from annealnet.compression.rounding.adaround import adaround_codes
from annealnet.compression.rounding.annealed import Annealing, anneal_codes
from annealnet.compression.rounding.gptq import GptqFactor, gptq_codes, gptq_factor
from annealnet.compression.rounding.grids import Grid, Quantized
from annealnet.compression.rounding.lattice import Lattice
from annealnet.compression.rounding.nearest import NearestRounding, finite_rows, on_grid
from annealnet.compression.rounding.scales import fit_scales, refit_scales
from annealnet.compression.rounding.stored_numbers import storable
from annealnet.compression.rounding.torch_rows import torch_anneal_codes
from annealnet.samplers import Workers
from annealnet.samplers.seeds import Purpose, derived_seed
from annealnet.whole_numbers import whole_attributes

__all__ = ["AdaRounding", "AnnealedRounding", "GptqRounding", "GramRounding", "layer_lattices", "settled_lattices"]

_CANDIDATES, _NARROWEST = 32, 0.2
#: Rows that are settled together.
_PIECE = 256


def layer_lattices(weight: Tensor, grid: Grid, gram: Tensor) -> list[Lattice]:
    """The lattices of a layer, one per group of a grouped convolution, on the scales that suit nearest rounding best.

    Args:
        weight: ``(out_channels, ...)``.
        grid: which codes there are, and which weights share a scale.
        gram: ``(groups, fan_in, fan_in)``.

    Raises:
        ValueError: when shapes do not fit or a number is not finite.

    Example:
        >>> lattice, = layer_lattices(torch.tensor([[0.9, -1.1]]), Grid(2), torch.eye(2)[None])
        >>> lattice.nearest().tolist()
        [[1, -1]]
    """
    flat = finite_rows(weight)
    rows, n = flat.shape
    if gram.ndim != 3 or gram.shape[1:] != (n, n) or rows % len(gram):
        raise ValueError(f"gram has shape {tuple(gram.shape)}: give (groups, {n}, {n}) for a weight of {rows} rows")
    found = []
    for part, matrix in zip(np.split(flat, len(gram)), gram.detach().cpu(), strict=True):
        own = np.ascontiguousarray(matrix.numpy(), dtype=np.float32)
        scale, zero = fit_scales(part, grid, np.diag(own).copy(), _CANDIDATES, _NARROWEST)
        found.append(Lattice(own, part, scale, zero, grid.column(n).numpy(), grid))
    return found


def settled_lattices(wanted: Tensor, grid: Quantized, gram: Tensor) -> list[tuple[np.ndarray, Lattice]]:
    """Codes and lattice of each group of a layer that was rounded, on the scales it has.

    Args:
        wanted: the weights that were rounded, shape of the codes.
        grid: what they became.
        gram: ``(groups, fan_in, fan_in)``.
    """
    flat = finite_rows(wanted)
    rows, n = flat.shape
    scale = grid.scale.reshape(rows, -1).numpy()
    zero = np.zeros_like(scale) if grid.zero is None else grid.zero.reshape(rows, -1).numpy().astype(np.float32)
    column, share = grid.grid.column(n).numpy(), rows // len(gram)
    codes = grid.codes.reshape(rows, n).numpy().astype(np.int16)
    found = []
    for number, matrix in enumerate(gram.detach().cpu()):
        own = slice(number * share, (number + 1) * share)
        gram_own = np.ascontiguousarray(matrix.numpy(), dtype=np.float32)
        found.append((codes[own], Lattice(gram_own, flat[own], scale[own], zero[own], column, grid.grid)))
    return found


@dataclass(frozen=True)
class GramRounding(ABC):
    """A rounding that sees the Gram matrix; without one it rounds to nearest.

    Attributes:
        group: weights of an output channel that share a scale; None for all of them.
        symmetric: whether the zero point is 0.
    """

    group: int | None = None
    symmetric: bool = True

    def __post_init__(self) -> None:
        whole_attributes(self, 1, "group")

    @torch.no_grad()
    def __call__(self, weight: Tensor, bits: int, gram: Tensor | None = None) -> Quantized:
        """Rounds a weight; see :class:`Rounding`.

        Raises:
            ValueError: when shapes do not fit or a number is not finite.
        """
        grid = Grid(bits, self.group, self.symmetric)
        if gram is None:
            return NearestRounding(self.group, self.symmetric)(weight, bits)
        settled = [self.settle(lattice, number) for number, lattice in enumerate(layer_lattices(weight, grid, gram))]
        codes = np.concatenate([found for found, _ in settled])
        scale = np.concatenate([lattice.scale for _, lattice in settled])
        zero = np.concatenate([lattice.zero for _, lattice in settled])
        return on_grid(weight, grid, codes, scale, zero)

    def quick(self) -> GramRounding:
        """Itself, unless there is something to save."""
        return self

    @abstractmethod
    def settle(self, lattice: Lattice, number: int) -> tuple[np.ndarray, Lattice]:
        """Codes int16 ``(rows, n)``, and the lattice with the scales they are meant for.

        Args:
            lattice: with scales for nearest rounding.
            number: of the group, so that groups draw differently.
        """


@dataclass(frozen=True)
class GptqRounding(GramRounding):
    """GPTQ; see :func:`gptq_codes`.

    Example:
        >>> gram = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
        >>> GptqRounding()(torch.tensor([[1.0, 0.45]]), 2, gram).codes.tolist()
        [[1, 1]]
    """

    damp: float = 0.01

    def settle(self, lattice: Lattice, number: int) -> tuple[np.ndarray, Lattice]:
        """See :class:`GramRounding`."""
        return gptq_codes(lattice, self.damp), lattice


@dataclass(frozen=True)
class AdaRounding(GramRounding):
    """AdaRound; see :func:`adaround_codes`."""

    steps: int = 3000

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_attributes(self, 1, "steps")

    def settle(self, lattice: Lattice, number: int) -> tuple[np.ndarray, Lattice]:
        """See :class:`GramRounding`."""
        return adaround_codes(lattice, self.steps), lattice


@dataclass(frozen=True)
class AnnealedRounding(GramRounding):
    """Codes annealed on the whole grid, scales and codes in turn.

    GPTQ's codes on several stretched scales come first, and each row takes the best; then codes are annealed, scales fitted
    to them by least squares, and codes annealed again (on large layers with less effort, :meth:`Annealing.within`). No step
    makes a row worse, so no row is worse than GPTQ's.

    Attributes:
        effort: how hard to try.
        stretches: factors on the first scales that are tried; (1.0,) keeps them.
        rounds: times that scales are refitted and codes annealed again; 0 leaves the scales.
        seed: of the annealing.
        workers: where pieces of a layer's rows are annealed; None is this process. The answer is the same anywhere.
        device: a torch device on which all rows of a layer are annealed at once (``"cuda"``); None is CUDA where there is
            one and no workers are given, else the compiled rows of this machine's cores.

    Example:
        >>> from annealnet.compression.rounding.grids import dequantize
        >>> gram = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])
        >>> weight = torch.tensor([[1.0, 0.45]])
        >>> gap = dequantize(AnnealedRounding()(weight, 2, gram)) - weight
        >>> bool(gap @ gram[0] @ gap.T < 0.1)
        True
    """

    effort: Annealing = field(default_factory=Annealing)
    stretches: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1, 1.25)
    rounds: int = 2
    seed: int = 0
    workers: Workers | None = field(default=None, repr=False, compare=False)
    device: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_attributes(self, 0, "rounds", "seed")
        if not self.stretches or min(self.stretches) <= 0:
            raise ValueError(f"stretches={self.stretches!r} must hold positive factors, 1.0 among them")
        if self.device is not None:
            try:
                torch.device(self.device)
            except RuntimeError as error:
                raise ValueError(f"device={self.device!r} is no torch device: give 'cuda', 'cpu' or None") from error

    def quick(self) -> AnnealedRounding:
        """GPTQ's codes on the first scales, and single steps down from them."""
        least = replace(self.effort, fields=0, sweeps=0, pairs=0)
        return replace(self, effort=least, stretches=(1.0,), rounds=0)

    def settle(self, lattice: Lattice, number: int) -> tuple[np.ndarray, Lattice]:
        """See :class:`GramRounding`; rows in pieces, over the workers where there are any."""
        factor = gptq_factor(lattice) if self.effort.start == "gptq" else None
        rows = len(lattice.weights)
        size = _PIECE if self.place is None else rows
        pieces = [
            _Rows(lattice.rows(slice(first, first + size)), factor, number, first, rows) for first in range(0, rows, size)
        ]
        run = self.workers.run if self.workers is not None else lambda work, parts: list(map(work, parts))
        found = run(self._settle_rows, pieces)
        codes = np.concatenate([piece for piece, _ in found])
        return codes, replace(lattice, scale=np.concatenate([scale for _, scale in found]))

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on: not on the workers, but on the device that runs."""
        settings = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "workers"}
        return {**settings, "device": self.place}

    @property
    def place(self) -> str | None:
        """The torch device in use; None where rows are annealed by compiled code."""
        if self.device is None and self.workers is None and torch.cuda.is_available():
            return "cuda"
        return self.device

    def _codes(self, lattice: Lattice, effort: Annealing, seed: int, codes: np.ndarray, first: int) -> np.ndarray:
        place = self.place
        if place is None:
            return anneal_codes(lattice, effort, seed, codes, first)
        return torch_anneal_codes(lattice, effort, seed, codes, place)

    def _settle_rows(self, piece: _Rows) -> tuple[np.ndarray, np.ndarray]:
        """Codes and scales of some rows."""
        lattice, codes = self._started(piece.lattice, piece.factor)
        effort = self.effort.within(piece.rows, lattice.weights.shape[1])
        seeds = [derived_seed(self.seed, Purpose.ROUNDING, piece.number, k) for k in range(self.rounds + 1)]
        codes = self._codes(lattice, effort, seeds[0], codes, piece.first)
        for seed in seeds[1:]:
            errors = lattice.errors(codes)
            fitted = replace(lattice, scale=refit_scales(lattice, codes))
            better = fitted.errors(codes) < errors
            if not better.any():
                break
            lattice = replace(lattice, scale=np.where(better[:, None], fitted.scale, lattice.scale))
            codes = self._codes(lattice, effort, seed, codes, piece.first)
        return codes, lattice.scale

    def _started(self, lattice: Lattice, factor: GptqFactor | None) -> tuple[Lattice, np.ndarray]:
        """The best of the stretched scales for each row, with GPTQ's codes (or nearest ones) on it."""
        found = []
        for stretch in self.stretches:
            tried = lattice if stretch == 1.0 else replace(lattice, scale=storable(lattice.scale * np.float32(stretch)))
            codes = tried.nearest() if factor is None else gptq_codes(tried, factor=factor)
            found.append((tried.errors(codes), tried.scale, codes))
        best = np.argmin([errors for errors, *_ in found], axis=0)
        rows = np.arange(len(best))
        scale = np.stack([scale for _, scale, _ in found])[best, rows]
        return replace(lattice, scale=scale), np.stack([codes for *_, codes in found])[best, rows]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some rows of a layer: a piece of work; ``rows`` are the whole layer's."""

    lattice: Lattice
    factor: GptqFactor | None
    number: int
    first: int
    rows: int
