"""The bits of one planning problem: which channels go, which width each layer takes, and what that costs exactly.

    x = ( p_0 … p_{U−1} | w_{l,b} )      p_u = 1: unit u is removed;  w_{l,b} = 1: layer l takes b bits (one-hot)

Bytes are a polynomial in x, kept outputs × kept inputs × bits, layer by layer (:class:`.CostTerms`): that is the true
budget, the input channels of the next layer included. Native samplers keep it exactly as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from annealnet.compression.files.stored_layer import CostTerms, cost_terms, grains_per_bit
from annealnet.compression.formulations.budget import Limits
from annealnet.compression.network.graph import NetworkGraph
from annealnet.compression.network.structure import AffineCount as Kept
from annealnet.compression.network.structure import DependencyGroup, slots_kept
from annealnet.compression.rounding.grids import MAX_BITS, Grid
from annealnet.energy import AffineCount, Constraint, LinearBudget, OneHot, ProductBudget, Term

__all__ = ["PlanSpace"]


@dataclass(frozen=True)
class PlanSpace:
    """Every plan of one network, as bits.

    Attributes:
        graph: the dense network's structure.
        widths: the widths each layer may take; one width means that the layer is not asked.
        overhead: bytes outside the layers (headers, plan, tensors that stay as they are) where nothing is removed.
        removable: whether channels may go at all.
        fixed: names of dependency groups that lose nothing.
        grid: how scales are shared; its width does not matter.
        leaving: so many of the overhead's bytes leave with each unit, ``(num_units,)``; empty where none do.
    """

    graph: NetworkGraph
    widths: Mapping[str, tuple[int, ...]]
    overhead: int
    removable: bool = True
    fixed: frozenset[str] = frozenset()
    grid: Grid = field(default_factory=lambda: Grid(MAX_BITS))
    leaving: tuple[int, ...] = ()

    @cached_property
    def choices(self) -> tuple[tuple[str, int], ...]:
        """The (layer, bits) pairs behind the width variables, in their order."""
        return tuple((layer.name, b) for layer in self.graph.layers for b in self.widths[layer.name])

    @cached_property
    def width_index(self) -> dict[tuple[str, int], int]:
        """Variable of each (layer, bits) pair."""
        return {choice: self.graph.num_units + i for i, choice in enumerate(self.choices)}

    @property
    def num_variables(self) -> int:
        """Units plus (layer, bits) pairs."""
        return self.graph.num_units + len(self.choices)

    def encode(self, keep: np.ndarray, bits: Mapping[str, int]) -> np.ndarray:
        """The bits of a plan: ``keep`` bool ``(num_units,)`` and a width per layer → uint8 ``(num_variables,)``."""
        x = np.zeros(self.num_variables, dtype=np.uint8)
        x[: self.graph.num_units] = ~np.asarray(keep, dtype=bool)
        for name, b in bits.items():
            x[self.width_index[name, b]] = 1
        return x

    def decode(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """The plan of an assignment: keep per unit, and the width of each layer.

        Raises:
            ValueError: when a layer has no width or several.
        """
        x = np.asarray(x)
        bits: dict[str, int] = {}
        for choice, index in self.width_index.items():
            if x[index]:
                if choice[0] in bits:
                    raise ValueError(f"x gives layer {choice[0]!r} several widths: set one, as encode does")
                bits[choice[0]] = choice[1]
        missing = [layer.name for layer in self.graph.layers if layer.name not in bits]
        if missing:
            raise ValueError(f"x gives layer {missing[0]!r} no width: set one, as encode does")
        return x[: self.graph.num_units] == 0, bits

    # ---- what a plan costs -------------------------------------------------------------------------------

    @cached_property
    def terms(self) -> Mapping[str, CostTerms]:
        """What each layer costs."""
        return {
            layer.name: cost_terms(layer, self.grid, self.removable and bool((layer.fan_in_units >= 0).any()))
            for layer in self.graph.layers
        }

    @cached_property
    def grains_per_byte(self) -> int:
        """So many of a layer's grains are a byte."""
        return 8 * grains_per_bit(self.grid)

    def layer_grains(self, name: str, keep: np.ndarray, bits: int) -> int:
        """What one layer costs: weights, scales, zero points, bias, exponents; ``grains_per_byte`` are a byte."""
        return self.width_grains(name, keep, (bits,))[0]

    def width_grains(self, name: str, keep: np.ndarray, widths: Sequence[int]) -> list[int]:
        """What one layer costs at each of several widths; its channels are counted once."""
        layer = self.graph.layer(name)
        outputs, inputs = (int(slots_kept(units, keep).sum()) for units in (layer.out_units, layer.fan_in_units))
        return [self.terms[name].at(outputs, inputs, bits) for bits in widths]

    def num_bytes(self, keep: np.ndarray, bits: Mapping[str, int]) -> int:
        """Bytes that the files of this plan do not exceed, both, header included; the count that the budget limits.

        At most 16 more than are written, if all weights of an output share a scale.
        """
        return self.bytes_of(sum(self.layer_grains(layer.name, keep, bits[layer.name]) for layer in self.graph.layers), keep)

    def bytes_of(self, grains: int, keep: np.ndarray) -> int:
        """Bytes of files whose layers together cost these grains."""
        return self.bytes_beside(keep) - (-grains // self.grains_per_byte)

    def bytes_beside(self, keep: np.ndarray) -> int:
        """Bytes of a plan's files outside its layers."""
        return self.overhead - sum(own for own, kept in zip(self.leaving, keep, strict=False) if not kept)

    def fits(self, keep: np.ndarray, bits: Mapping[str, int], limits: Limits) -> bool:
        """Whether a plan is within the budget."""
        return (limits.bytes is None or self.num_bytes(keep, bits) <= limits.bytes) and (
            limits.macs is None or self.graph.macs(keep) <= limits.macs
        )

    # ---- constraints -------------------------------------------------------------------------------------

    def constraints(self, limits: Limits) -> list[Constraint]:
        """One width per layer, at least one channel per group, and the budget as its exact polynomial."""
        found: list[Constraint] = [
            OneHot([self.width_index[layer.name, b] for b in self.widths[layer.name]]) for layer in self.graph.layers
        ]
        for group in self.graph.groups:
            coefficients = np.zeros(self.num_variables)
            coefficients[list(group.units)] = 1
            found.append(LinearBudget(coefficients, self.most_removed(group)))
        if limits.bytes is not None:
            found.append(self._byte_budget(limits.bytes))
        if limits.macs is not None:
            found.append(self._mac_budget(limits.macs))
        return found

    def _byte_budget(self, limit: int) -> ProductBudget:
        """In grains, so that every number is whole, and exactly ``num_bytes ≤ limit``:

        Σ_l outputs · (inputs · (code · bits + pair) + output) + grains per byte · Σ_u leaving_u · (1 − p_u)
            ≤  grains per byte · (limit − overhead + Σ_u leaving_u) − Σ_l fixed
        """
        counts: list[AffineCount] = []
        terms: list[Term] = []
        for layer in self.graph.layers:
            first, cost = len(counts), self.terms[layer.name]
            indices = tuple(self.width_index[layer.name, b] for b in self.widths[layer.name])
            counts += [*self._kept_counts(layer.name), AffineCount(0, indices, self.widths[layer.name])]
            terms.append(Term(cost.code, (first, first + 1, first + 2)))
            terms.append(Term(cost.output, (first,)))
            if cost.pair:
                terms.append(Term(cost.pair, (first, first + 1)))
        left = sum(self.leaving)
        if left:
            units = tuple(unit for unit, own in enumerate(self.leaving) if own)
            terms.append(Term(self.grains_per_byte, (len(counts),)))
            counts.append(AffineCount(left, units, tuple(-self.leaving[unit] for unit in units)))
        fixed = sum(cost.fixed for cost in self.terms.values())
        room = self.grains_per_byte * (limit - self.overhead + left) - fixed
        return ProductBudget(tuple(counts), tuple(terms), max(0, room))

    def _mac_budget(self, limit: int) -> ProductBudget:
        counts: list[AffineCount] = []
        terms: list[Term] = []
        for layer in self.graph.layers:
            terms.append(Term(layer.kernel_size * self.graph.output_shapes[layer.name], (len(counts), len(counts) + 1)))
            counts += self._kept_counts(layer.name)
        for product in self.graph.products:
            terms.append(Term(product.macs, (len(counts),)))
            counts.append(_affine(Kept.of(product.units)))
        return ProductBudget(tuple(counts), tuple(terms), limit)

    def _kept_counts(self, name: str) -> list[AffineCount]:
        """Outputs kept, and inputs kept that one output reads, as functions of the removal bits."""
        return [_affine(count) for count in self.graph.affine_counts()[name]]

    def most_removed(self, group: DependencyGroup) -> int:
        """How many of a group's units may go: all but one, or none."""
        return len(group.units) - 1 if self.removable and group.name not in self.fixed else 0

    def smallest(self) -> tuple[np.ndarray, dict[str, int]]:
        """The least plan: one channel per group, the least width everywhere."""
        keep = np.ones(self.graph.num_units, dtype=bool)
        for group in self.graph.groups:
            keep[list(group.units)[len(group.units) - self.most_removed(group) :]] = False
        return keep, {layer.name: min(self.widths[layer.name]) for layer in self.graph.layers}

    def keep_lowest_out(self, scores: np.ndarray, share: float) -> np.ndarray:
        """Removes the lowest-scored ``share`` of every group, at least one channel stays: keep ``(num_units,)``."""
        keep = np.ones(self.graph.num_units, dtype=bool)
        for group in self.graph.groups:
            units = np.asarray(group.units)
            gone = min(self.most_removed(group), int(share * len(units)))
            keep[units[np.argsort(scores[units], kind="stable")[:gone]]] = False
        return keep


def _affine(count: Kept) -> AffineCount:
    """How many channels are kept, as an energy's constraints say it."""
    return AffineCount(count.const, tuple(map(int, count.units)), tuple(map(int, count.coefs)))
