"""A network of spins: inputs are fields on the first layer, layers couple to their neighbours, the last one answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.ising.patterns import Pattern
from annealnet.samplers import LayeredModel

__all__ = ["IsingNetwork", "Limits", "class_codes"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What a machine can be programmed with: |J| ≤ ``coupling``, |h| ≤ ``field`` (D-Wave's ranges: 1 and 4)."""

    coupling: float = 1.0
    field: float = 4.0

    def __post_init__(self) -> None:
        if not self.coupling > 0 or not self.field > 0:
            raise ValueError(f"limits {self!r} must be above 0")


def class_codes(classes: int, spins: int) -> Floats:
    """±1 ``(classes, classes · spins)``: each class has ``spins`` output spins of its own, up for it and down for others.

    Example:
        >>> class_codes(2, 2).tolist()
        [[1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]]
    """
    if classes < 2 or spins < 1:
        raise ValueError(f"classes={classes}, spins={spins}: give at least 2 classes and 1 spin each")
    return np.repeat(2 * np.eye(classes, dtype=np.float32) - 1, spins, axis=1)


@dataclass(frozen=True)
class IsingNetwork:
    """E(s | x) = −Σ_l s_lᵀ J_l s_{l+1} − Σ_l b_l·s_l − clip(scale (x − centre) W + b_1)·s_1, spins s_1 … s_L.

    Args:
        inputs: W float32 ``(n_in, n_1)``.
        couplings: J_l ``(n_l, n_{l+1})``, L−1 of them; kept within ``limits.coupling``.
        biases: b_l ``(n_l,)``, L of them; the field of a spin is kept within ``limits.field``.
        codes: ±1 ``(classes, n_L)``, the outputs that stand for the classes.
        limits: of the machine.
        centre: taken from an input, ``(n_in,)``.
        scale: multiplies what is left.
        patterns: for W and every J_l which couplings exist, or None for all.

    Raises:
        ValueError: shapes that do not fit, numbers beyond the limits, codes that are not ±1.
    """

    inputs: Floats
    couplings: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    codes: Floats
    limits: Limits = Limits()
    centre: Floats | None = None
    scale: float = 1.0
    patterns: tuple[Pattern | None, ...] | None = None

    def __post_init__(self) -> None:
        sizes = [len(bias) for bias in self.biases]
        wanted = list(zip([len(self.inputs), *sizes[:-1]], sizes, strict=True))
        found = [block.shape for block in (self.inputs, *self.couplings)]
        if found != wanted:
            raise ValueError(f"blocks have shapes {found}: layers of {sizes} spins need {wanted}")
        if self.codes.ndim != 2 or self.codes.shape[1] != sizes[-1] or not (np.abs(self.codes) == 1).all():
            raise ValueError(f"codes has shape {self.codes.shape}: give −1 and 1 of shape (classes, {sizes[-1]})")
        worst = max((float(np.abs(block).max()) for block in self.couplings), default=0.0)
        if worst > self.limits.coupling * (1 + 1e-6):
            raise ValueError(f"couplings reach {worst:.3g}: the machine takes up to {self.limits.coupling:g}")

    @classmethod
    def create(
        cls,
        sizes: Sequence[int],
        classes: int,
        *,
        spins_per_class: int = 4,
        seed: int = 0,
        limits: Limits | None = None,
        patterns: Sequence[Pattern | None] | None = None,
    ) -> IsingNetwork:
        """Random couplings of a tenth of their limit, scaled as 1/√fan-in; no biases.

        Args:
            sizes: inputs, then hidden spins of each layer.
            classes: of the labels.
            spins_per_class: output spins of each class.
            seed: of the couplings.
            limits: of the machine; None takes D-Wave's.
            patterns: as in the class.

        Example:
            >>> IsingNetwork.create((64, 96), 10).sizes
            (96, 40)
        """
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes={tuple(sizes)!r} must name the inputs and at least one hidden layer, all at least 1")
        codes, rng = class_codes(classes, spins_per_class), np.random.default_rng(seed)
        widths = (*sizes, codes.shape[1])
        blocks = [rng.normal(0.0, min(0.1, 1 / np.sqrt(a)), (a, b)).astype(np.float32) for a, b in pairwise(widths)]
        chosen = tuple(patterns) if patterns is not None else (None,) * len(blocks)
        if len(chosen) != len(blocks):
            raise ValueError(f"patterns has {len(chosen)} entries: give one for each of the {len(blocks)} blocks, or None")
        blocks = [block if p is None else p.project(block) for block, p in zip(blocks, chosen, strict=True)]
        biases = tuple(np.zeros(n, dtype=np.float32) for n in widths[1:])
        return cls(blocks[0], tuple(blocks[1:]), biases, codes, limits or Limits(), patterns=chosen)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Spins per layer."""
        return tuple(len(bias) for bias in self.biases)

    @property
    def parameters(self) -> tuple[Floats, ...]:
        """W, J_1 …, b_1 …: what is learned, in this order."""
        return (self.inputs, *self.couplings, *self.biases)

    def with_parameters(self, parameters: Sequence[NDArray[Any]]) -> IsingNetwork:
        """Other values, projected on the patterns and cut to the limits."""
        blocks = [np.asarray(part, dtype=np.float32) for part in parameters]
        count = len(self.couplings) + 1
        patterns = self.patterns or (None,) * count
        weights = [b if p is None else p.project(b) for b, p in zip(blocks[:count], patterns, strict=True)]
        bound, most = self.limits.coupling, self.limits.field
        return replace(
            self,
            inputs=weights[0],
            couplings=tuple(np.clip(block, -bound, bound) for block in weights[1:]),
            biases=tuple(np.clip(block, -most, most) for block in blocks[count:]),
        )

    def prepared(self, x: NDArray[Any]) -> Floats:
        """Inputs as the first layer sees them: scale (x − centre), float32 ``(samples, n_in)``.

        Raises:
            ValueError: another number of features.
        """
        x = np.asarray(x, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.inputs):
            raise ValueError(f"x has shape {x.shape}: give (samples, {len(self.inputs)})")
        return np.asarray((x if self.centre is None else x - self.centre) * np.float32(self.scale), dtype=np.float32)

    def model(self, x: NDArray[Any]) -> LayeredModel:
        """The energies of all samples: one set of couplings, fields from the inputs, kept within the limits."""
        most = self.limits.field
        first = np.clip(self.prepared(x) @ self.inputs + self.biases[0], -most, most)
        others = (np.broadcast_to(bias, (len(first), len(bias))) for bias in self.biases[1:])
        return LayeredModel(self.couplings, (first, *others))

    def targets(self, labels: NDArray[np.int64]) -> Floats:
        """Output spins ±1 ``(samples, n_L)`` of class numbers.

        Raises:
            ValueError: numbers that are no class.
        """
        labels = np.asarray(labels)
        if labels.size and (labels.min() < 0 or labels.max() >= len(self.codes)):
            raise ValueError(
                f"labels hold {int(labels.min())} … {int(labels.max())}: the network has classes 0 … {len(self.codes) - 1}"
            )
        return self.codes[labels]

    def scores(self, outputs: NDArray[Any]) -> Floats:
        """Overlap of output spins or fields ``(…, n_L)`` with every class's code, ``(…, classes)``."""
        return np.asarray(outputs @ self.codes.T / self.codes.shape[1], dtype=np.float32)
