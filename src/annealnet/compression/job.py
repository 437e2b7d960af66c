"""`compress`: a trained network, data and a budget in; a smaller network with a certificate out."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dimod
from torch import nn

from annealnet.compression.building.checkpoint import Checkpoint
from annealnet.compression.building.finetune import Diverged, FineTuning, check_trainable, fine_tune
from annealnet.compression.building.plans import Built, build, finished
from annealnet.compression.formulations import Candidates, DataAware, Formulation, Problem
from annealnet.compression.formulations.budget import Budget
from annealnet.compression.formulations.preparing import WIDTHS, prepare
from annealnet.compression.measuring.sensitivity import Sensitivity
from annealnet.compression.measuring.subject import Subject
from annealnet.compression.measuring.tasks import Judge, Task
from annealnet.compression.network.answers import all_answers_of, check_samples, labels_that_count, that_count
from annealnet.compression.network.calibration import Calibration, read_batches
from annealnet.compression.network.fingerprint import run_fingerprint
from annealnet.compression.network.given import network_in
from annealnet.compression.refitting.ridge import DEFAULT_RIDGE
from annealnet.compression.reporting import delivered
from annealnet.compression.result import CompressedNetwork
from annealnet.compression.rounding import Rounding
from annealnet.whole_numbers import SEEDS, whole_number

__all__ = ["compress", "plan_and_build"]

Say = Callable[[str], None]


def compress(
    model: nn.Module,
    data: Iterable[Any],
    budget: Budget,
    *,
    sampler: dimod.Sampler | None = None,
    output: str | int | None = None,
    task: Task | Judge | None = None,
    formulation: Formulation | None = None,
    widths: Sequence[int] = WIDTHS,
    layer_widths: Mapping[str, Sequence[int]] | None = None,
    prune: bool | Collection[str] = True,
    candidates: int = 6,
    rounding: Rounding | None = None,
    ridge: float = DEFAULT_RIDGE,
    fine_tuning: FineTuning | None = None,
    training_data: Iterable[Any] | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: Say | None = None,
) -> CompressedNetwork:
    """Chooses channels and bit-widths together as one energy, anneals it, and builds the smaller network.

    The energy is a model; the k best plans are built and re-ranked on the true divergence from the dense network. Everything
    is computed in float32 on the CPU (annealed rounding on CUDA where there is one), on a copy where the network is in
    another precision or on another device; the smaller network has the dtypes and devices of the one given, and the report
    is of that one, beside the dense one in float32.

    Args:
        model: a trained network; it is not changed. Of one in ``torch.compile`` or ``DataParallel`` the network inside.
        data: calibration batches as the model takes them: ``x``, ``(x, y)``, ``(x, None)``; a map of inputs by name
            (``input_ids``, ``attention_mask``, ``pixel_values``; ``labels`` are y); ``((x1, x2), y)`` for several by
            position. A DataLoader, a Dataset, a list, a generator (read once), or all samples at once; a few hundred to a
            few thousand of them. Positions that an ``attention_mask`` leaves out are not judged.
        budget: how small it must become. Met, never exceeded.
        sampler: any dimod sampler; None is the native annealer, which keeps the budget exactly. Samplers that know no
            constraints are asked at several prices of the budget, and their reads are mended to it; the report's settings
            say how many reads were within the budget as they came.
        output: name or number of the answer that counts, of several that the model gives; None finds it: ``logits``,
            ``last_hidden_state``, or the first tensor of floating-point numbers.
        task: what «as good as the dense network» means: :class:`Classification`, :class:`Regression`, or any callable
            ``(dense, small) -> number`` that is 0 for equal answers (and can be differentiated, for fine-tuning). None looks
            at answers and labels (:func:`~annealnet.compression.measuring.choosing.choose`); the report says what it took.
        formulation: :class:`DataAware` (default) or :class:`Published`.
        widths: bits per weight a layer may take, within 2…8.
        layer_widths: widths of single layers by name; the first and the last layer stay at 8 bits unless named here.
        prune: what may be removed: False, True for ``("channels", "neurons", "heads")``, or some of these and ``"stream"``:
            channels of convolutions, neurons between linear layers, heads of attentions (with grouped queries a key and
            value with its queries); channels of the residual stream: the width of embeddings, norms and all that reads them.
        candidates: plans that are built and re-ranked.
        rounding: how weights go to their grid, its groups and zero points included; None anneals them.
        ridge: λ ≥ 0 of the refits, in units of each Gram matrix's mean diagonal times max(1, 16 · fan_in / rows); 0 is the
            refit of least change.
        fine_tuning: None, or how to fine-tune on ``training_data`` (``data`` if that is None).
        training_data: batches to fine-tune on.
        checkpoint: a folder in which finished steps are kept; the same call goes on from it after an interruption.
        seed: of everything stochastic; the same seed gives the same network.
        progress: told in words what is being done.

    Returns:
        The smaller network with its plan, report and files.

    Raises:
        ValueError: NaN weights, empty data, samples or labels that do not fit, widths out of range, unknown layers, a budget
            that cannot be met (with the smallest that can). All before any work is done.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
        >>> x = torch.randn(64, 16)
        >>> small = compress(net, [(x, None)], Budget(size_ratio=6))
        >>> small.report.small.bytes <= small.report.dense.bytes / 6
        True
    """
    say = progress or (lambda _: None)
    seed, candidates = whole_number("seed", seed, 0, SEEDS - 1), whole_number("candidates", candidates, 1)
    chosen = formulation or DataAware()
    model = network_in(model)
    calibration = read_batches(data, model=model, output=output)
    training = calibration
    if training_data is not None:
        training = read_batches(training_data, "training_data", model=model, output=output)
    problem = prepare(
        model, calibration, budget, task=task, widths=widths, layer_widths=layer_widths, prune=prune, rounding=rounding,
        ridge=ridge, seed=seed, progress=say,
    )  # fmt: skip
    if fine_tuning is not None:
        _check_fine_tuning(problem, training)
        say(f"training_data: {training}")
    settings = (
        budget, problem.task, tuple(widths), layer_widths, prune, problem.rounding, ridge, chosen, candidates, seed,
    )  # fmt: skip
    steps = Checkpoint(checkpoint, run_fingerprint(model, calibration, "compress", settings, sampler))
    built, proposed, losses, seconds = plan_and_build(problem, chosen, sampler, candidates, seed, steps)
    tuned = None
    if fine_tuning is not None:
        say(f"fine-tuning for {fine_tuning.epochs:g} epochs on {len(training.x)} samples")
        built, tuned = _fine_tuned(built, problem, training, fine_tuning, seed)
    said = {
        "formulation": chosen.name, "planned_by": repr(chosen), "sampler": proposed.certificate.sampler, **proposed.reads,
        "seed": seed, "budget": str(budget), "widths": list(widths),
        "layer_widths": {name: list(own) for name, own in (layer_widths or {}).items()},
        "prune": prune if isinstance(prune, bool) else sorted(prune), "ridge": ridge, "output": output,
        "candidates": candidates, "planning_seconds": round(seconds, 2), "fine_tuning": tuned,
    }  # fmt: skip
    subject = Subject(model, problem.dense, problem.graph, calibration, problem.chosen)
    tried = tuple(zip(proposed.energies.tolist(), losses, strict=True))
    return delivered(
        subject, built.plan(problem), built.model, built.grids, problem.rounding, proposed.certificate, said, tried
    )


def _check_fine_tuning(problem: Problem, training: Calibration) -> None:
    """Refuses data and tasks that cannot be learned from, before any work is done."""
    check_samples(problem.dense, training.x, "training_data")
    some = all_answers_of(problem.dense, training.x[:2])
    labels = labels_that_count(training.x, some, training.y, "training_data")
    problem.task.check(that_count(training.x[:2], some), labels, "training_data")
    problem.task.check_differentiable(problem.answers.logits)
    check_trainable(problem.dense, problem.task, training.x)


def _fine_tuned(built: Built, problem: Problem, training: Calibration, settings: FineTuning, seed: int) -> tuple[Built, str]:
    """A fine-tuned copy, and what is said of it; what was built stays as it is, and is taken where training diverges."""
    model = copy.deepcopy(built.model)
    try:
        grids = fine_tune(model, built.grids, problem.dense, problem.task, training.x, training.y, settings, seed)
    except Diverged as error:
        tuned = f"{settings} diverged ({error}): this is the network from before it"
        warnings.warn(f"fine_tuning={tuned}; take a smaller learning_rate", stacklevel=3)
        return built, tuned
    return replace(built, model=model, grids=grids), str(settings)


def plan_and_build(
    problem: Problem,
    formulation: Formulation,
    sampler: dimod.Sampler | None,
    count: int,
    seed: int,
    steps: Checkpoint,
) -> tuple[Built, Candidates, list[float], float]:
    """Proposes plans, builds the best few and takes the one of least true divergence.

    Returns:
        The best plan built, what was proposed, the true divergence of each proposal, and seconds.
    """
    began = time.perf_counter()
    if formulation.measures:
        measured = steps.step("sensitivity", lambda: problem.sensitivity.to_document())
        problem = problem.with_measurements(Sensitivity.from_document(measured))  # now or in the interrupted run
    if problem.progress is not None:
        problem.progress(f"annealing the {formulation.name} energy over {problem.space.num_variables} bits")
    found = steps.step("candidates", lambda: formulation.propose(problem, sampler, count, seed).to_document())
    proposed = Candidates.from_document(found)
    best: Built | None = None
    losses = []
    for number, state in enumerate(proposed.states):
        name = f"build {number}"
        if name in steps and best is not None and steps.step(name, float) >= best.divergence:
            losses.append(steps.step(name, float))  # known from before the interruption, and not the best
            continue
        keep, bits = problem.space.decode(state)
        built = build(problem, keep, bits, problem.rounding.quick())
        losses.append(steps.step(name, lambda built=built: built.divergence))  # type: ignore[misc]
        if problem.progress is not None:
            problem.progress(f"plan {number + 1} of {len(proposed.states)}: divergence {built.divergence:.4g}")
        if best is None or built.divergence < best.divergence:
            best = built
    assert best is not None
    if problem.progress is not None:
        problem.progress("rounding the weights of the best plan")
    return finished(problem, best), proposed, losses, time.perf_counter() - began
