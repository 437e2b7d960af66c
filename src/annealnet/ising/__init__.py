"""Networks trained on an annealer: it finds their wrong deep states, training removes them, ordinary hardware runs them."""

from annealnet.ising.deploy import GroundStateNetwork, MeanFieldNetwork, SignNetwork, deployed
from annealnet.ising.estimator import IsingNetworkClassifier
from annealnet.ising.formulation.phases import Phases
from annealnet.ising.formulation.rules import (
    ContrastiveDivergence,
    DeepStateRule,
    Direction,
    EquilibriumPropagation,
    TrainingRule,
)
from annealnet.ising.network.patterns import Pattern
from annealnet.ising.network.spins import IsingNetwork, Limits, class_codes
from annealnet.ising.search.optimisers import Adam, Descent
from annealnet.ising.search.training import EpochRecord, Training, TrainingState

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
