"""What the zoo knows of an architecture, and the batches and weights all of them share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from annealnet.compression.network.outputs import answer_in

__all__ = [
    "Architecture",
    "Batch",
    "Inputs",
    "answer",
    "noise",
    "pictures",
    "seeded",
    "settle_batch_norms",
    "text",
    "tokens",
]

#: What one call of a network takes: its only input, or its inputs by name.
Batch = Tensor | dict[str, Tensor]
#: (generator, samples) -> one batch.
Inputs = Callable[[torch.Generator, int], Batch]

SAMPLES_PER_BATCH = 8
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Architecture:
    """A network with random weights and the batches it takes, both small.

    Attributes:
        name: as the table prints it.
        make: the network with whatever weights its library starts it with.
        inputs: one batch as the network takes it.
        grids: the least share of its bytes that must lie on grids after rounding.
        why: where that is below 95 %, why.
        removable: the least share of its bytes that must be weights from or to something that can go; 0 where nothing can.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Inputs
    grids: float = 0.95
    why: str = ""
    removable: float = 0.45

    def build(self, seed: int = 0) -> nn.Module:
        """The network in eval mode; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = seeded(self.make(), seed).eval()
        settle_batch_norms(model, self.inputs(torch.Generator().manual_seed(seed), 32))
        return model

    def batches(self, seed: int, samples: int) -> list[Batch]:
        """``samples`` samples, eight to a batch, as the network takes them."""
        generator = torch.Generator().manual_seed(seed)
        starts = range(0, samples, SAMPLES_PER_BATCH)
        return [self.inputs(generator, min(SAMPLES_PER_BATCH, samples - start)) for start in starts]

    @staticmethod
    def call(batch: Batch, model: nn.Module) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """The positional and the named arguments of one call; a cache of keys and values is switched off if there is one."""
        named: dict[str, Any] = {} if isinstance(batch, Tensor) else dict(batch)
        if "use_cache" in inspect.signature(model.forward).parameters:
            named["use_cache"] = False
        return ((batch,) if isinstance(batch, Tensor) else ()), named


def answer(model: nn.Module, batch: Batch) -> Tensor:
    """What a network says to a batch, as one tensor."""
    arguments, named = Architecture.call(batch, model)
    with torch.no_grad():
        return answer_in(model(*arguments, **named))


def seeded(model: nn.Module, seed: int) -> nn.Module:
    """Weights under which every part of a network matters to its answer.

    The libraries' own starts (0.02 everywhere, layer scales of 1e-6, zeros) make attention and its heads whisper, and a
    wrong removal would pass for rounding. Matrices become normal with variance 1/fan-in, and vectors move by a
    tenth.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BATCH_NORMS) and module.weight is not None:
                module.weight.fill_(1.0)  # EfficientNet's library starts them near zero
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() < 2:
                parameter.add_(0.1 * normal)
            elif "parametrizations" not in name:
                fan_in = parameter[0].numel() if parameter.shape[0] > 1 else parameter.shape[-1]
                parameter.copy_(normal / fan_in**0.5)
    return model


def settle_batch_norms(model: nn.Module, batch: Batch) -> None:
    """Batch norms learn the statistics of what passes, as in training; else deep networks answer the same to everything."""
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        answer(model, batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def tokens(generator: torch.Generator, samples: int, length: int, vocabulary: int) -> Tensor:
    """int64[samples, length], the first four numbers (padding, start, end, unknown) left out."""
    return torch.randint(4, vocabulary, (samples, length), generator=generator)


def text(length: int, vocabulary: int, decoder_length: int = 0, end: int | None = None) -> Inputs:
    """Sentences of half to full length, padded on the right.

    With ``decoder_length`` also what a decoder has said so far; with ``end`` each sentence's last word is that.
    """

    def batch(generator: torch.Generator, samples: int) -> Batch:
        ids = tokens(generator, samples, length, vocabulary)
        lengths = torch.randint(length // 2, length + 1, (samples, 1), generator=generator)
        mask = (torch.arange(length) < lengths).long()
        if end is not None:
            ids.scatter_(1, lengths - 1, end)
        named = {"input_ids": torch.where(mask.bool(), ids, 0), "attention_mask": mask}
        if decoder_length:
            named["decoder_input_ids"] = tokens(generator, samples, decoder_length, vocabulary)
        return named

    return batch


def pictures(side: int, named: str = "") -> Inputs:
    """Three coarse colours that run into each other, under fine noise: float32[samples, 3, side, side].

    Bare noise looks the same to everything that averages over places, such as squeeze-and-excitation.
    """

    def batch(generator: torch.Generator, samples: int) -> Batch:
        coarse = interpolate(torch.randn((samples, 3, 4, 4), generator=generator), size=(side, side), mode="bilinear")
        values = 1.5 * coarse + 0.5 * torch.randn((samples, 3, side, side), generator=generator)
        return {named: values} if named else values

    return batch


def noise(*shape: int, named: str = "") -> Inputs:
    """Normal numbers float32[samples, \\*shape]: vectors, sound; a plain tensor, or under the name the network wants."""

    def batch(generator: torch.Generator, samples: int) -> Batch:
        values = torch.randn((samples, *shape), generator=generator)
        return {named: values} if named else values

    return batch
