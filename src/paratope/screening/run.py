"""`screen`: a library of any size in, the best of it out; killed at any moment, it goes on."""

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from paratope import __version__
from paratope.campaigns.scanning.columns import antigen_names
from paratope.campaigns.scanning.mutational_scan import model_checksum
from paratope.core.errors import InputError
from paratope.core.progress import Progress, silent
from paratope.data.tables import write_table
from paratope.models.calibration import check_options
from paratope.models.model import DEFAULT_COVERAGE
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import Antigen
from paratope.screening import funnel
from paratope.screening.blocks import BlockScorer, Task, part_frame
from paratope.screening.engines import Engine, check_engine, open_engine
from paratope.screening.library import LibraryFile, library_files, read_library
from paratope.screening.remote_folder import at_hand
from paratope.screening.report import histogram_frame, hits_frame, write_page
from paratope.screening.run_folder import FULL_COLUMNS, PART_SCHEMA, ScreenFolder, read_part
from paratope.screening.scoring import ScreenModel, screen_model

# Raised when what a screen holds, or how it is worked out, changes.
FORMAT_VERSION = 2
# Of one durable block: rows scored fast, rows of a model that encodes scored in full, antibodies of
# the best share.
FAST_ROWS, FULL_ROWS, RESCORED_ROWS = 20_000, 1000, 64
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
    int8: bool = False  # Encode in int8 if the full scores allow
    device: str = "auto"  # ``auto``, ``cpu`` or ``cuda``
    cache: str | os.PathLike[str] | None = None  # Folder of the embedding stores
    engine: str = "local"  # Or ``ray``, ``ray=N`` or ``ray=ADDRESS``: see `open_engine`

    def __post_init__(self) -> None:
        check_options(self.coverage)
        if check_engine(self.engine)[0] != "local" and self.int8:
            raise InputError(f"int8 is for the local engine, not for {self.engine!r}")
        if self.top < 1:
            raise InputError(f"top must be at least 1, got {self.top}")
        if not 0 < self.recall <= 0.999:
            raise InputError(f"recall must be above 0 and at most 0.999, got {self.recall:g}")


