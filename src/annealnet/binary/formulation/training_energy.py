"""One energy over weights and auxiliary bits whose ground states are the networks of least training loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import dimod
import numpy as np
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.energy import SparseEnergy

__all__ = ["Formulation", "Linear", "TrainingEnergy", "check_samples", "output_targets"]

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Linear:
    """constant + Σ coefficient · bit, over bit numbers."""

    terms: Mapping[int, int]
    constant: int = 0


@dataclass(frozen=True)
class Definition:
    """What an auxiliary bit stands for, given bits with smaller numbers: bit ``place`` of a whole number, or a product.

    Attributes:
        value: the whole number; for a product None.
        place: which of its bits.
        factors: the two bits of a product.
    """

    value: Linear | None
    place: int = 0
    factors: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class TrainingEnergy:
    """A training problem as a QUBO.

    Attributes:
        energy: over all bits; weights (and biases of ±1) come first.
        shape, codes: of the network.
        labels: a name per bit, such as ``w[1,0,2]`` or ``a[sample 3, layer 1, neuron 0, bit 1]``.
        definitions: of the auxiliary bits, in order.
        outputs: numbers of the output bits, ``(K, n_L)``.
        penalty: Λ.
        formulation: its name.
    """

    energy: SparseEnergy
    shape: Architecture
    codes: Codes
    labels: tuple[str, ...]
    definitions: tuple[Definition, ...]
    outputs: NDArray[np.int64]
    penalty: float
    formulation: str

    @property
    def num_free(self) -> int:
        """Bits that are weights or biases; all others follow from them."""
        return self.energy.num_variables - len(self.definitions)

    def to_bqm(self) -> dimod.BinaryQuadraticModel:
        """The plain QUBO, its variables named by ``labels``."""
        return self.energy.to_bqm().relabel_variables(dict(enumerate(self.labels)), inplace=False)

    def complete(self, free: Bits) -> Bits:
        """States that keep every constraint, from weight bits ``(reads, num_free)``: ``(reads, bits)``.

        Raises:
            ValueError: another number of bits.
        """
        given = np.atleast_2d(free)
        if given.shape[1] != self.num_free:
            raise ValueError(f"free has shape {given.shape}: give (reads, {self.num_free})")
        states = np.zeros((len(given), self.energy.num_variables), dtype=np.uint8)
        states[:, : self.num_free] = given
        for number, told in enumerate(self.definitions, start=self.num_free):
            if told.value is None:
                a, b = told.factors
                states[:, number] = states[:, a] & states[:, b]
            else:
                value = np.full(len(given), told.value.constant, dtype=np.int64)
                for bit, coefficient in told.value.terms.items():
                    value += coefficient * states[:, bit].astype(np.int64)
                states[:, number] = (value >> told.place) & 1
        return states

    def feasible(self, states: Bits) -> NDArray[np.bool_]:
        """Which states ``(reads, bits)`` keep every constraint."""
        given = np.atleast_2d(np.asarray(states, dtype=np.uint8))
        return np.asarray((self.complete(given[:, : self.num_free]) == given).all(axis=1))

    def decode(self, states: Bits) -> tuple[BinaryNetwork, ...]:
        """The network of each state ``(reads, bits)``; auxiliary bits are not looked at."""
        signs = 2 * np.atleast_2d(states)[:, : self.num_free].astype(np.int8) - 1
        cut = self.shape.num_weights
        return tuple(BinaryNetwork.from_flat(self.shape, self.codes, row[:cut], row[cut:].astype(np.int16)) for row in signs)

    def encode(self, network: BinaryNetwork) -> Bits:
        """The state of a network (biases ±1), every constraint kept: ``(bits,)``."""
        free = network.flat_weights
        if self.shape.bias:
            free = np.concatenate([free, network.flat_biases])
        return np.asarray(self.complete((free > 0).astype(np.uint8))[0])


class Formulation(Protocol):
    """Turns training samples into a :class:`TrainingEnergy`."""

    @property
    def name(self) -> str: ...

    def num_bits(self, shape: Architecture, samples: int) -> int:
        """Bits of the energy, by the formula."""
        ...

    def energy(
        self,
        shape: Architecture,
        codes: Codes,
        x: NDArray[np.int8],
        y: NDArray[Any],
        fields: NDArray[np.float64] | None = None,
    ) -> TrainingEnergy:
        """The energy of samples ``x`` ``(K, n_0)`` ±1 and class numbers ``y`` ``(K,)``; ``fields`` ``(num_free,)`` are added
        to the weight bits' linear coefficients."""
        ...


def output_targets(codes: Codes, y: NDArray[Any]) -> NDArray[np.int8]:
    """The sign each output should have for each sample, ``(K, n_L)``; one output per class becomes one against the rest.

    Example:
        >>> from annealnet.binary import one_per_class
        >>> output_targets(one_per_class(3), np.array([2, 0])).tolist()
        [[-1, -1, 1], [1, -1, -1]]
    """
    words = np.where(codes > 0, 1, -1).astype(np.int8)
    return np.asarray(words[np.asarray(y, dtype=np.int64)])


def check_samples(shape: Architecture, codes: Codes, x: NDArray[np.int8], y: NDArray[Any]) -> None:
    """Refuses samples that are not ±1 or do not fit.

    Raises:
        ValueError: with the argument, the value and what would do.
    """
    if x.ndim != 2 or x.shape[1] != shape.sizes[0] or len(x) == 0:
        raise ValueError(f"x has shape {x.shape}: give (samples, {shape.sizes[0]}), at least one sample")
    if not np.isin(x, (-1, 1)).all():
        odd = x[~np.isin(x, (-1, 1))][0]
        raise ValueError(f"x holds {odd}: the energy's products need inputs of -1 and 1; code them first (thermometer)")
    if len(y) != len(x):
        raise ValueError(f"y has {len(y)} labels for {len(x)} samples: give one per sample")
    if np.min(y) < 0 or np.max(y) >= len(codes):
        raise ValueError(f"y has class numbers {np.min(y)} to {np.max(y)}: give 0 to {len(codes) - 1}")
