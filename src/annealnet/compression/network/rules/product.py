"""Products of two tensors that are computed: labels pass in the dimensions that are kept, none through a contraction."""

from __future__ import annotations

from annealnet.compression.network.call import Call, Rule
from annealnet.compression.network.channel_labels import Channels
from annealnet.compression.network.passage import NotUnderstood

__all__ = ["PRODUCT_RULES"]


def _product(call: Call) -> Channels | None:
    """``(…, m, k) @ (…, k, n)``: leading dimensions, m and n keep their labels; both sides' leading ones become one."""
    operands = call.argument(0, "input"), call.argument(1, "other")
    out: Channels | None = None
    for side, operand in enumerate(operands):
        value, shape = call.value(operand), call.shape(operand)
        if value is None:
            continue
        if not isinstance(value, Channels) or shape is None:
            raise NotUnderstood("it computes with the number of channels")
        behind = len(shape) - value.axis  # 1 is the last dimension
        if behind == (1 if side == 0 else 2) or len(shape) == 1:
            raise NotUnderstood("it sums over the channels with weights that are computed")
        passed = Channels(len(call.out_shape) - behind, value.labels)
        if len(value.labels) != call.out_shape[passed.axis]:  # one key for the heads of all queries
            call.pin(value.labels, "one channel is spread over several")
            continue
        if behind > 2:
            _matched(call, passed, operands[1 - side], behind)
        if out is not None and out.axis != passed.axis:
            raise NotUnderstood("its operands carry channels in different dimensions")
        out = passed if out is None else out
    return out


def _product_and_sum(call: Call) -> Channels | None:
    """``baddbmm``: a product with something added that has numbers for each head of each sample."""
    for operand in call.node.args[1:3]:
        value = call.value(operand)
        if value is not None:
            call.pin(value.labels, "each head has a bias of its own, computed from their number")
    return None


def _matched(call: Call, passed: Channels, other: object, behind: int) -> None:
    """A leading dimension: what the other operand has there goes with it."""
    value, shape = call.value(other), call.shape(other)
    if shape is None or len(shape) < behind or shape[-behind] == 1:
        return
    if isinstance(value, Channels) and len(shape) - value.axis == behind:
        call.classes.tie(passed.labels, value.labels)
    else:
        call.pin(passed.labels, "combined with a tensor of a fixed number of channels")


#: Matrix products.
PRODUCT_RULES: dict[str, Rule] = {**dict.fromkeys(("matmul", "bmm", "mm"), _product), "baddbmm": _product_and_sum}
