"""Files: the bytes said before are the bytes written, and what is loaded is what was saved, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from annealnet.architectures import digits_cnn, resnet20
from annealnet.compression.files.loading import load_compressed
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.files.sizes import dense_bytes, file_bytes, fixed_bytes
from annealnet.compression.files.stored_layer import StoredLayer
from annealnet.compression.network.graph import trace
from annealnet.compression.network.norms import fold_batch_norms
from annealnet.compression.network.surgery import remove
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Quantized


class Words(nn.Module):
    """An embedding, integer inputs, a norm that cannot be folded, a layer without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(11, 6), nn.Conv1d(6, 8, 3, padding=1)
        self.norm, self.mix = nn.BatchNorm1d(8), nn.Conv1d(8, 5, 1, bias=False)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.relu(self.conv(self.embed(x).transpose(1, 2))))
        return self.head(self.mix(x).mean(dim=2))


def depthwise() -> nn.Module:
    block = nn.Conv2d(6, 12, 3, groups=6, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()
    return nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), *block, nn.Conv2d(12, 4, 3), nn.Flatten(), nn.Linear(144, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "residual": (digits_cnn, torch.zeros(1, 1, 8, 8)),
    "option A": (resnet20, torch.zeros(1, 3, 32, 32)),
    "depthwise": (depthwise, torch.zeros(1, 3, 8, 8)),
    "words": (Words, torch.zeros(1, 7, dtype=torch.int64)),
}


def compressed(name: str, seed: int) -> tuple[nn.Module, CompressionPlan, nn.Module, dict[str, Quantized]]:
    """A dense network and a random plan made real."""
    factory, example = NETWORKS[name]
    torch.manual_seed(seed)
    dense = factory().eval()
    for module in dense.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
    graph, rng = trace(dense, example), np.random.default_rng(seed)
    keep = rng.random(graph.num_units) < rng.random()
    for group in graph.groups:
        keep[group.units[0]] = True
    plan = CompressionPlan.of(graph, keep, {layer.name: int(rng.integers(2, 9)) for layer in graph.layers})
    small = remove(fold_batch_norms(dense, graph), graph, keep)
    rounding = NearestRounding(candidates=3)
    grids = {name: rounding(small.get_submodule(name).weight, bits, None) for name, bits in plan.bits.items()}
    return dense, plan, put_on_grid(small, grids), grids


def written(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETWORKS)
def test_bytes_said_before_are_bytes_written(name: str, seed: int, tmp_path: Path) -> None:
    dense, plan, small, grids = compressed(name, seed)
    graph = trace(dense, NETWORKS[name][1])
    save_compressed(tmp_path, plan, small, grids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "plan.json"]
    assert written(tmp_path) == file_bytes(graph, dense, plan)
    keep = plan.keep(graph)
    bits = sum(StoredLayer.of(graph, layer, keep, plan.grid(layer.name)).num_bits for layer in graph.layers)
    bound = fixed_bytes(graph, dense) + -(-bits // 8)
    unfolded = sum(16 * int((~keep[n.units[n.units >= 0]]).sum()) for n in graph.norms if n.folded_into is None)
    assert written(tmp_path) <= bound <= written(tmp_path) + unfolded + 16


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETWORKS)
def test_loaded_is_saved_bit_for_bit(name: str, seed: int, tmp_path: Path) -> None:
    _, plan, small, grids = compressed(name, seed)
    save_compressed(tmp_path, plan, small, grids)
    factory, example = NETWORKS[name]
    loaded = load_compressed(tmp_path, factory())
    expected = small.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    x = torch.randn(2, *example.shape[1:]) if example.is_floating_point() else torch.randint(0, 11, (2, 7))
    with torch.no_grad():
        assert torch.equal(loaded(x), small.eval()(x))


def test_biases_beyond_float16_are_kept(tmp_path: Path) -> None:
    _, plan, small, grids = compressed("residual", 0)
    with torch.no_grad():
        small.get_submodule("fc").bias.fill_(1e6)
    with pytest.raises(ValueError, match="biases of layer 'fc' are not numbers that a file holds"):
        save_compressed(tmp_path, plan, small, grids)
    save_compressed(tmp_path, plan, put_on_grid(small, grids), grids)
    assert load_file(tmp_path / "model.safetensors")["biases"].dtype == torch.float16
    assert float(load_compressed(tmp_path, digits_cnn()).get_submodule("fc").bias.detach()[0]) == 999_936


