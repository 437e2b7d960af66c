"""``import annealnet`` is light, and says what it offers."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

import annealnet


def modules_after(statement: str) -> set[str]:
    """The modules a fresh interpreter holds once it has run `statement`."""
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


@pytest.mark.parametrize("statement", ["import annealnet", "import annealnet; dir(annealnet)"])
def test_importing_the_package_loads_no_heavy_module(statement: str) -> None:
    loaded = modules_after(statement)
    assert "annealnet" in loaded
    assert not loaded & {"torch", "numba", "numpy", "scipy", "sklearn", "dimod", "plotly", "onnx"}


def test_datasets_can_be_imported_without_torch() -> None:
    loaded = modules_after("import annealnet; annealnet.datasets")
    assert "annealnet.datasets" in loaded
    assert not loaded & {"torch", "sklearn", "PIL"}


def test_dir_lists_exactly_the_public_names() -> None:
    assert dir(annealnet) == sorted(annealnet.__all__)
    assert {"compress", "load", "Budget", "CompressionPlan", "energy", "samplers"} <= set(dir(annealnet))


@pytest.mark.parametrize("name", sorted(annealnet.__all__))
def test_every_listed_name_exists(name: str) -> None:
    assert getattr(annealnet, name) is not None


def test_the_version_is_the_installed_one() -> None:
    assert annealnet.__version__ == metadata.version("annealnet")


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        _ = annealnet.compres
