"""The conformance checks: ours pass them, and what has known faults does not."""

from dataclasses import replace

import dimod
import numba
import numpy as np
import pytest

from annealnet.binary import Architecture, one_per_class
from annealnet.binary.formulation import FORMULATIONS
from annealnet.compression.formulations import FilterBlock, Hamiltonian
from annealnet.compression.formulations.hamiltonian import FilterLayer
from annealnet.energy import (
    AffineCount,
    Cardinality,
    ConstrainedEnergy,
    DenseEnergy,
    FactoredEnergy,
    LinearBudget,
    OneHot,
    ProductBudget,
    SharedGramEnergy,
    SparseEnergy,
    Term,
)
from annealnet.samplers import (
    NATIVE,
    AnnealingSampler,
    BestOf,
    DimodLayers,
    EnumeratedLayers,
    LayeredAnnealing,
    LayeredReads,
    NoisyLayers,
    QuantumLayers,
    Schedule,
)
from annealnet.samplers.layered_torch import TorchLayeredAnnealing
from annealnet.selection import ensemble_energy
from annealnet.testing import (
    CHECKS,
    FORMULATION_CHECKS,
    LAYERED_CHECKS,
    conformance,
    formulation_conformance,
    layered_conformance,
)

#: A test does not measure time; the documentation's table does.
UNTIMED = ("time_limits_hold",)
#: Enumeration draws nothing, and the models of these checks are too large for it.
DRAWN = ("seeds_repeat", "reads_differ", "threads_do_not_matter")
QUICK = {"annealing": {"num_sweeps": 200}, "tempering": {"num_sweeps": 200}, "auto": {"num_sweeps": 200}}


@pytest.mark.parametrize("name", NATIVE)
def test_our_samplers_pass(name, every_thread):
    leave_out = (*UNTIMED, *DRAWN) if name == "exact" else UNTIMED
    findings = conformance(NATIVE[name](), leave_out=leave_out, **QUICK.get(name, {}))
    assert [f for f in findings if f.passed is False] == []
    assert {f.check for f in findings} == set(CHECKS) - set(leave_out)


class Faulty(dimod.Sampler):
    """Ignores seeds and offsets, repeats its reads, and finds nothing."""

    parameters = {"num_reads": [], "seed": []}  # noqa: RUF012
    properties = {}  # noqa: RUF012
    calls = 0

    def sample(self, bqm, num_reads=1, seed=None):
        self.calls += 1
        state = np.random.default_rng(self.calls).integers(0, 2, (1, bqm.num_variables))
        states = np.repeat(state, max(1, num_reads), axis=0)
        energies = bqm.binary.energies((states, list(bqm.variables))) - bqm.offset
        return dimod.SampleSet.from_samples((states, list(bqm.variables)), energy=energies, vartype="BINARY")


def test_faults_are_found_and_put_into_words():
    findings = {f.check: f for f in conformance(Faulty())}
    for check in (
        "states_and_energies_agree",
        "ground_states_are_found",
        "reads_differ",
        "seeds_repeat",
        "threads_do_not_matter",
        "bad_parameters_are_refused",
    ):
        assert findings[check].passed is False, check
        assert findings[check].words
    assert findings["cardinality_is_kept"].passed is None
    assert findings["time_limits_hold"].passed is None
    assert findings["first_answers_are_feasible"].passed is not False


class Guessing(Faulty):
    """Guesses, and ranks by the energy alone."""

    def sample_energy(self, energy, num_reads=300, seed=0):
        states = np.random.default_rng(seed).integers(0, 2, (num_reads, energy.num_variables))
        return dimod.SampleSet.from_samples(states, energy=energy.energy(states), vartype="BINARY")


def test_samplers_that_break_constraints_are_found_out_and_still_answer_feasibly(monkeypatch):
    findings = {f.check: f for f in conformance(Guessing(), num_reads=300)}
    assert findings["cardinality_is_kept"].passed is False
    assert findings["first_answers_are_feasible"].passed
    import annealnet.testing.samplers as checks

    monkeypatch.setattr(checks, "sample_energy", lambda sampler, energy, **asked: sampler.sample_energy(energy, **asked))
    assert conformance(Guessing(), tuple(set(CHECKS) - {"first_answers_are_feasible"}))[0].passed is False


