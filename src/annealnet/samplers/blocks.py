"""Energies larger than a chip in blocks, and energies smaller than a chip side by side on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dimod
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order

from annealnet.energy import Energy, from_bqm
from annealnet.samplers.external import takes
from annealnet.samplers.hardware import find_embedding, shape_of
from annealnet.whole_numbers import whole_number

if TYPE_CHECKING:
    import networkx

__all__ = ["BlockSampler", "TiledSampler"]

#: Rounds in a row without a change after which a read is done.
_QUIET = 4
#: Share of all pairs above which neighbours say nothing and blocks are drawn at random.
_DENSE = 0.25


class BlockSampler(dimod.ComposedSampler):
    """Minimises an energy of any size through a sampler that takes only ``block_bits`` bits at a time.

    The bits are cut into blocks (neighbourhoods where couplings are few, random ones where they are many). One block after
    the other is given to the child, with the bits outside held fast, and its answer is taken when it is no worse; that is
    repeated over several ways to cut until a whole round changes nothing. The energy never rises.

    Args:
        child: any dimod sampler, such as :func:`qpu`.
        block_bits: bits of a block; about 180 coupled all with all fit on today's chips.
        rounds: passes over all blocks at most, for each read.
        partitions: ways to cut the bits into blocks, gone through in turn; an embedding is found once for each block.

    Raises:
        ValueError: when a number is not at least 1.

    Example:
        >>> from annealnet.samplers import TabuSampler
        >>> ring = dimod.BinaryQuadraticModel({}, {(i, (i + 1) % 50): -1.0 for i in range(50)}, 0.0, "SPIN")
        >>> answer = BlockSampler(TabuSampler(), block_bits=20).sample(ring, seed=0)
        >>> float(answer.first.energy)
        -50.0
    """

    children: Any = None
    parameters: Any = None
    properties: Any = None

    def __init__(self, child: dimod.Sampler, block_bits: int = 150, rounds: int = 100, partitions: int = 16) -> None:
        self.children = [child]
        self.parameters = {"num_reads": [], "seed": [], "initial_states": [], "child_parameters": []}
        self.properties = {"child_properties": dict(child.properties or {})}
        self.block_bits, self.rounds = whole_number("block_bits", block_bits, 1), whole_number("rounds", rounds, 1)
        self.partitions = whole_number("partitions", partitions, 1)

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`."""
        settings = {name: getattr(self, name) for name in ("block_bits", "rounds", "partitions")}
        return {"child": self.child, **settings}

    def sample(
        self,
        bqm: dimod.BinaryQuadraticModel,
        *,
        num_reads: int = 1,
        seed: int | None = None,
        initial_states: np.ndarray | None = None,
        child_parameters: dict[str, Any] | None = None,
    ) -> dimod.SampleSet:
        """Samples a model.

        Args:
            bqm: of any size.
            num_reads: independent descents, each from its own state.
            seed: of the states, the blocks and, where the child takes one, its draws.
            initial_states: ``(num_reads, n)`` in the model's variable order and vartype, or None for random ones.
            child_parameters: handed to every call of the child, such as ``{"num_reads": 100}``.

        Returns:
            One state per read; ``info["calls"]`` counts calls of the child.

        Raises:
            ValueError: when ``num_reads`` or ``initial_states`` does not fit.
        """
        num_reads = whole_number("num_reads", num_reads, 1)
        if bqm.num_variables == 0:
            return dimod.SampleSet.from_samples_bqm([{}], bqm)
        energy, labels = from_bqm(bqm)
        n = energy.num_variables
        rng = np.random.default_rng(seed)
        states = rng.integers(0, 2, (num_reads, n), dtype=np.int8)
        if initial_states is not None:
            states = np.array(initial_states, dtype=np.int8)
            if states.shape != (num_reads, n):
                raise ValueError(f"initial_states has shape {states.shape}: give ({num_reads}, {n})")
            states = (states > 0).astype(np.int8)
        partitions = [_blocks(energy.couplings(), self.block_bits, rng) for _ in range(self.partitions)]
        takes_seed = takes(self.child, "seed")
        calls = 0
        for state in states:
            quiet = 0
            for round_number in range(self.rounds):
                changed = False
                for block in partitions[round_number % len(partitions)]:
                    drawn = {"seed": int(rng.integers(2**31))} if takes_seed else {}
                    changed |= self._improve(energy, state, block, {**drawn, **(child_parameters or {})})
                    calls += 1
                quiet = 0 if changed else quiet + 1
                if quiet == _QUIET:
                    break
        answer = dimod.SampleSet.from_samples(
            (states, list(range(n))), energy=energy.energy(states), vartype="BINARY", info={"calls": calls}
        )
        answer = answer.relabel_variables(dict(enumerate(labels)), inplace=False)
        return answer.change_vartype(bqm.vartype, inplace=False)

    def _improve(self, energy: Energy, state: np.ndarray, block: np.ndarray, parameters: dict[str, Any]) -> bool:
        """Gives one block to the child and takes what is no worse; whether the energy fell."""
        part = conditioned(energy, state, block)
        answer = self.child.sample(part, **parameters)
        best = answer.first.sample
        found = np.array([best[i] for i in range(len(block))], dtype=np.int8)
        now, then = part.energies([found.tolist(), state[block].tolist()])
        if now <= then:
            state[block] = found
        return bool(now < then - 1e-9 * max(1.0, abs(then)))


