"""The job from end to end on small real networks: budgets, files, errors, resumption, other samplers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import annealnet as an
from annealnet.compression import DataAware, FineTuning, Published
from annealnet.compression.building.checkpoint import Checkpoint
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.job import plan_and_build
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.reporting import measure
from annealnet.samplers import AnnealingSampler, RetryComposite, TabuSampler

FAST = DataAware(reads=4, sweeps=100)


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5),
    ).eval()  # fmt: skip


def batches(samples: int = 48, seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 1, 6, 6, generator=generator)
    return [(x, torch.randint(5, (samples,), generator=generator))]


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name in {"plan.json", "model.safetensors"})


@settings(max_examples=8, deadline=None)
@given(st.floats(2.0, 4.5), st.integers(0, 3), st.booleans())
def test_the_budget_holds_on_the_bytes_written(tmp_path_factory, ratio, seed, published):
    network = small_network(seed)
    formulation = Published() if published else FAST
    small = an.compress(network, batches(), an.Budget(size_ratio=ratio), formulation=formulation, candidates=2, seed=seed)
    folder = small.save(tmp_path_factory.mktemp("out"))
    assert written(folder) <= small.report.dense.bytes / ratio
    assert small.report.small.bytes == written(folder)


def test_a_budget_on_multiply_adds_removes_channels():
    small = an.compress(small_network(), batches(), an.Budget(size_ratio=3, macs_ratio=2), formulation=FAST, candidates=1)
    assert small.report.small.macs <= small.report.dense.macs / 2
    assert any(layer.channels_after < layer.channels_before for layer in small.report.layers)


def test_loaded_network_answers_as_the_saved_one(tmp_path):
    network = small_network()
    small = an.compress(network, batches(), an.Budget(size_ratio=4), formulation=FAST, candidates=1)
    again = an.load(small.save(tmp_path), small_network(7))  # other weights: everything comes from the files
    x = batches()[0][0]
    assert torch.equal(again(x), small.model(x))


def test_the_network_given_is_not_changed():
    network = small_network()
    before = copy.deepcopy(network.state_dict())
    an.compress(network, batches(), an.Budget(size_ratio=4), formulation=FAST, candidates=1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_same_seed_same_network_other_seed_may_differ():
    runs = [
        an.compress(small_network(), batches(), an.Budget(size_ratio=4), formulation=FAST, candidates=2, seed=3)
        for _ in range(2)
    ]
    assert runs[0].plan.hash == runs[1].plan.hash
    assert runs[0].report.candidates == runs[1].report.candidates
    x = batches()[0][0]
    assert torch.equal(runs[0].model(x), runs[1].model(x))


def test_the_report_says_what_it_takes_to_run_again():
    network, asked = small_network(), {"widths": (4, 6), "prune": ("channels",), "ridge": 0.1, "candidates": 1, "seed": 3}
    first = an.compress(network, batches(), an.Budget(size_ratio=4), formulation=FAST, **asked)
    again = {name: first.report.settings[name] for name in asked}
    assert again == {**asked, "widths": [4, 6], "prune": ["channels"]}
    second = an.compress(network, batches(), an.Budget(size_ratio=4), formulation=FAST, **again)
    assert second.plan.to_json() == first.plan.to_json()


def test_the_best_of_the_candidates_built_is_taken():
    small = an.compress(small_network(), batches(), an.Budget(size_ratio=4), formulation=FAST, candidates=5)
    divergences = [divergence for _, divergence in small.report.candidates]
    assert small.report.small.divergence <= min(divergences) * (1 + 1e-6)  # rounded once more, with full effort
    energies = [energy for energy, _ in small.report.candidates]
    assert energies == sorted(energies)


def test_labels_may_be_missing():
    x = batches()[0][0]
    small = an.compress(small_network(), [x[:20], x[20:]], an.Budget(size_ratio=3), formulation=FAST, candidates=1)
    assert small.report.small.accuracy is None
    assert small.report.small.divergence > 0


def test_a_sampler_of_the_users_own_gets_the_plain_qubo():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    x = torch.randn(32, 4)

    class PlainSampler(AnnealingSampler):
        def __getattribute__(self, name):
            if name == "sample_energy" and not object.__getattribute__(self, "inside"):
                raise AttributeError(name)
            return object.__getattribute__(self, name)

        inside = False

        def sample(self, bqm, **parameters):
            self.inside = True
            try:
                return AnnealingSampler.sample(self, bqm, num_reads=200, num_sweeps=2000, seed=0)
            finally:
                self.inside = False

    budget = an.Budget(bytes=700)
    small = an.compress(
        network, [x], budget, sampler=PlainSampler(), formulation=FAST, candidates=1, prune=False, widths=(4, 8)
    )
    assert small.report.small.bytes <= 700
    settings = small.report.settings
    assert settings["sampler"] == small.report.certificate.sampler == "PlainSampler"
    assert settings["reads"] >= settings["feasible_reads"] + settings["mended_reads"] > 0
    assert settings["rounded_by"] == "AnnealedRounding"


def test_fine_tuning_stays_on_the_grid_and_within_the_bytes(tmp_path):
    small = an.compress(
        small_network(), batches(), an.Budget(size_ratio=4), formulation=FAST, candidates=1, fine_tuning=FineTuning(epochs=2)
    )
    assert written(small.save(tmp_path)) <= small.report.dense.bytes / 4
    for name, grid in small.grids.items():
        levels = torch.unique(small.model.get_submodule(name).weight[0] / grid.scale[0])
        assert torch.allclose(levels, levels.round(), atol=1e-3)


# ---- an interrupted run ------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path):
    class Interrupted(Exception):
        pass

    def stop_at_first_plan(text: str) -> None:
        if text.startswith("plan 1"):
            raise Interrupted

    arguments = {"formulation": FAST, "candidates": 3, "checkpoint": tmp_path / "run"}
    whole = an.compress(small_network(), batches(), an.Budget(size_ratio=4), formulation=FAST, candidates=3)
    with pytest.raises(Interrupted):
        an.compress(small_network(), batches(), an.Budget(size_ratio=4), progress=stop_at_first_plan, **arguments)
    heard: list[str] = []
    again = an.compress(small_network(), batches(), an.Budget(size_ratio=4), progress=heard.append, **arguments)
    assert again.plan.hash == whole.plan.hash
    assert again.report.candidates == whole.report.candidates
    assert not any(text.startswith("sensitivity") for text in heard)  # measured before the interruption


def test_a_checkpoint_is_not_taken_by_another_network_or_sampler(tmp_path):
    """The same weights with Tanh took ReLU's steps, and one sampler another's plans."""
    arguments = {"formulation": FAST, "candidates": 2, "checkpoint": tmp_path / "run"}
    an.compress(small_network(), batches(), an.Budget(size_ratio=4), **arguments)

    def steps_done(network: nn.Module, **more) -> bool:
        heard: list[str] = []
        an.compress(network, batches(), an.Budget(size_ratio=4), progress=heard.append, **arguments, **more)
        return any(text.startswith("sensitivity") for text in heard)

    tanh = small_network()
    tanh[4] = nn.Tanh()
    assert not steps_done(small_network())
    assert steps_done(tanh)
    assert steps_done(small_network(), sampler=RetryComposite(AnnealingSampler()))
    assert steps_done(small_network(), sampler=RetryComposite(TabuSampler()))


def test_a_file_as_checkpoint_is_refused_before_work(tmp_path):
    (tmp_path / "run.jsonl").write_text("")
    heard: list[str] = []
    with pytest.raises(ValueError, match=r"checkpoint=.*run\.jsonl.*folder"):
        an.compress(
            small_network(), batches(), an.Budget(size_ratio=4), checkpoint=tmp_path / "run.jsonl", progress=heard.append
        )
    assert not any(text.startswith("sensitivity") for text in heard)


# ---- bad input is refused before work starts ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "word"),
    [({}, "empty"),
     ({"size_ratio": 0.5}, "size_ratio"), ({"size_ratio": 4, "bytes": 9}, "give one"), ({"bytes": 0}, "bytes"),
     ({"macs_ratio": float("nan")}, "macs_ratio")],
)  # fmt: skip
def test_budgets_that_make_no_sense(budget, word):
    with pytest.raises(ValueError, match=word):
        an.Budget(**budget)


def test_nan_weights():
    network = small_network()
    network[3].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"3\.weight.*NaN"):
        an.compress(network, batches(), an.Budget(size_ratio=4))


def test_empty_data():
    with pytest.raises(ValueError, match="data is empty"):
        an.compress(small_network(), [], an.Budget(size_ratio=4))


def test_nan_data_and_missing_labels():
    with pytest.raises(ValueError, match="NaN"):
        an.compress(small_network(), [torch.full((2, 1, 6, 6), float("nan"))], an.Budget(size_ratio=4))
    with pytest.raises(ValueError, match="labels"):
        an.compress(small_network(), [(torch.zeros(2, 1, 6, 6), torch.zeros(3))], an.Budget(size_ratio=4))
    with pytest.raises(ValueError, match="one shape"):
        an.compress(small_network(), [torch.zeros(2, 1, 6, 6), torch.zeros(2, 1, 7, 7)], an.Budget(size_ratio=4))


def test_wrong_input_shape():
    with pytest.raises(ValueError, match=r"\(3, 6, 6\).*do not fit"):
        an.compress(small_network(), [torch.zeros(4, 3, 6, 6)], an.Budget(size_ratio=4))


def test_an_impossible_budget_says_the_smallest_that_can_be_met():
    with pytest.raises(ValueError, match="smallest this network can become is") as refused:
        an.compress(small_network(), batches(), an.Budget(size_ratio=1000))
    least = int(str(refused.value).split("can become is ")[1].split(" bytes")[0])
    small = an.compress(small_network(), batches(), an.Budget(bytes=least), formulation=FAST, candidates=1)
    assert small.report.small.bytes <= least


def test_a_network_that_cannot_be_traced_is_rounded_and_keeps_its_channels():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 64), nn.Linear(64, 4)

        def forward(self, x):
            return self.second(self.first(x)) if x.sum() > -1e9 else x

    small = an.compress(Branching(), [torch.randn(64, 4)], an.Budget(size_ratio=2), formulation=FAST, candidates=1)
    assert small.report.small.bytes <= small.report.dense.bytes / 2
    assert small.model.first.out_features == 64
    assert any("nothing can be removed" in text for text in small.report.pinned)


def test_widths_and_layers_that_do_not_exist():
    with pytest.raises(ValueError, match="2 to 8"):
        an.compress(small_network(), batches(), an.Budget(size_ratio=4), widths=(1, 2))
    with pytest.raises(ValueError, match="nowhere"):
        an.compress(small_network(), batches(), an.Budget(size_ratio=4), layer_widths={"nowhere": (4,)})


# ---- the energy against what it models ---------------------------------------------------------------------


def test_the_energy_predicts_the_divergence_of_plans():
    """Sums of measured nats come close to the true divergence: within a factor of three over plans that differ by thirty."""
    split = an.datasets.digits(seed=0)
    from annealnet.architectures import digits_cnn
    from annealnet.studies.training import train_dense

    train = Calibration.of(torch.from_numpy(split.x_train[:256]), torch.from_numpy(split.y_train[:256]))
    torch.manual_seed(0)
    network = train_dense(digits_cnn(width=8), train.x.main, train.y, epochs=20, seed=0)
    problem = prepare(network, train, an.Budget(size_ratio=6), seed=0)
    energy = DataAware().energy(problem)
    from annealnet.compression.building.plans import build

    rng = np.random.default_rng(0)
    ratios, truths = [], []
    for width in (2, 3, 4):
        bits = {
            name: min(max(widths), width) if len(widths) > 1 else widths[0] for name, widths in problem.space.widths.items()
        }
        keep = np.ones(problem.graph.num_units, dtype=bool)
        keep[rng.choice(problem.graph.num_units, 3, replace=False)] = False
        truth = build(problem, keep, bits, problem.rounding).divergence
        truths.append(truth)
        ratios.append(float(energy.energy(problem.space.encode(keep, bits))) / truth)
    assert max(truths) / min(truths) > 5
    assert all(1 / 3 < ratio < 3 for ratio in ratios), ratios


def test_native_plans_are_never_behind_the_greedy_starts():
    network = small_network()
    problem = prepare(network, Calibration.of(batches()[0][0]), an.Budget(size_ratio=5), seed=0)
    found = FAST.propose(problem, None, 1, 0)
    from annealnet.compression.formulations.starts import feasible_starts

    energy = FAST.energy(problem)
    scores = np.asarray(energy.energy_part.linear)[: problem.graph.num_units]
    starts = feasible_starts(problem.space, scores, problem.sensitivity.widths, problem.limits)
    assert found.energies[0] <= energy.energy(starts).min() + 1e-12
    assert energy.is_feasible(found.states[0])


def test_published_plans_come_with_a_proof():
    problem = prepare(small_network(), Calibration.of(batches()[0][0]), an.Budget(size_ratio=4), seed=0)
    _, proposed, _, _ = plan_and_build(problem, Published(), None, 3, 0, Checkpoint(None, ""))
    assert proposed.certificate.proven
    assert proposed.certificate.gap == 0


def test_measure_without_labels_or_classes():
    answers, loss, accuracy = measure(nn.Identity(), torch.zeros(3, 1), torch.zeros(3, dtype=torch.long))
    assert answers.shape == (3, 1)
    assert loss == 0.0  # one output: a regression
    assert accuracy is None
    assert measure(nn.Identity(), torch.zeros(3, 2), None)[1:] == (None, None)
