"""A trained Ising network as it answers without an annealer, and as parts of a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from annealnet.ising.deploy.module import deployed
from annealnet.ising.network.spins import IsingNetwork, Limits, class_codes
from annealnet.parts import Parts
from annealnet.preparation import Preparation, ScaledCoding

__all__ = ["DeployedIsing"]

#: Layers, spins of a layer and mean-field sweeps that a file may name.
_LAYERS, _SPINS, _SWEEPS = 256, 2**24, 10_000


@dataclass(frozen=True, eq=False)
class DeployedIsing:
    """Couplings and biases in float32; which couplings exist or are shared concerns training only, and no file holds it.

    Attributes:
        network: trained.
        sweeps: how it answers, see :func:`annealnet.ising.deployed`.
    """

    job: ClassVar[str] = "ising"
    network: IsingNetwork
    sweeps: int | None = None

    @cached_property
    def _module(self) -> nn.Module:
        return self.to_module()

    def scores(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs float32 ``(N, n_in)`` → class scores."""
        with torch.no_grad():
            return np.asarray(self._module(torch.from_numpy(inputs)).numpy())

    def to_module(self) -> nn.Module:
        """A module of its own each time."""
        return deployed(self.network, self.sweeps)

    def to_parts(self) -> Parts:
        """Blocks by their place."""
        network, classes = self.network, len(self.network.codes)
        arrays = {"W": network.inputs, "b": np.concatenate(network.biases)}
        arrays |= {f"J{number}": block for number, block in enumerate(network.couplings)}
        arrays |= {f"K{number}": block for number, block in enumerate(network.inner) if block is not None}
        facts = {"spins": list(network.sizes), "limits": [float(network.limits.coupling), float(network.limits.field)]}
        if self.sweeps is not None:
            facts["sweeps"] = int(self.sweeps)
        if not np.array_equal(class_codes(classes, max(1, network.codes.shape[1] // classes)), network.codes):
            arrays["codes"] = network.codes.astype(np.int8)
        return Parts(arrays, facts)

    @classmethod
    def from_parts(cls, parts: Parts, preparation: Preparation) -> DeployedIsing:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: parts that do not fit together, or to the preparation.
        """
        if not isinstance(preparation.coding, ScaledCoding):
            raise parts.wrong(f"an Ising network reads scaled inputs, not {preparation.coding.name} ones")
        spins, inputs = parts.wholes("spins", (1, _LAYERS), 1, _SPINS), preparation.coding.width
        blocks = [parts.array("W", "float32", (inputs, spins[0]))]
        blocks += [parts.array(f"J{k}", "float32", shape) for k, shape in enumerate(pairwise(spins))]
        biases = np.split(parts.array("b", "float32", (sum(spins),)), np.cumsum(spins)[:-1])
        inner = tuple(
            parts.array(f"K{k}", "float32", (n, n)) if f"K{k}" in parts.arrays else None for k, n in enumerate(spins)
        )
        sweeps = parts.whole("sweeps", 0, _SWEEPS) if "sweeps" in parts.facts else None
        try:
            codes = _codes(parts, len(preparation.labels.classes), spins[-1])
            limits = Limits(*_pair(parts))
            network = IsingNetwork(blocks[0], tuple(blocks[1:]), tuple(biases), codes, limits, inner=inner)
            return cls(network, sweeps)
        except ValueError as error:
            raise error if parts.source in str(error) else parts.wrong(str(error)) from error


def _codes(parts: Parts, classes: int, outputs: int) -> NDArray[np.float32]:
    if "codes" in parts.arrays:
        return parts.array("codes", "int8", (classes, outputs)).astype(np.float32)
    if outputs % classes:
        raise parts.wrong(f"{outputs} output spins do not spell {classes} classes")
    return class_codes(classes, outputs // classes)


def _pair(parts: Parts) -> tuple[float, float]:
    """Coupling and field."""
    both = parts.fact("limits")
    if type(both) is not list or len(both) != 2:
        raise parts.wrong("limits are no pair of numbers")
    coupling, field = (Parts(facts={"limits": one}, source=parts.source).number("limits") for one in both)
    return coupling, field
