"""The command line: fast help, examples that parse, exit codes, errors that say what to do."""

import errno
import inspect
import resource
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import typer

import paratope
import paratope.cli
from command_lines import all_commands, check_command_line
from conftest import Finished
from paratope.cli import COMMANDS, load_command, root_command
from paratope.cli.group import command_app
from paratope.core import errors
from paratope.core.errors import InputError, MissingExtraError, ParatopeError, unknown_name

HEAVY = ("torch", "polars", "numpy", "transformers", "sklearn", "matplotlib", "pandas")
LEAVES = all_commands()


def test_help_takes_less_than_half_a_second():
    """Processor time, so that a busy machine does not matter; best of five."""
    command = [sys.executable, "-c", "from paratope.cli import main; main()", "--help"]
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert all(name in done.stdout for name in COMMANDS)
    assert min(seconds) < 0.5, seconds


@pytest.mark.parametrize(
    "statement", ["import paratope", "import paratope.cli; paratope.cli.root_command()"]
)
def test_nothing_heavy_is_imported_early(statement):
    command = [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_shows_examples_that_parse_and_has_at_most_twelve_options(name):
    command = LEAVES[name]
    assert command.help, f"paratope {name} has no help"
    examples = [line for line in (command.epilog or "").split("\n") if "paratope " in line]
    assert examples, f"paratope {name} has no example"
    assert command.epilog.startswith(f"Example: paratope {name}")
    for example in examples:
        check_command_line(example[example.index("paratope ") :])
    options = [one.name for one in command.params if one.param_type_name == "option"]
    assert len({*options} - {"help"}) <= 12, options


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_and_bad_usage(name, run_paratope):
    done = run_paratope(name, "--help", code=0)
    assert "Usage: paratope" in done.out
    assert run_paratope(name, "-h").out == done.out
    done = run_paratope(name, "--no-such-option", code=2)
    assert "--no-such-option" in done.err
    assert not done.out


def test_the_lines_of_a_commands_help_are_filled_anew():
    explain = load_command("explain").help
    assert "each residue of the antibody is masked in turn" in explain
    assert explain.count("\n") == 2  # one between paragraphs


def test_main_help_says_what_each_module_says():
    assert all(summary.endswith(".") and len(summary) < 60 for _, summary in COMMANDS.values())
    assert all(load_command(name).name == name for name in COMMANDS)
    assert list(root_command().commands) == list(COMMANDS)


def test_version(run_paratope):
    assert run_paratope("--version") == Finished(0, f"paratope {paratope.__version__}\n", "")


@pytest.mark.parametrize("arguments", [("predikt",), ("data", "lst")])
def test_unknown_command_lists_the_valid_ones(arguments, run_paratope):
    done = run_paratope(*arguments, code=2)
    assert f"unknown command '{arguments[-1]}'" in done.err
    valid = COMMANDS if len(arguments) == 1 else load_command(arguments[0]).commands
    assert all(name in done.err for name in valid)


@pytest.fixture
def command_that_raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Put a command ``boom`` into the table that raises what the test says."""

    def install(error: BaseException) -> None:
        app = command_app()

        @app.command(epilog="Example: paratope boom")
        def boom() -> None:
            """Fail."""
            raise error

        monkeypatch.setitem(sys.modules, "paratope.cli.boom", SimpleNamespace(app=app))
        monkeypatch.setitem(COMMANDS, "boom", ("paratope.cli.boom", "Fail."))

    return install


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("row 3: no antigen"), 2, "Error: row 3: no antigen\n"),
        (typer.Exit(3), 3, ""),
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(errno.EACCES, "No", "out.csv"), 2, "Error: out.csv: No\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "Error: No space left on device\n"),
    ],
)
def test_exit_codes(error, code, message, command_that_raises, run_paratope):
    command_that_raises(error)
    assert run_paratope("boom") == Finished(code, "", message)


def test_our_own_mistakes_are_not_hidden(command_that_raises, run_paratope):
    command_that_raises(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        paratope.cli.main(["boom"])


TALK = {
    "printing": "for number in range(100000): print(number)",
    "a table": "write_table(pl.DataFrame({'number': range(100000)}), '-')",
}


@pytest.mark.parametrize("how", TALK)
def test_reader_that_goes_away_is_no_error(how):
    program = (
        "import sys, types\n"
        "import polars as pl\n"
        "from paratope.cli import COMMANDS, main\n"
        "from paratope.cli.group import command_app\n"
        "from paratope.data.tables import write_table\n"
        "app = command_app()\n"
        "@app.command()\n"
        "def chatter():\n"
        f"    {TALK[how]}\n"
        "sys.modules['chatter'] = types.SimpleNamespace(app=app)\n"
        "COMMANDS['chatter'] = ('chatter', 'Talk.')\n"
        "main(['chatter'])\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode in (0, 1)


def test_every_error_is_a_paratope_error():
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, ParatopeError) or not issubclass(kind, Exception)


def test_missing_extra_names_the_command_to_run():
    error = MissingExtraError("paratope adapt --engine gp", "campaign")
    assert "pip install 'paratope[campaign]'" in str(error)
    assert "paratope adapt --engine gp" in str(error)
    assert (error.feature, error.extra) == ("paratope adapt --engine gp", "campaign")


def test_unknown_name_lists_the_valid_ones_in_order():
    assert unknown_name("loss", "hubber", {"mse": 1, "huber": 2}) == (
        "unknown loss 'hubber'; valid names: huber, mse"
    )
