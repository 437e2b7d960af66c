"""Fine-tuning on any grid, with scales and biases of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import annealnet as an
from annealnet.compression.building.finetune import FineTuning, fine_tune
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.measuring.tasks import Classification
from annealnet.compression.network.kinds import weight_of
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


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_softens_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature="):
        FineTuning(temperature=temperature)


def test_what_diverges_keeps_the_network_from_before():
    net, x = network(), samples()
    budget = an.Budget(size_ratio=1.05)
    plain = an.compress(net, x, budget, candidates=1)
    with pytest.warns(UserWarning, match="diverged"):
        tuned = an.compress(net, x, budget, candidates=1, fine_tuning=FineTuning(epochs=20, learning_rate=1e6))
    assert "from before" in tuned.report.settings["fine_tuning"]
    assert torch.equal(tuned.model(x), plain.model(x))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x)
        x.mul_(-2)
        return self.b(torch.relu(h))


def test_a_forward_that_cannot_be_differentiated_is_refused_before_planning():
    torch.manual_seed(0)
    said: list[str] = []
    with pytest.raises(ValueError, match="fine_tuning needs a model that can be differentiated"):
        an.compress(InPlace(), samples(), an.Budget(size_ratio=1.05), fine_tuning=FineTuning(), progress=said.append)
    assert not any("annealing" in line or "sensitivity" in line for line in said)


def test_turned_layers_are_trained_and_tables_stay() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(12, 4), nn.Linear(6, 12)
            self.up = nn.ConvTranspose1d(4, 6, 2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.relu(self.up(self.table(x).transpose(1, 2))).mean(2))

    torch.manual_seed(0)
    network, x = Turned().eval(), torch.randint(0, 12, (64, 5))
    settings = FineTuning(epochs=5, learning_rate=1e-2)
    plain, tuned = (
        an.compress(
            network,
            [x],
            an.Budget(size_ratio=2),
            candidates=1,
            fine_tuning=chosen,
            layer_widths={"table": (8,), "up": (2,), "head": (2,)},
        )
        for chosen in (None, settings)
    )
    assert torch.equal(plain.model.table.weight, tuned.model.table.weight)
    assert not torch.equal(plain.model.up.weight, tuned.model.up.weight)
    for name, grid in tuned.grids.items():
        torch.testing.assert_close(weight_of(tuned.model.get_submodule(name)).detach(), dequantize(grid), rtol=0, atol=0)
