"""A network as channels see it: layers, norms, dependency groups, and what a set of channels costs.

A *unit* is the smallest thing that can be removed: an equivalence class of channels that must go together
(tied by residual sums, batch norms, depthwise and grouped convolutions). Units are numbered 0 … num_units − 1
in execution order; -1 marks a channel that always stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from annealnet.compression.network.signature import Signature
from annealnet.compression.network.ways import Way

__all__ = [
    "AffineCount",
    "Beside",
    "DependencyGroup",
    "Layer",
    "NetworkGraph",
    "Norm",
    "Pinned",
    "Product",
    "Size",
    "StaysDense",
]

#: Share of a network's bytes above which a report begins with what stays dense.
_NOTEWORTHY = 0.2


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer whose weights can be put on a grid.

    Attributes:
        name: path of the module.
        kind: its kind in a word, such as ``"conv"`` or ``"linear"``.
        weight_shape: ``(out_channels, in_channels / groups, *kernel)`` of the dense layer.
        groups: groups of the dense convolution, 1 for linear layers.
        out_units: int64 ``(out_channels,)`` unit of each output channel, -1 where it stays.
        in_units: int64 ``(in_channels,)`` unit of each input channel (linear: of each input feature), -1
            where it stays.
        norm: the batch norm that directly and solely follows, hence can be folded.
        has_bias: whether the dense layer has a bias.
        axis: the dimension of its result in which its output channels lie.
        by_value: whether it is rounded without data: a table, or a matrix whose inputs nobody sees.
        by_columns: whether its ``in_units`` are not what it reads but what it gives: columns of a table.
    """

    name: str
    kind: str
    weight_shape: tuple[int, ...]
    groups: int
    out_units: np.ndarray
    in_units: np.ndarray
    norm: str | None
    has_bias: bool
    axis: int = 1
    by_value: bool = False
    by_columns: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether every output reads one input channel only, so that ``groups`` shrinks with the inputs."""
        return self.groups > 1 and self.groups == len(self.in_units)

    @property
    def kernel_size(self) -> int:
        """Weights per (output channel, input channel) pair: 9 for 3×3, 1 for linear layers."""
        return math.prod(self.weight_shape[2:])

    @property
    def fan_in_units(self) -> np.ndarray:
        """Units of the input channels that one output channel reads: ``(in_channels / groups,)``.

        The groups of a grouped convolution all read the same units in the same order; a depthwise one reads
        its own
        channel only, which is there as long as the output is: -1.
        """
        if self.depthwise:
            return np.full(1, -1, dtype=np.int64)
        return self.in_units[: len(self.in_units) // self.groups]

    @property
    def stores_bias(self) -> bool:
        """Whether the layer has a bias once its batch norm is folded."""
        return self.has_bias or self.norm is not None


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm of each channel, of each group of channels, or of all of them.

    Attributes:
        name: path of the module.
        units: int64 ``(channels,)`` unit of each channel, -1 where it stays.
        folded_into: the layer it can be folded into, or None.
        over: the channels' dimension of its input, where it takes its moments over all channels.
    """

    name: str
    units: np.ndarray
    folded_into: str | None
    over: int | None = None


@dataclass(frozen=True, eq=False)
class Beside:
    """A parameter or buffer that meets channels and is no layer's: a table of positions, a class token, a gain.

    Attributes:
        name: of the tensor.
        axis: its dimension along which the channels lie.
        units: int64 ``(channels,)`` unit of each entry there, -1 where it stays.
    """

    name: str
    axis: int
    units: np.ndarray


@dataclass(frozen=True, eq=False)
class Product:
    """A product of two tensors that are both computed, such as an attention's: multiply-adds without weights.

    Attributes:
        name: where it is.
        units: int64 ``(slots,)`` unit of each head or channel that it is computed for, -1 where that stays.
        macs: multiply-adds of one sample and slot.
    """

    name: str
    units: np.ndarray
    macs: int


@dataclass(frozen=True)
class Size:
    """A number that a module keeps and that falls when channels go: of its heads, of its features.

    Attributes:
        module: path of the module.
        attribute: its name there.
        slots: the unit behind each of the things counted, -1 where it stays.
        layer: the one whose outputs these are; two layers of a module may compute as many of different things.
    """

    module: str
    attribute: str
    slots: tuple[int, ...]
    layer: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute} of {self.layer}"


