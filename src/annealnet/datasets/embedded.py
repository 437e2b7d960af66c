"""Data that comes with the packages annealnet stands on."""

from __future__ import annotations

import numpy as np

from annealnet.datasets.splits import Split, split


def digits(seed: int, test_share: float = 0.25) -> Split:
    """The 1 797 handwritten digits that come with scikit-learn: 8×8 pixels in [0, 1], ten classes.

    Args:
        seed: of the split; every class has its share in both parts.
        test_share: part of the samples that go to the test part.

    Raises:
        ValueError: `test_share` is not between 0 and 1.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    >>> x_train, y_train, x_test, y_test = digits(seed=0)
    >>> x_test.shape, x_test.dtype, float(x_test.max()), sorted(set(y_test.tolist()))
    ((449, 1, 8, 8), dtype('float32'), 1.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return split(x, labels.astype(np.int64), test_share, seed)
