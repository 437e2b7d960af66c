"""What stands between a module and its ONNX file: refusals, a clean graph, whole files, a free batch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from annealnet.exporting import OPSET, captured, export_module_onnx, onnx_session, optional, write_model


class ByValue(nn.Module):
    """A forward that depends on values, which no graph can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum().item() > 0 else -x


def test_the_graph_holds_no_traces_of_the_machine_and_takes_any_batch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    graph = captured(model, torch.zeros(1, 3))
    assert model.training  # the module itself is left as it was
    assert graph.opset_import[0].version == OPSET
    assert b"site-packages" not in graph.SerializeToString()
    path = write_model(graph, tmp_path / "new" / "m.onnx")
    assert list(path.parent.iterdir()) == [path]
    session = onnx_session(path)
    for batch in (1, 5):
        x = torch.randn(batch, 3)
        (found,) = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(found, model.eval()(x).detach().numpy(), atol=1e-6)


def test_what_cannot_be_captured_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model=ByValue cannot be exported to ONNX with a dynamic batch"):
        export_module_onnx(ByValue(), torch.ones(2, 3), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"onnxscript is needed for ONNX files: pip install 'annealnet\[onnx\]'"):
        captured(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(ImportError, match="no_such_module is needed"):
        optional("no_such_module")
