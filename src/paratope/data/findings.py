"""A finding: one thing that is wrong with a table, its predictions or a training run, in words.

The audit of a table, the diagnostics of predictions and the monitors of a run all hand back this
class; the rules they share are in `paratope.data.value_faults`.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    code: str  # Stable short name, such as ``"floor"``; the documentation lists all of them
    # error: numbers computed from this will mislead; warning: look before using it; info: no fault
    severity: Severity
    message: str  # What was found, with numbers
    advice: str = ""  # What to do
    confidence: float = 1.0  # How sure the rule is, 0 to 1
    # table, column: Where; empty where it is all of it
    table: str = ""
    column: str = ""
    count: int = 0  # Rows concerned
    rows: tuple[int, ...] = ()  # Their numbers, from 1, header not counted
    examples: tuple[str, ...] = ()
    # The message's numbers, for programs
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity
        assert 0.0 <= self.confidence <= 1.0, self.confidence


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, the surest first."""
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.confidence)))


def percent(part: float, whole: float = 1.0) -> str:
    """A share for people: ``"1.5 %"``."""
    return f"{100 * part / (whole or 1):.1f} %"


def concise(number: float) -> str:
    """A number to four digits, without a minus sign before a zero."""
    return f"{number + 0.0:.4g}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``"1 table"``, ``"no errors"``."""
    return f"{number or 'no'} {noun}{'s' * (number != 1)}"


def named(names: Sequence[str], limit: int = 5) -> str:
    """Some names and how many more: ``"a, b and 1 more"``."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
