"""One description of any sampler: equal for equal ones, in every process, and different for different ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import types
from dataclasses import dataclass, field
from functools import partial

import dimod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annealnet.samplers import (
    NATIVE,
    QUANTUM,
    AdiabaticSampler,
    AnnealingSampler,
    BestOf,
    BlockSampler,
    CacheComposite,
    DimodLayers,
    DistributedSampler,
    EmbeddedSampler,
    EnumeratedLayers,
    LayeredAnnealing,
    NoisyLayers,
    QuantumLayers,
    RetryComposite,
    TabuSampler,
    TiledSampler,
    Workers,
    describe,
    sampler_fingerprint,
)


def device(**changes):
    testing = pytest.importorskip("dwave.system.testing")
    settings = {"topology_type": "pegasus", "topology_shape": [2], "substitute_sampler": AnnealingSampler(), **changes}
    return testing.MockDWaveSampler(**settings)


@dataclass(frozen=True)
class Setting:
    """A frozen value with everything that values hold."""

    number: float
    words: tuple[str, ...] = ()
    numbers: np.ndarray = field(default_factory=lambda: np.arange(3))


#: Pairwise different; each is made twice.
MAKERS = {
    **{name: (lambda make=make: make()) for name, make in {**NATIVE, **QUANTUM}.items()},
    "controls": lambda: AdiabaticSampler(type(AdiabaticSampler().controls).linear()),
    "mock": lambda: device(),
    "mock, another chip": lambda: device(topology_type="zephyr", topology_shape=[2, 4]),
    "mock, one qubit broken": lambda: device(broken_nodes=[4]),
    "mock, one coupler broken": lambda: device(broken_edges=[device().edgelist[0]]),
    "mock, another substitute": lambda: device(substitute_sampler=TabuSampler()),
    "mock, another seed": lambda: device(substitute_kwargs={"seed": 3}),
    "embedded": lambda: EmbeddedSampler(device()),
    "embedded, another seed": lambda: EmbeddedSampler(device(), 1),
    "embedded, another chip": lambda: EmbeddedSampler(device(topology_type="zephyr", topology_shape=[2, 4])),
    "tiled": lambda: TiledSampler(device()),
    "tiled, fewer": lambda: TiledSampler(device(), 4),
    "blocks": lambda: BlockSampler(TabuSampler()),
    "blocks, larger": lambda: BlockSampler(TabuSampler(), 200),
    "blocks, another child": lambda: BlockSampler(AnnealingSampler()),
    "retry": lambda: RetryComposite(AnnealingSampler()),
    "retry, pieces": lambda: RetryComposite(AnnealingSampler(), reads_per_call=7),
    "retry, another device": lambda: RetryComposite(EmbeddedSampler(device())),
    "spread": lambda: DistributedSampler(AnnealingSampler(), Workers("sequential")),
    "spread, pieces": lambda: DistributedSampler(AnnealingSampler(), Workers("sequential"), 3),
    "layers": lambda: LayeredAnnealing(),
    "layers, quenches": lambda: LayeredAnnealing(3),
    "layers, best": lambda: BestOf(LayeredAnnealing(), 4),
    "layers, best of others": lambda: BestOf(LayeredAnnealing(2), 4),
    "layers, noisy": lambda: NoisyLayers(LayeredAnnealing(), fields=0.1),
    "layers, noisier": lambda: NoisyLayers(LayeredAnnealing(), fields=0.2),
    "layers, dimod": lambda: DimodLayers(AnnealingSampler(), num_sweeps=3),
    "layers, dimod, more": lambda: DimodLayers(AnnealingSampler(), num_sweeps=4),
    "layers, exact": lambda: EnumeratedLayers(),
    "layers, quantum": lambda: QuantumLayers(3.0),
    "setting": lambda: Setting(0.1),
    "setting, another": lambda: Setting(0.1, ("a",)),
    "setting, numbers": lambda: Setting(0.1, numbers=np.arange(4)),
}


def test_samplers_made_alike_are_alike_and_all_others_differ():
    pytest.importorskip("dwave.system.testing")
    first, second = ({name: sampler_fingerprint(make()) for name, make in MAKERS.items()} for _ in range(2))
    assert first == second
    same = {"controls": "adiabatic"}  # the default, said
    distinct = {name: value for name, value in first.items() if name not in same}
    assert len(set(distinct.values())) == len(distinct)
    assert first["controls"] == first["adiabatic"]


def test_descriptions_are_json_and_the_same_in_another_process():
    code = (
        "from annealnet.samplers import *\n"
        "print(sampler_fingerprint(RetryComposite(AdiabaticSampler(), reads_per_call=4)))\n"
        "print(sampler_fingerprint(DimodLayers(TabuSampler(), reverse={'a': {3, 1, 2}, 'b': {'x', 'y'}})))\n"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    here = [
        RetryComposite(AdiabaticSampler(), reads_per_call=4),
        DimodLayers(TabuSampler(), reverse={"b": {"y", "x"}, "a": {1, 2, 3}}),
    ]
    assert there == [sampler_fingerprint(sampler) for sampler in here]
    for make in MAKERS.values():
        described = describe(make())
        assert json.loads(json.dumps(described)) == described


def test_sampling_changes_no_fingerprint_of_ours():
    for sampler in (EmbeddedSampler(device()), TiledSampler(device()), RetryComposite(AnnealingSampler()), device()):
        before = sampler_fingerprint(sampler)
        graph = device()
        u, v = graph.edgelist[0]
        sampler.sample(dimod.BinaryQuadraticModel({}, {(u, v): 1.0}, 0.0, "SPIN"), num_reads=2)
        _ = graph.adjacency
        assert sampler_fingerprint(sampler) == before


def test_what_does_not_change_answers_is_left_out(tmp_path):
    child = AnnealingSampler()
    assert sampler_fingerprint(RetryComposite(child, attempts=2, wait=9.0)) == sampler_fingerprint(RetryComposite(child))
    one, two = (CacheComposite(child, tmp_path / name) for name in "ab")
    assert sampler_fingerprint(one) == sampler_fingerprint(two)
    spread = [DistributedSampler(child, workers) for workers in (Workers("sequential"), Workers("threading", 4))]
    assert sampler_fingerprint(spread[0]) == sampler_fingerprint(spread[1])


def solver_of(name: str, qubits: int, graph: str):
    solvers = pytest.importorskip("dwave.cloud.solver")
    edges = [(i, i + 1) for i in range(qubits - 1)]
    properties = {
        "supported_problem_types": ["ising"], "qubits": list(range(qubits)), "couplers": edges, "num_qubits": qubits,
        "parameters": {"num_reads": ""}, "topology": {"type": "pegasus", "shape": [2]}, "chip_id": name,
    }  # fmt: skip
    identity = {"name": name, "version": {"graph_id": graph}}
    data = {"identity": identity, "properties": properties, "description": "", "avg_load": 0.3, "status": "ONLINE"}
    return solvers.StructuredSolver(None, data)


def test_devices_are_their_solver_and_their_graph():
    system = pytest.importorskip("dwave.system")

    def connected(*solver):
        sampler = object.__new__(system.DWaveSampler)  # what needs a token is the connection alone
        sampler.client, sampler.solver = threading.Lock(), solver_of(*solver)
        return EmbeddedSampler(sampler)

    base = sampler_fingerprint(connected("Advantage_system4.1", 6, "01"))
    assert base == sampler_fingerprint(connected("Advantage_system4.1", 6, "01"))
    for other in (("Advantage_system6.4", 6, "01"), ("Advantage_system4.1", 5, "01"), ("Advantage_system4.1", 6, "02")):
        assert sampler_fingerprint(connected(*other)) != base


def test_foreign_samplers_are_their_class_and_settings():
    dwave = pytest.importorskip("dwave.samplers")
    assert describe(dwave.SimulatedAnnealingSampler()) == describe(dwave.SimulatedAnnealingSampler())
    assert describe(dwave.SimulatedAnnealingSampler()) != describe(dwave.TabuSampler())
    openjij = pytest.importorskip("openjij")
    sampler = openjij.SASampler()
    before = sampler_fingerprint(sampler)
    sampler.sample_ising({0: 1.0}, {})
    assert sampler_fingerprint(sampler) == before == sampler_fingerprint(openjij.SASampler())
    assert sampler_fingerprint(openjij.SQASampler()) != before


def test_composites_of_others_are_gone_through():
    system, reference = pytest.importorskip("dwave.system"), dimod.reference
    kinds = [system.EmbeddingComposite(chip) for chip in (device(), device(broken_nodes=[4]))]
    kinds += [dimod.TrackingComposite(child) for child in (reference.ExactSolver(), reference.RandomSampler())]
    kinds += [system.FixedEmbeddingComposite(device(), {"a": [qubit]}) for qubit in (4, 5)]
    assert len({sampler_fingerprint(kind) for kind in kinds}) == len(kinds)
    assert sampler_fingerprint(system.EmbeddingComposite(device())) == sampler_fingerprint(kinds[0])


class Holding(dimod.Sampler):
    """Holds whatever it is given, in public or in private."""

    parameters = None
    properties = None

    def __init__(self, public=None, private=None):
        self.public, self._private = public, private

    def sample(self, bqm, **parameters):
        raise NotImplementedError


def scaled(factor):
    return lambda energy: factor * energy


def counted(step=1):
    def count(start, by=step):
        return start + by

    return count


class Slotted:
    __slots__ = ("one", "two")

    def __init__(self, one, two):
        self.one, self.two = one, two


def local_class(sweeps):
    class Local(dimod.Sampler):
        parameters = None
        properties = None

        def sample(self, bqm, **parameters):
            return AnnealingSampler().sample(bqm, num_sweeps=sweeps)

    return Local()


VALUES = [
    None, True, 1, 2, 0.1, float("nan"), float("inf"), "a", "1", b"a", (1, 2), (1, 2, 3), {"a": 1}, {"a": 2}, {1: "a"},
    {1, 2}, np.arange(3), np.arange(3.0), np.arange(3).reshape(1, 3), np.arange(200), np.arange(200)[::-1], list(range(200)),
    scaled(1), scaled(2), lambda energy: 3 * energy, counted(1), counted(2), partial(max, 1), partial(max, 2),
    partial(min, 1), max, np.sin, np.cos, [].append, [1].append, Slotted(1, 2), Slotted(1, 3), complex(1, 2),
    range(3), range(4), AnnealingSampler, TabuSampler, np.random.default_rng(1), np.random.default_rng(2), Setting(1.0),
    Setting(2.0), local_class(3), local_class(4), np.float32(0.3), np.dtype("int8"), np, json, slice(1), Setting(1.0).__eq__,
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(VALUES) - 1), st.integers(0, len(VALUES) - 1), st.booleans())
def test_no_attribute_makes_two_different_samplers_equal(i, j, hidden):
    one, two = (Holding(**{"private" if hidden else "public": VALUES[k]}) for k in (i, j))
    assert (sampler_fingerprint(one) == sampler_fingerprint(two)) == (i == j)


@pytest.mark.parametrize("name", ["public", "private"])
def test_all_values_differ(name):
    found = [sampler_fingerprint(Holding(**{name: value})) for value in VALUES]
    assert len(set(found)) == len(found)


def test_what_was_written_here_is_its_code_and_what_was_installed_is_its_name():
    def factor(by, module):
        function = counted(by)
        function.__module__, function.__qualname__ = module, "factor"
        return describe(function)

    assert factor(1, "__main__") != factor(2, "__main__")
    assert factor(1, "a_users_module") != factor(2, "a_users_module")
    assert factor(1, "numpy") == factor(2, "numpy") == {"function": "numpy.factor"}


def test_values_made_twice_are_equal():
    def again():
        return [
            scaled(2),
            counted(2),
            partial(max, 2),
            Slotted(1, 3),
            local_class(4),
            np.random.default_rng(2),
            Setting(2.0),
            {3, "b"},
        ]

    for one, two in zip(again(), again(), strict=True):
        assert sampler_fingerprint(Holding(one)) == sampler_fingerprint(Holding(two))


def test_what_cannot_be_described_is_like_nothing_else():
    stream = (n for n in range(3))
    assert sampler_fingerprint(Holding(stream)) != sampler_fingerprint(Holding(stream))
    assert sampler_fingerprint(Holding(private=threading.Lock())) == sampler_fingerprint(Holding(private=threading.Lock()))


def scripted(source: str, module: str = "__main__", **given):
    """The names of a script after it ran, as a session or a user's module has them."""
    names = {"__name__": module, "AnnealingSampler": AnnealingSampler, "dimod": dimod, **given}
    exec(textwrap.dedent(source), names)
    return names


