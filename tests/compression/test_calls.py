"""Networks that take several inputs, or inputs by name, and answer more than a tensor, through the whole job."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import annealnet as an
from annealnet.compression import CompressionPlan, DataAware, FineTuning
from annealnet.compression.files.onnx_activations import quantize_activations
from annealnet.compression.files.onnx_export import onnx_latency
from annealnet.compression.measuring.choosing import task_of
from annealnet.compression.network.answers import answers_of
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.graph import trace
from annealnet.compression.rounding import GptqRounding, NearestRounding
from annealnet.exporting import onnx_session

FAST = DataAware(reads=2, sweeps=50)


class Tagger(nn.Module):
    """Tokens and a mask in, several things out; positions do not see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(11, 8), nn.Linear(8, 64)
        self.middle, self.last = nn.Linear(64, 6), nn.Linear(6, 5)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, use_cache: bool = True
    ) -> dict[str, Tensor | None]:
        assert labels is None
        assert not use_cache
        x = self.embedding(input_ids)
        if attention_mask is not None:
            x = x * attention_mask.unsqueeze(-1)
        h = self.middle(torch.relu(self.hidden(x)))
        return {"loss": None, "logits": self.last(torch.relu(h)), "hidden_states": h}


class Mixes(nn.Module):
    """Two pictures by position, or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.last = nn.Linear(6, 64), nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, a: Tensor, b: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        h = torch.relu(scale * self.one(a) + self.other(b))
        return 2 * a, self.last(h)


def tagger() -> Tagger:
    torch.manual_seed(0)
    return Tagger().eval()


def mixes() -> Mixes:
    torch.manual_seed(0)
    return Mixes().eval()


def tokens(samples: int = 24, length: int = 7, seed: int = 1) -> dict[str, Tensor]:
    """Right-padded sequences."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 11, (samples, length), generator=generator)
    mask = (torch.arange(length) < torch.randint(2, length + 1, (samples, 1), generator=generator)).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def pairs(samples: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(samples, 6, generator=generator), torch.randn(samples, 4, generator=generator)


@torch.no_grad()
def counted(model: nn.Module, batch: dict[str, Tensor], name: str = "logits") -> Tensor:
    """The answers at positions that count, without the library."""
    return model(**batch, use_cache=False)[name][batch["attention_mask"] > 0].double()


def divergence(dense: Tensor, small: Tensor) -> float:
    p, q = dense.log_softmax(-1), small.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


# ---- inputs by name ------------------------------------------------------------------------------------------


def test_a_map_is_rounded_reported_saved_loaded_and_exported(tmp_path):
    batch = tokens()
    small = an.quantize(tagger(), [batch], 3)
    dense, answer = counted(tagger(), batch), counted(small.model, batch)
    assert small.report.small.divergence == pytest.approx(divergence(dense, answer), rel=1e-4)
    assert small.report.small.agreement == pytest.approx(float((dense.argmax(-1) == answer.argmax(-1)).double().mean()))
    assert small.report.small.samples == 24
    assert "at positions that attention_mask counts" in small.report.task
    again = an.load(small.save(tmp_path / "out"), tagger())
    assert torch.equal(counted(again, batch), answer)
    sizes = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert sizes == small.report.small.bytes
    assert CompressionPlan.load(tmp_path / "out" / "plan.json") == small.plan
    session = onnx_session(small.export_onnx(tmp_path / "net.onnx"))
    assert [entry.name for entry in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [entry.name for entry in session.get_outputs()] == ["output"]
    assert onnx_latency(tmp_path / "net.onnx", batch=3, repeats=2).median > 0
    rounded = quantize_activations(tmp_path / "net.onnx", tmp_path / "int8.onnx", [{k: v.numpy() for k, v in batch.items()}])
    assert onnx_session(rounded).run(None, {k: v.numpy() for k, v in batch.items()})[0].shape == (24, 7, 5)
    longer = tokens(5, 9, seed=3)  # batch and length are free
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in longer.items()})
    with torch.no_grad():
        np.testing.assert_allclose(found, small.model(**longer, use_cache=False)["logits"], atol=1e-4)


def test_channels_go_and_fine_tuning_learns_from_positions_that_count(tmp_path):
    batch = tokens(48)
    labels = torch.where(batch["attention_mask"] > 0, tagger()(**batch, use_cache=False)["logits"].argmax(-1), 0)
    made = [
        an.compress(
            tagger(), [batch | {"labels": labels}], an.Budget(size_ratio=1.8), formulation=FAST, candidates=1, widths=(2,),
            rounding=GptqRounding(), fine_tuning=tuning,
        )
        for tuning in (None, FineTuning(epochs=20, batch_size=16, learning_rate=3e-3))
    ]  # fmt: skip
    for small in made:
        dense, answer = counted(tagger(), batch), counted(small.model, batch)
        assert small.report.small.divergence == pytest.approx(divergence(dense, answer), rel=1e-4)
        right = (answer.argmax(-1) == labels[batch["attention_mask"] > 0]).double().mean()
        assert small.report.small.accuracy == pytest.approx(float(right))
        assert torch.equal(counted(an.load(small.save(tmp_path), tagger()), batch), answer)
    assert made[1].report.small.loss < made[0].report.small.loss


