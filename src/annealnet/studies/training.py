"""Training a dense network from scratch, so that demo and studies need no download."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["train_dense"]


def train_dense(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    seed: int,
    learning_rate: float = 2e-3,
    batch_size: int = 128,
    say: Callable[[str], None] = lambda _: None,
) -> nn.Module:
    """Adam on a one-cycle schedule with shifts by a pixel; returns the network in evaluation mode.

    Args:
        network: trained in place.
        x: ``(samples, channels, height, width)``.
        y: class indices.
        epochs: passes over the data.
        seed: order of samples and shifts (initialise the network under a seed of your own).
        learning_rate: peak of the schedule.
        batch_size: samples per step.
        say: told the loss now and then.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    per_epoch = -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * per_epoch)
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(x), generator=generator).split(batch_size):
            down, right = (int(v) for v in torch.randint(-1, 2, (2,), generator=generator))
            shifted = torch.roll(x[batch], (down, right), (2, 3))
            loss = F.cross_entropy(network(shifted), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        if (epoch + 1) % max(1, epochs // 3) == 0:
            say(f"  epoch {epoch + 1} of {epochs}: loss {total / len(x):.4f}")
    return network.eval().requires_grad_(False)