READING = {
    "a constant": "def judge(x): return factor * x",
    "nested code": "def judge(x): return [(lambda: factor * part)() for part in x]",
    "a function called": "def judge(x): return inner(x)\ndef inner(x): return factor * x",
    "a method": "class Judge:\n    def on(self, x): return factor * x\njudge = Judge().on",
    "a class called": "class Judge:\n    def on(self, x): return factor * x\ndef judge(x): return Judge().on(x)",
    "a base class": "class Base:\n    def on(self, x): return factor * x\nclass Judge(Base): pass\njudge = Judge().on",
    "a default": "def inner(x): return factor * x\ndef judge(x, by=inner): return by(x)",
    "a closure": "def make(inner): return lambda x: inner(x)\njudge = make(lambda x: factor * x)",
    "a decorated function": "import functools\n@functools.lru_cache\ndef judge(x): return factor * x",
    "a value with functions": "steps = {'one': lambda x: factor * x}\ndef judge(x): return steps['one'](x)",
    "functions in a set": "steps = {lambda x: factor * x, lambda x: x, abs}\ndef judge(x): return [f(x) for f in steps]",
    "a circle": "def judge(x): return other(x)\ndef other(x): return judge(x) if x else factor",
    "a circle of values": "held = []\ndef judge(x): return held[0](x) * factor\nheld.append(judge)",
}


