"""How weights go to their grid: to nearest, by GPTQ, by AdaRound, or annealed."""

from annealnet.compression.rounding.annealed import Annealing, anneal_codes
from annealnet.compression.rounding.gram_rounding import (
    AdaRounding,
    AnnealedRounding,
    GptqRounding,
    layer_lattices,
    settled_lattices,
)
from annealnet.compression.rounding.lattice import Lattice, RowEnergy, lower_bounds, row_energy
from annealnet.compression.rounding.nearest import NearestRounding
from annealnet.compression.rounding.protocol import Rounding, rounder_name
from annealnet.compression.rounding.torch_rows import TorchRows, torch_anneal_codes

__all__ = [
    "AdaRounding",
    "AnnealedRounding",
    "Annealing",
    "GptqRounding",
    "Lattice",
    "NearestRounding",
    "Rounding",
    "RowEnergy",
    "TorchRows",
    "anneal_codes",
    "layer_lattices",
    "lower_bounds",
    "rounder_name",
    "row_energy",
    "settled_lattices",
    "torch_anneal_codes",
]
