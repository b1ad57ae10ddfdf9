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


class _Readable(NamedTuple):
    """Antibodies of a block as a model reads them, and why others are not."""

    row: np.ndarray  # (n,) index in the block
    chains: list[Chains]  # (n,)
    errors: dict[int, str]


class BlockScorer:
    """Scores blocks by a model; the same block gives the same part wherever that is done.

    `names` are those of the model's antigens; with `fast` a block is scored by the fast form.
    """

    def __init__(self, model: ScreenModel, names: Sequence[str], fast: bool) -> None:
        self.model, self.names, self.fast = model, tuple(names), fast

    def scored(self, block: LibraryBlock) -> pl.DataFrame:
        """A block's part: a row for each antibody and antigen, and the rejected rows."""
        read, parts = self._readable(block), []
        shared = {
            "row": block.first_row + read.row,
            "id": [block.ids[row] for row in read.row.tolist()],
            "heavy": [heavy for heavy, _ in read.chains],
            "light": [light for _, light in read.chains],
        }
        scored: list[dict[str, Any]] = []
        if read.chains and self.fast:
            value, domain = self.model.fast(read.chains)
            scored = [{"fast": f, "domain": d} for f, d in zip(value.T, domain.T, strict=True)]
        elif read.chains:
            full = self.model.full(read.chains)
            scored = [_full_columns(full, column) for column in range(len(self.names))]
        stage = ["fast" if self.fast else "full"] * len(read.chains)
        for name, columns in zip(self.names, scored, strict=False):
            antigen = [name] * len(read.chains)
            parts.append(part_frame({**shared, "antigen": antigen, "stage": stage, **columns}))
        if read.errors:
            rows = list(read.errors)
            values = {
                "row": [block.first_row + row for row in rows],
                "id": [block.ids[row] for row in rows],
                "heavy": [block.heavy[row] for row in rows],
                "light": [block.light[row] for row in rows],
                "stage": ["rejected"] * len(rows),
                "error": [f"{block.file}: {error}" for error in read.errors.values()],
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

    def _readable(self, block: LibraryBlock) -> _Readable:
        """Antibodies as variable domains; only what the model cannot compare is numbered."""
        own = self.model.light
        raw = [(heavy, light or own) for heavy, light in zip(block.heavy, block.light, strict=True)]
        chains: dict[int, Chains] = {row: raw[row] for row in self.model.readable(raw).tolist()}
        rest = np.array([row for row in range(len(block)) if row not in chains], int)
        errors: dict[int, str] = {}
        for index, row in zip(rest.tolist(), block.read(rest) if len(rest) else (), strict=True):
            if row.pair is None:
                errors[index] = row.error or "no antibody in this row"
            else:
                antibody = row.pair.antibody
                chains[index] = (antibody.heavy, antibody.light or own)
        rows = sorted(chains)
        return _Readable(np.array(rows, int), [chains[row] for row in rows], errors)


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
