"""Kinds from outside: a user's own layer is one class and one registration; what is registered is tested here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from annealnet import Budget, Regression
from annealnet.compression.baselines.methods import taylor_scores
from annealnet.compression.conformance import KIND_CHECKS, kind_conformance
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.graph import trace
from annealnet.compression.network.kinds import (
    LayerKind,
    LayerLabels,
    Linear,
    kind_of,
    layer_kind,
    register,
    registered,
    registry,
    weight_of,
)
from annealnet.compression.network.passage import Passage
from annealnet.compression.quantizing import quantize
from annealnet.compression.rounding import NearestRounding


@pytest.fixture(autouse=True)
def registrations() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = dict(registry._KINDS)
    yield
    registry._KINDS.clear()
    registry._KINDS.update(before)


class Affine(nn.Module):
    """A user's own linear layer, with names of its own, and numbers of its own to keep."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(outputs, inputs))
        self.offset = nn.Parameter(torch.randn(outputs))
        self.inputs, self.outputs = inputs, outputs

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == self.inputs
        return x @ self.matrix.T + self.offset


@dataclass(frozen=True)
class AffineKind(LayerKind):
    word: str = "affine"
    weight_name: str = "matrix"
    bias_name: str = "offset"
    transposed_in_onnx: bool = True

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        axis = len(passage.out_shape) - 1
        return LayerLabels(axis, passage.classes.fresh(module.outputs), passage.read(axis, module.inputs))

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        return Linear().rows(module, x, generator, max_rows)

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        module.outputs, module.inputs = outputs, inputs

    def expects(self, module: nn.Module) -> str:
        return f"{module.inputs} numbers at the end"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), Affine(5, 6), nn.ReLU(), nn.Linear(6, 2))


def test_a_users_own_layer_is_pruned_stored_and_exported() -> None:
    register(Affine, kind=AffineKind())
    x = torch.randn(4, 3)
    graph = trace(network(), x)
    assert [(layer.name, layer.kind) for layer in graph.layers] == [("0", "linear"), ("2", "affine"), ("4", "linear")]
    assert (graph.num_units, graph.stays_dense.num_bytes) == (11, 0)
    findings = kind_conformance(network(), x)
    assert [finding for finding in findings if finding.passed is False] == []


@pytest.mark.parametrize("shape", [(8, 3), (8, 4, 3)])
def test_every_baseline_scores_the_channels_of_a_users_own_layer(shape: tuple[int, ...]) -> None:
    """As it does those of a linear layer of the same weights, also where positions lie between samples and channels."""
    register(Affine, kind=AffineKind())
    own, plain, x = network(), network(), torch.randn(*shape)
    linear = nn.Linear(5, 6)
    linear.weight, linear.bias = plain[2].matrix, plain[2].offset
    plain[2] = linear
    task, rounding = Regression(), NearestRounding()
    found = [
        prepare(net.eval(), Calibration.of(x), Budget(size_ratio=1), rounding=rounding, task=task) for net in (own, plain)
    ]
    assert (taylor_scores(found[0]) == taylor_scores(found[1])).all()
    assert (taylor_scores(found[0]) > 0).any()


def test_a_users_own_layer_is_quantised() -> None:
    register(Affine, kind=AffineKind())
    dense, x = network().eval(), torch.randn(32, 3)
    small = quantize(dense, [x], bits=8)
    assert set(small.plan.bits) == {"0", "2", "4"}
    with torch.no_grad():
        assert (small.model(x) - dense(x)).abs().max() < 0.05 * dense(x).abs().max()


def test_without_registration_its_matrix_is_rounded_by_value_and_the_rest_is_named() -> None:
    graph = trace(network(), torch.randn(4, 3))
    assert [(layer.name, layer.by_value) for layer in graph.layers] == [("0", False), ("2.matrix", True), ("4", False)]
    assert {pinned.name: pinned.num_bytes for pinned in graph.pinned if pinned.num_bytes} == {"2.offset": 24}


def test_its_errors_say_what_it_expects() -> None:
    register(Affine, kind=AffineKind())
    with pytest.raises(ValueError, match="layer '0' expects 5 numbers at the end"):
        trace(nn.Sequential(Affine(5, 6)), torch.zeros(2, 4))


class Shifted(AffineKind):
    """Reads rows that are not those it multiplies."""

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        return super().rows(module, x, generator, max_rows) + 1


class Forgetful(AffineKind):
    """Does not tell the module of its new size."""

    def resize(self, module: nn.Module, outputs: int, inputs: int) -> None:
        pass


class Tied(AffineKind):
    """Claims that nothing may go."""

    def labels(self, module: nn.Module, passage: Passage) -> LayerLabels:
        found = super().labels(module, passage)
        passage.pin(found.reads, "a mistake")
        passage.pin(found.outputs, "a mistake")
        return found


@pytest.mark.parametrize(
    ("kind", "failing"),
    [
        (Shifted(), {"rows_times_weights_are_the_output"}),
        (Forgetful(), {"masked_equals_narrowed", "narrowed_rows_are_those_of_the_dense"}),
        (Tied(), set(KIND_CHECKS)),
    ],
)
def test_faulty_kinds_are_found(kind: LayerKind, failing: set[str]) -> None:
    register(Affine, kind=kind)
    left_out = ("onnx_runtime_agrees",)
    findings = kind_conformance(network(), torch.randn(4, 3), leave_out=left_out)
    assert {finding.check for finding in findings if finding.passed is False} >= failing - set(left_out)


class Louder(nn.Linear):
    """A subclass computes something else than its parent."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class LouderTable(nn.Embedding):
    """A subclass of what nothing is known of from within."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_subclass_with_a_forward_of_its_own_is_of_its_parents_kind_inside_only() -> None:
    assert layer_kind(Louder(2, 3)).inside
    assert not layer_kind(nn.Linear(2, 3)).inside
    assert kind_of(LouderTable(2, 3)) is None
    with pytest.raises(ValueError, match=r"layer=LouderTable is no layer .*Linear, .*register a kind"):
        layer_kind(LouderTable(2, 3))
    with pytest.raises(ValueError, match="layer=Softmax"):
        weight_of(nn.Softmax())


@pytest.mark.parametrize("types", [(), (3,), (nn.ReLU(),), (int,)])
def test_what_is_no_module_class_is_refused(types: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="types="):
        register(*types, kind=Linear())  # type: ignore[arg-type]


def test_what_is_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind='linear' is not a Kind"):
        register(nn.Linear, kind="linear")  # type: ignore[arg-type]


def test_every_layer_of_a_kind_is_named_in_a_test_of_this_folder() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    types = [
        found
        for found, kind in registered().items()
        if isinstance(kind, LayerKind) and found.__module__.startswith("torch.")
    ]
    assert len(types) >= 3
    assert [found.__name__ for found in types if f"nn.{found.__name__}" not in texts] == []
