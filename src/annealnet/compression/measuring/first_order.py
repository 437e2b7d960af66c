"""What small changes of layers do to the network's answers: all of them from a few passes back through the network.

A change of layer l moves its output by δ_l and the answers, to first order, by J_l δ_l; the task's divergence is then
½ ‖J_l δ_l‖² in the metric of its Hessian. With random directions v of the answers that have this metric as their second
moment (:meth:`~annealnet.compression.measuring.tasks.Task.probe`),

    D(dense, changed) ≈ E_v Σ_n ⟨(J_lᵀ v)_n, δ_{l,n}⟩²        n: samples

and one pass back gives J_lᵀ v of *every* layer. So all changes together cost a few passes, however many there are; and it is
the change itself that counts, not its size alone: errors that are the same for all positions reach the answers, noise is
averaged away. What the layers behind would mend is not in it: :mod:`.bands` measures that. *Our reconstruction*, after the
Gauss-Newton and Fisher sensitivities of HAWQ-V2 (1911.03852) and optimal brain damage.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from annealnet.compression.measuring.tasks import Task
from annealnet.compression.network.answers import copies, that_count
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.network.kinds import bias_of, layer_at, weight_of

__all__ = ["Change", "WatchedNetwork", "first_order"]

#: Samples that are looked at, and most random directions where there are fewer samples.
_MOST_SAMPLES, _MOST_DIRECTIONS = 512, 16
#: Samples at once, and numbers in their layers' outputs: about a gigabyte with what is kept for the passes back.
_MOST_AT_ONCE, _MOST_OUTPUTS = 64, 2**26
#: Tensors as large as the answers that a probe takes: a language model's are larger than all that its layers answer.
_OF_ANSWERS = 8


@dataclass(frozen=True, eq=False)
class Change:
    """What is added to a layer.

    Attributes:
        weight: shape of the layer's weight.
        shift: ``(outputs,)``, added to the bias where the layer has one.
    """

    weight: Tensor
    shift: Tensor

    def moves(self, module: nn.Module) -> nn.Module:
        """A layer that answers how the output of ``module`` moves: its input times the change."""
        moved = copy.deepcopy(module).requires_grad_(False)
        weight_of(moved).copy_(self.weight)
        bias = bias_of(moved)
        if bias is not None:
            bias.copy_(self.shift)
        return moved


class WatchedNetwork:
    """A copy of a network that keeps its layers' outputs, so that answers can be differentiated with respect to them.

    Args:
        dense: the network.
        names: of the layers.
        seen: told a layer's name and input in each pass.

    Example:
        >>> net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
        >>> _ = net[0].weight.data.fill_(3.0)
        >>> watched = WatchedNetwork(net, ["0"])
        >>> answers = watched(torch.ones(2, 1))
        >>> {name: gradient.tolist() for name, gradient in watched.gradients(answers.sum()).items()}
        {'0': [[1.0], [1.0]]}
    """

    def __init__(self, dense: nn.Module, names: list[str], seen: Callable[[str, Tensor], None] | None = None) -> None:
        self._network = copy.deepcopy(dense).requires_grad_(False)
        self._seen = seen
        self.outputs: dict[str, Tensor] = {}
        for name in names:
            layer_at(self._network, name).register_forward_hook(partial(self._keep, name), with_kwargs=True)

    def __call__(self, x: Tensor | Inputs) -> Tensor:
        """The answers to one batch, of the positions that count."""
        self.outputs.clear()
        inputs = Inputs.of(x)
        with torch.enable_grad():
            return that_count(inputs, inputs.answer(self._network))

    def gradients(self, value: Tensor) -> dict[str, Tensor]:
        """Of a function of the answers, for each layer that it depends on; may be asked several times."""
        if not value.requires_grad:
            return {}
        try:
            found = torch.autograd.grad(value, list(self.outputs.values()), retain_graph=True, allow_unused=True)
        except RuntimeError:  # something was changed in place that the way back needs
            return {}
        return {name: gradient for name, gradient in zip(self.outputs, found, strict=True) if gradient is not None}

    def _keep(
        self, name: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor], output: Tensor
    ) -> Tensor:
        if self._seen is not None:
            self._seen(name, (args[0] if args else next(iter(kwargs.values()))).detach())
        # behind tokens, and where nothing before it is watched, a layer's output is where gradients begin
        self.outputs[name] = output if output.requires_grad else output.detach().requires_grad_()
        return self.outputs[name].clone()  # what follows may change it in place


@torch.no_grad()
def first_order(
    dense: nn.Module, x: Tensor | Inputs, task: Task, changes: Mapping[str, Mapping[str, Change]], seed: int = 0
) -> dict[str, float]:
    """The divergence of each change, to first order in the answers.

    Args:
        dense: the network.
        x: inputs ``(samples, …)``; the first 512 are used.
        task: what «as good as the dense network» means.
        changes: by name; each changes one layer or several at once, by their names.
        seed: of the random directions.

    Returns:
        By the names of ``changes``, in the task's unit; 0 where the answers do not depend on a change, or cannot be
        differentiated.

    Example:
        >>> from annealnet.compression.measuring.tasks import Regression
        >>> net = nn.Linear(1, 1, bias=False)
        >>> change = Change(torch.tensor([[0.5]]), torch.zeros(1))
        >>> found = first_order(nn.Sequential(net), torch.tensor([[1.0], [3.0]]), Regression(), {"half": {"0": change}})
        >>> round(found["half"], 3)    # (0.5² + 1.5²) / 2
        1.25
    """
    moves: dict[str, dict[str, nn.Module]] = {}
    for key, parts in changes.items():
        for name, change in parts.items():
            moves.setdefault(name, {})[key] = change.moves(layer_at(dense, name))
    moved: dict[tuple[str, str], Tensor] = {}

    def seen(name: str, inputs: Tensor) -> None:
        with torch.no_grad():
            for key, move in moves[name].items():
                moved[key, name] = move(inputs)

    watched = WatchedNetwork(dense, list(moves), seen)
    generator = torch.Generator().manual_seed(seed)
    totals = dict.fromkeys(changes, 0.0)
    used = Inputs.of(x)[:_MOST_SAMPLES]
    directions = min(_MOST_DIRECTIONS, math.ceil(_MOST_SAMPLES / max(1, len(used))))
    for batch in copies(used, _at_once(watched, used)):
        answers = watched(batch)
        for _ in range(directions):
            with torch.enable_grad():
                value = task.probe(answers, generator)
            gradients = watched.gradients(value)
            for key, parts in changes.items():
                along = _along(gradients, {name: moved[key, name] for name in parts if (key, name) in moved}, len(batch))
                totals[key] += float((along**2).sum()) * len(batch) / len(used) / directions
    return {key: total if math.isfinite(total) else 0.0 for key, total in totals.items()}


def _at_once(watched: WatchedNetwork, x: Inputs) -> int:
    """How many samples' outputs are kept together."""
    answers = watched(x[:1].clone())
    outputs = _OF_ANSWERS * answers.numel() + sum(output.numel() for output in watched.outputs.values())
    return max(1, min(_MOST_AT_ONCE, _MOST_OUTPUTS // max(1, outputs)))


def _along(gradients: Mapping[str, Tensor], moved: Mapping[str, Tensor], samples: int) -> Tensor:
    """Σ over layers of ⟨gradient, movement⟩, for each sample: float64 ``(samples,)``."""
    total = torch.zeros(samples, dtype=torch.float64)
    for name, movement in moved.items():
        if name in gradients:
            products = gradients[name] * movement
            if (
                products.numel() % samples
            ):  # an expert's rows, whose samples are not known: shared out, their signs are chance
                rows = products.flatten(1).sum(1)
                products = nn.functional.pad(rows, (0, -len(rows) % samples)).reshape(-1, samples).t()
            total += products.reshape(samples, -1).sum(1).double()
    return total
