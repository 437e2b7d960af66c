"""How energies are minimised: every sampler is a dimod sampler. Knows no network."""

from typing import NamedTuple

from annealnet.samplers.annealing import AnnealingSampler
from annealnet.samplers.block_prefix import PrefixBlock, solve_blocks
from annealnet.samplers.exact import MAX_BITS, ExactSampler
from annealnet.samplers.external import sample_energy

__all__ = [
    "AnnealingSampler",
    "ExactSampler",
    "PrefixBlock",
    "SamplerEntry",
    "available",
    "sample_energy",
    "solve_blocks",
]


class SamplerEntry(NamedTuple):
    """One line of the list of samplers."""

    name: str
    purpose: str
    needs: str


def available() -> list[SamplerEntry]:
    """What can minimise an energy here.

    Example:
        >>> available()[0].name
        'AnnealingSampler'
    """
    return [
        SamplerEntry("AnnealingSampler", "any energy, any size; keeps cardinalities and budgets exactly", "nothing"),
        SamplerEntry("ExactSampler", f"proven optimum of up to {MAX_BITS} bits", "nothing"),
        SamplerEntry("solve_blocks", "proven optimum of the published compression Hamiltonian", "nothing"),
        SamplerEntry(
            "any dimod sampler",
            "passed in as sampler=…: OpenJij, dwave-samplers, D-Wave's QPU",
            "that package",
        ),
    ]
