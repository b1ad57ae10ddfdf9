"""What a user reads in the terminal: tables that fit, last lines, bars, and nothing but letters."""

import ast
import io
import re
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import paratope
from command_lines import all_commands, check_command_line
from paratope.campaigns.adaptation import adapt
from paratope.campaigns.suggestion import suggest
from paratope.cli import doctor
from paratope.cli.group import open_console, say
from paratope.cli.predict import prediction_table
from paratope.cli.train import _epochs
from paratope.core.printing import printable
from paratope.core.progress import _Bar, console_progress, peak_memory_mb
from paratope.data.datasets import fetch
from paratope.models.prediction import Prediction
from small_campaigns import (
    HEAVY,
    LIGHT,
    TARGET,
    SmallCampaignPredictor,
    small_campaign,
    write_campaign,
)
from test_hostile_bundles import seal
from trained_models import TINY_RECIPE, TrainedRun, simulated_table

OUT = "out of domain: the antigen resembles none that the model was trained on"
IDS = ("trastuzumab-HER2", "ranibizumab-parent-VEGF", "a-library-of-HER2-binders-plate-17-well-B07")


def predictions(kind: str) -> list[Prediction]:
    """Rows of a model that answers in pKd, against a parent, in scores; one of them in error."""
    pkd = {"pkd": 11.485, "pkd_low": 10.2, "pkd_high": 12.97, "kd_nM": 0.00327}
    delta = {"delta_pkd": -1.5, "delta_pkd_low": -2.25, "delta_pkd_high": 0.5, "p_stronger": 0.1}
    score = {"score": 1234.5, "score_low": -1234.5, "score_high": 12345.0}
    numbers = {"pkd": pkd | {"p_strong": 0.36}, "parent": pkd | delta, "score": score}
    notes = (OUT, "", f"{OUT}; heavy and light swapped")
    rows = [
        Prediction(name, 0.9, domain="near", note=note, **numbers[kind])
        for name, note in zip(IDS, notes, strict=True)
    ]
    return [*rows, Prediction("[red]no\x1b[2J", 0.9, error="row 4: no antigen")]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("kind", ["pkd", "parent", "score"])
def test_predictions_fit_the_terminal(kind: str, width: int):
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in prediction_table(predictions(kind), width):
        console.print(part)
    lines = console.file.getvalue().splitlines()
    rows, legend = lines[1:5], " ".join(" ".join(lines[5:]).split())
    assert max(map(len, lines)) <= width
    assert [row.split()[-1] for row in rows] == ["1", "near", "1,2", "3"]
    assert "…" not in lines[0]
    assert all("…" not in row.split(maxsplit=1)[1] for row in rows)
    assert rows[0].startswith(IDS[0][:5])
    assert rows[2].split()[0].endswith("B07")
    assert rows[3].startswith("[red]no")
    assert all(line.isprintable() for line in lines)
    assert legend.count(OUT) == 1
    assert "2 heavy and light swapped" in legend
    assert width == 60 or kind == "score" or "3.27 pM" in rows[0]
    notes = [f"1  {OUT}", "2  heavy and light swapped", "3  row 4: no antigen"]
    assert width < 120 or [*map(str.strip, lines[5:])] == notes


class Terminal(io.StringIO):
    """A stream that takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


def test_one_bar_at_a_time_with_its_stage(monkeypatch: pytest.MonkeyPatch):
    """What is counted within a stage belongs to it, and does not take turns with its own count."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = []
    with console_progress() as stage:
        for report in ("fitting", 0, 1), ("encoding", 1, 2), ("encoding", 2, 2), ("folds", 3, 9):
            with console_progress() as within:
                (within if report[0] == "encoding" else stage)(*report)
            (task,) = _Bar.under_way.display.tasks
            shown.append((task.description, task.fields["count"]))
        with console_progress() as within:
            within("encoding", 1, 2)
        (task,) = _Bar.under_way.display.tasks
        assert task.description == "folds"
    fitting = ("fitting", "")
    assert shown == [fitting, ("fitting: encoding", "1/2"), fitting, ("folds", "3/9")]
    assert _Bar.under_way is None


def test_a_bar_tells_speed_and_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with console_progress() as stage:
        for done in (0, 2_000, 4_000, 6_000):
            stage("scoring", done, 9_000)
            time.sleep(0.02)
        (task,) = _Bar.under_way.display.tasks
        count, speed, memory = re.fullmatch(
            r"(6,000/9,000) ([\d,]+)/s ([\d,]+) MB", task.fields["count"]
        ).groups()
    assert count == "6,000/9,000"
    assert 1_000 < int(speed.replace(",", "")) < 200_000
    assert int(memory.replace(",", "")) == pytest.approx(peak_memory_mb(), abs=5)


