"""What a layer costs on disk, to the bit and before anything is computed: codes, scales, zero points, bias, exponents.

    bits = weights · b + 16 · scales + 8 · zero points + 16 · biases + 8 · exponents

Scales and biases are float16 under one power of two each (:mod:`annealnet.compression.rounding.stored_numbers`), so that
nothing depends on their values. Plan space, budget, storage and report all ask here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd, prod

import numpy as np

from annealnet.compression.files.safetensors_layout import TensorSpec
from annealnet.compression.network.structure import Layer, NetworkGraph, slots_kept
from annealnet.compression.rounding.grids import Grid

__all__ = ["CostTerms", "StoredLayer", "cost_terms", "grains_per_bit", "stored_specs"]

_SCALE_BITS, _ZERO_BITS, _BIAS_BITS, _EXPONENT_BITS = 16, 8, 16, 8


@dataclass(frozen=True)
class StoredLayer:
    """One layer as it lies in the file.

    Attributes:
        outputs: output channels n.
        fan_in: weights per output channel.
        grid: width, and how scales are shared.
        has_bias: whether a bias is stored.

    Example:
        >>> layer = StoredLayer(outputs=8, fan_in=9, grid=Grid(3, group=4), has_bias=True)
        >>> layer.num_scales, layer.num_bits, layer.num_bytes
        (24, 744, 93)
    """

    outputs: int
    fan_in: int
    grid: Grid
    has_bias: bool

    @classmethod
    def of(cls, graph: NetworkGraph, layer: Layer, keep: np.ndarray, grid: Grid) -> StoredLayer:
        """A layer with the units that ``keep`` bool ``(num_units,)`` leaves."""
        outputs = int(slots_kept(layer.out_units, keep).sum())
        fan_in = int(slots_kept(layer.fan_in_units, keep).sum()) * layer.kernel_size
        return cls(outputs, fan_in, grid, layer.stores_bias)

    @property
    def weights(self) -> int:
        """Codes that are stored."""
        return self.outputs * self.fan_in

    @property
    def code_bits(self) -> int:
        """Bits of the codes; the next layer's begin at the next bit."""
        return self.weights * self.grid.bits

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """``(outputs,)``, or ``(outputs, groups)``."""
        return (self.outputs,) if self.grid.group is None else (self.outputs, self.grid.groups(self.fan_in))

    @property
    def num_scales(self) -> int:
        """Scales, and zero points on asymmetric grids."""
        return prod(self.scale_shape)

    @property
    def num_exponents(self) -> int:
        """Of the scales, and of the bias where there is one."""
        return 1 + self.has_bias

    @property
    def num_bits(self) -> int:
        """Everything together."""
        return (
            self.code_bits
            + self.num_scales * _bits_per_scale(self.grid)
            + self.outputs * _BIAS_BITS * self.has_bias
            + self.num_exponents * _EXPONENT_BITS
        )

    @property
    def num_bytes(self) -> int:
        """``num_bits`` in whole bytes; layers share a byte where one's codes end, so that a file may take a few less."""
        return -(-self.num_bits // 8)


def _bits_per_scale(grid: Grid) -> int:
    return _SCALE_BITS + (0 if grid.symmetric else _ZERO_BITS)


def stored_specs(layers: Iterable[StoredLayer]) -> dict[str, TensorSpec]:
    """The tensors that hold layers, in the order in which they lie in them.

    ``codes`` begins with all exponents, int8, a byte each; the codes follow, bit after bit.

    Example:
        >>> stored_specs([StoredLayer(2, 3, Grid(3), False), StoredLayer(1, 2, Grid(8), True)])["codes"].num_bytes
        8
    """
    found = list(layers)
    exponents, code_bits = sum(layer.num_exponents for layer in found), sum(layer.code_bits for layer in found)
    scales = sum(layer.num_scales for layer in found)
    specs = {"codes": TensorSpec("U8", (exponents + -(-code_bits // 8),)), "scales": TensorSpec("F16", (scales,))}
    if any(not layer.grid.symmetric for layer in found):
        specs["zeros"] = TensorSpec("I8", (scales,))
    biases = sum(layer.outputs for layer in found if layer.has_bias)
    if biases:
        specs["biases"] = TensorSpec("F16", (biases,))
    return specs


# ---- the same as a polynomial, for energies and their samplers ---------------------------------------------


@dataclass(frozen=True)
class CostTerms:
    """A layer's cost for n outputs that read m input channels each, at b bits, in grains:

        code · n m b + pair · n m + output · n + fixed

    Exact where all weights of an output share a scale, and where no input can go. With groups of g weights,
    ⌈k m / g⌉ ≤ (k m + g − 1) / g takes the place of the number of scales: never less, by less than one scale per output.

    Attributes:
        code, pair, output, fixed: whole numbers of grains; :func:`grains_per_bit` of them are a bit.
    """

    code: int
    pair: int
    output: int
    fixed: int

    def at(self, outputs: int, inputs: int, bits: int) -> int:
        """Grains of a layer with these many outputs, inputs per output, and bits."""
        return outputs * (inputs * (self.code * bits + self.pair) + self.output) + self.fixed


def grains_per_bit(grid: Grid) -> int:
    """So many grains are a bit that a weight's share of its group's scale is whole.

    Example:
        >>> grains_per_bit(Grid(8)), grains_per_bit(Grid(8, group=64))
        (1, 4)
    """
    return 1 if grid.group is None else grid.group // gcd(grid.group, _bits_per_scale(grid))


def cost_terms(layer: Layer, grid: Grid, inputs_vary: bool) -> CostTerms:
    """What a layer of the network costs, whatever channels are kept.

    Args:
        layer: of the dense network.
        grid: how scales are shared; its width does not matter.
        inputs_vary: whether a plan may remove inputs of this layer.
    """
    grains = grains_per_bit(grid)
    fixed = grains * _EXPONENT_BITS * (1 + layer.stores_bias)
    code, per_scale = grains * layer.kernel_size, grains * _bits_per_scale(grid)
    bias = grains * _BIAS_BITS * layer.stores_bias
    most = grid.groups(prod(layer.weight_shape[1:]))
    if grid.group is None or most == 1 or not inputs_vary:
        return CostTerms(code, 0, per_scale * most + bias, fixed)
    share = per_scale // grid.group
    return CostTerms(code, share * layer.kernel_size, share * (grid.group - 1) + bias, fixed)
