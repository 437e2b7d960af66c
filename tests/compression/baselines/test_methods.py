"""What plans are compared with: within the budget, repeatable, and right where the right answer can be enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import annealnet as an
from annealnet.architectures import digits_cnn
from annealnet.compression.baselines.genetic import evolve, genetic_published
from annealnet.compression.baselines.methods import (
    BASELINES,
    hawq_energies,
    ilp_l1,
    l1_scores,
    least_share,
    random_plans,
    taylor_scores,
    uniform_bits,
)
from annealnet.compression.formulations import DataAware, Problem
from annealnet.compression.formulations.budget import Limits
from annealnet.compression.formulations.optimal_widths import optimal_widths
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.rounding import NearestRounding
from annealnet.compression.rounding.grids import dequantize
from annealnet.energy import DenseEnergy


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.hidden, self.deep, self.last = nn.Linear(8, 12), nn.Linear(12, 10), nn.Linear(10, 9)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.last(self.relu(self.deep(self.relu(self.hidden(self.embedding(tokens))))))


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "tokens":
        return Tokens().eval()
    if kind == "images":
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)
        ).eval()
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2)).eval()


def problem(kind: str, ratio: float = 1.5, **settings: object) -> Problem:
    generator = torch.Generator().manual_seed(1)
    x = {
        "tokens": lambda: torch.randint(9, (32, 7), generator=generator),
        "images": lambda: torch.randn(32, 1, 6, 6, generator=generator),
        "numbers": lambda: torch.randn(32, 5, generator=generator),
    }[kind]()
    task = an.Regression() if kind == "numbers" else None
    return prepare(
        network(kind), Calibration.of(x), an.Budget(size_ratio=ratio), task=task, rounding=NearestRounding(), **settings
    )


KINDS = ("tokens", "images", "numbers")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("prune", [True, False])
def test_every_baseline_stays_within_the_budget_and_repeats(kind, method, prune):
    ratio = {"tokens": 1.6, "images": 1.5, "numbers": 1.3}[kind]
    found = problem(kind, ratio, prune=prune)
    plans = BASELINES[method](found, 4, 3)
    assert 0 < len(plans) <= 4
    assert len({(keep.tobytes(), tuple(bits.items())) for keep, bits in plans}) == len(plans)
    assert [bits for _, bits in BASELINES[method](found, 1, 3)] == [plans[0][1]]
    for keep, bits in plans:
        assert found.space.fits(keep, bits, found.limits)
        assert prune or keep.all()
        assert all(bits[name] in widths for name, widths in found.space.widths.items())
        found.graph.checked_keep(keep)
    for (keep, bits), (again, bits_again) in zip(
        plans, BASELINES[method](problem(kind, ratio, prune=prune), 4, 3), strict=True
    ):
        assert np.array_equal(keep, again)
        assert bits == bits_again


@pytest.mark.parametrize("prune", [True, False])
def test_random_plans_end_on_the_tightest_budget_and_beyond(prune):
    layers = [part for _ in range(12) for part in (nn.Linear(16, 16), nn.ReLU())]
    torch.manual_seed(0)
    net = nn.Sequential(*layers, nn.Linear(16, 3)).eval()
    x = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    loose = prepare(net, Calibration.of(x), an.Budget(size_ratio=1), prune=prune, rounding=NearestRounding())
    least = loose.space.num_bytes(*loose.space.smallest())
    tight = loose.under(Limits(least, None))
    ((keep, bits),) = random_plans(tight, 1, 0)
    assert loose.space.num_bytes(keep, bits) <= least
    assert random_plans(loose.under(Limits(least - 100, None)), 4, 0) == []
    kept = {tuple(random_plans(loose, 1, seed)[0][1].values()) for seed in range(5)}
    assert len(kept) == 5


@pytest.mark.parametrize(
    "budget", [an.Budget(size_ratio=10, macs_ratio=2.5), an.Budget(size_ratio=6), an.Budget(macs_ratio=2)], ids=str
)
@pytest.mark.parametrize("method", ["uniform + L1", "uniform + Taylor"])
def test_one_width_spends_both_budgets(method, budget):
    """No wider grid fits with the same channels, no lesser share at the same width; multiply-adds may force pruning."""
    torch.manual_seed(0)
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = prepare(digits_cnn(24).eval(), Calibration.of(x), budget, rounding=NearestRounding())
    plans = BASELINES[method](found, 4, 0)
    scores = (l1_scores if method == "uniform + L1" else taylor_scores)(found)
    widths = [min(bits.values()) for _, bits in plans]  # the first and the last layer have 8 bit
    assert widths == sorted(set(widths))
    assert [keep.sum() for keep, _ in plans] == sorted({int(keep.sum()) for keep, _ in plans}, reverse=True)
    for (keep, bits), width in zip(plans, widths, strict=True):
        assert bits == uniform_bits(found.space, width)
        assert np.array_equal(keep, least_share(found, scores, bits))
        for wider in range(width + 1, 9):
            assert not found.space.fits(keep, uniform_bits(found.space, wider), found.limits)
    assert np.array_equal(plans[0][0], least_share(found, scores, uniform_bits(found.space, 2)))


@pytest.mark.parametrize("macs_ratio", [1.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_plans_are_what_our_anneal_begins_from_and_never_below_what_it_finds(kind, macs_ratio):
    found = problem(kind, 1.6 if kind == "tokens" else 1.3)
    found = found.under(Limits(found.limits.bytes, int(found.graph.macs() / macs_ratio)))
    energy = DataAware().energy(found)
    plans = BASELINES["greedy on our energy"](found, 4, 0)
    states = np.array([found.space.encode(keep, bits) for keep, bits in plans])
    assert len(states)
    assert energy.feasible(states).all()
    assert all(found.space.fits(keep, bits, found.limits) for keep, bits in plans)
    energies = energy.energy(states)
    assert (np.diff(energies) >= 0).all()
    starts = DataAware().starts(found, energy)
    assert energies[0] == pytest.approx(energy.energy(starts).min())
    assert {state.tobytes() for state in states} <= {start.tobytes() for start in starts}
    annealed = DataAware().propose(found, None, 4, 0)
    assert annealed.energies[0] <= energies[0] + 1e-12


def test_l1_is_the_mean_absolute_weight_of_what_makes_a_unit():
    found = problem("numbers")
    weights = [found.dense.get_submodule(name).weight for name in ("0", "2")]
    expected = np.concatenate([w.abs().mean(1).numpy() for w in weights])
    assert np.allclose(l1_scores(found), expected)
    least = least_share(found, l1_scores(found), {name: max(widths) for name, widths in found.space.widths.items()})
    for group in found.graph.groups:  # the lowest go first
        units = np.array(group.units)
        gone, stay = units[~least[units]], units[least[units]]
        assert not len(gone) or expected[gone].max() <= expected[stay].min()


@pytest.mark.parametrize("kind", KINDS)
def test_taylor_scores_are_the_derivative_of_scaling_a_channel(kind):
    """Σ_positions g·a is d loss / d ε where the channel is multiplied by 1 + ε: taken by differences, sample by sample."""
    found = problem(kind)
    scores = taylor_scores(found)
    x, step = found.answers.x.main, 1e-3
    net = found.dense.double()
    x = x.double() if x.is_floating_point() else x
    dense = net(x.clone())
    if kind == "numbers":  # the labels drawn around the answers, 128 samples at a time
        noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(0))

        def loss(answers: Tensor) -> Tensor:
            return 0.5 * ((answers - dense - noise) ** 2).flatten(1).sum(1)
    else:
        axis = -1 if kind == "tokens" else 1
        labels = dense.argmax(axis, keepdim=True)

        def loss(answers: Tensor) -> Tensor:
            return -answers.log_softmax(axis).gather(axis, labels).flatten(1).sum(1)

    expected = np.zeros(found.graph.num_units)
    for layer in found.graph.layers:
        module = net.get_submodule(layer.name)
        for slot, unit in enumerate(layer.out_units):
            if unit >= 0:
                ends = []
                for sign in (1, -1):
                    weight, bias = module.weight[slot].clone(), module.bias[slot].clone()
                    module.weight[slot] *= 1 + sign * step
                    module.bias[slot] *= 1 + sign * step
                    ends.append(loss(net(x.clone())))
                    module.weight[slot], module.bias[slot] = weight, bias
                expected[unit] += float(((ends[0] - ends[1]) / (2 * step)).abs().mean())
    assert np.allclose(scores, expected, rtol=0.02, atol=1e-3 * expected.max())
    assert all(not hooks for module in found.dense.modules() for hooks in (module._forward_hooks,))


@pytest.mark.parametrize("kind", KINDS)
def test_integer_programmes_find_the_optimum_of_their_energies(kind):
    found = problem(kind, widths=(2, 4, 8), layer_widths=dict.fromkeys(_ends(kind), (3, 5, 7)))
    rng = np.random.default_rng(0)
    everything = np.ones(found.graph.num_units, dtype=bool)
    for trial in range(5):
        energies = {choice: float(rng.random()) for choice in found.space.choices}
        low, high = (
            found.space.num_bytes(everything, {n: end(w) for n, w in found.space.widths.items()}) for end in (min, max)
        )
        tight = found.under(Limits(int(low + (0.1 + 0.2 * trial) * (high - low)), None))
        names = list(found.space.widths)
        costs = [
            sum(energies[name, b] for name, b in zip(names, chosen, strict=True))
            for chosen in itertools.product(*found.space.widths.values())
            if found.space.fits(everything, dict(zip(names, chosen, strict=True)), tight.limits)
        ]
        bits = optimal_widths(tight.space, everything, energies, tight.limits)
        assert bits is not None
        assert sum(energies[name, b] for name, b in bits.items()) == pytest.approx(min(costs))
    assert optimal_widths(found.space, everything, energies, Limits(low - 50, None)) is None


def _ends(kind: str) -> tuple[str, str]:
    return ("hidden", "last") if kind == "tokens" else ("0", "5") if kind == "images" else ("0", "4")


def test_hawq_takes_every_calibration_sample():
    """The Fisher diagonal of a linear layer in a regression: the answer's noise times what it reads, sample by sample."""
    net = nn.Sequential(nn.Linear(256, 1, bias=False)).eval().requires_grad_(False)
    x = torch.randn(200, 256, generator=torch.Generator().manual_seed(0))
    x[128:] *= 10  # what comes late counts as much
    found = prepare(
        net, Calibration.of(x), an.Budget(size_ratio=1), task=an.Regression(), rounding=NearestRounding(),
        layer_widths={"0": (2, 8)},
    )  # fmt: skip
    error = ((net[0].weight - dequantize(NearestRounding()(net[0].weight.detach(), 2, None))) ** 2).sum()
    fisher = hawq_energies(found)["0", 2] / float(error)
    noise = torch.Generator().manual_seed(0)
    gradients = [(found.task.drawn_loss(net(one[None]), noise), one) for one in x]
    expected = np.mean([2 * float(loss) * float((one**2).mean()) for loss, one in gradients])  # ½ ε² is the loss
    assert fisher == pytest.approx(expected, rel=1e-4)


