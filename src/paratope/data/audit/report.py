"""What an audit hands back: every kind of fault it knows, and the report of those it found."""

import csv
import dataclasses
import importlib.resources
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from paratope.core.files import json_text, plain
from paratope.core.printing import printable
from paratope.data.findings import SEVERITIES, Finding, Severity, counted

if TYPE_CHECKING:
    from rich.console import Console

FORMAT_VERSION = 1


class Fault(NamedTuple):
    """What a code of the audit usually means: how grave, how sure, and what to do."""

    severity: Severity
    confidence: float
    advice: str


_TABLE = importlib.resources.files("paratope.data.audit") / "faults.csv"
CASES = {
    row["code"]: Fault(cast(Severity, row["severity"]), float(row["confidence"]), row["advice"])
    for row in csv.DictReader(_TABLE.read_text("utf-8").splitlines())
}
"""Every code of the audit, and cases of some, such as ``"sign:assays"``, that differ."""
FAULTS = {code: fault for code, fault in CASES.items() if ":" not in code}
"""Every code of the audit; a check may say otherwise where it knows more."""


@dataclasses.dataclass(frozen=True, slots=True)
class TableSummary:
    """What was read of one table: rows, columns and what each was taken for."""

    name: str
    rows: int
    columns: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class AuditReport:
    """All findings about one or several tables, gravest first."""

    findings: tuple[Finding, ...]
    tables: tuple[TableSummary, ...]

    @property
    def summary(self) -> str:
        """One sentence: how many findings of each severity, in how many rows.

        >>> AuditReport((), (TableSummary("a.csv", 10, {}),)).summary
        '1 table, 10 rows: no errors, no warnings, no notes'
        """
        rows = sum(table.rows for table in self.tables)
        nouns = {"error": "error", "warning": "warning", "info": "note"}
        counts = ", ".join(counted(self.count(kind), nouns[kind]) for kind in SEVERITIES)
        return f"{counted(len(self.tables), 'table')}, {counted(rows, 'row')}: {counts}"

    def count(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def of(self, *codes: str) -> tuple[Finding, ...]:
        """Findings with one of these codes."""
        return tuple(finding for finding in self.findings if finding.code in codes)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, as `to_json` writes them."""
        return {"format_version": FORMAT_VERSION, "summary": self.summary, **plain(self)}

    def to_json(self) -> str:
        """The report as JSON."""
        return json_text(self.to_dict(), indent=1)

    def to_html(self) -> str:
        """The report as one self-contained page: no script, no file beside it, no network."""
        import jinja2

        page = importlib.resources.files("paratope.data.audit") / "page.html"
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        template = environment.from_string(page.read_text("utf-8"))
        return template.render(report=self, severities=SEVERITIES)

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
            where = finding.table + (f", column {finding.column}" if finding.column else "")
            words = Text(printable(finding.message))
            words.append(printable(f"\n{where}"), style="dim")
            if finding.examples:
                examples = "; ".join(finding.examples)
                words.append(printable(f"\nfor example {examples}"), style="dim")
            words.append(printable(f"\n{finding.advice}\n"), style="italic")
            label = Text(finding.severity, style=styles[finding.severity])
            label.append(f"\n{finding.code}\n{finding.confidence:.0%} sure", style="dim")
            grid.add_row(label, words)
        console.print(grid)
        console.print(Text(printable(self.summary), "bold"), soft_wrap=True)
