"""Files that lie: one clear ValueError each, nothing written, no memory taken."""

from __future__ import annotations

import copy
import json
import logging
import random
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from annealnet.compression.files.loading import load_compressed
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.plan import MAX_PLAN_BYTES, CompressionPlan
from annealnet.compression.files.saving import save_compressed
from annealnet.compression.network.graph import trace
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import Grid

MUTATIONS = 10_000
#: Most that the process may grow by, over all of them.
MEMORY = 256 * 2**20


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Named(nn.Module):
    """Takes two inputs by name, and a word."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor, x_mask: Tensor, mode: str = "plain") -> dict[str, Tensor]:
        return {"scores": self.last(torch.relu(self.first(x) * x_mask[:, :1]))}


def named_inputs() -> Inputs:
    return Inputs(kwargs={"x": torch.zeros(1, 3), "x_mask": torch.ones(1, 2)}, settings={"mode": "plain"}, output="scores")


def pooling() -> nn.Module:
    """Takes pictures of any size."""
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def save(folder: Path, model: nn.Module, example: Tensor | Inputs, grid: Grid) -> Path:
    graph = trace(model, example)
    keep = torch.ones(graph.num_units, dtype=torch.bool).numpy()
    plan = CompressionPlan.of(graph, keep, {layer.name: 3 for layer in graph.layers}, grid=grid)
    rounding = NearestRounding(grid.group, grid.symmetric, candidates=2)
    grids = {name: rounding(model.get_submodule(name).weight, 3) for name in plan.bits}
    return save_compressed(folder, plan, put_on_grid(model, grids), grids)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save(tmp_path / "out", dense(), torch.zeros(1, 3), Grid(8, 2, symmetric=False))


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# ---- by hand -----------------------------------------------------------------------------------------------

GIVEN: list[tuple[str, Any, str]] = [
    ("input", [-1], "input"), ("input", [0], "input"), ("input", [2**40], "input"), ("input", [2**20, 2**20], "more than"),
    ("input", [2**31], "does not fit"), ("input", [True], "input"), ("input", [3.0], "input"), ("input", "3", "a list"),
    ("input", [], "does not say"), ("input", [1] * 9, "at most 8"), ("input", [[3]], "input"),
    ("input", [float("inf")], "input"),
    ("group", "x", "group='x'"), ("group", 0, "group=0"), ("group", -2, "group=-2"), ("group", 2.0, "group=2.0"),
    ("group", True, "group=True"), ("group", 2**70, "group="), ("group", [2], "group="),
    ("bits", {"0": 4.0, "2": 3}, r"bits\['0'\]=4.0"), ("bits", {"0": True, "2": 3}, r"bits\['0'\]=True"),
    ("bits", {"0": "3", "2": 3}, "is not a width"), ("bits", {"0": 9, "2": 3}, "is not a width"),
    ("bits", {"0": 3}, "does not name layer '2'"), ("bits", {"0": 3, "2": 3, "4": 3}, "names layer '4'"),
    ("bits", [3, 3], "an object belongs"), ("bits", {"0": None, "2": 3}, "is not a width"),
    ("kept", {"0": "4:0"}, "keeps no channel"), ("kept", {"0": "4:ff"}, "not a channel mask"),
    ("kept", {"0": "9999999999:f"}, "not a channel mask"), ("kept", {"0": "4:-1"}, "not a channel mask"),
    ("kept", {"0": "4:0x"}, "not a channel mask"), ("kept", {"0": "٤:f"}, "not a channel mask"),
    ("kept", {"0": 15}, "not a channel mask"), ("kept", {"0": "5:1f"}, "made for another"),
    ("kept", None, "an object belongs"),
    ("kept", {"0": "8000000:" + "f" * 2_000_000}, "made for another"), ("kept", {}, "does not name group"),
    ("symmetric", "no", "symmetric='no'"), ("symmetric", 1, "symmetric=1"), ("symmetric", True, "'zeros'"),
    ("dtype", "nn", "dtype='nn'"), ("dtype", "complex64", "dtype="), ("dtype", ["float32"], "dtype="),
    ("dtype", "\ud800", "dtype="), ("version", True, "version True"), ("version", 2.0, "version 2.0"),
    ("version", 10**4000, "version 1000"), ("symmetrik", False, "'symmetrik', which no plan has"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "words"), GIVEN)
def test_hostile_plans_are_refused(saved: Path, key: str, value: Any, words: str) -> None:
    before = peak_memory()
    plan = json.loads((saved / "plan.json").read_text())
    (saved / "plan.json").write_text(json.dumps(plan | {key: value}))
    with pytest.raises(ValueError, match=words) as refused:
        load_compressed(saved, dense())
    assert len(str(refused.value)) < 2000
    assert peak_memory() - before < MEMORY


NAMED: list[tuple[str, Any, str]] = [
    ("version", 2, "has no 'input'"),
    ("version", 4, "version 4"),
    ("input", [3], "'input', which no plan has"),
    ("inputs", [3], "an object belongs"),
    ("inputs", {}, "does not say"),
    ("inputs", {"x": ["float32"]}, "does not say"),
    ("inputs", {"x": [], "x_mask": ["float32", 2]}, "does not say what it is"),
    ("inputs", {"x": "float32"}, "a list"),
    ("inputs", {"x": [3, 3]}, "dtype='3'"),
    ("inputs", {"x": ["nn", 3]}, "dtype='nn'"),
    ("inputs", {"x": ["float32", -1]}, "no shape"),
    ("inputs", {"x": ["float32", 3.0]}, "no shape"),
    ("inputs", {"x": ["float32", True]}, "no shape"),
    ("inputs", {"x": ["float32", 2**16, 2**16]}, "more than"),
    ("inputs", {"x": ["float32", 3], "x_mask": ["float32", 2**31 - 2]}, "more than"),
    ("inputs", {f"x{i}": ["float32", 3] for i in range(65)}, "more than 64"),
    ("inputs", {"x" * 300: ["float32", 3]}, "is longer"),
    ("inputs", {"x): import os #": ["float32", 3]}, "cannot be the name"),
    ("inputs", {"": ["float32", 3]}, "cannot be the name"),
    ("inputs", {"lambda": ["float32", 3]}, "cannot be the name"),
    ("inputs", {"\ud800": ["float32", 3]}, "cannot be the name"),
    ("inputs", {"x": ["float32", 3], "1": ["float32", 2]}, "cannot be the name"),
    ("inputs", {"z": ["float32", 3]}, "does not fit"),
    ("inputs", {"x": ["float32", 3]}, "does not fit"),
    ("inputs", {"x": ["float32", 4], "x_mask": ["float32", 2]}, "does not fit"),
    ("inputs", {"0": ["float32", 3], "x": ["float32", 3]}, "does not fit"),
    ("inputs", {"self": ["float32", 3]}, "does not fit"),
    ("settings", [1], "an object belongs"),
    ("settings", {"mode": [1]}, "'mode' is list"),
    ("settings", {"mode": {}}, "'mode' is dict"),
    ("settings", {"mode": "x" * 1000}, "is longer"),
    ("settings", {"mode": 10**30}, "is longer"),
    ("settings", {"mode": float("inf")}, "is longer"),
    ("settings", {"x": 3}, "a tensor and a setting"),
    ("settings", {"other": 3}, "does not fit"),
    ("settings", {"__class__": 3}, "does not fit"),
    ("output", [1], "output="),
    ("output", True, "output="),
    ("output", "x" * 1000, "is longer"),
    ("output", 10**40, "is longer"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "words"), NAMED)
def test_hostile_plans_of_named_inputs_are_refused(tmp_path: Path, key: str, value: Any, words: str) -> None:
    folder = save(tmp_path / "out", Named(), named_inputs(), Grid(8))
    before = peak_memory()
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["version"] == 3
    (folder / "plan.json").write_text(json.dumps(plan | {key: value}))
    with pytest.raises(ValueError, match=words) as refused:
        load_compressed(folder, Named())
    assert len(str(refused.value)) < 2000
    assert peak_memory() - before < MEMORY


def test_a_plan_of_named_inputs_is_read_back(tmp_path: Path) -> None:
    folder = save(tmp_path / "out", Named(), named_inputs(), Grid(8))
    assert CompressionPlan.load(folder / "plan.json").inputs == named_inputs().signature
    x = {"x": torch.randn(2, 3), "x_mask": torch.ones(2, 2)}
    assert load_compressed(folder, Named())(**x)["scores"].shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe{}", "UTF-8"),
        (b"", "not whole JSON"),
        (b"[" * 200_000, "not whole JSON"),
        (b'{"a":' * 100_000, "not whole JSON"),
        (b'{"version":2,"version":2}', "'version' is there twice"),
        (b'{"version":' + b"1" * 5000 + b"}", "not a valid plan"),
        (b" " * (MAX_PLAN_BYTES + 1), "more than any plan"),
        (b'{"version":NaN}', "version nan"),
        (b'{"version":2}', "has no 'input'"),
    ],
)
def test_plans_that_are_no_text_of_ours_are_refused(saved: Path, text: bytes, words: str) -> None:
    (saved / "plan.json").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        load_compressed(saved, dense())


def test_a_large_input_takes_no_memory(tmp_path: Path) -> None:
    """A network that takes pictures of any size: the plan's are of 2³⁰ pixels, 64 GB of activations if it were run."""
    folder = save(tmp_path, pooling(), torch.zeros(1, 1, 4, 4), Grid(8))
    x = torch.randn(2, 1, 4, 4)
    want = load_compressed(folder, pooling())(x)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"input": [1, 2**15, 2**15]}))
    before = peak_memory()
    assert torch.equal(load_compressed(folder, pooling())(x), want)
    assert peak_memory() - before < MEMORY


