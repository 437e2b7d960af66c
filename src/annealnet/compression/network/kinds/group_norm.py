"""Group norms: channels go by whole groups, so that the moments of every other group stay what they were."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from annealnet.compression.network.channel_labels import Labelled
from annealnet.compression.network.kinds.batch_norm import BatchNorm
from annealnet.compression.network.kinds.narrowing import narrowed
from annealnet.compression.network.kinds.protocol import NormKind
from annealnet.compression.network.passage import NotUnderstood, Passage, kept

__all__ = ["GroupNorm", "InstanceNorm"]


class GroupNorm(NormKind):
    """``nn.GroupNorm``: y = γ · (x − μ_g) / √(σ_g² + ε) + β, moments of each sample over a group g of channels.

    All channels of a group are one unit. What is left of the others does not depend on it: exact.

    Example:
        >>> norm = nn.GroupNorm(3, 6)
        >>> GroupNorm().narrow(norm, np.array([True, True, False, False, True, True]))
        >>> norm.num_groups, norm.num_channels, norm.weight.shape
        (2, 4, torch.Size([4]))
    """

    def passes(self, module: nn.Module, passage: Passage) -> Labelled | None:
        """Labels stay where they are; those of a group become one."""
        if passage.value is None:
            return None
        if kept(passage).axis != 1:
            raise NotUnderstood("it normalises another dimension than the channels")
        groups = _number(module, "num_groups")
        if groups == 1 and self.num_channels(module) > 1:
            raise NotUnderstood("it normalises over the channels")
        by_group = passage.value.labels.reshape(groups, -1)
        for column in by_group.T[1:]:
            passage.classes.tie(by_group[:, 0], column)
        return passage.value

    def why_dense(self, module: nn.Module) -> str:
        """It has nothing to be folded into."""
        return "it normalises by each sample's own moments"

    def num_channels(self, module: nn.Module) -> int:
        """Its own number."""
        return _number(module, "num_channels")

    def affine(self, module: nn.Module) -> tuple[Tensor, Tensor] | None:
        """None: moments are each sample's own."""
        return None

    def narrow(self, module: nn.Module, kept: np.ndarray) -> None:
        """γ and β of the channels kept, and the number of groups."""
        for name in ("weight", "bias"):
            tensor = getattr(module, name)
            if isinstance(tensor, Tensor):
                setattr(module, name, narrowed(tensor, kept))
        by_group = kept.reshape(_number(module, "num_groups"), -1)
        module.num_groups, module.num_channels = int(by_group[:, 0].sum()), int(kept.sum())  # type: ignore[assignment]


class InstanceNorm(BatchNorm):
    """``nn.InstanceNorm1d`` … ``3d``: a batch norm of each sample, unless it keeps running moments.

    Example:
        >>> InstanceNorm().affine(nn.InstanceNorm2d(4, affine=True)) is None
        True
    """

    def why_dense(self, module: nn.Module) -> str:
        """Why it was not folded."""
        if self.affine(module) is None:
            return "it normalises by each sample's own moments"
        return super().why_dense(module)


def _number(module: nn.Module, name: str) -> int:
    found = getattr(module, name)
    assert isinstance(found, int)
    return found
