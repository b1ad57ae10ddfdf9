"""`screen`: a library of any size in, the best of it out; killed at any moment, it goes on."""

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from paratope import __version__
from paratope.campaigns.campaign_model.fast_scoring import Chains
from paratope.campaigns.scanning.columns import antigen_names
from paratope.campaigns.scanning.mutational_scan import model_checksum
from paratope.core.errors import InputError
from paratope.core.files import sole_writer
from paratope.core.progress import Progress, silent
from paratope.data.tables import write_table
from paratope.models.calibration import check_options
from paratope.models.model import DEFAULT_COVERAGE
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antigen
from paratope.screening import funnel
from paratope.screening.library import LibraryBlock, LibraryFile, library_files, read_library
from paratope.screening.report import histogram_frame, hits_frame, write_page
from paratope.screening.run_folder import (
    FULL_COLUMNS,
    PART_SCHEMA,
    ScreenFolder,
    read_part,
    write_part,
)
from paratope.screening.scoring import FullScores, ScreenModel, screen_model

# Raised when what a screen holds, or how it is worked out, changes.
FORMAT_VERSION = 1
# Antibodies of one durable block: scored fast, and in full.
FAST_ROWS, FULL_ROWS, RESCORED_ROWS = 20_000, 1000, 256
SAMPLE_ROWS = 300
_POOL, _LEAST_POOL = 30, 20_000
_BINS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class ScreenOptions:
    """How to screen."""

    top: int = 1000  # Hits against each antigen
    recall: float = 0.95  # Share of the full model's top that is to be among them
    exhaustive: bool = False  # Score every antibody in full
    columns: Mapping[str, str] | None = None  # Canonical name to the library's column
    coverage: float = DEFAULT_COVERAGE  # Of the intervals
    seed: int = 0  # Of the random sample
    device: str = "auto"  # ``auto``, ``cpu`` or ``cuda``
    cache: str | os.PathLike[str] | None = None  # Folder of the embedding stores

    def __post_init__(self) -> None:
        check_options(self.coverage)
        if self.top < 1:
            raise InputError(f"top must be at least 1, got {self.top}")
        if not 0 < self.recall <= 0.999:
            raise InputError(f"recall must be above 0 and at most 0.999, got {self.recall:g}")


@dataclasses.dataclass(frozen=True)
class Screened:
    """What `screen` gives."""

    folder: Path
    # A row a hit: its rank against its antigen, prediction, domain, liabilities, chains
    hits: pl.DataFrame
    summary: Mapping[str, Any]  # As ``finished`` in ``manifest.json``
    notes: tuple[str, ...] = ()


