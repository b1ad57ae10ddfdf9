"""``paratope data``: public sources, audits, splits and simulated tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from paratope.cli.group import (
    MAX_SEED,
    Columns,
    Sheet,
    command_app,
    command_line,
    finish,
    in_sheet,
    print_table,
    say,
    table_console,
)
from paratope.core.errors import InputError

if TYPE_CHECKING:
    from paratope.data.splits import Split
    from paratope.data.tables import InputTable

app = command_app("Import, audit, split and simulate measurements.")

Seed = Annotated[int, Option(min=0, max=MAX_SEED, help="Same seed, same result.")]
Kind = Annotated[
    str,
    Option(
        help="random, antibody, antigen, both, position, mutations, date or column; or tiers: "
        "random, unseen position, unseen antibody and unseen antigen at once."
    ),
]
Identity = Annotated[
    float | None,
    Option(
        min=0.0,
        max=1.0,
        help="Identity from which antibodies (0.8) or, by antigen, antigens (0.3) stay together.",
    ),
]
AntigenIdentity = Annotated[
    float | None, Option(min=0.0, max=1.0, help="The same for antigens, with --by both.")
]
SHOWN_ERRORS = 5


@app.command("list", epilog="Example: paratope data list")
def list_datasets(
    folder: Annotated[
        Path | None, Option(help="Folder of public data; by default PARATOPE_DATA.")
    ] = None,
) -> None:
    """List every source: terms, whether it may train a shared model, whether it is here, rows."""
    from paratope.core.errors import ParatopeError
    from paratope.data.datasets import DATASETS, data_root, load_dataset
    from paratope.data.datasets.dataset import locate

    root = folder or data_root()
    rows = []
    for dataset in DATASETS.values():
        missing = [file for file in dataset.files if locate(root, file) is None]
        files, count = "here" if not missing else "in part", "–"
        if not dataset.files:
            files = "format"
        elif len(missing) == len(dataset.files) or any(file.required for file in missing):
            files = "missing"
        else:
            try:
                count = str(len(load_dataset(dataset.name, root).measurements))
            except ParatopeError:
                files = "damaged"
        answers = ("yes" if yes else "no" for yes in (dataset.permissive, dataset.may_train))
        rows.append((dataset.name, dataset.licence, *answers, files, count, dataset.summary))
    columns = ("name", "terms", "permissive", "may train", "files", "measurements", "what it is")
    print_table(table_console(200), columns, rows, padding=(0, 2, 0, 0))
    say(f"Folder of public data: {root}")
    finish(
        "paratope data fetch NAME gets what is missing, then: paratope data import NAME -o t.csv"
    )


@app.command(
    "import",
    epilog="Example: paratope data import skempi -o skempi.csv --licence permissive\n\n"
    "Example: paratope data import alphaseq --from run.csv --antigen GSHM... -o run-pkd.csv",
)
def import_dataset(
    name: Annotated[str, Argument(help="Name of a data set, from `paratope data list`.")],
    output: Annotated[str, Option("-o", "--output", help="Table to write; - for stdout.")],
    source: Annotated[
        Path | None, Option("--from", help="Folder of public data, or the table of a format.")
    ] = None,
    antigen: Annotated[
        str, Option(help="Antigen sequence, for a format that does not include it.")
    ] = "",
    licence: Annotated[
        str, Option(help="permissive: only rows that may be used freely; any: all rows.")
    ] = "any",
    columns: Annotated[
        str | None, Option(help="Names of a format's columns, such as heavy=VH,kd_nM=affinity.")
    ] = None,
    take: Annotated[
        str,
        Option(help="Types of value read as if they were Kd, such as IC50,EC50: own assays."),
    ] = "",
    as_published: Annotated[
        bool,
        Option(
            "--as-published", help="Keep flags as values, and complexes that are not antibodies."
        ),
    ] = False,
    sheet: Sheet = None,
) -> None:
    """Turn a public source into a plain table that every other command reads."""
    from paratope.cli.predict import check_output
    from paratope.data.datasets import filter_licence, load_dataset
    from paratope.data.tables import frame_from_measurements, parse_columns, write_table

    check_output(output, None if source is None else str(source))
    imported = load_dataset(
        name,
        source,
        as_published=as_published,
        antigen=antigen,
        sheet=sheet,
        columns=parse_columns(columns) if columns else None,
        take=[kind.strip() for kind in take.split(",") if kind.strip()],
    )
    imported = filter_licence(imported, licence)
    if not imported.measurements:
        fates = "; ".join(f"{count} {fate}" for fate, count in imported.counts.items())
        notes = "".join(f". {note}" for note in imported.notes)
        raise InputError(f"{name}: no measurement is left with --licence {licence}: {fates}{notes}")
    write_table(frame_from_measurements(imported.measurements), output)
    say(f"{name}: {imported.rows} rows read, {len(imported.measurements)} measurements written")
    say(*(f"  {count} {fate}" for fate, count in {**imported.counts, **imported.added}.items()))
    say(*(f"  {note}" for note in imported.notes))
    piped = output == "-"
    then = command_line("data", "audit", "table.csv" if piped else output)
    finish(then, *[output] * (not piped))
    if imported.counts.get("in error"):
        raise typer.Exit(3)


@app.command(epilog="Example: paratope data fetch skempi")
def fetch(
    name: Annotated[str, Argument(help="Name of a data set, from `paratope data list`.")],
    folder: Annotated[Path | None, Option(help="Target folder; default: PARATOPE_DATA.")] = None,
    base_url: Annotated[str | None, Option(help="A mirror, instead of each file's origin.")] = None,
) -> None:
    """Download a source's public files from their origin, verified by checksum."""
    from paratope.core.progress import console_progress
    from paratope.data.datasets.fetch import fetch as fetch_files

    with console_progress() as progress:
        fetched = fetch_files(name, folder, base_url, progress=progress)
    for path in fetched.downloaded:
        typer.echo(f"{path}: downloaded, checksum right")
    for path in fetched.present:
        typer.echo(f"{path}: was there, checksum right")
    say(*fetched.missing)
    finish(command_line("data", "import", name, "-o", f"{name}.csv"))