def conditioned(energy: Energy, state: np.ndarray, block: np.ndarray) -> dimod.BinaryQuadraticModel:
    """The model over the bits of a block, labelled 0 … k−1, with all others as in ``state``.

    Its energy is the whole's up to a constant. Pairs are listed for every coupling of the block, so that blocks of one
    shape share an embedding.
    """
    linear, _ = energy.expanded_linear()
    rows = energy.couplings()[block]
    outside = state.astype(np.float64)
    outside[block] = 0.0
    inner = sparse.triu(rows[:, block], k=1).tocoo()
    return dimod.BinaryQuadraticModel.from_numpy_vectors(
        linear[block] + rows @ outside, (inner.row, inner.col, inner.data), 0.0, dimod.BINARY,
        variable_order=range(len(block)),
    )  # fmt: skip


def _blocks(couplings: sparse.csr_matrix, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """All bits in blocks of at most ``size``."""
    n = couplings.shape[0]
    order = rng.permutation(n)
    if couplings.nnz < _DENSE * n * n:
        shuffled = sparse.csr_matrix(couplings[order][:, order])
        seen = np.zeros(n, dtype=bool)
        walks = []
        for start in range(n):
            if not seen[start]:
                walk = breadth_first_order(shuffled, start, directed=False, return_predecessors=False)
                seen[walk] = True
                walks.append(walk)
        order = order[np.concatenate(walks)]
    return [order[i : i + size] for i in range(0, n, size)]


class TiledSampler(dimod.ComposedSampler):
    """Several copies of a small problem, or several small problems of one shape, side by side on one chip.

    An anneal costs the same time whatever share of the chip is used. ``sample`` asks for ⌈num_reads / tiles⌉ anneals of all
    tiles; :meth:`sample_batch` anneals many models together.

    Args:
        device: a structured sampler: ``DWaveSampler``, ``MockDWaveSampler``.
        max_tiles: copies at most.
        seed: of the search for embeddings.

    Example:
        >>> from dwave.system.testing import MockDWaveSampler
        >>> device = MockDWaveSampler(topology_type="pegasus", topology_shape=[2])
        >>> pair = dimod.BinaryQuadraticModel({}, {"ab": 1.0}, 0.0, "SPIN")
        >>> answer = TiledSampler(device, max_tiles=4).sample(pair, num_reads=8)
        >>> int(answer.record.num_occurrences.sum()), answer.info["tiles"], float(answer.first.energy)
        (8, 4, -1.0)
    """

    children: Any = None
    parameters: Any = None
    properties: Any = None

    def __init__(self, device: dimod.Structured, max_tiles: int = 16, seed: int | None = 0) -> None:
        max_tiles = whole_number("max_tiles", max_tiles, 1)
        self.children = [device]
        self.parameters = dict(device.parameters or {})
        self.properties = {"child_properties": dict(device.properties or {})}
        self.max_tiles, self.seed = max_tiles, seed
        self._graph = device.to_networkx_graph()
        self._found: dict[Any, list[dict[Any, tuple[int, ...]]]] = {}

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`: embeddings found so far follow from it."""
        return {"child": self.child, "max_tiles": self.max_tiles, "seed": self.seed}

    def sample(self, bqm: dimod.BinaryQuadraticModel, *, num_reads: int = 1, **parameters: Any) -> dimod.SampleSet:
        """At least ``num_reads`` samples of one model (devices may count equal ones in ``num_occurrences``);
        ``info["tiles"]`` copies were annealed at once.

        Raises:
            ValueError: when the model does not fit even once.
        """
        num_reads = whole_number("num_reads", num_reads, 1)
        if bqm.num_variables == 0:
            return dimod.SampleSet.from_samples_bqm([{}], bqm)
        tiles = min(num_reads, len(self._embeddings(bqm)))
        answers = self.sample_batch([bqm] * tiles, num_reads=-(-num_reads // tiles), **parameters)
        joined = dimod.concatenate(answers)
        joined.info.update({**answers[0].info, "tiles": tiles})
        return joined

    def sample_batch(
        self, bqms: Sequence[dimod.BinaryQuadraticModel], *, num_reads: int = 1, **parameters: Any
    ) -> list[dimod.SampleSet]:
        """``num_reads`` samples of each model, as many models at once as fit; all must have the bits and pairs of the first.

        Raises:
            ValueError: when shapes differ, or a model does not fit.
        """
        from dwave.system.composites import ParallelEmbeddingComposite

        shapes = {shape_of(bqm) for bqm in bqms}
        if len(shapes) != 1:
            raise ValueError(f"bqms have {len(shapes)} shapes: give models over the same bits and pairs")
        embeddings = self._embeddings(bqms[0])
        answers: list[dimod.SampleSet] = []
        for first in range(0, len(bqms), len(embeddings)):
            together = list(bqms[first : first + len(embeddings)])
            tiled = ParallelEmbeddingComposite(self.child, embeddings=embeddings[: len(together)], source=_graph_of(bqms[0]))
            found, info = tiled.sample_multiple(together, num_reads=num_reads, **parameters)
            for answer in found:
                answer.info.update({**info, "tiles": len(together)})
            answers += found
        return answers

    def _embeddings(self, bqm: dimod.BinaryQuadraticModel) -> list[dict[Any, tuple[int, ...]]]:
        """Disjoint embeddings, found one after the other in what is left of the chip."""
        shape = shape_of(bqm)
        if shape not in self._found:
            free = self._graph.copy()
            found: list[dict[Any, tuple[int, ...]]] = []
            while len(found) < self.max_tiles:
                try:
                    found.append(find_embedding(bqm, free, self.seed))
                except ValueError:
                    if not found:
                        raise
                    break
                free.remove_nodes_from([qubit for chain in found[-1].values() for qubit in chain])
            self._found[shape] = found
        return self._found[shape]


def _graph_of(bqm: dimod.BinaryQuadraticModel) -> networkx.Graph:
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(bqm.variables)
    graph.add_edges_from((u, v) for u, v, _ in bqm.iter_quadratic())
    return graph
