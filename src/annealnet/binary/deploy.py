"""A binary network as a PyTorch module of floats: the same answers, ready for ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.binary.coding import Coding, RealCoding, SignCoding, ThermometerCoding
from annealnet.binary.network.signs import BinaryNetwork
from annealnet.exporting import export_module_onnx

__all__ = ["BinaryModule", "CodingModule", "export_onnx", "to_module"]


class BinaryModule(nn.Module):
    """Class scores of inputs ``(N, n_0)``; weights are buffers of ±1 in float32.

    Sums of whole numbers below 2²⁴ are exact in float32, so that the scores are those of the packed network.
    """

    def __init__(self, network: BinaryNetwork) -> None:
        super().__init__()
        self.shape = network.shape
        for m, w in enumerate(network.weights, start=1):
            self.register_buffer(f"weight{m}", torch.from_numpy(w.astype(np.float32)))
        for m, b in enumerate(network.biases, start=1):
            self.register_buffer(f"bias{m}", torch.from_numpy(b.astype(np.float32)))
        self.register_buffer("codes", torch.from_numpy(network.codes.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        layers = [x]
        for m in range(1, self.shape.depth):
            read = torch.cat([layers[k] for k in self.shape.sources(m)], dim=1)
            z = read @ getattr(self, f"weight{m}").T
            if self.shape.bias:
                z = z + getattr(self, f"bias{m}")
            layers.append((z > 0).to(z.dtype) * 2 - 1)
        read = torch.cat([layers[k] for k in self.shape.sources(self.shape.depth)], dim=1)
        scores: Tensor = read @ getattr(self, f"weight{self.shape.depth}").T @ self.codes.T
        return scores


class CodingModule(nn.Module):
    """A coding of features in float32, the same as :meth:`annealnet.binary.Coding.encode`."""

    def __init__(self, coding: Coding) -> None:
        super().__init__()
        self.gain = coding.gain if isinstance(coding, RealCoding) else 0.0
        if isinstance(coding, RealCoding):
            levels = coding.mean
        elif isinstance(coding, ThermometerCoding):
            levels = coding.thresholds
        else:
            assert isinstance(coding, SignCoding)
            levels = coding.middles[:, None]
        self.register_buffer("levels", torch.from_numpy(levels))

    def forward(self, x: Tensor) -> Tensor:
        levels: Tensor = self.levels  # type: ignore[assignment]
        if self.gain:
            return torch.clamp(torch.round((x - levels) * self.gain), -127, 127)
        return ((x[:, :, None] > levels).to(x.dtype) * 2 - 1).flatten(1)


def to_module(network: BinaryNetwork, coding: Coding | None = None) -> nn.Module:
    """The network, after its coding if there is one, as a module of float32.

    Example:
        >>> from annealnet.binary import Architecture, one_per_class
        >>> network = BinaryNetwork.random(Architecture((4, 3, 2)), one_per_class(2), seed=0)
        >>> to_module(network)(torch.ones(1, 4)).int().tolist() == network.scores(np.ones((1, 4), np.int8)).tolist()
        True
    """
    module = BinaryModule(network)
    return (module if coding is None else nn.Sequential(CodingModule(coding), module)).eval()


def export_onnx(network: BinaryNetwork, path: str | Path, coding: Coding | None = None) -> Path:
    """Writes the module as ONNX: features in, class scores out."""
    width = network.shape.sizes[0]
    if coding is not None:
        width = len(coding.mean) if isinstance(coding, RealCoding) else width
        width = len(coding.thresholds) if isinstance(coding, ThermometerCoding) else width
    return export_module_onnx(to_module(network, coding), torch.zeros(2, width), path)
