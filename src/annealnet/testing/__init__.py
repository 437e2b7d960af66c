"""Conformance checks for samplers, layered samplers and formulations, ours and other people's: run them, read what fails.

A check is a function that raises :class:`Failed` in words. :func:`conformance` runs all that there are for a dimod sampler,
:func:`layered_conformance` those for a layered sampler, :func:`formulation_conformance` those for an energy; each gives one
:class:`Finding` per check. Checks that something cannot take part in (no seed, no time limit, too many bits to enumerate)
say so instead of passing.
"""

from annealnet.testing.findings import Failed, Finding, NotApplicable
from annealnet.testing.formulations import FORMULATION_CHECKS, formulation_conformance
from annealnet.testing.layered import LAYERED_CHECKS, layered_conformance
from annealnet.testing.samplers import CHECKS, conformance

__all__ = [
    "CHECKS",
    "FORMULATION_CHECKS",
    "LAYERED_CHECKS",
    "Failed",
    "Finding",
    "NotApplicable",
    "conformance",
    "formulation_conformance",
    "layered_conformance",
]
