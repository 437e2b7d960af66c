"""Small random networks of the transformers library, batches and answers as they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import annealnet as an
from annealnet.compression.files.onnx_export import onnx_names
from annealnet.compression.measuring.choosing import task_of
from annealnet.compression.network.answering import Answering
from annealnet.compression.network.answers import answers_of, check_network
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.graph import trace
from annealnet.compression.network.surgery import mask, remove
from annealnet.compression.rounding import GptqRounding
from annealnet.exporting import captured, onnx_session, write_model

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=30, max_position_embeddings=16, num_labels=3, **SMALL)
    return transformers.BertForSequenceClassification(config).eval()


def gpt() -> nn.Module:
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=30, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    ).eval()


def vit() -> nn.Module:
    torch.manual_seed(0)
    return transformers.ViTModel(transformers.ViTConfig(image_size=8, patch_size=4, **SMALL)).eval()


def t5() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config).eval()


def words(samples: int = 6, longest: int = 7) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(longest) < torch.randint(2, longest + 1, (samples, 1), generator=generator)).long()
    return {"input_ids": torch.randint(1, 30, (samples, longest), generator=generator) * mask, "attention_mask": mask}


LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("wrap", [dict, transformers.BatchEncoding])
def test_sequence_classification_reads_its_batches(wrap):
    samples = read_batches([wrap(words() | {"labels": LABELS})], model=bert())
    dense = check_network(bert(), samples.x)
    assert torch.equal(samples.y, LABELS)
    chosen = task_of(dense, samples)
    assert chosen.task == an.Classification(1)
    with torch.no_grad():
        assert torch.equal(answers_of(dense, samples.x), bert()(**words()).logits)


def test_a_language_model_is_judged_at_positions_that_count():
    batch = words()
    labels = torch.where(batch["attention_mask"] > 0, batch["input_ids"], -100)
    samples = read_batches([batch | {"labels": labels}], model=gpt())
    dense = check_network(gpt(), samples.x)
    assert samples.x.settings == {"use_cache": False}
    chosen = task_of(dense, samples)
    assert "classification" in str(chosen)
    answers = answers_of(dense, samples.x)
    assert answers.shape == (int(batch["attention_mask"].sum()), 30)
    with torch.no_grad():
        wanted = gpt()(**batch, labels=labels).loss
    y = samples.y[batch["attention_mask"] > 0]
    assert float(chosen.task.loss(answers, y)) == pytest.approx(float(wanted), rel=1e-5)


def test_hidden_states_are_numbers():
    samples = read_batches([{"pixel_values": IMAGES}], model=vit())
    dense = check_network(vit(), samples.x)
    assert task_of(dense, samples).task == an.Regression()
    assert answers_of(dense, samples.x).shape == (6, 5, 16)
    pooled = read_batches([{"pixel_values": IMAGES}], model=vit(), output="pooler_output")
    assert answers_of(dense, pooled.x).shape == (6, 16)
    assert task_of(dense, pooled).task == an.Regression()


def test_an_encoder_decoder_makes_its_inputs_of_labels():
    labels = torch.randint(1, 30, (6, 4), generator=torch.Generator().manual_seed(3))
    samples = read_batches([words() | {"labels": labels}], model=t5())
    dense = check_network(t5(), samples.x)
    with torch.no_grad():
        wanted = t5()(**words(), labels=labels)
    answers = answers_of(dense, samples.x)
    assert torch.allclose(answers, wanted.logits)
    assert float(task_of(dense, samples).task.loss(answers, samples.y)) == pytest.approx(float(wanted.loss), rel=1e-5)


@pytest.mark.parametrize("build", [bert, gpt])
def test_onnx_takes_the_same_names_at_any_length(build, tmp_path: Path):
    batch, net = words(), build()
    x = read_batches([batch], model=net).x
    session = onnx_session(write_model(captured(Answering(net, x), onnx_names(x)), tmp_path / "net.onnx"))
    assert [entry.name for entry in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [entry.name for entry in session.get_outputs()] == ["output"]
    longer = words(3, 11)
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in longer.items()})
    with torch.no_grad():
        wanted = net(**longer).logits
    counts = longer["attention_mask"] > 0 if wanted.ndim == 3 else slice(None)
    np.testing.assert_allclose(found[counts], wanted[counts], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions_are_taken(dtype):
    samples = read_batches([{"pixel_values": IMAGES.to(dtype)}], model=vit().to(dtype))
    found = answers_of(check_network(vit().to(dtype), samples.x), samples.x)
    with torch.no_grad():
        assert torch.allclose(found, vit()(IMAGES).last_hidden_state, atol=0.1)


def test_keys_that_a_network_does_not_take():
    with pytest.raises(ValueError, match="pixel_values"):
        check_network(bert(), read_batches([{"pixel_values": IMAGES}], model=bert()).x)


def never(_: str) -> None:
    raise AssertionError("work has started")


BAD = {
    "a key it does not take": (
        [words() | {"overflow": torch.ones(6, 7)}], "batch 0 has 'overflow', which Bert.* does not take: it takes input_ids",
    ),
    "a setting it does not take": ([words() | {"fast": True}], "batch 0 has 'fast', which Bert.* does not take"),
    "keys that differ": ([words(), {"input_ids": words()["input_ids"]}], "batch 1 holds input_ids, the first held"),
    "lengths without a mask": (
        [{"input_ids": words(longest=n)["input_ids"]} for n in (7, 5)], "pad sequences, and give an attention_mask",
    ),
    "too long": ([words(longest=20)], r"samples of input_ids \(20,\), .* do not fit the model"),
    "a token beyond the table": (
        [{"input_ids": torch.cat([words()["input_ids"]] * 200 + [torch.full((1, 7), 99)])}],
        r"samples of input_ids \(7,\), 0 to 99 do not fit the model \(index out of range",
    ),
    "nothing that counts": (
        [words() | {"attention_mask": torch.zeros(6, 7, dtype=torch.long)}], "attention_mask is 0 everywhere",
    ),
    "numbers for tokens": ([{"input_ids": torch.rand(4, 5)}], r"input_ids \(5,\) do not fit the model"),
    "text": ([["hello", "world"]], "batch 0 holds str, not a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("build", [bert, gpt])
def test_bad_batches_are_refused_before_work(build, what):
    data, said = BAD[what]
    if build is gpt and "it does not take" in what:
        pytest.skip("its forward takes any name")
    for work in (an.quantize, partial(an.compress, budget=an.Budget(size_ratio=2))):
        with pytest.raises(ValueError, match=said):
            work(build(), data, progress=never)


class Silent(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids, attention_mask):
        return {"loss": None, "text": str(self.network(input_ids, attention_mask=attention_mask))}


@pytest.mark.parametrize("build", [bert, gpt])
def test_an_output_without_a_tensor_is_refused_before_work(build):
    with pytest.raises(ValueError, match=r"model answers with dict without a tensor .* name one with output="):
        an.quantize(Silent(build()), [words()], 4, progress=never)
    with pytest.raises(ValueError, match=r"output='hidden' is no tensor in the model's answer .* there are 'logits'"):
        an.quantize(build(), [words()], 4, output="hidden", progress=never)
    with torch.device("meta"):
        empty = build()
    with pytest.raises(ValueError, match="is on the meta device"):
        an.quantize(empty, [words()], 4, progress=never)


@pytest.mark.parametrize("build", [bert, gpt])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lengths_may_differ_where_a_mask_says_so_and_dtypes_stay(build, dtype, tmp_path):
    data = [words(), words(longest=5)]
    small = an.quantize(build().to(dtype), data, 8, rounding=GptqRounding())
    assert {value.dtype for value in small.model.parameters()} == {dtype}
    assert small.report.settings["measured_in"] == str(dtype).removeprefix("torch.")
    assert small.report.small.divergence < 1e-2
    again = an.load(small.save(tmp_path), build().to(dtype))
    assert torch.equal(again(**words()).logits, small.model(**words()).logits)


def test_an_attention_that_cannot_be_looked_into_is_refused_with_the_one_to_choose():
    config = transformers.BertConfig(vocab_size=30, max_position_embeddings=16, **SMALL)
    net = transformers.BertModel(config).eval()
    net.set_attn_implementation("flex_attention")
    for work in (an.quantize, partial(an.compress, budget=an.Budget(size_ratio=2))):
        with pytest.raises(ValueError, match=r"'flex_attention', a kernel .* model\.set_attn_implementation\('sdpa'\)"):
            work(nn.Sequential(net), [words()], progress=never)
    for other in ("sdpa", "eager"):
        net.set_attn_implementation(other)
        assert trace(net, read_batches([words()]).x).way == "export"


NETWORKS = {"bert": (bert, words()), "gpt": (gpt, words()), "vit": (vit, {"pixel_values": IMAGES})}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_as_they_are_are_opened_rounded_and_read_back(name: str, tmp_path: Path):
    build, batch = NETWORKS[name]
    small = an.quantize(build(), [batch], bits=8)
    assert small.report.stays_dense.share < 0.1
    assert small.report.size_ratio > 2
    agreement = small.report.small.agreement
    assert (agreement is None) == (name == "vit")  # hidden states are numbers, and agree on no class
    assert agreement is None or agreement > 0.9
    again = an.load(small.save(tmp_path / name), build())
    example = small.example
    with torch.no_grad():
        torch.testing.assert_close(example.clone().answer(again), example.clone().answer(small.model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_heads_and_neurons_can_go(name: str):
    build, batch = NETWORKS[name]
    network, inputs = build(), read_batches([batch], model=build()).x
    graph = trace(network, inputs)
    assert graph.way == "export"
    assert {"heads", "neurons"} <= {group.what for group in graph.groups}
    keep = np.ones(graph.num_units, dtype=bool)
    for group in graph.groups:
        keep[list(group.units)[1::2]] = False
    with torch.no_grad():
        wanted, found = (inputs.clone().answer(change(network, graph, keep)) for change in (mask, remove))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_padding_draws_no_rounding_to_itself():
    network, batch = bert(), words()
    longer = {name: torch.nn.functional.pad(tensor, (0, 9)) for name, tensor in batch.items()}
    one, other = (an.quantize(network, [given], bits=4, rounding=GptqRounding()) for given in (batch, longer))
    for name, grid in one.grids.items():
        same = (grid.codes == other.grids[name].codes).double().mean()
        assert same > 0.99, name
