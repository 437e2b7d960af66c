"""Every whole number that a user gives: numpy's are Python's, all else is refused by its name before work starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dimod
import numpy as np
import pytest
import torch

import annealnet as an
from annealnet.binary import NativeTraining
from annealnet.compression import Budget, FineTuning
from annealnet.compression.rounding import AdaRounding, AnnealedRounding, Annealing, GptqRounding, NearestRounding
from annealnet.compression.rounding.grids import Grid, Quantized, largest_code
from annealnet.datasets.batches import ArrayBatches
from annealnet.energy import AffineCount, Cardinality, LinearBudget, ProductBudget, Term
from annealnet.ising import (
    ContrastiveDivergence,
    DeepStateRule,
    EquilibriumPropagation,
    IsingNetworkClassifier,
    Pattern,
    Training,
)
from annealnet.preparation.codings import ThermometerCoding
from annealnet.samplers import (
    NATIVE,
    AdiabaticSampler,
    AnnealingSampler,
    BestOf,
    BlockSampler,
    DistributedSampler,
    GroverSampler,
    LayeredAnnealing,
    QAOASampler,
    RetryComposite,
    Schedule,
    TabuSampler,
    TemperingSampler,
    Workers,
)
from annealnet.whole_numbers import whole_attributes, whole_number

BQM = dimod.BinaryQuadraticModel({0: -1.0, 1: 1.0}, {(0, 1): 0.5}, 0.0, "BINARY")
X, Y = np.random.default_rng(0).normal(size=(24, 3)), np.arange(24) % 2
CHILD = AnnealingSampler()


def fitted(estimator: type, **settings: Any) -> Callable[..., Any]:
    return lambda **wrong: estimator(**settings | wrong).fit(X, Y)


def sampled(sampler: Any, **settings: Any) -> Callable[..., Any]:
    return lambda **wrong: sampler.sample(BQM, **settings | wrong)


def first(code: Any) -> Quantized:
    return Quantized(torch.ones(1, 2, dtype=torch.int8), torch.ones(1), **code)


#: What takes whole numbers: the call, the name, the least.
ASKED: list[tuple[Callable[..., Any], str, int]] = [
    (Grid, "bits", 1), (lambda **w: Grid(2, **w), "group", 1), (lambda bits: largest_code(bits), "bits", 1),
    (lambda **w: first(w), "bits", 1), (lambda **w: first({"bits": 2, **w}), "group", 1),
    *((rounding, "group", 1) for rounding in (AnnealedRounding, AdaRounding, GptqRounding, NearestRounding)),
    (AnnealedRounding, "rounds", 0), (AnnealedRounding, "seed", 0), (AdaRounding, "steps", 1),
    (NearestRounding, "candidates", 1),
    *((Annealing, name, 0) for name in ("fields", "sweeps", "pairs")), (Annealing, "repeats", 1),
    (Annealing, "field_sweeps", 1), (FineTuning, "batch_size", 1), (Budget, "bytes", 1),
    (lambda **w: Cardinality([0, 1], **w), "count", 0),
    (lambda counts: Term(1, (counts,)), "counts", 0), (lambda variables: AffineCount(1, (variables,), (1,)), "variables", 0),
    *((sampled(make()), name, least) for make in NATIVE.values() for name, least in (("num_reads", 1), ("seed", 0))),
    *((sampled(NATIVE[name]()), "num_sweeps", 1) for name in NATIVE if "num_sweeps" in NATIVE[name]().parameters),
    (sampled(TemperingSampler(), num_sweeps=9), "num_replicas", 2), (sampled(GroverSampler()), "budget", 1),
    (sampled(AdiabaticSampler()), "steps", 1), (sampled(AdiabaticSampler()), "entropy_points", 0),
    (sampled(QAOASampler()), "depth", 1), (sampled(QAOASampler()), "iterations", 0), (sampled(TabuSampler()), "tenure", 1),
    *((lambda name=name, **w: Pattern.convolution(**{"side": 4, "kernel": 2, "channels": 1} | w), name, 1)
      for name in ("side", "kernel", "channels", "stride")),
    *((lambda name=name, **w: BlockSampler(CHILD, **w), name, 1) for name in ("block_bits", "rounds", "partitions")),
    *((lambda name=name, **w: RetryComposite(CHILD, **w), name, 1) for name in ("attempts", "reads_per_call")),
    (lambda **w: DistributedSampler(CHILD, Workers("sequential"), **w), "reads_per_piece", 1), (Workers, "attempts", 1),
    (Workers, "jobs", 1), (lambda **w: BestOf(LayeredAnnealing(), **w), "tries", 1),
    (lambda **w: Schedule.forward(1.0, 2.0, **w), "sweeps", 1),
    (lambda **w: ArrayBatches(np.zeros((4, 1), np.float32), None, **w), "batch_size", 1),
    (lambda **w: ThermometerCoding.fit(np.zeros((2, 1), np.float32), **w), "levels", 1),
    *((NativeTraining, name, 1) for name in ("sweeps", "reads", "batch_size")),
    *((Training, name, 0) for name in ("epochs", "seed")), (Training, "batch_size", 1),
    *((ContrastiveDivergence, name, 1) for name in ("sweeps", "reads")),
    *((rule, "reads", 1) for rule in (DeepStateRule, EquilibriumPropagation)),
    *(
        (fitted(an.BinaryNetworkClassifier, sweeps=9, random_state=0), name, 1)
        for name in ("levels", "outputs", "sweeps", "reads", "batch_size", "rounds")
    ),
    *(
        (fitted(an.NeuronSelectionClassifier, width=8, num_sweeps=9, random_state=0), name, least)
        for name, least in (("width", 1), ("depth", 1), ("num_reads", 1), ("num_sweeps", 1), ("neighbours", 0), ("order", 1))
    ),
    (fitted(an.NeuronSelectionClassifier, width=8, random_state=0), "refine", 0),
    *(
        (fitted(IsingNetworkClassifier, hidden=(4,), epochs=1, random_state=0), name, least)
        for name, least in (("spins_per_class", 1), ("epochs", 0), ("batch_size", 1), ("reads", 1), ("sweeps", 0))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name", "least"), ASKED)
def test_what_is_no_whole_number_is_refused_by_its_name(asked: Callable[..., Any], name: str, least: int) -> None:
    for wrong in (float(least + 2), True, "2", least - 1 if (name, least) != ("jobs", 1) else 0, np.float64(2)):
        with pytest.raises(ValueError, match=rf"^{name}={re.escape(repr(wrong))} does not do: give a whole number"):
            asked(**{name: wrong})


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        (Grid(np.int64(3), np.int32(4)), ("bits", "group")),
        (AnnealedRounding(np.int64(4), rounds=np.int8(1)), ("group", "rounds")),
        (FineTuning(batch_size=np.uint8(7)), ("batch_size",)),
        (Budget(bytes=np.int64(9)), ("bytes",)),
        (Cardinality(np.arange(3), np.int64(2)), ("count",)),
    ],
)
def test_numpys_whole_numbers_become_pythons(values: object, attributes: tuple[str, ...]) -> None:
    assert all(type(getattr(values, name)) is int for name in attributes)


#: What may come from arrays of any dtype.
VALUES: list[tuple[Callable[..., Any], str]] = [
    (lambda **w: LinearBudget(np.ones(2), **w), "limit"),
    (lambda **w: Term(counts=(0,), **w), "cost"),
    (lambda **w: ProductBudget((AffineCount(0, (0,), (1,)),), (Term(1, (0,)),), **w), "limit"),
    (lambda **w: AffineCount(variables=(), coefficients=(), **w), "constant"),
]


@pytest.mark.parametrize(("asked", "name"), VALUES)
def test_values_may_be_whole_floats_and_nothing_else(asked: Callable[..., Any], name: str) -> None:
    for value in (2, 2.0, np.float32(2), np.int8(2)):
        assert type(getattr(asked(**{name: value}), name)) is int
    for wrong in (2.5, True, np.True_, "2", np.inf, np.nan, None, -1 if name != "constant" else 2 + 0j):
        with pytest.raises(ValueError, match=rf"^{name}={re.escape(repr(wrong))} does not do: give a whole number"):
            asked(**{name: wrong})


def test_limits_are_told() -> None:
    for limits, words in (((None,), ""), ((0,), " of at least 0"), ((0, 5), " from 0 to 5")):
        with pytest.raises(ValueError, match=rf"^n='x' does not do: give a whole number{words}$"):
            whole_number("n", "x", *limits)
    assert whole_number("n", -3, None) == -3
    with pytest.raises(ValueError, match="from 0 to 5"):
        whole_number("n", 6, 0, 5)


def test_none_is_taken_where_it_is_the_default() -> None:
    @dataclass(frozen=True)
    class Asked:
        needed: int
        left_open: int | None = None
        five: int | None = 5

        def __post_init__(self) -> None:
            whole_attributes(self, 1, "needed", "left_open", "five")

    assert Asked(1) == Asked(1, None, 5)
    for wrong in ({"needed": None}, {"needed": 1, "five": None}):
        with pytest.raises(ValueError, match="=None does not do"):
            Asked(**wrong)


@pytest.mark.parametrize("hidden", [(0,), (4, 0), (2.0,), (True,), ("a",), 5, (-1,)])
@pytest.mark.parametrize("estimator", [an.BinaryNetworkClassifier, IsingNetworkClassifier])
def test_hidden_layers_are_named_with_what_was_given(estimator: type, hidden: Any) -> None:
    with pytest.raises(ValueError, match=rf"^hidden={re.escape(repr(hidden))} does not do: give"):
        estimator(hidden=hidden).fit(X, Y)


def test_no_hidden_layer_is_one_way_only() -> None:
    an.BinaryNetworkClassifier(hidden=(), sweeps=9, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match=r"^hidden=\(\) does not do: give layers"):
        IsingNetworkClassifier(hidden=()).fit(X, Y)
