"""What a job does, in a process of its own: the same functions that the command line calls.

``python -m paratope.web.work FOLDER`` reads ``job.json`` in the folder of a job, tells its progress
as lines of JSON on stdout, and leaves files with ``result.json``, which names them. It ends when
its standard input does: with the server, however that ends.
"""

import html
import io
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from paratope.core.errors import InputError, ParatopeError
from paratope.core.files import plain, write_json

RESULT = "result.json"
_BLOCK_ROWS = 2_000
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_FORMULA = r"^[=+\-@\t\r]."

Tell = Callable[[str, int, int], None]
Result = dict[str, Any]


def predict_table(job: dict[str, Any], tell: Tell) -> Result:
    """`paratope predict TABLE`: in blocks, each kept, so that a new start goes on."""
    from paratope.data.tables import TableWriter, as_frame, iter_tables, read_table
    from paratope.models.prediction import prediction_frame
    from paratope.models.predictor import Predictor

    tell("opening the model", 0, 1)
    predictor = Predictor.load(job["source"])
    reading: dict[str, Any] = {"columns": job.get("columns") or None}
    if predictor.default_antigen is not None:
        reading["default_antigen"] = predictor.default_antigen
    if job.get("antigen"):
        reading["antigens"] = [_antigen(job["antigen"])]
    source, parent, tables = job["inputs"][0], None, None
    if job.get("parent"):
        whole = read_table(source, parent=job["parent"], **reading)
        parent, tables = predictor.parent(whole, job["parent"]), [whole]
    parts = Path("parts")
    parts.mkdir(exist_ok=True)
    rows, notes, counts = 0, {}, dict.fromkeys(("in", "near", "out", "error"), 0)
    total = _rows_of(source)
    names = predictor.output_columns(parent is not None)
    written = []
    for number, table in enumerate(tables or iter_tables(source, _BLOCK_ROWS, **reading)):
        tell("predicting", rows, max(total, rows + len(table.rows)))
        notes |= dict.fromkeys(table.notes)
        part = parts / f"{number:06}.parquet"
        if not part.exists():
            answers = predictor.predict_rows(
                table.rows,
                parent=parent,
                coverage=job.get("coverage", 0.9),
                strong_threshold_pkd=job.get("strong_threshold_pkd", 9.0),
            )
            frame = prediction_frame(table, answers, names)
            partial = part.with_suffix(".tmp")
            as_frame(frame).write_parquet(partial)
            partial.rename(part)
        written.append(part)
        rows += len(table.rows)
        domains = pl.read_parquet(part, columns=["domain", "error"])
        counts["error"] += domains["error"].drop_nulls().len()
        for domain in ("in", "near", "out"):
            counts[domain] += int((domains["domain"] == domain).sum() or 0)
    tell("writing", rows, rows)
    keep = set(pl.read_parquet_schema(written[0])) - set(names)
    for target in ("predictions.csv", "predictions.parquet"):
        with TableWriter(target, keep) as writer:
            for part in written:
                writer.write(pl.read_parquet(part))
    files = _files(("predictions.csv", "predictions.parquet"))
    return {
        "files": files,
        "rows": rows,
        "counts": counts,
        "notes": list(notes),
        "label": predictor.label,
    }


