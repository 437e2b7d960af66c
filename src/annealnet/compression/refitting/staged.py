"""Running a network layer by layer, so that a layer can be changed before what follows has seen it.

Sequential compensation (refit a layer on the inputs that the *already compressed* layers before it
produce) needs the input of every layer in turn. Running the prefix anew for each layer costs L²/2 layer
passes; a [`StagedForward`][] keeps the live activations of one pass and costs L.

A forward may change tensors in place. So every pass begins on a copy of the inputs, and a fork takes copies of the
activations: no pass sees what another one did.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from annealnet.compression.network.inputs import Inputs, answer_in
from annealnet.compression.network.tracing import symbolic_trace

__all__ = ["StagedForward"]


class StagedForward(fx.Interpreter):
    """One forward pass that stops before each layer asked for.

    Args:
        network: a module that ``torch.fx`` can trace; its submodules are read when they are reached, so a
            weight changed in place before :meth:`answer` is called takes part in what follows.
        x: the whole input batch, one tensor ``(samples, ...)`` or several; it is copied.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).eval()
        >>> forward = StagedForward(net, torch.ones(1, 2))
        >>> forward.reach("0").shape
        torch.Size([1, 2])
        >>> _ = net[0].weight.data.fill_(1.0)      # changed before it runs
        >>> forward.reach("2")
        tensor([[2., 2.]])
    """

    def __init__(self, network: nn.Module, x: Tensor | Inputs) -> None:
        inputs = Inputs.of(x)
        super().__init__(symbolic_trace(network, inputs)[0], garbage_collect_values=True)
        self._called = inputs[:0]
        self._nodes: list[fx.Node] = list(self.graph.nodes)
        self._next = 0
        self.env = {}
        self.args_iter = iter(inputs.clone().tensors.values())

    @torch.no_grad()
    def _run_until(self, layer: str | None) -> fx.Node:
        while self._next < len(self._nodes):
            node = self._nodes[self._next]
            if layer is not None and node.op == "call_module" and node.target == layer:
                return node
            self.env[node] = self.run_node(node)
            for used_up in self.user_to_last_uses.get(node, ()):
                del self.env[used_up]
            self._next += 1
            if node.op == "output":
                return node
        raise ValueError(f"layer={layer!r} is not ahead in this forward pass: ask for layers in execution order")

    def reach(self, layer: str) -> Tensor:
        """Runs everything before ``layer`` and returns that layer's input.

        Raises:
            ValueError: when the layer has already run or is not part of the traced network.
        """
        node = self._run_until(layer)
        if node.op == "output":
            raise ValueError(f"layer={layer!r} never runs in this network: name a layer of the traced graph")
        args, named = self.fetch_args_kwargs_from_env(node)
        value = next(iter((*args, *named.values())))
        assert isinstance(value, Tensor)
        return value

    def answer(self) -> Tensor:
        """Runs what is left and returns the tensor that counts in the network's output."""
        return answer_in(self.env[self._run_until(None)], self._called.output)

    def fork_onto(self, network: nn.Module) -> StagedForward:
        """A second pass over a copy of the network that knows everything run so far and goes its own way from here."""
        twin = StagedForward(network, self._called)
        twin._next = self._next
        nodes = dict(zip(self._nodes, twin._nodes, strict=True))
        # one deepcopy: activations that are views of each other in this pass are so in the twin
        values = copy.deepcopy(list(self.env.values()))
        twin.env = {nodes[node]: value for node, value in zip(self.env, values, strict=True)}
        return twin