@dataclasses.dataclass(frozen=True)
class Screened:
    """What `screen` gives."""

    folder: Path | str  # A URL if it was given as one
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
    library : path or URL, or sequence of them
        FASTA, CSV, TSV or Parquet files, packed or not, or folders of them. URLs are fsspec's.
    output : path or URL
        Folder of the screen. If it holds a part of this very screen, that is gone on with.
    model : Predictor, or a folder or bundled name of one
    antigens : Antigen, or sequence of Antigen
        By default the campaign's own.
    progress : callable
        Called with the stage, the antibodies done and (about) all of them.
    **options
        Of `ScreenOptions`: ``top``, ``recall``, ``exhaustive``, ``columns``, ``coverage``,
        ``seed``, ``int8``, ``device``, ``cache``, ``engine``.

    Raises
    ------
    InputError
        If the library cannot be read, no antigen is known, or the folder is another screen's.
    OutputError
        If the folder cannot be written; what is done by then is kept.
    EngineError
        If workers of another engine cannot be started, or end again and again.
    """
    wanted = ScreenOptions(**options)
    predictor = model
    if not isinstance(predictor, Predictor):
        predictor = Predictor.load(predictor, wanted.device, wanted.cache)
    if not antigens and predictor.default_antigen is None:
        raise InputError(
            "no antigen given: this model knows none, or several; name one or more (--antigen)"
        )
    antigens = antigens or predictor.default_antigen or ()
    against = (antigens,) if isinstance(antigens, Antigen) else tuple(antigens)
    sources = [library] if isinstance(library, str | os.PathLike) else list(library)
    with at_hand(sources, output, progress) as here:
        files = library_files(here.library, progress)
        asked = screen_model(predictor, against, wanted.coverage)
        run = _Run(asked, files, wanted, progress)
        made_of = run.made_of(model_checksum(predictor))
        folder = ScreenFolder(here.folder, made_of, here.remote)
        if folder.finished is None:
            with open_engine(
                wanted.engine, run.scorer, predictor, wanted.device, wanted.cache
            ) as engine:
                run.carry_out(folder, engine)
        hits = pl.read_csv(folder.path / "hits.csv", infer_schema_length=None)
        where = here.remote.url if here.remote else folder.path
        return Screened(where, hits, folder.finished or {}, tuple(run.notes))


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
        self.scorer = BlockScorer(model, self.names, self.fast)
        rows = FAST_ROWS if self.fast or not model.encodes else FULL_ROWS
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
            **({"int8": True} if options.int8 else {}),
        }

    def carry_out(self, folder: ScreenFolder, engine: Engine) -> None:
        """Score all, the best share in full, and write what was found."""
        started = time.perf_counter()
        if self.options.int8:
            self.notes.append(self.scorer.model.use_int8())
        self._score(folder, engine)
        recalls = self._rescore(folder, engine) if self.fast else {}
        self.progress("writing the hits", 0, 1)
        summary = self._written(folder, recalls)
        summary["seconds"] = round(time.perf_counter() - started, 2)
        folder.finish(summary)

    def _score(self, folder: ScreenFolder, engine: Engine) -> None:
        """Score the blocks of the library that have no part yet."""
        total, done = sum(file.rows for file in self.files), 0
        known = total if all(file.rows for file in self.files) else 1
        stage = "scoring" if self.fast else "scoring in full"

        def count(rows: int) -> None:
            nonlocal done
            done += rows
            self.progress(stage, min(done, known) if known > 1 else 0, known)

        def missing() -> Iterator[Task]:
            for block in read_library(
                self.files, self.block_rows, self.model.antigens, self.options.columns
            ):
                if folder.part(block.number).exists():
                    count(len(block))
                else:
                    yield Task(block.number, len(block), block)

        count(0)
        for answer in engine.answers("scored", missing()):
            folder.write(folder.part(answer.number), answer.part)
            folder.log("fast" if self.fast else "full", answer.rows, answer.seconds, answer.peak_mb)
            count(answer.rows)

    def _rescore(self, folder: ScreenFolder, engine: Engine) -> dict[str, funnel.Recall]:
        """Score the best share, and a random sample, in full: block by durable block."""
        options, sample = self.options, np.zeros(0, np.int64)
        for _, part in folder.parts("row", "stage"):
            rows = part.filter(pl.col("stage") != "rejected")["row"].unique().to_numpy()
            sample = funnel.sampled(np.append(sample, rows), SAMPLE_ROWS, options.seed)
        sample, pool = np.sort(sample), max(_POOL * options.top, _LEAST_POOL)
        if not len(sample):
            return {}
        rankings = {name: self._ranking(folder, name, pool) for name in self.names}
        first = {
            name: funnel.first_kept(options.top, each.scored) for name, each in rankings.items()
        }
        scores = _Rescored(self.names, folder, engine, self.progress)
        best = [rankings[name].rows[:kept] for name, kept in first.items()]
        scores.add(np.concatenate([sample, *best]))
        recalls = {}
        for name, ranking in rankings.items():
            kept = first[name]
            while True:
                if kept > len(ranking.rows) < ranking.scored:
                    pool = 4 * kept
                    ranking = self._ranking(folder, name, pool)
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
        best, rejected = part_frame({}), [part_frame({})]
        counts = dict.fromkeys(("rows", "fast", "full", "rejected"), 0)
        for _, part in folder.parts():
            refused = part.filter(pl.col("stage") == "rejected")
            rejected.append(refused)
            counts["rows"] += part["row"].n_unique()
            counts["rejected"] += refused["row"].n_unique()
            for stage in ("fast", "full"):
                counts[stage] += int((part["stage"] == stage).sum())
            best = pl.concat([best, part.filter(pl.col("stage") == "full")])
            best = best.sort(["full", "row"], descending=[True, False], maintain_order=True)
            best = best.group_by("antigen", maintain_order=True).head(self.options.top)
            best = best.select(*PART_SCHEMA)
        scores = self.model.background()
        background = {} if scores is None else dict(zip(self.names, scores.T, strict=True))
        specificity = {}  # full scores of the hits against every antigen
        if len(self.names) > 1:
            wanted = best["row"].unique().implode()
            for _, part in folder.parts("row", "antigen", "stage", "full"):
                mine = part.filter((pl.col("stage") == "full") & pl.col("row").is_in(wanted))
                for row, name, value in mine.select("row", "antigen", "full").iter_rows():
                    specificity[row, name] = value
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


class _Rescored:
    """Antibodies scored in full, in blocks that are the same whenever the screen is repeated."""

    def __init__(
        self, names: Sequence[str], folder: ScreenFolder, engine: Engine, progress: Progress
    ) -> None:
        self._folder, self._engine, self._progress = folder, engine, progress
        self._blocks = 0
        self._rows: set[int] = set()
        self._known: dict[str, list[funnel.Known]] = {name: [] for name in names}
        # of each part, the number of its first row
        self._first = np.array([part["row"].min() for _, part in folder.parts("row")], np.int64)

    def add(self, rows: np.ndarray) -> None:
        """Score those of the rows in full that are not yet."""
        every = dict.fromkeys(rows.tolist())
        new = np.array([row for row in every if row not in self._rows], np.int64)
        starts = range(0, len(new), RESCORED_ROWS)
        blocks = dict(enumerate((new[s : s + RESCORED_ROWS] for s in starts), self._blocks))
        missing = {n: rows for n, rows in blocks.items() if not self._folder.rescored(n).exists()}
        total = len(self._rows) + len(new)
        done = total - sum(map(len, missing.values()))
        tasks = (Task(n, len(rows), self._parts(rows)) for n, rows in missing.items())
        for answer in self._engine.answers("rescored", tasks):
            self._progress("scoring the best in full", done, max(total, 2))
            self._folder.write(self._folder.rescored(answer.number), answer.part)
            self._folder.log("rescored", answer.rows, answer.seconds, answer.peak_mb)
            done += answer.rows
        for number, block in blocks.items():
            path = self._folder.rescored(number)
            frame = read_part(path)
            if sorted(set(frame["row"].to_list())) != sorted(block.tolist()):
                raise InputError(
                    f"{path} holds other rows than this screen scores; remove the folder "
                    f"{path.parent} and repeat the command"
                )
            for name, known in self._known.items():
                mine = frame.filter((pl.col("antigen") == name) & pl.col("full").is_not_null())
                both = (mine[key].to_numpy() for key in ("row", "fast", "full"))
                known.append(funnel.Known(*both))
        self._rows.update(new.tolist())
        self._blocks += len(blocks)

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
            self._folder.write(self._folder.part(number), merged.select(*PART_SCHEMA))

    def _parts(self, rows: np.ndarray) -> pl.DataFrame:
        """Chains and fast scores of rows, from the parts."""
        wanted, parts = pl.Series(rows).implode(), []
        columns = ("row", "antigen", "heavy", "light", "fast")
        for number in np.unique(np.searchsorted(self._first, rows, "right") - 1).tolist():
            part = read_part(self._folder.part(number), columns)
            parts.append(part.filter(pl.col("row").is_in(wanted)))
        return pl.concat(parts)
