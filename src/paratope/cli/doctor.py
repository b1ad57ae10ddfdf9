"""``paratope doctor``: whether what ships with the package works on this machine."""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table
from typer import Option

from paratope.cli.group import command_app, finish, open_console
from paratope.core.errors import ParatopeError

# Antibody D1.3 and hen egg-white lysozyme (Protein Data Bank entry 1VFB): small, and well known.
EXPECTED = tomllib.loads(Path(__file__).with_name("doctor.toml").read_text("utf-8"))
D13_HEAVY, D13_LIGHT, LYSOZYME = EXPECTED["complex"].values()
# Of each command: the part of the package that does its work, and what its options need besides.
NEEDS: dict[str, dict[str, Any]] = EXPECTED["commands"]

Status = Literal["ok", "note", "fail"]


class Check(NamedTuple):
    """One line of the report: ``fail`` is something bundled that does not work."""

    name: str
    status: Status
    detail: str


def check_versions() -> Iterator[Check]:
    """Interpreter, machine and the libraries that matter most."""
    from paratope import __version__

    python = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Check("paratope", "ok", __version__)
    yield Check("python", "fail" if old else "ok", f"{python} on {platform.platform()}")
    for library in EXPECTED["libraries"]:
        try:
            yield Check(library, "ok", importlib.metadata.version(library))
        except importlib.metadata.PackageNotFoundError:
            yield Check(library, "fail", "not installed; install paratope again")


def check_commands() -> Iterator[Check]:
    """A line for each command: what does its work can be imported, and what its options lack."""
    for name, needs in NEEDS.items():
        try:
            importlib.import_module(f"paratope.{needs['part']}")
        except ImportError as error:
            yield Check(name, "fail", f"{error}; install paratope again")
            continue
        lacking = [
            f"{option} needs pip install '.[{extra}]'"
            for option, (module, extra) in needs.get("options", {}).items()
            if importlib.util.find_spec(module) is None
        ]
        yield Check(name, "note" if lacking else "ok", "; ".join(["works", *lacking]))


def check_device() -> Iterator[Check]:
    """Where the network and the encoders run."""
    import torch

    has_cuda, none = torch.cuda.is_available(), "cpu (torch finds no CUDA device)"
    yield Check("device", "ok", f"cuda: {torch.cuda.get_device_name()}" if has_cuda else none)
    yield Check("threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} processors")


def check_cache() -> Iterator[Check]:
    """The folder of embeddings: there, writable, how large."""
    from paratope.encoders.embedding_store import cache_folder, list_caches

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    caches = list_caches()
    size = sum(cache.size_bytes for cache in caches) / 1e6
    yield Check("cache", "ok", f"{folder}: {size:.1f} MB of embeddings, {len(caches)} encoders")


def check_numbering() -> Iterator[Check]:
    """Variable domains are found."""
    from paratope.molecules.numbering import find_domains

    chains = [domain.chain for domain in find_domains(D13_HEAVY + "GGGGSGGGGSGGGGS" + D13_LIGHT)]
    status: Status = "ok" if chains == ["H", "K"] else "fail"
    yield Check("numbering", status, f"an scFv is read as {' + '.join(chains) or 'nothing'}")


def check_encoders() -> Iterator[Check]:
    """Bundled encoders encode; the others are here or not."""
    from paratope.encoders import ENCODERS, load_encoder

    absent = []
    for name, entry in ENCODERS.items():
        if entry.hub is None and not entry.weights.startswith("extra"):
            encoder = load_encoder(name)
            residues, numbers = encoder.encode([(D13_HEAVY,)])[0].shape
            detail = f"{encoder.name} encodes, {residues} x {numbers}"
            yield Check(f"encoder {name}", "ok", detail)
        elif entry.is_here():
            yield Check(f"encoder {name}", "ok", f"{load_encoder(name).name} is here")
        elif entry.hub is None:
            yield Check(f"encoder {name}", "note", f"not installed: {entry.weights}")
        else:
            absent.append(name)
    if absent:
        how = "get one with 'paratope encoders download NAME'"
        yield Check("other encoders", "note", f"not on this machine: {', '.join(absent)}; {how}")


