"""Segmentation, tokens, regressions, own callables, other precisions and in-place forwards through the whole job."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import annealnet as an
from annealnet.compression import CompressedNetwork, DataAware, FineTuning
from annealnet.compression.files.sizes import dense_bytes
from annealnet.compression.measuring.choosing import task_of
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.precision import cast_like
from annealnet.compression.rounding import GptqRounding, NearestRounding
from annealnet.compression.rounding.grids import dequantize
from annealnet.exporting import onnx_session

FAST = DataAware(reads=2, sweeps=50)
TUNING = FineTuning(epochs=10, batch_size=16, learning_rate=2e-3)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.hidden = nn.Linear(8, 16)
        self.last = nn.Linear(16, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(torch.relu(self.hidden(self.embedding(tokens))))


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    net = layers(kind)
    with torch.no_grad():
        [*net.modules()][-1].weight.mul_(4)  # answers that rounding can spoil
    return net


def layers(kind: str) -> nn.Module:
    if kind == "tokens":
        return Tokens().eval()
    if kind == "segmentation":
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 4, 1)
        ).eval()
    outputs = {"one number": 1, "three numbers": 3}[kind]
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, outputs)).eval()


def inputs(kind: str, samples: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if kind == "tokens":
        return torch.randint(11, (samples, 7), generator=generator)
    return torch.randn((samples, 1, 6, 6) if kind == "segmentation" else (samples, 6), generator=generator)


def labels(kind: str, x: Tensor) -> Tensor:
    with torch.no_grad():
        answers = network(kind)(x)
    return answers.argmax({"tokens": -1, "segmentation": 1}[kind]) if kind in ("tokens", "segmentation") else answers + 0.01


KINDS = {
    "tokens": an.Classification(-1), "segmentation": an.Classification(1), "one number": an.Regression(),
    "three numbers": an.Regression(),
}  # fmt: skip


def compressed(kind: str, data: object, **settings: object) -> CompressedNetwork:
    asked = {"formulation": FAST, "candidates": 2, "rounding": GptqRounding(), "widths": (2,)} | settings
    return an.compress(network(kind), data, an.Budget(size_ratio=2.2), **asked)


@torch.no_grad()
def recomputed(kind: str, small: nn.Module, x: Tensor) -> float:
    """The divergence from its definition, without the library."""
    dense, answers = network(kind)(x).double(), small(x).double()
    if KINDS[kind] == an.Regression():
        return float(((dense - answers) ** 2).mean())
    axis = KINDS[kind].axis
    p, q = dense.softmax(axis), answers.softmax(axis)
    return float((p * (p.log() - q.log())).sum(axis).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labelled", [False, True])
def test_reports_are_true_and_fine_tuning_helps(kind, labelled, tmp_path):
    x = inputs(kind)
    y = labels(kind, x) if labelled else None
    plain = compressed(kind, [(x, y)], task=None if kind != "three numbers" or labelled else an.Regression())
    tuned = compressed(
        kind, [(x, y)], task=None if kind != "three numbers" or labelled else an.Regression(), fine_tuning=TUNING
    )
    for small in (plain, tuned):
        assert small.report.small.divergence == pytest.approx(recomputed(kind, small.model, x), rel=1e-4)
        assert small.report.unit == KINDS[kind].unit
        assert KINDS[kind].describe() in small.report.task == small.report.settings["task"]
        assert (small.report.small.loss is not None) == labelled
        assert (small.report.small.agreement is not None) == (kind in ("tokens", "segmentation"))
        assert f"{small.report.small.divergence:.3g} {small.report.unit}" in str(small.report)
    before, after = plain.report.small, tuned.report.small
    if labelled and before.accuracy is not None:  # labels pull away from the dense network
        assert after.loss < 0.9 * before.loss
    else:
        assert after.divergence < 0.9 * before.divergence
    assert torch.equal(an.load(tuned.save(tmp_path), network(kind))(x), tuned.model(x))


def test_a_segmentation_that_disagrees_is_said_to():
    kind, x = "segmentation", inputs("segmentation")
    y = labels(kind, x)
    small = an.quantize(network(kind), [(x, y)], 2, rounding=NearestRounding())
    assert small.report.small.divergence == pytest.approx(recomputed(kind, small.model, x), rel=1e-4)
    assert small.report.small.agreement == pytest.approx(small.report.small.accuracy)
    assert small.report.small.agreement < 0.98
    assert small.report.small.divergence > 1e-3


def test_the_task_given_decides_and_callables_do_too():
    x = inputs("three numbers")
    as_classes = compressed("three numbers", [x])
    assert "one of 3 classes" in as_classes.report.task  # nothing shows otherwise, and the report says so
    as_numbers = compressed("three numbers", [x], task=an.Regression(), fine_tuning=TUNING)
    own = compressed(
        "three numbers", [x], task=lambda dense, small: (dense - small).abs().mean(), fine_tuning=FineTuning(epochs=2)
    )
    assert as_numbers.report.unit == "squared error"
    assert own.report.unit == "of the task given"
    with torch.no_grad():
        expected = (network("three numbers")(x) - own.model(x)).abs().mean()
    assert own.report.small.divergence == pytest.approx(float(expected), rel=1e-4)


def never(_: str) -> None:
    raise AssertionError("work has started")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": [(inputs("one number"), torch.full((48,), torch.nan))]}, "labels hold NaN"),
        ({"data": [(inputs("one number"), torch.zeros(48, 2))]}, "neither as classes nor as numbers"),
        ({"task": an.Classification(2)}, "axis=2"),
        ({"task": 3}, "task=3 is no task"),
        ({"ridge": -1}, "ridge=-1"),
        ({"ridge": math.nan}, "ridge=nan"),
        ({"ridge": "much"}, "ridge='much'"),
        ({"fine_tuning": TUNING, "task": lambda dense, small: float((dense - small).abs().mean())}, "differentiated"),
        ({"fine_tuning": TUNING, "training_data": [torch.zeros(4, 5)]}, r"training_data: samples of shape \(5,\)"),
        ({"fine_tuning": TUNING, "training_data": [(torch.zeros(4, 6), torch.zeros(4, 9))]}, "training_data: labels"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_work(arguments, words):
    data = arguments.pop("data", [inputs("one number")])
    with pytest.raises(ValueError, match=words):
        an.compress(network("one number"), data, an.Budget(size_ratio=2), formulation=FAST, candidates=1, **arguments)
    arguments.pop("fine_tuning", None)
    if "training_data" not in arguments and "differentiated" not in words:
        with pytest.raises(ValueError, match=words):
            an.quantize(network("one number"), data, 4, progress=never, **arguments)


def test_labels_out_of_range_are_refused_before_work():
    x = inputs("segmentation")
    with pytest.raises(ValueError, match="label 7 is no class of 4"):
        an.quantize(network("segmentation"), [(x, torch.full((48, 6, 6), 7))], 4, progress=never)


def test_answers_that_are_not_finite_are_refused():
    x = inputs("one number")
    x[30] = 3e38
    with pytest.raises(ValueError, match="sample 30"):
        an.quantize(network("one number"), [x], 4)


@pytest.mark.parametrize("rounding", [GptqRounding(), None])
def test_a_ridge_of_0_with_dead_inputs_and_copies(rounding):
    x = inputs("one number")
    x[:, 0], x[:, 1] = 0, x[:, 2]
    small = an.quantize(network("one number"), [x], 8, ridge=0, rounding=rounding)
    assert small.report.small.divergence < 1e-3
    assert torch.isfinite(small.model(x)).all()


@pytest.mark.parametrize("bits", [np.int64(4), np.int8(4), {"0": np.int64(3)}])
def test_widths_may_be_numpys(bits, tmp_path):
    x = inputs("one number")
    small = an.quantize(network("one number"), [x], bits, rounding=GptqRounding())
    assert all(type(width) is int for width in small.plan.bits.values())
    small.save(tmp_path)
    both = compressed("one number", [x], widths=tuple(np.array([2, 3])))
    both.save(tmp_path)


@pytest.mark.parametrize("bits", [4.7, "4", {"0": 4.5}, None])
def test_widths_that_are_no_whole_numbers(bits):
    with pytest.raises(ValueError, match="bits="):
        an.quantize(network("one number"), [inputs("one number")], bits)


# ---- forwards that change their input in place ---------------------------------------------------------------


class Shifted(nn.Module):
    """Changes its input, and what its layers answer, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 24), nn.Linear(24, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(1.0)
        h = nn.functional.relu_(self.first(x))
        h = nn.functional.relu_(self.second(h).add_(h))
        return self.last(h)


class Rectified(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 6, 3), nn.Linear(6 * 16, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.relu_(x)
        x.mul_(2.0)
        return self.last(self.relu(self.conv(x)).flatten(1))


@pytest.mark.parametrize("kind", [Shifted, Rectified])
def test_forwards_that_change_their_input_in_place(kind):
    torch.manual_seed(0)
    net = kind().eval()
    x = inputs("one number", 64) if kind is Shifted else inputs("segmentation", 64)
    given = x.clone()
    for small in (
        an.quantize(net, [x], 3),
        an.compress(
            net,
            [x],
            an.Budget(size_ratio=2),
            formulation=FAST,
            candidates=2,
            widths=(2, 4),
            fine_tuning=FineTuning(epochs=1),
        ),
    ):
        assert torch.equal(x, given)
        with torch.no_grad():
            p, q = net(x.clone()).double().log_softmax(1), small.model(x.clone()).double().log_softmax(1)
        assert small.report.small.divergence == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-4)
        assert torch.equal(small.example.main, given[:1])


# ---- other precisions ----------------------------------------------------------------------------------------


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 16, 4)
        self.free = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.free(torch.relu(self.last(torch.relu(self.norm(self.conv(x))).flatten(1))))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_what_comes_back_has_the_dtype_of_what_was_given(dtype, tmp_path):
    torch.manual_seed(0)
    net, x = Normed().eval().to(dtype), inputs("segmentation", 32).to(dtype)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    results = (
        an.quantize(net, [x], 4),
        an.compress(net, [x], an.Budget(size_ratio=1.2), formulation=FAST, candidates=1, checkpoint=tmp_path / "steps"),
    )
    name = str(dtype).removeprefix("torch.")
    for number, small in enumerate(results):
        assert name in small.report.settings["computed_in"]
        assert small.report.settings["measured_in"] == name
        assert {v.dtype for v in small.model.state_dict().values() if v.is_floating_point()} == {dtype}
        again = an.load(small.save(tmp_path / str(number)), Normed().to(dtype))
        assert torch.equal(again(x), small.model(x))
        assert again.state_dict().keys() == small.model.state_dict().keys()
        assert all(torch.equal(value, small.model.state_dict()[key]) for key, value in again.state_dict().items())
        (answer,) = onnx_session(small.export_onnx(tmp_path / "net.onnx")).run(None, {"input": x.float().numpy()})
        exact = an.load(tmp_path / str(number), Normed())
        np.testing.assert_allclose(answer, exact(x.float()).detach(), atol=1e-3)
        for layer, grid in small.grids.items():
            assert torch.equal(exact.get_submodule(layer).weight, dequantize(grid))
        single = copy.deepcopy(net).float()
        with torch.no_grad():
            judge = task_of(single, Calibration.of(x.float()), None).task
            found = judge(single(x.float()), small.model(x).float())
        assert small.report.small.divergence == pytest.approx(found, rel=1e-3, abs=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert results[0].report.small.divergence < 0.1


@pytest.mark.parametrize(
    ("dtype", "each"), [(torch.float64, 4), (torch.float32, 4), (torch.bfloat16, 2), (torch.float16, 2)]
)
def test_dense_bytes_are_those_of_the_dtype_given(dtype, each, tmp_path):
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).to(dtype)
    small = an.quantize(net, [torch.randn(32, 64)], 4, rounding=GptqRounding())
    weights = sum(parameter.numel() for parameter in net.parameters())
    assert 0 <= small.report.dense.bytes - each * weights < 400  # a header
    assert sum(layer.bytes_before for layer in small.report.layers) == each * weights
    assert small.report.small.bytes == sum(file.stat().st_size for file in small.save(tmp_path / "out").iterdir())
    assert small.report.size_ratio == pytest.approx(small.report.dense.bytes / small.report.small.bytes)


