"""A binary network as a PyTorch module of floats: the same answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.binary.network.signs import BinaryNetwork

__all__ = ["BinaryModule"]


class BinaryModule(nn.Module):
    """Class scores of inputs ``(N, n_0)``; weights are buffers of ±1 in float32."""

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
            z = read @ self.get_buffer(f"weight{m}").T
            if self.shape.bias:
                z = z + self.get_buffer(f"bias{m}")
            layers.append((z > 0).to(z.dtype) * 2 - 1)
        read = torch.cat([layers[k] for k in self.shape.sources(self.shape.depth)], dim=1)
        scores: Tensor = read @ self.get_buffer(f"weight{self.shape.depth}").T @ self.get_buffer("codes").T
        return scores
