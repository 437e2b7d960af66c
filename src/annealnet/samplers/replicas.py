"""Many states of one energy that are swept together, each at its own temperature: what annealing and tempering share.

One class per layout of the energy. All keep local fields, so that a refused proposal costs one number; see the kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy import sparse

from annealnet.energy import Cardinality, Constraint
from annealnet.samplers.compiled import CompiledEnergy, compile_constraints
from annealnet.samplers.kernels.threads import Pace, threads_for
from annealnet.samplers.schedule import REFRESH

__all__ = ["Replicas", "neighbour_lists", "place"]

#: Steps of a compound proposal, which moves all that it touches, and often back; numbers of a row mended in one step.
_COMPOUND, _LANES_OF_A_ROW = 50, 8
#: Sweeps at zero temperature that end a compound anneal.
_DESCENTS = 10
#: Random moves a read may take to come within the budgets.
_REPAIRS_PER_VARIABLE = 400

Arrays = tuple[np.ndarray, ...]


def neighbour_lists(compiled: CompiledEnergy) -> Arrays:
    """linear float32, row starts int64, columns int32, values float32; zeros of a dense matrix are no neighbours."""
    couplings = compiled.couplings if compiled.dense is None else sparse.csr_matrix(compiled.dense)
    return (
        compiled.linear.astype(np.float32),
        couplings.indptr.astype(np.int64),
        couplings.indices.astype(np.int32),
        couplings.data.astype(np.float32),
    )


class Replicas(ABC):
    """States int8 ``(reads, n)`` under one energy.

    Attributes:
        num_reads: states that are asked for.
        scale: unit of the compiled energy; temperatures and energies that go in and out are in the user's units.
        sweeps: done so far.
        proposal: steps of one, see :mod:`.kernels.threads`.
        num_bits: of all reads.
        pace: on how many threads sweeps run.
    """

    num_reads: int
    scale: float
    sweeps: int = 0
    proposal: int = 3

    def __init__(self, reads: int, variables: int) -> None:
        self.num_reads, self.num_bits, self.pace = reads, reads * variables, Pace()

    def sweep(self, betas: np.ndarray) -> None:
        """Sweeps all reads; ``betas`` float64 ``(k,)`` for all of them or ``(reads, k)``; at most to the next refresh."""
        if self.sweeps and self.sweeps % REFRESH == 0:
            self.refresh()
        sweeps = np.shape(betas)[-1]
        with self.pace.threads_for(self.proposal * self.num_bits * sweeps):
            self._sweep(np.broadcast_to(betas, (self.num_reads, sweeps)) * self.scale)
        self.sweeps += sweeps

    @abstractmethod
    def refresh(self) -> None:
        """Computes what is kept by increments anew."""

    @abstractmethod
    def _sweep(self, betas: np.ndarray) -> None:
        """``betas`` float64 ``(reads, k)`` in the compiled energy's units, contiguous."""

    @abstractmethod
    def descend(self) -> None:
        """Single flips that gain, until there is none (with constraints: a few sweeps at zero temperature)."""

    @abstractmethod
    def energies(self) -> np.ndarray:
        """float64 ``(reads,)``, without the energy's constant; as exact as float32 couplings."""

    @abstractmethod
    def states(self) -> np.ndarray:
        """A copy, int8 ``(reads, n)``."""

    @abstractmethod
    def replace(self, states: np.ndarray) -> None:
        """Puts other states ``(reads, n)`` in place; streams go on."""


class _PerRead(Replicas):
    """States with a row for each read, one thread per read."""

    _states: np.ndarray
    _energies: np.ndarray

    def replace(self, states: np.ndarray) -> None:
        self._states = np.array(states, dtype=np.int8, order="C")
        self.refresh()

    def energies(self) -> np.ndarray:
        return self._energies * self.scale

    def states(self) -> np.ndarray:
        return self._states.copy()


class _Dense(_PerRead):
    """A float32 matrix; one thread per read."""

    def __init__(self, compiled: CompiledEnergy, states: np.ndarray, stream: np.uint64) -> None:
        from annealnet.samplers.kernels.random import streams

        assert compiled.dense is not None
        self.scale = compiled.scale
        self._matrix = compiled.dense
        self._linear = compiled.linear.astype(np.float32)
        super().__init__(*states.shape)
        self._fields = np.empty(states.shape, dtype=np.float32)
        self._energies = np.empty(len(states))
        self._random = streams(stream, len(states))
        self.replace(states)

    def refresh(self) -> None:
        from annealnet.samplers.kernels.free import start_dense

        with threads_for(self._states.size * len(self._linear) / _LANES_OF_A_ROW):
            start_dense(self._matrix, self._linear, self._states, self._fields, self._energies)

    def _sweep(self, betas: np.ndarray) -> None:
        from annealnet.samplers.kernels.free import sweep_dense

        sweep_dense(self._matrix, self._states, self._fields, self._energies, betas, self._random)

    def descend(self) -> None:
        from annealnet.samplers.kernels.free import descend_dense

        self.refresh()
        with threads_for(self._states.size * len(self._linear) / _LANES_OF_A_ROW):
            descend_dense(self._matrix, self._states, self._fields, self._energies)