def test_a_budget_is_a_share_of_the_bytes_given():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).bfloat16(), [torch.randn(32, 64)]
    small = an.compress(net, x, an.Budget(size_ratio=3), formulation=FAST, candidates=1)
    assert small.report.small.bytes <= dense_bytes(net) / 3 < dense_bytes(net.float()) / 5


class Mixed(nn.Module):
    """A norm in float32 between layers in bfloat16, as transformers keeps some; a buffer; a bias that folding makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 16, bias=False).bfloat16(), nn.LayerNorm(16)
        self.conv, self.batch = nn.Conv1d(1, 4, 3, bias=False).bfloat16(), nn.BatchNorm1d(4).bfloat16()
        self.last = nn.Linear(56, 3).bfloat16()
        self.register_buffer("shift", torch.full((16,), 0.1))
        self.register_buffer("steps", torch.arange(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x.to(self.first.weight.dtype)).to(self.norm.weight.dtype)) + self.shift
        x = torch.relu(self.batch(self.conv(x.to(self.conv.weight.dtype)[:, None])))
        return self.last(x.flatten(1))


def test_mixed_dtypes_come_back_as_they_were(tmp_path):
    torch.manual_seed(0)
    net, x = Mixed().eval(), torch.randn(32, 6)
    small = an.quantize(net, [x], 4, rounding=GptqRounding())
    again = an.load(small.save(tmp_path), Mixed())
    for found in (small.model, again):
        for name, value in (*found.named_parameters(), *found.named_buffers()):
            wanted = net if name in net.state_dict() or name == "steps" else None
            assert value.dtype == (torch.bfloat16 if wanted is None else dict(_tensors(net))[name].dtype), name
    assert again.conv.bias.dtype == torch.bfloat16
    assert torch.equal(again(x), small.model(x))
    exact = an.load(tmp_path, Mixed().float())  # whatever the network's dtypes were that was saved
    assert {value.dtype for _, value in _tensors(exact)} == {torch.float32, torch.int64}


def _tensors(net: nn.Module) -> list[tuple[str, Tensor]]:
    return [*net.named_parameters(), *net.named_buffers()]


def test_what_a_narrow_dtype_cannot_hold_comes_back_in_float32():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).half()
    small = an.quantize(net.float(), [torch.randn(16, 4)], 8, rounding=GptqRounding()).model
    small[2].bias.data.fill_(1e5)
    with pytest.warns(UserWarning, match=r"'2\.bias' of the smaller network holds numbers beyond float16 \(1e\+05\)"):
        assert cast_like(small, net.half())[0].weight.dtype == torch.float32


class NoHalf(nn.Module):
    """Does not run in float16."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float16:
            raise RuntimeError("\"fancy_cpu\" not implemented for 'Half'")
        return self.fc(x)


