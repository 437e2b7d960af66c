"""Training by gradients, for what stands beside annealing: one loop, and the straight-through sign."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from annealnet.interruption import Interruption
from annealnet.samplers.seeds import Purpose, stream

__all__ = ["descend", "straight_through_sign"]


def straight_through_sign(values: Tensor) -> Tensor:
    """Sign going forward (ties are −1); going back the gradient passes where |v| ≤ 1 (Hubara et al. 2016).

    Example:
        >>> v = torch.tensor([-2.0, 0.5], requires_grad=True)
        >>> signs = straight_through_sign(v)
        >>> signs.sum().backward()
        >>> signs.tolist(), v.grad.tolist()
        ([-1.0, 1.0], [0.0, 1.0])
    """
    clipped = values.clamp(-1, 1)
    return clipped + (torch.where(values > 0, 1.0, -1.0) - clipped).detach()


def descend(
    optimiser: torch.optim.Optimizer,
    loss_of: Callable[[Tensor], Tensor],
    samples: int,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    after: Callable[[], None] = lambda: None,
    stop: Interruption | None = None,
) -> None:
    """Minibatches in an order that seed and epoch decide; the learning rate falls as half a cosine. Ctrl-C ends it.

    Args:
        optimiser: of the parameters, which are changed.
        loss_of: mean loss of a batch, given as the numbers of its samples.
        samples: how many there are.
        epochs, batch_size, seed: of the batches.
        after: called after every step, to project what has moved.
        stop: of the training that this is part of.
    """
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs * -(-samples // batch_size)))
    with (stop or Interruption()).kept("training by gradients"):
        for epoch in range(epochs):
            order = torch.from_numpy(stream(seed, Purpose.ORDER, epoch).permutation(samples))
            for batch in order.split(batch_size):
                optimiser.zero_grad()
                loss_of(batch).backward()
                optimiser.step()
                schedule.step()
                with torch.no_grad():
                    after()
