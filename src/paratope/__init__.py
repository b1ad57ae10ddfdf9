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
    from paratope.core.censoring import Censoring
    from paratope.core.errors import ParatopeError
    from paratope.data.measurements import Measurement
    from paratope.data.tables import read_fasta, read_table, write_table
    from paratope.models.dual_encoder import DualEncoderWithCrossAttention
    from paratope.models.prediction import Prediction
    from paratope.models.predictor import Predictor
    from paratope.molecules.sequences import Antibody, Antigen, Pair

__version__ = "0.1.0"

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
    "adapt",
    "read_fasta",
    "read_table",
    "scan",
    "write_table",
]

_HOMES = {
    "Adapted": "paratope.campaigns.adaptation",
    "Antibody": "paratope.molecules.sequences",
    "Antigen": "paratope.molecules.sequences",
    "Censoring": "paratope.core.censoring",
    "DualEncoderWithCrossAttention": "paratope.models.dual_encoder",
    "Measurement": "paratope.data.measurements",
    "Pair": "paratope.molecules.sequences",
    "ParatopeError": "paratope.core.errors",
    "Prediction": "paratope.models.prediction",
    "Predictor": "paratope.models.predictor",
    "Scan": "paratope.campaigns.scanning",
    "adapt": "paratope.campaigns.adaptation",
    "read_fasta": "paratope.data.tables",
    "read_table": "paratope.data.tables",
    "scan": "paratope.campaigns.scanning",
    "write_table": "paratope.data.tables",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'paratope' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
