"""The command line: one thin command per job. Exit codes: 0 done, 2 bad input, 1 anything else."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from annealnet.studies import STUDIES

if TYPE_CHECKING:
    from torch import nn

    from annealnet.compression.measuring.tasks import Task
    from annealnet.samplers import Workers

__all__ = ["app", "main"]

app = typer.Typer(
    name="annealnet",
    help="The discrete decisions of neural networks, solved as energies by annealers.",
    epilog="Start with:  annealnet demo",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Seed = Annotated[int, typer.Option(help="Seed of everything stochastic.")]
Backend = Annotated[
    str | None,
    typer.Option(help="Run the anneals in parallel: loky (processes of this machine), ray, dask, or any of joblib's."),
]
Jobs = Annotated[int, typer.Option(help="Workers of the backend; -1 for all there are.")]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster; without it Ray starts one on this machine.")]
Model = Annotated[str, typer.Option(help="Factory of the dense network, as package.module:function.")]
Data = Annotated[
    str, typer.Option(help="«digits», or a folder or file: MNIST (IDX), CIFAR-10 (zip, images, binary), CSV, NPZ.")
]
Written = Annotated[Path, typer.Option(help="Folder for plan.json, model.safetensors, model.onnx and report.html.")]
Weights = Annotated[Path | None, typer.Option(help="Its weights, as safetensors.")]
Mean = Annotated[str | None, typer.Option(help="Channel means the inputs are normalised with, comma-separated.")]
Std = Annotated[str | None, typer.Option(help="Channel deviations, comma-separated.")]
Judged = Annotated[
    str | None,
    typer.Option(
        "--task", help="classification, classification:AXIS or regression; without it answers and labels are looked at."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command(epilog="Example:  annealnet demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for report.html, the compressed network and its ONNX model.")] = Path(
        "runs/demo"
    ),
    size_ratio: Annotated[float, typer.Option(help="How many times smaller the file must be.")] = 10.0,
    seeds: Annotated[int, typer.Option(help="Number of seeds (network and calibration data).", min=1)] = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Train a small residual CNN on the embedded digits, compress it, compare with every baseline, write a report."""
    from annealnet.studies.demo import run_demo

    summary = run_demo(out, size_ratio, tuple(range(seed, seed + seeds)), _say(as_json))
    if as_json:
        typer.echo(json.dumps(summary.to_document()))
    else:
        summary.show()


