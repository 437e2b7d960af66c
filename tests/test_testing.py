"""The conformance checks: ours pass them, and samplers with known faults do not."""

import dimod
import numpy as np
import pytest

from annealnet.samplers import NATIVE
from annealnet.testing import CHECKS, conformance

#: A test does not measure time; the documentation's table does.
UNTIMED = ("time_limits_hold",)
#: Enumeration draws nothing, and the models of these checks are too large for it.
DRAWN = ("seeds_repeat", "reads_differ", "threads_do_not_matter")
QUICK = {"annealing": {"num_sweeps": 200}, "tempering": {"num_sweeps": 200}, "auto": {"num_sweeps": 200}}


@pytest.mark.parametrize("name", NATIVE)
def test_our_samplers_pass(name):
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
