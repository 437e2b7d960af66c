"""Sequences packed by their lengths: how much is computed depends on the samples, so that all of them have to be seen."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from annealnet.compression.network.inputs import Inputs

__all__ = ["telling"]


def telling(model: nn.Module, inputs: Inputs) -> Inputs:
    """The samples that say how often each weight is met: two of them, or all where a recurrent layer reads packed sequences.

    Example:
        >>> x = Inputs.of(torch.zeros(9, 5, 3))
        >>> len(telling(nn.LSTM(3, 4, batch_first=True), x))
        2
    """
    return inputs if _packs(model, inputs[:2]) else inputs[:2]


def _packs(model: nn.Module, two: Inputs) -> bool:
    found: list[bool] = []

    def note(_module: nn.Module, given: tuple[Any, ...]) -> None:
        found.append(any(isinstance(one, PackedSequence) for one in given))

    with ExitStack() as hooks, contextlib.suppress(Exception), torch.no_grad():
        recurrent = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
        for module in recurrent:
            hooks.callback(module.register_forward_pre_hook(note).remove)
        if recurrent:
            two.clone().call(model)
    return any(found)
