"""How labels on channels pass through operations: one small rule each, in files by family.

A rule says which labels an operation's result carries, ties labels that must be one, or raises :class:`.NotUnderstood`:
then every label that touches the operation is pinned, so that nothing is broken silently. Operations go by their plain
names, which ``torch`` functions, tensor methods and ATen operations share (in-place forms, too).
"""

from annealnet.compression.network.call import Rule
from annealnet.compression.network.rules.attention import ATTENTION_RULES
from annealnet.compression.network.rules.lookup import LOOKUP_RULES
from annealnet.compression.network.rules.pointwise import POINTWISE_RULES
from annealnet.compression.network.rules.product import PRODUCT_RULES
from annealnet.compression.network.rules.reduction import REDUCTION_RULES
from annealnet.compression.network.rules.shape import SHAPE_RULES

__all__ = ["RULES"]

#: What is known of operations, by name.
RULES: dict[str, Rule] = {
    **POINTWISE_RULES, **SHAPE_RULES, **LOOKUP_RULES, **REDUCTION_RULES, **PRODUCT_RULES, **ATTENTION_RULES,
}  # fmt: skip
