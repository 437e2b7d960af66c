"""Reading batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import annealnet as an
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.rounding import NearestRounding

X = torch.arange(12.0).reshape(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])


class Pairs(Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, i):
        return X[i], int(Y[i])


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Yields(IterableDataset):
    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class Endless(Dataset):
    def __getitem__(self, i):
        return X[i]


class Words(Pairs):
    def __getitem__(self, i):
        return object()


LABELLED = [
    [(X, Y)], [[X, Y]], [(X[:4], Y[:4]), (X[4:], Y[4:])], (X, Y), DataLoader(TensorDataset(X, Y), batch_size=4),
    TensorDataset(X, Y), Pairs(), Stream(), DataLoader(Pairs(), batch_size=5), [(X.numpy(), Y.numpy())],
    [(X.double(), Y.int())], [(X, Y.tolist())], iter([(X, Y)]), (batch for batch in [(X[:4], Y[:4]), (X[4:], Y[4:])]),
    DataLoader(Yields((X[:4], Y[:4]), (X[4:], Y[4:])), batch_size=None), DataLoader(Stream(), batch_size=4),
    Yields(*[(x.numpy(), int(y)) for x, y in zip(X, Y, strict=True)]),
]  # fmt: skip
PLAIN = [
    X, X.numpy(), [X], [(X, None)], [[X]], [(X,)], DataLoader(TensorDataset(X), batch_size=4), TensorDataset(X),
    [X[:1], X[1:]], X.half(), X.bfloat16(), (batch for batch in X.split(4)), DataLoader(Yields(*X), batch_size=4),
    DataLoader(Yields(*X.split(4)), batch_size=None),
]  # fmt: skip


@pytest.mark.parametrize("data", LABELLED)
def test_what_holds_samples_and_labels(data):
    found = read_batches(data)
    assert torch.equal(found.x.main, X)
    assert torch.equal(found.y, Y)
    assert (found.x.main.dtype, found.y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("data", PLAIN)
def test_what_holds_samples_alone(data):
    found = read_batches(data)
    assert torch.equal(found.x.main, X)
    assert (found.x.main.dtype, found.y) == (torch.float32, None)


def test_tokens_stay_whole_and_numbers_as_labels_stay_numbers():
    tokens = torch.tensor([[1, 2], [3, 4]])
    assert read_batches(tokens).x.main.dtype == torch.int64
    assert read_batches([(X, X[:, 0].double())]).y.dtype == torch.float32
    assert read_batches([(X, Y > 0)]).y.dtype == torch.int64
    assert read_batches(X.to(torch.uint8)).x.main.dtype == torch.float32


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 12))
def test_batches_are_joined_in_order_up_to_the_samples_asked_for(sizes, samples):
    x = torch.arange(float(sum(sizes)))[:, None]
    found = read_batches([(part, part[:, 0].long()) for part in x.split(sizes)], samples=samples)
    assert torch.equal(found.x.main, x[:samples])
    assert torch.equal(found.y, x[:samples, 0].long())


def test_what_is_read_has_memory_of_its_own():
    x = X.clone()
    found = read_batches(x)
    x.zero_()
    assert torch.equal(found.x.main, X)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "data is empty"),
        ("digits", "data is a str"),
        (7, "data=7 is no data"),
        ([(X, Y, Y)], "batch 0 holds 3 things"),
        ([()], "batch 0 holds 0 things"),
        (["x"], "batch 0 holds str"),
        ([(X, "abcdef")], "labels are str"),
        ((X, X), "two tensors of one shape"),
        ([torch.tensor(1.0)], "single number"),
        ([(X, Y[:3])], "6 samples and 3 labels"),
        ([(X, torch.tensor(1))], "6 samples and 1 labels"),
        ([(X, Y), X], "batch 1 has no labels"),
        ([X, (X, Y)], "batch 1 has labels"),
        ([X, X[:, :1]], "one shape"),
        ([(X, X), (X, Y)], "labels of one shape"),
        ([X * torch.inf], "inputs hold NaN or infinite"),
        ([torch.full((2, 2), 1e300, dtype=torch.float64)], "inputs hold NaN or infinite"),
        ([(X, X[:, 0] * torch.nan)], "labels hold NaN"),
        ([X + 0j], "complex"),
        (Endless(), "Endless without a length"),
        (Words(), "cannot be put into batches"),
        (Yields((X, Y), (X, Y)), "item 0 of Yields may be a sample or a whole batch.*batch_size=None.*batch_size=64"),
        (Yields((X[0], 0), (X, Y)), "item 1 of Yields may be a sample or a whole batch"),
        (Yields(X, X), "item 0 of Yields may be a sample or a whole batch"),
        (Yields(*X), "item 0 of Yields may be a sample or a whole batch"),
        (Yields("x", "y"), "batch 0 holds str"),
        (Yields(), "data is empty"),
        (zip(X, Y, strict=True), r"2 samples and 1 labels.*batches of them \(x.unsqueeze\(0\)"),
    ],
)
def test_what_cannot_be_read_says_what_to_give(data, words):
    with pytest.raises(ValueError, match=words):
        read_batches(data)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="training_data is empty"):
        read_batches([], "training_data")


def test_numpy_arrays_that_cannot_be_written():
    frozen = np.zeros((3, 2), dtype=np.float32)
    frozen.flags.writeable = False
    assert read_batches(frozen).x.main.shape == (3, 2)


@pytest.mark.parametrize("data", [[X, Y], (X, Y, Y), [X, Y.float()], [X.numpy(), Y.numpy()]])
def test_inputs_and_labels_in_a_row_are_no_batches(data):
    with pytest.raises(ValueError, match=r"give \(x, y\) or \[\(x, y\)\]"):
        read_batches(data)


def test_batches_of_one_shape_are_batches():
    assert len(read_batches([X, X + 1]).x) == 12
    assert len(read_batches([X, X[:2]]).x) == 8


@pytest.mark.parametrize("x", [X.to_sparse(), torch.quantize_per_tensor(X, 0.1, 0, torch.qint8)])
def test_sparse_and_quantised_tensors_are_refused(x):
    with pytest.raises(ValueError, match="give a dense tensor"):
        read_batches(x)


def test_how_much_a_generator_gave_is_known_once_it_is_read():
    read = read_batches((X[i : i + 4], Y[i : i + 4]) for i in (0, 4))
    assert str(read) == "6 samples, 96 bytes in memory"
    assert read.num_bytes == 6 * 2 * 4 + 6 * 8


@pytest.mark.parametrize(
    "job", [an.quantize, lambda *given, **named: an.compress(*given, an.Budget(size_ratio=1.1), **named)]
)
def test_jobs_say_it_once(job):
    told: list[str] = []
    batches = ([X[i : i + 4]] for i in (0, 4))
    job(
        nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2)),
        batches,
        progress=told.append,
        rounding=NearestRounding(),
    )
    assert [text for text in told if text.startswith("data:")] == ["data: 6 samples, 48 bytes in memory"]


def test_a_generator_may_fill_the_same_tensor_again():
    def batches():
        held = torch.empty(2, 3)
        for number in range(4):
            yield held.fill_(number)

    assert read_batches(batches()).x.main[::2, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
