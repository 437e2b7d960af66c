"""What is minimised: quadratic energies, constraints, encodings, certificates. Knows no network and no solver."""

from annealnet.energy.certificate import Certificate, lower_bound
from annealnet.energy.constrained import ConstrainedEnergy
from annealnet.energy.constraints import (
    AffineCount,
    Cardinality,
    Constraint,
    LinearBudget,
    OneHot,
    ProductBudget,
    Term,
)
from annealnet.energy.encodings import IntegerEncoding
from annealnet.energy.files import read_energy
from annealnet.energy.forms import DenseEnergy, Energy, FactoredEnergy, SparseEnergy, SumEnergy, from_bqm
from annealnet.energy.pricing import coefficient_range, priced_energy
from annealnet.energy.repair import Repair
from annealnet.energy.shared_gram import SharedGramEnergy

__all__ = [
    "AffineCount",
    "Cardinality",
    "Certificate",
    "ConstrainedEnergy",
    "Constraint",
    "DenseEnergy",
    "Energy",
    "FactoredEnergy",
    "IntegerEncoding",
    "LinearBudget",
    "OneHot",
    "ProductBudget",
    "Repair",
    "SharedGramEnergy",
    "SparseEnergy",
    "SumEnergy",
    "Term",
    "coefficient_range",
    "from_bqm",
    "lower_bound",
    "priced_energy",
    "read_energy",
]