#: Checks that an enumeration has nothing to say to.
DRAWS = {"reads_and_problems_differ", "layered_seeds_repeat", "layered_threads_do_not_matter"}
#: Our layered samplers, and the checks that do not apply to them.
LAYERED = {
    "annealing": (LayeredAnnealing(), set()),
    "torch": (TorchLayeredAnnealing("cpu"), set()),
    "enumerated": (
        EnumeratedLayers(),
        {"reads_and_problems_differ", "layered_seeds_repeat", "layered_threads_do_not_matter"},
    ),
    "quantum": (QuantumLayers(150.0, 400), set()),
    "dimod": (DimodLayers(AnnealingSampler(), num_sweeps=60), set()),
    "best": (BestOf(LayeredAnnealing(), 3), set()),
    "noisy": (NoisyLayers(LayeredAnnealing(0), fields=1e-6, couplings=1e-6), set()),
}


@pytest.mark.parametrize("name", LAYERED)
def test_our_layered_samplers_pass(name, every_thread):
    sampler, silent = LAYERED[name]
    found = layered_conformance(sampler)
    assert [f for f in found if f.passed is False] == []
    assert {f.check for f in found if f.passed is None} == silent
    assert {f.check for f in found} == set(LAYERED_CHECKS)


#: Hot, so that reads differ.
SCHEDULE = Schedule((0.1,))


class Faults:
    """Anneals, and then does one thing wrong."""

    def __init__(self, wrong):
        self.wrong, self.calls = wrong, 0

    def sample_layers(self, model, schedule, *, reads=1, seed=0, starts=None, held=None):
        self.calls += 1
        found = LayeredAnnealing().sample_layers(model, schedule, reads=max(1, reads), seed=seed, starts=starts, held=held)
        return self.wrong(found, model, starts, seed, self.calls)


def other_energies(found, *_):
    return replace(found, energies=found.energies + 1.0)


def shuffled(found, model, starts, seed, calls):
    states = np.random.default_rng(seed).permuted(found.states, axis=2)
    return LayeredReads(states, model.energy(states))


def copies(found, model, *_):
    states = np.broadcast_to(found.states[:1, :1], found.states.shape).copy()
    return LayeredReads(states, model.energy(states))


def counts_calls(found, model, starts, seed, calls):
    states = np.roll(found.states, calls, axis=1)
    return LayeredReads(states, model.energy(states))


def no_seed(found, model, *_):
    return LayeredAnnealing().sample_layers(model, SCHEDULE, reads=found.states.shape[1], seed=0)


def first_read(found, model, starts, seed, calls):
    states = np.repeat(found.states[:, :1], found.states.shape[1], axis=1)
    return LayeredReads(states, model.energy(states))


def spoils_starts(found, model, starts, seed, calls):
    if starts is not None:
        starts *= -1
    return found