class _Sparse(_PerRead):
    """Neighbour lists; one thread per read."""

    def __init__(self, compiled: CompiledEnergy, states: np.ndarray, stream: np.uint64) -> None:
        from annealnet.samplers.kernels.random import streams

        self._linear, *self._lists = neighbour_lists(compiled)
        self.scale = compiled.scale
        super().__init__(*states.shape)
        self._deltas = np.empty(states.shape, dtype=np.float32)
        self._energies = np.empty(len(states))
        self._random = streams(stream, len(states))
        self.replace(states)

    def refresh(self) -> None:
        from annealnet.samplers.kernels.free import start_sparse

        with threads_for(self._touched()):
            start_sparse(self._linear, *self._lists, self._states, self._deltas, self._energies)

    def _sweep(self, betas: np.ndarray) -> None:
        from annealnet.samplers.kernels.free import sweep_sparse

        sweep_sparse(*self._lists, self._states, self._deltas, self._energies, betas, self._random)

    def descend(self) -> None:
        from annealnet.samplers.kernels.free import descend_sparse

        self.refresh()
        with threads_for(2 * self._touched()):
            descend_sparse(*self._lists, self._states, self._deltas, self._energies)

    def _touched(self) -> int:
        """Couplings of all reads."""
        return self.num_reads * (len(self._lists[-1]) + len(self._linear))


