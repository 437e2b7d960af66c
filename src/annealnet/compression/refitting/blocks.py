"""Blocks that run one behind the other, each on the answer of the one before: what is in front of a block is run once.

Transformers are such chains. A layer's rows and answers are then kept for one block at a time, so that memory is that of a
block and not of the network; the chain is looked for on a few samples, and found only where every block takes the answer of
the one before as its first input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from annealnet.compression.network.forward import plain_attention
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.refitting.visits import At, listen

__all__ = ["Blocks", "block_of", "chain_of_blocks"]

#: What a block is given beside its first input: further positions, and names.
Beside = tuple[tuple[Any, ...], Mapping[str, Any]]


def chain_of_blocks(model: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """Names of the longest chain of blocks in the network, in order; none where there is none of two or more.

    Args:
        model: a network in evaluation mode.
        inputs: a few samples.

    Example:
        >>> blocks = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)))
        >>> chain_of_blocks(nn.Sequential(blocks, nn.Linear(4, 2)), Inputs.of(torch.zeros(2, 4)))
        ('0.0', '0.1', '0.2')
    """
    chains = []
    for name, module in model.named_modules():
        children = list(module.named_children()) if isinstance(module, nn.ModuleList | nn.Sequential) else []
        alike = len({type(child) for _, child in children}) == 1 and any(True for _ in children[0][1].children())
        if len(children) > 1 and alike:
            chains.append(tuple(f"{name}.{leaf}" if name else leaf for leaf, _ in children))
    chains.sort(key=lambda names: -sum(p.numel() for name in names for p in model.get_submodule(name).parameters()))
    return next((names for names in chains if _is_chain(model, names, inputs)), ())


def _is_chain(model: nn.Module, names: tuple[str, ...], inputs: Inputs) -> bool:
    met: list[tuple[str, Tensor | None]] = []
    answers: dict[str, Tensor | None] = {}

    def before(name: str) -> Callable[..., None]:
        return lambda module, args, kwargs: met.append((name, _copied(args[0] if args else None)))

    def behind(name: str) -> Callable[..., None]:
        def answered(module: nn.Module, args: Any, answer: Any) -> None:
            answers[name] = _copied(_first(answer))

        return answered

    with ExitStack() as hooks, torch.no_grad():
        for name in names:
            block = model.get_submodule(name)
            hooks.enter_context(block.register_forward_pre_hook(before(name), with_kwargs=True))
            hooks.enter_context(block.register_forward_hook(behind(name)))
        inputs.clone().call(model)
    if [name for name, _ in met] != list(names) or any(x is None for _, x in met):
        return False
    pairs = zip([answers[name] for name in names[:-1]], [x for _, x in met[1:]], strict=True)
    return all(answer is not None and x is not None and torch.equal(answer, x) for answer, x in pairs)


def block_of(layer: str, names: Sequence[str]) -> int | None:
    """The number of the block that a layer is in; None where it is in none.

    Example:
        >>> block_of("h.1.up", ("h.0", "h.1")), block_of("head", ("h.0", "h.1"))
        (1, None)
    """
    return next((number for number, name in enumerate(names) if layer.startswith(f"{name}.")), None)


def _copied(value: Any) -> Tensor | None:
    return value.clone() if isinstance(value, Tensor) else None


def _first(answer: Any) -> Any:
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


@dataclass(frozen=True, eq=False)
class Blocks:
    """A network's chain, ready to be run block by block.

    Attributes:
        network: whose chain it is.
        names: of the blocks, in order.
        first: what goes into the first of them, for all samples.
        beside: what each is given beside.
    """

    network: nn.Module
    names: tuple[str, ...]
    first: Tensor
    beside: tuple[Beside, ...]

    @classmethod
    def met(cls, network: nn.Module, names: tuple[str, ...], run: Callable[[], Any]) -> tuple[Blocks, Any]:
        """Runs the network once and keeps what the first block is given, and all blocks beside; and its answer."""
        kept: dict[str, tuple[Tensor | None, Beside]] = {}
        copies: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

        def copied(tensor: Tensor) -> Tensor:
            """What blocks share is kept once for all, unless it was written over between them."""
            return copies.setdefault((id(tensor), tensor._version), (tensor, tensor.clone()))[1]

        def before(name: str) -> Callable[..., None]:
            def given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                beside = pytree.tree_map_only(Tensor, copied, (args[1:], dict(kwargs)))
                kept[name] = (args[0].clone() if name == names[0] else None), beside

            return given

        with ExitStack() as hooks, torch.no_grad():
            for name in names:
                block = network.get_submodule(name)
                hooks.enter_context(block.register_forward_pre_hook(before(name), with_kwargs=True))
            answer = run()
        first = kept[names[0]][0]
        assert first is not None
        return cls(network, names, first, tuple(kept[name][1] for name in names)), answer

    def owner(self, layer: str) -> int | None:
        """The number of the block that a layer is in; None where it is in none."""
        return block_of(layer, self.names)

    @torch.no_grad()
    def run(
        self, number: int, x: Tensor, layers: Collection[str], at: At, idle: Callable[[str], None] | None = None
    ) -> Tensor:
        """One block, on all samples.

        Args:
            number: of the block.
            x: what goes into it.
            layers: names of layers in it.
            at: called in front of each, as in :func:`~.visits.visit`.
            idle: told of each that does not run; None refuses these.

        Returns:
            What goes into the next.
        """
        block, beside = self.network.get_submodule(self.names[number]), self.beside[number]

        def run() -> Tensor:
            with plain_attention():
                args, kwargs = pytree.tree_map_only(Tensor, Tensor.clone, beside)
                answer = _first(block(x.clone(), *args, **kwargs))
            assert isinstance(answer, Tensor)
            return answer

        found = listen(self.network, layers, at, run, idle=idle)
        assert isinstance(found, Tensor)
        return found
