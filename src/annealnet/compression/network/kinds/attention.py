"""Attention with packed projections: ``nn.MultiheadAttention``, and the same with fewer heads than fill its width.

PyTorch's own forward takes for granted that all heads together are as wide as the model, so that none can go.
:class:`HeadwiseAttention` counts its heads by its weights. It takes PyTorch's place in copies of a network
(:func:`with_heads_that_can_go`), with the same parameters; the packed ones are those of a linear layer, ``in_proj``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

__all__ = ["HeadwiseAttention", "why_whole", "with_heads_that_can_go"]


class HeadwiseAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` with packed projections and any number of heads of ``head_dim`` features each:

        [Q K V] = x Wᵀ + b,    y = concat_h softmax(Q_h K_hᵀ / √d + mask) V_h · W_oᵀ + b_o

    Arguments and answers of :meth:`forward` are PyTorch's. Its layers' fused inference, which assumes as many heads as fill
    the width, is never taken. ``in_proj`` is a linear layer like any other, so that it is rounded with data where queries,
    keys and values are of one tensor; else its rows are multiplied apart.

    Example:
        >>> attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
        >>> x = torch.randn(3, 5, 8)
        >>> wanted = attention(x, x, x)[0]
        >>> found = with_heads_that_can_go(attention)(x, x, x)[0]
        >>> type(attention).__name__, bool(torch.allclose(found, wanted, atol=1e-6))
        ('HeadwiseAttention', True)
    """

    in_proj: nn.Linear

    @property
    def num_heads(self) -> int:
        """As many as there are weights for."""
        return int(self.in_proj.out_features // (3 * self.head_dim))

    @property
    def in_proj_weight(self) -> Tensor:  # type: ignore[override]  # there it is an attribute
        """Under PyTorch's name."""
        return self.in_proj.weight

    @property
    def in_proj_bias(self) -> Tensor | None:  # type: ignore[override]
        """Under PyTorch's name."""
        return self.in_proj.bias

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The answer, and the weights of attention where they are asked for.

        Raises:
            ValueError: when ``is_causal`` comes without ``attn_mask``, or that is made for another number of heads.
        """
        if is_causal and attn_mask is None:
            raise ValueError("attn_mask=None with is_causal=True: give the causal mask, as nn.MultiheadAttention wants it")
        single, itself = query.dim() == 2, query is key and key is value
        first = self._samples_first(query, single)
        q, k, v = self._itself(first) if itself else self._others(first, key, value, single)
        mask = self._mask(attn_mask, key_padding_mask, q)
        if self.add_zero_attn:
            k, v = (F.pad(part, (0, 0, 0, 1)) for part in (k, v))
            mask = None if mask is None else F.pad(mask, (0, 1))
        dropout = self.dropout if self.training else 0.0
        weights: Tensor | None = None
        if need_weights:
            scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            mixed = F.dropout(weights, dropout) @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        answer = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if single:
            return answer.squeeze(0), None if weights is None else weights.squeeze(0)
        return answer if self.batch_first else answer.transpose(0, 1), weights

    def _samples_first(self, x: Tensor, single: bool) -> Tensor:
        if single:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _itself(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values of one tensor: one product."""
        return [self._by_head(part) for part in self.in_proj(x).chunk(3, -1)]

    def _others(self, query: Tensor, key: Tensor, value: Tensor, single: bool) -> list[Tensor]:
        """Those of several: each its own rows of the projections."""
        given = query, self._samples_first(key, single), self._samples_first(value, single)
        weights = self.in_proj.weight.chunk(3)
        biases = (None,) * 3 if self.in_proj.bias is None else self.in_proj.bias.chunk(3)
        return [self._by_head(F.linear(x, *own)) for x, *own in zip(given, weights, biases, strict=True)]

    def _by_head(self, x: Tensor) -> Tensor:
        """``(samples, positions, heads · features)`` → ``(samples, heads, positions, features)``."""
        return x.reshape(x.shape[0], x.shape[1], -1, self.head_dim).transpose(1, 2)

    def _mask(self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor) -> Tensor | None:
        """Both masks as one that is added to the scores ``(samples, heads, queries, keys)``."""
        found: Tensor | None = None
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                if attn_mask.shape[0] != q.shape[0] * q.shape[1]:
                    raise ValueError(
                        f"attn_mask of shape {tuple(attn_mask.shape)} does not fit {q.shape[0]} samples and {q.shape[1]} "
                        f"heads: give ({q.shape[0] * q.shape[1]}, queries, keys), or one mask for all heads"
                    )
                attn_mask = attn_mask.unflatten(0, (q.shape[0], q.shape[1]))
            found = _added(attn_mask, q)
        if key_padding_mask is not None:
            padding = _added(key_padding_mask, q).reshape(-1, 1, 1, key_padding_mask.shape[-1])
            found = padding if found is None else found + padding
        return found


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers: -∞ where a bool mask is True."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill(mask, -math.inf)
    return mask


def with_heads_that_can_go(model: nn.Module) -> nn.Module:
    """Turns every plain ``nn.MultiheadAttention`` with packed projections into :class:`HeadwiseAttention`, in place.

    Those whose keys and values have another width or a bias of their own (``kdim``, ``vdim``, ``add_bias_kv``), and
    subclasses, stay what they are.

    Example:
        >>> model = with_heads_that_can_go(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
        >>> type(model.self_attn).__name__, [name for name, _ in model.self_attn.named_parameters()][:2]
        ('HeadwiseAttention', ['out_proj.weight', 'out_proj.bias'])
    """
    for module in model.modules():
        if type(module) is nn.MultiheadAttention and why_whole(module) is None and not parametrize.is_parametrized(module):
            _turn(module)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and any(isinstance(m, HeadwiseAttention) for m in module.modules()):
            module.use_nested_tensor = False
    return model


def why_whole(attention: nn.MultiheadAttention) -> str | None:
    """Why no head of it can go; None where they can.

    Example:
        >>> why_whole(nn.MultiheadAttention(8, 2, add_bias_kv=True)), why_whole(nn.MultiheadAttention(8, 2))
        ('its keys and values have biases of their own', None)
    """
    if attention.bias_k is not None or attention.bias_v is not None:
        return "its keys and values have biases of their own"
    return "its queries, keys and values have weights of their own" if attention.in_proj_weight is None else None


def _turn(attention: nn.MultiheadAttention) -> None:
    """PyTorch's module becomes ours; hooks and whatever else was put on it stay."""
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    for name in ("in_proj_weight", "in_proj_bias", "num_heads"):
        delattr(attention, name)
    attention.__class__ = HeadwiseAttention
    attention._qkv_same_embed_dim = False  # what PyTorch's encoder layers ask before they go past this forward
    with torch.device("meta"):
        projections = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    projections.weight, projections.bias = weight, bias
    attention.in_proj = projections.train(attention.training)
