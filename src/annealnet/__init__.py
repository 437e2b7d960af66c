"""The discrete decisions of neural networks, solved as energies by annealers.

``compress`` takes a trained PyTorch network, some data and a budget, and gives back a smaller network::

    import annealnet as an

    small = an.compress(model, data, budget=an.Budget(size_ratio=10), seed=0)
    small.save("out/")

Names are loaded when they are first used (:pep:`562`), so that ``import annealnet`` takes milliseconds
and neither PyTorch nor Numba is imported by it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from annealnet import binary, compression, datasets, energy, ising, report, samplers, selection
    from annealnet.binary.estimator import BinaryNetworkClassifier
    from annealnet.compression import Budget, Classification, CompressionPlan, Regression, compress, quantize
    from annealnet.ising import IsingNetworkClassifier
    from annealnet.loading import load
    from annealnet.selection import NeuronSelectionClassifier

    __version__: str

__all__ = [
    "BinaryNetworkClassifier",
    "Budget",
    "Classification",
    "CompressionPlan",
    "IsingNetworkClassifier",
    "NeuronSelectionClassifier",
    "Regression",
    "__version__",
    "binary",
    "compress",
    "compression",
    "datasets",
    "energy",
    "ising",
    "load",
    "quantize",
    "report",
    "samplers",
    "selection",
]

_ROOMS = frozenset({"binary", "compression", "datasets", "energy", "ising", "report", "samplers", "selection"})
_HOMES = {
    "BinaryNetworkClassifier": "annealnet.binary.estimator",
    "Budget": "annealnet.compression",
    "Classification": "annealnet.compression",
    "CompressionPlan": "annealnet.compression",
    "IsingNetworkClassifier": "annealnet.ising",
    "NeuronSelectionClassifier": "annealnet.selection",
    "Regression": "annealnet.compression",
    "compress": "annealnet.compression",
    "load": "annealnet.loading",
    "quantize": "annealnet.compression",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first asked for."""
    if name in _ROOMS:
        return import_module(f"annealnet.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name == "__version__":
        value = import_module("importlib.metadata").version("annealnet")
    else:
        raise AttributeError(f"module 'annealnet' has no attribute {name!r}")
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
