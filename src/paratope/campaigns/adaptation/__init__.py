"""From a campaign's measurements to a model of it, and what to expect of that model."""

from paratope.campaigns.adaptation.adapting import NO_PRIOR, Adapted, AdaptOptions, adapt
from paratope.campaigns.adaptation.report import (
    ValidationReport,
    baselines_table,
    model_table,
    sentences,
    validate,
)

__all__ = [
    "NO_PRIOR",
    "AdaptOptions",
    "Adapted",
    "ValidationReport",
    "adapt",
    "baselines_table",
    "model_table",
    "sentences",
    "validate",
]
