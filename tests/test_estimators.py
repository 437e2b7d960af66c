"""What all estimators share, on the smallest network there is: the nearest mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

import annealnet as an
from annealnet.estimators import NetworkClassifier, all_or_nothing
from annealnet.preparation import Labels, Preparation, ScaledCoding

ESTIMATORS: dict[str, Callable[[], NetworkClassifier]] = {
    "binary": lambda: an.BinaryNetworkClassifier(hidden=(8,), random_state=0),
    "ising": lambda: an.IsingNetworkClassifier(hidden=(8,), epochs=2, random_state=0),
    "selection": lambda: an.NeuronSelectionClassifier(width=16, random_state=0),
    "mean": lambda: NearestMean(),
}


@dataclass(frozen=True, eq=False)
class Means:
    job: ClassVar[str] = "means"
    means: np.ndarray

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(-((inputs[:, None] - self.means) ** 2).sum(2))


class NearestMean(NetworkClassifier):
    @all_or_nothing
    def fit(self, X: Any, y: Any) -> NearestMean:
        x, codes = self._checked(X, y)
        self.preparation_ = Preparation(ScaledCoding.fit(x, rms=1.0), Labels(self.classes_))
        inputs = self.preparation_.inputs(x)
        self._deploy(Means(np.stack([inputs[codes == c].mean(0) for c in range(len(self.classes_))])))
        return self


def test_it_is_a_scikit_learn_estimator() -> None:
    check_estimator(NearestMean())


def test_one_class_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="y has one class only, 'cat'"):
        NearestMean().fit(np.zeros((3, 2)), ["cat"] * 3)


def test_labels_come_back_as_they_were_given() -> None:
    model = NearestMean().fit([[0.0], [1.0], [5.0]], ["a", "b", "c"])
    assert model.predict([[4.0], [0.1]]).tolist() == ["c", "a"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_that_fails_leaves_the_fitted_model_as_it_was(name: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    y = np.array(["a", "b"])[(x[:, 0] > 0).astype(int)]
    model = ESTIMATORS[name]().fit(x, y)
    answers = model.predict(x)
    bad = [(x, np.full(60, "c")), (x[:, :3], np.full(60, "c")), (np.full((60, 7), np.nan), y), (x, x[:, 0])]
    for features, labels in bad:
        with pytest.raises(ValueError, match=r".+"):
            model.fit(features, labels)
        assert (model.predict(x) == answers).all()
        assert model.classes_.tolist() == ["a", "b"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_first_fit_that_fails_leaves_nothing(name: str) -> None:
    model = ESTIMATORS[name]()
    before = dict(vars(model))
    with pytest.raises(ValueError, match="one class"):
        model.fit(np.ones((4, 2)), np.ones(4))
    assert vars(model) == before