@dataclass(frozen=True)
class DependencyGroup:
    """Units that are produced, normalised and read by the same modules. At least one of them must be kept.

    Attributes:
        name: the first producing layer's name (with a number where several groups begin there).
        units: the unit numbers, ascending.
        producers: layers that compute these channels.
        readers: layers that read them.
        norms: norms between.
        what: ``"heads"`` of an attention, ``"neurons"`` between linear layers, ``"stream"``: channels that are columns of a
            table, or that a norm takes its moments over; else ``"channels"``.
    """

    name: str
    units: tuple[int, ...]
    producers: tuple[str, ...]
    readers: tuple[str, ...]
    norms: tuple[str, ...]
    what: str = "channels"

    def __str__(self) -> str:
        words = f"{self.name}: {len(self.units)} units, computed by {', '.join(self.producers)}"
        if self.norms:
            words += f"; normalised by {', '.join(self.norms)}"
        return words + f"; read by {', '.join(self.readers)}"


@dataclass(frozen=True)
class Pinned:
    """Channels that stay, or tensors that stay as they are.

    Attributes:
        name: module, operation or parameter.
        reason: why, in words.
        num_bytes: of the tensors that are stored as they are; 0 where only channels stay.
    """

    name: str
    reason: str
    num_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" + (f" ({self.num_bytes:,} bytes)" if self.num_bytes else "")


@dataclass(frozen=True)
class StaysDense:
    """How much of a network no grid reaches.

    Attributes:
        num_bytes: of what stays as it is.
        of: bytes of the whole dense network.

    Example:
        >>> print(StaysDense(600, 2400), StaysDense(600, 2400).noteworthy, StaysDense(1, 5).noteworthy)
        600 of 2,400 bytes (25.0 %) stay dense True False
    """

    num_bytes: int
    of: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.num_bytes / max(1, self.of)

    @property
    def noteworthy(self) -> bool:
        """Whether a report has to begin with it: more than a fifth."""
        return self.share > _NOTEWORTHY

    def __str__(self) -> str:
        return f"{self.num_bytes:,} of {self.of:,} bytes ({self.share:.1%}) stay dense".replace("%", " %")


@dataclass(frozen=True, eq=False)
class AffineCount:
    """How many channels are kept, affine in the removal bits: N(p) = const + Σ_i coefs_i · p[units_i].

    Attributes:
        const: channels of the dense layer.
        units: int64 ``(k,)`` distinct units.
        coefs: int64 ``(k,)`` minus the number of channels that go with each.

    Example:
        >>> count = AffineCount.of(np.array([0, 0, -1, 2]))
        >>> count.const, count.units.tolist(), count.coefs.tolist()
        (4, [0, 2], [-2, -1])
        >>> count.at(np.array([1, 0, 0]))
        2
    """

    const: int
    units: np.ndarray
    coefs: np.ndarray

    @classmethod
    def of(cls, slots: np.ndarray) -> AffineCount:
        """Counts the slots of units ``(slots,)``, -1 for slots that stay."""
        units, number = np.unique(slots[slots >= 0], return_counts=True)
        return cls(len(slots), units, -number)

    def at(self, removed: np.ndarray) -> int:
        """The count for removal bits ``(num_units,)``, 1 = removed."""
        return int(self.const + self.coefs @ np.asarray(removed)[self.units].astype(np.int64))


