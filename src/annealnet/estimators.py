"""What the scikit-learn estimators of all jobs have in common: checked data, encoded labels, scores into answers."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["NetworkClassifier", "all_or_nothing"]

Floats = NDArray[np.float32]

P = ParamSpec("P")
R = TypeVar("R")
Estimator = TypeVar("Estimator")


def all_or_nothing(fit: Callable[Concatenate[Estimator, P], R]) -> Callable[Concatenate[Estimator, P], R]:
    """Makes a method that ends in an error, or by an interruption, leave its object's attributes as they were."""

    @functools.wraps(fit)
    def fitted(self: Estimator, /, *arguments: P.args, **named: P.kwargs) -> R:
        before = dict(vars(self))
        try:
            return fit(self, *arguments, **named)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return fitted


class NetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose network gives one score per class; the largest wins.

    Attributes:
        classes_: labels, sorted, ``(classes,)``.
        n_features_in_: of a sample.
    """

    classes_: NDArray[Any]
    n_features_in_: int

    @abstractmethod
    def _scores(self, x: Floats) -> Floats:
        """``(samples, features)`` float32 → ``(samples, classes)``."""

    def _checked(self, X: Any, y: Any) -> tuple[Floats, NDArray[np.int64]]:
        """Refuses what cannot be learned and encodes the labels as 0 … classes−1.

        Raises:
            ValueError: NaN or infinite features, one class only, labels that are no classes, wrong lengths.
        """
        x, labels = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()[0]!r}: a classifier needs samples of at least 2 classes"
            )
        return np.ascontiguousarray(x, dtype=np.float32), codes.astype(np.int64)

    def decision_function(self, X: Any) -> Floats:
        """Scores ``(samples, classes)``; with two classes that of the second above the first, ``(samples,)``."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float32, reset=False)
        scores = self._scores(np.ascontiguousarray(x, dtype=np.float32))
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels ``(samples,)``."""
        scores = self.decision_function(X)
        codes = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(1)
        return np.asarray(self.classes_[codes])
