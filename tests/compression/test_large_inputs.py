"""Inputs of any size: what is finite and can be squared works as at any other scale, what cannot is refused before work."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import annealnet as an
from annealnet.compression import DataAware

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(1))
BUDGET, FAST = an.Budget(size_ratio=1.1), DataAware(reads=4, sweeps=100)


def network(scale: float = 1.0, bias: bool = False) -> nn.Module:
    torch.manual_seed(0)
    found = nn.Sequential(nn.Linear(6, 16, bias=bias), nn.ReLU(), nn.Linear(16, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3))
    found[0].weight.data *= scale
    return found.eval()


@pytest.mark.parametrize("power", [-20, 20, 40, 50])
def test_codes_do_not_depend_on_the_scale_of_inputs(power: int) -> None:
    plain, scaled = (an.quantize(network(1 / s), s * X, 3, task=an.Classification()) for s in (1.0, 2.0**power))
    assert all(torch.equal(plain.grids[name].codes, scaled.grids[name].codes) for name in plain.grids)


@pytest.mark.parametrize("largest", [1e19, 1e25, 1e34])
@pytest.mark.parametrize("work", [an.quantize, lambda *given: an.compress(*given, BUDGET, formulation=FAST)])
def test_what_cannot_be_squared_is_refused_before_work(largest: float, work) -> None:
    with pytest.raises(ValueError, match=r"data: layer '0' reads or answers numbers as large as .* scale the inputs"):
        work(network(1 / largest), X / X.abs().max() * largest)


def test_more_rows_have_larger_sums() -> None:
    x = torch.randn(5_000, 6, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    with pytest.raises(ValueError, match=r"as large as 1e\+18, .*over 4096 rows none may pass 1.4e\+17"):
        an.quantize(network(1e-18), 1e18 * x)


def test_what_grows_inside_is_named_by_its_layer() -> None:
    with pytest.raises(ValueError, match=r"data: layer '0' reads or answers numbers as large as"):
        an.quantize(network(1e20), X)
    inner = network()
    inner[2].weight.data *= 1e20
    with pytest.raises(ValueError, match=r"data: layer '2' reads or answers numbers as large as"):
        an.quantize(inner, X)


@pytest.mark.parametrize("largest", [1e15, 1e17, 1e18])
def test_what_is_as_large_as_may_be_gives_finite_figures(largest: float) -> None:
    x = X / X.abs().max() * largest
    quantised = an.quantize(network(1 / largest), x, 3)
    planned = an.compress(network(1 / largest), x, BUDGET, formulation=FAST)
    for small in (quantised, planned):
        assert torch.isfinite(small.model(x)).all()
        assert math.isfinite(small.report.small.divergence)
        assert math.isfinite(small.report.certificate.energy)
