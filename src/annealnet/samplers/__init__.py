"""How energies are minimised: every sampler is a dimod sampler. Knows no network."""

from collections.abc import Callable
from typing import NamedTuple

from annealnet.samplers.annealing import AnnealingSampler
from annealnet.samplers.auto import AutoSampler
from annealnet.samplers.bifurcation import BifurcationSampler
from annealnet.samplers.block_prefix import PrefixBlock, solve_blocks
from annealnet.samplers.blocks import BlockSampler, TiledSampler
from annealnet.samplers.composites import CacheComposite, RetryComposite
from annealnet.samplers.distribution import DistributedSampler, Workers
from annealnet.samplers.exact import ExactSampler
from annealnet.samplers.external import sample_energy
from annealnet.samplers.fingerprint import describe, sampler_fingerprint
from annealnet.samplers.gram_annealing import SharedGramSampler
from annealnet.samplers.hardware import EmbeddedSampler, Fit, fit, hybrid, qpu
from annealnet.samplers.layered import LayeredAnnealing, LayeredModel, LayeredReads, LayeredSampler, Schedule
from annealnet.samplers.layered_composites import BestOf, NoisyLayers
from annealnet.samplers.layered_dimod import DimodLayers
from annealnet.samplers.layered_exact import EnumeratedLayers, QuantumLayers
from annealnet.samplers.naming import sampler_name
from annealnet.samplers.native import NativeSampler
from annealnet.samplers.quantum import AdiabaticSampler, GroverSampler, QAOASampler
from annealnet.samplers.recombination import RecombinationSampler
from annealnet.samplers.tabu import TabuSampler
from annealnet.samplers.tempering import TemperingSampler

__all__ = [
    "NATIVE",
    "QUANTUM",
    "AdiabaticSampler",
    "AnnealingSampler",
    "AutoSampler",
    "BestOf",
    "BifurcationSampler",
    "BlockSampler",
    "CacheComposite",
    "DimodLayers",
    "DistributedSampler",
    "EmbeddedSampler",
    "EnumeratedLayers",
    "ExactSampler",
    "Fit",
    "GroverSampler",
    "LayeredAnnealing",
    "LayeredModel",
    "LayeredReads",
    "LayeredSampler",
    "NativeSampler",
    "NoisyLayers",
    "PrefixBlock",
    "QAOASampler",
    "QuantumLayers",
    "RecombinationSampler",
    "RetryComposite",
    "SamplerEntry",
    "Schedule",
    "SharedGramSampler",
    "TabuSampler",
    "TemperingSampler",
    "TiledSampler",
    "Workers",
    "available",
    "describe",
    "fit",
    "hybrid",
    "qpu",
    "sample_energy",
    "sampler_fingerprint",
    "sampler_name",
    "solve_blocks",
]

#: Our samplers by the name the command line takes.
NATIVE: dict[str, Callable[[], NativeSampler]] = {
    "auto": AutoSampler,
    "annealing": AnnealingSampler,
    "tempering": TemperingSampler,
    "recombination": RecombinationSampler,
    "bifurcation": BifurcationSampler,
    "tabu": TabuSampler,
    "exact": ExactSampler,
}

#: Simulated quantum devices by the name the command line takes.
QUANTUM: dict[str, Callable[[], NativeSampler]] = {
    "adiabatic": AdiabaticSampler,
    "qaoa": QAOASampler,
    "grover": GroverSampler,
}


class SamplerEntry(NamedTuple):
    """One line of the list of samplers."""

    name: str
    purpose: str
    needs: str


def available() -> list[SamplerEntry]:
    """What can minimise an energy here.

    Example:
        >>> available()[0].name
        'AutoSampler'
    """
    ours = [
        SamplerEntry(type(own).__name__, own.properties["description"], "nothing")
        for own in (make() for make in (*NATIVE.values(), *QUANTUM.values(), SharedGramSampler))
    ]
    return [
        *ours,
        SamplerEntry("solve_blocks", "proven optimum of the published compression Hamiltonian", "nothing"),
        SamplerEntry("qpu()", "D-Wave's quantum annealers: embedding, retries, cache", "annealnet[dwave] and a token"),
        SamplerEntry("hybrid()", "Leap's hybrid solver, for models too large for a chip", "annealnet[dwave] and a token"),
        SamplerEntry(
            "any dimod sampler",
            "passed in as sampler=…: OpenJij, dwave-samplers, D-Wave's QPU",
            "that package",
        ),
    ]