@pytest.mark.parametrize("module", ["__main__", "a_users_module"])
@pytest.mark.parametrize("name", READING)
@settings(max_examples=8, deadline=None)
@given(factors=st.lists(st.sampled_from([1, 2, 0.5, True, "1", (1, 2), None]), min_size=2, max_size=2))
def test_what_functions_read_is_part_of_them(name, module, factors):
    one, two, again = (
        sampler_fingerprint(Holding(scripted(READING[name], module, factor=factor)["judge"]))
        for factor in (*factors, factors[0])
    )
    assert one == again
    assert (one == two) == (repr(factors[0]) == repr(factors[1]))


def test_what_functions_do_not_read_is_no_part_of_them():
    source = "def judge(x): return x.factor"
    assert describe(scripted(source, factor=1)["judge"]) == describe(scripted(source, factor=2)["judge"])


def test_samplers_of_a_session_count_with_the_constants_they_read():
    source = """
        class Mine(dimod.Sampler):
            parameters = properties = None
            def sample(self, bqm, **parameters):
                return AnnealingSampler().sample(bqm, num_sweeps=sweeps)
    """
    found = [sampler_fingerprint(scripted(source, sweeps=sweeps)["Mine"]()) for sweeps in (100, 200, 100)]
    assert found[0] == found[2] != found[1]


