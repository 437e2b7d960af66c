"""The cheapest rival of a small network: a linear model in float, its weights rounded to nearest, nothing annealed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from annealnet.datasets import Split, split

__all__ = ["LinearRival", "linear_rival", "rounded_columns"]

#: Penalties C of logistic regression that are tried.
_PENALTIES = tuple(10.0**k for k in range(-3, 3))


class LinearRival(NamedTuple):
    """What it reached on the test part, and the bytes of its numbers: codes, a float16 scale and intercept per class."""

    accuracy: float
    num_bytes: int


def rounded_columns(weights: np.ndarray, bits: int, x: np.ndarray) -> tuple[np.ndarray, int]:
    """Every column to its own symmetric grid, to nearest; of twenty scales the one with the least error ‖x (z − w)‖.

    Args:
        weights: ``(features, columns)``.
        bits: per weight, at least 2.
        x: inputs ``(samples, features)`` that the errors are measured on.

    Returns:
        The rounded weights, and their bytes: packed codes and one float16 scale a column.

    Example:
        >>> values, size = rounded_columns(np.array([[1.0], [0.4]]), 2, np.eye(2))
        >>> values.ravel().round(1).tolist(), size
        ([1.0, 0.0], 3)
    """
    top = 2 ** (bits - 1) - 1
    largest = np.abs(weights).max(axis=0)
    best, least = np.zeros_like(weights), np.full(weights.shape[1], np.inf)
    for share in np.linspace(0.1, 1.0, 20):
        scale = np.where(largest > 0, share * largest / top, 1.0).astype(np.float16).astype(np.float64)
        values = np.clip(np.rint(weights / scale), -top, top) * scale
        error = ((x @ (values - weights)) ** 2).sum(axis=0)
        best[:, error < least] = values[:, error < least]
        least = np.minimum(error, least)
    return best, -(-weights.size * bits // 8) + 2 * weights.shape[1]


def linear_rival(part: Split, bits: int, seed: int) -> LinearRival:
    """Logistic regression, its penalty chosen on a fifth of the training part; features as they are.

    Example:
        >>> from annealnet.datasets import digits
        >>> rival = linear_rival(digits(0).flat, 4, seed=0)
        >>> rival.accuracy > 0.9, rival.num_bytes
        (True, 360)
    """
    inner = split(part.x_train, part.y_train, 0.2, seed)
    tried = [LogisticRegression(C=c, max_iter=2000).fit(inner.x_train, inner.y_train) for c in _PENALTIES]
    best = _PENALTIES[int(np.argmax([model.score(inner.x_test, inner.y_test) for model in tried]))]
    model = LogisticRegression(C=best, max_iter=2000).fit(part.x_train, part.y_train)
    weights, size = rounded_columns(model.coef_.T, bits, part.x_train)
    intercept = model.intercept_.astype(np.float16).astype(np.float64)
    answers = model.classes_[(part.x_test @ weights + intercept).argmax(axis=1)]
    return LinearRival(float((answers == part.y_test).mean()), size + 2 * len(intercept))
