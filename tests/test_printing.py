"""What files and users say reaches the terminal as letters: no markup, no escape sequence."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paratope.cli.group import open_console, say
from paratope.core.printing import printable
from test_hostile_bundles import seal

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
Run = Callable[..., tuple[int, str, str]]


def harmless(text: str, colours: bool = False) -> bool:
    """Whether nothing but colours and styles of our own is in a text beside letters."""
    if colours:
        text = "".join(part.partition("m")[2] for part in f"\x1b[0m{text}".split("\x1b["))
    return printable(text) == text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_is_printed_as_it_is_written(text: str, capsys: pytest.CaptureFixture[str]):
    shown = printable(text)
    assert printable(shown) == shown
    assert all(letter.isprintable() for letter in shown)
    say(text)
    assert capsys.readouterr().err == f"{shown}\n"


@pytest.mark.parametrize("text", SAFE)
def test_plain_text_stays(text: str):
    assert printable(text) == text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_tables_and_lines_hold_letters_only(text: str):
    from rich.markup import escape
    from rich.table import Table

    console = open_console(file=io.StringIO(), width=200, force_terminal=True)
    table = Table(escape(text), title=escape(text))
    table.add_row(escape(text))
    console.print(table)
    console.print(f"[bold]{escape(text)}[/]")
    out = console.file.getvalue()
    assert out.count(printable(text)) == 4
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
def test_names_of_files_ids_and_columns(run_paratope: Run, tmp_path: Path, text: str):
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
