"""The reference names what can be asked for by name, and names nothing that is not there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from annealnet import samplers
from annealnet.binary.formulation import FORMULATIONS as TRAININGS
from annealnet.compression.formulations import FORMULATIONS as PLANS
from annealnet.preparation.codings import CODINGS
from annealnet.samplers import NATIVE, QUANTUM

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
NAMED = re.findall(r"^\.\. auto(?:class|function|module):: (\S+)", PAGE, re.MULTILINE)
REGISTERED = {
    **{("plan", name): type(one) for name, one in PLANS.items()},
    **{("training", name): type(one) for name, one in TRAININGS.items()},
    **{("sampler", name): one for name, one in {**NATIVE, **QUANTUM}.items()},
    **{("coding", name): one for name, one in CODINGS.items()},
}


def found(name: str) -> Any:
    """What a dotted name stands for."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing: Any = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            thing = getattr(thing, part)
        return thing
    raise AssertionError(f"{name} is nowhere")


@pytest.mark.parametrize(("kind", "name"), REGISTERED)
def test_what_is_registered_stands_in_the_reference(kind: str, name: str) -> None:
    assert any(found(target) is REGISTERED[kind, name] for target in NAMED), f"docs/api.md lacks {REGISTERED[kind, name]}"
    assert f"`{name}`" in PAGE, f"docs/api.md lacks the name of the {kind} {name!r}"


@pytest.mark.parametrize("name", NAMED)
def test_what_the_reference_names_is_there(name: str) -> None:
    assert found(name) is not None


def test_the_reference_names_nothing_twice() -> None:
    assert sorted(NAMED) == sorted(set(NAMED))


def test_every_public_sampler_stands_in_the_reference() -> None:
    """Those around others and those of layered models have no registry."""
    here = [found(name) for name in NAMED]
    public = [name for name in samplers.__all__ if name.endswith(("Sampler", "Composite", "Layers"))]
    assert [name for name in public if getattr(samplers, name) not in here] == []