def test_padding_changes_nothing_that_is_reported():
    """The same sentences one by one, and padded: positions that do not count are in no figure."""
    batch = tokens(16)
    lengths = batch["attention_mask"].sum(1).tolist()
    alone = [{name: value[i : i + 1, :n] for name, value in batch.items()} for i, n in enumerate(lengths)]
    assert read_batches(alone, model=tagger()).x.shapes == read_batches([batch], model=tagger()).x.shapes
    wide = {name: nn.functional.pad(value, (0, 20)) for name, value in batch.items()}
    coarse = copy.deepcopy(tagger())
    with torch.no_grad():
        coarse.middle.weight.copy_(coarse.middle.weight.flip(0))
    found = []
    for data in (alone, [batch], [wide]):
        samples = read_batches(data, model=tagger())
        task = task_of(tagger(), samples).task
        dense, small = answers_of(tagger(), samples.x), answers_of(coarse, samples.x)
        found.append((task(dense, small), task.agreement(dense, small)))
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])
    assert found[0][1] < 1


@pytest.mark.parametrize("axis", [-1, 2])
def test_a_task_given_keeps_its_axis_where_positions_are_left_out(axis):
    batch = tokens()
    asked = an.quantize(tagger(), [batch], 3, task=an.Classification(axis), rounding=NearestRounding())
    found = an.quantize(tagger(), [batch], 3, rounding=NearestRounding())
    assert asked.report.small.divergence == found.report.small.divergence
    whole = {name: tensor for name, tensor in batch.items() if name != "attention_mask"}
    assert "tokens" in an.quantize(tagger(), [whole], 3, rounding=NearestRounding()).report.task


def test_labels_that_positions_have_not():
    batch = tokens()
    with pytest.raises(ValueError, match=r"labels of shape \(N\) do not fit answers at 7 positions each"):
        an.quantize(tagger(), [batch | {"labels": torch.zeros(24, dtype=torch.long)}], 3)


def test_answers_that_count_must_be_finite_and_others_need_not():
    class Masked(Tagger):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            h = torch.relu(self.middle(torch.relu(self.hidden(self.embedding(input_ids)))))
            return self.last(h) / attention_mask.unsqueeze(-1)

    torch.manual_seed(0)
    net, batch = Masked().eval(), tokens()
    small = an.quantize(net, [batch], 4)
    assert np.isfinite(small.report.small.divergence)
    with torch.no_grad():
        net.embedding.weight[0] = torch.inf
        net.embedding.weight[0] = 3e38
    batch["input_ids"][20, 0] = 0
    with pytest.raises(ValueError, match="to sample 20"):
        an.quantize(net, [batch], 4)


# ---- several answers, several inputs -------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["hidden_states", None])
def test_the_answer_that_counts_is_asked_for(output, tmp_path):
    batch = tokens()
    small = an.quantize(tagger(), [batch], 4, output=output)
    name = output or "logits"
    dense, answer = counted(tagger(), batch, name), counted(small.model, batch, name)
    if output is None:
        assert "classification" in small.report.task
    else:
        assert "regression" in small.report.task
        assert "hidden states" in small.report.task
        assert small.report.small.divergence == pytest.approx(float(((dense - answer) ** 2).mean()), rel=1e-4)
    (found,) = onnx_session(small.export_onnx(tmp_path / "net.onnx")).run(
        None, {name: tensor.numpy() for name, tensor in batch.items()}
    )
    assert found.shape == (24, 7, 5 if output is None else 6)
    assert an.load(small.save(tmp_path), tagger())


def test_several_inputs_by_position_and_an_answer_by_its_number(tmp_path):
    a, b = pairs()
    by_place = an.quantize(mixes(), [((a, b), None)], 4, output=1)
    by_name = an.quantize(mixes(), [{"a": a, "b": b, "scale": 1.0}], 4, output=1)
    with torch.no_grad():
        answer = by_place.model(a, b)[1]
        assert torch.equal(by_name.model(a, b)[1], answer)
    assert "one of 3 classes" in by_place.report.task
    for number, small in enumerate((by_place, by_name)):
        again = an.load(small.save(tmp_path / str(number)), mixes())
        assert torch.equal(again(a, b)[1], answer)
    session = onnx_session(by_place.export_onnx(tmp_path / "net.onnx"))
    (found,) = session.run(None, {"input_0": a.numpy(), "input_1": b.numpy()})
    np.testing.assert_allclose(found, answer.detach(), atol=1e-4)
    with pytest.raises(ValueError, match=r"output=2 is no tensor .* there are 0, 1"):
        an.quantize(mixes(), [((a, b),)], 4, output=2)


def test_compress_with_several_inputs():
    a, b = pairs(64)
    small = an.compress(
        mixes(), ({"a": a[i : i + 16], "b": b[i : i + 16]} for i in range(0, 64, 16)), an.Budget(size_ratio=3), output=1,
        formulation=FAST, candidates=2, rounding=GptqRounding(), fine_tuning=FineTuning(epochs=1),
    )  # fmt: skip
    assert small.report.size_ratio >= 3
    assert small.report.small.samples == 64
    with torch.no_grad():
        expected = divergence(mixes()(a, b)[1].double(), small.model(a, b)[1].double())
    assert small.report.small.divergence == pytest.approx(expected, rel=1e-4)


