"""Where two parts meet: large offsets, noise in noise, seeds and variables of any make, links and long names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy, OneHot
from annealnet.files import replacing
from annealnet.samplers import LayeredAnnealing, LayeredModel, NoisyLayers, Schedule
from annealnet.samplers.answers import scored

STATES = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]])


@given(st.floats(-1e18, 1e18))
def test_a_large_offset_swallows_no_penalty(offset):
    model = ConstrainedEnergy(DenseEnergy(np.zeros((3, 3)), np.array([-1.0, -2, -3]), offset), [OneHot([0, 1, 2])])
    assert scored(model, STATES, {}).first.is_feasible


class Caught(LayeredAnnealing):
    """Keeps the fields it was given."""

    def sample_layers(self, model, schedule, **parameters):
        self.fields = model.fields
        return super().sample_layers(model, schedule, **parameters)


def test_noise_in_noise_is_drawn_anew():
    model = LayeredModel((np.zeros((50, 40)),), (np.zeros((4, 50)), np.zeros((4, 40))))
    caught = Caught()
    once = NoisyLayers(caught, couplings=0, fields=0.1)
    once.sample_layers(model, Schedule((1.0,)), seed=3)
    single = caught.fields[0]
    NoisyLayers(once, couplings=0, fields=0.1).sample_layers(model, Schedule((1.0,)), seed=3)
    assert np.std(caught.fields[0]) == pytest.approx(np.sqrt(2) * 0.1, rel=0.2)
    assert abs(np.corrcoef(caught.fields[0].ravel(), single.ravel())[0, 1] - np.sqrt(0.5)) < 0.2


@pytest.mark.parametrize("seed", [1.5, "1", -1])
def test_seeds_that_are_no_whole_numbers_are_named(seed):
    model = LayeredModel((np.zeros((2, 2)),), (np.zeros((1, 2)), np.zeros((1, 2))))
    with pytest.raises(ValueError, match="seed="):
        LayeredAnnealing().sample_layers(model, Schedule((1.0,)), seed=seed)


def test_no_seed_draws_one():
    model = LayeredModel((np.zeros((2, 2)),), (np.zeros((1, 2)), np.zeros((1, 2))))
    assert LayeredAnnealing().sample_layers(model, Schedule((1.0,)), seed=None).states.shape[-1] == 4


@pytest.mark.parametrize("variables", [[0.5], [True, False], ["a"]])
def test_variables_are_whole_numbers(variables):
    with pytest.raises(ValueError, match="variables="):
        Cardinality(variables, 1)


def test_what_a_link_points_to_is_replaced_and_long_names_are_written(tmp_path):
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for path in (tmp_path / "link", tmp_path / ("n" * 250)):
        with replacing(path) as draft:
            draft.write_text("new")
        assert path.read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"
