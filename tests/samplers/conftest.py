"""Sixteen numbers as one value, in numpy: what ``kernels.simd`` must do, and what stands in for it where kernels run
interpreted."""

from types import SimpleNamespace

import numpy as np
import pytest

LANES = 16


def _store(array, at, value):
    array[int(at) : int(at) + LANES] = value


def _bits(truths) -> np.uint64:
    return np.uint64(sum(int(truth) << lane for lane, truth in enumerate(truths)))


@pytest.fixture(scope="session")
def lanes() -> SimpleNamespace:
    """The functions of ``kernels.simd`` by their names."""
    return SimpleNamespace(
        load=lambda array, at: array[int(at) : int(at) + LANES].copy(),
        store=_store,
        splat=lambda value: np.full(LANES, value, dtype=np.float32),
        word_lanes=lambda: np.arange(LANES, dtype=np.uint32),
        floats_of=lambda words: words.astype(np.float32),
        clipped=lambda value, limit: np.clip(value, -limit, limit),
        under=lambda left, right: _bits(left < right),
        lowest=lambda bits: np.uint64((int(bits) & -int(bits)).bit_length() - 1 if bits else 64),
        ones=lambda bits: np.uint64(int(bits).bit_count()),
    )