class _Lanes(Replicas):
    """Neighbour lists, sixteen reads to a group; reads are filled up to whole groups."""

    proposal = 1

    def __init__(self, compiled: CompiledEnergy, states: np.ndarray, stream: np.uint64) -> None:
        from annealnet.samplers.kernels.lanes import LANES, lane_streams

        self._linear, *self._lists = neighbour_lists(compiled)
        self.scale = compiled.scale
        super().__init__(*states.shape)
        n = states.shape[1]
        self._lanes = LANES
        groups = -(-self.num_reads // LANES)
        self._fields = np.empty((groups, n, LANES), dtype=np.float32)
        self._energies = np.empty((groups, LANES))
        self._random = lane_streams(stream, groups)
        self.replace(states)

    def replace(self, states: np.ndarray) -> None:
        groups, n, lanes = self._fields.shape
        filled = np.ascontiguousarray(states, dtype=np.int8)[np.arange(groups * lanes) % self.num_reads]
        grouped = filled.reshape(groups, lanes, n).transpose(0, 2, 1)
        self._signs = np.ascontiguousarray(1 - 2 * grouped, dtype=np.float32)
        self.refresh()

    def refresh(self) -> None:
        from annealnet.samplers.kernels.lanes import start_lanes

        with threads_for(self._touched()):
            start_lanes(self._linear, *self._lists, self._signs, self._fields, self._energies)

    def _sweep(self, betas: np.ndarray) -> None:
        from annealnet.samplers.kernels.lanes import sweep_lanes

        groups, _, lanes = self._fields.shape
        filled = betas.astype(np.float32)[np.arange(groups * lanes) % self.num_reads]
        grouped = np.ascontiguousarray(filled.reshape(groups, lanes, -1).transpose(0, 2, 1))
        sweep_lanes(*self._lists, self._signs, self._fields, self._energies, grouped, self._random)

    def descend(self) -> None:
        from annealnet.samplers.kernels.free import descend_sparse, start_sparse

        states = self.states()
        deltas, energies = np.empty(states.shape, dtype=np.float32), np.empty(len(states))
        with threads_for(2 * self._touched()):
            start_sparse(self._linear, *self._lists, states, deltas, energies)
            descend_sparse(*self._lists, states, deltas, energies)
        self.replace(states)

    def _touched(self) -> int:
        """Couplings of all reads."""
        return self.num_reads * (len(self._lists[-1]) + len(self._linear))

    def energies(self) -> np.ndarray:
        return np.asarray(self._energies.reshape(-1)[: self.num_reads] * self.scale)

    def states(self) -> np.ndarray:
        n = self._signs.shape[1]
        flat = (self._signs < 0).transpose(0, 2, 1).reshape(-1, n)[: self.num_reads]
        return np.ascontiguousarray(flat, dtype=np.int8)


class _Compound(Replicas):
    """Squares and constraints: compound moves in float64, the best state of every read kept."""

    proposal = _COMPOUND

    def __init__(
        self, compiled: CompiledEnergy, constraints: Sequence[Constraint], states: np.ndarray, stream: np.uint64
    ) -> None:
        from annealnet.samplers.kernels.random import streams

        for constraint in constraints:
            if isinstance(constraint, Cardinality) and not constraint.holds(states).all():
                raise ValueError(
                    f"initial_states break a cardinality: {constraint.count} of "
                    f"{len(constraint.variables)} variables must be 1"
                )
        couplings, factors = compiled.couplings, compiled.factors
        if compiled.dense is not None:
            couplings = sparse.csr_matrix(compiled.dense.astype(np.float64))
        by_row = sparse.csr_matrix(factors)
        energy = (
            *(couplings.indptr.astype(np.int64), couplings.indices.astype(np.int64), couplings.data),
            *(factors.indptr.astype(np.int64), factors.indices.astype(np.int64), factors.data, compiled.weights),
        )
        members = (by_row.indptr.astype(np.int64), by_row.indices.astype(np.int64))
        limits = compile_constraints(states.shape[1], constraints)
        self.scale = compiled.scale
        self._problem: Any = (energy, limits.sets, members, limits.counts, limits.budgets)
        self._origin = compiled.linear, compiled.shifts, limits.constants
        super().__init__(*states.shape)
        self._random = streams(stream, len(states))
        self.replace(states)

    def replace(self, states: np.ndarray) -> None:
        from annealnet.samplers.kernels.constrained import start_read

        reads, n = states.shape
        self._states = np.zeros((reads, n), dtype=np.int8)
        self._kept = [tuple(array.copy() for array in self._origin) for _ in range(reads)]
        self._energies, self._excess = np.zeros(reads), np.zeros(reads)
        starts = np.ascontiguousarray(states, dtype=np.int8)

        def start(read: int) -> None:
            self._energies[read], self._excess[read], self._random[read] = start_read(
                starts[read], self._states[read], *self._kept[read], self._problem, self._random[read],
                _REPAIRS_PER_VARIABLE * n,
            )  # fmt: skip

        with threads_for(_COMPOUND * starts.size):
            self._on_threads(start)
        self._best, self._best_energies = self._states.copy(), self._energies.copy()

    def refresh(self) -> None:
        """Float64 sums do not drift far enough to matter."""

    def _sweep(self, betas: np.ndarray) -> None:
        from annealnet.samplers.kernels.constrained import sweep_read

        def sweep(read: int) -> None:
            if self._excess[read] > 0:
                return
            self._energies[read], self._best_energies[read], self._random[read] = sweep_read(
                self._states[read], *self._kept[read], self._best[read], self._energies[read], self._best_energies[read],
                self._problem, betas[read], self._random[read],
            )  # fmt: skip

        self._on_threads(sweep)

    def _on_threads(self, work: Any) -> None:
        import numba

        count = min(self.num_reads, numba.get_num_threads())
        if count == 1:
            for read in range(self.num_reads):
                work(read)
            return
        with ThreadPoolExecutor(count) as threads:  # the kernels let go of the interpreter
            list(threads.map(work, range(self.num_reads)))

    def descend(self) -> None:
        with threads_for(_COMPOUND * self.num_bits * _DESCENTS):
            self._sweep(np.full((self.num_reads, _DESCENTS), np.inf))

    def energies(self) -> np.ndarray:
        return self._energies * self.scale

    def states(self) -> np.ndarray:
        """The best feasible state of every read that came within its budgets."""
        if (self._excess > 0).all():
            raise ValueError(
                f"no state within the budgets was found (the nearest exceeds one by {self._excess.min():.3%}): "
                "loosen the budget, or give initial_states that keep it"
            )
        return np.asarray(self._best[self._excess == 0])


def place(compiled: CompiledEnergy, constraints: Sequence[Constraint], states: np.ndarray, stream: np.uint64) -> Replicas:
    """Replicas in the layout that suits the energy and the number of reads."""
    from annealnet.samplers.kernels.lanes import LANES

    if constraints or compiled.factors.nnz:
        return _Compound(compiled, constraints, states, stream)
    if compiled.dense is not None:
        return _Dense(compiled, states, stream)
    return _Lanes(compiled, states, stream) if len(states) >= LANES // 2 else _Sparse(compiled, states, stream)