def test_networks_that_look_at_values_are_run_on_small_inputs_only(tmp_path: Path) -> None:
    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    def looking() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), Looks(), nn.AdaptiveAvgPool2d(1))

    folder = save(tmp_path, looking(), torch.zeros(1, 1, 4, 4), Grid(8))
    assert load_compressed(folder, looking())(torch.zeros(1, 1, 4, 4)).shape == (1, 2, 1, 1)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"input": [1, 2**15, 2**15]}))
    with pytest.raises(ValueError, match="too many to run"):
        load_compressed(folder, looking())


def header(content: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(told: Any, data: bytes) -> bytes:
    text = json.dumps(told).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "edit",
    [
        lambda told: told["codes"].update(shape=[2**62]),
        lambda told: told["codes"].update(shape=[2**40, 2**40]),
        lambda told: told["codes"].update(shape=[-1]),
        lambda told: told["codes"].update(data_offsets=[0, 2**50]),
        lambda told: told["codes"].update(data_offsets=[5, 1]),
        lambda told: told["scales"].update(dtype="F32"),
        lambda told: told["scales"].update(dtype="F99"),
        lambda told: told["scales"].update(dtype="F8_E4M3"),
        lambda told: told.update(codes={}),
        lambda told: told.update(more={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}),
        lambda told: told.pop("zeros"),
    ],
)
def test_headers_that_lie_are_refused(saved: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    place = saved / "model.safetensors"
    told, data = header(place.read_bytes())
    edit(told)
    place.write_bytes(with_header(told, data))
    before = peak_memory()
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_compressed(saved, dense())
    assert peak_memory() - before < MEMORY


def test_a_header_longer_than_the_file_is_refused(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_compressed(saved, dense())


# ---- by chance ---------------------------------------------------------------------------------------------

NASTY: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 4, 8, 2.5, 4.0, 1e300, float("inf"), float("nan"), 2**31, 2**40, 2**63, 2**64, 10**30,
    "", "x", "0", "2", "4:f", "4:", "4:g", "-4:f", "1e9:f", "4:00f", "../out", "/etc/passwd", "\u0000", "\ud800", "float32",
    "int64", "float64", [], [3], [3, 3], [-1], [2**40], [[]], [None], {}, {"0": 3}, {"0": "4:f"}, {"": None},
    "F16", "I64", [[0]],
]  # fmt: skip


def places(found: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside a document."""
    keys = found.keys() if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ()
    return [(found, key) for key in keys] + [place for key in keys for place in places(found[key])]


def damaged_document(rng: random.Random, document: Any) -> Any:
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        inside = places(document)
        if not inside:
            break
        container, key = rng.choice(inside)
        chance = rng.random()
        if chance < 0.15:
            del container[key]
        elif chance < 0.3 and isinstance(container, dict):
            container[
                rng.choice(
                    ("0", "2", "group", "symmetric", "codes", "rest.F32", "é", "input", "x", "inputs", "settings", "output")
                )
            ] = copy.deepcopy(rng.choice(NASTY))
        elif chance < 0.4 and isinstance(container[key], int):
            container[key] += rng.choice((-2, -1, 1, 2, 256, 2**32))
        else:
            container[key] = copy.deepcopy(rng.choice(NASTY))
    return document


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(found) + 1)
        chance = rng.random()
        if chance < 0.4 and at < len(found):
            found[at] = rng.randrange(256)
        elif chance < 0.6:
            found[at:at] = rng.choice((b"\xff", b"{", b"]", b'"', b"0", b"9" * 20, bytes(16), b"\\ud800"))
        elif chance < 0.8:
            del found[at : at + rng.choice((1, 2, 9))]
        else:
            del found[at:]
    return bytes(found)


def damaged(rng: random.Random, name: str, content: bytes) -> bytes:
    if rng.random() < 0.4:
        return damaged_bytes(rng, content)
    if name == "plan.json":
        return json.dumps(damaged_document(rng, json.loads(content)), ensure_ascii=True).encode()
    told, data = header(content)
    return with_header(damaged_document(rng, told), data)


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_ten_thousand_damaged_files_give_value_errors_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)  # tells of every operation, for nobody
    torch.manual_seed(0)
    layouts = [Grid(8), Grid(8, 2), Grid(8, None, symmetric=False)]
    folders = [save(tmp_path / str(i), dense(), torch.zeros(1, 3), grid) for i, grid in enumerate(layouts)]
    folders.append(save(tmp_path / "named", Named(), named_inputs(), Grid(8)))
    whole = {(folder, path.name): path.read_bytes() for folder in folders for path in folder.iterdir()}
    models = [dense(), dense(), dense(), Named()]
    there, memory = everything_below(tmp_path), peak_memory()
    refused = 0
    for number in range(MUTATIONS):
        folder, name = folders[number % 4], "plan.json" if rng.random() < 0.7 else "model.safetensors"
        (folder / name).write_bytes(damaged(rng, name, whole[folder, name]))
        try:
            load_compressed(folder, models[number % 4])
        except ValueError:
            refused += 1
        (folder / name).write_bytes(whole[folder, name])
    assert refused > MUTATIONS / 2
    assert peak_memory() - memory < MEMORY
    assert everything_below(tmp_path) == there