def test_structure_is_seen_from_inputs_as_they_are():
    x = read_batches([tokens(2)], model=tagger()).x
    graph = trace(tagger(), x)
    assert graph.signature == x.signature
    assert [layer.name for layer in graph.layers] == ["embedding", "hidden", "middle", "last"]
    assert graph.num_units == 64  # those of the answers that do not count stay, too


# ---- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "work", [lambda net, data: an.quantize(net, data, 4), lambda net, data: an.compress(net, data, an.Budget(size_ratio=2))]
)
def test_a_model_on_meta_is_refused_with_the_mend(work):
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"model: '0\.weight' is on the meta device.*load"):
        work(net, torch.randn(4, 4))
    mixed = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    mixed.register_buffer("table", torch.empty(3, device="meta"), persistent=False)
    with pytest.raises(ValueError, match="'table' is on the meta device"):
        work(mixed, torch.randn(4, 4))


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def scripted_part() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Linear(4, 2)))


def compiled_part() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), torch.compile(nn.Linear(4, 2)))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: torch.jit.script(plain()), r"model was made by torch\.jit: .* give the module it was made of"),
        (lambda: torch.jit.trace(plain(), torch.zeros(1, 4)), "model was made by torch.jit"),
        (scripted_part, "model: its part '1' was made by torch.jit"),
        (compiled_part, r"model: its part '1' is wrapped by torch.compile: give the module in it \(1\._orig_mod\)"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(2)), "model: its part '1' is lazy and has no weights yet"),
        (lambda: torch.relu, "model is a builtin_function_or_method, not an nn.Module"),
    ],
)
def test_what_is_no_network_to_work_on_is_refused_before_the_data_are_read(build, words):
    def never():
        raise AssertionError("data have been read")
        yield

    model = build()
    with pytest.raises(ValueError, match=words):
        an.quantize(model, never(), 4)
    with pytest.raises(ValueError, match=words):
        an.compress(model, never(), an.Budget(size_ratio=2))


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda net: torch.compile(nn.DataParallel(net))])
def test_wrappers_are_taken_off(wrap, tmp_path):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    wanted, small = an.quantize(plain(), x, 4), an.quantize(wrap(plain()), x, 4)
    assert small.model.state_dict().keys() == wanted.model.state_dict().keys()
    assert torch.equal(small.model(x), wanted.model(x))
    again = an.load(small.save(tmp_path), wrap(plain()))
    assert torch.equal(again(x), wanted.model(x))
    with pytest.raises(ValueError, match="dense_model was made by torch"):
        an.load(tmp_path, torch.jit.script(plain()))


def test_frozen_networks_and_networks_in_training_mode_give_the_same(tmp_path):
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    wanted = an.quantize(plain(), x, 4).model(x)
    frozen, training = plain().requires_grad_(False), nn.Sequential(*plain(), nn.Dropout(0.5)).train()
    compiled = plain()
    compiled.compile()
    for net in (frozen, training, compiled):
        small = an.quantize(net, x, 4)
        assert torch.equal(small.model(x), wanted)
        assert net.training is (net is training)
        assert all(weight.requires_grad is (net is not frozen) for weight in net.parameters())
    tuned = an.compress(
        frozen, [(x, torch.arange(16) % 2)], an.Budget(size_ratio=1.2), candidates=1,
        fine_tuning=an.compression.FineTuning(epochs=1),
    )  # fmt: skip
    assert tuned.report.settings["fine_tuning"].startswith("FineTuning")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"ids": torch.ones(2, 3, dtype=torch.long)}], r"'ids', which Tagger\.forward does not take"),
        ([tokens(), {"input_ids": tokens()["input_ids"]}], "batch 1 holds input_ids, the first held"),
        ([{"input_ids": torch.ones(2, n, dtype=torch.long)} for n in (3, 4)], "pad sequences, and give an attention_mask"),
    ],
)
def test_bad_batches_are_refused_before_work(data, words):
    def never(_: str) -> None:
        raise AssertionError("work has started")

    with pytest.raises(ValueError, match=words):
        an.quantize(tagger(), data, 4, progress=never)
    with pytest.raises(ValueError, match=words):
        an.compress(tagger(), data, an.Budget(size_ratio=2), progress=never)


class Nothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, str]:
        self.last(x)
        return {"text": "nothing"}


def test_an_output_without_a_tensor_is_refused():
    with pytest.raises(ValueError, match="answers with dict without a tensor"):
        an.quantize(Nothing(), torch.randn(4, 4), 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions_by_name(dtype):
    a, b = pairs()
    small = an.quantize(mixes().to(dtype), [{"a": a.to(dtype), "b": b.to(dtype)}], 8, output=1)
    assert small.report.settings["computed_in"].startswith("float32 on the CPU (the model given")
    assert small.report.small.divergence < 0.01
