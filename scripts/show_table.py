"""Show a table of predictions in the terminal: ``python scripts/show_table.py predictions.csv``."""

import dataclasses
import sys

import polars as pl

from paratope.cli.predict import show
from paratope.models.prediction import Prediction


def main(path: str) -> None:
    names = [field.name for field in dataclasses.fields(Prediction)]
    texts = {"id", "domain", "note", "error"}
    frame = pl.read_csv(path, infer_schema=False)
    rows = frame.select(
        pl.col(name).fill_null("") if name in texts else pl.col(name).cast(float)
        for name in names
        if name in frame.columns
    )
    show([Prediction(**{"coverage": 0.0, **row}) for row in rows.iter_rows(named=True)])


if __name__ == "__main__":
    main(sys.argv[1])
