"""Networks trained on an annealer: it finds their wrong deep states, training removes them, ordinary hardware runs them."""

from annealnet.ising.classifier import IsingNetworkClassifier
from annealnet.ising.deployment import GroundStateNetwork, MeanFieldNetwork, SignNetwork, deployed
from annealnet.ising.network import IsingNetwork, Limits, class_codes
from annealnet.ising.optimisers import Adam, Descent
from annealnet.ising.patterns import Pattern
from annealnet.ising.phases import Phases
from annealnet.ising.rules import ContrastiveDivergence, DeepStateRule, Direction, EquilibriumPropagation, TrainingRule
from annealnet.ising.training import EpochRecord, Training, TrainingState

__all__ = [
    "Adam",
    "ContrastiveDivergence",
    "DeepStateRule",
    "Descent",
    "Direction",
    "EpochRecord",
    "EquilibriumPropagation",
    "GroundStateNetwork",
    "IsingNetwork",
    "IsingNetworkClassifier",
    "Limits",
    "MeanFieldNetwork",
    "Pattern",
    "Phases",
    "SignNetwork",
    "Training",
    "TrainingRule",
    "TrainingState",
    "class_codes",
    "deployed",
]