def test_what_is_said_stands_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with console_progress() as stage:
        stage("training", 3, 9)
        say("Warning: mend it.")
        stage("training", 4, 9)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "Warning: mend it." in re.split(r"[\r\n]+", text)


def suggest_from_plate(batch: int, progress: Any, **options: Any) -> None:
    suggest(SmallCampaignPredictor(small_campaign()), batch, progress=progress, **options)


SUGGESTING = ["reading the plate", "ranking 203 single mutants", "predicting", "choosing 6 of them"]
STAGES: dict[str, tuple[Any, list[str]]] = {
    "adapt": (
        lambda progress: adapt(small_campaign(12).measurements(), progress=progress),
        ["reading", "fitting", "validating"],
    ),
    "suggest": (
        partial(suggest_from_plate, 6, candidates="single:250,double:50", regions="H3"),
        [*SUGGESTING, "giving reasons"],
    ),
    "suggest of a pool": (
        partial(suggest_from_plate, 2, candidates=[*small_campaign(50, seed=5).pairs]),
        ["reading the plate", "reading the pool", "predicting", "choosing 2", "giving reasons"],
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_own_bar(name: str):
    run, expected = STAGES[name]
    told: list[str] = []
    run(progress=lambda stage, done, total: told.append(stage))
    names = list(dict.fromkeys(told))
    assert len(names) == len(expected)
    for stage, beginning in zip(names, expected, strict=True):
        assert stage.startswith(beginning)
    assert told == [name for name in names for _ in range(told.count(name))]  # none comes again


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tiny_run: TrainedRun) -> dict[str, Path]:
    """A table, predictions of it, a campaign's model and a trained one; ``new`` is not there."""
    folder = tmp_path_factory.mktemp("files")
    table, predictions, pairs = (folder / f"{name}.csv" for name in ("table", "judged", "pairs"))
    simulated_table(table, antibodies=20, antigens=1, seed=2)
    rows = "".join(f"{5 + n % 7 / 2},{5 + n % 5 / 2}\n" for n in range(40))
    predictions.write_text("true,pred\n" + rows, encoding="utf-8")
    row = f"a,{HEAVY},{LIGHT},{TARGET.chains[0]}\n"
    pairs.write_text("id,heavy,light,antigen\n" + row, encoding="utf-8")
    campaign = write_campaign(folder / "a campaign", small_campaign())
    run = tiny_run.folder
    found = {"table": table, "judged": predictions, "campaign": campaign, "run": run}
    return found | {"pairs": pairs, "folder": folder}


SETTINGS = " ".join(f"--set {change}" for change in TINY_RECIPE)
ENDS = {
    "predict": ("predict {pairs} --model {run} -o {new}.csv", "{new}.csv"),
    "predict, of a campaign": ("predict {pairs} --model {campaign} -o -", ""),
    "explain": ("explain {pairs} -o {new}.csv", "{new}.csv"),
    "explain, a figure": (
        "explain {pairs} --model {run} -o {new}.csv --figure {new}.png",
        "{new}.csv, {new}.png",
    ),
    "adapt": ("adapt {table} -o {new} --no-report", "{new}"),
    "suggest": (
        "suggest {campaign} -b 2 --candidates single:50 -o {new}.csv",
        "{new}.csv, {new}.fasta",
    ),
    "screen": ("screen {pairs} --model {campaign} --top 2 -o {new}", "{new}"),
    "suggest, on screen": ("suggest {campaign} -b 2 --candidates single:50", ""),
    "scan": ("scan --table {pairs} --model {run} --variants H:D31A -o {new}", "{new}"),
    "simulate-campaign": (
        "simulate-campaign {table} -b 5 --rounds 1 --repeats 1 --compare random -o {new}",
        "{new}",
    ),
    "train": (f"train {{table}} {SETTINGS} --encoders residue,residue -o {{new}}", "{new}"),
    "train, recipes": ("train --list", ""),
    "train, a recipe": ("train --show", ""),
    "evaluate": ("evaluate {judged} -o {new}", "{new}/metrics.json, {new}/report.html"),
    "evaluate, on screen": ("evaluate {judged}", ""),
    "compare": ("compare {judged} {judged} -o {new}.json", "{new}.json"),
    "compare, on screen": ("compare {judged} {judged}", ""),
    "data list": ("data list --folder {folder}", ""),
    "data import": ("data import plain --from {table} -o {new}.csv", "{new}.csv"),
    "data fetch": ("data fetch skempi --folder {folder}", ""),
    "data audit": ("data audit {table} --html {new}.html", "{new}.html"),
    "data split": ("data split {table} --by random -o {new}", "{new}"),
    "data split, folds": ("data split {table} --by random --folds 2 -o {new}", "{new}"),
    "data simulate": (
        "data simulate --antibodies 9 -o {new}.csv",
        "{new}.csv, {folder}/truth.json",
    ),
    "models list": ("models list", ""),
    "models show": ("models show {campaign}", ""),
    "models ensemble": ("models ensemble {run} {run} -o {new}", "{new}"),
    "encoders list": ("encoders list", ""),
    "encoders download": ("encoders download residue", ""),
    "encoders benchmark": ("encoders benchmark --sequences 2 --repeats 1", ""),
    "encoders cache": ("encoders cache", ""),
    "encoders cache, cleared": ("encoders cache --clear", ""),
    "doctor": ("doctor", ""),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "scan" else n for n in ENDS]
)
def test_the_last_line_says_where_it_wrote_and_what_to_do_next(
    name: str, files: dict[str, Path], run_paratope: Any, monkeypatch: pytest.MonkeyPatch
):
    ending = set(all_commands()) - {"serve"}  # which goes on until it is stopped
    assert {name.partition(",")[0] for name in ENDS} == ending
    monkeypatch.setenv("PARATOPE_CACHE", str(files["folder"] / "cache"))
    monkeypatch.setattr(doctor, "CHECKS", {})
    nothing = SimpleNamespace(downloaded=(), present=(), missing=())
    monkeypatch.setattr(fetch, "fetch", lambda *arguments, **options: nothing)
    names = files | {"new": files["folder"] / re.sub(r"\W", "-", name)}
    command, written = ENDS[name]
    words = [word.format(**names) for word in command.split()]
    done = run_paratope(*words)
    assert done.code in (0, 3), done.err
    *_, last = done.err.splitlines()
    before = f"Written: {written.format(**names)}. " if written else ""
    assert last.startswith(f"{before}Next: ")
    assert all(Path(path).exists() for path in filter(None, written.format(**names).split(", ")))
    if "paratope " in last:
        check_command_line(last[last.rindex("paratope ") :])


