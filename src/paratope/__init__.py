"""Paratope predicts how tightly an antibody binds an antigen (pKd) from sequence alone.

The names below are the public interface; each is imported when it is first used, so that
``import paratope`` itself costs nothing.

>>> import paratope
>>> paratope.Antibody("EVQLVESGG", "DIQMTQSPS").chains
('EVQLVESGG', 'DIQMTQSPS')
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paratope.campaigns.adaptation import Adapted, adapt
    from paratope.campaigns.scanning import Scan, scan
    from paratope.campaigns.suggestion import suggest
    from paratope.core.censoring import Censoring
    from paratope.core.errors import ParatopeError
    from paratope.data.audit import audit
    from paratope.data.measurements import Measurement
    from paratope.data.splits import split_measurements
    from paratope.data.tables import read_fasta, read_table, write_table
    from paratope.encoders import load_encoder
    from paratope.evaluation import compare, evaluate
    from paratope.models.dual_encoder import DualEncoderWithCrossAttention
    from paratope.models.prediction import Prediction
    from paratope.models.predictor import Predictor
    from paratope.molecules.sequences import Antibody, Antigen, Pair
    from paratope.screening import Screened, screen
    from paratope.training import train_table

__version__ = "0.1.0"

_HOMES = {
    name: f"paratope.{module}"
    for module, names in {
        "campaigns.adaptation": "Adapted adapt",
        "campaigns.scanning": "Scan scan",
        "campaigns.suggestion": "suggest",
        "core.censoring": "Censoring",
        "core.errors": "ParatopeError",
        "data.audit": "audit",
        "data.measurements": "Measurement",
        "data.splits": "split_measurements",
        "data.tables": "read_fasta read_table write_table",
        "encoders": "load_encoder",
        "evaluation": "compare evaluate",
        "models.dual_encoder": "DualEncoderWithCrossAttention",
        "models.prediction": "Prediction",
        "models.predictor": "Predictor",
        "molecules.sequences": "Antibody Antigen Pair",
        "screening": "Screened screen",
        "training": "train_table",
    }.items()
    for name in names.split()
}
__all__ = [
    "Adapted",
    "Antibody",
    "Antigen",
    "Censoring",
    "DualEncoderWithCrossAttention",
    "Measurement",
    "Pair",
    "ParatopeError",
    "Prediction",
    "Predictor",
    "Scan",
    "Screened",
    "adapt",
    "audit",
    "compare",
    "evaluate",
    "load_encoder",
    "read_fasta",
    "read_table",
    "scan",
    "screen",
    "split_measurements",
    "suggest",
    "train_table",
    "write_table",
]


def __getattr__(name: str) -> Any:
    """A public name, imported from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'paratope' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
