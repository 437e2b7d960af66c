"""A trained binary network as it answers: on packed bits, as a PyTorch module of floats, as parts of a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from annealnet.binary.network.architecture import Architecture, Codes, one_per_class, single_output
from annealnet.binary.network.packed import PackedNetwork
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.parts import Parts, bits_of, packed_bits
from annealnet.preparation import Preparation, ScaledCoding

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DeployedBinary", "to_module"]

#: Layers and neurons of a layer that a file may name.
_LAYERS, _NEURONS = 64, 2**24
#: Codes that a file names instead of holding them.
_NAMED = {"single": lambda classes: single_output(), "each": one_per_class}


@dataclass(frozen=True, eq=False)
class DeployedBinary:
    """One bit a weight, two bytes a bias.

    Attributes:
        network: trained.
        whole: its inputs are whole numbers, not ±1.

    Example:
        >>> from annealnet.binary import Architecture, BinaryNetwork, one_per_class
        >>> network = BinaryNetwork.random(Architecture((64, 256, 10)), one_per_class(10), seed=0)
        >>> parts = DeployedBinary(network, whole=False).to_parts()
        >>> {name: array.nbytes for name, array in parts.arrays.items()}, parts.facts
        ({'w': 2368, 'b': 0}, {'sizes': [64, 256, 10], 'bias': 0})
    """

    job: ClassVar[str] = "binary"
    network: BinaryNetwork
    whole: bool

    @cached_property
    def _packed(self) -> PackedNetwork:
        return self.network.packed(whole_inputs=self.whole)

    def scores(self, inputs: NDArray[np.int8]) -> NDArray[np.float32]:
        """Inputs int8 ``(N, n_0)`` → class scores."""
        return self._packed.scores(inputs).astype(np.float32)

    def to_module(self) -> nn.Module:
        """See :func:`to_module`."""
        return to_module(self.network)

    def to_parts(self) -> Parts:
        """Packed weights, biases, and the shape."""
        network, shape = self.network, self.network.shape
        facts: dict[str, object] = {"sizes": list(shape.sizes)}
        if shape.skips:
            facts["skips"] = [list(skip) for skip in shape.skips]
        if not shape.bias:
            facts["bias"] = 0
        arrays = {"w": packed_bits(network.flat_weights > 0), "b": np.concatenate([*network.biases, np.zeros(0, np.int16)])}
        named = [name for name, codes in _NAMED.items() if np.array_equal(codes(len(network.codes)), network.codes)]
        if not named:
            arrays["codes"] = network.codes
        elif named[0] != "each":
            facts["codes"] = named[0]
        return Parts({name: np.asarray(array) for name, array in arrays.items()}, facts)

    @classmethod
    def from_parts(cls, parts: Parts, preparation: Preparation) -> DeployedBinary:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: parts that do not fit together, or to the preparation.
        """
        if isinstance(preparation.coding, ScaledCoding):
            raise parts.wrong("a binary network reads whole numbers, not scaled ones")
        sizes = parts.wholes("sizes", (2, _LAYERS), 1, _NEURONS)
        if sizes[0] != preparation.coding.width:
            raise parts.wrong(f"the network reads {sizes[0]} inputs, the coding gives {preparation.coding.width}")
        try:
            shape = Architecture(sizes, _skips(parts, len(sizes) - 1), bool(parts.whole("bias", 0, 1, default=1)))
            weights = 2 * bits_of(parts, "w", shape.num_weights).astype(np.int8) - 1
            biases = parts.array("b", "int16", (shape.num_biases,))
            codes = _codes(parts, len(preparation.labels.classes), sizes[-1])
            return cls(BinaryNetwork.from_flat(shape, codes, weights, biases), preparation.coding.whole)
        except ValueError as error:
            raise error if parts.source in str(error) else parts.wrong(str(error)) from error


def _skips(parts: Parts, depth: int) -> tuple[tuple[int, ...], ...]:
    if "skips" not in parts.facts:
        return ()
    skips = parts.fact("skips")
    if type(skips) is not list or len(skips) != depth:
        raise parts.wrong(f"skips are no list of {depth} lists")
    return tuple(Parts(facts={"skips": skip}, source=parts.source).wholes("skips", (0, depth), 0, depth) for skip in skips)


def _codes(parts: Parts, classes: int, outputs: int) -> Codes:
    """Named where they are one of the usual ones."""
    if "codes" in parts.arrays:
        return parts.array("codes", "int8", (classes, outputs))
    named = _NAMED[parts.choice("codes", tuple(_NAMED), default="each")](classes)
    if named.shape != (classes, outputs):
        raise parts.wrong(f"{outputs} outputs do not spell {classes} classes")
    return named


def to_module(network: BinaryNetwork) -> nn.Module:
    """The network as a module of float32: inputs ``(N, n_0)`` → class scores.

    Sums of whole numbers below 2²⁴ are exact in float32, so that the scores are those of the packed network.

    Example:
        >>> import torch
        >>> from annealnet.binary import Architecture, BinaryNetwork, one_per_class
        >>> network = BinaryNetwork.random(Architecture((4, 3, 2)), one_per_class(2), seed=0)
        >>> to_module(network)(torch.ones(1, 4)).int().tolist() == network.scores(np.ones((1, 4), np.int8)).tolist()
        True
    """
    from annealnet.binary.deploy.module import BinaryModule

    return BinaryModule(network).eval()
