"""Features in, labels out: what stands around a small network, and is stored with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.parts import Parts
from annealnet.preparation.codings import CODINGS, Coding
from annealnet.preparation.labels import Labels

__all__ = ["Preparation"]


@dataclass(frozen=True, eq=False)
class Preparation:
    """Raw features → inputs of the network; its scores → labels.

    Example:
        >>> from annealnet.preparation import ScaledCoding
        >>> x = np.array([[1.0, 200.0], [3.0, 100.0]], dtype=np.float32)
        >>> preparation = Preparation(ScaledCoding.fit(x, rms=1.0), Labels(np.array(["a", "b"])))
        >>> preparation.inputs(x).round(2).tolist(), preparation.decode(np.array([0.5])).tolist()
        ([[-1.0, 1.0], [1.0, -1.0]], ['b'])
    """

    coding: Coding
    labels: Labels

    def inputs(self, X: Any) -> NDArray[Any]:
        """Inputs ``(N, width)`` of features ``(N, features)``.

        Raises:
            ValueError: another number of features, text, NaN or infinite numbers.
        """
        x = np.asarray(X, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != self.coding.features:
            raise ValueError(f"X has shape {x.shape}: give (samples, {self.coding.features})")
        if not np.isfinite(x).all():
            raise ValueError("X holds NaN or infinite numbers: fill or drop them")
        return self.coding.encode(np.ascontiguousarray(x))

    def decode(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Labels, see :meth:`Labels.decode`."""
        return self.labels.decode(scores)

    def to_parts(self) -> Parts:
        """For a file."""
        return Parts(facts={"coding": self.coding.name}) | (self.coding.to_parts() | self.labels.to_parts())

    @classmethod
    def from_parts(cls, parts: Parts) -> Preparation:
        """What :meth:`to_parts` gave.

        Raises:
            ValueError: parts that do not fit together.
        """
        kind = CODINGS[parts.choice("coding", tuple(CODINGS))]
        coding = kind.from_parts(parts)
        if coding.width < 1:
            raise parts.wrong("there are no features")
        return cls(coding, Labels.from_parts(parts))
