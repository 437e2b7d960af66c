"""Rounded layers on disk: taken as they were, or not at all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from annealnet.compression.refitting.settled import Rounded, SettledLayers
from annealnet.compression.rounding import NearestRounding


def settled(folder, run: str = "a", symmetric: bool = True) -> tuple[SettledLayers, nn.Linear]:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    weight, gram = layer.weight.detach().clone(), torch.eye(4)[None]
    grid = NearestRounding(symmetric=symmetric)(weight, 3, gram)
    kept = SettledLayers(folder, run, "NearestRounding")
    kept.keep("fc", layer, grid, Rounded(grid, weight, gram))
    return kept, layer


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_layer_comes_back_as_it_was(tmp_path, symmetric):
    kept, layer = settled(tmp_path, symmetric=symmetric)
    again, other = SettledLayers(tmp_path, "a", "NearestRounding"), nn.Linear(4, 3)
    grid = again.fetch("fc", other)
    assert grid is not None
    assert grid.bits == 3
    assert (grid.zero is None) == symmetric
    assert torch.equal(other.bias, layer.bias)
    assert (again.error, again.bound) == (kept.error, kept.bound)


def test_another_run_another_layer_and_no_folder_give_nothing(tmp_path):
    settled(tmp_path)
    layer = nn.Linear(4, 3)
    before = layer.weight.clone()
    assert SettledLayers(tmp_path, "b", "").fetch("fc", layer) is None
    assert SettledLayers(tmp_path, "a", "").fetch("other", layer) is None
    assert SettledLayers(None, "a", "").fetch("fc", layer) is None
    assert torch.equal(layer.weight, before)


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_is_as_none(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("kept")
    settled(folder)
    (place,) = folder.iterdir()
    whole = place.read_bytes()
    where = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        place.write_bytes(whole[:where])
    else:
        place.write_bytes(whole[:where] + bytes([whole[where] ^ data.draw(st.integers(1, 255))]) + whole[where + 1 :])
    layer = nn.Linear(4, 3)
    before = layer.weight.clone()
    assert SettledLayers(folder, "a", "NearestRounding").fetch("fc", layer) is None
    assert torch.equal(layer.weight, before)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "kept").write_text("")
    with pytest.raises(ValueError, match=r"checkpoint=.*kept.*folder"):
        SettledLayers(tmp_path / "kept", "a", "")


def test_the_certificate_names_who_rounded(tmp_path):
    kept, _ = settled(tmp_path)
    assert kept.certificate(3).sampler == "NearestRounding"
    assert kept.certificate(3).energy == kept.error >= kept.bound > 0