def test_a_network_that_does_not_run_in_its_dtype_is_measured_in_float32_and_the_report_says_so():
    small = an.quantize(NoHalf().half(), [torch.randn(16, 4)], 8, rounding=GptqRounding())
    assert small.model.fc.weight.dtype == torch.float16
    assert small.report.settings["measured_in"].startswith("float32 (in float16 it does not run: ")
    large = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)).half()
    for layer in large:
        layer.weight.data = 1000 * torch.eye(4).half()
    small = an.quantize(large, [torch.rand(16, 4) + 1], 8, rounding=GptqRounding())
    assert small.report.settings["measured_in"] == "float32 (in float16 it answers NaN or infinite)"
    assert small.report.small.divergence < np.inf


def test_the_same_network_in_float64_gives_the_same_answer_and_numbers_beyond_float32_are_refused():
    torch.manual_seed(0)
    net, x = Normed().eval(), inputs("segmentation", 32)
    single, double = an.quantize(net, [x], 3), an.quantize(Normed.to(net, torch.float64), [x.double()], 3)
    for name, value in single.model.state_dict().items():
        assert torch.equal(value.to(double.model.state_dict()[name].dtype), double.model.state_dict()[name])
    assert single.report.settings["computed_in"] == single.report.settings["measured_in"] == "float32"
    assert single.report.size_ratio == double.report.size_ratio
    net.last.weight.data[0, 0] = 1e200
    with pytest.raises(ValueError, match=r"'last\.weight' holds numbers beyond float32"):
        an.quantize(net, [x], 3)
