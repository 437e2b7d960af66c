"""Binary networks: weights ±1 and sign activations, trained by one energy (Sasdelli & Chin 2021) or in weight space."""

from annealnet.binary.network.architecture import Architecture, default_scale, one_per_class, random_codes, single_output
from annealnet.binary.network.packed import PackedNetwork
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.binary.search.native import NativeTraining, Trained

__all__ = [
    "Architecture",
    "BinaryNetwork",
    "NativeTraining",
    "PackedNetwork",
    "Trained",
    "default_scale",
    "one_per_class",
    "random_codes",
    "single_output",
]
