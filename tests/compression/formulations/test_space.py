"""The budget holds on the bytes written, and the smallest one that an error names can be had."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import annealnet as an
from annealnet.compression import DataAware, FineTuning, Published
from annealnet.compression.formulations.budget import Budget
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.formulations.starts import feasible_starts
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.rounding import AnnealedRounding, NearestRounding
from annealnet.energy import ProductBudget

FAST = DataAware(reads=2, sweeps=40)


def network(kind: str, bias: bool, seed: int, spread: bool) -> nn.Module:
    """A small network; ``spread`` puts its hidden channels anywhere from 1e-12 to 1e9, the next layer takes that back."""
    torch.manual_seed(seed)
    if kind == "linear":
        net = nn.Sequential(nn.Linear(6, 10, bias), nn.ReLU(), nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 3, bias))
    else:
        norm = nn.BatchNorm2d(6) if kind == "batch norm" else nn.Identity()
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=bias), norm, nn.ReLU(), nn.Conv2d(6, 8, 3, bias=bias), nn.ReLU(),
            nn.Flatten(), nn.Linear(32, 3, bias),
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    layers = [module for module in net if isinstance(module, nn.Linear | nn.Conv2d)]
    if spread:
        with torch.no_grad():
            for first, second in pairwise(layers):
                factor = torch.from_numpy(10.0 ** rng.uniform(-12, 9, len(first.weight))).float()
                first.weight.mul_(factor.reshape(-1, *[1] * (first.weight.ndim - 1)))
                if first.bias is not None:
                    first.bias.mul_(factor)
                places = factor.repeat_interleave(second.weight.shape[1] // len(factor))
                second.weight.div_(places.reshape(1, -1, *[1] * (second.weight.ndim - 2)))
            if layers[-1].bias is not None:
                layers[-1].bias.copy_(torch.tensor([1e9, -1e-12, 70_000.0]))
    return net.eval()


def samples(kind: str, count: int = 24) -> torch.Tensor:
    shape = (6,) if kind == "linear" else (1, 4, 4)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(5))


def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def named_smallest(kind: str, net: nn.Module, rounding: NearestRounding) -> int:
    with pytest.raises(ValueError, match="ask for no less") as refused:
        an.compress(net, [samples(kind)], an.Budget(bytes=1), rounding=rounding, formulation=FAST)
    found = re.search(r"can become is (\d+) bytes", str(refused.value))
    assert found is not None
    return int(found[1])


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["linear", "conv", "batch norm"]),
    bias=st.booleans(),
    spread=st.booleans(),
    group=st.sampled_from([None, 8, 32]),
    symmetric=st.booleans(),
    share=st.floats(0, 1),
    seed=st.integers(0, 999),
)
def test_written_is_reported_and_within_the_budget_down_to_the_smallest(
    tmp_path_factory: pytest.TempPathFactory, kind: str, bias: bool, spread: bool, group: int | None, symmetric: bool,
    share: float, seed: int,
) -> None:  # fmt: skip
    net, rounding = network(kind, bias, seed, spread), NearestRounding(group, symmetric, candidates=3)
    least = named_smallest(kind, net, rounding)
    with pytest.raises(ValueError, match="cannot be met"):
        an.compress(net, [samples(kind)], an.Budget(bytes=least - 1), rounding=rounding, formulation=FAST)
    for budget in (least, least + int(share * least)):
        small = an.compress(net, [samples(kind)], an.Budget(bytes=budget), rounding=rounding, formulation=FAST, candidates=1)
        folder = small.save(tmp_path_factory.mktemp("out"))
        assert written(folder) == small.report.small.bytes <= budget
        again = an.load(folder, network(kind, bias, 0, False)).state_dict()
        assert all(torch.equal(again[name], value) for name, value in small.model.state_dict().items())


def test_the_published_energy_says_where_it_cannot_follow() -> None:
    """It rewards no width of what it has removed, so that the very least plan is none of its optima."""
    net, rounding = network("conv", True, 3, False), NearestRounding()
    budget = an.Budget(bytes=named_smallest("conv", net, rounding))
    with pytest.raises(ValueError, match=r"take formulation=DataAware\(\)"):
        an.compress(net, [samples("conv")], budget, rounding=rounding, formulation=Published())


@pytest.mark.parametrize(
    "rounding", [AnnealedRounding(group=8), NearestRounding(8, False), AnnealedRounding(symmetric=False)]
)
def test_grouped_and_asymmetric_roundings_go_all_the_way(
    rounding: AnnealedRounding | NearestRounding, tmp_path: Path
) -> None:
    net, x = network("conv", True, 0, False), samples("conv")
    budget = an.Budget(size_ratio=2)
    tuned = FineTuning(epochs=2)
    small = an.compress(net, [x], budget, rounding=rounding, formulation=FAST, candidates=1, fine_tuning=tuned)
    assert (small.plan.group, small.plan.symmetric) == (rounding.group, rounding.symmetric)
    assert written(small.save(tmp_path)) == small.report.small.bytes <= small.report.dense.bytes / 2
    assert torch.equal(an.load(tmp_path, network("conv", True, 1, False))(x), small.model(x))
    assert small.report.small.divergence < 0.5


def test_one_scale_below_a_millionth_does_not_double_the_bytes(tmp_path: Path) -> None:
    """Such a scale once turned every scale of the file into float32, behind the budget's back."""
    net, x = network("linear", True, 0, False), samples("linear")
    with torch.no_grad():
        net[2].weight[0] *= 1e-8
        net[4].weight[:, 0] *= 1e8
    small = an.compress(net, [x], an.Budget(size_ratio=2), formulation=FAST, candidates=1, prune=False)
    assert float(small.grids["2"].scale.min()) < 2.0**-20
    assert written(small.save(tmp_path)) == small.report.small.bytes <= small.report.dense.bytes / 2


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["linear", "conv"]),
    group=st.sampled_from([None, 7, 8, 32]),
    symmetric=st.booleans(),
    seed=st.integers(0, 999),
)
def test_count_and_constraint_are_the_same(kind: str, group: int | None, symmetric: bool, seed: int) -> None:
    """A plan keeps the sampler's constraint exactly when its bytes are within the limit."""
    rng = np.random.default_rng(seed)
    problem = prepare(
        network(kind, True, 0, False), Calibration.of(samples(kind, 4)), an.Budget(bytes=10**6),
        rounding=NearestRounding(group, symmetric),
    )  # fmt: skip
    space = problem.space
    keep = rng.random(space.graph.num_units) < 0.6
    for each in space.graph.groups:
        keep[each.units[0]] = True
    bits = {name: int(rng.choice(widths)) for name, widths in space.widths.items()}
    size = space.num_bytes(keep, bits)
    for limit, fits in ((size, True), (size - 1, False)):
        (budget,) = [
            part for part in space.constraints(type(problem.limits)(limit, None)) if isinstance(part, ProductBudget)
        ]
        assert bool(budget.holds(space.encode(keep, bits)[None])[0]) is fits
        assert space.fits(keep, bits, type(problem.limits)(limit, None)) is fits


