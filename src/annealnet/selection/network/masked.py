"""A network that was selected, not trained: a seed, masks, and a handful of fitted numbers. Kept, computed, converted."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from annealnet.files import replacing
from annealnet.selection.network.random import RandomNetwork

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MaskedNetwork", "load_masked"]

_MAGIC = b"ANSEL\x01"


@dataclass(frozen=True, eq=False)
class MaskedNetwork:
    """scores = gain · h (V ∘ M)ᵀ + intercept, with h the masked features of the last hidden layer.

    Attributes:
        network: the random network, all weights from its seed.
        shift, scale: of the inputs, two numbers for all features: (x − shift) · scale.
        gain: of the readout.
        intercept: per class, float32 ``(classes,)``.
        neurons: bool ``(layer width,)`` per hidden layer: which are there; None for all.
        hidden: bool ``(width, fan-in)`` per hidden layer: which weights are there; None for all.
        readout: bool ``(classes, features)``: which output weights are there; None for all.

    Example:
        >>> net = RandomNetwork(0, 2, (4,), 2)
        >>> mask = np.array([True, False, True, False])
        >>> small = MaskedNetwork(net, 0.0, 1.0, 0.5, np.zeros(2, np.float32), (mask,), (None,), None)
        >>> small.scores(np.ones((3, 2), np.float32)).shape, len(small.alive()), small.mask_bits
        ((3, 2), 2, 4)
    """

    network: RandomNetwork
    shift: float
    scale: float
    gain: float
    intercept: np.ndarray
    neurons: tuple[np.ndarray | None, ...]
    hidden: tuple[np.ndarray | None, ...]
    readout: np.ndarray | None

    def features(self, x: np.ndarray) -> np.ndarray:
        """Masked features of the last hidden layer, float32 ``(samples, features)``."""
        h = (np.asarray(x, dtype=np.float32) - np.float32(self.shift)) * np.float32(self.scale)
        for layer, (neurons, weights) in enumerate(zip(self.neurons, self.hidden, strict=True)):
            h = self.network.features(h, layer, weights)
            if neurons is not None:
                h = h * neurons
        return np.asarray(h, dtype=np.float32)

    def readout_weights(self) -> np.ndarray:
        """gain · V ∘ M, float32 ``(classes, features)``."""
        matrix = self.network.readout() * np.float32(self.gain)
        if self.neurons[-1] is not None:
            matrix = matrix * self.neurons[-1]
        return np.asarray(matrix if self.readout is None else matrix * self.readout, dtype=np.float32)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """float32 ``(samples, classes)``."""
        return np.asarray(self.features(x) @ self.readout_weights().T + self.intercept, dtype=np.float32)

    def alive(self) -> np.ndarray:
        """Indices of the last layer's features that reach an output."""
        return np.flatnonzero((self.readout_weights() != 0).any(axis=0))

    @property
    def masks(self) -> list[np.ndarray]:
        """All masks, in the order of the file."""
        return [mask for mask in (*self.neurons, *self.hidden, self.readout) if mask is not None]

    @property
    def mask_bits(self) -> int:
        """Bits that were chosen."""
        return sum(mask.size for mask in self.masks)

    def to_bytes(self, extra: dict[str, Any] | None = None) -> bytes:
        """The whole network: magic, length and text of a JSON header, then all masks as packed bits."""
        header = {
            "network": self.network.to_document(), "inputs": [float(self.shift), float(self.scale)],
            "gain": float(self.gain),
            "intercept": [float(f"{v:.9g}") for v in self.intercept.tolist()], "check": _check(self.network),
            "masks": [[m is not None for m in self.neurons], [m is not None for m in self.hidden], self.readout is not None],
            **(extra or {}),
        }  # fmt: skip
        text = json.dumps(header, separators=(",", ":")).encode()
        bits = np.concatenate([mask.ravel() for mask in self.masks]) if self.masks else np.zeros(0, dtype=bool)
        return _MAGIC + struct.pack("<I", len(text)) + text + np.packbits(bits).tobytes()

    def save(self, path: str | Path, extra: dict[str, Any] | None = None) -> int:
        """Writes the file, whole or not at all; gives its bytes."""
        content = self.to_bytes(extra)
        with replacing(path) as draft:
            draft.write_bytes(content)
        return len(content)

    def to_torch(self) -> nn.Module:
        """An ordinary module in which dead neurons are gone; see :mod:`.conversion`."""
        from annealnet.selection.deploy import as_module

        return as_module(self)

    def export_onnx(self, path: str | Path) -> Path:
        """The same as ONNX, with a free batch dimension."""
        import torch

        from annealnet.exporting import export_module_onnx

        return export_module_onnx(self.to_torch(), torch.zeros(2, self.network.inputs), path)


def _check(network: RandomNetwork) -> float:
    """A sum of weights by which a reader sees that it drew the same ones."""
    draws = network.hidden_weights(0)[0].ravel()[:4096].astype(np.float64)
    return round(float(draws @ np.cos(np.arange(len(draws)))), 4)


def load_masked(path: str | Path) -> tuple[MaskedNetwork, dict[str, Any]]:
    """Reads a file of :meth:`MaskedNetwork.save`: the network, and the header with whatever else was put there.

    Raises:
        ValueError: when it is no such file, is cut off, or the weights drawn here are not those it was made with.
    """
    content = Path(path).read_bytes()
    start = len(_MAGIC) + 4
    if content[: len(_MAGIC)] != _MAGIC or len(content) < start:
        raise ValueError(f"{path} is no selected network: give a file written by save()")
    length = struct.unpack("<I", content[len(_MAGIC) : start])[0]
    try:
        header = json.loads(content[start : start + length])
        network = RandomNetwork.from_document(header["network"])
        return _filled(path, network, header, content[start + length :]), header
    except (ValueError, KeyError, TypeError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} is damaged: its header cannot be read; copy it again") from error


def _filled(path: str | Path, network: RandomNetwork, header: dict[str, Any], rest: bytes) -> MaskedNetwork:
    """The network with the masks that follow the header."""
    if abs(_check(network) - header["check"]) > 1e-3:
        raise ValueError(f"{path} was made with other random weights than seed {network.seed} gives here")
    layers = range(network.depth)
    shapes: list[tuple[int, ...] | None] = [
        *((network.layer_width(k),) if header["masks"][0][k] else None for k in layers),
        *((network.widths[k], network.fan_in(k)) if header["masks"][1][k] else None for k in layers),
        (network.classes, network.layer_width(network.depth - 1)) if header["masks"][2] else None,
    ]
    total = sum(int(np.prod(shape)) for shape in shapes if shape is not None)
    packed = np.frombuffer(rest, dtype=np.uint8)
    if len(packed) != -(-total // 8):
        raise ValueError(
            f"{path} has {len(packed)} bytes of masks where {-(-total // 8)} belong: it is cut off; copy it again"
        )
    bits = np.unpackbits(packed)[:total].astype(bool)
    masks: list[np.ndarray | None] = []
    for shape in shapes:
        size = 0 if shape is None else int(np.prod(shape))
        masks.append(None if shape is None else bits[:size].reshape(shape))
        bits = bits[size:]
    return MaskedNetwork(
        network, header["inputs"][0], header["inputs"][1], header["gain"], np.array(header["intercept"], dtype=np.float32),
        tuple(masks[: network.depth]), tuple(masks[network.depth : -1]), masks[-1],
    )  # fmt: skip
