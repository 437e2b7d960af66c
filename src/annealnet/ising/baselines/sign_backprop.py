"""The baseline: the same sign network trained by backpropagation with the straight-through estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from annealnet.ising import IsingNetwork

__all__ = ["SignBackprop", "train_sign_network"]


class _Sign(torch.autograd.Function):
    """sign(x) forwards; the gradient of clip(x, −1, 1) backwards (Bengio et al., arXiv 1308.3432; Courbariaux et al.)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x < 0, -1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, gradient, 0.0)


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
        """Prepared inputs ``(samples, n_in)`` → scores ``(samples, classes)``."""
        hidden: Tensor = _Sign.apply(x @ self.inputs + self.first)  # type: ignore[no-untyped-call]
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
    inputs, wanted = torch.from_numpy(network.prepared(x)), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    batches = -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(len(x)))
        for batch in order.split(batch_size):
            loss = nn.functional.cross_entropy(module(inputs[batch]), wanted[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return module
