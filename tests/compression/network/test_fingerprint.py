"""What makes two runs the same run: each fact changed alone gives another fingerprint, and nothing else does."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from annealnet.compression import Budget, DataAware
from annealnet.compression.measuring.tasks import Custom
from annealnet.compression.network.calibration import Calibration
from annealnet.compression.network.fingerprint import describe_network, run_fingerprint
from annealnet.compression.network.inputs import Inputs
from annealnet.compression.rounding import AnnealedRounding, NearestRounding
from annealnet.samplers import AnnealingSampler, EmbeddedSampler, RetryComposite, TabuSampler, Workers

X = torch.arange(24.0).reshape(2, 3, 4)


def network(activation: nn.Module | None = None, **changes) -> nn.Module:
    torch.manual_seed(0)
    convolution = {"stride": 1, "padding": 1} | {k: v for k, v in changes.items() if k in ("stride", "padding")}
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, **convolution), nn.BatchNorm1d(4, eps=changes.get("eps", 1e-5)), activation or nn.ReLU(),
        nn.Dropout(changes.get("p", 0.5)), nn.Flatten(), nn.Linear(16, 2),
    ).eval()  # fmt: skip


class Functional(nn.Module):
    """A forward in functions, with a number of its own."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 2)
        self._scale = scale

    def forward(self, x):
        return self.last(self._scale * F.relu(self.first(x)))


class FunctionalGelu(Functional):
    def forward(self, x):
        return self.last(self._scale * F.gelu(self.first(x)))


