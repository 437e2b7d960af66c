"""The bits of one planning problem: which channels go, which width each layer takes, and what that costs exactly.

    x = ( p_0 … p_{U−1} | w_{l,b} )      p_u = 1: unit u is removed;  w_{l,b} = 1: layer l takes b bits (one-hot)

Bytes are a polynomial in x, kept outputs × kept inputs × bits, layer by layer: that is the true budget, the input
channels of the next layer included. Native samplers keep it exactly as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from annealnet.compression.formulations.budget import Limits
from annealnet.compression.network.graph import Layer, NetworkGraph
from annealnet.energy import AffineCount, Constraint, LinearBudget, OneHot, ProductBudget, Term

__all__ = ["PlanSpace"]


def channel_bytes(layer: Layer) -> int:
    """Bytes an output channel costs beside its weights: a float16 scale, and a float16 bias where there is one."""
    return 4 if layer.stores_bias else 2


@dataclass(frozen=True)
class PlanSpace:
    """Every plan of one network, as bits.

    Attributes:
        graph: the dense network's structure.
        widths: the widths each layer may take; one width means that the layer is not asked.
        overhead: bytes that no plan changes (headers, plan, tensors that stay as they are).
        removable: whether channels may go at all.
    """

    graph: NetworkGraph
    widths: Mapping[str, tuple[int, ...]]
    overhead: int
    removable: bool = True

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
                    raise ValueError(f"x gives layer {choice[0]!r} several widths: one-hot is broken")
                bits[choice[0]] = choice[1]
        missing = [layer.name for layer in self.graph.layers if layer.name not in bits]
        if missing:
            raise ValueError(f"x gives layer {missing[0]!r} no width: one-hot is broken")
        return x[: self.graph.num_units] == 0, bits

    # ---- what a plan costs -------------------------------------------------------------------------------

    def layer_bytes(self, name: str, keep: np.ndarray, bits: int) -> int:
        """Bytes of one layer: packed weights, a float16 scale and a float16 bias for each output channel."""
        layer = self.graph.layer(name)
        outputs = int(self.graph.keep_for(layer, keep)[0].sum())
        return -(-self.graph.weights(layer, keep) * bits // 8) + channel_bytes(layer) * outputs

    def bytes(self, keep: np.ndarray, bits: Mapping[str, int]) -> int:
        """Bytes of the files this plan writes, both, header included."""
        return self.overhead + sum(self.layer_bytes(layer.name, keep, bits[layer.name]) for layer in self.graph.layers)

    def fits(self, keep: np.ndarray, bits: Mapping[str, int], limits: Limits) -> bool:
        """Whether a plan is within the budget."""
        return (limits.bytes is None or self.bytes(keep, bits) <= limits.bytes) and (
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
            found.append(LinearBudget(coefficients, len(group.units) - 1 if self.removable else 0))
        if limits.bytes is not None:
            found.append(self._byte_budget(limits.bytes))
        if limits.macs is not None:
            found.append(self._mac_budget(limits.macs))
        return found

    def _byte_budget(self, limit: int) -> ProductBudget:
        """In eighths of a byte, so that every number is whole:

            Σ_l kernel · outputs · inputs · bits + 8 · channel bytes · outputs  ≤  8 · (limit − overhead)

        A layer's weights are padded to a byte: seven eighths are set aside for each layer.
        """
        counts: list[AffineCount] = []
        terms: list[Term] = []
        for layer in self.graph.layers:
            first = len(counts)
            indices = tuple(self.width_index[layer.name, b] for b in self.widths[layer.name])
            counts += [*self._kept_counts(layer.name), AffineCount(0, indices, self.widths[layer.name])]
            terms.append(Term(layer.kernel_size, (first, first + 1, first + 2)))
            terms.append(Term(8 * channel_bytes(layer), (first,)))
        room = 8 * (limit - self.overhead) - 7 * len(self.graph.layers)
        return ProductBudget(tuple(counts), tuple(terms), max(0, room))

    def _mac_budget(self, limit: int) -> ProductBudget:
        counts: list[AffineCount] = []
        terms: list[Term] = []
        for layer in self.graph.layers:
            terms.append(Term(layer.kernel_size * self.graph.output_shapes[layer.name], (len(counts), len(counts) + 1)))
            counts += self._kept_counts(layer.name)
        return ProductBudget(tuple(counts), tuple(terms), limit)

    def _kept_counts(self, name: str) -> list[AffineCount]:
        """Outputs kept, and inputs kept that one output reads, as functions of the removal bits."""
        return [
            AffineCount(count.const, tuple(map(int, count.units)), tuple(map(int, count.coefs)))
            for count in self.graph.affine_counts()[name]
        ]

    def smallest(self) -> tuple[np.ndarray, dict[str, int]]:
        """The plan with the fewest bytes: one channel per group, the least width everywhere."""
        keep = np.ones(self.graph.num_units, dtype=bool)
        if self.removable:
            for group in self.graph.groups:
                keep[list(group.units)[1:]] = False
        return keep, {layer.name: min(self.widths[layer.name]) for layer in self.graph.layers}

    def keep_lowest_out(self, scores: np.ndarray, share: float) -> np.ndarray:
        """Removes the lowest-scored ``share`` of every group, at least one channel stays: keep ``(num_units,)``."""
        keep = np.ones(self.graph.num_units, dtype=bool)
        for group in self.graph.groups:
            units = np.asarray(group.units)
            gone = min(len(units) - 1, int(share * len(units))) if self.removable else 0
            keep[units[np.argsort(scores[units], kind="stable")[:gone]]] = False
        return keep
