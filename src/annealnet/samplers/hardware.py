"""Quantum annealers: embedding, chains, precision; through D-Wave's Ocean, or on its mock devices without a token."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dimod
import numpy as np

from annealnet.samplers.composites import CacheComposite, RetryComposite

if TYPE_CHECKING:
    import networkx

__all__ = ["EmbeddedSampler", "Fit", "find_embedding", "fit", "hybrid", "qpu", "topology_graph"]

#: Share of all pairs from which a clique embedding beats the heuristic search.
_CLIQUE_DENSITY = 0.5
#: Ideal graphs of the machines: Advantage (Pegasus, 16) and Advantage2 (Zephyr, 12).
_SHAPES = {"pegasus": 16, "zephyr": 12, "chimera": 16}
#: Bits of a coefficient that an analogue machine with control errors of about 1 to 2 % of its range still tells apart.
PRECISION_BITS = 6
#: Typical microseconds per read beside the anneal itself (readout and delay); a machine's own figures differ with its load.
_OVERHEAD_MICROSECONDS = 120.0

Embedding = dict[Any, tuple[int, ...]]


def topology_graph(topology: str) -> networkx.Graph:
    """The ideal graph of a machine family at its largest built size.

    Raises:
        ValueError: when the family is not known or ``annealnet[dwave]`` is not installed.

    Example:
        >>> len(topology_graph("zephyr"))
        4800
    """
    if topology not in _SHAPES:
        raise ValueError(f"topology={topology!r} is not known: there are {', '.join(_SHAPES)}")
    import importlib

    return getattr(_ocean("dwave.graphs", importlib), f"{topology}_graph")(_SHAPES[topology])


def _ocean(name: str, importlib: Any) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed, which quantum annealers need: pip install 'annealnet[dwave]'") from error


def find_embedding(bqm: dimod.BinaryQuadraticModel, target: networkx.Graph, seed: int | None = 0) -> Embedding:
    """Chains for a model's graph: a clique embedding where it is dense, minorminer's search where it is sparse.

    Raises:
        ValueError: when none is found; says how many bits were asked for and what else would do.
    """
    import minorminer
    from minorminer import busclique

    n = bqm.num_variables
    pairs = [(u, v) for u, v, _ in bqm.iter_quadratic()]
    found: Embedding = _biclique(bqm, target)
    dense = len(pairs) > _CLIQUE_DENSITY * n * (n - 1) / 2
    if not found and not dense:
        sources = [*pairs, *((v, v) for v in bqm.variables)]
        found = minorminer.find_embedding(sources, list(target.edges), random_seed=seed)
    if not found:
        cliques = busclique.busgraph_cache(target).find_clique_embedding(n)
        found = {v: cliques[i] for i, v in enumerate(bqm.variables)} if len(cliques) == n else {}
    if len(found) < n:
        raise ValueError(
            f"bqm with {n} bits and {len(pairs)} couplings cannot be embedded into {len(target)} qubits "
            f"(it needs {n} chains of {_least_qubits(bqm, target)} qubits together at the very least): "
            "solve it in blocks, take samplers.hybrid(), or AnnealingSampler, which needs no embedding"
        )
    return {v: tuple(chain) for v, chain in found.items()}


def _least_qubits(bqm: dimod.BinaryQuadraticModel, target: networkx.Graph) -> int:
    """A lower bound: a chain of L qubits with D neighbours each has at most L (D − 2) + 2 couplers to other chains."""
    outward = max(1, max(degree for _, degree in target.degree) - 2)
    return sum(max(1, -(-(bqm.degree(v) - 2) // outward)) for v in bqm.variables)


def _biclique(bqm: dimod.BinaryQuadraticModel, target: networkx.Graph) -> Embedding:
    """Chains of a complete bipartite model of two layers, which have a regular embedding; nothing for other models."""
    from minorminer import busclique

    first = next(iter(bqm.variables), None)
    right = set() if first is None else set(bqm.adj[first])
    left = set(bqm.variables) - right
    if min(len(left), len(right)) < 2 or any(set(bqm.adj[v]) != right for v in left):
        return {}
    if bqm.num_interactions != len(left) * len(right):
        return {}
    names = [*sorted(left, key=str), *sorted(right, key=str)]
    chains = busclique.busgraph_cache(target).find_biclique_embedding(len(left), len(right))
    return {v: tuple(chains[i]) for i, v in enumerate(names)} if len(chains) == len(names) else {}


class EmbeddedSampler(dimod.ComposedSampler):
    """A structured device that takes any model: embeds, sets chains, anneals, and mends broken chains by majority.

    An embedding is found once for each shape of problem and used again for all models with the same bits and couplings.

    Args:
        device: a structured sampler: ``DWaveSampler``, ``MockDWaveSampler``.
        seed: of the search for embeddings.

    Example:
        >>> from dwave.system.testing import MockDWaveSampler
        >>> device = MockDWaveSampler(topology_type="pegasus", topology_shape=[2])
        >>> triangle = dimod.BinaryQuadraticModel({}, {"ab": 1.0, "bc": 1.0, "ca": 1.0}, 0.0, "SPIN")
        >>> answer = EmbeddedSampler(device).sample(triangle, num_reads=5)
        >>> float(answer.first.energy), sorted(answer.info["embedding"])
        (-1.0, ['chain_strength', 'longest_chain', 'qubits', 'reused'])
    """

    children: Any = None
    parameters: Any = None
    properties: Any = None

    def __init__(self, device: dimod.Structured, seed: int | None = 0) -> None:
        self.children = [device]
        self.parameters = {**(device.parameters or {}), "chain_strength": [], "chain_break_method": []}
        self.properties = {"child_properties": dict(device.properties or {})}
        self.seed = seed
        self._graph = device.to_networkx_graph()
        self._found: dict[Any, Embedding] = {}

    def fingerprint_state(self) -> dict[str, Any]:
        """What the answers depend on, see :mod:`.fingerprint`: embeddings found so far follow from it."""
        return {"child": self.child, "seed": self.seed}

    def sample(
        self,
        bqm: dimod.BinaryQuadraticModel,
        *,
        chain_strength: float | None = None,
        initial_state: dict[Any, int] | None = None,
        **parameters: Any,
    ) -> dimod.SampleSet:
        """Samples a model on the device.

        Args:
            bqm: any model whose graph fits.
            chain_strength: coupling inside chains; None takes Ocean's uniform torque compensation.
            initial_state: a state of the model to anneal back from (with ``anneal_schedule``: reverse annealing).
            parameters: of the device: ``num_reads``, ``annealing_time``, ``anneal_schedule``, …

        Returns:
            Samples of the model, with ``chain_break_fraction`` per sample; ``info["embedding"]`` (qubits, longest chain,
            chain strength, whether it was reused) and ``info["precision"]`` (see :func:`precision`).

        Raises:
            ValueError: when no embedding is found.
        """
        from dwave.embedding import embed_bqm, unembed_sampleset
        from dwave.embedding.chain_strength import uniform_torque_compensation

        if bqm.num_variables == 0:
            return dimod.SampleSet.from_samples_bqm([{}], bqm)
        spins = bqm.change_vartype("SPIN", inplace=False)
        embedding, reused = self._embedding(spins)
        strength = uniform_torque_compensation(spins, embedding) if chain_strength is None else chain_strength
        adjacency = {node: set(near) for node, near in self._graph.adjacency()}
        target = embed_bqm(spins, embedding, adjacency, chain_strength=strength)
        if initial_state is not None:
            to_spin = {v: 2 * value - 1 if bqm.vartype is dimod.BINARY else value for v, value in initial_state.items()}
            parameters["initial_state"] = {q: to_spin[v] for v, chain in embedding.items() for q in chain}
        method = parameters.pop("chain_break_method", None)
        raw = self.child.sample(target, **parameters)
        answer = unembed_sampleset(raw, embedding, spins, chain_break_method=method, chain_break_fraction=True)
        answer.info.update(raw.info)
        answer.info["embedding"] = {
            "qubits": sum(map(len, embedding.values())), "longest_chain": max(map(len, embedding.values())),
            "chain_strength": float(strength), "reused": reused,
        }  # fmt: skip
        answer.info["precision"] = precision(spins)
        return answer.change_vartype(bqm.vartype, inplace=False)

    def _embedding(self, bqm: dimod.BinaryQuadraticModel) -> tuple[Embedding, bool]:
        shape = shape_of(bqm)
        reused = shape in self._found
        if not reused:
            self._found[shape] = find_embedding(bqm, self._graph, self.seed)
        return self._found[shape], reused


def shape_of(bqm: dimod.BinaryQuadraticModel) -> Any:
    """Bits and pairs of a model, hashable: models of one shape share an embedding."""
    return frozenset(bqm.variables), frozenset(frozenset((u, v)) for u, v, _ in bqm.iter_quadratic())


def precision(bqm: dimod.BinaryQuadraticModel) -> dict[str, float]:
    """What a model asks of an analogue machine: the range of its spin coefficients and the bits to tell them apart.

    ``range`` is largest over least non-zero magnitude; ``bits`` = log₂(largest / least step between two magnitudes);
    ``lost`` is the share of coefficients below the step of a machine with :data:`PRECISION_BITS` bits.
    """
    spins = bqm.spin
    values = np.abs(np.array([*spins.linear.values(), *(bias for *_, bias in spins.iter_quadratic())], dtype=float))
    values = values[values > 1e-12 * max(1e-300, float(values.max(initial=0.0)))]
    if not len(values):
        return {"range": 1.0, "bits": 0.0, "lost": 0.0}
    largest = float(values.max())
    levels = np.unique(np.concatenate([[0.0], np.round(values / largest, 12)]))
    step = float(np.diff(levels).min())
    return {
        "range": largest / float(values.min()),
        "bits": float(np.log2(1.0 / step)),
        "lost": float((values / largest < 2.0**-PRECISION_BITS).mean()),
    }


def qpu(
    *,
    cache: str | Path | None = None,
    attempts: int = 5,
    reads_per_call: int | None = 1000,
    seed: int | None = 0,
    **features: Any,
) -> dimod.Sampler:
    """A D-Wave quantum annealer that takes any model: embedding, retries, and a cache where one is named.

    Args:
        cache: SQLite file of answers that were paid for.
        attempts: calls at most for one piece of the reads.
        reads_per_call: reads asked for at once.
        seed: of the search for embeddings.
        features: for ``DWaveSampler``, such as ``solver={"topology__type": "zephyr"}``.

    Raises:
        ValueError: when Ocean is not installed, or no token is set; says how to set it.
    """
    device = _connect("DWaveSampler", features)
    sampler: dimod.Sampler = RetryComposite(EmbeddedSampler(device, seed), attempts=attempts, reads_per_call=reads_per_call)
    return sampler if cache is None else CacheComposite(sampler, cache)


def hybrid(*, cache: str | Path | None = None, attempts: int = 5, **features: Any) -> dimod.Sampler:
    """Leap's hybrid solver, for models too large for a chip; arguments and errors as :func:`qpu`."""
    sampler: dimod.Sampler = RetryComposite(_connect("LeapHybridSampler", features), attempts=attempts)
    return sampler if cache is None else CacheComposite(sampler, cache)