def test_warnings_of_training_are_said_once(capsys: pytest.CaptureFixture[str]):
    columns = ("train_loss", "validation_loss", "validation_spearman", "validation_rmse")
    numbers = dict.fromkeys(columns, 0.5)
    warned = ["", "collapse", "collapse, range", "range"]
    say_epoch = _epochs()
    for epoch, names in enumerate(warned, 1):
        texts = "\n".join(f"{name} found; mend it" for name in names.split(", ") if name)
        say_epoch({"epoch": epoch, "warned": names, "warning": texts, **numbers})
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("epoch ")] == [
        "Warning: collapse found; mend it.",
        "Warning: range found; mend it.",
    ]


def test_a_campaign_is_not_overwritten_unasked(files: dict[str, Path], run_paratope: Any):
    card = (files["campaign"] / "card.md").read_bytes()
    done = run_paratope("adapt", files["table"], "-o", files["campaign"], "--no-report")
    assert done.code == 2
    assert "holds a model already; give another folder, or replace it with --overwrite" in done.err
    assert (files["campaign"] / "card.md").read_bytes() == card


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
PACKAGE = Path(paratope.__file__).parent
# But those that speak of other programs' options, or of every command's.
OTHERS = {"alignment.py", "antiberty.py", "group.py", "__init__.py"}
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in OTHERS and OPTION.search(path.read_text("utf-8"))
]
ADVICE = {
    "adapt": ("adapt {elisa} -o {folder}/new", "--columns score=OD450 where higher is stronger"),
    "simulate-campaign": ("simulate-campaign {elisa}", "This command has no --columns: rename"),
    "scan": (
        "scan --table {no_heavy} -o {folder}/new",
        "heavy=residues. This command has no --columns: rename",
    ),
    "predict": ("predict {no_heavy}", "Name yours with --columns heavy=residues"),
    "suggest": ("suggest {campaign} --candidates {no_heavy}", "has no --columns: rename"),
    "data split": ("data split {elisa} -o {folder}/new", "kd_nM=OD450 or pkd=OD450 where it is"),
}


@pytest.mark.parametrize("name", ADVICE)
def test_errors_advise_what_the_command_has(name, files, run_paratope, monkeypatch):
    monkeypatch.setenv("PARATOPE_CACHE", str(files["folder"] / "cache"))
    elisa, no_heavy = files["folder"] / "elisa.csv", files["folder"] / "no_heavy.csv"
    antigen = TARGET.chains[0]
    rows = "".join(f"{n},{HEAVY},{antigen},0.{n}5\n" for n in range(9))
    elisa.write_text("row,vhh,antigen,OD450\n" + rows, encoding="utf-8")
    no_heavy.write_text("row,residues,antigen,OD450\n" + rows, encoding="utf-8")
    command, advice = ADVICE[name]
    names = files | {"elisa": elisa, "no_heavy": no_heavy}
    done = run_paratope(*(word.format(**names) for word in command.split()))
    assert done.code == 2
    assert advice in done.err
    has_columns = "--columns" in options_of(all_commands()[name])
    assert ("has no --columns" in done.err) != has_columns


