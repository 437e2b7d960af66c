"""A network of spins: inputs are fields on the first layer, layers couple to their neighbours, the last one answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annealnet.ising.network.patterns import Pattern
from annealnet.samplers import LayeredModel
from annealnet.samplers.layered import checked_inner
from annealnet.whole_numbers import whole_number

__all__ = ["INPUT_RMS", "IsingNetwork", "Limits", "class_codes"]

Floats = NDArray[np.float32]
#: Root mean square that prepared inputs should have.
INPUT_RMS = 0.55


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
    classes, spins = whole_number("classes", classes, 2), whole_number("spins_per_class", spins, 1)
    return np.repeat(2 * np.eye(classes, dtype=np.float32) - 1, spins, axis=1)


@dataclass(frozen=True)
class IsingNetwork:
    """E(s | x) = −Σ_l s_lᵀ J_l s_{l+1} − ½ Σ_l s_lᵀ K_l s_l − Σ_l b_l·s_l − clip(x W + b_1)·s_1.

    Spins s_1 … s_L; the couplings K inside layers are optional, and none are there unless they are asked for.

    Args:
        inputs: W float32 ``(n_in, n_1)``.
        couplings: J_l ``(n_l, n_{l+1})``, L−1 of them; kept within ``limits.coupling``.
        biases: b_l ``(n_l,)``, L of them; the field of a spin is kept within ``limits.field``.
        codes: ±1 ``(classes, n_L)``, the outputs that stand for the classes.
        limits: of the machine.
        patterns: for W and every J_l which couplings exist, or None for all.
        inner: K_l ``(n_l, n_l)``, symmetric with a diagonal of 0, or None, one for each layer; () for none at all. Kept
            within ``limits.coupling``.
        inner_patterns: for every K_l which couplings exist, or None for all.

    Raises:
        ValueError: shapes that do not fit, numbers beyond the limits, codes that are not ±1, a K_l that is not symmetric.
    """

    inputs: Floats
    couplings: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    codes: Floats
    limits: Limits = Limits()
    patterns: tuple[Pattern | None, ...] | None = None
    inner: tuple[Floats | None, ...] = ()
    inner_patterns: tuple[Pattern | None, ...] | None = None

    def __post_init__(self) -> None:
        sizes = [len(bias) for bias in self.biases]
        wanted = list(zip([len(self.inputs), *sizes[:-1]], sizes, strict=True))
        found = [block.shape for block in (self.inputs, *self.couplings)]
        if found != wanted:
            raise ValueError(f"blocks have shapes {found}: layers of {sizes} spins need {wanted}")
        if self.codes.ndim != 2 or self.codes.shape[1] != sizes[-1] or not (np.abs(self.codes) == 1).all():
            raise ValueError(f"codes has shape {self.codes.shape}: give −1 and 1 of shape (classes, {sizes[-1]})")
        object.__setattr__(self, "inner", checked_inner(self.inner, sizes))
        if self.inner_patterns is not None and len(self.inner_patterns) != len(sizes):
            raise ValueError(
                f"inner_patterns has {len(self.inner_patterns)} entries: give one for each of {len(sizes)} layers"
            )
        worst = max((float(np.abs(block).max()) for block in (*self.couplings, *self.inner_blocks)), default=0.0)
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
        inner: bool | Sequence[Pattern | bool | None] = False,
    ) -> IsingNetwork:
        """Random couplings of a tenth of their limit, scaled as 1/√fan-in; no biases, and K = 0 where there is one.

        Args:
            sizes: inputs, then hidden spins of each layer.
            classes: of the labels.
            spins_per_class: output spins of each class.
            seed: of the couplings.
            limits: of the machine; None takes D-Wave's.
            patterns: as in the class.
            inner: couplings inside layers: True for all pairs of every hidden layer, or one entry for each layer, outputs
                included: True for all its pairs, a symmetric pattern for some, None or False for none.

        Example:
            >>> IsingNetwork.create((64, 96), 10).sizes
            (96, 40)
            >>> [None if block is None else block.shape for block in IsingNetwork.create((4, 6), 2, inner=True).inner]
            [(6, 6), None]
        """
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes={tuple(sizes)!r} must name the inputs and at least one hidden layer, all at least 1")
        codes, rng = class_codes(classes, spins_per_class), np.random.default_rng(seed)
        widths = (*sizes, codes.shape[1])
        bound = (limits or Limits()).coupling
        drawn = (rng.normal(0.0, min(0.1 * bound, 1 / np.sqrt(a)), (a, b)) for a, b in pairwise(widths))
        blocks = [np.clip(block, -bound, bound).astype(np.float32) for block in drawn]
        chosen = tuple(patterns) if patterns is not None else (None,) * len(blocks)
        if len(chosen) != len(blocks):
            raise ValueError(f"patterns has {len(chosen)} entries: give one for each of the {len(blocks)} blocks, or None")
        blocks = [block if p is None else p.project(block) for block, p in zip(blocks, chosen, strict=True)]
        biases = tuple(np.zeros(n, dtype=np.float32) for n in widths[1:])
        inside = _inner_choices(inner, widths[1:])
        coupled = tuple(
            None if c is False else np.zeros((n, n), np.float32) for c, n in zip(inside, widths[1:], strict=True)
        )
        return cls(
            blocks[0], tuple(blocks[1:]), biases, codes, limits or Limits(), patterns=chosen, inner=tuple(coupled),
            inner_patterns=tuple(choice if isinstance(choice, Pattern) else None for choice in inside),
        )  # fmt: skip

    @property
    def sizes(self) -> tuple[int, ...]:
        """Spins per layer."""
        return tuple(len(bias) for bias in self.biases)

    @property
    def inner_blocks(self) -> tuple[Floats, ...]:
        """The K_l that exist."""
        return tuple(block for block in self.inner if block is not None)

    @property
    def parameters(self) -> tuple[Floats, ...]:
        """W, J_1 …, b_1 …, and the K_l that exist: what is learned, in this order."""
        return (self.inputs, *self.couplings, *self.biases, *self.inner_blocks)

    def with_parameters(self, parameters: Sequence[NDArray[Any]]) -> IsingNetwork:
        """Other values, projected on the patterns and cut to the limits; each K becomes (K + Kᵀ)/2 without its diagonal.

        Raises:
            ValueError: another number of values than :attr:`parameters` has.
        """
        if len(parameters) != len(self.parameters):
            raise ValueError(f"parameters has {len(parameters)} parts: this network has {len(self.parameters)}")
        blocks = [np.asarray(part, dtype=np.float32) for part in parameters]
        count, last = len(self.couplings) + 1, len(self.couplings) + 1 + len(self.biases)
        patterns = self.patterns or (None,) * count
        weights = [b if p is None else p.project(b) for b, p in zip(blocks[:count], patterns, strict=True)]
        bound, most = self.limits.coupling, self.limits.field
        insides = iter(blocks[last:])
        chosen = self.inner_patterns or (None,) * len(self.inner)
        inner = [None if k is None else _symmetric(next(insides), p) for k, p in zip(self.inner, chosen, strict=True)]
        return replace(
            self,
            inputs=weights[0],
            couplings=tuple(np.clip(block, -bound, bound) for block in weights[1:]),
            biases=tuple(np.clip(block, -most, most) for block in blocks[count:last]),
            inner=tuple(None if block is None else np.clip(block, -bound, bound) for block in inner),
        )

    def checked(self, x: NDArray[Any]) -> Floats:
        """Inputs as float32 ``(samples, n_in)``.

        Raises:
            ValueError: another number of features.
        """
        x = np.asarray(x, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.inputs):
            raise ValueError(f"x has shape {x.shape}: give (samples, {len(self.inputs)})")
        return x

    def model(self, x: NDArray[Any]) -> LayeredModel:
        """The energies of all samples: one set of couplings, fields from the inputs, kept within the limits."""
        most = self.limits.field
        first = np.clip(self.checked(x) @ self.inputs + self.biases[0], -most, most)
        others = (np.broadcast_to(bias, (len(first), len(bias))) for bias in self.biases[1:])
        return LayeredModel(self.couplings, (first, *others), self.inner)

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


def _inner_choices(inner: bool | Sequence[Pattern | bool | None], sizes: Sequence[int]) -> list[Pattern | bool]:
    """For every layer: all pairs (True), some (a pattern) or none (False)."""
    if isinstance(inner, bool):
        return [*[inner] * (len(sizes) - 1), False]
    if len(inner) != len(sizes):
        raise ValueError(
            f"inner has {len(inner)} entries: give True, False, or one entry for each of the {len(sizes)} layers"
        )
    choices = [False if choice is None else choice for choice in inner]
    for number, (choice, size) in enumerate(zip(choices, sizes, strict=True)):
        if isinstance(choice, Pattern):
            choice.check_symmetric()
            if len(choice.groups) != size:
                raise ValueError(f"inner[{number}] has shape {choice.groups.shape}: its layer needs {(size, size)}")
    return choices


def _symmetric(block: Floats, pattern: Pattern | None) -> Floats:
    """(K + Kᵀ)/2 on the pattern, without its diagonal."""
    chosen = block if pattern is None else pattern.project(block)
    found = np.asarray(np.float32(0.5) * (chosen + chosen.T), dtype=np.float32)
    np.fill_diagonal(found, 0.0)
    return found
