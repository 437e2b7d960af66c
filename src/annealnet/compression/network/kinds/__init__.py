"""One file per kind of layer: how its labels pass, which rows it reads, how it narrows, is stored and exported.

Everything else asks :func:`kind_of`. A new kind is a file that derives from :class:`LayerKind`, :class:`NormKind` or
:class:`Kind`, a line here (or a call of :func:`register` from outside, for a class of one's own), and a test.
"""

from torch import nn

from annealnet.compression.network.kinds.attention import HeadwiseAttention, why_whole, with_heads_that_can_go
from annealnet.compression.network.kinds.batch_norm import BatchNorm
from annealnet.compression.network.kinds.conv import Convolution
from annealnet.compression.network.kinds.conv3d import Convolution3d
from annealnet.compression.network.kinds.elementwise import ELEMENTWISE, Elementwise, SharedSlope
from annealnet.compression.network.kinds.embedding import Embedding
from annealnet.compression.network.kinds.flatten import Flatten
from annealnet.compression.network.kinds.group_norm import GroupNorm, InstanceNorm
from annealnet.compression.network.kinds.linear import Linear
from annealnet.compression.network.kinds.matrix import Matrix
from annealnet.compression.network.kinds.pooling import SPATIAL, Spatial
from annealnet.compression.network.kinds.protocol import Kind, LayerKind, LayerLabels, NormKind
from annealnet.compression.network.kinds.recurrent import Gates
from annealnet.compression.network.kinds.registry import (
    bias_of,
    kind_of,
    layer_at,
    layer_kind,
    matrix_of,
    no_layers,
    own_tensors,
    register,
    register_inside,
    register_named,
    registered,
    weight_of,
)
from annealnet.compression.network.kinds.shared_moments import OnlyKept, narrow_moments, takes_moments_over
from annealnet.compression.network.kinds.turned_conv import TurnedConvolution
from annealnet.compression.network.kinds.turned_linear import TurnedLinear

__all__ = [
    "BatchNorm",
    "Convolution",
    "Convolution3d",
    "Elementwise",
    "Embedding",
    "Flatten",
    "Gates",
    "GroupNorm",
    "HeadwiseAttention",
    "InstanceNorm",
    "Kind",
    "LayerKind",
    "LayerLabels",
    "Linear",
    "Matrix",
    "NormKind",
    "OnlyKept",
    "SharedSlope",
    "Spatial",
    "TurnedConvolution",
    "TurnedLinear",
    "bias_of",
    "kind_of",
    "layer_at",
    "layer_kind",
    "matrix_of",
    "narrow_moments",
    "no_layers",
    "own_tensors",
    "register",
    "register_inside",
    "register_named",
    "registered",
    "takes_moments_over",
    "weight_of",
    "why_whole",
    "with_heads_that_can_go",
]

register(nn.Linear, kind=Linear())
register(nn.Conv1d, nn.Conv2d, kind=Convolution())
register(nn.Conv3d, kind=Convolution3d())
register_inside(nn.Linear, kind=Linear())
register_inside(nn.Conv1d, nn.Conv2d, kind=Convolution())
register_inside(nn.Conv3d, kind=Convolution3d())
register(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, kind=TurnedConvolution())
register_named("transformers.pytorch_utils.Conv1D", kind=TurnedLinear())
register(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, kind=BatchNorm())
register(nn.GroupNorm, kind=GroupNorm())
register(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, kind=InstanceNorm())
register(nn.Embedding, kind=Embedding())
register(*ELEMENTWISE, kind=Elementwise())
register(nn.PReLU, kind=SharedSlope())
register(*SPATIAL, kind=Spatial())
register(nn.Flatten, kind=Flatten())
