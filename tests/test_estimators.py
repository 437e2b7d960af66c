"""What all estimators share, on the smallest network there is: the nearest mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator

from annealnet.estimators import Floats, NetworkClassifier


class NearestMean(NetworkClassifier):
    def fit(self, X: Any, y: Any) -> NearestMean:
        x, codes = self._checked(X, y)
        self.means_ = np.stack([x[codes == c].mean(0) for c in range(len(self.classes_))])
        return self

    def _scores(self, x: Floats) -> Floats:
        return np.asarray(-((x[:, None] - self.means_) ** 2).sum(2))


def test_it_is_a_scikit_learn_estimator() -> None:
    check_estimator(NearestMean())


def test_one_class_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="y has one class only, 'cat'"):
        NearestMean().fit(np.zeros((3, 2)), ["cat"] * 3)


def test_labels_come_back_as_they_were_given() -> None:
    model = NearestMean().fit([[0.0], [1.0], [5.0]], ["a", "b", "c"])
    assert model.predict([[4.0], [0.1]]).tolist() == ["c", "a"]
