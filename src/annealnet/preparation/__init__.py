"""How raw features become a network's inputs, and class numbers the user's labels: fitted once, kept with the network."""

from annealnet.preparation.around import Preparation
from annealnet.preparation.codings import (
    CODINGS,
    Coding,
    RealCoding,
    ScaledCoding,
    Scaling,
    SignCoding,
    ThermometerCoding,
    coding_of,
)
from annealnet.preparation.labels import Labels

__all__ = [
    "CODINGS",
    "Coding",
    "Labels",
    "Preparation",
    "RealCoding",
    "ScaledCoding",
    "Scaling",
    "SignCoding",
    "ThermometerCoding",
    "coding_of",
]
