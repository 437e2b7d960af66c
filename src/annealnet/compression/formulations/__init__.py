"""How a compression plan becomes an energy: plain objects behind one protocol."""

from annealnet.compression.formulations.candidates import Candidates
from annealnet.compression.formulations.data_aware import DataAware
from annealnet.compression.formulations.hamiltonian import FilterBlock, Hamiltonian
from annealnet.compression.formulations.problem import Problem
from annealnet.compression.formulations.protocol import Formulation
from annealnet.compression.formulations.published import Published

__all__ = ["Candidates", "DataAware", "FilterBlock", "Formulation", "Hamiltonian", "Problem", "Published"]
