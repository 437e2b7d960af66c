"""A kept piece of an answer is continued with the states of the reads that are missing."""

from pathlib import Path
from typing import Any, ClassVar

import dimod
import numpy as np

from annealnet.samplers import CacheComposite, RetryComposite


class _Echo(dimod.Sampler):
    """Answers with the states that it starts from; its second call fails."""

    parameters: ClassVar[Any] = {"num_reads": [], "initial_states": []}
    properties: ClassVar[Any] = {}
    calls = 0

    def fingerprint_state(self) -> dict[str, Any]:
        return {}

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: Any) -> dimod.SampleSet:
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("off")
        states = np.asarray(parameters["initial_states"])[: parameters["num_reads"]]
        return dimod.SampleSet.from_samples_bqm(states, bqm)


def test_missing_reads_start_from_their_own_states(tmp_path: Path) -> None:
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    bqm = dimod.BinaryQuadraticModel({0: 1.0, 1: 2.0}, {}, 0.0, "BINARY")
    cached = CacheComposite(RetryComposite(_Echo(), reads_per_call=2), tmp_path / "answers.sqlite")
    assert len(cached.sample(bqm, num_reads=4, initial_states=states)) == 2
    whole = cached.sample(bqm, num_reads=4, initial_states=states)
    assert whole.record.sample.tolist() == states.tolist()
