"""How a compression plan becomes an energy: plain objects behind one protocol, each registered by its name."""

from collections.abc import Mapping

from annealnet.compression.formulations.candidates import Candidates
from annealnet.compression.formulations.data_aware import DataAware
from annealnet.compression.formulations.hamiltonian import FilterBlock, Hamiltonian
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.protocol import Formulation
from annealnet.compression.formulations.published import Published

__all__ = ["FORMULATIONS", "Candidates", "DataAware", "FilterBlock", "Formulation", "Hamiltonian", "Problem", "Published"]

#: Every formulation by the name it has on the command line and in tables: comparisons, studies and commands ask it.
FORMULATIONS: Mapping[str, Formulation] = {one.name: one for one in (DataAware(), Published())}
