"""The trained network on ordinary hardware: ground states, mean-field sweeps, or one pass of signs; torch and ONNX."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from annealnet.ising.network.spins import IsingNetwork

__all__ = ["GroundStateNetwork", "MeanFieldNetwork", "SignNetwork", "deployed"]

#: Mean-field sweeps where ground states are out of reach and nothing else is asked for.
_SWEEPS = 10


class _Deployed(nn.Module):
    """The network's numbers as buffers; the scores are overlaps of output fields with the codes."""

    def __init__(self, network: IsingNetwork) -> None:
        super().__init__()
        self.most, self.layers = network.limits.field, len(network.sizes)
        self.register_buffer("inputs", torch.from_numpy(network.inputs.copy()))
        self.register_buffer("offset", torch.from_numpy(network.biases[0].copy()))
        self.register_buffer("codes", torch.from_numpy(network.codes.T / np.float32(network.codes.shape[1])))
        for number, (block, bias) in enumerate(zip(network.couplings, network.biases[1:], strict=True)):
            self.register_buffer(f"coupling{number}", torch.from_numpy(block.copy()))
            self.register_buffer(f"bias{number + 1}", torch.from_numpy(bias.copy()))
        self.coupled = [block is not None for block in network.inner]
        for number, inside in enumerate(network.inner):
            if inside is not None:
                self.register_buffer(f"inner{number}", torch.from_numpy(inside.copy()))

    def fields(self, x: Tensor) -> Tensor:
        """Fields on the first layer ``(samples, n_1)``."""
        found: Tensor = x @ self.get_buffer("inputs") + self.get_buffer("offset")
        return found.clamp(-self.most, self.most)

    def step(self, layer: int, below: Tensor) -> Tensor:
        """Fields on a layer from the spins below it."""
        found: Tensor = below @ self.get_buffer(f"coupling{layer - 1}") + self.get_buffer(f"bias{layer}")
        return found


class GroundStateNetwork(_Deployed):
    """The deepest state of every class, exactly: what the best of infinitely many anneals would answer.

    With the outputs clamped to a class' code c, hidden spins that do not couple to each other are free of one another, each
    stands along its field, and −min_s E(s, c | x) = Σ_j |h_j(x) + Σ_k J_jk c_k| + b·c: one layer of absolute values, and the
    scores are energies. *Our reconstruction*; the paper deploys a classical network without saying how it is read.

    Args:
        network: with one hidden layer, and no couplings inside layers.

    Raises:
        ValueError: a deeper network, or couplings inside layers: their ground states have no such form.
    """

    def __init__(self, network: IsingNetwork) -> None:
        if not _has_ground_states(network):
            inside = " and couplings inside them" if network.inner_blocks else ""
            raise ValueError(
                f"network has layers of {list(network.sizes)} spins{inside}: ground states need one hidden layer and no "
                "couplings inside; give sweeps for mean fields"
            )
        super().__init__(network)
        self.register_buffer("reach", torch.from_numpy(network.codes @ network.couplings[0].T))
        self.register_buffer("own", torch.from_numpy(network.codes @ network.biases[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(samples, classes)``: minus the least energy of each class."""
        fields = self.fields(x).unsqueeze(1) + self.get_buffer("reach")
        return fields.abs().sum(-1) + self.get_buffer("own")


class SignNetwork(_Deployed):
    """s_1 = sign(W x + b_1), s_{l+1} = sign(J_lᵀ s_l + b_{l+1}): one pass, no feedback; x ``(samples, n_in)`` → scores.

    Raises:
        ValueError: a network with couplings inside layers, which one pass cannot follow.
    """

    def __init__(self, network: IsingNetwork) -> None:
        check_deployable(network, 0)
        super().__init__(network)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(samples, classes)``."""
        fields = self.fields(x)
        for layer in range(1, self.layers):
            fields = self.step(layer, torch.where(fields < 0, -1.0, 1.0))
        return torch.matmul(fields, self.get_buffer("codes"))


class MeanFieldNetwork(_Deployed):
    """m_l = tanh β_t(fields from both neighbours), swept through the layers while β_t grows: the anneal without chance.

    In a layer with couplings inside, the fields hold K_l m_l too, and its means move half of the way: all of them at once
    and the whole way, they may swing for ever.

    Args:
        network: trained.
        sweeps: t = 1 … sweeps; a fixed number, so that it unrolls into ONNX.
        hot, cold: β_1 and β_sweeps, geometric between.
    """

    def __init__(self, network: IsingNetwork, sweeps: int = 10, hot: float = 0.2, cold: float = 5.0) -> None:
        super().__init__(network)
        if sweeps < 1 or not 0 < hot <= cold:
            raise ValueError(f"sweeps={sweeps}, hot={hot}, cold={cold}: at least 1 sweep, 0 < hot ≤ cold")
        self.betas = [float(beta) for beta in np.geomspace(hot, cold, sweeps)]

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(samples, classes)``."""
        own = self.fields(x)
        means = [torch.tanh(own * self.betas[0])]
        for layer in range(1, self.layers):
            means.append(torch.tanh(self.betas[0] * self.step(layer, means[-1])))
        fields = self.step(self.layers - 1, means[-2]) if self.layers > 1 else own
        for beta in self.betas:
            for layer in range(self.layers):
                fields = own if layer == 0 else self.step(layer, means[layer - 1])
                if layer + 1 < self.layers:
                    fields = fields + means[layer + 1] @ self.get_buffer(f"coupling{layer}").T
                if self.coupled[layer]:
                    fields = fields + means[layer] @ self.get_buffer(f"inner{layer}")
                    means[layer] = 0.5 * (means[layer] + torch.tanh(beta * fields))
                else:
                    means[layer] = torch.tanh(beta * fields)
        return torch.matmul(fields, self.get_buffer("codes"))


def check_deployable(network: IsingNetwork, sweeps: int | None) -> None:
    """Refuses one pass of signs for a network whose spins couple inside layers."""
    if sweeps == 0 and network.inner_blocks:
        raise ValueError(
            "sweeps=0 is one pass of signs, which cannot follow couplings inside layers: give sweeps of at least 1, or "
            "train without such couplings"
        )


def _has_ground_states(network: IsingNetwork) -> bool:
    return len(network.sizes) == 2 and not network.inner_blocks


def deployed(network: IsingNetwork, sweeps: int | None = None) -> nn.Module:
    """The module of a network.

    Args:
        network: trained.
        sweeps: of mean fields; 0 is one pass of signs; None takes ground states where one hidden layer without couplings
            inside makes them exact, and ten sweeps elsewhere.

    Raises:
        ValueError: one pass of signs for a network with couplings inside layers.

    Example:
        >>> module = deployed(IsingNetwork.create((4, 6), 3))
        >>> module(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    if sweeps is None and _has_ground_states(network):
        return GroundStateNetwork(network).eval()
    if sweeps == 0:
        return SignNetwork(network).eval()
    return MeanFieldNetwork(network, _SWEEPS if sweeps is None else sweeps).eval()