def test_starts_keep_the_constraint_at_the_smallest_budget() -> None:
    net, x = network("linear", True, 0, False), Calibration.of(samples("linear"))
    least = named_smallest("linear", net, NearestRounding())
    problem = prepare(net, x, an.Budget(bytes=least), rounding=NearestRounding())
    starts = feasible_starts(problem.space, np.zeros(problem.space.graph.num_units), {}, problem.limits)
    assert all(constraint.holds(starts).all() for constraint in problem.space.constraints(problem.limits))


# ---- what may be removed -------------------------------------------------------------------------------------


class Attends(nn.Module):
    """Two heads of four features, then a feed-forward layer of twelve neurons, then a convolution over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.mix, self.head = nn.Conv1d(8, 5, 1), nn.Conv1d(5, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).view(*x.shape[:2], -1, 4).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + self.o(y.reshape(*x.shape[:2], -1))
        x = x + self.down(torch.relu(self.up(x)))
        return self.head(torch.relu(self.mix(x.transpose(1, 2)))).mean(2)


@pytest.mark.parametrize("prune", [True, False, ("heads",), ["neurons", "channels"], ()])
def test_only_what_is_asked_for_may_go(prune: object) -> None:
    torch.manual_seed(0)
    data = Calibration.of(torch.randn(16, 6, 8), None)
    problem = prepare(Attends().eval(), data, Budget(size_ratio=2), prune=prune)  # type: ignore[arg-type]
    space = problem.space
    assert {group.what: len(group.units) for group in space.graph.groups} == {"heads": 2, "neurons": 12, "channels": 5}
    asked = {"heads", "neurons", "channels"} if prune is True else set(prune or ())  # type: ignore[call-overload]
    for group in space.graph.groups:
        assert space.most_removed(group) == (len(group.units) - 1 if group.what in asked else 0)
    keep, _ = space.smallest()
    assert (~keep).sum() == sum({"heads": 1, "neurons": 11, "channels": 4}[kind] for kind in asked)


@pytest.mark.parametrize("prune", ["heads", ("rows",)])
def test_what_cannot_be_removed_is_named(prune: object) -> None:
    with pytest.raises(ValueError, match="give True, False, or a list of some of 'channels', 'neurons', 'heads'"):
        prepare(Attends().eval(), Calibration.of(torch.randn(4, 6, 8), None), Budget(size_ratio=2), prune=prune)  # type: ignore[arg-type]


def test_multiply_adds_of_an_attention_are_counted_and_go_with_its_heads() -> None:
    torch.manual_seed(0)
    problem = prepare(Attends().eval(), Calibration.of(torch.randn(16, 6, 8), None), Budget(size_ratio=2))
    graph = problem.graph
    heads = next(group for group in graph.groups if group.what == "heads")
    keep = np.ones(graph.num_units, dtype=bool)
    keep[heads.units[0]] = False
    assert [product.macs for product in graph.products] == [6 * 6 * (4 + 4)]
    assert graph.macs() - graph.macs(keep) == 6 * 4 * 8 * 4 + 6 * 6 * 8


def test_bits_that_give_a_layer_no_width_or_several_are_refused() -> None:
    space = prepare(network("linear", True, 0, False), Calibration.of(samples("linear")), Budget(size_ratio=2)).space
    whole = space.encode(np.ones(space.graph.num_units, dtype=bool), {name: own[-1] for name, own in space.widths.items()})
    layer = next(name for name, own in space.widths.items() if len(own) > 1)
    own = [space.width_index[layer, b] for b in space.widths[layer]]
    for value, said in ((0, "no width"), (1, "several widths")):
        x = whole.copy()
        x[own] = value
        with pytest.raises(ValueError, match=rf"x gives layer '{layer}' {said}: set one, as encode does"):
            space.decode(x)


def test_a_network_without_a_layer_to_round_is_refused_with_what_helps() -> None:
    hooked = nn.Sequential(nn.Linear(6, 3))
    hooked[0].register_forward_hook(lambda *_: None)
    for net in (hooked, nn.Sequential(nn.LayerNorm(6))):
        for work in (an.quantize, lambda net, data: an.compress(net, data, an.Budget(size_ratio=2))):
            with pytest.raises(ValueError, match=r"there is nothing to .*; take hooks off its layers, or register a kind"):
                work(net.eval(), [samples("linear")])
