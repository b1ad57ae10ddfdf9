"""From a campaign's measurements to a model of it, and what to expect of that model."""

from paratope.campaigns.adaptation.adapting import NO_PRIOR, Adapted, adapt
from paratope.campaigns.adaptation.expectation import Expectation, expect
from paratope.campaigns.adaptation.wording import model_table, sentences, standards_table

__all__ = [
    "NO_PRIOR",
    "Adapted",
    "Expectation",
    "adapt",
    "expect",
    "model_table",
    "sentences",
    "standards_table",
]
