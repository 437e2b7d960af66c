"""Group norms: channels go by whole groups, exactly, and their bytes with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import annealnet as an
from annealnet.compression.conformance import kind_conformance
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.sizes import file_bytes
from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.data_aware import DataAware
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.graph import trace
from annealnet.compression.network.surgery import mask, remove
from annealnet.energy import ProductBudget


def worn(network: nn.Module) -> nn.Module:
    """Gains and shifts as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        for name in ("weight", "bias"):
            tensor = getattr(module, name, None)
            if isinstance(module, nn.GroupNorm) and isinstance(tensor, Tensor):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return network.eval()


class Up(nn.Module):
    """The lower half of a U-Net: what comes from below beside what was kept, normalised together."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.GroupNorm(3, 6)
        self.down, self.below = nn.Conv2d(6, 12, 3, stride=2, padding=1), nn.GroupNorm(4, 12)
        self.up, self.both = nn.ConvTranspose2d(12, 6, 2, stride=2), nn.GroupNorm(groups, 12)
        self.mix, self.head = nn.Conv2d(12, 5, 3, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = F.silu(self.norm(self.stem(x)))
        below = F.silu(self.below(self.down(kept)))
        return self.head(self.mix(F.silu(self.both(torch.cat([self.up(below), kept], 1)))).relu())


class Counted(Up):
    """The same with a shape in its forward that no symbolic trace knows: opened by export."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.shape[0] > 0 else x + 1)


X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([2, 3, 4, 6, 12]), st.sampled_from([Up, Counted]), st.integers(0, 999))
def test_a_u_net_loses_whole_groups(groups: int, network: type[Up], seed: int) -> None:
    torch.manual_seed(seed)
    net = worn(network(groups))
    graph = trace(net, X)
    assert graph.way == ("symbolic" if network is Up else "export")
    assert {"norm", "below", "both"} == {norm.name for norm in graph.norms}
    assert graph.num_units > 5
    rng = np.random.default_rng(seed)
    keep = rng.random(graph.num_units) < 0.5
    for group in graph.groups:
        keep[rng.choice(group.units)] = True
    small = remove(net, graph, keep)
    with torch.no_grad():
        torch.testing.assert_close(small(X), mask(net, graph, keep)(X), rtol=1e-4, atol=1e-5)
    for name in ("norm", "below", "both"):
        before, after = net.get_submodule(name), small.get_submodule(name)
        assert before.num_channels * after.num_groups == after.num_channels * before.num_groups


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 6), nn.GroupNorm(6, 6), nn.GroupNorm(3, 6, affine=False), nn.InstanceNorm2d(6),
             nn.InstanceNorm2d(6, affine=True), nn.InstanceNorm2d(6, track_running_stats=True)]
)  # fmt: skip
@pytest.mark.parametrize("opened", ["symbolic", "export"])
def test_networks_with_such_norms_are_whole(norm: nn.Module, opened: str) -> None:
    torch.manual_seed(0)
    network = worn(nn.Sequential(nn.Conv2d(2, 6, 3), norm, nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    network = network if opened == "symbolic" else Asserting(network)
    graph = trace(network, X)
    assert graph.way == opened
    assert graph.num_units == 4 + (norm.num_groups if isinstance(norm, nn.GroupNorm) else 6), graph
    findings = kind_conformance(network, X, leave_out=("onnx_runtime_agrees",))
    assert [finding for finding in findings if not finding.passed] == []


class Asserting(nn.Module):
    """Looks at its input's shape, which no symbolic trace can."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.shape[0] > 0 else x


def test_one_group_over_all_channels_stays() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(2, 6, 3), nn.GroupNorm(1, 6), nn.Conv2d(6, 4, 1)), X)
    assert graph.num_units == 0
    assert any("normalises over the channels" in pinned.reason for pinned in graph.pinned)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999))
def test_bytes_of_a_norm_leave_with_its_channels(seed: int) -> None:
    network = Up(4).eval()
    problem = prepare(network, Calibration.of(X), an.Budget(size_ratio=2))
    space, graph = problem.space, problem.graph
    assert sum(space.leaving) == 4 * sum(parameter.numel() for parameter in network.norm.parameters()) + 4 * 2 * (12 + 12)
    rng = np.random.default_rng(seed)
    keep = rng.random(graph.num_units) < 0.5
    for group in graph.groups:
        keep[rng.choice(group.units)] = True
    bits = {name: int(rng.choice(widths)) for name, widths in space.widths.items()}
    foretold = space.num_bytes(keep, bits)
    assert 0 <= foretold - file_bytes(graph, network, CompressionPlan.of(graph, keep, bits)) <= 16
    for limit in (foretold - 1, foretold, foretold + 1):
        budget = next(c for c in space.constraints(Limits(limit, None)) if isinstance(c, ProductBudget))
        assert budget.holds(space.encode(keep, bits)[None]).item() == (foretold <= limit)


def test_compressed_to_the_byte(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = worn(Up(4))
    quick = DataAware(reads=8, sweeps=100)
    small = an.compress(
        network, [X.repeat(8, 1, 1, 1)], an.Budget(size_ratio=5), formulation=quick, candidates=1, widths=(8,)
    )
    small.save(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == small.report.small.bytes
    assert min(small.model.both.num_channels, small.model.below.num_channels) < 12
    torch.testing.assert_close(an.load(tmp_path, Up(4))(X), small.model(X), atol=1e-5, rtol=0)
