"""Job 1: prune channels and choose bit-widths together, as one energy (after Wang et al. 2025)."""

from annealnet.compression.budget import Budget
from annealnet.compression.finetune import FineTuning
from annealnet.compression.formulations import DataAware, Published
from annealnet.compression.graph import trace
from annealnet.compression.job import compress
from annealnet.compression.plan import CompressionPlan
from annealnet.compression.quantizing import quantize
from annealnet.compression.result import CompressedNetwork
from annealnet.compression.storage import load_compressed as load

__all__ = [
    "Budget",
    "CompressedNetwork",
    "CompressionPlan",
    "DataAware",
    "FineTuning",
    "Published",
    "compress",
    "load",
    "quantize",
    "trace",
]
