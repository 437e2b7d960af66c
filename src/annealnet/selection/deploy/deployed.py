"""A selected network as it answers, and as parts of a file: a seed, packed masks, a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np
from numpy.typing import NDArray

from annealnet.parts import Parts, bits_of, packed_bits
from annealnet.preparation import Preparation, ScaledCoding
from annealnet.selection.network.masked import MaskedNetwork
from annealnet.selection.network.random import MOST_WEIGHTS, RandomNetwork, WeightKind

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DeployedSelection"]

#: Hidden layers that a file may name.
_LAYERS = 64


@dataclass(frozen=True, eq=False)
class DeployedSelection:
    """The random weights are drawn again from the seed where the file is read.

    Attributes:
        network: selected.

    Example:
        >>> network = MaskedNetwork(RandomNetwork(0, 2, (16,), 2), 0.5, np.zeros(2, np.float32), (None,), (None,),
        ...                         np.ones((2, 16), dtype=bool))
        >>> parts = DeployedSelection(network).to_parts()
        >>> {name: array.nbytes for name, array in parts.arrays.items()}
        {'m': 4, 'f': 12}
    """

    job: ClassVar[str] = "selection"
    network: MaskedNetwork

    def scores(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs float32 ``(N, features)`` → class scores."""
        return self.network.scores(inputs)

    def to_module(self) -> nn.Module:
        """An ordinary module in which dead neurons are gone."""
        from annealnet.selection.deploy.module import to_module

        return to_module(self.network)

    def to_parts(self) -> Parts:
        """Masks as bits, gain and intercept, seed and shape, and a sum of weights by which a reader checks its own."""
        network, drawn = self.network, self.network.network
        facts = {
            "seed": int(drawn.seed), "widths": list(drawn.widths), "check": _check(drawn),
            "masks": [int(mask is not None) for mask in (*network.neurons, *network.hidden, network.readout)],
        }  # fmt: skip
        if drawn.weights != "signed":
            facts["weights"] = drawn.weights
        if drawn.image_shape is not None:
            facts["image"] = list(drawn.image_shape)
        bits = np.concatenate([mask.ravel() for mask in network.masks]) if network.masks else np.zeros(0, dtype=bool)
        numbers = np.concatenate([[network.gain], network.intercept]).astype(np.float32)
        return Parts({"m": packed_bits(bits), "f": numbers}, facts)

    @classmethod
    def from_parts(cls, parts: Parts, preparation: Preparation) -> DeployedSelection:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: parts that do not fit together, or to the preparation; weights drawn here that are not those it was
                made with.
        """
        drawn = _drawn(parts, preparation)
        depth, numbers = drawn.depth, parts.array("f", "float32", (drawn.classes + 1,))
        there = parts.wholes("masks", (2 * depth + 1, 2 * depth + 1), 0, 1)
        shapes = [
            *((drawn.layer_width(k),) for k in range(depth)), *((drawn.widths[k], drawn.fan_in(k)) for k in range(depth)),
            (drawn.classes, drawn.layer_width(depth - 1)),
        ]  # fmt: skip
        sizes = [int(np.prod(shape)) if one else 0 for shape, one in zip(shapes, there, strict=True)]
        bits = np.split(bits_of(parts, "m", sum(sizes)), np.cumsum(sizes)[:-1])
        masks = [part.reshape(shape) if one else None for part, shape, one in zip(bits, shapes, there, strict=True)]
        if abs(_check(drawn) - parts.number("check")) > 1e-3:
            raise ValueError(f"{parts.source} was made with other random weights than seed {drawn.seed} gives here")
        return cls(
            MaskedNetwork(
                drawn, float(numbers[0]), numbers[1:], tuple(masks[:depth]), tuple(masks[depth:-1]), masks[-1]
            )
        )  # fmt: skip


def _drawn(parts: Parts, preparation: Preparation) -> RandomNetwork:
    """The random network of a file."""
    if not isinstance(preparation.coding, ScaledCoding):
        raise parts.wrong(f"a selected network reads scaled inputs, not {preparation.coding.name} ones")
    image = parts.wholes("image", (3, 3), 1, MOST_WEIGHTS) if "image" in parts.facts else None
    try:
        return RandomNetwork(
            parts.whole("seed", 0, 2**63 - 1), preparation.coding.width,
            parts.wholes("widths", (1, _LAYERS), 1, MOST_WEIGHTS),
            len(preparation.labels.classes), _kind(parts.choice("weights", get_args(WeightKind), default="signed")),
            None if image is None else (image[0], image[1], image[2]),
        )  # fmt: skip
    except ValueError as error:
        raise error if parts.source in str(error) else parts.wrong(str(error)) from error


def _kind(name: str) -> WeightKind:
    return "signed" if name == "signed" else "kaiming"


def _check(network: RandomNetwork) -> float:
    draws = network.first_draws(4096).astype(np.float64)
    return round(float(draws @ np.cos(np.arange(len(draws)))), 4)