def scan(job: dict[str, Any], tell: Tell) -> Result:
    """`paratope scan`."""
    from paratope.campaigns.scanning import scan as run
    from paratope.campaigns.scanning import write_scan
    from paratope.data.tables import table_from_frame
    from paratope.models.predictor import Predictor
    from paratope.molecules.mutations import parse_mutation, parse_regions
    from paratope.web.heat_map import figure_of

    predictor = Predictor.load(job["source"])
    given = {"id": "the antibody", "heavy": job["heavy"], "light": job.get("light") or ""}
    antigens = [_antigen(job["antigen"])] if job.get("antigen") else None
    table = table_from_frame(
        pl.DataFrame([given]),
        source="request",
        antigens=antigens,
        default_antigen=predictor.default_antigen,
    )
    (row,) = table.rows
    if row.pair is None:
        raise InputError(row.error or "no pair")
    combine = [part for part in re.split("[,+;]", job.get("combine") or "") if part.strip()]
    scanned = run(
        predictor,
        row.pair.antibody,
        (row.pair.antigen,),
        alanine=bool(job.get("alanine")),
        thorough=bool(job.get("thorough")),
        combine=[parse_mutation(part, row.pair.antibody) for part in combine],
        max_mutations=job.get("max_mutations", 3),
        regions=parse_regions(job["regions"]) if job.get("regions") else None,
        coverage=job.get("coverage", 0.9),
        progress=tell,
    )
    written = write_scan(scanned, ".")
    scanned.variants.write_parquet("scan.parquet")
    parent = scanned.references[0]
    chains: dict[str, str] = dict(zip(("heavy", "light"), scanned.parent.chains, strict=False))
    maps = []
    if scanned.kind == "single":
        for chain in scanned.variants["chain"].unique().drop_nulls().sort():
            maps.append(f"heat_map_{chain}.json")
            figure = figure_of(scanned.variants, chains, scanned.unit, chain)
            write_json(maps[-1], figure, indent=None)
    return {
        "files": _files((*(str(path) for path in written), "scan.parquet", *maps)),
        "unit": scanned.unit,
        "kind": scanned.kind,
        "notes": [*row.notes, *scanned.notes],
        "rows": scanned.variants.height,
        "parent": {
            "value": parent.value,
            "low": parent.low,
            "high": parent.high,
            "domain": parent.domain,
        },
        "chains": chains,
        "antigen": "|".join(row.pair.antigen.chains),
        "failed": int(scanned.variants["error"].drop_nulls().len()),
    }


def adapt(job: dict[str, Any], tell: Tell) -> Result:
    """`paratope adapt`."""
    from paratope.campaigns.adaptation import adapt as learn
    from paratope.campaigns.adaptation import baselines_table, model_table, sentences

    inputs = job["inputs"]
    adapted = learn(
        inputs if len(inputs) > 1 else inputs[0],
        "model",
        report=job.get("report", True),
        columns=job.get("columns") or None,
        antigens=[_antigen(job["antigen"])] if job.get("antigen") else None,
        assay=job.get("assay") or None,
        prior=job.get("prior_source") or "none",
        seed=job.get("seed", 0),
        overwrite=True,
        progress=tell,
    )
    report = adapted.report
    figures = [
        f"model/report/{name}"
        for name in ("learning_curve.png", "positions.png", "held_out.png", "held_out.csv")
    ]
    there = [name for name in figures if Path(name).exists()]
    told: Result = {
        "files": _files(("model/card.md", *there)),
        "notes": list(adapted.campaign.notes),
        "rows": len(adapted.campaign),
        "variants": len({pair.antibody.chains for pair in adapted.campaign.pairs}),
        "label": adapted.campaign.label,
        "left_out": len(adapted.campaign.left_out),
        "tables": [],
        "sentences": [],
        "warnings": [],
    }
    if report is not None:
        told["tables"] = [model_table(report), baselines_table(report)]
        told |= {"sentences": sentences(report), "warnings": list(report.warnings)}
    return told


def suggest(job: dict[str, Any], tell: Tell) -> Result:
    """`paratope suggest`."""
    from paratope.campaigns.suggestion import suggest as choose
    from paratope.campaigns.suggestion import suggestion_frame, write_next_round
    from paratope.models.predictor import Predictor

    tell("opening the model", 0, 1)
    predictor = Predictor.load(job["source"])
    chosen_options = ("regions", "max_mutations", "parent", "explore", "seed", "min_distance")
    options = {name: job[name] for name in chosen_options if job.get(name) is not None}
    chosen = choose(
        predictor,
        job.get("batch", 96),
        candidates=job["inputs"][0] if job["inputs"] else job.get("candidates", "all"),
        progress=tell,
        **options,
    )
    written = write_next_round(chosen, "next.csv")
    suggestion_frame(chosen).write_parquet("next.parquet")
    name, value = chosen.best
    return {
        "files": _files((*(str(path) for path in written), "next.parquet")),
        "rows": len(chosen.suggestions),
        "candidates": chosen.candidates,
        "label": chosen.label,
        "best": {"name": name, "value": value},
        "beating": sum(one.p_beats_best for one in chosen.suggestions),
        "notes": [
            chosen.measured.parent_sentence,
            *chosen.notes,
            f"Filters: {chosen.filters}",
            str(chosen.left_out).capitalize(),
        ],
    }