def test_scales_that_no_file_holds_are_refused(tmp_path: Path) -> None:
    _, plan, small, grids = compressed("residual", 0)
    fc = grids["fc"]
    grids["fc"] = Quantized(fc.codes, fc.scale + 1e-6, fc.bits)
    with pytest.raises(ValueError, match=r"scales of layer 'fc' .* Quantized\.stored"):
        save_compressed(tmp_path, plan, put_on_grid(small, grids), grids)
    assert not list(tmp_path.iterdir())


def test_grids_that_the_plan_does_not_name_are_refused(tmp_path: Path) -> None:
    _, plan, small, grids = compressed("residual", 0)
    fc = grids["fc"]
    grids["fc"] = Quantized(fc.codes, fc.scale, fc.bits, torch.zeros_like(fc.scale, dtype=torch.int8))
    with pytest.raises(ValueError, match=r"quantized\['fc'\] lies on Grid\(.*symmetric=False\), the plan says"):
        save_compressed(tmp_path, plan, small, grids)


def test_dense_bytes_are_those_of_the_state_dict(tmp_path: Path) -> None:
    for factory, _ in NETWORKS.values():
        network = factory()
        assert dense_bytes(network) == len(save(network.state_dict()))
    assert dense_bytes(resnet20()) == 1_094_288


# ---- what does not fit -----------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    _, plan, small, grids = compressed("residual", 1)
    return save_compressed(tmp_path / "out", plan, small, grids)


def change(directory: Path, edit: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors")


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_files_are_refused(saved: Path, name: str, share: float) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"{name} is not (a )?whole"):
        load_compressed(saved, digits_cnn())


@pytest.mark.parametrize("name", ["plan.json", "model.safetensors"])
def test_missing_files_are_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ValueError, match=f"has no {name}"):
        load_compressed(saved, digits_cnn())


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t["scales"].__setitem__(0, float("nan")), "scales of layer 'conv1' hold NaN"),
        (lambda t: t["scales"].__setitem__(0, 0.0), "scales of layer 'conv1' are not all positive"),
        (lambda t: t["scales"].__setitem__(0, -1.0), "scales of layer 'conv1' are not all positive"),
        (lambda t: t["biases"].__setitem__(0, float("inf")), "biases of layer 'conv1' hold NaN or infinite"),
        (lambda t: t["codes"].__setitem__(0, 127), "scales of layer 'conv1' have exponent 127, outside -100 … 112"),
    ],
)
def test_damaged_numbers_are_named(saved: Path, edit: Callable[[dict[str, Tensor]], None], words: str) -> None:
    change(saved, edit)
    with pytest.raises(ValueError, match=rf"model\.safetensors is damaged: {words}"):
        load_compressed(saved, digits_cnn())


def test_codes_outside_their_grid_are_named(saved: Path) -> None:
    change(saved, lambda tensors: tensors["codes"][-40:].fill_(255))  # of the last layer, «fc»
    with pytest.raises(ValueError, match="ends at"):
        load_compressed(saved, digits_cnn())


@pytest.mark.parametrize("name", ["codes", "scales", "biases"])
def test_missing_and_misshapen_tensors_are_named(saved: Path, name: str) -> None:
    change(saved, lambda tensors: tensors.update({name: tensors[name][:-1].clone()}))
    with pytest.raises(ValueError, match=rf"tensor '{name}' is .* expected"):
        load_compressed(saved, digits_cnn())
    change(saved, lambda tensors: tensors.__delitem__(name))
    with pytest.raises(ValueError, match=f"has no tensor '{name}'"):
        load_compressed(saved, digits_cnn())


def test_foreign_tensors_are_named(saved: Path) -> None:
    change(saved, lambda tensors: tensors.update(extra=torch.zeros(2)))
    with pytest.raises(ValueError, match="'extra'"):
        load_compressed(saved, digits_cnn())


def test_another_architecture_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match="made for another"):
        load_compressed(saved, digits_cnn(width=20))
    with pytest.raises(ValueError, match="expects 3 channels"):
        load_compressed(saved, resnet20())


def test_a_model_off_its_grid_is_refused(tmp_path: Path) -> None:
    _, plan, small, grids = compressed("residual", 0)
    with torch.no_grad():
        small.get_submodule("conv1").weight[0] += 0.1
    with pytest.raises(ValueError, match="'conv1' does not hold its grid values"):
        save_compressed(tmp_path, plan, small, grids)
    del grids["conv1"]
    with pytest.raises(ValueError, match="'conv1' is in one only"):
        save_compressed(tmp_path, plan, small, grids)
    assert not list(tmp_path.iterdir())


def test_saving_again_replaces_both_files(saved: Path) -> None:
    _, plan, small, grids = compressed("residual", 2)
    save_compressed(saved, plan, small, grids)
    assert len(list(saved.iterdir())) == 2
    assert CompressionPlan.load(saved / "plan.json") == plan