@app.command(
    epilog="Example: paratope data audit measurements.csv\n\n"
    "Example: paratope data audit landscape.csv alphaseq.csv --html audit.html --json audit.json"
)
def audit(
    tables: Annotated[
        list[str], Argument(help="Tables; several are also compared with each other.")
    ],
    html: Annotated[Path | None, Option(help="Also write one self-contained page.")] = None,
    json_file: Annotated[
        Path | None, Option("--json", help="Also write every finding with all its rows.")
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="Exit with code 3 if there are errors or warnings.")
    ] = False,
    sheet: Sheet = None,
) -> None:
    """Find faults in tables, with a confidence: units, floors, flags, conflicts, ..."""
    from paratope.core.files import atomic_file
    from paratope.data.audit import audit as audit_tables

    report = audit_tables(*(in_sheet(table, sheet) for table in tables))
    for target, text in ((html, report.to_html), (json_file, report.to_json)):
        if target is not None:
            with atomic_file(target) as file:
                file.write(text().encode())
    report.print()
    faults = report.count("error") + report.count("warning")
    split_it = command_line("data", "split", tables[0], "-o", "split")
    then = "mend these, then audit again" if faults else split_it
    finish(then, *filter(None, (html, json_file)))
    if strict and faults:
        raise typer.Exit(3)


