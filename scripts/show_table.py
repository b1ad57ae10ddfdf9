"""Show a table of predictions in the terminal: ``python scripts/show_table.py predictions.csv``."""

import sys

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def main(path: str) -> None:
    frame = pl.read_csv(path, infer_schema=False).fill_null("")
    table = Table(title=path)
    for column, style in [
        ("id", "bold"),
        ("pKd", "cyan"),
        ("interval", ""),
        ("Kd / nM", ""),
        ("domain", ""),
        ("note", "dim"),
    ]:
        table.add_column(column, style=style, overflow="fold")
    for row in frame.iter_rows(named=True):
        interval = f"{row['pkd_low']} to {row['pkd_high']}" if row["pkd"] else ""
        remark = row["error"] or row["note"]
        cells = [row["id"], row["pkd"], interval, row["kd_nM"], row["domain"], remark]
        table.add_row(*(escape(cell) for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1])
