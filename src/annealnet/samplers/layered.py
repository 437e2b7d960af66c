"""Layered Ising models that share couplings and differ in fields: the value, and how a batch of them is annealed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import dimod
import numpy as np
from numpy.typing import NDArray

from annealnet.samplers.kernels.threads import threads_for
from annealnet.samplers.seeds import Purpose, checked_seed, kernel_words, stream
from annealnet.whole_numbers import whole_number

__all__ = [
    "CheckedLayers",
    "LayeredAnnealing",
    "LayeredModel",
    "LayeredReads",
    "LayeredSampler",
    "LayeredTask",
    "Schedule",
]

#: Numbers of a neighbour's row that are mended in a step, times the share of spins that change in a sweep.
_CHANGING = 0.02

Floats = NDArray[np.float32]
Spins = NDArray[np.int8]


@dataclass(frozen=True)
class LayeredModel:
    """E_p(s) = −Σ_i h_pi s_i − Σ_l s_lᵀ J_l s_{l+1} − ½ Σ_l s_lᵀ K_l s_l: problems p that differ in their fields only.

    The sign is that of neural networks and textbooks of magnetism; dimod counts h and J the other way round.

    Args:
        couplings: blocks J_l float ``(n_l, n_{l+1})``, L−1 of them.
        fields: h_l float ``(problems, n_l)``, L of them.
        inner: K_l float ``(n_l, n_l)`` inside the layers, symmetric with a diagonal of 0, or None for a layer without; L
            of them, or none at all.

    Raises:
        ValueError: shapes that do not fit, no problem at all, NaN or infinite numbers, a block in ``inner`` that is not
            symmetric or couples a spin to itself.

    Example:
        >>> model = LayeredModel((np.ones((2, 1)),), (np.zeros((1, 2)), np.array([[0.5]])))
        >>> model.sizes, model.energy(np.array([[[1, 1, 1], [1, -1, -1]]])).tolist()
        ((2, 1), [[-2.5, 0.5]])
    """

    couplings: tuple[Floats, ...]
    fields: tuple[Floats, ...]
    inner: tuple[Floats | None, ...] = ()

    def __post_init__(self) -> None:
        blocks = tuple(np.ascontiguousarray(block, dtype=np.float32) for block in self.couplings)
        fields = tuple(np.ascontiguousarray(block, dtype=np.float32) for block in self.fields)
        if not fields or len(blocks) != len(fields) - 1:
            raise ValueError(f"couplings has {len(blocks)} blocks for {len(fields)} layers: give one less than layers")
        if any(f.ndim != 2 or f.shape[0] != fields[0].shape[0] or not f.size for f in fields):
            raise ValueError(f"fields have shapes {[f.shape for f in fields]}: give (problems, n_l), at least one problem")
        for number, block in enumerate(blocks):
            wanted = (fields[number].shape[1], fields[number + 1].shape[1])
            if block.shape != wanted:
                raise ValueError(f"couplings[{number}] has shape {block.shape}: its layers need {wanted}")
        if not all(np.isfinite(part).all() for part in (*blocks, *fields)):
            raise ValueError("couplings or fields hold NaN or infinite numbers: a learning rate may be too large")
        object.__setattr__(self, "couplings", blocks)
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "inner", checked_inner(self.inner, self.sizes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Spins per layer."""
        return tuple(block.shape[1] for block in self.fields)

    @property
    def num_problems(self) -> int:
        """Rows of the fields."""
        return len(self.fields[0])

    @property
    def num_variables(self) -> int:
        """Spins of one problem."""
        return sum(self.sizes)

    def split(self, states: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Views of ``(…, n)`` by layer."""
        return tuple(np.split(states, np.cumsum(self.sizes)[:-1], axis=-1))

    def energy(self, states: NDArray[Any]) -> NDArray[np.float64]:
        """Energies ``(problems, reads)`` of states ±1 ``(problems, reads, n)``."""
        layers = [layer.astype(np.float32) for layer in self.split(np.asarray(states))]
        total = np.zeros(np.shape(states)[:2])
        for layer, fields in zip(layers, self.fields, strict=True):
            total -= np.einsum("prn,pn->pr", layer, fields)
        for block, below, above in zip(self.couplings, layers[:-1], layers[1:], strict=True):
            total -= ((below @ block) * above).sum(-1)
        for inside, layer in zip(self.inner, layers, strict=True):
            if inside is not None:
                total -= 0.5 * ((layer @ inside) * layer).sum(-1)
        return total

    def bqm(self, problem: int) -> dimod.BinaryQuadraticModel:
        """One problem as dimod writes it, spins 0 … n−1; a coupling of 0 stays in, so that all problems have one graph
        and one embedding serves all.
        """
        fields = np.concatenate([block[problem] for block in self.fields]).astype(np.float64)
        model = dimod.BinaryQuadraticModel("SPIN")
        model.add_linear_from_array(-fields)
        begin = 0
        for block in self.couplings:
            below = len(block)
            rows, columns = np.indices(block.shape).reshape(2, -1)
            pairs = ((begin + rows).tolist(), (begin + below + columns).tolist())
            model.add_quadratic_from(zip(*pairs, (-block.ravel().astype(np.float64)).tolist(), strict=True))
            begin += below
        for first, inside in zip(np.cumsum([0, *self.sizes[:-1]]), self.inner, strict=True):
            if inside is not None:
                rows, columns = np.triu_indices(len(inside), 1)
                pairs = ((first + rows).tolist(), (first + columns).tolist())
                model.add_quadratic_from(zip(*pairs, (-inside[rows, columns].astype(np.float64)).tolist(), strict=True))
        return model


def checked_inner(inner: Sequence[NDArray[Any] | None], sizes: Sequence[int]) -> tuple[Floats | None, ...]:
    """Couplings inside layers as float32, one entry per layer; none at all becomes None for every layer.

    Raises:
        ValueError: another number of entries, blocks of a wrong shape, not finite, not symmetric, or with a diagonal.
    """
    if not len(inner):
        return (None,) * len(sizes)
    if len(inner) != len(sizes):
        raise ValueError(
            f"inner has {len(inner)} entries for {len(sizes)} layers: give a block or None for each, or none at all"
        )
    found: list[Floats | None] = []
    for number, (given, size) in enumerate(zip(inner, sizes, strict=True)):
        if given is None:
            found.append(None)
            continue
        block = np.ascontiguousarray(given, dtype=np.float32)
        if block.shape != (size, size):
            raise ValueError(f"inner[{number}] has shape {block.shape}: its layer needs {(size, size)}")
        if not np.isfinite(block).all():
            raise ValueError(f"inner[{number}] holds NaN or infinite numbers: a learning rate may be too large")
        if not (block == block.T).all() or np.diagonal(block).any():
            raise ValueError(
                f"inner[{number}] must be symmetric with a diagonal of 0: give (K + K.T) / 2 with its diagonal set to 0"
            )
        found.append(block)
    return tuple(found)


@dataclass(frozen=True)
class Schedule:
    """Inverse temperatures of an anneal, in units of one over the energy.

    Args:
        betas: one per sweep.

    Raises:
        ValueError: no sweep, or one that is not above 0.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.betas or not all(0 < beta < np.inf for beta in self.betas):
            raise ValueError(f"betas={self.betas!r} must be numbers above 0, at least one")

    @classmethod
    def forward(cls, hot: float, cold: float, sweeps: int) -> Schedule:
        """Geometric from hot to cold.

        Example:
            >>> Schedule.forward(1.0, 4.0, 3).betas
            (1.0, 2.0, 4.0)
        """
        sweeps = whole_number("sweeps", sweeps, 1)
        if not 0 < hot <= cold < np.inf:
            raise ValueError(f"hot={hot!r}, cold={cold!r} must be 0 < hot ≤ cold")
        return cls(tuple(np.geomspace(hot, cold, sweeps).round(9).tolist()))

    @classmethod
    def reverse(cls, cold: float, back: float, sweeps: int) -> Schedule:
        """From cold back to a warmer ``back`` in the middle and cold again: anneals around a state that is given.

        Example:
            >>> Schedule.reverse(4.0, 1.0, 5).betas
            (4.0, 2.0, 1.0, 2.0, 4.0)
        """
        half = cls.forward(back, cold, sweeps // 2 + 1).betas
        return cls((*half[:0:-1], *half))


@dataclass(frozen=True)
class LayeredReads:
    """What a sampler found.

    Attributes:
        states: ±1, int8 ``(problems, reads, n)``.
        energies: float64 ``(problems, reads)``.
        seconds: taken.
        weights: share of every read in a mean, float64 ``(problems, reads)``; None counts all alike.
        info: what the sampler says beside.
    """

    states: Spins
    energies: NDArray[np.float64]
    seconds: float = 0.0
    weights: NDArray[np.float64] | None = None
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Spins:
        """The read of least energy of every problem, ``(problems, n)``."""
        return np.asarray(self.states[np.arange(len(self.states)), self.energies.argmin(1)])

    @property
    def shares(self) -> NDArray[np.float64]:
        """``weights``, or 1/reads where there are none."""
        return np.full(self.energies.shape, 1 / self.energies.shape[1]) if self.weights is None else self.weights


class LayeredSampler(Protocol):
    """Whatever anneals a batch of problems."""

    def sample_layers(
        self,
        model: LayeredModel,
        schedule: Schedule,
        *,
        reads: int = 1,
        seed: int = 0,
        starts: Spins | None = None,
        held: Sequence[bool] | None = None,
    ) -> LayeredReads:
        """Anneals every problem ``reads`` times."""


@dataclass(frozen=True)
class LayeredTask:
    """A checked request.

    Attributes:
        model, schedule, reads, seed: as asked for.
        states: to start from, int8 ``(problems, reads, n)``, a copy of its own.
        free: layers that may move, ``(L,)``.
        started: whether the states were given.
    """

    model: LayeredModel
    schedule: Schedule
    reads: int
    seed: int
    states: Spins
    free: NDArray[np.bool_]
    started: bool

    @property
    def held_spins(self) -> NDArray[np.bool_]:
        """Spins of the layers that may not move, ``(n,)``."""
        return np.repeat(~self.free, self.model.sizes)

    def alike(self, spins: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Problems, and reads of theirs that start alike in ``spins``: (problem, numbers of the reads)."""
        for problem in range(self.model.num_problems):
            _, group = np.unique(np.packbits(self.states[problem][:, spins] > 0, axis=1), axis=0, return_inverse=True)
            for number in range(int(group.max()) + 1):
                yield problem, np.flatnonzero(group.ravel() == number)


class CheckedLayers(ABC):
    """What the layered samplers of this library share: requests are checked and drawn, answers are timed."""

    def sample_layers(
        self,
        model: LayeredModel,
        schedule: Schedule,
        *,
        reads: int = 1,
        seed: int = 0,
        starts: Spins | None = None,
        held: Sequence[bool] | None = None,
    ) -> LayeredReads:
        """Anneals every problem ``reads`` times.

        Args:
            model: the problems.
            schedule: inverse temperatures.
            reads: per problem.
            seed: the same seed gives the same reads, whatever the number of threads.
            starts: ±1 ``(problems, reads, n)`` to start from (reverse annealing); None draws them.
            held: layers that never move, one truth value per layer; None holds none.

        Raises:
            ValueError: ``starts`` or ``held`` of another shape, or layers held without ``starts``.
        """
        began = time.perf_counter()
        seed = checked_seed(seed)
        states, free = checked_start(model, reads, seed, starts, held)
        found = self._anneal(LayeredTask(model, schedule, reads, seed, states, free, starts is not None))
        return replace(found, seconds=time.perf_counter() - began)

    @abstractmethod
    def _anneal(self, task: LayeredTask) -> LayeredReads:
        """The reads; ``task.states`` may be changed in place."""


class LayeredAnnealing(CheckedLayers):
    """Heat-bath annealing of all problems and reads in one call of a compiled kernel.

    A layer is drawn at once, P(s_i = +1) = 1/(1 + exp(−2 β f_i)), f its local fields; a short descent ends the anneal. Spins
    of a layer with couplings inside are drawn one after another, and its fields follow every flip.

    Args:
        quenches: most sweeps at temperature zero at the end (two or three do after a cold anneal); with 0 the reads are
            draws at the schedule's last temperature.

    Example:
        >>> model = LayeredModel((np.ones((3, 2)),), (np.full((4, 3), 0.1), np.zeros((4, 2))))
        >>> found = LayeredAnnealing().sample_layers(model, Schedule.forward(0.1, 5.0, 50), reads=2, seed=1)
        >>> found.states.shape, found.energies.min().round(3).item()
        ((4, 2, 5), -6.3)
    """

    def __init__(self, quenches: int = 100) -> None:
        if quenches < 0:
            raise ValueError(f"quenches={quenches!r} must not be negative")
        self.quenches = quenches

    def _anneal(self, task: LayeredTask) -> LayeredReads:
        from annealnet.samplers.kernels.layers import anneal_layers
        from annealnet.samplers.kernels.simd import rows_of_lanes

        model, states = task.model, task.states
        up, up_places = rows_of_lanes(model.couplings)
        down, down_places = rows_of_lanes([block.T for block in model.couplings])
        inner, inside = rows_of_lanes([np.zeros((0, 0)) if block is None else block for block in model.inner])
        energies = np.empty(states.shape[:2])
        with threads_for(_work(task)):
            anneal_layers(
                np.array(model.sizes, dtype=np.uint64), up, down, np.stack([up_places, down_places]),
                np.array([block is not None for block in model.inner]), inside, inner, np.concatenate(model.fields, axis=1),
                task.free, np.array(task.schedule.betas, dtype=np.float32), self.quenches,
                kernel_words(task.seed)[0],
                states.reshape(-1, model.num_variables), energies.reshape(-1),
            )  # fmt: skip
        return LayeredReads(states, energies)


def _work(task: LayeredTask) -> float:
    """Steps of an anneal: every free spin drawn once a sweep, and its neighbours' rows where it changes."""
    sizes = np.array(task.model.sizes)
    beside = np.concatenate([[0], sizes[:-1]]) + np.concatenate([sizes[1:], [0]])
    spins = sizes[task.free] @ (1 + _CHANGING * beside[task.free])
    return float(spins * task.states.shape[0] * task.reads * len(task.schedule.betas))


def checked_start(
    model: LayeredModel, reads: int, seed: int, starts: Spins | None, held: Sequence[bool] | None
) -> tuple[Spins, NDArray[np.bool_]]:
    """The states to start from, a copy int8 ``(problems, reads, n)``, and which layers are free."""
    reads = whole_number("reads", reads, 1)
    seed = checked_seed(seed)
    shape = (model.num_problems, reads, model.num_variables)
    free = np.ones(len(model.sizes), dtype=bool) if held is None else ~np.asarray(held, dtype=bool)
    if free.shape != (len(model.sizes),):
        raise ValueError(f"held={held!r} must have one value for each of the {len(model.sizes)} layers")
    if starts is None:
        if not free.all():
            raise ValueError("held layers need starts: give the states they are held in")
        rng = stream(seed, Purpose.STARTS)
        return (2 * rng.integers(0, 2, shape, dtype=np.int8) - 1), free
    if np.shape(starts) != shape or not (np.abs(starts) == 1).all():
        raise ValueError(f"starts has shape {np.shape(starts)}: give −1 and 1 of shape {shape}")
    return np.array(starts, dtype=np.int8), free
