"""What to measure next in a campaign: candidates, filters, a batch chosen jointly, reasons."""

from paratope.campaigns.suggestion.acquisition import ACQUISITIONS
from paratope.campaigns.suggestion.candidates import GENERATORS
from paratope.campaigns.suggestion.filters import Filters, parse_filters
from paratope.campaigns.suggestion.first_plate import first_plate, read_parent
from paratope.campaigns.suggestion.next_round import (
    NextRound,
    Suggestion,
    SuggestionOptions,
    suggest,
)
from paratope.campaigns.suggestion.output import suggestion_frame, write_next_round

__all__ = [
    "ACQUISITIONS",
    "GENERATORS",
    "Filters",
    "NextRound",
    "Suggestion",
    "SuggestionOptions",
    "first_plate",
    "parse_filters",
    "read_parent",
    "suggest",
    "suggestion_frame",
    "write_next_round",
]
