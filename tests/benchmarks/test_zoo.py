"""The zoo's networks are what its table needs: repeatable, and with every part of them heard; the table says what fails."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("transformers")

from benchmarks.zoo import ARCHITECTURES, Architecture
from benchmarks.zoo.__main__ import LIMITS, complaint, run, table
from benchmarks.zoo.architecture import Batch, answer
from benchmarks.zoo.judging import STEPS

BY_NAME = {each.name: each for each in ARCHITECTURES}
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=list(BY_NAME))
#: Matrices that the answer looked at does not depend on.
UNHEARD = {"BERT": ("pooler",)}


def as_dict(batch: Batch) -> dict[str, torch.Tensor]:
    return batch if isinstance(batch, dict) else {"": batch}


def test_names_are_distinct_and_many():
    assert len(BY_NAME) == len(ARCHITECTURES) >= 24


@every_architecture
def test_the_same_seed_gives_the_same_network_batches_and_answers(architecture: Architecture):
    (batch,), (again,), (other,) = (architecture.batches(seed, 3) for seed in (0, 0, 1))
    assert all(torch.equal(value, as_dict(again)[name]) for name, value in as_dict(batch).items())
    assert not all(torch.equal(value, as_dict(other)[name]) for name, value in as_dict(batch).items())
    model = architecture.build()
    assert not model.training
    given = answer(model, batch)
    assert given.shape[0] == 3
    assert given.isfinite().all()
    assert torch.equal(given, answer(architecture.build(), batch))
    assert not torch.allclose(given, answer(model, other), atol=1e-3)
    assert not torch.allclose(given, answer(architecture.build(1), batch), atol=1e-3)


@every_architecture
def test_every_matrix_of_a_network_is_heard_in_its_answer(architecture: Architecture):
    """A removal that breaks a part must move the answer by more than what the table lets pass for rounding."""
    model = architecture.build()
    (batch,) = architecture.batches(0, 3)
    given = answer(model, batch)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name.startswith(tuple(UNHEARD.get(architecture.name, ("-",)))):
            continue
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.mul_(0.5 + torch.rand(parameter.shape, generator=generator))  # no norm can undo it
        moved = (answer(model, batch) - given).abs().max()
        with torch.no_grad():
            parameter.copy_(kept)
        assert moved > 2 * LIMITS["removed = masked"], f"{name} moves the answer by {moved:.1e} only"


def test_batches_hold_all_samples():
    assert [len(batch["input_ids"]) for batch in BY_NAME["BERT"].batches(0, 19)] == [8, 8, 3]


def test_a_process_that_does_not_end_in_time_is_a_row_that_says_so():
    row = run(BY_NAME["Regression MLP"], samples=16, seed=0, limit=0.1)
    assert row["opened"] == {"error": "not done within 0.1 s"}
    assert row["ONNX"] == {"error": "not reached"}
    assert "Regression MLP, opened: not done within 0.1 s" in table({"Regression MLP": row})


def test_the_table_marks_what_is_not_as_it_must_be():
    good = {"opened": "export", "on grids": 0.97, "removable": 0.5, "removed = masked": 2e-6, "4 bit": 4.5, "6×": 6.1}
    good |= {"reload": 0.0, "ONNX": 2e-4}
    row = {step: {"value": good[step], "seconds": 1.0} for step in STEPS}
    assert "✗" not in table({"BERT": row})
    for step, bad in (
        ("on grids", 0.9),
        ("removable", 0.1),
        ("removed = masked", float("nan")),
        ("6×", 5.9),
        ("reload", 1e-4),
        ("ONNX", 0.1),
    ):
        assert complaint(BY_NAME["BERT"], step, {"value": bad})
        assert f"- BERT, {step}: " in table({"BERT": row | {step: {"value": bad}}})
    assert complaint(BY_NAME["BERT"], "removed = masked", {"value": None}) == "nothing can be removed"
    assert complaint(BY_NAME["LSTM tagger"], "removed = masked", {"value": None}) is None
