"""What an audit hands back: findings, as one page for a terminal, a program or a browser."""

import dataclasses
import importlib.resources
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
FORMAT_VERSION = 1
MAX_EXAMPLES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes
    ----------
    code : str
        Stable short name, such as ``"floor"``; the documentation lists all of them.
    severity : {"error", "warning", "info"}
        ``error``: numbers computed from the table will be wrong; ``warning``: look before using it;
        ``info``: no fault, but it decides how the table may be split or read.
    confidence : float
        How sure the audit is, 0 to 1.
    table : str
        Name of the table.
    column : str
        Column concerned; empty where it is the table or its rows.
    message : str
        What was found, in plain words, with numbers.
    advice : str
        What to do.
    count : int
        Rows concerned.
    rows : tuple of int
        Their numbers, from 1, header not counted.
    examples : tuple of str
        A few of them.
    """

    code: str
    severity: Severity
    confidence: float
    table: str
    column: str
    message: str
    advice: str
    count: int = 0
    rows: tuple[int, ...] = ()
    examples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity
        assert 0.0 <= self.confidence <= 1.0, self.confidence


@dataclasses.dataclass(frozen=True, slots=True)
class TableSummary:
    """What was read of one table: rows, columns and what each was taken for."""

    name: str
    rows: int
    columns: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class AuditReport:
    """All findings about one or several tables, gravest first.

    Attributes
    ----------
    findings : tuple of Finding
    tables : tuple of TableSummary
    """

    findings: tuple[Finding, ...]
    tables: tuple[TableSummary, ...]

    @property
    def summary(self) -> str:
        """One sentence: how many findings of each severity, in how many rows.

        >>> AuditReport((), (TableSummary("a.csv", 10, {}),)).summary
        '1 table, 10 rows: no errors, no warnings, no notes'
        """
        rows = sum(table.rows for table in self.tables)
        parts = [
            _count(self.count("error"), "error"),
            _count(self.count("warning"), "warning"),
            _count(self.count("info"), "note"),
        ]
        tables = _count(len(self.tables), "table")
        return f"{tables}, {_count(rows, 'row')}: {', '.join(parts)}"

    def count(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def of(self, *codes: str) -> tuple[Finding, ...]:
        """Findings with one of these codes."""
        return tuple(finding for finding in self.findings if finding.code in codes)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as `to_json` writes them."""
        return {
            "format_version": FORMAT_VERSION,
            "summary": self.summary,
            "tables": [dataclasses.asdict(table) for table in self.tables],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def to_html(self) -> str:
        """The report as one self-contained page: no script, no file beside it, no network."""
        import jinja2

        page = (
            importlib.resources.files("paratope.data.audit")
            .joinpath("page.html")
            .read_text("utf-8")
        )
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        return environment.from_string(page).render(report=self, severities=SEVERITIES)

    def print(self, console: "Console | None" = None) -> None:
        """Print the report on a terminal."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = console or Console()
        grid = Table(box=None, pad_edge=False, show_header=False)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        styles = {"error": "bold red", "warning": "yellow", "info": "cyan"}
        for finding in self.findings:
            place = finding.table + (f", column {finding.column}" if finding.column else "")
            words = Text(finding.message)
            words.append(f"\n{place}", style="dim")
            if finding.examples:
                words.append("\nfor example " + "; ".join(finding.examples), style="dim")
            words.append("\n" + finding.advice + "\n", style="italic")
            label = Text(finding.severity, style=styles[finding.severity])
            label.append(f"\n{finding.code}\n{finding.confidence:.0%} sure", style="dim")
            grid.add_row(label, words)
        console.print(grid)
        console.print(self.summary, style="bold", highlight=False, soft_wrap=True)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings gravest and surest first."""
    return tuple(
        sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.confidence, f.code))
    )


def row_numbers(indices: Iterable[int]) -> tuple[int, ...]:
    """Row numbers from 1 of indices from 0.

    >>> row_numbers([0, 4])
    (1, 5)
    """
    return tuple(int(index) + 1 for index in indices)


def percent(part: int, whole: int) -> str:
    """Share in words, with a digit where it is small.

    >>> percent(351, 23961), percent(1, 2)
    ('1.5 %', '50.0 %')
    """
    return f"{100 * part / max(whole, 1):.1f} %"


def plain(number: float) -> str:
    """A number without needless digits.

    >>> plain(6.0), plain(0.123456)
    ('6', '0.1235')
    """
    return f"{number + 0.0:.4g}"  # no minus sign before a zero


def named(names: Sequence[str], limit: int = MAX_EXAMPLES) -> str:
    """Some names and how many more.

    >>> named(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'s' * (number != 1)}"
