"""Paratope predicts how tightly an antibody binds an antigen (pKd) from sequence alone.

The names below are the public interface; each is imported when it is first used, so that
``import paratope`` itself costs nothing.

>>> import paratope
>>> paratope.Antibody("EVQLVESGG", "DIQMTQSPS").chains
('EVQLVESGG', 'DIQMTQSPS')
"""

import importlib
from typing import Any

__version__ = "0.1.0"

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
    "audit": "paratope.data.audit",
    "compare": "paratope.evaluation",
    "evaluate": "paratope.evaluation",
    "load_encoder": "paratope.encoders",
    "read_fasta": "paratope.data.tables",
    "read_table": "paratope.data.tables",
    "scan": "paratope.campaigns.scanning",
    "split_measurements": "paratope.data.splits",
    "suggest": "paratope.campaigns.suggestion",
    "train_table": "paratope.training",
    "write_table": "paratope.data.tables",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """A public name, imported from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'paratope' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