def bits(found, *_):
    return replace(found, states=((found.states + 1) // 2).astype(np.int8))


def ones(found, model, *_):
    if numba.get_num_threads() == 1:
        return found
    return LayeredReads(-found.states, model.energy(-found.states))


def with_weights(found, *_):
    return replace(found, weights=np.ones(found.energies.shape))


@pytest.mark.parametrize(("wrong", "checks"), [
    (other_energies, {"layered_energies_agree"}),
    (shuffled, {"layered_ground_states_are_found"}),
    (copies, {"reads_and_problems_differ", "held_layers_stay"}),
    (counts_calls, {"layered_seeds_repeat"}),
    (no_seed, {"layered_seeds_repeat", "held_layers_stay"}),
    (first_read, {"reads_and_problems_differ", "held_layers_stay"}),
    (spoils_starts, {"held_layers_stay"}),
    (bits, {"answers_have_their_shapes"}),
    (with_weights, {"answers_have_their_shapes"}),
    (lambda found, *_: found, {"bad_layered_requests_are_refused"}),
])  # fmt: skip
def test_faults_of_layered_samplers_are_found(wrong, checks):
    found = {f.check: f for f in layered_conformance(Faults(wrong))}
    for check in checks:
        assert found[check].passed is False, check
        assert found[check].words


class HeldAsTheFirst(EnumeratedLayers):
    """Takes all reads to be held as the first one is."""

    def sample_layers(self, model, schedule, *, starts=None, **asked):
        held = None if starts is None else np.repeat(starts[:, :1], starts.shape[1], axis=1)
        return super().sample_layers(model, schedule, starts=held, **asked)


def test_thermal_means_of_the_first_read_alone_are_found():
    found = {f.check: f for f in layered_conformance(HeldAsTheFirst())}
    assert found["held_layers_stay"].passed is False


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS == 1, reason="one core")
def test_a_layered_sampler_that_depends_on_threads_is_found():
    leave_out = tuple(set(LAYERED_CHECKS) - {"layered_threads_do_not_matter"})
    assert layered_conformance(Faults(ones), leave_out)[0].passed is False


def formulations():
    """Every energy that this library makes, in a small case."""
    rng = np.random.default_rng(0)
    dense = DenseEnergy(rng.normal(size=(6, 6)), rng.normal(size=6), 0.5)
    counts = (AffineCount(2, (0, 1), (-1, -1)), AffineCount(1, (2,), (1,)))
    gram = rng.normal(size=(9, 3))
    found = {
        "dense": dense,
        "sparse": SparseEnergy([0, 1, 2], [1, 2, 2], [1.0, -2.0, 0.5], np.zeros(3)),
        "factored": FactoredEnergy(rng.normal(size=(3, 5)), rng.normal(size=3), rng.normal(size=3)),
        "sum": dense + FactoredEnergy(rng.normal(size=(2, 6)), np.ones(2)),
        "rows": SharedGramEnergy(gram.T @ gram, rng.normal(size=(2, 3)), rng.normal(size=(2, 3))),
        "one-hot": ConstrainedEnergy(dense, [OneHot([0, 1]), Cardinality([2, 3, 4], 2)]),
        "linear budget": ConstrainedEnergy(dense, [LinearBudget(np.array([1, 2, 3, 0, 1, 2]), 5)]),
        "product budget": ConstrainedEnergy(dense, [ProductBudget(counts, (Term(1, (0, 1)),), 2)]),
        "tiny unit": ConstrainedEnergy(DenseEnergy(1e-12 * np.ones((3, 3))), [OneHot([0, 1, 2])]),
        "compression, published": Hamiltonian(
            (FilterBlock(rng.random(3), (FilterLayer("a", 4, 0.5, 7),)),), gamma=1.0, beta=0.5, max_reduction=6
        ).energy(),
        "selection, readout": ensemble_energy(rng.normal(size=(20, 5, 2)), rng.normal(size=(20, 2)), 0.1),
    }
    x = np.array([[1, -1], [-1, -1]], dtype=np.int8)
    for name, formulation in FORMULATIONS.items():
        found[f"binary, {name}"] = formulation.energy(Architecture((2, 2)), one_per_class(2), x, np.array([0, 1])).energy
    return found


@pytest.mark.parametrize("name", formulations())
def test_both_faces_of_our_formulations_are_equal(name):
    energy = formulations()[name]
    found = formulation_conformance(energy)
    assert [f for f in found if f.passed is False] == []
    assert {f.check for f in found} == set(FORMULATION_CHECKS)
    assert all(f.passed for f in found[:3])


class WrongQubo(DenseEnergy):
    """Its QUBO has another field."""

    def to_bqm(self, vartype="BINARY"):
        bqm = super().to_bqm(vartype)
        bqm.add_linear(0, 5.0)
        return bqm


class WrongFlips(DenseEnergy):
    def flip_deltas(self, x):
        return -super().flip_deltas(x)


class Unbounded(DenseEnergy):
    """Its linear part, which bounds are made of, is not the one it has."""

    def expanded_linear(self):
        return self.linear + 10.0, self.offset


class Cheap(ConstrainedEnergy):
    """Penalties that are too small."""

    def to_bqm(self):
        return self.energy_part.to_bqm()


class Dear(ConstrainedEnergy):
    """Its QUBO forbids a feasible state as well."""

    def to_bqm(self):
        bqm = super().to_bqm()
        bqm.add_linear(0, 100.0)
        return bqm


def test_faults_of_formulations_are_found():
    field = np.array([-1.0, -2.0, 0.5])
    whole = DenseEnergy(np.zeros((3, 3)), field)
    faulty = {
        "both_faces_have_the_same_energy": WrongQubo(np.zeros((3, 3)), field),
        "flips_cost_what_they_change": WrongFlips(np.zeros((3, 3)), field),
        "bounds_hold": Unbounded(np.zeros((3, 3)), field),
        "feasible_states_keep_their_energy": Cheap(whole, [OneHot([0, 1])]),
        "both_faces_have_the_same_ground_states": Dear(whole, [OneHot([0, 2])]),
    }
    assert set(faulty) == set(FORMULATION_CHECKS)
    for check, energy in faulty.items():
        found = {f.check: f for f in formulation_conformance(energy)}
        assert found[check].passed is False, check
        assert found[check].words
    large = formulation_conformance(DenseEnergy(np.zeros((24, 24))))
    assert [f.passed for f in large] == [True, True, True, None, None]
    impossible = ConstrainedEnergy(whole, [Cardinality([0, 1], 2), LinearBudget(np.ones(3), 1)])
    assert formulation_conformance(impossible)[-1].passed is None
