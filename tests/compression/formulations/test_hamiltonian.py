"""The published Hamiltonian refuses what it is not defined for, and says what is."""

from __future__ import annotations

import numpy as np
import pytest

from annealnet.compression.formulations.hamiltonian import FilterBlock, Hamiltonian

BLOCK = FilterBlock.of_weight("conv", np.array([[1.0, -1.0], [0.5, 0.0]]))


@pytest.mark.parametrize(
    ("blocks", "gamma", "beta", "most", "said"),
    [
        ((), 1.0, 1.0, 7, r"blocks is empty: give at least one, FilterBlock\.of_weight"),
        ((BLOCK,), -1.0, 1.0, 7, r"gamma=-1\.0 and beta=1\.0 must not be negative: balanced_beta\(blocks\) is a good β"),
        ((BLOCK,), 1.0, float("nan"), 7, r"gamma=1\.0 and beta=nan .* balanced_beta"),
        ((BLOCK,), 1.0, 1.0, 0, r"max_reduction=0 must lie between 1 and 7: 6 leaves at least 2 bits"),
        ((BLOCK,), 1.0, 1.0, 8, r"max_reduction=8 must lie between 1 and 7"),
    ],
)
def test_bad_input_is_named_with_the_mend(
    blocks: tuple[FilterBlock, ...], gamma: float, beta: float, most: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Hamiltonian(blocks, gamma, beta, most)