@dataclass(frozen=True, eq=False)
class NetworkGraph:
    """What :func:`~annealnet.compression.network.graph.trace` finds.

    Attributes:
        layers: layers that can be quantised, in execution order; their channels may be removable.
        norms: every norm that was understood.
        groups: the removable channels.
        num_units: number of units.
        pinned: channels that stay, then every tensor that no layer on a grid owns, with its bytes; and why.
        output_shapes: positions per sample of each layer's output (product of its spatial dimensions).
        signature: how the network is called, so that a fresh one can be traced again.
        num_bytes: of all the dense network's tensors as they are.
        products: multiply-adds that no weight takes part in.
        sizes: numbers that modules keep and that fall when channels go.
        opaque: whether modules were left that the trace could not look into.
        way: how the network was opened.
        beside: tensors that no layer owns and that lose entries with their channels.
    """

    layers: tuple[Layer, ...]
    norms: tuple[Norm, ...]
    groups: tuple[DependencyGroup, ...]
    num_units: int
    pinned: tuple[Pinned, ...]
    output_shapes: Mapping[str, int]
    signature: Signature
    num_bytes: int = 0
    products: tuple[Product, ...] = ()
    sizes: tuple[Size, ...] = ()
    way: Way = Way.SYMBOLIC
    opaque: bool = False
    beside: tuple[Beside, ...] = ()

    @property
    def stays_dense(self) -> StaysDense:
        """How many of the dense network's bytes no layer on a grid owns."""
        return StaysDense(sum(pinned.num_bytes for pinned in self.pinned), self.num_bytes)

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def layer(self, name: str) -> Layer:
        """The layer of that name.

        Raises:
            ValueError: when there is none.
        """
        if name not in self._by_name:
            raise ValueError(f"layer={name!r} is not part of this network: it has {', '.join(self._by_name)}")
        return self._by_name[name]

    def checked_keep(self, keep: np.ndarray) -> np.ndarray:
        """``keep`` as a bool array ``(num_units,)``.

        Raises:
            ValueError: when its shape is wrong or a group would lose its last channel.
        """
        kept = np.asarray(keep)
        if kept.shape != (self.num_units,) or kept.dtype != np.bool_:
            raise ValueError(
                f"keep has shape {kept.shape} and dtype {kept.dtype}: give a bool array of shape "
                f"({self.num_units},), True where a unit stays"
            )
        for group in self.groups:
            if not kept[list(group.units)].any():
                raise ValueError(f"keep removes every channel of group {group.name!r}: leave at least one of them")
        return kept

    def keep_for(self, layer: Layer | str, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which outputs and inputs of a layer stay, bool ``(out_channels,)`` and ``(in_channels,)``."""
        layer = self.layer(layer) if isinstance(layer, str) else layer
        return slots_kept(layer.out_units, keep), slots_kept(layer.in_units, keep)

    def weights(self, layer: Layer, keep: np.ndarray) -> int:
        """Weights of a layer that are left: outputs · inputs per output · kernel size."""
        outputs = int(slots_kept(layer.out_units, keep).sum())
        return outputs * int(slots_kept(layer.fan_in_units, keep).sum()) * layer.kernel_size

    def macs(self, keep: np.ndarray | None = None) -> int:
        """Multiply-adds of one sample's pass through ``layers`` and ``products``; None counts the dense network."""
        keep = np.ones(self.num_units, dtype=bool) if keep is None else keep
        by_weights = sum(self.weights(layer, keep) * self.output_shapes[layer.name] for layer in self.layers)
        return by_weights + sum(product.macs * int(slots_kept(product.units, keep).sum()) for product in self.products)

    def affine_counts(self) -> dict[str, tuple[AffineCount, AffineCount]]:
        """Per layer the kept output channels, and the kept input channels *that one output reads*.

        Their product times ``kernel_size`` is exactly the number of weights, for grouped and depthwise
        convolutions too: N_w(p) = kernel_size · N_out(p) · N_in(p).
        """
        return {layer.name: (AffineCount.of(layer.out_units), AffineCount.of(layer.fan_in_units)) for layer in self.layers}

    def __str__(self) -> str:
        lines = [f"{len(self.layers)} layers, {len(self.groups)} groups, {self.num_units} removable units"]
        lines += [f"  {group}" for group in self.groups]
        if self.pinned:
            lines += ["left dense:", *(f"  {pinned}" for pinned in self.pinned)]
        return "\n".join(lines)


def slots_kept(units: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Bool per slot: slots of unit -1 stay, the others follow ``keep``.

    Example:
        >>> slots_kept(np.array([-1, 0, 1, 0]), np.array([False, True])).tolist()
        [True, False, True, False]
    """
    kept = np.ones(len(units), dtype=bool)
    removable = units >= 0
    kept[removable] = np.asarray(keep, dtype=bool)[units[removable]]
    return kept