def screen(job: dict[str, Any], tell: Tell) -> Result:
    """`paratope screen`, which goes on where it was."""
    from paratope.screening import screen as run

    screened = run(
        job["inputs"],
        "hits",
        model=job["source"],
        antigens=antigens_of(job.get("antigen") or "") or None,
        top=job.get("top", 1000),
        recall=job.get("recall", 0.95),
        columns=job.get("columns") or None,
        coverage=job.get("coverage", 0.9),
        progress=tell,
    )
    written = [f"hits/{name}" for name in ("hits.csv", "report.html", "rejected.csv")]
    summary = {name: screened.summary[name] for name in ("rows", "rejected", "hits", "recall")}
    return {
        "files": _files(written),
        **summary,
        "notes": list(screened.notes),
    }


def evaluate(job: dict[str, Any], tell: Tell) -> Result:
    """`paratope evaluate` of one table; `paratope compare` of several."""
    from paratope.evaluation import compare, write_report
    from paratope.evaluation import evaluate as judge

    tell("judging", 0, 1)
    columns: dict[str, Any] = {name: job.get(name) or None for name in ("true", "group")}
    pred = job.get("pred") or None
    if len(job["inputs"]) > 1:
        from paratope.evaluation.breakdowns import Estimate
        from paratope.evaluation.comparison import COMPARED
        from paratope.evaluation.page import interval_text, number

        compared = compare(
            job["inputs"], preds=[pred] if pred else (), seed=job.get("seed", 0), **columns
        )
        write_json("comparison.json", compared.to_dict())
        names = dict(zip(compared.names, job["names"], strict=True))
        header = ["predictor", *COMPARED]
        rows = [
            [
                names[name],
                *(
                    f"{number(one[key].value)} ({interval_text(one[key]) or 'no interval'})"
                    for key in COMPARED
                ),
            ]
            for name, one in zip(compared.names, compared.metrics, strict=True)
        ]
        gaps = [
            [
                names[gap.name],
                gap.metric,
                number(gap.value),
                interval_text(Estimate(gap.value, gap.interval)),
                number(gap.p_value),
            ]
            for gap in compared.differences
        ]
        gap_header = ["predictor", "metric", "difference", "95 % interval", "p"]
        about = f"{compared.rows:,} rows that all tables have; {compared.groups:,} groups"
        notes = [f"{about} ({compared.grouping})"]
        return {
            "files": _files(("comparison.json",)),
            "rows": compared.rows,
            "notes": notes,
            "tables": [(header, rows), (gap_header, gaps)],
            "names": job["names"],
        }
    report = judge(job["inputs"][0], pred=pred, seed=job.get("seed", 0), **columns)
    page = write_report(report, ".")
    named = _named(page.read_text("utf-8"), {**job, "names": map(html.escape, job["names"])})
    page.write_text(named, "utf-8")
    return {
        "files": _files(("report.html", "metrics.json", "judged_rows.csv")),
        "rows": len(report.table),
        "findings": [{"severity": one.severity, "message": one.message} for one in report.findings],
        "notes": [],
        "tables": [],
    }


KINDS: dict[str, Callable[[dict[str, Any], Tell], Result]] = {
    "predict": predict_table,
    "scan": scan,
    "adapt": adapt,
    "suggest": suggest,
    "screen": screen,
    "evaluate": evaluate,
}


