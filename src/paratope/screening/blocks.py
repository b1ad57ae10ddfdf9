"""What is done with one block of a library, in whichever process: its part of the answer."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from paratope.campaigns.campaign_model.fast_scoring import Chains
from paratope.core.progress import peak_memory_mb
from paratope.screening.library import LibraryBlock
from paratope.screening.run_folder import PART_SCHEMA
from paratope.screening.scoring import FullScores, ScreenModel

Work = Literal["scored", "rescored"]  # A method of `BlockScorer`


class Task(NamedTuple):
    """A block to score."""

    number: int
    rows: int
    block: Any  # What the method of `BlockScorer` takes


class Answer(NamedTuple):
    """A scored block."""

    number: int
    rows: int
    part: pl.DataFrame
    seconds: float  # That its worker took
    peak_mb: float  # The most memory so far of its worker


class BlockScorer:
    """Scores blocks by a model; the same block gives the same part wherever that is done.

    `names` are those of the model's antigens; with `fast` a block is scored by the fast form.
    """

    def __init__(self, model: ScreenModel, names: Sequence[str], fast: bool) -> None:
        self.model, self.names, self.fast = model, tuple(names), fast

    def scored(self, block: LibraryBlock) -> pl.DataFrame:
        """A block's part: a row for each antibody and antigen, and the rejected rows."""
        own = self.model.light
        raw = [(heavy, light or own) for heavy, light in zip(block.heavy, block.light, strict=True)]
        variable: dict[int, Chains] = {row: raw[row] for row in self.model.readable(raw).tolist()}
        # only what the model cannot compare is numbered
        rest = np.array([row for row in range(len(block)) if row not in variable], int)
        errors: dict[int, str] = {}
        for index, row in zip(rest.tolist(), block.read(rest) if len(rest) else (), strict=True):
            if row.pair is None:
                errors[index] = row.error or "no antibody in this row"
            else:
                antibody = row.pair.antibody
                variable[index] = (antibody.heavy, antibody.light or own)
        rows, parts = sorted(variable), []
        chains = [variable[row] for row in rows]
        shared = {
            "row": block.first_row + np.array(rows, int),
            "id": [block.ids[row] for row in rows],
            "heavy": [heavy for heavy, _ in chains],
            "light": [light for _, light in chains],
        }
        scored: list[dict[str, Any]] = []
        if chains and self.fast:
            value, domain = self.model.fast(chains)
            scored = [{"fast": f, "domain": d} for f, d in zip(value.T, domain.T, strict=True)]
        elif chains:
            full = self.model.full(chains)
            scored = [_full_columns(full, column) for column in range(len(self.names))]
        stage = ["fast" if self.fast else "full"] * len(chains)
        for name, columns in zip(self.names, scored, strict=False):
            antigen = [name] * len(chains)
            parts.append(part_frame({**shared, "antigen": antigen, "stage": stage, **columns}))
        if errors:
            values = {
                "row": [block.first_row + row for row in errors],
                "id": [block.ids[row] for row in errors],
                "heavy": [block.heavy[row] for row in errors],
                "light": [block.light[row] for row in errors],
                "stage": ["rejected"] * len(errors),
                "error": [f"{block.file}: {error}" for error in errors.values()],
            }
            parts.append(part_frame(values))
        frame = pl.concat(parts) if parts else part_frame({})
        failed = pl.col("error").is_not_null() & pl.col("full").is_null()
        frame = frame.with_columns(
            stage=pl.when(failed).then(pl.lit("rejected")).otherwise(pl.col("stage"))
        )
        return frame.sort("row", maintain_order=True)

    def rescored(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Full scores of rows of parts, of which chains, antigens and fast scores are read."""
        first = rows.filter(pl.col("antigen") == self.names[0])
        answer = self.model.full(list(first.select("heavy", "light").iter_rows()))
        frames = []
        for column, name in enumerate(self.names):
            fast = rows.filter(pl.col("antigen") == name)
            known = {key: fast[key] for key in ("row", "antigen", "fast")}
            frames.append(part_frame(known | _full_columns(answer, column)))
        return pl.concat(frames)


def answered(scorer: BlockScorer, work: Work, task: Task) -> Answer:
    """A task carried out."""
    began = time.perf_counter()
    part = getattr(scorer, work)(task.block)
    seconds = time.perf_counter() - began
    return Answer(task.number, task.rows, part, seconds, peak_memory_mb())


def part_frame(values: Mapping[str, Any]) -> pl.DataFrame:
    """A part with these columns, the others null."""
    count = len(next(iter(values.values()), ()))
    return pl.DataFrame(
        {
            name: pl.Series(name, values.get(name, [None] * count), dtype=dtype, strict=False)
            for name, dtype in PART_SCHEMA.items()
        }
    )


def _full_columns(answer: FullScores, column: int) -> dict[str, Any]:
    """Full scores against one antigen, by columns of a part; what is not known is null."""
    numbers = {"full": answer.value, "low": answer.low, "high": answer.high}
    numbers["p_strong"] = answer.p_strong
    texts = {"domain": answer.domain, "note": answer.note, "error": answer.error}
    columns: dict[str, Any] = {
        name: pl.Series(array[:, column].astype(float)).fill_nan(None)
        for name, array in numbers.items()
    }
    return columns | {
        name: [text or None for text in array[:, column].tolist()] for name, array in texts.items()
    }
