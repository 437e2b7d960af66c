"""The commands as a user types them: answers on the output stream, one line and exit code 2 for bad input."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import annealnet as an
from annealnet import cli
from annealnet.architectures import digits_cnn


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and error text of one call."""
    monkeypatch.setattr(sys, "argv", ["annealnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:  # typer ends every call by leaving
        cli.main()
    text = capsys.readouterr()
    return int(end.value.code or 0), text.out, text.err


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    place = tmp_path / "weights.safetensors"
    save_file(digits_cnn().state_dict(), place)
    return place


SMALL = """from torch import nn

def network():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10))
"""


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A factory of a user's own, its weights, and a network of it."""
    (tmp_path / "small_model.py").write_text(SMALL)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    network = importlib.import_module("small_model").network()
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    yield ("--model", "small_model:network", "--weights", tmp_path / "small.safetensors"), network
    del sys.modules["small_model"]


COMPRESS = ("compress", "--model", "annealnet.architectures:digits_cnn", "--data", "digits", "--samples", "64")


def test_compress_writes_what_it_says_and_goes_on_after_an_interruption(monkeypatch, capsys, tmp_path, small):
    out = tmp_path / "out"
    call = ("compress", *small[0], "--data", "digits", "--samples", "32", "--size-ratio", "4", "--out", out, "--json")
    code, text, _ = run(monkeypatch, capsys, *call)
    assert code == 0
    assert json.loads(text)
    first = (out / "model.safetensors").read_bytes()
    assert {"plan.json", "model.safetensors", "model.onnx", "dense.onnx", "report.html"} <= {p.name for p in out.iterdir()}
    for name in ("model.safetensors", "plan.json", "report.html"):
        (out / name).unlink()  # as if the run had been stopped before it wrote them
    assert run(monkeypatch, capsys, *call)[0] == 0
    assert (out / "model.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "annealnet.architectures", "--size-ratio", "8"), "must name a factory"),
        (("--model", "annealnet.architectures:nothing", "--size-ratio", "8"), "cannot be imported"),
        (("--size-ratio", "100000"), "smallest"),
        (("--size-ratio", "0.5"), "size_ratio"),
        ((), "budget"),
        (("--size-ratio", "8", "--formulation", "newest"), "formulation='newest'"),
        (("--size-ratio", "8", "--mean", "a,b"), "--mean='a,b'"),
        (("--size-ratio", "8", "--data", "nowhere.csv"), "nowhere.csv"),
        (("--size-ratio", "8", "--model", "annealnet.architectures:resnet20"), "data"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, words):
    code, _, error = run(monkeypatch, capsys, *COMPRESS, "--out", tmp_path, *arguments)
    assert code == 2
    assert words in error
    assert "Traceback" not in error


def test_weights_that_hold_nan_or_do_not_fit(monkeypatch, capsys, tmp_path, weights):
    state = digits_cnn().state_dict()
    name = next(iter(state))
    state[name][0] = float("nan")
    save_file(state, weights)
    code, _, error = run(monkeypatch, capsys, *COMPRESS, "--weights", weights, "--size-ratio", "8", "--out", tmp_path)
    assert (code, "NaN" in error) == (2, True)
    weights.write_bytes(weights.read_bytes()[:100])
    code, _, error = run(monkeypatch, capsys, *COMPRESS, "--weights", weights, "--size-ratio", "8", "--out", tmp_path)
    assert (code, "weights.safetensors" in error) == (2, True)
    save_file({name: torch.zeros(1)}, weights)
    code, _, error = run(monkeypatch, capsys, *COMPRESS, "--weights", weights, "--size-ratio", "8", "--out", tmp_path)
    assert code == 2


QUANTIZE = ("quantize", "--model", "annealnet.architectures:digits_cnn", "--data", "digits", "--samples", "32")


def test_quantize_writes_what_it_says(monkeypatch, capsys, tmp_path, small):
    out = tmp_path / "out"
    call = (
        "quantize",
        *small[0],
        "--data",
        "digits",
        "--samples",
        "32",
        "--bits",
        "2",
        "--group",
        "16",
        "--no-symmetric",
        "--out",
        out,
        "--json",
        "--task",
        "classification",
    )
    code, text, _ = run(monkeypatch, capsys, *call)
    assert code == 0
    assert json.loads(text)["layers"]
    assert json.loads(text)["task"] == "classification, classes on axis 1 (as given)"
    assert {"plan.json", "model.safetensors", "model.onnx", "dense.onnx", "report.html"} <= {p.name for p in out.iterdir()}
    plan = json.loads((out / "plan.json").read_text())
    assert set(plan["bits"].values()) == {2}
    first = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").unlink()  # as if the run had been stopped before it wrote them
    assert run(monkeypatch, capsys, *call)[0] == 0
    assert (out / "model.safetensors").read_bytes() == first
    assert torch.isfinite(an.load(out, small[1])(torch.zeros(1, 1, 8, 8))).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bits", "9"), "from 1 to 8"),
        (("--bits", "many"), "--bits='many'"),
        (("--bits", "lost=4"), "lost"),
        (("--bits", "a=b"), "--bits='a=b'"),
        (("--data", "nowhere.csv"), "nowhere.csv"),
        (("--model", "annealnet.architectures:nothing"), "cannot be imported"),
        (("--task", "guessing"), "--task='guessing'"),
        (("--task", "classification:x"), "--task='classification:x'"),
        (("--task", "classification:3"), "axis=3"),
        (("--task", "regression"), "do not fit a regression"),
    ],
)
def test_quantize_refuses_bad_input(monkeypatch, capsys, tmp_path, arguments, words):
    code, _, error = run(monkeypatch, capsys, *QUANTIZE, "--out", tmp_path, *arguments)
    assert code == 2
    assert words in error


def test_solve_gives_energy_bits_and_certificate(monkeypatch, capsys, tmp_path):
    place = tmp_path / "problem.npz"
    np.savez(place, Q=np.array([[-1.0, 2.0], [0.0, -1.5]]))
    code, text, _ = run(monkeypatch, capsys, "solve", place, "--exact", "--json")
    answer = json.loads(text)
    assert (code, answer["energy"], answer["bits"]) == (0, -1.5, {"0": 0, "1": 1})
    assert answer["certificate"]["proven"]
    place.write_bytes(place.read_bytes()[:50])
    code, _, error = run(monkeypatch, capsys, "solve", place)
    assert (code, "problem.npz" in error) == (2, True)


def test_unknown_studies_options_and_commands(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "study", "newton1687")[0] == 2
    assert run(monkeypatch, capsys, "solve", "x", "--reads", "0")[0] == 2
    assert run(monkeypatch, capsys, "fly")[0] == 2
    assert run(monkeypatch, capsys, "--help")[0] == 0


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
@pytest.mark.parametrize("command", ["compress", "quantize", "demo"])
def test_a_missing_extra_is_told_before_any_work(monkeypatch, capsys, tmp_path, weights, command, missing):
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    out = tmp_path / "out"
    arguments = {
        "compress": (*COMPRESS, "--weights", weights, "--size-ratio", "8"),
        "quantize": ("quantize", *COMPRESS[1:], "--weights", weights),
        "demo": ("demo", "--seeds", "1"),
    }[command]
    code, text, error = run(monkeypatch, capsys, *arguments, "--out", out)
    assert (code, text) == (2, "")
    assert error.splitlines() == [f"annealnet: {missing} is needed for ONNX files: pip install 'annealnet[onnx]'"]
    assert not out.exists()


def test_a_missing_cluster_is_told_before_any_work(monkeypatch, capsys, tmp_path, weights):
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "out"
    call = (*COMPRESS, "--weights", weights, "--size-ratio", "8", "--backend", "ray", "--out", out)
    code, text, error = run(monkeypatch, capsys, *call)
    assert (code, text) == (2, "")
    assert error.splitlines() == ["annealnet: backend='ray' needs Ray: pip install 'annealnet[cluster]'"]
    assert not out.exists()