@app.command(
    epilog="Example: paratope data split measurements.csv --by antigen -o split/\n\n"
    "Example: paratope data split measurements.csv --by antibody --folds 5 -o folds/\n\n"
    "Example: paratope data split measurements.csv --by tiers -o tiers/"
)
def split(
    table: Annotated[str, Argument(help="Table of measurements; - for stdin.")],
    output: Annotated[Path, Option("-o", "--output", help="Folder for split and proof.")],
    by: Kind = "antigen",
    fractions: Annotated[
        str | None, Option(help="Shares of train, validation and test; or of train and test.")
    ] = None,
    folds: Annotated[int | None, Option(help="Equal folds instead of fractions.")] = None,
    column: Annotated[str | None, Option(help="Name of your column, with --by column.")] = None,
    region: Annotated[
        str, Option(help="Region by which antibodies are compared: cdr3, cdrs or variable.")
    ] = "cdr3",
    identity: Identity = None,
    antigen_identity: AntigenIdentity = None,
    columns: Columns = None,
    seed: Seed = 0,
    sheet: Sheet = None,
) -> None:
    """Split measurements without leakage, with a proof: split.csv and proof.json."""
    import polars as pl

    from paratope.data.splits import (
        SplitSettings,
        split_measurements,
        tiers,
        write_split,
        write_tiers,
    )

    thresholds = _thresholds(by, identity, antigen_identity)
    if by == "tiers" and (folds is not None or column):
        raise typer.BadParameter("--by tiers takes --fractions only", param_hint="--by")
    if by == "column" and not column:
        raise typer.BadParameter("--by column needs --column NAME", param_hint="--column")
    try:
        shares = tuple(map(float, fractions.split(","))) if fractions else None
    except ValueError:
        hint = f"expected numbers such as .8,.1,.1, got {fractions!r}"
        raise typer.BadParameter(hint, param_hint="--fractions") from None
    read = _read_to_split(in_sheet(table, sheet), columns)
    if len(read.failed) == len(read.rows):
        raise InputError(f"{read.source}: no row can be read; the first: {read.failed[0].error}")
    say(*(f"  {note}" for note in read.notes))
    rows = [row.index for row in read.rows if row.measurement is not None]
    if by == "tiers":
        by_tier = tiers(read.measurements, seed, **({"fractions": shares} if shares else {}))
        write_tiers(read.frame, by_tier, output, rows)
        for name, tier in by_tier.items():
            _say_split(output / name.replace(" ", "-"), tier)
        for name, reason in by_tier["random"].proof["tiers_impossible"].items():
            say(f"no tier {name}: {reason}")
    else:
        labels = None
        if column:
            if column not in read.frame.columns:
                names = ", ".join(read.frame.columns)
                raise InputError(f"no column {column!r}; columns found: {names}")
            labels = read.frame[column].cast(pl.String).fill_null("")[rows].to_list()
        done = split_measurements(
            read.measurements,
            by,
            fractions=shares,
            folds=folds,
            seed=seed,
            settings=SplitSettings(region=region, **thresholds),
            labels=labels,
        )
        write_split(read.frame, done, output, rows)
        _say_split(output, done)
    if read.failed:
        say(*(f"  {row.error}" for row in read.failed[:SHOWN_ERRORS]))
        if len(read.failed) > SHOWN_ERRORS:
            say(f"  … and {len(read.failed) - SHOWN_ERRORS} more rows in error")
    if "antigen" not in read.columns:
        finish(
            "paratope adapt learns from rows without an antigen, such as those of 'train'", output
        )
    elif folds is None and by != "column":
        table = str(output / ("random" if by == "tiers" else "") / "split.csv")
        finish(command_line("train", table, "--split", table, "-o", "run"), output)
    else:
        finish(f"read {output / 'proof.json'}; each fold is a number in the column split", output)
    if read.failed:
        raise typer.Exit(3)


