"""The baseline: the same sign network trained by backpropagation with the straight-through estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from annealnet.gradients import descend, straight_through_sign
from annealnet.ising.network.spins import IsingNetwork

__all__ = ["SignBackprop", "train_sign_network"]


class SignBackprop(nn.Module):
    """The feed-forward form of an Ising network with one hidden layer, its numbers as parameters."""

    def __init__(self, network: IsingNetwork) -> None:
        super().__init__()
        self.network = network
        self.inputs = nn.Parameter(torch.from_numpy(network.inputs.copy()))
        self.first = nn.Parameter(torch.from_numpy(network.biases[0].copy()))
        self.coupling = nn.Parameter(torch.from_numpy(network.couplings[0].copy()))
        self.second = nn.Parameter(torch.from_numpy(network.biases[1].copy()))
        self.register_buffer("codes", torch.from_numpy(network.codes.T / np.float32(network.codes.shape[1])))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``(samples, n_in)`` → scores ``(samples, classes)``."""
        hidden = straight_through_sign(x @ self.inputs + self.first)
        fields = hidden @ self.coupling + self.second
        return torch.matmul(fields, self.get_buffer("codes"))


def train_sign_network(
    network: IsingNetwork,
    x: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    epochs: int,
    rate: float,
    batch_size: int,
    seed: int,
) -> SignBackprop:
    """Cross entropy, Adam, half a cosine: as the annealer's training, gradients instead of anneals."""
    module = SignBackprop(network)
    inputs, wanted = torch.from_numpy(network.checked(x)), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)

    def loss_of(batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(inputs[batch]), wanted[batch])

    descend(optimiser, loss_of, len(x), epochs=epochs, batch_size=batch_size, seed=seed)
    return module
