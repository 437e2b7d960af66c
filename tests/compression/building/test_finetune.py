"""Fine-tuning on any grid, with scales and biases of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from annealnet.compression.building.finetune import FineTuning, fine_tune
from annealnet.compression.files.storage import put_on_grid
from annealnet.compression.measuring.task import Classification
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import stored, stored_bias


def rounded(net: nn.Module, bits: int, rounding: NearestRounding) -> dict[str, Quantized]:
    grids = {name: rounding(net.get_submodule(name).weight, bits) for name in ("0", "2")}
    put_on_grid(net, grids)
    return grids


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def samples() -> torch.Tensor:
    return torch.randn(64, 6, generator=torch.Generator().manual_seed(1))


def divergence(net: nn.Module, dense: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float(
            nn.functional.kl_div(net(x).log_softmax(1), dense(x).log_softmax(1), log_target=True, reduction="batchmean")
        )


@pytest.mark.parametrize(("group", "symmetric"), [(None, True), (4, True), (None, False), (5, False)])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_weights_stay_on_the_grid_they_had_and_come_closer(bits: int, group: int | None, symmetric: bool) -> None:
    dense, net, x = network(), network(), samples()
    grids = rounded(net, bits, NearestRounding(group, symmetric))
    before = divergence(net, dense, x)
    found = fine_tune(net, grids, dense, Classification(), x, None, FineTuning(epochs=40, batch_size=32, learning_rate=3e-3))
    assert divergence(net, dense, x) < before
    for name, grid in found.items():
        assert grid.grid == grids[name].grid
        module = net.get_submodule(name)
        assert torch.equal(module.weight, dequantize(grid))
        assert np.array_equal(stored(grid.scale.numpy()), grid.scale.numpy())
        assert torch.equal(module.bias, stored_bias(module.bias))


def test_a_step_of_nothing_keeps_every_code_and_scale() -> None:
    dense, net, x = network(), network(), samples()
    grids = rounded(net, 3, NearestRounding(4, False))
    found = fine_tune(net, grids, dense, Classification(), x, None, FineTuning(epochs=1, learning_rate=1e-12))
    for name, grid in found.items():
        assert torch.equal(grid.codes, grids[name].codes)
        torch.testing.assert_close(grid.scale, grids[name].scale, rtol=1e-3, atol=0)


def test_biases_beyond_float16_and_tiny_scales_survive() -> None:
    dense = network()
    with torch.no_grad():
        dense[0].weight[:4] *= 1e-10
        dense[2].weight[:, :4] *= 1e10
        dense[2].bias += 1e6  # softmax does not see it, float16 does
    net = network()
    net.load_state_dict(dense.state_dict())
    grids = rounded(net, 4, NearestRounding())
    found = fine_tune(net, grids, dense, Classification(), samples(), None, FineTuning(epochs=1, learning_rate=1e-12))
    assert bool(torch.isfinite(net(samples())).all())
    torch.testing.assert_close(net[2].bias, dense[2].bias, rtol=2**-10, atol=0)
    torch.testing.assert_close(found["0"].scale, grids["0"].scale, rtol=2**-9, atol=0)
    assert float(found["0"].scale.min()) < 1e-9