@app.command(
    epilog="Example:  annealnet compress --model annealnet.architectures:resnet20 --weights resnet20.safetensors "
    "--data cifar10/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --size-ratio 10 --out out/"
)
def compress(
    model: Model,
    data: Data,
    out: Written,
    weights: Weights = None,
    size_ratio: Annotated[float | None, typer.Option(help="How many times smaller the file must be.")] = None,
    max_bytes: Annotated[int | None, typer.Option("--bytes", help="Most bytes of the files.")] = None,
    macs_ratio: Annotated[float | None, typer.Option(help="How many times fewer multiply-adds.")] = None,
    mean: Mean = None,
    std: Std = None,
    samples: Annotated[int, typer.Option(help="Calibration samples.", min=1)] = 1024,
    formulation: Annotated[str, typer.Option(help="How plans become an energy; an unknown name lists all.")] = "data_aware",
    epochs: Annotated[float, typer.Option(help="Epochs of fine-tuning on the training data; 0 for none.", min=0)] = 0.0,
    task: Judged = None,
    backend: Backend = None,
    jobs: Jobs = -1,
    address: Address = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compress a trained network within a budget; an interrupted run goes on when it is started again."""
    from rich.console import Console

    from annealnet.compression import Budget
    from annealnet.report import print_report
    from annealnet.studies.compressing import Request, compress_files

    budget = Budget(size_ratio=size_ratio, bytes=max_bytes, macs_ratio=macs_ratio)
    request = Request(
        model, data, out, budget, _numbers("mean", mean), _numbers("std", std), samples, formulation, epochs, seed,
        _workers(backend, jobs, address), _task(task),
    )  # fmt: skip
    request.chosen()  # refused before the network is built
    report = compress_files(_load_network(model, weights), request, _say(as_json))
    if as_json:
        typer.echo(report.to_json())
    else:
        print_report(report, Console())
        typer.echo(f"Written to {out}: plan.json, model.safetensors, model.onnx, dense.onnx, report.html")


@app.command(
    epilog="Example:  annealnet quantize --model annealnet.architectures:resnet20 --weights resnet20.safetensors "
    "--data cifar10/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --bits 4 --group 64 --out out/"
)
def quantize(
    model: Model,
    data: Data,
    out: Written,
    weights: Weights = None,
    bits: Annotated[
        str, typer.Option(help="A width 1 to 8 for all layers, or NAME=WIDTH,… (layers not named get 8).")
    ] = "4",
    group: Annotated[int | None, typer.Option(help="Weights that share a scale; without it a whole channel.", min=1)] = None,
    symmetric: Annotated[bool, typer.Option(help="Without or with a zero point beside each scale.")] = True,
    mean: Mean = None,
    std: Std = None,
    samples: Annotated[int, typer.Option(help="Calibration samples; labels only serve the report.", min=1)] = 1024,
    task: Judged = None,
    backend: Backend = None,
    jobs: Jobs = -1,
    address: Address = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Round a trained network's weights to few bits; an interrupted run goes on when it is started again."""
    from rich.console import Console

    from annealnet.report import print_report
    from annealnet.studies.compressing import QuantizeRequest, quantize_files

    request = QuantizeRequest(
        model, data, out, _widths(bits), group, symmetric, _numbers("mean", mean), _numbers("std", std), samples, seed,
        _workers(backend, jobs, address), _task(task),
    )  # fmt: skip
    report = quantize_files(_load_network(model, weights), request, _say(as_json))
    if as_json:
        typer.echo(report.to_json())
    else:
        print_report(report, Console())
        typer.echo(f"Written to {out}: plan.json, model.safetensors, model.onnx, dense.onnx, report.html")


@app.command(epilog="Example:  annealnet solve problem.coo --reads 100 --seed 1 --json")
def solve(
    file: Annotated[Path, typer.Argument(help="A dimod file (.bqm, .json), .npz, or COO text: «i j value» lines.")],
    reads: Annotated[int, typer.Option(help="Independent anneals.", min=1)] = 32,
    sweeps: Annotated[int | None, typer.Option(help="Sweeps per read; without it the sampler's own number.", min=1)] = None,
    sampler: Annotated[
        str,
        typer.Option(help="Which sampler; an unknown name lists all."),
    ] = "auto",
    time_limit: Annotated[float | None, typer.Option(help="Seconds; alone, the search is stretched to fill them.")] = None,
    exact: Annotated[bool, typer.Option(help="Same as --sampler exact: enumerate and prove the optimum.")] = False,
    backend: Backend = None,
    jobs: Jobs = -1,
    address: Address = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Minimise an energy from a file: its least energy found, the bits, and the certificate."""
    from annealnet.energy import Certificate, read_energy
    from annealnet.samplers import NATIVE, QUANTUM, DistributedSampler

    chosen = "exact" if exact else sampler
    known = {**NATIVE, **QUANTUM}
    if chosen not in known:
        raise ValueError(f"--sampler={chosen!r} is not known: there are {', '.join(known)}")
    energy, labels = read_energy(file)
    workers = _workers(backend, jobs, address)
    solver = known[chosen]() if workers is None else DistributedSampler(known[chosen](), workers)
    asked = {"num_reads": reads, "num_sweeps": sweeps, "seed": seed, "time_limit": time_limit}
    answer = solver.sample_energy(energy, **{name: value for name, value in asked.items() if name in solver.parameters})
    best = answer.first
    bits = {str(labels[v]): int(value) for v, value in sorted(best.sample.items())}
    certificate = answer.info["certificate"]
    if as_json:
        told = {"energy": float(best.energy), "bits": bits, "certificate": certificate, "chosen": answer.info.get("chosen")}
        typer.echo(json.dumps(told))
        return
    typer.echo(f"energy {best.energy:.10g}")
    typer.echo("bits   " + "".join(str(value) for value in bits.values()))
    typer.echo("answer " + Certificate.from_document(certificate).describe())
    if "reason" in answer.info:
        typer.echo(f"chosen {answer.info['chosen']}: {answer.info['reason']}")


@app.command(epilog="Example:  annealnet fit problem.coo --topology zephyr --reads 1000")
def fit(
    file: Annotated[Path, typer.Argument(help="A dimod file (.bqm, .json), .npz, or COO text: «i j value» lines.")],
    topology: Annotated[str, typer.Option(help="pegasus (Advantage), zephyr (Advantage2) or chimera (2000Q).")] = "pegasus",
    reads: Annotated[int, typer.Option(help="Anneals to be timed.", min=1)] = 100,
    annealing_time: Annotated[float, typer.Option(help="Microseconds of one anneal.", min=0.5)] = 20.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Will it fit a quantum annealer? Bits, couplings, embedding, chain lengths, precision, time; no machine is asked."""
    from annealnet.energy import read_energy
    from annealnet.samplers.hardware import fit as fit_model

    energy, _ = read_energy(file)
    found = fit_model(energy.to_bqm(), topology, reads=reads, annealing_time=annealing_time, seed=seed)
    typer.echo(json.dumps(found.to_document()) if as_json else found.describe())


@app.command(epilog="Example:  annealnet samplers")
def samplers(as_json: AsJson = False) -> None:
    """List the samplers: what each is for, and what it needs."""
    from annealnet.samplers import available

    rows = available()
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows]))
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        typer.echo(f"{row.name:<{width}}  {row.purpose} (needs: {row.needs})")


