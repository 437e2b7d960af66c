"""PyTorch modules as ONNX files with a free batch dimension: captured, cleaned, written whole, run."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from annealnet.files import replacing

__all__ = ["OPSET", "captured", "check_onnx", "export_module_onnx", "onnx_session", "optional", "write_model"]

#: The first opset with 4-bit integers.
OPSET = 21


def optional(module: str) -> Any:
    """Imports a module of the ``onnx`` extra, which is not installed with annealnet itself.

    Raises:
        ImportError: when it is not there, with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed for ONNX files: pip install 'annealnet[onnx]'") from error


def check_onnx() -> None:
    """Looks for everything that writing and timing ONNX models takes, for jobs that do so at their end.

    Raises:
        ValueError: when something is not there, with the command that installs it.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        try:
            optional(module)
        except ImportError as error:
            raise ValueError(str(error)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress, and where it fails the graph so far; it reports missing packages on every call."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def captured(model: nn.Module, example: Tensor | Mapping[str, Tensor]) -> Any:
    """An ``onnx.ModelProto`` of a module in evaluation mode: input ``input``, output ``output``, a free batch.

    Whole numbers and masks ``(samples, positions)`` are sequences: their length stays free where the module allows it.

    Args:
        model: any module that ``torch.export`` can capture; not changed.
        example: a batch of inputs ``(samples, …)``, or several by the names that the model's inputs get, in the order in
            which the module takes them by position.

    Raises:
        ImportError: when the packages of ``annealnet[onnx]`` are missing.
        ValueError: when the module cannot be captured.
    """
    for module in ("onnx", "onnxscript"):
        optional(module)
    given = {"input": example} if isinstance(example, Tensor) else example
    # a batch of one would be taken for a constant
    batch = {name: torch.cat([tensor[:1], tensor[:1]]).detach() for name, tensor in given.items()}
    free = {name: _free_axes(tensor) for name, tensor in batch.items()}
    only_batch = {name: {0: axes[0]} for name, axes in free.items()}
    if free != only_batch:
        with contextlib.suppress(Exception):  # its forward fixes the length
            return _free(_exported(model, batch, free))
    try:
        return _free(_exported(model, batch, only_batch))
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"model={type(model).__name__} cannot be exported to ONNX with a dynamic batch ({reason}): its forward "
            "must not depend on values or fix the number of samples"
        ) from error


def _free(proto: Any) -> Any:
    """The model, if its batch is free as asked."""
    fixed = [given.name for given in proto.graph.input if not given.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise ValueError(f"the batch of {fixed[0]!r} is fixed: a tensor of another size is combined with it")
    return proto


def _free_axes(tensor: Tensor) -> dict[int, Any]:
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if tensor.ndim == 2 and not tensor.is_floating_point() and tensor.shape[1] > 1:
        axes[1] = torch.export.Dim.DYNAMIC
    return axes


def _exported(model: nn.Module, batch: Mapping[str, Tensor], free: Mapping[str, Mapping[int, Any]]) -> Any:
    shapes: tuple[Any, ...] = tuple(free.values())
    if any(one.kind is one.VAR_POSITIONAL for one in inspect.signature(model.forward).parameters.values()):
        shapes = (shapes,)  # one parameter holds them all
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            copy.deepcopy(model).eval(), tuple(batch.values()), dynamo=True, dynamic_shapes=shapes,
            input_names=list(batch), output_names=["output"], opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    return _cleaned(program.model_proto)


def _cleaned(model: Any) -> Any:
    """Without what the exporter notes for every node, where in the source it came from: bytes, and paths of this machine."""
    for entry in (model, model.graph, *model.graph.node, *model.graph.initializer):
        entry.ClearField("metadata_props")
    for node in model.graph.node:
        node.ClearField("doc_string")
    model.graph.ClearField("value_info")
    return model


def write_model(model: Any, path: str | Path) -> Path:
    """Writes an ``onnx.ModelProto`` to a temporary name, then to ``path``."""
    with replacing(path) as draft:
        optional("onnx").save_model(model, str(draft))
    return Path(path)


def export_module_onnx(module: nn.Module, example: Tensor | Mapping[str, Tensor], path: str | Path) -> Path:
    """Writes a module of one output as a float32 ONNX model.

    Args:
        module, example: as for :func:`captured`.
        path: file to write.

    Returns:
        The path written.

    Raises:
        ImportError: when the packages of ``annealnet[onnx]`` are missing.
        ValueError: when the module cannot be captured.

    Example:
        >>> import tempfile
        >>> file = export_module_onnx(nn.Linear(3, 2), torch.zeros(1, 3), Path(tempfile.mkdtemp()) / "m.onnx")
        >>> onnx_session(file).run(None, {"input": torch.ones(5, 3).numpy()})[0].shape
        (5, 2)
    """
    return write_model(captured(module, example), path)


def onnx_session(path: str | Path, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU.

    Where only weights are quantised they are dequantised once, when the session is made, not in every run.

    Args:
        path: an ONNX file.
        threads: for the operators' inner loops.
    """
    onnx, onnxruntime = optional("onnx"), optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if not any(node.op_type == "QuantizeLinear" for node in onnx.load(str(path)).graph.node):
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