def messages(path: Path) -> list[str]:
    """Every text of a module but its docstrings, of a formatted one what stands between."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    apart = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    apart |= {id(part) for node in formatted for part in node.values}
    texts = ["".join(str(getattr(part, "value", "")) for part in one.values) for one in formatted]
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in apart]
    return [*texts, *(node.value for node in constants if isinstance(node.value, str))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_options_named_in_messages_are_those_of_the_command(path: Path):
    declared = {name: options_of(command) for name, command in all_commands().items()}
    every = set().union(*declared.values())
    own = [
        options
        for name, options in declared.items()
        if path.parent.name == "cli" and name.split()[0].replace("-", "_") == path.stem
    ]
    for text in messages(path):
        if OPTION.fullmatch(text):  # declared, or a word of a command line: those of ends are run
            continue
        first, *others = re.split(r"paratope (?=[a-z])", text)
        named = set(OPTION.findall(first))
        assert named <= (set().union(*own) if own and path.stem != "doctor" else every), text
        for other in others:
            name = next((name for name in declared if other.startswith(name)), None)
            assert name or not OPTION.search(other), text
            assert set(OPTION.findall(other.split("paratope")[0])) <= declared.get(name, every)


def options_of(command: Any) -> set[str]:
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)}


HOSTILE = {
    "closing markup": "a [/red] b",
    "half markup": "[bold",
    "a link": "[link=file:///etc/passwd]click[/link]",
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;owned\x07",
    "a link of the terminal": "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\",
    "C1 control": "\x9b31m",
    "goes back": "good\rbad\b\b",
    "from right to left": "invoice\u202efdp.exe",
    "half a surrogate": "\udcff",
}
SAFE = ["plain", "café 日本語", "a\u00a0b", "two\nlines\tand tabs", "ΔpKd ≥ 9 µM", "back\\slash"]


def harmless(text: str, colours: bool = False) -> bool:
    """Whether nothing but colours and styles of our own is in a text beside letters."""
    if colours:
        text = "".join(part.partition("m")[2] for part in f"\x1b[0m{text}".split("\x1b["))
    return printable(text) == text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_is_printed_as_it_is_written_alone_and_in_tables(
    text: str, capsys: pytest.CaptureFixture[str]
):
    assert all(printable(plain) == plain for plain in SAFE)
    shown = printable(text)
    assert printable(shown) == shown
    assert all(letter.isprintable() for letter in shown)
    say(text)
    assert capsys.readouterr().err == f"{shown}\n"
    console = open_console(file=io.StringIO(), width=200, force_terminal=True)
    table = Table(escape(text), title=escape(text))
    table.add_row(escape(text))
    console.print(table)
    console.print(f"[bold]{escape(text)}[/]")
    out = console.file.getvalue()
    assert out.count(shown) == 4
    assert harmless(out, colours=True)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_cards(run_paratope, repository, tmp_path, monkeypatch, text, terminal):
    folder = shutil.copytree(repository / "tests" / "data" / "model-0.1", tmp_path / "model")
    (folder / "card.md").write_bytes(f"# Card\n\n{text}\n".encode(errors="replace"))
    seal(folder)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    done = run_paratope("models", "show", folder)
    assert done.code == 0
    assert harmless(done.err)
    assert harmless(done.out, colours=terminal)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_names_of_files_ids_and_columns(run_paratope: Any, tmp_path: Path, text: str):
    table = tmp_path / f"{text.replace('/', '|')}.csv"
    word = text.encode(errors="replace").decode().replace("\r", "")
    rows = "".join(f'"{word}{n}",{5 + n % 4},{6 + n % 3},"{word}"\n' for n in range(12))
    table.write_text(f'id,true,pred,"{word}"\n{rows}', newline="")
    for arguments in (
        ["evaluate", table, "-o", tmp_path / "report"],
        ["compare", table, table],
        ["data", "audit", table],
        ["predict", table],
        ["models", "show", text],
        ["train", table, "--recipe", text],
    ):
        done = run_paratope(*arguments)
        assert done.code in (0, 2, 3)
        assert harmless(done.out), (arguments, done.out)
        assert harmless(done.err), (arguments, done.err)