@app.command(epilog="Example:  annealnet study wang2025 --out runs/wang2025")
def study(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(STUDIES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs"),
    data: Annotated[
        Path | None, typer.Option(help="Folder of the study's data (its page in the documentation says which).")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.", min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Run a paper's experiment with its baselines."""
    if name not in STUDIES:
        raise ValueError(f"name={name!r} is no study: there are {', '.join(STUDIES)}")
    module, _, function = STUDIES[name].partition(":")
    document = getattr(importlib.import_module(module), function)(out, data, seeds, _say(as_json))
    typer.echo(json.dumps(document) if as_json else document["text"])


def _say(quiet: bool) -> Any:
    """Progress goes to the error stream, so that the answer can be piped."""
    if quiet:
        return lambda _: None
    return lambda text: typer.echo(text, err=True)


def _workers(backend: str | None, jobs: int, address: str | None) -> Workers | None:
    """Where anneals run; a cluster's address asks for Ray by itself."""
    from annealnet.samplers import Workers

    if backend is None and address is None:
        return None
    return Workers(backend or "ray", jobs, address)


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name}={text!r} must be numbers with commas between, such as 0.5,0.5,0.5") from None


def _task(text: str | None) -> Task | None:
    """«regression», «classification», or «classification:-1» with the axis of classes."""
    from annealnet.compression import Classification, Regression

    if text is None:
        return None
    name, _, axis = text.partition(":")
    try:
        if name == "classification":
            return Classification(int(axis)) if axis else Classification()
        if text == "regression":
            return Regression()
    except ValueError:
        pass  # an axis that is no number
    raise ValueError(f"--task={text!r} is not known: there are classification, classification:AXIS and regression")


def _widths(text: str) -> int | dict[str, int]:
    """«4», or «first=4,last=8»."""
    try:
        if "=" not in text:
            return int(text)
        return {name.strip(): int(width) for name, width in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise ValueError(f"--bits={text!r} must be a width such as 4, or widths by layer such as first=4,last=8") from None


def _load_network(factory: str, weights: Path | None) -> nn.Module:
    """Builds the dense network from ``package.module:function`` and loads its weights."""
    module_name, _, function = factory.partition(":")
    if not function:
        raise ValueError(f"--model={factory!r} must name a factory, such as annealnet.architectures:resnet20")
    sys.path.insert(0, str(Path.cwd()))  # so that a factory in the user's own folder is found
    try:
        network = getattr(importlib.import_module(module_name), function)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--model={factory!r} cannot be imported ({error}): give package.module:function") from error
    finally:
        sys.path.pop(0)
    if weights is not None:
        from annealnet.compression.network.weights import load_weights

        load_weights(network, weights)
    return network  # type: ignore[no-any-return]


def main() -> None:
    """Entry point: turns bad input into exit code 2 and one line of text."""
    try:
        app(standalone_mode=True)
    except (ValueError, FileNotFoundError) as error:
        typer.echo(f"annealnet: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
