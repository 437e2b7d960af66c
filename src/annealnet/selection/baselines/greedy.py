"""What stands beside a selection: greedy search, random masks, real weights."""

from __future__ import annotations

import numpy as np

from annealnet.energy import SharedGramEnergy

__all__ = ["greedy_backward", "greedy_forward", "random_masks"]


def greedy_forward(energy: SharedGramEnergy, count: int | None = None) -> np.ndarray:
    """From nothing, the bit that lowers each row's energy most, until none does (or ``count`` are there): bool ``(D, H)``.

    Example:
        >>> energy = SharedGramEnergy(np.eye(2), np.ones((1, 2)), np.array([[-3.0, 0.5]]))
        >>> greedy_forward(energy).tolist()
        [[True, False]]
    """
    return _greedy(energy, count, begin=False)


def greedy_backward(energy: SharedGramEnergy, count: int | None = None) -> np.ndarray:
    """From everything, the bit whose removal lowers each row's energy most, until none does: bool ``(D, H)``."""
    return _greedy(energy, count, begin=True)


def _greedy(energy: SharedGramEnergy, count: int | None, begin: bool) -> np.ndarray:
    rows, width = energy.shape
    own = energy.expanded_linear()[0].reshape(rows, width)
    gram = np.asarray(energy.gram)
    masks = np.full((rows, width), begin)
    for mask, sign, alone in zip(masks, energy.signs, own, strict=True):
        fields = gram @ (sign * mask)
        step = -1.0 if begin else 1.0
        for _ in range(width):
            pairs = sign * (fields - np.diagonal(gram) * sign * mask)
            costs = np.where(mask == begin, step * (alone + 2 * pairs), np.inf)
            best = int(np.argmin(costs))
            enough = costs[best] >= 0 if count is None else int(mask.sum()) == count
            if enough or not np.isfinite(costs[best]):
                break
            mask[best] = not begin
            fields = fields + step * sign[best] * gram[best]
    return masks


def random_masks(shape: tuple[int, int], kept: float | int, reads: int, seed: int) -> np.ndarray:
    """Masks of a share (a float) or an exact number (an int) of ones per row, bool ``(reads, D, H)``.

    Example:
        >>> random_masks((2, 6), 3, 4, seed=0).sum(axis=2).tolist()
        [[3, 3], [3, 3], [3, 3], [3, 3]]
    """
    rng = np.random.default_rng(seed)
    order = rng.random((reads, *shape)).argsort(axis=2)
    count = kept if isinstance(kept, int) else round(kept * shape[1])
    return np.asarray(order < count)
