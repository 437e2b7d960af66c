"""Folding changes nothing in evaluation; re-estimation finds the data's moments."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from annealnet.architectures import digits_cnn, resnet20
from annealnet.compression.network.graph import trace
from annealnet.compression.network.norms import fold_batch_norms, reestimate_batch_norms


def batches(shape: tuple[int, ...], count: int = 3) -> list[torch.Tensor]:
    return [torch.randn(16, *shape, generator=torch.Generator().manual_seed(i)) for i in range(count)]


@pytest.mark.parametrize(("factory", "shape"), [(digits_cnn, (1, 8, 8)), (resnet20, (3, 16, 16))])
def test_folding_changes_nothing(factory: type[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = reestimate_batch_norms(factory(), batches(shape))
    folded = fold_batch_norms(network, trace(network, torch.zeros(1, *shape)))
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        x = batches(shape, 1)[0]
        torch.testing.assert_close(folded(x), network(x), atol=1e-4, rtol=1e-4)


def test_linear_layers_and_norms_without_affine_are_folded() -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(), nn.Linear(5, 2))
    network = reestimate_batch_norms(network, batches((4,)))
    folded = fold_batch_norms(network, trace(network, torch.zeros(1, 4)))
    assert isinstance(folded[1], nn.Identity)
    x = batches((4,), 1)[0]
    torch.testing.assert_close(folded(x), network(x))


def test_reestimation_finds_mean_and_variance_layer_by_layer() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)).eval()
    (x,) = batches((2, 4, 4), 1)
    fresh = reestimate_batch_norms(network, [x])
    with torch.no_grad():
        between = network[0](x)
    torch.testing.assert_close(fresh[1].running_mean, between.mean((0, 2, 3)))
    torch.testing.assert_close(fresh[1].running_var, between.transpose(0, 1).reshape(3, -1).var(1))
    assert not fresh.training
    assert not torch.equal(network[1].running_mean, fresh[1].running_mean)


def test_nothing_to_estimate_on_is_refused() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match="batches is empty"):
        reestimate_batch_norms(network, [])
    with pytest.raises(ValueError, match="at least 2"):
        reestimate_batch_norms(network, [torch.zeros(1, 2)])
