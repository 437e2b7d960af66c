"""Pieces of work on many workers: the same answer on any number of them, and nothing lost with a worker that dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from annealnet import cli
from annealnet.energy import Cardinality, ConstrainedEnergy, DenseEnergy
from annealnet.samplers import AnnealingSampler, DistributedSampler, Workers


def energy(n: int = 40, seed: int = 0) -> DenseEnergy:
    rng = np.random.default_rng(seed)
    return DenseEnergy(np.triu(rng.normal(size=(n, n)), 1), rng.normal(size=n))


class DiesOnce:
    """Squares; on the fourth piece the first worker to take it is killed."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __call__(self, piece: int) -> int:
        if piece == 3:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
        return piece * piece


class Annealing(AnnealingSampler):
    """Anneals; the worker that takes the second piece first is killed."""

    def __init__(self, flag: str) -> None:
        super().__init__()
        self.flag = flag

    def sample_energy(self, energy, **parameters):
        if Path(self.flag).exists():
            return super().sample_energy(energy, **parameters)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample_energy(energy, **parameters)


def dies_always(piece: int) -> int:
    if piece == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return piece


def fails(piece: int) -> int:
    if piece in (1, 2):
        raise KeyError(piece)
    return piece


@pytest.fixture(scope="module")
def cluster():
    """A real Ray cluster of two worker processes on this machine."""
    ray = pytest.importorskip("ray", reason="needs annealnet[cluster]")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    yield
    ray.shutdown()


def test_the_reads_do_not_depend_on_the_workers():
    answers = [
        DistributedSampler(AnnealingSampler(), workers, reads_per_piece=3).sample_energy(
            energy(), num_reads=10, num_sweeps=5, seed=7
        )
        for workers in (Workers("sequential"), Workers("threading", 1), Workers("threading", 4))
    ]
    for answer in answers:
        assert len(answer) == 10
        assert answer.info["pieces"] == 4
        assert np.array_equal(answer.record.sample, answers[0].record.sample)
        assert answer.info["certificate"]["energy"] == pytest.approx(answer.first.energy)
    assert len(np.unique(answers[0].record.sample, axis=0)) > 1


def test_models_keep_labels_and_vartype():
    bqm = energy(6).to_bqm().change_vartype("SPIN", inplace=False)
    bqm.relabel_variables({i: f"s{i}" for i in range(6)})
    answer = DistributedSampler(AnnealingSampler(), Workers("sequential")).sample(bqm, num_reads=20, seed=0)
    assert answer.vartype is bqm.vartype
    assert np.allclose(bqm.energies(answer), answer.record.energy)


def test_states_to_start_from_go_with_their_reads():
    starts = np.tile(np.eye(12, dtype=np.int8)[:7], (1, 1))
    model = ConstrainedEnergy(energy(12), [Cardinality(range(12), 1)])
    spread = DistributedSampler(AnnealingSampler(), Workers("sequential"), reads_per_piece=2)
    answer = spread.sample_energy(model, num_reads=7, num_sweeps=1, initial_states=starts, seed=0)
    assert len(answer) == 7
    assert model.feasible(answer.record.sample).all()


def test_spin_states_to_start_from_are_taken_in_the_models_vartype():
    bqm = energy(6).to_bqm().change_vartype("SPIN", inplace=False)
    starts = np.where(np.eye(6)[:4] > 0, 1, -1)
    spread = DistributedSampler(AnnealingSampler(), Workers("sequential"), reads_per_piece=2)
    asked = {"num_reads": 4, "num_sweeps": 1, "initial_states": starts, "seed": 0}
    assert len(spread.sample(bqm, **asked)) == 4


def test_a_killed_process_costs_nothing_but_time(tmp_path):
    flag = tmp_path / "killed"
    assert Workers("loky", 2).run(DiesOnce(flag), range(8)) == [i * i for i in range(8)]
    assert flag.exists()


def test_a_piece_that_always_kills_is_reported():
    with pytest.raises(RuntimeError, match=r"of 3 pieces were lost .* 2 times"):
        Workers("loky", 2, attempts=2).run(dies_always, range(3))


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_errors_of_the_work_itself_are_its_own(backend):
    with pytest.raises(KeyError, match="1"):
        Workers(backend, 2).run(fails, range(4))


def test_a_ray_cluster_loses_a_worker_and_gives_the_same_answer(cluster, tmp_path):
    flag = tmp_path / "killed"
    assert Workers("ray", 2).run(DiesOnce(flag), range(8)) == [i * i for i in range(8)]
    assert flag.exists()
    asked = {"num_reads": 8, "num_sweeps": 20, "seed": 3}
    here = DistributedSampler(AnnealingSampler(), Workers("sequential"), reads_per_piece=2).sample_energy(energy(), **asked)
    killed = Annealing(str(tmp_path / "annealer"))
    there = DistributedSampler(killed, Workers("ray", 2), reads_per_piece=2).sample_energy(energy(), **asked)
    assert (tmp_path / "annealer").exists()
    assert np.array_equal(here.record.sample, there.record.sample)


def test_the_command_line_spreads_reads(monkeypatch, capsys, tmp_path):
    place = tmp_path / "problem.coo"
    rng = np.random.default_rng(0)
    place.write_text("\n".join(f"{i} {j} {rng.choice([-1, 1])}" for i in range(30) for j in range(i)))
    told = []
    for jobs in ("1", "2"):
        arguments = ["solve", str(place), "--sampler", "annealing", "--reads", "20", "--sweeps", "50", "--json"]
        monkeypatch.setattr(sys, "argv", ["annealnet", *arguments, "--backend", "threading", "--jobs", jobs])
        with contextlib.suppress(SystemExit):
            cli.main()
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["bits"] == told[1]["bits"]
    assert told[0]["certificate"]["energy"] == told[0]["energy"]


def test_bad_workers_are_refused():
    with pytest.raises(ValueError, match="jobs=0"):
        Workers(jobs=0)
    with pytest.raises(ValueError, match="attempts=0"):
        Workers(attempts=0)
    with pytest.raises(ValueError, match="address"):
        Workers("loky", address="10.0.0.1:6379")
    with pytest.raises(ValueError, match="reads_per_piece"):
        DistributedSampler(AnnealingSampler(), Workers("sequential"), reads_per_piece=0)
    with pytest.raises(ValueError, match="'progress' is no parameter"):
        DistributedSampler(AnnealingSampler(), Workers("sequential")).sample_energy(energy(), progress=print)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        with pytest.raises(ValueError, match=r"annealnet\[cluster\]"):
            Workers("ray")  # before any work