def test_integer_programmes_are_given_the_least_shares_that_fit():
    found = problem("images", 1.05)
    shares = [1 - keep.mean() for keep, _ in ilp_l1(found, 4, 0)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    scores = l1_scores(found)
    sixteenth = found.space.keep_lowest_out(scores, 1 / 16)
    tried = [keep for keep, _ in ilp_l1(found, 9, 0)]
    assert any(np.array_equal(keep, sixteenth) for keep in tried)


@pytest.mark.parametrize("macs_ratio", [1.2, 1.7, 2.5, 4.0])
def test_integer_programmes_are_given_the_least_share_that_multiply_adds_leave(macs_ratio):
    found = problem("images", 1.3)
    found = found.under(Limits(found.limits.bytes, int(found.graph.macs() / macs_ratio)))
    lowest = {name: min(widths) for name, widths in found.space.widths.items()}
    least = least_share(found, l1_scores(found), lowest)
    plans = ilp_l1(found, 4, 0)
    assert np.array_equal(plans[0][0], least)
    kept = [keep.sum() for keep, _ in plans]
    assert kept == sorted(kept, reverse=True)
    assert ilp_l1(found.under(Limits(1, None)), 4, 0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_hawq_energies_fall_with_width_and_leave_the_network_alone(kind):
    found = problem(kind)
    x = found.answers.x.main.clone()
    energies = hawq_energies(found)
    for name, widths in found.space.widths.items():
        values = [energies[name, b] for b in widths]
        assert values == sorted(values, reverse=True)
        assert values[-1] > 0
    assert not any(p.requires_grad for p in found.dense.parameters())
    assert torch.equal(found.answers.x.main, x)


def test_the_genetic_algorithm_finds_the_optimum_of_a_small_energy_and_stops_at_its_target():
    rng = np.random.default_rng(1)
    energy = DenseEnergy(np.triu(rng.normal(size=(10, 10)), 1), rng.normal(size=10))
    states = np.array(list(itertools.product((0, 1), repeat=10)), dtype=np.uint8)
    best = float(energy.energy(states).min())
    found = evolve(energy, seed=0)
    assert found.energy == pytest.approx(best)
    assert float(energy.energy(found.state)) == pytest.approx(found.energy)
    assert found.reached is None
    stopped = evolve(energy, seed=0, target=best)
    assert stopped.reached is not None
    assert np.array_equal(evolve(energy, seed=4).states, evolve(energy, seed=4).states)
    assert len(np.unique(found.states, axis=0)) == len(found.states) > 1
    assert np.allclose(energy.energy(found.states), found.energies)
    assert (np.diff(found.energies) >= 0).all()


def test_genetic_plans_of_a_budget_out_of_reach():
    found = problem("numbers")
    assert genetic_published(found.under(Limits(1, None)), 4, 0) == []
