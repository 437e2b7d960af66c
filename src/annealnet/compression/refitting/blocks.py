"""Blocks that run one behind the other, each on the answer of the one before: what is in front of a block is run once.

Transformers and residual networks are such chains. A layer's rows and answers are then kept for one block at a time, and
where samples go through in batches only the block is run again for each of its layers, not the network in front of it: what
is kept is the input of one block, for all samples. The chain is looked for on a few samples, and found only where every
block takes the answer of the one before as its first input, and nothing else that blocks before it have made: what is given
beside is kept from a run before any of them was changed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from annealnet.compression.network.forward import plain_attention
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import Embedding, LayerKind, kind_of
from annealnet.compression.refitting.batches import Batches, Stacked
from annealnet.compression.refitting.courses import Course
from annealnet.compression.refitting.visits import Enough

__all__ = ["InBlocks", "block_of", "chain_of_blocks", "chain_that_runs", "courses"]

#: What a block is given beside its first input: further positions, and names.
Beside = tuple[tuple[Any, ...], dict[str, Any]]


# ---- which blocks there are ----------------------------------------------------------------------------------


def chain_of_blocks(model: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """Names of the chain of blocks in the network that has most weights, in order; none where there is none of two or more.

    Blocks that lie in one list or sequence and are alike are a chain if they follow each other; so are several of these, as
    the stages of a residual network.

    Args:
        model: a network in evaluation mode.
        inputs: a few samples.

    Example:
        >>> blocks = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)))
        >>> chain_of_blocks(nn.Sequential(blocks, nn.Linear(4, 2)), Inputs.of(torch.zeros(2, 4)))
        ('0.0', '0.1', '0.2')
    """
    lists = list(_lists_of_blocks(model))
    if not lists:
        return ()
    run = _Run.of(model, [name for names in lists for name in names], inputs)
    chains: list[tuple[str, ...]] = []
    for names in sorted(filter(run.is_chain, lists), key=lambda names: run.begun[names[0]]):
        longer = [(*chain, *names) for chain in chains if run.follows(names[0], chain[-1])]
        chains = [chain for chain in chains if not run.follows(names[0], chain[-1])] + (longer or [names])

    def weights(names: tuple[str, ...]) -> int:
        return sum(p.numel() for name in names for p in model.get_submodule(name).parameters())

    chains.sort(key=lambda names: (weights(names), len(names)), reverse=True)
    return next((names for names in chains if _is_given_nothing_else(model, names, inputs)), ())


def chain_that_runs(network: nn.Module, batches: Batches) -> tuple[str, ...]:
    """The chain of blocks that can be run block by block on these samples; none where there is none."""
    names = chain_of_blocks(network, batches.inputs[:2])
    return names if names and _runs_by_itself(network, names, batches) else ()


def _runs_by_itself(network: nn.Module, names: Sequence[str], batches: Batches) -> bool:
    """Whether a chain run block by block comes to what it comes to in the network, for every sample.

    A few samples do not show what is done between blocks to others, nor what a forward puts on its blocks for one batch, or
    runs them under.

    Args:
        network: whose chain it is.
        names: of its blocks, as :func:`chain_of_blocks` gives them.
        batches: the calibration inputs.
    """
    arrived: list[Tensor] = []
    try:
        blocks = InBlocks.met(network, names, batches, arrived)
        for number in range(len(names) - 1):
            blocks.course(number).each((), lambda *_: None)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError):
        return False
    return all(_are_close(one, other) for one, other in zip(blocks.x, arrived, strict=True))


def _are_close(one: Tensor, other: Tensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    largest = float(other.nan_to_num().abs().max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=1e-4 * largest, equal_nan=True)


def block_of(layer: str, names: Sequence[str]) -> int | None:
    """The number of the block that a layer is in; None where it is in none.

    Example:
        >>> block_of("h.1.up", ("h.0", "h.1")), block_of("head", ("h.0", "h.1"))
        (1, None)
    """
    return next((number for number, name in enumerate(names) if layer.startswith(f"{name}.")), None)


def _lists_of_blocks(model: nn.Module) -> Iterator[tuple[str, ...]]:
    for name, module in model.named_modules():
        children = list(module.named_children()) if isinstance(module, nn.ModuleList | nn.Sequential) else []
        alike = len({type(child) for _, child in children}) == 1 and any(True for _ in children[0][1].children())
        if len(children) > 1 and alike:
            yield tuple(f"{name}.{leaf}" if name else leaf for leaf, _ in children)


class _Run:
    """What blocks read and answered in one forward, and when.

    Attributes:
        begun: when each block that ran began; of one that ran several times, the last.
    """

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self._again: set[str] = set()
        self._read: dict[str, Tensor | None] = {}
        self._answered: dict[str, Tensor | None] = {}
        self._now = 0

    @classmethod
    def of(cls, model: nn.Module, names: Sequence[str], inputs: Inputs) -> _Run:
        run = cls()
        with ExitStack() as hooks, torch.no_grad():
            for name in names:
                block = model.get_submodule(name)
                hooks.enter_context(block.register_forward_pre_hook(partial(run._before, name), with_kwargs=True))
                hooks.enter_context(block.register_forward_hook(partial(run._behind, name)))
            inputs.clone().call(model)
        return run

    def is_chain(self, names: tuple[str, ...]) -> bool:
        """Whether each runs once, on the answer of the one before."""
        ran = all(self._read.get(name) is not None and name not in self._again for name in names)
        return ran and all(self.follows(name, before) for before, name in itertools.pairwise(names))

    def follows(self, name: str, before: str) -> bool:
        """Whether a block reads what another has answered before."""
        read, answered = self._read[name], self._answered[before]
        if read is None or answered is None or read.dtype != answered.dtype:
            return False
        return torch.equal(answered, read) and self._ended[before] < self.begun[name]

    def _before(self, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in self.begun:
            self._again.add(name)
        self._now += 1
        self.begun[name], self._read[name] = self._now, _copied(args[0] if args else None)

    def _behind(self, name: str, module: nn.Module, args: Any, answer: Any) -> None:
        self._now += 1
        self._ended[name], self._answered[name] = self._now, _copied(_first(answer))


def _is_given_nothing_else(model: nn.Module, names: Sequence[str], inputs: Inputs) -> bool:
    """Whether what blocks get beside stays as it is when the layers of those before answer something else."""
    _, before, _ = _met(model, names, inputs)
    with ExitStack() as hooks:
        for name in names:
            block = model.get_submodule(name)
            inside = [one for one in block.modules() if isinstance(kind_of(one), LayerKind) and one is not block]
            for module in (block, *(one for one in inside if not isinstance(kind_of(one), Embedding))):
                hooks.enter_context(module.register_forward_hook(_disturbed))
        _, after, _ = _met(model, names, inputs)
    pairs = zip(pytree.tree_leaves(before), pytree.tree_leaves(after), strict=True)
    return all(not isinstance(one, Tensor) or torch.equal(one, other) for one, other in pairs)


def _disturbed(module: nn.Module, args: Any, answer: Any) -> Any:
    first = _first(answer)
    if not (isinstance(first, Tensor) and first.is_floating_point()):
        return answer
    other = 1.25 * first + 0.125
    return other if first is answer else type(answer)([other, *answer[1:]])


def _copied(value: Any) -> Tensor | None:
    return value.clone() if isinstance(value, Tensor) else None


def _first(answer: Any) -> Any:
    return answer[0] if isinstance(answer, tuple | list) and answer else answer


# ---- running them --------------------------------------------------------------------------------------------


def courses(
    network: nn.Module, batches: Batches, chain: Sequence[str], layers: Sequence[str]
) -> Iterator[tuple[Course, list[str]]]:
    """The parts in which a network is run, and the layers of each: before the chain, each of its blocks, behind it.

    Whoever asks for the next part has run the one before (:meth:`~.courses.Course.look` or ``change``), so that the block
    behind sees what has become of it. Blocks in front of the first layer and behind the last are not run for themselves.

    Args:
        network: of which the layers are.
        batches: the calibration inputs.
        chain: names of its blocks; where there are none the network is run as a whole.
        layers: names of layers, in order of execution.
    """
    owner = {name: block_of(name, chain) for name in layers}
    inside = [number for number in owner.values() if number is not None]
    if not inside:
        yield Course.whole(network, batches), list(layers)
        return
    begins = next(place for place, name in enumerate(layers) if owner[name] is not None)
    yield Course.whole(network, batches), list(layers[:begins])
    first, last = min(inside), max(inside)
    blocks = InBlocks.met(network, chain[first : last + 1], batches)
    for number in range(first, last + 1):
        yield blocks.course(number - first), [name for name in layers if owner[name] == number]
    del blocks
    yield Course.whole(network, batches), [name for name in layers[begins:] if owner[name] is None]


class InBlocks:
    """A network's chain while it is run block by block: the input of the block it has come to, for all samples.

    Args:
        network: whose chain it is.
        names: of the blocks, in order.
        batches: the calibration inputs.
        x: what goes into the first block, of each batch.
        beside: what each block is given beside, of each batch.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Sequence[str],
        batches: Batches,
        x: Sequence[Tensor],
        beside: Sequence[Sequence[Beside]],
    ) -> None:
        self.x = list(x)
        self._network, self._names, self._batches = network, tuple(names), batches
        self._beside = [list(of_batch) for of_batch in beside]

    @classmethod
    def met(
        cls, network: nn.Module, names: Sequence[str], batches: Batches, arrived: list[Tensor] | None = None
    ) -> InBlocks:
        """Runs the network once, up to the last block, and keeps what the first block is given, and all blocks beside.

        Args:
            network: whose chain it is.
            names: of the blocks, in order.
            batches: the calibration inputs.
            arrived: gets what the last block is given, of each batch; None keeps it not.
        """
        x, beside, laid = Stacked(batches.count), [], []
        for number in range(batches.count):
            first, of_batch, last = _met(network, names, batches.batch(number))
            if arrived is not None:
                arrived.append(last.clone())
            x.add(first.as_strided((first.numel(),), (1,)))
            laid.append((first.shape, first.stride()))
            beside.append(of_batch)
        pieces = x.whole().split([math.prod(shape) for shape, _ in laid])
        return cls(network, names, batches, [p.as_strided(*own) for p, own in zip(pieces, laid, strict=True)], beside)

    def course(self, number: int) -> Course:
        """One block; once it has been run, this has come to the next. They are asked for in order."""

        def run(batch: int) -> Any:
            args, kwargs = pytree.tree_map_only(Tensor, Tensor.clone, self._beside[batch][number])
            with plain_attention():
                return _first(self._network.get_submodule(self._names[number])(self.x[batch].clone(), *args, **kwargs))

        def ends(batch: int, answer: Any) -> None:
            own = self.x[batch]
            if (own.shape, own.stride(), own.dtype) == (answer.shape, answer.stride(), answer.dtype):
                own.copy_(answer)  # no new memory, which would be asked for between that of forwards
            else:
                self.x[batch] = answer

        return Course(self._network, self._batches, run, ends if number + 1 < len(self._names) else None)

    @property
    def num_bytes(self) -> int:
        """What is kept: the input of a block, and what all are given beside."""
        kept = {id(tensor): tensor for tensor in pytree.tree_leaves((self.x, self._beside)) if isinstance(tensor, Tensor)}
        return sum(tensor.nbytes for tensor in kept.values())


@torch.no_grad()
def _met(network: nn.Module, names: Sequence[str], inputs: Inputs) -> tuple[Tensor, list[Beside], Tensor]:
    """What the first block is given, all blocks beside, and the last; nothing behind the last one's beginning is run."""
    first: list[Tensor] = []
    last: list[Tensor] = []
    kept: list[Beside] = []
    copies: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def copied(tensor: Tensor) -> Tensor:
        """What blocks share is kept once for all, unless it was written over between them."""
        return copies.setdefault((id(tensor), tensor._version), (tensor, tensor.clone()))[1]

    def given(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not kept:
            first.append(args[0].clone())
        kept.append(pytree.tree_map_only(Tensor, copied, (args[1:], dict(kwargs))))
        if len(kept) == len(names):
            last.append(args[0])
            raise Enough

    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(network.get_submodule(name).register_forward_pre_hook(given, with_kwargs=True))
        with suppress(Enough):
            inputs.clone().call(network)
    return first[0], kept, last[0]
