"""The shared-Gram batch search on torch: every row of a layer at once, on CUDA or any other device.

State is laid out column by column, ``(n, rows)``. Inside a block of columns coordinates are visited one after the other, all
rows in parallel; what the block has moved reaches all other columns as one matrix product,

    F[j] ← F[j] + Σ_{i ∈ block} G_ji ΔZ_i,        F = G (Z − W)ᵀ

which is where the work is. The moves are those of the compiled rows: graduated mean fields, a heat bath of single codes, and
descent; pairs are left to the compiled rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from annealnet.compression.rounding.annealed import Annealing, graduation
from annealnet.compression.rounding.gptq import gptq_codes
from annealnet.compression.rounding.lattice import Lattice
from annealnet.samplers.seeds import Purpose, derived_seed

__all__ = ["TorchRows", "torch_anneal_codes"]

#: Columns of a block; sweeps after which float32 fields are summed anew; most sweeps of a descent.
_BLOCK, _ANEW, _LONGEST = 64, 64, 50
#: A step must gain more than this share of G_ii s_i², so that float32 noise does not make two equal points swing.
_GAIN = 1e-5
Visit = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class TorchRows:
    """A lattice on a device; columns first. Units: ``width`` is one step of the grid, ``base`` the lowest point.

    Attributes:
        gram: float32 ``(n, n)``.
        wanted, width, base: float32 ``(n, rows)``.
        stiff: float32 ``(n, rows)``, G_ii times the squared step.
        top: steps from the lowest point to the highest.
    """

    gram: Tensor
    wanted: Tensor
    width: Tensor
    base: Tensor
    stiff: Tensor
    top: int

    @classmethod
    def of(cls, lattice: Lattice, device: torch.device) -> TorchRows:
        """Copies a lattice to a device."""
        low, high, step = (int(level) for level in lattice.levels)
        scale, zero = lattice.scale[:, lattice.column], lattice.zero[:, lattice.column]
        gram, wanted, width, base = (
            torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32)).to(device)
            for part in (lattice.gram, lattice.weights.T, (scale * step).T, (scale * (low - zero)).T)
        )
        return cls(gram, wanted, width, base, gram.diagonal()[:, None] * width * width, (high - low) // step)

    def fields(self, places: Tensor) -> Tensor:
        """F of points given in steps above the lowest: ``(n, rows)``."""
        return self.gram @ (self.base + self.width * places - self.wanted)

    def errors(self, places: Tensor) -> Tensor:
        """E_r of points given in steps above the lowest: float64 ``(rows,)``."""
        gap = self.base + self.width * places - self.wanted
        return ((self.gram @ gap) * gap).sum(dim=0, dtype=torch.float64)

    def best(self, i: int, places: Tensor, field: Tensor) -> Tensor:
        """The best real place of column i with all others as they are: ``(rows,)``."""
        return places[i] - field * self.width[i] / self.stiff[i].clamp_min(1e-30)

    def sweep(self, places: Tensor, field: Tensor, visit: Visit) -> Tensor:
        """Visits every column once; ``places`` and ``field`` change in place.

        Args:
            places: float32 ``(n, rows)``.
            field: float32 ``(n, rows)``, F of them.
            visit: (column, its field ``(rows,)``) to its new places ``(rows,)``.

        Returns:
            How many places changed, a tensor of no dimension.
        """
        n = len(places)
        changed = torch.zeros((), dtype=torch.int64, device=places.device)
        for first in range(0, n, _BLOCK):
            last = min(n, first + _BLOCK)
            own, before = field[first:last].clone(), places[first:last].clone()
            inside = self.gram[first:last, first:last].contiguous()
            for k, i in enumerate(range(first, last)):
                moved = torch.where(self.stiff[i] > 0, visit(i, own[k]), places[i])
                own[k + 1 :].addr_(inside[k, k + 1 :], (moved - places[i]) * self.width[i])
                places[i] = moved
            steps = places[first:last] - before
            changed += steps.count_nonzero()
            field.addmm_(self.gram[:, first:last], steps * self.width[first:last])
        return changed

    def _sweeps(self, places: Tensor, shares: np.ndarray) -> Iterator[tuple[float, Tensor]]:
        """Each share with the field that its sweep starts from, summed anew now and then: float32 errors would build up."""
        for number, share in enumerate(shares.tolist()):
            if number % _ANEW == 0:
                field = self.fields(places)
            yield share, field

    def graduate(self, shares: np.ndarray) -> Tensor:
        """Places ``(n, rows)`` where means end when κ goes through ``shares``; see :mod:`.graduated`."""
        places = ((self.wanted - self.base) / self.width).clamp(0, self.top)
        for share, field in self._sweeps(places, shares):
            stretch = 1 / max(1 - share, 1e-6)

            def visit(i: int, own: Tensor, share: float = share, stretch: float = stretch) -> Tensor:
                place = self.best(i, places, own).clamp_(0, self.top)
                code = place.round()
                gap = place - code
                return code + ((gap.abs() - share / 2).clamp_(0) * stretch).clamp_(max=0.5).copysign_(gap)

            self.sweep(places, field, visit)
        return places.round().clamp_(0, self.top)

    def heat(self, places: Tensor, temperatures: Tensor, shares: np.ndarray, generator: torch.Generator) -> Tensor:
        """Heat bath of single codes, ``temperatures`` ``(rows,)`` times each of ``shares``: new places."""
        places = places.clone()
        for share, field in self._sweeps(places, shares):
            uniform = torch.rand(places.shape, generator=generator, device=generator.device).to(places.device)
            blur = 0.5 * share * temperatures * uniform.logit(1e-6) / self.stiff.clamp_min(1e-30)

            def visit(i: int, own: Tensor, blur: Tensor = blur) -> Tensor:
                place = self.best(i, places, own)
                below = place.floor().clamp_(0, self.top - 1)
                return below + (place - below + blur[i] > 0.5)

            self.sweep(places, field, visit)
        return places

    def descend(self, places: Tensor) -> Tensor:
        """New places where no single code can be bettered: each goes to its best, until none does."""
        places = places.clone()
        for _ in range(_LONGEST):
            field = self.fields(places)  # exact at the start of each sweep: the last one that changes nothing proves it

            def visit(i: int, own: Tensor) -> Tensor:
                code = self.best(i, places, own).round().clamp_(0, self.top)
                step = code - places[i]
                gain = step * (2 * own * self.width[i] + step * self.stiff[i])
                return torch.where(gain < -_GAIN * self.stiff[i], code, places[i])

            if not int(self.sweep(places, field, visit)):
                break
        return places


def torch_anneal_codes(
    lattice: Lattice, effort: Annealing, seed: int, start: np.ndarray | None = None, device: str | torch.device | None = None
) -> np.ndarray:
    """Codes int16 ``(rows, n)``, in no row worse than the start: :func:`anneal_codes` without its moves of pairs.

    Args:
        lattice: the layer, all of its rows.
        effort: how hard to try; ``pairs`` is not used.
        seed: of the heat bath; the same seed repeats on the same device and number of threads (float32 products are not
            associative).
        start: codes to begin from, or None for the one ``effort`` names.
        device: a torch device; None is CUDA where there is one, else the CPU.

    Example:
        >>> from annealnet.compression.rounding.grids import Grid
        >>> gram = np.array([[1.0, 0.9], [0.9, 1.0]], dtype=np.float32)
        >>> zeros, ones = np.zeros((1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32)
        >>> weights = np.array([[0.4, 0.4]], dtype=np.float32)
        >>> lattice = Lattice(gram, weights, ones, zeros, np.zeros(2, dtype=np.int64), Grid(2))
        >>> int(torch_anneal_codes(lattice, Annealing(sweeps=20), 0, device="cpu").sum())
        1
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if start is None:
        start = gptq_codes(lattice) if effort.start == "gptq" else lattice.nearest()
    best, least = start.copy(), lattice.errors(start)
    low, _, step = (int(level) for level in lattice.levels)
    rows = TorchRows.of(lattice, place)
    generator = torch.Generator(place).manual_seed(derived_seed(seed, Purpose.HEAT_BATH))
    shares = np.geomspace(1.0, effort.cold / effort.heat, effort.sweeps).astype(np.float32)

    def keep(places: Tensor) -> None:
        """Descends; rows that are better than the best so far go into it."""
        codes = (low + step * rows.descend(places).T.cpu().numpy()).astype(np.int16)
        errors = lattice.errors(codes)
        better = errors < least
        best[better], least[better] = codes[better], errors[better]

    def begin() -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(((best - low) // step).T, dtype=np.float32)).to(place)

    with torch.no_grad():
        keep(begin())
        for number in range(effort.fields):
            keep(rows.graduate(graduation(effort.field_sweeps, number)))
        for _ in range(effort.repeats if effort.sweeps else 0):
            temperatures = torch.from_numpy((effort.heat * least / len(lattice.gram)).astype(np.float32)).to(place)
            keep(rows.heat(begin(), temperatures, shares, generator))
    return best
