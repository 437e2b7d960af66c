"""Batches as loaders give them: maps, several inputs, labels among them, sequences of different lengths."""

from __future__ import annotations

from collections import UserDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from annealnet.compression.network.answers import check_network
from annealnet.compression.network.calibration import read_batches

IDS, MASK = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
Y = torch.tensor([0, 1])


class Reads(nn.Module):
    """Takes what many networks take, and labels."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, scale: float = 1.0,
        use_cache: bool = True,
    ) -> dict[str, Tensor]:  # fmt: skip
        assert labels is None
        assert not use_cache
        return {"logits": scale * input_ids[:, :2].float()}


class Sampled(Dataset):
    def __init__(self, samples: list) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]


class Rows:
    """Like a Hugging Face dataset: read by numbers, and no torch Dataset."""

    def __init__(self, samples: list) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, i):
        return self.samples[i]

    def __getitems__(self, places: list[int]) -> list:
        return [self.samples[i] for i in places]


def sample(*ids: int, label: int = 0) -> dict:
    return {"input_ids": list(ids), "attention_mask": [1] * len(ids), "label": label}


NAMED = {"input_ids": IDS, "attention_mask": MASK}


@pytest.mark.parametrize(
    "data",
    [
        [NAMED | {"labels": Y}], NAMED | {"labels": Y}, [NAMED | {"label": Y}], [(NAMED, Y)], (NAMED, Y), [[NAMED, Y]],
        UserDict(NAMED | {"labels": Y}), iter([NAMED | {"labels": Y}]), ({**NAMED, "labels": Y} for _ in range(1)),
        [{"input_ids": IDS.numpy(), "attention_mask": MASK.tolist(), "labels": Y.tolist()}],
        [{name: value[:1] for name, value in NAMED.items()} | {"labels": Y[:1]},
         {name: value[1:] for name, value in NAMED.items()} | {"labels": Y[1:]}],
        Sampled([sample(5, 6, 7), sample(8, 9, label=1)]), Rows([sample(5, 6, 7), sample(8, 9, label=1)]),
        [{"input_ids": IDS[:1], "attention_mask": MASK[:1], "labels": Y[:1]},
         {"input_ids": IDS[1:, :2], "attention_mask": MASK[1:, :2], "labels": Y[1:]}],
        DataLoader(Sampled([{"input_ids": IDS[i], "attention_mask": MASK[i], "labels": Y[i]} for i in range(2)])),
    ],
)  # fmt: skip
def test_what_holds_inputs_by_name_and_labels(data):
    found = read_batches(data, model=Reads())
    assert found.x.args == ()
    assert torch.equal(found.x.kwargs["input_ids"], IDS)
    assert torch.equal(found.x.kwargs["attention_mask"], MASK)
    assert list(found.x.kwargs) == ["input_ids", "attention_mask"]
    assert found.x.settings == {"use_cache": False}
    assert torch.equal(found.y, Y)
    check_network(Reads(), found.x)


def test_whole_numbers_masks_and_numbers_keep_their_nature():
    batch = {
        "input_ids": IDS.int(), "attention_mask": MASK.bool(), "token_type_ids": MASK.to(torch.uint8),
        "pixel_values": torch.ones(2, 3).bfloat16(), "image": np.ones((2, 1)), "scale": 2.0, "mode": "fast", "nothing": None,
    }  # fmt: skip
    found = read_batches([batch]).x
    kinds = {name: tensor.dtype for name, tensor in found.kwargs.items()}
    assert kinds == {
        "input_ids": torch.int32, "attention_mask": torch.bool, "token_type_ids": torch.uint8, "pixel_values": torch.float32,
        "image": torch.float32,
    }  # fmt: skip
    assert found.settings == {"scale": 2.0, "mode": "fast", "nothing": None}


class Sums(nn.Module):
    def forward(self, a: Tensor, b: Tensor, label: Tensor | None = None) -> Tensor:
        return a + b


class Conditioned(nn.Module):
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return x + label[:, None]


A, B = torch.arange(4.0).reshape(2, 2), torch.ones(2, 2)


@pytest.mark.parametrize(
    ("data", "y"),
    [
        ([((A, B), Y)], Y), ([((A, B),)], None), ([[[A, B], Y]], Y), (((A, B), Y), Y), ([((A, B), None)], None),
        ([((A[:1], B[:1]), Y[:1]), ((A[1:], B[1:]), Y[1:])], Y),
        (DataLoader(Sampled([((a, b), y) for a, b, y in zip(A, B, Y, strict=True)])), Y),
    ],
)  # fmt: skip
def test_several_inputs_by_position(data, y):
    found = read_batches(data, model=Sums())
    assert len(found.x.args) == 2
    assert torch.equal(found.x.answer(Sums()), A + B)
    assert (found.y is None) if y is None else torch.equal(found.y, y)


def test_a_pair_is_still_inputs_and_labels():
    found = read_batches([(A, B)])
    assert torch.equal(found.x.main, A)
    assert torch.equal(found.y, B)


def test_a_label_that_the_model_needs_is_an_input():
    batch = {"x": A, "label": Y}
    assert list(read_batches([batch], model=Conditioned()).x.kwargs) == ["x", "label"]
    samples = Sampled([{"x": A[i].tolist(), "label": int(Y[i])} for i in range(2)])
    assert torch.equal(read_batches(samples, model=Conditioned()).x.kwargs["label"], Y)
    assert torch.equal(read_batches([{"a": A, "b": B, "label": Y}], model=Sums()).y, Y)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans())
def test_sequences_are_padded_where_a_mask_says_what_counts(lengths, tagged):
    batches = [
        {
            "input_ids": torch.full((2, n), 7), "attention_mask": torch.ones(2, n, dtype=torch.long),
            "inputs_embeds": torch.ones(2, n, 3), **({"labels": torch.full((2, n), 4)} if tagged else {}),
        }
        for n in lengths
    ]  # fmt: skip
    found = read_batches(batches)
    longest, mask = max(lengths), found.x.kwargs["attention_mask"]
    assert mask.shape == (2 * len(lengths), longest)
    assert mask.sum(1).tolist() == [n for n in lengths for _ in range(2)]
    assert torch.equal(found.x.kwargs["input_ids"], 7 * mask)
    assert torch.equal(found.x.kwargs["inputs_embeds"], mask[:, :, None].expand(-1, -1, 3).float())
    if tagged:
        assert torch.equal(found.y, torch.where(mask > 0, 4, -100))


def test_a_decoders_sequences_are_as_long_as_its_own_mask():
    def batch(n: int, m: int) -> dict[str, Tensor]:
        return {
            "input_ids": torch.ones(1, n, dtype=torch.long), "attention_mask": torch.ones(1, n),
            "decoder_input_ids": torch.ones(1, m, dtype=torch.long), "decoder_attention_mask": torch.ones(1, m),
        }  # fmt: skip

    found = read_batches([batch(3, 5), batch(4, 2)]).x
    assert found.shapes == {
        "input_ids": (4,), "attention_mask": (4,), "decoder_input_ids": (5,), "decoder_attention_mask": (5,)
    }  # fmt: skip


def test_language_models_labels_become_the_next_tokens():
    """Given their own inputs as labels they move them by one place inside: that is what accuracy and fine-tuning read."""
    y = torch.where(MASK > 0, IDS, -100)
    assert read_batches([NAMED | {"labels": y}], model=Reads()).y.tolist() == [[6, 7, -100], [9, -100, -100]]
    masked = torch.tensor([[-100, 3, -100], [-100, -100, -100]])
    assert torch.equal(read_batches([NAMED | {"labels": masked}], model=Reads()).y, masked)


def test_decoders_that_make_their_inputs_of_labels_are_given_them():
    class Translates(nn.Module):
        def forward(
            self, input_ids: Tensor, decoder_input_ids: Tensor | None = None, labels: Tensor | None = None
        ) -> Tensor:
            return decoder_input_ids.float()

        def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], 1)

    found = read_batches([{"input_ids": IDS, "labels": IDS}], model=Translates())
    assert found.x.kwargs["decoder_input_ids"].tolist() == [[0, 5, 6], [0, 8, 9]]
    assert torch.equal(found.y, IDS)


LONG = {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": torch.ones(2, 4)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"ids": IDS}], r"batch 0 has 'ids', which Reads\.forward does not take: it takes input_ids, attention_mask"),
        ([NAMED | {"fast": True}], r"batch 0 has 'fast', which Reads\.forward does not take"),
        ([NAMED, {"input_ids": IDS}], "batch 1 holds input_ids, the first held input_ids, attention_mask"),
        ([{"input_ids": IDS}, NAMED], "batch 1 holds input_ids, attention_mask, the first held input_ids"),
        ([NAMED | {"scale": 1.0}, NAMED], "batch 1 holds input_ids, attention_mask, the first held .*scale"),
        ([NAMED | {"scale": 1.0}, NAMED | {"scale": 2.0}], r"batch 1 has scale=2\.0, the first 1\.0"),
        ([NAMED | {"scale": 1.0}, NAMED | {"scale": True}], "batch 1 has scale=True"),
        ([NAMED, IDS], "batch 1 holds 0, the first held input_ids"),
        ([NAMED | {"labels": Y}, NAMED], "batch 1 has no labels"),
        ([NAMED | {"labels": Y, "label": Y}], "both 'labels' and 'label'"),
        ([(NAMED | {"labels": Y}, Y)], "labels in its map and beside it"),
        ([{"input_ids": IDS}, {"input_ids": IDS[:, :2]}], r"'input_ids' of samples of shape \(2,\).*pad sequences.*a.*mask"),
        ([IDS, IDS[:, :2]], r"samples of shape \(2,\), the first had \(3,\): give samples of one shape"),
        ([NAMED | {"input_ids": IDS[:, :2]}, LONG], "'input_ids' has samples .* not as long as its attention_mask"),
        ([{"input_ids": IDS, "attention_mask": MASK[:1]}], "different numbers of samples .input_ids: 2, attention_mask: 1"),
        ([{"input_ids": torch.tensor(3)}], "'input_ids' is a single number"),
        ([{"scale": 1.0}], "a map without a tensor"),
        ([{"input_ids": [[1, 2], [3]]}], "'input_ids' are list, not numbers"),
        ([{"input_ids": torch.tensor([[1.0, torch.nan]])}], "'input_ids' hold NaN"),
        ([NAMED | {"labels": Y[:1]}], "2 samples and 1 labels"),
        ([NAMED | {"labels": torch.zeros(2, 3)}, LONG | {"labels": torch.zeros(2, 4)}], "labels of one shape"),
        (Sampled([{"input_ids": [1, 2]}, {"input_ids": [1]}]), "sample 1 has 'input_ids' of samples .*pad sequences"),
        (Sampled([sample(1), {"input_ids": [1]}]), "sample 1 holds input_ids, the first held"),
        (Sampled([sample(1, 2) | {"text": "one two"}]), "has 'text', which Reads.forward does not take"),
        ([(IDS, IDS, IDS)], r"holds 3 things: give x, or \(x, y\) of all samples, or \(\(x1, x2\), y\)"),
        ([((IDS, "x"), Y)], "holds tuple, not a tensor"),
    ],
)  # fmt: skip
def test_what_the_model_is_not_called_with_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        read_batches(data, model=Reads())


def test_a_forward_of_any_names_takes_any():
    class Takes(nn.Module):
        def forward(self, **inputs: Tensor) -> Tensor:
            return inputs["anything"]

    assert list(read_batches([{"anything": A}], model=Takes()).x.kwargs) == ["anything"]


@pytest.mark.parametrize("output", [1.5, True, ["logits"]])
def test_an_output_is_a_name_or_a_number(output):
    with pytest.raises(ValueError, match="output="):
        read_batches(A, output=output)


def test_samples_that_do_not_fit_are_named_with_their_shapes():
    with pytest.raises(ValueError, match=r"data: samples of a \(2,\), b \(3,\) do not fit the model"):
        check_network(Sums(), read_batches([{"a": A, "b": torch.ones(2, 3)}]).x)