class Branching(nn.Module):
    """A forward that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 4)

    def forward(self, x):
        return self.first(x) if x.sum() > 0 else bend(x)


def bend(x):
    return x * 2


OTHERS = {
    "activation": network(nn.Tanh()),
    "negative slope": network(nn.LeakyReLU(0.02)),
    "stride": network(stride=2),
    "eps": network(eps=1e-3),
    "functional": Functional(),
    "functional with another operation": FunctionalGelu(),
    "a plain number of the forward": Functional(2.0),
    "untraceable": Branching(),
    "dtype": network().double(),
}


def test_every_difference_between_networks_is_seen():
    known = [network(), network(nn.LeakyReLU(0.01)), *OTHERS.values()]
    prints = [run_fingerprint(model, X) for model in known]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_network_twice(name):
    assert run_fingerprint(copy.deepcopy(OTHERS[name]), X) == run_fingerprint(OTHERS[name], X)


def test_what_evaluation_does_not_read_does_not_count():
    assert run_fingerprint(network(p=0.1), X) == run_fingerprint(network(), X) == run_fingerprint(network().train(), X)


def test_weights_buffers_and_what_is_tied():
    prints = [run_fingerprint(network(), X)]
    for change in ("0.weight", "1.running_mean"):
        other = network()
        other.state_dict()[change].reshape(-1)[0] += 1e-6
        prints.append(run_fingerprint(other, X))
    tied, apart = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))
    apart.load_state_dict(tied.state_dict() | {"1.weight": tied[0].weight.detach()})
    tied.load_state_dict(apart.state_dict())
    tied[1].weight = tied[0].weight
    prints += [run_fingerprint(tied, X), run_fingerprint(apart, X)]
    assert len(set(prints)) == 5


def test_a_forward_that_was_edited(monkeypatch):
    for model in (Functional(), Branching()):
        before = run_fingerprint(model, X)
        with monkeypatch.context() as patch:
            patch.setattr(type(model), "forward", lambda self, x: self.first(x).abs())
            assert run_fingerprint(model, X) != before
    before = run_fingerprint(Branching(), X)
    monkeypatch.setitem(globals(), "bend", lambda x: x * 3)  # what an untraceable forward calls
    assert run_fingerprint(Branching(), X) != before


def test_hooks_count_by_their_code():
    def hooked(hook) -> nn.Module:
        model = network()
        model[2].register_forward_hook(hook)
        return model

    double, again, triple = (lambda m, i, o: o * 2), (lambda m, i, o: o * 2), (lambda m, i, o: o * 3)
    assert run_fingerprint(hooked(double), X) == run_fingerprint(hooked(again), X)
    assert len({run_fingerprint(model, X) for model in (network(), hooked(double), hooked(triple))}) == 3


def test_what_cannot_be_described_is_never_the_same_run():
    model = network()
    model.held = iter([1])
    model.handle = (number for number in range(3))  # generators cannot be pickled
    assert run_fingerprint(model, X) != run_fingerprint(model, X)


def test_data_counts_with_dtype_and_labels():
    y = torch.tensor([0, 1])
    data = [
        Calibration.of(X), Calibration.of(X, y), Calibration.of(X, 1 - y), Calibration.of(X + 1e-6, y),
        Calibration.of(X.double(), y), Calibration.of(Inputs(kwargs={"x": X}), y), Calibration.of(Inputs((X, X)), y),
        Calibration.of(Inputs((X,), {}, {"use_cache": False}), y), Calibration.of(Inputs((X,), output=0), y),
        Calibration.of(X.reshape(2, 4, 3), y), {"input_ids": X}, {"attention_mask": X}, [X, X],
    ]  # fmt: skip
    assert len({run_fingerprint(network(), one) for one in data}) == len(data)
    assert run_fingerprint(network(), Calibration.of(X.clone(), y.clone())) == run_fingerprint(network(), data[1])
    assert run_fingerprint(network(), X.bfloat16()) != run_fingerprint(network(), X.half())


def test_settings_count():
    settings = [
        Budget(size_ratio=4), Budget(size_ratio=5), (2, 3), (2, 3, 4), {"first": (2,)}, DataAware(), DataAware(sweeps=100),
        NearestRounding(), AnnealedRounding(), AnnealedRounding(rounds=1), AnnealedRounding(device="cpu"), 0, 1, 0.1, None,
    ]  # fmt: skip
    assert len({run_fingerprint(network(), X, one) for one in settings}) == len(settings)
    assert run_fingerprint(network(), X, AnnealedRounding(workers=Workers("loky", 2))) == run_fingerprint(
        network(), X, AnnealedRounding()
    )


def test_a_callable_task_counts_by_its_code_and_what_that_reads():
    def made(power: int):
        return (lambda dense, small: ((dense - small) ** 2).mean()) if power == 2 else lambda dense, small: 0.0

    def weighing(weight: float):
        names = {"weight": weight, "__name__": "a_users_script"}
        exec("def judge(dense, small): return weight * (dense - small).abs().mean()", names)
        return names["judge"]

    tasks = [Custom(judge) for judge in (made(2), made(3), weighing(1.0), weighing(2.0), nn.MSELoss(), nn.L1Loss())]
    prints = [run_fingerprint(network(), X, task) for task in tasks]
    assert len(set(prints)) == len(prints)
    for task, found in zip((made(2), weighing(2.0), nn.MSELoss()), (prints[0], prints[3], prints[4]), strict=True):
        assert run_fingerprint(network(), X, Custom(task)) == found


def test_the_sampler_counts_with_all_it_wraps():
    from dwave.system.testing import MockDWaveSampler

    devices = [MockDWaveSampler(topology_type="pegasus", topology_shape=[size]) for size in (2, 3)]
    broken = MockDWaveSampler(topology_type="pegasus", topology_shape=[2], broken_nodes=[devices[0].nodelist[0]])
    samplers = [
        None, AnnealingSampler(), TabuSampler(), RetryComposite(AnnealingSampler()), RetryComposite(TabuSampler()),
        *(RetryComposite(EmbeddedSampler(device)) for device in (*devices, broken)), EmbeddedSampler(devices[0], seed=1),
    ]  # fmt: skip
    assert len({run_fingerprint(network(), X, sampler) for sampler in samplers}) == len(samplers)


def test_two_processes_agree_whatever_their_hash_seed():
    script = textwrap.dedent("""
        import torch
        from torch import nn
        from annealnet.architectures import digits_cnn
        from annealnet.compression import Budget, DataAware
        from annealnet.compression.network.fingerprint import run_fingerprint
        from annealnet.compression.rounding import AnnealedRounding
        from annealnet.samplers import AnnealingSampler, RetryComposite

        class Odd(nn.Module):
            def forward(self, x):
                if x.sum() > 0 and "b" in {"a", "b", "c", "d"}:
                    return x
                return (lambda z: -z)(x)

        torch.manual_seed(0)
        net = nn.Sequential(digits_cnn(4), Odd())
        sampler = RetryComposite(AnnealingSampler())
        print(run_fingerprint(net, torch.ones(2, 1, 8, 8), Budget(size_ratio=3), DataAware(), AnnealedRounding(), sampler))
    """)
    answers = set()
    for seed in ("1", "2"):
        import os

        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        answers.add(done.stdout.strip())
    assert len(answers) == 1
    assert len(answers.pop()) == 64


def test_the_description_is_json_and_readable():
    told = describe_network(network())
    assert [name for name, _ in told["modules"]] == ["", "0", "1", "2", "3", "4", "5"]
    assert told["modules"][1][1]["attributes"]["stride"] == [1]
    assert told["operations"][0][1][:2] == ["call_module", "0"]