def _antigen(text: str) -> Any:
    from paratope.molecules.sequences import antigen_doubt, clean_antigen

    if doubt := antigen_doubt(text):
        raise InputError(f"antigen: {doubt}; expected its residues")
    return clean_antigen(text, "antigen")[0]


def antigens_of(text: str) -> list[Any]:
    """Antigens of pasted text: the records of a FASTA, or one; none of an empty text."""
    from paratope.data.tables import read_antigens

    if ">" not in text:
        return [_antigen(text)] if text.strip() else []
    try:
        return list(read_antigens(io.BytesIO(text.encode())))
    except InputError as error:
        raise InputError(f"antigen: {error}") from error


def _rows_of(source: str) -> int:
    """About how many rows a file has, for a bar; 0 where that takes reading it."""
    if not source.endswith((".csv", ".tsv", ".txt")):
        return 0
    with Path(source).open("rb") as file:
        return max(
            0, sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) - 1
        )


def _files(names: Sequence[str]) -> list[dict[str, Any]]:
    """Result files for the list, those of CSV without formulas."""
    found = []
    for name in names:
        if name.endswith(".csv"):
            without_formulas(Path(name))
        found.append({"name": name, "bytes": Path(name).stat().st_size})
    return found


def without_formulas(path: Path) -> None:
    r"""Put ' before what a spreadsheet would compute in a CSV file; numbers stay numbers.

    As OWASP advises against CSV injection.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "t.csv"
    >>> _ = target.write_text("id,pkd\n=1+1,-0.5\n")
    >>> without_formulas(target)
    >>> target.read_text()
    "id,pkd\n'=1+1,-0.5\n"
    """
    frame = pl.read_csv(path, infer_schema_length=0, truncate_ragged_lines=False)
    is_formula = pl.all().str.contains(_FORMULA) & ~pl.all().str.contains(_NUMBER)
    names = {name: f"'{name}" for name in frame.columns if re.match(_FORMULA, name)}
    if not names and not frame.select(is_formula.any()).sum_horizontal().sum():
        return
    escaped = frame.select(
        pl.when(pl.col(name).str.contains(_FORMULA) & ~pl.col(name).str.contains(_NUMBER))
        .then("'" + pl.col(name))
        .otherwise(pl.col(name))
        .alias(names.get(name, name))
        for name in frame.columns
    )
    partial = path.with_suffix(".tmp")
    escaped.write_csv(partial)
    partial.rename(path)


def main(folder: str) -> int:
    """Run the job of a folder; its exit code."""
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    os.nice(5)  # who waits at a page goes first
    os.chdir(folder)
    told = sys.stdout
    sys.stdout = sys.stderr  # a library's prints are no progress
    last = [0.0]

    def say(**values: Any) -> None:
        told.write(json.dumps(values) + "\n")
        told.flush()

    def tell(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done in (0, total) or now - last[0] > 0.2:
            last[0] = now
            say(stage=stage, done=int(done), total=int(total))

    job = json.loads(Path("job.json").read_text("utf-8"))
    signal.alarm(int(job["seconds"]))
    try:
        result = KINDS[job["kind"]](job, tell)
    except ParatopeError as error:
        say(error=_named(str(error), job))
        return 2
    except MemoryError:
        say(error="not enough memory for this job; give a smaller table")
        return 2
    except Exception as error:  # a bug: its kind and place, not what it may quote
        (*_, last_frame) = traceback.extract_tb(error.__traceback__)
        place = f"{Path(last_frame.filename).name}:{last_frame.lineno}"
        say(error=f"something went wrong on our side: {type(error).__name__} at {place}")
        return 1
    result["notes"] = [_named(note, job) for note in result.get("notes", ())]
    write_json(RESULT, plain(result))
    return 0


def _named(text: str, job: dict[str, Any]) -> str:
    """A message with tables as their owner calls them."""
    for ours, theirs in zip(job["inputs"], job.get("names", ()), strict=False):
        text = text.replace(ours, theirs)
    return text


def _end_with_the_server() -> None:
    while os.read(0, 1):  # not by sys.stdin, whose lock would be held as the interpreter ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
