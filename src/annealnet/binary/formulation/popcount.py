"""What both formulations share: samples pass through the layers, each neuron is a popcount whose top bit is its output.

With bits for signs (1 for +1), p_i = XNOR(w_i, f_i) is 1 where the product w_i f_i is +1. The neuron's equality is

    Σ_i p_i + c = Σ_{b<m−1} 2^b a_b + 2^{m−1} o,     m = ⌈log₂(n + 1)⌉,

squared with strength Λ (Sasdelli & Chin 2021, authors' code, with c = 0). o is the sign exactly when "more than n/2 ones"
means "at least 2^{m−1}"; that holds for n = 2^m − 1 and n = 2^m − 2 with c = 0, and for every n with
c = 2^{m−1} − (⌊n/2⌋ + 1) (our consequence; 0 ≤ Σ p + c < 2^m still holds, so that m bits are enough).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.formulation.builder import Builder, popcount_bits
from annealnet.binary.formulation.training_energy import Linear, TrainingEnergy, check_samples, output_targets
from annealnet.binary.network.architecture import Architecture, Codes, check_codes

__all__ = ["PopcountFormulation", "neuron_inputs", "sign_neurons"]


def neuron_inputs(shape: Architecture, layer: int) -> int:
    """n: what a neuron of ``layer`` counts, its bias included."""
    return shape.fan_in(layer) + (1 if shape.bias and layer < shape.depth else 0)


def sign_neurons(shape: Architecture) -> int:
    """Σ_l n_l ⌈log₂(n + 1)⌉: bits of all popcounts of one sample."""
    return sum(shape.sizes[m] * popcount_bits(neuron_inputs(shape, m)) for m in range(1, shape.depth + 1))


@dataclass(frozen=True)
class _Sample:
    """One sample on its way: its number, and bits or inputs per layer."""

    number: int
    inputs: NDArray[np.int8]


class PopcountFormulation(ABC):
    """Weights, popcounts and losses of all samples; the subclasses say how a product and a loss are written.

    Attributes:
        name: in tables.
    """

    name: str

    @abstractmethod
    def num_bits(self, shape: Architecture, samples: int) -> int:
        """Bits of the energy."""

    @abstractmethod
    def strength(self, shape: Architecture) -> float:
        """Λ."""

    @abstractmethod
    def shift(self, n: int) -> int:
        """c, what is added to a popcount of n."""

    @abstractmethod
    def input_product(self, builder: Builder, label: str, w: int, x: int) -> Linear:
        """XNOR of a weight bit and a known input ±1."""

    @abstractmethod
    def sign_product(self, builder: Builder, label: str, w: int, f: int) -> Linear:
        """XNOR of a weight bit and a neuron's output bit."""

    @abstractmethod
    def loss(self, builder: Builder, label: str, output: int, target: int) -> None:
        """Adds 1 where the output bit is not the target's."""

    @property
    @abstractmethod
    def margin(self) -> float:
        """μ, reward for outputs far from a tie."""

    def energy(
        self,
        shape: Architecture,
        codes: Codes,
        x: NDArray[np.int8],
        y: NDArray[Any],
        fields: NDArray[np.float64] | None = None,
    ) -> TrainingEnergy:
        """The training energy of samples ``x`` ``(K, n_0)`` of ±1 with class numbers ``y`` ``(K,)``.

        Args:
            shape: any feed-forward architecture, skips and ±1 biases included.
            codes: int8 ``(classes, n_L)``; each output's target is its code's sign.
            x, y: the samples.
            fields: added to the linear coefficients of the weight (and bias) bits, ``(num_free,)``.

        Raises:
            ValueError: inputs that are not ±1, labels out of range, wrong shapes.
        """
        check_codes(codes, shape.sizes[-1])
        check_samples(shape, codes, x, y)
        builder = Builder(shape)
        targets = output_targets(codes, y)
        outputs = np.empty((len(x), shape.sizes[-1]), dtype=np.int64)
        for k in range(len(x)):
            outputs[k] = self._sample(builder, _Sample(k, x[k]), targets[k])
        return builder.finish(codes, outputs, self.strength(shape), self.name, fields)

    def _sample(self, builder: Builder, sample: _Sample, targets: NDArray[np.int8]) -> list[int]:
        shape = builder.shape
        layers: list[list[int]] = [[int(v) for v in sample.inputs]]  # inputs as ±1, then bits by number
        for m in range(1, shape.depth + 1):
            layers.append([self._neuron(builder, sample, m, j, layers) for j in range(shape.sizes[m])])
        for j, target in enumerate(targets):
            self.loss(builder, f"[sample {sample.number}, output {j}]", layers[-1][j], int(target))
            self._reward(builder, layers[-1][j], int(target), popcount_bits(shape.fan_in(shape.depth)))
        return layers[-1]

    def _neuron(self, builder: Builder, sample: _Sample, m: int, j: int, layers: list[list[int]]) -> int:
        """Products, popcount and output bit of neuron j of layer m; gives the output bit."""
        shape, total, i = builder.shape, Linear({}, 0), 0
        for source in shape.sources(m):
            for value in layers[source]:
                label, w = f"[sample {sample.number}, layer {m}, neuron {j}, input {i}]", builder.weight[m, j, i]
                part = (
                    self.input_product(builder, label, w, value)
                    if source == 0
                    else self.sign_product(builder, label, w, value)
                )
                total = _sum(total, part)
                i += 1
        if (m, j) in builder.bias:
            label = f"[sample {sample.number}, layer {m}, neuron {j}, bias]"
            total = _sum(total, self.input_product(builder, label, builder.bias[m, j], 1))
        n = neuron_inputs(shape, m)
        total = _sum(total, Linear({}, self.shift(n)))
        bits = []
        for place in range(popcount_bits(n)):
            kind = "o" if place == popcount_bits(n) - 1 else "a"
            bits.append(builder.digit(f"{kind}[sample {sample.number}, layer {m}, neuron {j}, bit {place}]", total, place))
        spelled = Linear({bit: -(1 << place) for place, bit in enumerate(bits)})
        builder.square(_sum(total, spelled), self.strength(shape))
        return bits[-1]

    def _reward(self, builder: Builder, output: int, target: int, m: int) -> None:
        """μ (1 − t (V − 2^{m−1} + ½)/2^{m−1})/2 with V the output's popcount: from 0 (all inputs agree) to μ (none does)."""
        if self.margin:
            half = 1 << (m - 1)
            builder.offset += self.margin * (0.5 - target * (0.5 - half) / (2 * half))
            for place in range(m):
                builder.linear(output - (m - 1) + place, -self.margin * target * (1 << place) / (2 * half))


def _sum(a: Linear, b: Linear) -> Linear:
    terms = dict(a.terms)
    for bit, c in b.terms.items():
        terms[bit] = terms.get(bit, 0) + c
    return Linear(terms, a.constant + b.constant)
