"""One regularised Gram matrix for every refit and every model of one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from annealnet.compression.measuring.pruning_error import pairwise_refit_error
from annealnet.compression.network.rows import gram_of
from annealnet.compression.refitting.least_squares import refit
from annealnet.compression.refitting.ridge import check_ridge, regularised, solved

RIDGES = st.floats(0, 10)


def rows_of(seed: int, groups: int = 2, fan_in: int = 5, count: int = 40) -> torch.Tensor:
    return torch.randn(count, groups, fan_in, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 100), RIDGES, st.sampled_from([1e-8, 1e-3, 7.0, 1e8]))
def test_the_ridge_has_no_unit(seed: int, ridge: float, unit: float):
    gram = gram_of(rows_of(seed))
    assert torch.allclose(regularised(unit * gram, ridge, 400), unit * regularised(gram, ridge, 400), rtol=1e-9, atol=0)


@given(st.integers(0, 100), st.floats(1e-6, 10))
def test_only_the_diagonal_grows_and_in_every_group_by_its_own_mean(seed: int, ridge: float):
    gram = gram_of(rows_of(seed))
    added = regularised(gram, ridge, 400) - gram
    means = gram.diagonal(dim1=1, dim2=2).mean(1)
    assert torch.allclose(added, ridge * means[:, None, None] * torch.eye(5, dtype=gram.dtype), rtol=1e-6, atol=1e-9)
    alone = torch.stack([regularised(own, ridge, 400) for own in gram])
    assert torch.allclose(alone, gram + added, rtol=1e-12)


@given(st.integers(0, 100), st.floats(1e-6, 10), st.integers(1, 79))
def test_with_few_rows_weights_are_held_harder(seed: int, ridge: float, rows: int):
    gram = gram_of(rows_of(seed))
    enough, few = (regularised(gram, ridge, count) - gram for count in (80, rows))
    assert torch.allclose(few, 80 / rows * enough, rtol=1e-6, atol=1e-9)


@given(st.integers(0, 100), RIDGES)
def test_copies_of_an_input_leave_it_positive_definite(seed: int, ridge: float):
    rows = rows_of(seed)
    rows[:, :, 1] = rows[:, :, 0]
    assert (torch.linalg.eigvalsh(regularised(gram_of(rows), ridge, 400)) > 0).all()


@pytest.mark.parametrize("ridge", [0.0, 1e-2, 10.0])
def test_where_nothing_is_read_a_refit_changes_nothing_and_a_removal_costs_nothing(ridge: float):
    rows, matrix = rows_of(0), torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    rows[:, 1] = 0
    target = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    fitted, gram = refit(rows, target, matrix, ridge)
    assert torch.equal(fitted[1], matrix[1])
    assert not torch.equal(fitted[0], matrix[0])
    assert torch.isfinite(gram).all()
    nothing = regularised(gram_of(rows) / 40, ridge, 400)[1]
    assert float(pairwise_refit_error(nothing, matrix[1], torch.arange(5)[:, None]).abs().max()) < 1e-9


@pytest.mark.parametrize("ridge", [-1, float("nan"), float("inf"), True, "0.1", None])
def test_no_other_ridge_is_taken(ridge: object):
    with pytest.raises(ValueError, match="ridge="):
        check_ridge(ridge)  # type: ignore[arg-type]


def test_large_stacks_are_solved_whatever_the_number_of_threads():
    threads = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(3, 192, 192, generator=generator, dtype=torch.float64)
    matrices, right = parts @ parts.mT + torch.eye(192), torch.randn(3, 192, 4, generator=generator, dtype=torch.float64)
    try:
        torch.set_num_threads(threads)  # once called, torch 2.13 fails on such a stack
        assert torch.allclose(matrices @ solved(matrices, right), right, atol=1e-8)
    finally:
        torch.set_num_threads(threads)
