"""The compressed network on disk: ``plan.json`` and a lean ``model.safetensors``, no pickle.

Tensors: ``codes`` uint8, all exponents and then all layers' codes, bit after bit; ``scales`` and ``biases`` float16, layer
after layer, to be multiplied by 2^exponent; ``zeros`` int8 on asymmetric grids; ``rest.<dtype>``, what is not quantised
(norms over features, batch norms that could not be folded, class tokens, …), flat, in the order of the state dict. Names are
not repeated in the file: the order of layers is that of ``bits`` in the plan. How many bytes that is says :mod:`.sizes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from annealnet.compression.files.packing import pack
from annealnet.compression.files.plan import CompressionPlan
from annealnet.compression.files.rest import in_file, rest, rest_name
from annealnet.compression.files.stored_layer import StoredLayer, stored_specs
from annealnet.compression.network.kinds import bias_of, layer_at, weight_of
from annealnet.compression.rounding.grids import Quantized, dequantize
from annealnet.compression.rounding.stored_numbers import from_halves, to_halves
from annealnet.files import replacing

__all__ = ["PLAN_FILE", "TENSOR_FILE", "save_compressed"]

PLAN_FILE = "plan.json"
TENSOR_FILE = "model.safetensors"


def save_compressed(
    directory: str | Path, plan: CompressionPlan, model: nn.Module, quantized: Mapping[str, Quantized]
) -> Path:
    """Writes ``plan.json`` and ``model.safetensors``, each to a temporary name first.

    Args:
        directory: made where it does not exist.
        plan: what was decided.
        model: the network after surgery, batch norms folded, its weights on the grids, or rounded from there to its dtype.
        quantized: the grid values of every layer of the plan; the file holds these, exactly, whatever the model's dtype is.

    Returns:
        The directory.

    Raises:
        ValueError: when plan, model and grid values do not agree.
    """
    tensors = _tensors(plan, model, quantized)
    target = Path(directory)
    with replacing(target / TENSOR_FILE) as draft:
        save_file(tensors, str(draft))
    with replacing(target / PLAN_FILE) as draft:
        draft.write_text(plan.to_json(), encoding="utf-8")
    return target


def _tensors(plan: CompressionPlan, model: nn.Module, quantized: Mapping[str, Quantized]) -> dict[str, Tensor]:
    if set(plan.bits) != set(quantized):
        different = sorted(set(plan.bits) ^ set(quantized))
        raise ValueError(f"quantized and plan.bits do not name the same layers: {different[0]!r} is in one only")
    layers = [_checked(name, plan, model, quantized[name]) for name in plan.bits]
    stream = np.zeros(stored_specs(layers)["codes"].num_bytes, dtype=np.uint8)
    exponents: list[int] = []
    parts: dict[str, list[Tensor]] = {"scales": [], "zeros": [], "biases": []}
    at = 8 * sum(layer.num_exponents for layer in layers)
    for name, layer in zip(plan.bits, layers, strict=True):
        grid, module = quantized[name], layer_at(model, name)
        packed = pack(grid.codes.numpy(), grid.grid, at % 8)
        stream[at // 8 : at // 8 + len(packed)] |= packed
        at += layer.code_bits
        numbers = {"scales": grid.scale}
        if grid.zero is not None:
            parts["zeros"].append(grid.zero.reshape(-1))
        bias = bias_of(module)
        if bias is not None:
            numbers["biases"] = bias.detach()
        for part, values in numbers.items():
            halves, exponent = _halves(f"{part} of layer {name!r}", values)
            parts[part].append(halves)
            exponents.append(exponent)
    stream[: len(exponents)] = np.array(exponents, dtype=np.int8).view(np.uint8)
    for tensor in rest(model, list(plan.bits)).values():
        parts.setdefault(rest_name(tensor), []).append(in_file(tensor).reshape(-1))
    return {"codes": torch.from_numpy(stream)} | {name: torch.cat(found) for name, found in parts.items() if found}


def _checked(name: str, plan: CompressionPlan, model: nn.Module, grid: Quantized) -> StoredLayer:
    """A layer of the model, when plan, module and grid values agree."""
    module = layer_at(model, name)
    if grid.grid != plan.grid(name):
        raise ValueError(f"quantized[{name!r}] lies on {grid.grid}, the plan says {plan.grid(name)}")
    weight = weight_of(module).detach().cpu()
    if not torch.equal(dequantize(grid).to(weight.dtype), weight):
        raise ValueError(f"model: layer {name!r} does not hold its grid values: call put_on_grid(model, quantized)")
    return StoredLayer(len(grid.codes), grid.codes[0].numel(), grid.grid, bias_of(module) is not None)


def _halves(what: str, values: Tensor) -> tuple[Tensor, int]:
    """Numbers as the file holds them: float16, flat, and their exponent."""
    numbers = values.reshape(-1).cpu().float().numpy()
    halves, exponent = to_halves(numbers)
    if not np.array_equal(from_halves(halves, exponent), numbers):
        raise ValueError(f"{what} are not numbers that a file holds: take Quantized.stored and put_on_grid")
    return torch.from_numpy(halves), exponent