def _connect(name: str, features: dict[str, Any]) -> Any:
    import importlib

    ocean = _ocean("dwave.system", importlib)
    try:
        return getattr(ocean, name)(**features)
    except ValueError as error:
        if "token" not in str(error).lower():
            raise
        raise ValueError(
            "no D-Wave API token is set: run `dwave config create`, or set the environment variable DWAVE_API_TOKEN; "
            "without one, AnnealingSampler runs here and MockDWaveSampler rehearses the call"
        ) from error


@dataclass(frozen=True)
class Fit:
    """Will it fit?

    Attributes:
        topology: machine family, its ideal graph.
        bits, couplings: of the problem.
        fits: whether an embedding was found.
        qubits: used by it; 0 where there is none.
        chain_mean, chain_longest: qubits per chain.
        range, precision_bits, lost: see :func:`precision`.
        milliseconds: anneal, readout and delay of all reads; programming and the way to the machine come on top.
    """

    topology: str
    bits: int
    couplings: int
    fits: bool
    qubits: int
    chain_mean: float
    chain_longest: int
    range: float
    precision_bits: float
    lost: float
    milliseconds: float

    def describe(self) -> str:
        """In words."""
        lines = [f"{self.bits} bits, {self.couplings} couplings on {self.topology} (ideal graph)"]
        if self.fits:
            lines.append(
                f"fits: {self.qubits} qubits, chains {self.chain_mean:.1f} on average, {self.chain_longest} at most"
            )
        else:
            lines.append("does not fit: no embedding was found; solve it in blocks, or take a hybrid or a native sampler")
        lines.append(
            f"coefficients span {self.range:.3g} to 1 and need {self.precision_bits:.1f} bits; a machine tells about "
            f"{PRECISION_BITS} apart, below which {self.lost:.0%} of them lie"
        )
        lines.append(f"reads take about {self.milliseconds:.1f} ms on the chip")
        return "\n".join(lines)

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def fit(
    bqm: dimod.BinaryQuadraticModel, topology: str = "pegasus", *, reads: int = 100, annealing_time: float = 20.0,
    seed: int | None = 0,
) -> Fit:  # fmt: skip
    """Whether and how a model fits a machine, without asking one.

    Args:
        bqm: the model.
        topology: pegasus (Advantage), zephyr (Advantage2) or chimera (2000Q).
        reads: anneals to be timed.
        annealing_time: microseconds of one.
        seed: of the embedding search.

    Example:
        >>> fit(dimod.BinaryQuadraticModel({}, {"ab": 1.0, "bc": -0.5}, 0.0, "SPIN"), "zephyr").qubits
        3
    """
    graph = topology_graph(topology)
    try:
        chains = [len(chain) for chain in find_embedding(bqm, graph, seed).values()]
    except ValueError:
        chains = []
    told = precision(bqm)
    return Fit(
        topology, bqm.num_variables, bqm.num_interactions, bool(chains), sum(chains),
        float(np.mean(chains)) if chains else 0.0, max(chains, default=0),
        told["range"], told["bits"], told["lost"], reads * (annealing_time + _OVERHEAD_MICROSECONDS) / 1000.0,
    )  # fmt: skip
