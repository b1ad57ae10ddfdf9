"""What an audit hands back: every kind of fault it knows, and the report of those it found."""

import dataclasses
import importlib.resources
from typing import TYPE_CHECKING, Any, NamedTuple

from paratope.core.files import json_text, plain
from paratope.data.findings import SEVERITIES, Finding, Severity, counted

if TYPE_CHECKING:
    from rich.console import Console

FORMAT_VERSION = 1


class Fault(NamedTuple):
    """What a code of the audit usually means: how grave, how sure, and what to do."""

    severity: Severity
    confidence: float
    advice: str


# A check may say otherwise where it knows more.
FAULTS: dict[str, Fault] = {
    "antigen_fragment": Fault(
        "info", 0.9, "Keep them on one side of a split; splitting by antigen cluster does so."
    ),
    "antigen_spelling": Fault(
        "warning",
        0.9,
        "Give each antigen one spelling: grouping by name takes them for different antigens.",
    ),
    "antigen_two_names": Fault(
        "warning",
        0.95,
        "Give each antigen one name: splits and per-antigen metrics by name would leak otherwise.",
    ),
    "assay_offset": Fault(
        "warning", 0.9, "Do not pool the values: compare within each assay, or fit an offset."
    ),
    "ceiling": Fault("warning", 0.6, "Write them as bounds: they bind at least this tightly."),
    "columns_disagree": Fault(
        "error", 0.97, "Find out which column is right in these rows before either is used."
    ),
    "conflict": Fault(
        "warning",
        0.8,
        "Find out which value is right, or keep the median; no model can be better than this SD.",
    ),
    "ddg_sign": Fault(
        "warning",
        0.8,
        "ΔΔG > 0 means weaker binding here; some sources use the reverse. Turn the sign if so.",
    ),
    "dg_sign": Fault("error", 0.95, "Turn the sign: ΔG = RT ln(Kd), about -12 kcal/mol at 1 nM."),
    "dominant_antibody": Fault(
        "warning",
        0.95,
        "Pooled metrics mostly describe this antibody: report them per antibody, weight rows, or "
        "cap its share.",
    ),
    "dominant_antigen": Fault(
        "warning",
        0.95,
        "Pooled metrics mostly describe this antigen: report them per antigen, weight rows, or cap "
        "its share.",
    ),
    "double_log": Fault(
        "error", 0.8, "Its order holds, its scale is wrong; use the other table's column."
    ),
    "duplicate_id": Fault(
        "warning", 0.9, "Give every row its own id, or join tables by more than the id."
    ),
    "duplicate_row": Fault(
        "warning",
        0.9,
        "Keep one of each: copies give false weight and leak between training and test rows.",
    ),
    "few_values": Fault(
        "warning",
        0.95,
        "A model that answers like this has collapsed; a measured column like this holds classes, "
        "not affinities.",
    ),
    "flag": Fault(
        "warning",
        0.6,
        "Find out what it stands for, often a non-binder; make it a bound or leave it out.",
    ),
    "floor": Fault("warning", 0.6, "Write them as bounds (too weak to measure), not measurements."),
    "fragment_duplicate": Fault(
        "warning",
        0.9,
        "Treat them as the same antibody: cut all to the variable domain, then merge replicates.",
    ),
    "impossible_value": Fault(
        "error",
        0.95,
        "Look for another unit, a flag (-1, 0, 999) or a slip of the decimal point in these rows.",
    ),
    "label_copy": Fault(
        "warning", 0.95, "Never use it as an input: a model would score perfectly and know nothing."
    ),
    "length_shortcut": Fault(
        "warning",
        0.9,
        "Compare every model with this length-only baseline; look for two sources or constructs "
        "mixed in one table.",
    ),
    "light_not_light": Fault(
        "error", 0.97, "Check which chain it is; leave it empty for single domains."
    ),
    "log_as_kd": Fault(
        "error",
        0.97,
        "If these are log10(Kd), taking the logarithm once more gives wrong pKd: convert with "
        "9 - value (from nM) or -value (from M) and name the column pkd.",
    ),
    "missing": Fault(
        "warning",
        0.99,
        "Fill them in or leave the rows out; a non-binder is a bound, not an empty cell.",
    ),
    "name_two_antigens": Fault(
        "warning",
        0.9,
        "Check that the right sequence stands beside the name; give different antigens different "
        "names.",
    ),
    "near_duplicates": Fault(
        "info",
        0.99,
        "A random split would put near copies on both sides: split by antibody, position or "
        "antigen.",
    ),
    "non_antibody": Fault(
        "error",
        0.97,
        "Leave these rows out of anything about antibodies: receptors, enzymes and fragments "
        "follow other rules.",
    ),
    "one_antigen": Fault("info", 0.99, "Nothing here says how a model does on another antigen."),
    "outlying_cluster": Fault(
        "warning",
        0.7,
        "Rows of another unit or source, most likely. Convert them, or give them their own assay. "
        "Correlations over both groups measure only that they differ.",
    ),
    "point_mass": Fault(
        "warning",
        0.6,
        "Look where these rows come from: one assay's limit, a default, 'no change', or values "
        "copied from the parent. Make them bounds or leave them out.",
    ),
    "repeated_chain": Fault(
        "warning",
        0.97,
        "Leave the light chain empty if these are single domains; otherwise find the real one.",
    ),
    "replicates": Fault(
        "info",
        0.95,
        "Keep replicates on one side of a split; this SD is the floor of any model's error.",
    ),
    "shared_rows": Fault("info", 0.99, "Do not train on one and test on the other."),
    "sign": Fault(
        "error", 0.97, "Decide which direction is stronger binding and turn the other one."
    ),
    "swapped_chains": Fault(
        "warning",
        0.97,
        "Swap them back. Prediction corrects this with a note; your own statistics would not.",
    ),
    "unit_column": Fault(
        "error",
        0.95,
        "Name the column for what it holds (kd_M, kd_nM, dg_kcal_mol, ...) or convert it.",
    ),
    "unit_columns": Fault("error", 0.97, "Find out which column is right before either is used."),
    "unit_rows": Fault("error", 0.9, "Check the unit of these rows."),
    "unit_shift": Fault("error", 0.97, "Convert one of them before the two are pooled."),
    "unreadable_sequence": Fault(
        "error", 0.99, "Correct them; predict and train would refuse these rows."
    ),
    "unreadable_value": Fault(
        "warning", 0.97, "Write a number, a bound such as <5, or leave the cell empty."
    ),
    "unusual_range": Fault(
        "warning",
        0.75,
        "Use the order only, or find the source: if it holds log10(Kd/nM), pKd is 9 minus that; "
        "audit both tables together to make sure.",
    ),
}


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
            words = Text(finding.message)
            words.append(f"\n{where}", style="dim")
            if finding.examples:
                words.append("\nfor example " + "; ".join(finding.examples), style="dim")
            words.append("\n" + finding.advice + "\n", style="italic")
            label = Text(finding.severity, style=styles[finding.severity])
            label.append(f"\n{finding.code}\n{finding.confidence:.0%} sure", style="dim")
            grid.add_row(label, words)
        console.print(grid)
        console.print(self.summary, style="bold", highlight=False, soft_wrap=True)