def check_default_model() -> Iterator[Check]:
    """The model that ships predicts a known pair."""
    from paratope.models.predictor import Predictor
    from paratope.molecules.sequences import Antibody, Antigen, Pair

    pair = Pair(Antibody(D13_HEAVY, D13_LIGHT, "D1.3"), Antigen((LYSOZYME,), "lysozyme"))
    start = time.perf_counter()
    (row,) = Predictor.load("default").predict([pair]).iter_rows(named=True)
    seconds = time.perf_counter() - start
    if row["error"]:
        yield Check("default model", "fail", row["error"])
    else:
        interval = f"{row['pkd_low']:.1f} to {row['pkd_high']:.1f}"
        detail = f"D1.3 and lysozyme: pKd {row['pkd']:.1f} ({interval}) in {seconds:.1f} s"
        yield Check("default model", "ok", detail)


def check_data() -> Iterator[Check]:
    """Public data sets: nice to have."""
    from paratope.data.datasets import DATASETS, data_root
    from paratope.data.datasets.dataset import locate

    root = data_root()
    here = [
        name
        for name, dataset in DATASETS.items()
        if dataset.files and all(locate(root, file) for file in dataset.files)
    ]
    detail = f"{root}: {', '.join(here) or 'none here; set PARATOPE_DATA to their folder'}"
    yield Check("public data", "ok" if here else "note", detail)


def check_serve() -> Iterator[Check]:
    """A server starts on a free port, and answers a prediction."""
    import re
    import subprocess

    from paratope.client import Client

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "paratope", "serve", "--port", "0", "--folder"]
        start = time.perf_counter()
        environment = {name: text for name, text in os.environ.items() if name != "PARATOPE_TOKEN"}
        with subprocess.Popen(
            [*command, f"{folder}/serve"], stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            try:
                if not (address := re.search(r"http://\S+", line)):
                    yield Check("server", "fail", line.strip() or "it does not start")
                    return
                client = Client(address[0], token="", retries=30)
                pair = {"heavy": D13_HEAVY, "light": D13_LIGHT, "antigen": LYSOZYME}
                (row,) = client.predict([pair])
                seconds = time.perf_counter() - start
                detail = f"pKd {row['pkd']:.1f} by {address[0]}, {seconds:.1f} s after its start"
                yield Check("server", "ok", detail)
            finally:
                process.terminate()
                process.stderr.close()


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "versions": check_versions,
    "commands": check_commands,
    "device": check_device,
    "cache": check_cache,
    "numbering": check_numbering,
    "encoders": check_encoders,
    "default model": check_default_model,
    "public data": check_data,
}


def run_checks(
    checks: Mapping[str, Callable[[], Iterator[Check]]] | None = None,
) -> Iterator[Check]:
    """Every check's lines; whatever goes wrong in one becomes a failed line of the report."""
    for name, check in (CHECKS if checks is None else checks).items():
        try:
            yield from check()
        except Exception as error:
            kind = "" if isinstance(error, ParatopeError) else f"{type(error).__name__}: "
            yield Check(name, "fail", f"{kind}{error}")


app = command_app()


@app.command(epilog="Example: paratope doctor --json")
def doctor(
    as_json: Annotated[bool, Option("--json", help="Print the report as JSON.")] = False,
    serve: Annotated[bool, Option("--serve", help="Also start a server, and ask it.")] = False,
) -> None:
    """Check this installation: versions, device, cache, encoders, the default model.

    Ends with 0 if everything that ships with the package works, 3 if something does not. What is
    merely not there (a large encoder, the public data) is a note.
    """
    checks = list(run_checks())
    if serve:
        checks += run_checks({"server": check_serve})
    failed = [check for check in checks if check.status == "fail"]
    if as_json:
        report = {"ok": not failed, "checks": [check._asdict() for check in checks]}
        typer.echo(json.dumps(report, indent=2))
    else:
        styles = {"ok": "green", "note": "yellow", "fail": "bold red"}
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for status, name, detail in ((check.status, check.name, check.detail) for check in checks):
            table.add_row(f"[{styles[status]}]{status}[/]", escape(name), escape(detail))
        console = open_console()
        console.print(table)
        names = ", ".join(check.name for check in failed)
        console.print(
            f"\nNot working: {escape(names)}"
            if failed
            else "\nEvery command works; notes say what an option of one needs besides."
        )
    ready = "paratope predict pairs.csv -o predictions.csv"
    finish("install paratope again, then: paratope doctor" if failed else ready)
    raise typer.Exit(3 if failed else 0)
