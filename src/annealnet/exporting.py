"""PyTorch modules as ONNX files with a free batch dimension."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

from torch import Tensor, export, nn, onnx

from annealnet.files import replacing

__all__ = ["export_module_onnx"]


def export_module_onnx(module: nn.Module, example: Tensor, path: str | Path) -> Path:
    """Writes a module of one input and one output as ONNX (opset 18), under a temporary name first.

    Args:
        module: in evaluation mode.
        example: an input ``(batch, …)``; the batch dimension stays free.
        path: file to write.

    Returns:
        The path written.

    Raises:
        ImportError: when the packages of ``annealnet[onnx]`` are missing.

    Example:
        >>> import tempfile, torch, onnxruntime
        >>> file = export_module_onnx(nn.Linear(3, 2).eval(), torch.zeros(2, 3), Path(tempfile.mkdtemp()) / "m.onnx")
        >>> onnxruntime.InferenceSession(file).run(None, {"input": torch.ones(5, 3).numpy()})[0].shape
        (5, 2)
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError("the export needs onnx and onnxscript: pip install annealnet[onnx]") from error
    batch = export.Dim("batch", min=1)
    doubled = (
        example if len(example) > 1 else example.repeat(2, *[1] * (example.dim() - 1))
    )  # one sample fixes the dimension
    with replacing(path) as draft, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        onnx.export(
            module.eval(), (doubled,), draft, input_names=["input"], output_names=["output"], opset_version=18,
            dynamic_shapes=({0: batch},), dynamo=True, external_data=False,
        )  # fmt: skip
    return Path(path)
