"""The energies against what they model: enumeration over weights and auxiliaries, and the papers' counts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.binary import Architecture, BinaryNetwork, one_per_class, single_output
from annealnet.binary.formulation import FORMULATIONS, Formulation, Lean, Published, output_targets
from annealnet.samplers import ExactSampler

BOTH = list(FORMULATIONS.values())


def all_states(bits: int) -> np.ndarray:
    """``(2^bits, bits)``, the first bit changing fastest."""
    return ((np.arange(2**bits)[:, None] >> np.arange(bits)) & 1).astype(np.uint8)


def output_errors(network: BinaryNetwork, x: np.ndarray, y: np.ndarray) -> int:
    """Outputs that miss their target, by the plain computation."""
    outputs = network.shape.sizes[-1]
    raw = BinaryNetwork(network.shape, network.weights, network.biases, np.eye(max(2, outputs), outputs, dtype=np.int8))
    signs = np.where(raw.scores(x)[:, :outputs] > 0, 1, -1)
    return int((signs != output_targets(network.codes, y)).sum())


def problem(sizes: tuple[int, ...], seed: int, samples: int = 1, **more: object) -> tuple:
    rng = np.random.default_rng(seed)
    shape = Architecture(sizes, **more)
    codes = single_output() if sizes[-1] == 1 else one_per_class(sizes[-1])
    x = rng.choice(np.array([-1, 1], dtype=np.int8), (samples, sizes[0]))
    return shape, codes, x, rng.integers(0, len(codes), samples)


@pytest.mark.parametrize(("sizes", "samples", "bits"), [((3, 3, 1), 4, 108), ((3, 3, 1), 8, 204), ((15, 7, 1), 4, 716)])
def test_the_published_counts(sizes: tuple[int, ...], samples: int, bits: int) -> None:
    shape, codes, x, y = problem(sizes, 0, samples)
    assert Published().num_bits(shape, samples) == bits
    assert Published().energy(shape, codes, x, y).energy.num_variables == bits


def test_the_lean_count() -> None:
    shape, codes, x, y = problem((3, 3, 1), 0, 4)
    assert Lean().energy(shape, codes, x, y).energy.num_variables == Lean().num_bits(shape, 4) == 56


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 99),
    st.sampled_from(BOTH),
)
def test_counts_and_completion_hold_for_every_topology(
    sizes: list[int], samples: int, bias: bool, seed: int, formulation: Formulation
) -> None:
    skips = tuple(tuple(k for k in range(m - 1) if (seed + k + m) % 2) for m in range(1, len(sizes)))
    shape, codes, x, y = problem(tuple(sizes), seed, samples, skips=skips, bias=bias)
    training = formulation.energy(shape, codes, x, y)
    assert training.energy.num_variables == formulation.num_bits(shape, samples) == len(training.labels)
    free = np.random.default_rng(seed).integers(0, 2, (4, training.num_free), dtype=np.uint8)
    states = training.complete(free)
    assert training.feasible(states).all()
    assert [training.encode(n).tolist() for n in training.decode(states)] == states.tolist()
    # what the output bits say is the energy: every constraint is kept at no cost
    missed = (2 * states[:, training.outputs].astype(int) - 1 != output_targets(codes, y)).sum(axis=(1, 2))
    np.testing.assert_allclose(training.energy.energy(states), missed, atol=1e-6)
    if isinstance(formulation, Lean):
        assert missed.tolist() == [output_errors(n, x, y) for n in training.decode(states)]


TINY = [
    ((1, 1), {}), ((2, 1), {}), ((3, 1), {}), ((4, 1), {}), ((5, 1), {}), ((2, 2), {}), ((2, 2, 1), {}), ((3, 2, 1), {}),
    ((1, 2, 1, 1), {}), ((2, 1, 1), {"bias": True}), ((2, 1, 1), {"skips": ((), (0,))}), ((2, 2, 2), {}),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "more"), TINY)
@pytest.mark.parametrize("formulation", BOTH, ids=lambda f: f.name)
def test_the_minimum_over_the_auxiliaries_is_the_number_of_errors(
    sizes: tuple[int, ...], more: dict, formulation: Formulation
) -> None:
    """For every weight vector, every input and label; the published form only where its sign equality is one."""
    shape, codes, _, _ = problem(sizes, 0, **more)
    if formulation.num_bits(shape, 1) > 20:
        pytest.skip("more than a million states for one sample")
    fan_ins = [shape.fan_in(m) + (shape.bias and m < shape.depth) for m in range(1, shape.depth + 1)]
    wrong_sign = isinstance(formulation, Published) and not all((n + 1) & n == 0 or (n + 2) & (n + 1) == 0 for n in fan_ins)
    found_wrong = False
    for inputs in product((-1, 1), repeat=sizes[0]):
        for label in range(len(codes)):
            x, y = np.array([inputs], dtype=np.int8), np.array([label])
            training = formulation.energy(shape, codes, x, y)
            bits, free = training.energy.num_variables, training.num_free
            states = all_states(bits)
            least = training.energy.energy(states).reshape(2 ** (bits - free), 2**free).min(axis=0)
            errors = [output_errors(network, x, y) for network in training.decode(states[: 2**free])]
            found_wrong |= not np.allclose(least, errors)
    assert found_wrong == wrong_sign


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("formulation", BOTH, ids=lambda f: f.name)
def test_the_minimum_given_the_weights_on_the_papers_network(formulation: Formulation, seed: int) -> None:
    """3-3-1: the weights are fixed, the auxiliaries of one sample (11 and 24 bits) enumerated."""
    shape, codes, x, y = problem((3, 3, 1), seed)
    w = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), shape.num_weights)
    training = formulation.energy(shape, codes, x, y)
    bqm = training.to_bqm()
    bqm.fix_variables({label: int(weight > 0) for label, weight in zip(training.labels, w, strict=False)})
    assert bqm.num_variables == len(training.definitions)
    network = BinaryNetwork.from_flat(shape, codes, w)
    assert ExactSampler().sample(bqm).first.energy == pytest.approx(output_errors(network, x, y), abs=1e-6)


def test_ground_states_are_the_networks_of_least_error() -> None:
    """One energy over weights and auxiliaries together, several samples."""
    shape, codes, x, y = problem((3, 1), 5, samples=5)
    training = Lean().energy(shape, codes, x, y)
    errors = [n.errors(x, y) for n in training.decode(all_states(3))]
    best = ExactSampler().sample_energy(training.energy).first
    assert best.energy == pytest.approx(min(errors))
    assert training.feasible(np.array([best.sample[v] for v in range(training.energy.num_variables)]))[0]


def test_a_smaller_penalty_is_not_sufficient() -> None:
    shape, codes = Architecture((1, 1)), single_output()
    x, y = np.array([[1]], dtype=np.int8), np.array([0])
    for penalty, enough in ((0.9, False), (1.0, True)):
        training = Lean(penalty=penalty).energy(shape, codes, x, y)
        states = all_states(2)
        least = training.energy.energy(states).reshape(2, 2).min(axis=0)
        errors = [n.errors(x, y) for n in training.decode(states[:2])]
        assert np.allclose(least, errors) == enough


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([(3, 1), (4, 1), (3, 2, 1), (2, 2, 2)]))
def test_the_margin_reward_orders_networks_of_equal_errors(seed: int, sizes: tuple[int, ...]) -> None:
    shape, codes, x, y = problem(sizes, seed, samples=2)
    margin = 0.2
    training = Lean(margin=margin).energy(shape, codes, x, y)
    states = training.complete(all_states(training.num_free))
    plain = Lean().energy(shape, codes, x, y).energy.energy(states)
    reward = training.energy.energy(states) - plain
    assert (reward >= -1e-9).all()
    assert (reward <= margin * 2 * sizes[-1] + 1e-9).all()
    n = shape.fan_in(shape.depth)
    for network, found in zip(training.decode(states), reward, strict=True):
        raw = BinaryNetwork(shape, network.weights, (), np.eye(max(2, sizes[-1]), sizes[-1], dtype=np.int8))
        half = 1 << (n.bit_length() - 1)
        counts = (raw.scores(x)[:, : sizes[-1]] + n) // 2 + half - (n // 2 + 1)
        expected = margin * (0.5 - output_targets(codes, y) * (counts - half + 0.5) / (2 * half)).sum()
        assert found == pytest.approx(expected)


def test_the_plain_qubo_is_the_same_energy() -> None:
    shape, codes, x, y = problem((3, 2, 1), 1, samples=2)
    training = Lean().energy(shape, codes, x, y)
    bqm = training.to_bqm()
    states = np.random.default_rng(0).integers(0, 2, (20, training.energy.num_variables), dtype=np.uint8)
    np.testing.assert_allclose(bqm.energies((states, training.labels)), training.energy.energy(states))
    assert "w[1,0,2]" in bqm.variables


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.array([[0, 1, 1]]), [0], "x holds 0: the energy's products need inputs of -1 and 1"),
        (np.ones((1, 2)), [0], r"x has shape \(1, 2\): give \(samples, 3\)"),
        (np.ones((2, 3)), [0], "y has 1 labels for 2 samples"),
        (np.ones((1, 3)), [2], "class numbers 2 to 2: give 0 to 1"),
    ],
)
def test_bad_samples_are_refused(x: np.ndarray, y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lean().energy(Architecture((3, 1)), single_output(), x.astype(np.int8), np.array(y))


@pytest.mark.parametrize("make", [lambda: Lean(penalty=0.0), lambda: Published(margin=-1.0)])
def test_bad_penalties_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        make()  # type: ignore[operator]
