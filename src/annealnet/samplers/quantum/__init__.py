"""Simulated quantum devices as dimod samplers: annealer, QAOA, Grover search; and what they would cost.

Everything is computed on all 2ⁿ amplitudes (Grover's search on the plane it lives in), so that success probabilities,
gaps and entanglement are exact, and n ends where the memory does. Circuits and gate counts need
``annealnet[quantum]`` (Qiskit), the samplers do not.
"""

from annealnet.samplers.quantum.adiabatic import AdiabaticSampler
from annealnet.samplers.quantum.angles import Angles
from annealnet.samplers.quantum.circuits import grover_circuit, layered_circuit, trotter_circuit
from annealnet.samplers.quantum.controls import AnnealPath, Controls
from annealnet.samplers.quantum.evolution import (
    TrotterSteps,
    anneal,
    entanglement_entropy,
    probabilities,
    success_probability,
)
from annealnet.samplers.quantum.grover import GroverSampler, MinimumSearch, durr_hoyer_bound, find_minimum, marked_chance
from annealnet.samplers.quantum.landscape import Landscape
from annealnet.samplers.quantum.qaoa import (
    QAOASampler,
    expected_cost,
    expected_cost_and_gradient,
    optimise_angles,
    qaoa_state,
)
from annealnet.samplers.quantum.resources import Resources, count_resources
from annealnet.samplers.quantum.spectrum import MinimumGap, lowest_levels, minimum_gap

__all__ = [
    "AdiabaticSampler",
    "Angles",
    "AnnealPath",
    "Controls",
    "GroverSampler",
    "Landscape",
    "MinimumGap",
    "MinimumSearch",
    "QAOASampler",
    "Resources",
    "TrotterSteps",
    "anneal",
    "count_resources",
    "durr_hoyer_bound",
    "entanglement_entropy",
    "expected_cost",
    "expected_cost_and_gradient",
    "find_minimum",
    "grover_circuit",
    "layered_circuit",
    "lowest_levels",
    "marked_chance",
    "minimum_gap",
    "optimise_angles",
    "probabilities",
    "qaoa_state",
    "success_probability",
    "trotter_circuit",
]
