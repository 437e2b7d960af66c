"""What the scikit-learn estimators of all jobs have in common: checked data, encoded labels, answers, files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from annealnet.artifact import Deployed, SmallNetwork
from annealnet.preparation import Labels, Preparation
from annealnet.whole_numbers import whole_number

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NetworkClassifier", "all_or_nothing", "layer_sizes"]

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


def layer_sizes(hidden: Iterable[int], fewest: int = 0) -> tuple[int, ...]:
    """Sizes of hidden layers as they were asked for.

    Args:
        hidden: neurons of each layer.
        fewest: layers that there must be.

    Raises:
        ValueError: when one is no whole number of at least 1, or layers are too few.

    Example:
        >>> layer_sizes([8, 4])
        (8, 4)
    """
    least = "(), or " if not fewest else ""
    try:
        sizes = tuple(whole_number("hidden", size, 1) for size in hidden)
    except (TypeError, ValueError):
        sizes = None
    if sizes is None or len(sizes) < fewest:
        raise ValueError(f"hidden={hidden!r} does not do: give {least}layers of whole numbers of at least 1, such as (64,)")
    return sizes


class NetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose network gives one score per class; the largest wins.

    Subclasses fit a :class:`~annealnet.preparation.Preparation` and hand their trained network to :meth:`_deploy`; answers,
    file, PyTorch module and ONNX are then those of ``small_``.

    Attributes:
        small_: preparation and network, what :meth:`save` writes and ``annealnet.load`` gives back.
        preparation_: of features and labels.
        classes_: labels, sorted, ``(classes,)``.
        n_features_in_: of a sample.
        complete_: False when training was interrupted; the best network so far is there then.
    """

    small_: SmallNetwork
    preparation_: Preparation
    classes_: NDArray[Any]
    n_features_in_: int
    complete_: bool

    def _checked(self, X: Any, y: Any) -> tuple[Floats, NDArray[np.int64]]:
        """Refuses what cannot be learned and encodes the labels as 0 … classes−1.

        Raises:
            ValueError: NaN or infinite features, one class only, labels that are no classes, wrong lengths.
        """
        x, labels = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has one class only, {self.classes_.tolist()[0]!r}: a classifier needs samples of at least 2 classes"
            )
        return np.ascontiguousarray(x, dtype=np.float32), Labels(self.classes_).encode(labels)

    def _deploy(self, network: Deployed) -> None:
        """What answers from now on."""
        self.small_ = SmallNetwork(self.preparation_, network)

    def decision_function(self, X: Any) -> Floats:
        """Scores ``(samples, classes)``; with two classes that of the second above the first, ``(samples,)``."""
        check_is_fitted(self)
        return self.small_.decision_function(validate_data(self, X, dtype=np.float32, reset=False))

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels ``(samples,)``."""
        scores = self.decision_function(X)
        return self.preparation_.decode(scores)

    @property
    def num_bytes_(self) -> int:
        """Size of the file that :meth:`save` writes: preparation, labels and network."""
        check_is_fitted(self)
        return self.small_.num_bytes

    def save(self, path: str | Path) -> Path:
        """Writes preparation, labels and network as one file for ``annealnet.load(path)``; gives the path."""
        check_is_fitted(self)
        return self.small_.save(path)

    def to_module(self) -> nn.Module:
        """Raw features ``(samples, features)`` → scores ``(samples, classes)``, in PyTorch."""
        check_is_fitted(self)
        return self.small_.to_module()

    def export_onnx(self, path: str | Path) -> Path:
        """The same as an ONNX file; needs ``annealnet[onnx]``. Gives the path."""
        check_is_fitted(self)
        return self.small_.export_onnx(path)
