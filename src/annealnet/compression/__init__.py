"""Job 1: prune channels and choose bit-widths together, as one energy (after Wang et al. 2025)."""

from annealnet.compression.building.finetune import FineTuning
from annealnet.compression.files.loading import load_compressed as load
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.formulations import DataAware, Published
from annealnet.compression.formulations.budget import Budget
from annealnet.compression.job import compress
from annealnet.compression.measuring.tasks import Classification, Regression
from annealnet.compression.network.graph import trace
from annealnet.compression.quantizing import quantize
from annealnet.compression.result import CompressedNetwork

__all__ = [
    "Budget",
    "Classification",
    "CompressedNetwork",
    "CompressionPlan",
    "DataAware",
    "FineTuning",
    "Published",
    "Regression",
    "compress",
    "load",
    "quantize",
    "trace",
]
