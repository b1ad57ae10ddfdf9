"""A table of predictions as a terminal shows it: one line a row, what repeats said once below."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paratope.core.printing import printable
from paratope.core.units import kd_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from paratope.models.prediction import Prediction

_GAP = 2  # Between columns
_SHORTEST_ID = 12
_SPARED = ("P(strong)", "P(stronger)", "Kd")  # Left out of a narrow terminal, in this order


def prediction_table(rows: "Sequence[Prediction]", width: int) -> "list[RenderableType]":
    """A table of `width` columns, and a legend of the notes and errors that its rows number.

    Ids that are too long lose their middle; against a parent, the difference takes the place of
    the interval.
    """
    from rich.table import Table
    from rich.text import Text

    numbers: dict[tuple[str, str], int] = {}  # (style, sentence) -> number in the legend
    lines = [_cells(row, numbers) for row in rows]
    names = list(max(lines, key=len, default={}))  # a row in error has few
    others = {name: max(len(name), *(len(line.get(name, "")) for line in lines)) for name in names}
    for spared in (*_SPARED, ""):
        room = max(width - sum(others[name] + _GAP for name in names), _SHORTEST_ID)
        if room > _SHORTEST_ID or not spared:
            break
        names = [kept for kept in names if kept != spared]
    table = Table("id", *names, box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for row, line in zip(rows, lines, strict=True):
        style = "red" if row.error else ""
        table.add_row(
            Text(shortened(printable(row.id, keep=""), room), "bold"),
            *(Text(line.get(name, ""), style) for name in names),
        )
    legend = [
        Text.assemble(f"{number}  ", (printable(text), style))
        for (style, text), number in numbers.items()
    ]
    return [table, *legend]


def _cells(row: "Prediction", numbers: dict[tuple[str, str], int]) -> dict[str, str]:
    """A row's cells by column; sentences that are new get the next number."""
    sentences = [("red", row.error)] if row.error else [("", part) for part in row.note.split("; ")]
    marks = [str(numbers.setdefault(one, len(numbers) + 1)) for one in sentences if one[1]]
    end = {"domain": row.domain, "note": ",".join(marks)}
    if row.error:
        return end
    label, title, form = ("pkd", "pKd", ".2f") if row.score is None else ("score", "score", ".3g")
    value, low, high, delta, delta_low, delta_high = (
        getattr(row, f"{prefix}{label}{end}")
        for prefix in ("", "delta_")
        for end in ("", "_low", "_high")
    )
    interval = f"{row.coverage:.0%} interval" if row.coverage else "interval"
    cells = {title: f"{value:{form}}"}
    if delta is None:
        cells[interval] = f"{low:{form}} to {high:{form}}"
    if row.kd_nM is not None:
        cells["Kd"] = kd_text(row.kd_nM)
    if delta is not None:
        cells[f"Δ{title}"] = f"{delta:+{form}}"
        cells[interval] = f"{delta_low:+{form}} to {delta_high:+{form}}"
        cells["P(stronger)"] = f"{row.p_stronger:.2f}"
    elif row.p_strong is not None:
        cells["P(strong)"] = f"{row.p_strong:.2f}"
    return cells | end


def shortened(text: str, width: int) -> str:
    """A text of at most `width` characters: ids differ at their ends, so the middle goes.

    >>> shortened("trastuzumab-HER2-variant-0017", 20)
    'trastuzumab…ant-0017'
    """
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 5 + 1
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"
