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
    from paratope.adaptation import Adapted, adapt
    from paratope.dual_encoder import DualEncoderWithCrossAttention
    from paratope.errors import ParatopeError
    from paratope.measurements import Measurement
    from paratope.prediction import Prediction
    from paratope.predictor import Predictor
    from paratope.scanning import Scan, scan
    from paratope.sequences import Antibody, Antigen, Pair
    from paratope.tables import read_fasta, read_table, write_table
    from paratope.units import Censoring

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
    "Adapted": "paratope.adaptation",
    "Antibody": "paratope.sequences",
    "Antigen": "paratope.sequences",
    "Censoring": "paratope.units",
    "DualEncoderWithCrossAttention": "paratope.dual_encoder",
    "Measurement": "paratope.measurements",
    "Pair": "paratope.sequences",
    "ParatopeError": "paratope.errors",
    "Prediction": "paratope.prediction",
    "Predictor": "paratope.predictor",
    "Scan": "paratope.scanning",
    "adapt": "paratope.adaptation",
    "read_fasta": "paratope.tables",
    "read_table": "paratope.tables",
    "scan": "paratope.scanning",
    "write_table": "paratope.tables",
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
