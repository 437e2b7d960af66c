"""Small networks of every make with random weights, and what annealnet does with each: ``python -m benchmarks.zoo``."""

from __future__ import annotations

from .architecture import Architecture
from .audio import AUDIO
from .by_hand import BY_HAND
from .decoders import DECODERS
from .encoders import ENCODERS
from .vision import VISION

__all__ = ["ARCHITECTURES", "Architecture"]

ARCHITECTURES: tuple[Architecture, ...] = (*ENCODERS, *DECODERS, *VISION, *AUDIO, *BY_HAND)
