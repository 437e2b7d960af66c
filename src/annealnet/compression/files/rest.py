"""What of a network no layer on a grid owns, as a file holds it: ``rest.<dtype>``, flat, in the order of the state dict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from annealnet.compression.files.safetensors_layout import dtype_name
from annealnet.compression.network.kinds import layer_at, own_tensors
from annealnet.compression.network.ties import distinct_state

__all__ = ["in_file", "rest", "rest_name"]


def rest(model: nn.Module, layers: list[str]) -> dict[str, Tensor]:
    """The state dict without the layers' weights and biases."""
    own = {part for name in layers for part in own_tensors(name, layer_at(model, name))}
    return {name: tensor for name, tensor in distinct_state(model).items() if name not in own and tensor.numel()}


def rest_name(tensor: Tensor) -> str:
    """The tensor of the file that it is part of: one for each dtype, all floating-point numbers in float32."""
    return f"rest.{dtype_name(torch.float32 if tensor.is_floating_point() else tensor.dtype)}"


def in_file(tensor: Tensor) -> Tensor:
    """What is not quantised, as a file holds it whatever the network's dtype is: numbers in float32."""
    return tensor.detach().cpu().float() if tensor.is_floating_point() else tensor.detach().cpu()