def _read_to_split(table: Any, columns: str | None) -> "InputTable":
    """Measurements; a campaign's table without a column for antigens has `UNKNOWN_ANTIGEN`."""
    import dataclasses

    from paratope.data.tables import parse_columns, read_table
    from paratope.molecules.sequences import UNKNOWN_ANTIGEN

    chosen = parse_columns(columns) if columns else None
    read = read_table(table, columns=chosen, require="measured", default_antigen=UNKNOWN_ANTIGEN)
    column = read.columns.get("antigen") or read.columns.get("parent_antigen")
    if column is None:
        return read
    # where there is a column, a row that leaves it empty is in error as everywhere
    rows = [
        row.with_error(f"column {column!r}: no antigen") if row.measurement and unnamed else row
        for row in read.rows
        for unnamed in [row.pair is not None and row.pair.antigen.chains == UNKNOWN_ANTIGEN.chains]
    ]
    return dataclasses.replace(read, rows=tuple(rows))


def _thresholds(by: str, identity: float | None, antigen: float | None) -> dict[str, float]:
    """Identities of antibodies and antigens, where the kind of split has any."""
    if identity is not None and by not in ("antibody", "antigen", "both"):
        hint = f"splits by antibody, antigen or both have an identity, not by {by}"
        raise typer.BadParameter(hint, param_hint="--identity")
    if antigen is not None and by not in ("antigen", "both"):
        hint = f"splits by antigen or both have antigen groups, not by {by}"
        raise typer.BadParameter(hint, param_hint="--antigen-identity")
    chosen = {"antigen_identity" if by == "antigen" else "antibody_identity": identity}
    chosen |= {} if antigen is None else {"antigen_identity": antigen}
    return {name: value for name, value in chosen.items() if value is not None}


def _say_split(folder: Path, split: "Split") -> None:
    sizes = ", ".join(f"{name} {size}" for name, size in split.proof["sizes"].items())
    say(f"{folder}: {sizes}", *(f"  {note}" for note in split.proof.get("notes", ())))


@app.command(
    epilog="Example: paratope data simulate -o table.csv --antibodies 200 --antigens 3 --noise 0.3 "
    "--floor 5 --seed 1"
)
def simulate(
    output: Annotated[
        Path, Option("-o", "--output", help="Table; the truth goes beside it as truth.json.")
    ],
    antibodies: Annotated[int, Option(min=1, help="How many antibodies.")] = 200,
    antigens: Annotated[int, Option(min=1, help="How many antigens.")] = 3,
    assays: Annotated[int, Option(min=1, help="How many, each with its own offset.")] = 1,
    replicates: Annotated[int, Option(min=1, help="Measurements of each pair.")] = 1,
    measured: Annotated[float, Option(help="Share of all pairs that are measured.")] = 1.0,
    noise: Annotated[float, Option(help="SD of one measurement, log10.")] = 0.3,
    floor: Annotated[float | None, Option(help="pKd below which only a bound is reported.")] = None,
    epistasis: Annotated[float, Option(help="SD of one interaction within.")] = 0.15,
    coupling: Annotated[float, Option(help="SD of one contact with the antigen.")] = 0.1,
    single_domain: Annotated[
        bool, Option("--single-domain", help="Simulate VHHs: no light chains.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """Simulate measurements whose truth is known: table.csv and truth.json."""
    from paratope.core.files import atomic_file
    from paratope.data.datasets.simulated import simulate as simulate_landscape
    from paratope.data.tables import frame_from_measurements, write_table

    simulation = simulate_landscape(
        antibodies=antibodies,
        antigens=antigens,
        assays=assays,
        replicates=replicates,
        measured=measured,
        noise_sd=noise,
        floor_pkd=floor,
        epistatic_sd=epistasis,
        contact_sd=coupling,
        light_chains=not single_domain,
        seed=seed,
    )
    write_table(frame_from_measurements(simulation.measurements), output)
    if str(output) == "-":
        finish("the truth is written beside a file only: give -o FILE")
        return
    truth = output.parent / "truth.json"
    with atomic_file(truth) as file:
        file.write(simulation.truth.to_json().encode())
    say(f"{len(simulation.measurements)} measurements, and what is true of them")
    finish(command_line("train", output, "-o", "run"), output, truth)
