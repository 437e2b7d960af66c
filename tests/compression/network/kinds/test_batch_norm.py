"""Batch norms: folded where they follow a layer, narrowed where they do not, left alone where they are something else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from annealnet.compression.conformance import kind_conformance
from annealnet.compression.network.graph import trace
from annealnet.compression.network.norms import fold_batch_norms


def lived_in(network: nn.Module) -> nn.Module:
    """Moments as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(module, name, None)
            if hasattr(module, "num_features") and isinstance(tensor, Tensor):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("before", [True, False])
def test_networks_with_norms_are_whole(norm: type[nn.Module], before: bool) -> None:
    torch.manual_seed(0)
    middle = (nn.ReLU(), norm(5)) if before else (norm(5), nn.ReLU())
    network = lived_in(nn.Sequential(nn.Conv2d(2, 5, 3), *middle, nn.Conv2d(5, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    x = torch.randn(3, 2, 6, 6)
    assert [norm.folded_into for norm in trace(network, x).norms] == [None if before else "0"]
    findings = kind_conformance(network, x, leave_out=("onnx_runtime_agrees",))
    assert [finding for finding in findings if not finding.passed] == []


def test_a_norm_by_each_batchs_own_moments_is_not_folded() -> None:
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5, track_running_stats=False), nn.Conv2d(5, 2, 1)).eval()
    x = torch.randn(3, 2, 6, 6)
    graph = trace(network, x)
    assert [norm.folded_into for norm in graph.norms] == [None]
    torch.testing.assert_close(fold_batch_norms(network, graph)(x), network(x))