def screen(
    library: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: Predictor | str | os.PathLike[str] = "default",
    antigens: Antigen | Sequence[Antigen] | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Screened:
    """Score a library of antibodies against antigens and keep the best.

    With a campaign's model all are scored by its fast form and the best share by the full one, so
    large that the share of the full form's own top that it holds is expected to be `recall`.

    Parameters
    ----------
    library : path, or sequence of paths
        FASTA, CSV, TSV or Parquet files, packed or not, or folders of them.
    output : path
        Folder of the screen. If it holds a part of this very screen, that is gone on with.
    model : Predictor, or a folder or bundled name of one
    antigens : Antigen, or sequence of Antigen
        By default the campaign's own.
    progress : callable
        Called with the stage, the antibodies done and (about) all of them.
    **options
        Of `ScreenOptions`: ``top``, ``recall``, ``exhaustive``, ``columns``, ``coverage``,
        ``seed``, ``device``, ``cache``.

    Raises
    ------
    InputError
        If the library cannot be read, no antigen is known, or the folder is another screen's.
    OutputError
        If the folder cannot be written; what is done by then is kept.
    """
    wanted = ScreenOptions(**options)
    predictor = model
    if not isinstance(predictor, Predictor):
        predictor = Predictor.load(predictor, wanted.device, wanted.cache)
    against = _antigens(predictor, antigens)
    sources = [library] if isinstance(library, str | os.PathLike) else list(library)
    with sole_writer(output):
        files = library_files(sources, progress)
        asked = screen_model(predictor, against, wanted.coverage)
        run = _Run(asked, files, wanted, progress)
        folder = ScreenFolder(Path(output), run.made_of(model_checksum(predictor)))
        if folder.finished is None:
            run.carry_out(folder)
        hits = pl.read_csv(folder.path / "hits.csv", infer_schema_length=None)
        return Screened(folder.path, hits, folder.finished or {}, tuple(run.notes))


def _antigens(
    predictor: Predictor, antigens: Antigen | Sequence[Antigen] | None
) -> tuple[Antigen, ...]:
    if isinstance(antigens, Antigen):
        return (antigens,)
    if antigens:
        return tuple(antigens)
    if predictor.default_antigen is None:
        raise InputError(
            "no antigen given: this model knows none, or several; name one or more (--antigen)"
        )
    return (predictor.default_antigen,)


class _Readable(NamedTuple):
    """Antibodies of a block as a model reads them, and why others are not."""

    row: np.ndarray  # (n,) index in the block
    chains: list[Chains]  # (n,)
    errors: dict[int, str]


class _Run:
    """One screen, from its blocks to its hits."""

    def __init__(
        self,
        model: ScreenModel,
        files: Sequence[LibraryFile],
        options: ScreenOptions,
        progress: Progress,
    ) -> None:
        self.model, self.files, self.options, self.progress = model, files, options, progress
        self.names = antigen_names(model.antigens)
        self.fast = model.has_fast and not options.exhaustive
        rows = FAST_ROWS if self.fast else FULL_ROWS
        self.block_rows = max(1, rows // len(self.names))
        self.notes: list[str] = []

    def made_of(self, checksum: str | None) -> dict[str, Any]:
        """All that the answer depends on."""
        options = self.options
        return {
            "version": f"{__version__}, format {FORMAT_VERSION}",
            "library": [{"bytes": file.bytes, "sha256": file.sha256} for file in self.files],
            "model": checksum or "in memory",
            "antigens": [
                [name, *antigen.chains]
                for name, antigen in zip(self.names, self.model.antigens, strict=True)
            ],
            "columns": dict(options.columns or {}),
            "top": options.top,
            "recall": options.recall if self.fast else None,
            "exhaustive": not self.fast,
            "coverage": options.coverage,
            "seed": options.seed,
            "block": self.block_rows,
        }

    def carry_out(self, folder: ScreenFolder) -> None:
        """Score all, the best share in full, and write what was found."""
        started = time.perf_counter()
        for block in self._blocks():
            if not folder.part(block.number).exists():
                began = time.perf_counter()
                write_part(folder.part(block.number), self._scored(block))
                folder.log("fast" if self.fast else "full", len(block), time.perf_counter() - began)
        recalls = self._rescore(folder) if self.fast else {}
        self.progress("writing the hits", 0, 1)
        summary = self._written(folder, recalls)
        summary["seconds"] = round(time.perf_counter() - started, 2)
        folder.finish(summary)
        shutil.rmtree(folder.path / "full", ignore_errors=True)  # all of it is in the parts

    def _blocks(self) -> Iterator[LibraryBlock]:
        total, done = sum(file.rows for file in self.files), 0
        known = total if all(file.rows for file in self.files) else 1
        stage = "scoring" if self.fast else "scoring in full"
        self.progress(stage, 0, known)
        for block in read_library(
            self.files, self.block_rows, self.model.antigens, self.options.columns
        ):
            yield block
            done += len(block)
            self.progress(stage, min(done, known) if known > 1 else 0, known)

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

    def _scored(self, block: LibraryBlock) -> pl.DataFrame:
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
            parts.append(_part({**shared, "antigen": antigen, "stage": stage, **columns}))
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
            parts.append(_part(values))
        frame = pl.concat(parts) if parts else _part({})
        failed = pl.col("error").is_not_null() & pl.col("full").is_null()
        frame = frame.with_columns(
            stage=pl.when(failed).then(pl.lit("rejected")).otherwise(pl.col("stage"))
        )
        return frame.sort("row", maintain_order=True)

    def _rescore(self, folder: ScreenFolder) -> dict[str, funnel.Recall]:
        """Score the best share, and a random sample, in full: block by durable block."""
        options = self.options
        sample, pool = self._sample(folder), max(_POOL * options.top, _LEAST_POOL)
        if not len(sample):
            return {}
        rankings = {name: self._ranking(folder, name, pool) for name in self.names}
        scores = _Rescored(self, folder)
        scores.add(sample)
        recalls = {}
        for name, ranking in rankings.items():
            kept = funnel.first_kept(options.top, ranking.scored)
            while True:
                if kept > len(ranking.rows) < ranking.scored:
                    pool = 4 * kept
                    ranking = self._ranking(folder, name, pool)
                self.progress(
                    "scoring the best in full", min(scores.done, kept), max(kept, scores.done, 2)
                )
                scores.add(ranking.rows[:kept])
                known = scores.known(name)
                following = funnel.next_kept(ranking, known, kept, options.top, options.recall)
                if following == kept:
                    break
                kept = following
            recalls[name] = funnel.assess(ranking, known, kept, options.top, sample)
        self.progress("merging", 0, 1)
        scores.merge()
        return recalls

    def _sample(self, folder: ScreenFolder) -> np.ndarray:
        drawn = np.zeros(0, np.int64)
        for _, part in folder.parts("row", "stage"):
            rows = part.filter(pl.col("stage") != "rejected")["row"].unique().to_numpy()
            drawn = funnel.sampled(np.append(drawn, rows), SAMPLE_ROWS, self.options.seed)
        return np.sort(drawn)

    def _ranking(self, folder: ScreenFolder, name: str, pool: int) -> funnel.FastRanking:
        """Fast scores against an antigen, in two passes over the parts."""
        is_of = (pl.col("antigen") == name) & pl.col("fast").is_not_null()
        low, high = np.inf, -np.inf
        for _, part in folder.parts("antigen", "fast"):
            values = part.filter(is_of)["fast"].to_numpy()
            low, high = min(low, values.min(initial=low)), max(high, values.max(initial=high))
        ranking = funnel.FastRanking(pool, low, high)
        for _, part in folder.parts("row", "antigen", "fast"):
            mine = part.filter(is_of)
            ranking.add(mine["row"].to_numpy(), mine["fast"].to_numpy())
        return ranking

    def _written(
        self, folder: ScreenFolder, recalls: Mapping[str, funnel.Recall]
    ) -> dict[str, Any]:
        """Hits, rejected rows and the histogram of a screen whose parts are complete."""
        best = {name: _part({}) for name in self.names}
        rejected, counts = [_part({})], dict.fromkeys(("rows", "fast", "full", "rejected"), 0)
        for _, part in folder.parts():
            refused = part.filter(pl.col("stage") == "rejected")
            rejected.append(refused)
            counts["rows"] += part["row"].n_unique()
            counts["rejected"] += refused["row"].n_unique()
            for stage in ("fast", "full"):
                counts[stage] += int((part["stage"] == stage).sum())
            for name in self.names:
                mine = part.filter((pl.col("antigen") == name) & (pl.col("stage") == "full"))
                both = pl.concat([best[name], mine]).sort(["full", "row"], descending=[True, False])
                best[name] = both.head(self.options.top)
        scores = self.model.background()
        background = {} if scores is None else dict(zip(self.names, scores.T, strict=True))
        specificity = self._specificity(folder, best)
        hits = hits_frame(self.model, self.names, best, specificity, background)
        write_table(hits, folder.path / "hits.csv")
        refused = pl.concat(rejected).select(
            "row", "id", "antigen", "heavy", "light", reason=pl.col("error")
        )
        write_table(refused.with_columns(row=pl.col("row") + 1), folder.path / "rejected.csv")
        write_table(histogram_frame(folder, self.names, _BINS), folder.path / "histogram.csv")
        summary = {
            **counts,
            "hits": hits.height,
            "unit": self.model.label,
            "recall": {name: funnel.report(recall) for name, recall in recalls.items()},
        }
        write_page(folder, hits, summary, background)
        return summary

    def _specificity(
        self, folder: ScreenFolder, best: Mapping[str, pl.DataFrame]
    ) -> dict[tuple[int, str], float]:
        """Full scores of the hits against every antigen."""
        if len(self.names) < 2:
            return {}
        wanted = pl.concat(list(best.values()))["row"].unique().implode()
        known = {}
        for _, part in folder.parts("row", "antigen", "stage", "full"):
            mine = part.filter((pl.col("stage") == "full") & pl.col("row").is_in(wanted))
            for row, name, value in mine.select("row", "antigen", "full").iter_rows():
                known[row, name] = value
        return known


class _Rescored:
    """Antibodies scored in full, in blocks that are the same whenever the screen is repeated."""

    def __init__(self, run: _Run, folder: ScreenFolder) -> None:
        self._run, self._folder = run, folder
        self.done, self._blocks = 0, 0
        self._rows: set[int] = set()
        self._known: dict[str, list[funnel.Known]] = {name: [] for name in run.names}
        # of each part, the number of its first row
        self._first = np.array([part["row"].min() for _, part in folder.parts("row")], np.int64)

    def add(self, rows: np.ndarray) -> None:
        """Score those of the rows in full that are not yet."""
        new = np.array([row for row in rows.tolist() if row not in self._rows], np.int64)
        for start in range(0, len(new), RESCORED_ROWS):
            self._add(new[start : start + RESCORED_ROWS])

    def known(self, name: str) -> funnel.Known:
        """Both scores against an antigen."""
        arrays = zip(*self._known[name], strict=True)
        return funnel.Known(*(np.concatenate(each) for each in arrays))

    def merge(self) -> None:
        """Put the full scores into the parts."""
        if not self._blocks:
            return
        frames = [read_part(self._folder.rescored(n)) for n in range(self._blocks)]
        scored = pl.concat(frames).select("row", "antigen", *FULL_COLUMNS).sort("row")
        rows = scored["row"].to_numpy()
        for number, part in self._folder.parts():
            first, last = np.searchsorted(rows, [part["row"].min(), part["row"].max() + 1])  # pyright: ignore
            mine = scored[int(first) : int(last)]
            if not mine.height:
                continue
            merged = part.drop(FULL_COLUMNS).join(
                mine.with_columns(again=pl.lit(True)),
                on=["row", "antigen"],
                how="left",
                maintain_order="left",
            )
            again, kept = pl.col("again").fill_null(value=False), part.select("domain", "error")
            merged = merged.with_columns(
                stage=pl.when(again & pl.col("full").is_not_null())
                .then(pl.lit("full"))
                .otherwise(pl.col("stage")),
                domain=pl.when(again).then(pl.col("domain")).otherwise(kept["domain"]),
                error=pl.when(again).then(pl.col("error")).otherwise(kept["error"]),
            )
            write_part(self._folder.part(number), merged.select(*PART_SCHEMA))

    def _add(self, rows: np.ndarray) -> None:
        path, began = self._folder.rescored(self._blocks), time.perf_counter()
        if path.exists():
            frame = read_part(path)
            if sorted(set(frame["row"].to_list())) != sorted(rows.tolist()):
                raise InputError(
                    f"{path} holds other rows than this screen scores; remove the folder "
                    f"{path.parent} and repeat the command"
                )
        else:
            frame = self._scored(rows)
            write_part(path, frame)
            self._folder.log("rescored", len(rows), time.perf_counter() - began)
        for name, known in self._known.items():
            mine = frame.filter((pl.col("antigen") == name) & pl.col("full").is_not_null())
            known.append(funnel.Known(*(mine[key].to_numpy() for key in ("row", "fast", "full"))))
        self._rows.update(rows.tolist())
        self._blocks, self.done = self._blocks + 1, self.done + len(rows)

    def _scored(self, rows: np.ndarray) -> pl.DataFrame:
        """Full scores of rows; their chains and fast scores are read from the parts."""
        wanted, parts = pl.Series(rows).implode(), []
        for number in np.unique(np.searchsorted(self._first, rows, "right") - 1).tolist():
            part = read_part(self._folder.part(number))
            parts.append(part.filter(pl.col("row").is_in(wanted)))
        mine = pl.concat(parts)
        first = mine.filter(pl.col("antigen") == self._run.names[0])
        answer = self._run.model.full(list(first.select("heavy", "light").iter_rows()))
        frames = []
        for column, name in enumerate(self._run.names):
            fast = mine.filter(pl.col("antigen") == name)
            frames.append(
                _part(
                    {"row": fast["row"], "antigen": fast["antigen"], "fast": fast["fast"]}
                    | _full_columns(answer, column)
                )
            )
        return pl.concat(frames)


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


def _part(values: Mapping[str, Any]) -> pl.DataFrame:
    """A part with these columns, the others null."""
    count = len(next(iter(values.values()), ()))
    return pl.DataFrame(
        {
            name: pl.Series(name, values.get(name, [None] * count), dtype=dtype, strict=False)
            for name, dtype in PART_SCHEMA.items()
        }
    )
