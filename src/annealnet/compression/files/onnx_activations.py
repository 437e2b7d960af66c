"""Static int8 activations for an exported ONNX model, so that ONNX Runtime computes with integers.

    x ≈ s · (c − z),      c ∈ {0, …, 255},      s = (max − min) / 255,      z = round(−min / s)

min and max of every activation come from calibration data (zero always inside). A ``QuantizeLinear`` →
``DequantizeLinear`` pair goes behind each activation; the runtime then fuses convolutions, matrix products
and sums into integer kernels. This rounds activations as well: accuracy has to be measured again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from annealnet.exporting import optional, write_model

__all__ = ["quantize_activations"]

#: Operations with integer kernels whose results are rounded.
_ROUNDED = frozenset(("Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool"))
#: Operations that melt into the rounding behind them.
_MELTED = frozenset(("Relu", "Clip"))


def quantize_activations(
    source: str | Path, target: str | Path, batches: Iterable[np.ndarray | Mapping[str, np.ndarray]]
) -> Path:
    """Writes a model with static 8-bit activations beside the weights it has.

    Args:
        source: a model that ``export_onnx`` wrote. INT4 weights become int8 (same values), since integer
            kernels take those.
        target: the file to write.
        batches: calibration inputs ``(samples, ...)``, or several by the names of the model's inputs.

    Returns:
        The path.

    Raises:
        ValueError: when there is no batch.

    Note:
        On x86 without VNNI the runtime's u8 · s8 products saturate for 8-bit weights; widths up to 7 are
        safe.
    """
    onnx = optional("onnx")
    model = onnx.load(str(source))
    names = _activations(model.graph)
    ranges = _ranges(model, names, batches)
    for name in names:
        _insert_rounding(model.graph, name, *ranges[name])
    _widen_weights(model.graph)
    onnx.checker.check_model(model)
    return write_model(model, Path(target))


def _activations(graph: Any) -> list[str]:
    """The inputs but whole numbers, and the results to round; an activation function's where that is all that follows."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {output.name for output in graph.output}
    floats = optional("onnx").TensorProto.FLOAT
    found = [entry.name for entry in graph.input if entry.type.tensor_type.elem_type == floats]
    for node in graph.node:
        if node.op_type not in _ROUNDED:
            continue
        name = node.output[0]
        following = readers.get(name, [])
        if len(following) == 1 and following[0].op_type in _MELTED:
            name = following[0].output[0]
        if name not in outputs and name not in found:
            found.append(name)
    return found


def _ranges(
    model: Any, names: list[str], batches: Iterable[np.ndarray | Mapping[str, np.ndarray]]
) -> dict[str, tuple[float, float]]:
    onnx = optional("onnx")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inputs = {entry.name for entry in model.graph.input}
    for name in names:
        if name not in inputs:
            watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = optional("onnxruntime").InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    ranges = dict.fromkeys(names, (0.0, 0.0))
    seen = False
    for batch in batches:
        feed = dict(batch) if isinstance(batch, Mapping) else {session.get_inputs()[0].name: batch}
        inner = [name for name in names if name not in inputs]
        values = dict(zip(inner, session.run(inner, feed), strict=True)) | feed
        for name in names:
            low, high = ranges[name]
            ranges[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))
        seen = True
    if not seen:
        raise ValueError("batches is empty: give calibration inputs to measure the activations' ranges on")
    return ranges


def _insert_rounding(graph: Any, name: str, low: float, high: float) -> None:
    """name → QuantizeLinear → DequantizeLinear → everything that read it."""
    onnx = optional("onnx")
    scale = np.float32(max(high - low, 1e-8) / 255)
    zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
    graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}.scale"))
    graph.initializer.append(onnx.numpy_helper.from_array(zero, f"{name}.zero"))
    for node in graph.node:
        for i, read in enumerate(node.input):
            if read == name:
                node.input[i] = f"{name}.rounded"
    pair = [
        onnx.helper.make_node("QuantizeLinear", [name, f"{name}.scale", f"{name}.zero"], [f"{name}.codes"]),
        onnx.helper.make_node("DequantizeLinear", [f"{name}.codes", f"{name}.scale", f"{name}.zero"], [f"{name}.rounded"]),
    ]
    place = next((i + 1 for i, node in enumerate(graph.node) if name in node.output), 0)
    for offset, node in enumerate(pair):
        graph.node.insert(place + offset, node)


def _widen_weights(graph: Any) -> None:
    """INT4 initialisers as int8 with the same values."""
    onnx = optional("onnx")
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT4:
            codes = onnx.numpy_helper.to_array(tensor).astype(np.int8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(codes, tensor.name))
