"""Job 3: subnetworks of random networks, found without gradients (after Whitaker 2022).

A network's weights come from a seed and stay as they are; which of them are there is a mask, and the mask is the lowest
state of an energy. A selected network is a file of a seed and packed bits.
"""

from annealnet.selection.baselines.greedy import greedy_backward, greedy_forward, random_masks
from annealnet.selection.estimator import NeuronSelectionClassifier
from annealnet.selection.formulation.adjacent import AdjacentNK, adjacent_readout
from annealnet.selection.formulation.readout import ReadoutProblem, class_targets, ensemble_energy
from annealnet.selection.formulation.walsh import WalshPolynomial, walsh_coefficients
from annealnet.selection.network.masked import MaskedNetwork
from annealnet.selection.network.random import RandomNetwork
from annealnet.selection.network.reservoirs import EchoStateReservoir

__all__ = [
    "AdjacentNK",
    "EchoStateReservoir",
    "MaskedNetwork",
    "NeuronSelectionClassifier",
    "RandomNetwork",
    "ReadoutProblem",
    "WalshPolynomial",
    "adjacent_readout",
    "class_targets",
    "ensemble_energy",
    "greedy_backward",
    "greedy_forward",
    "random_masks",
    "walsh_coefficients",
]