def test_a_users_module_counts_by_what_is_read_of_it():
    found = []
    for factor, unread in ((1, 1), (2, 1), (1, 2)):
        module = types.ModuleType("a_users_constants")
        module.factor, module.unread = factor, unread
        found.append(sampler_fingerprint(scripted("def judge(x): return constants.factor * x", constants=module)["judge"]))
    assert found[0] == found[2] != found[1]


def test_long_chains_and_many_paths_of_functions_end():
    chain = "\n".join(f"def f{n}(x): return f{n + 1}(x) + f{n + 2}(x)" for n in range(2000)) + "\nf2000 = f2001 = len"
    one, two = (sampler_fingerprint(scripted(chain + change)["f0"]) for change in ("", "\nf2001 = max"))
    assert one != two


def test_sets_among_constants_have_no_order():
    script = """
        from annealnet.samplers import sampler_fingerprint
        def judge(x): return x in {"a", "b", "c", "d"} or x in steps
        steps = {"one", "two", "three", lambda x: x, lambda x: -x}
        print(sampler_fingerprint(judge))
    """
    answers = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(answers) == 1


def test_circles_end():
    one, two = Holding(), Holding()
    one.public, two.public = one, two
    assert sampler_fingerprint(one) == sampler_fingerprint(two) != sampler_fingerprint(Holding())
