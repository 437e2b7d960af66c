"""Training problems as plain QUBOs: the published form and a leaner equal."""

from annealnet.binary.formulation.lean import Lean
from annealnet.binary.formulation.published import Published
from annealnet.binary.formulation.training_energy import Formulation, TrainingEnergy, output_targets

__all__ = ["FORMULATIONS", "Formulation", "Lean", "Published", "TrainingEnergy", "output_targets"]

#: By the name in tables and on the classifier.
FORMULATIONS: dict[str, Formulation] = {"published": Published(), "lean": Lean()}
