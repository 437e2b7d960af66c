"""Matrices of LSTM, GRU and RNN: what each multiplies at every step is computed beside the layer, so that it has its data.

Of layer k, ``weight_ih`` reads what comes in, or the answers of layer k − 1; ``weight_hh`` what the layer itself answered
one step before. Both are rows of sequences that the layer gives when it is run as deep as k; it is not looked into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from annealnet.compression.network.kinds.linear import Linear
from annealnet.compression.network.kinds.matrix import Matrix, MatrixKind

__all__ = ["Gates", "GatesKind", "is_recurrent"]

_LEAF = re.compile(r"weight_(ih|hh)_l(\d+)(_reverse)?")


def is_recurrent(owner: nn.Module, leaf: str) -> bool:
    """Whether a parameter is such a matrix of a module that runs as torch's own.

    Example:
        >>> is_recurrent(nn.GRU(2, 3), "weight_hh_l0"), is_recurrent(nn.LSTM(2, 3, proj_size=1), "weight_hr_l0")
        (True, False)
    """
    known = any(isinstance(owner, cls) and type(owner).forward is cls.forward for cls in (nn.LSTM, nn.GRU, nn.RNN))
    return known and _LEAF.fullmatch(leaf) is not None


class Gates(Matrix):
    """A matrix of a recurrent layer for which :func:`is_recurrent` holds.

    Example:
        >>> lstm, x = nn.LSTM(2, 3, batch_first=True), torch.randn(4, 5, 2)
        >>> before = Gates(lstm, "weight_hh_l0").reads(x)
        >>> before.shape, bool(torch.allclose(before[:, 1:], lstm(x)[0][:, :-1]))
        (torch.Size([4, 5, 3]), True)
    """

    @torch.no_grad()
    def reads(self, x: Tensor | PackedSequence, state: Any = None) -> Tensor:
        """What it multiplies when its module is called with these.

        Args:
            x: as the module takes it: ``(samples, steps, features)``, steps first, one sample alone, or packed.
            state: the states to begin with; None begins with zeros.

        Returns:
            ``(samples, steps, features)``; of packed sequences ``(rows, features)``.
        """
        owner: Any = self.owner
        found = _LEAF.fullmatch(self.leaf)
        assert found is not None
        part, depth, back = found[1], int(found[2]), bool(found[3])
        if part == "ih":
            rows, present = _by_sample(x if depth == 0 else _answers(owner, depth, x, state), owner.batch_first)
        else:
            answers, present = _by_sample(_answers(owner, depth + 1, x, state), owner.batch_first)
            ways = 2 if owner.bidirectional else 1
            own = answers.chunk(ways, dim=-1)[int(back)]
            rows = _a_step_before(own, _begins(state, depth * ways + int(back), own), present, back)
        return rows if present is None else rows[present]


@dataclass(frozen=True)
class GatesKind(MatrixKind):
    """Rounded on the rows that it reads; nothing of it can be removed."""

    word: str = "recurrent"
    reads_rows: bool = True
    by_position: bool = True

    def rows(self, module: nn.Module, x: Tensor, generator: torch.Generator, max_rows: int) -> Tensor:
        """All steps of all samples, as a linear layer's."""
        return Linear().rows(module, x, generator, max_rows)


def _answers(owner: Any, depth: int, x: Any, state: Any) -> Any:
    """What the first layers of a recurrent module answer; all share its weights."""
    sizes = {"proj_size": owner.proj_size} if isinstance(owner, nn.LSTM) else {}
    kind = {"nonlinearity": owner.nonlinearity} if isinstance(owner, nn.RNN) else {}
    form: Any = next(cls for cls in (nn.LSTM, nn.GRU, nn.RNN) if isinstance(owner, cls))
    front = form(
        owner.input_size, owner.hidden_size, depth, bias=owner.bias, batch_first=owner.batch_first,
        bidirectional=owner.bidirectional, device="meta", **sizes, **kind,
    ).eval()  # fmt: skip
    for name in list(front._parameters):
        setattr(front, name, owner._parameters[name])
    count = depth * (2 if owner.bidirectional else 1)
    if state is not None:
        state = tuple(part[:count] for part in state) if isinstance(state, tuple) else state[:count]
    return front(x, state)[0]


def _by_sample(x: Any, batch_first: bool) -> tuple[Tensor, Tensor | None]:
    """``(samples, steps, features)``, and of packed sequences which steps are there: bool ``(samples, steps)``."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x, batch_first=True)
        return padded, torch.arange(padded.shape[1]) < lengths[:, None]
    if x.ndim == 2:
        return x.unsqueeze(0), None
    return (x if batch_first else x.transpose(0, 1)), None


def _begins(state: Any, place: int, answers: Tensor) -> Tensor:
    """The state that a layer and direction begins with, ``(samples, 1, features)``."""
    if state is None:
        return torch.zeros_like(answers[:, :1])
    states: Tensor = state[0] if isinstance(state, tuple) else state
    return states[place].reshape(len(answers), 1, -1)


def _a_step_before(answers: Tensor, begins: Tensor, present: Tensor | None, back: bool) -> Tensor:
    """Answers moved by a step; read backwards, each sample begins at its own last step."""
    if not back:
        return torch.cat([begins, answers[:, :-1]], dim=1)
    moved = torch.cat([answers[:, 1:], begins], dim=1)
    if present is not None:
        last = present.sum(1) - 1
        moved[torch.arange(len(moved)), last] = begins[:, 0]
    return moved
