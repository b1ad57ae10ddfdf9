"""The examples run: the notebook, the Python in the documents, the table a newcomer predicts."""

import re
from pathlib import Path

import nbclient
import nbformat
import polars as pl
import pytest

from conftest import Run

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
PYTHON = re.compile(r"^```python\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_PYTHON = [path for path in PAGES if PYTHON.search(path.read_text("utf-8"))]


def test_quickstart_notebook_is_committed_without_outputs_and_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # tqdm, used by the encoders' libraries, misses a Jupyter extension that nothing here needs
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # what it shows is what a reader's own model says, not what ours said once
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=240, resources=resources).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    shown = [output.text for output in outputs if output.output_type == "stream"]
    assert not [text for text in shown if "Warning" in text]


def blocks(path: Path) -> list[str]:
    """Python in a document, without blocks that shorten a sequence to ``…``."""
    bodies = [match["body"] for match in PYTHON.finditer(path.read_text("utf-8"))]
    return [body for body in bodies if "…" not in re.sub(r"#.*", "", body)]


@pytest.fixture
def reader_folder(tmp_path: Path, run_paratope: Run) -> Path:
    """Where a reader of the documents would stand: the files that they name are there."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    table = tmp_path / "measurements.csv"
    run_paratope("data", "simulate", "-o", table, "--antibodies", 20, "--antigens", 2, code=0)
    rows = pl.read_csv(table)
    rows.select("id", "heavy", "light", "antigen").head(5).write_csv(tmp_path / "pool.csv")
    return tmp_path


# Examples that encode hundreds of mutants.
HEAVY = dict.fromkeys(("scan.md", "suggest.md"), pytest.mark.slow)
# Examples that need a run of the release's large encoders are run with small ones elsewhere.
ELSEWHERE = {"recipes.md": "tests/test_dual_encoder.py"}


def campaign_names(folder: Path) -> dict[str, object]:
    """What scan.md and suggest.md speak of: a campaign, and an antibody of it."""
    import paratope

    rows = pl.read_csv(folder / "measurements.csv")
    rows = rows.filter(pl.col("antigen") == rows["antigen"][0])
    paratope.adapt(rows, folder / "my-campaign", report=False)
    return {name: rows[name][0] for name in ("heavy", "light", "antigen")}


def test_examples_that_run_elsewhere_are_read_there():
    for page, test in ELSEWHERE.items():
        assert page in (ROOT / test).read_text("utf-8")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=HEAVY.get(path.name, ())) for path in WITH_PYTHON],
    ids=lambda path: path.name,
)
def test_python_in_documents_runs(path, reader_folder, request, monkeypatch):
    if '"data"' in "".join(blocks(path)):
        (reader_folder / "data").symlink_to(request.getfixturevalue("data_root"))
    monkeypatch.chdir(reader_folder)
    if path.name in ELSEWHERE:
        return
    names: dict[str, object] = {}
    if path.name in ("scan.md", "suggest.md"):
        names |= campaign_names(reader_folder)
    for body in blocks(path):
        exec(compile(body, path.name, "exec"), names)


def command_lines_of(path: Path) -> list[list[str]]:
    """The command lines of a document's blocks, in its order."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)
    lines = [line for body in blocks for line in body.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith("paratope ")]


@pytest.mark.slow
def test_the_commands_of_campaigns_run_as_printed(tmp_path, run_paratope, monkeypatch):
    """From what a fresh clone has, and nothing else."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = command_lines_of(ROOT / "docs" / "campaigns.md")
    assert [words[0] for words in lines].count("adapt") == 3
    for words in lines:
        run_paratope(*words, code=0)
    assert pl.read_csv("next.csv").height == pl.read_csv("plate-2.csv").height == 24
    assert pl.read_csv("predictions.csv")["pkd"].null_count() == 0


def test_files_that_the_documents_name_in_examples_are_there():
    for path in (ROOT / "README.md", ROOT / "docs" / "campaigns.md"):
        words = [word for line in command_lines_of(path) for word in line]
        named = [word for word in words if word.startswith("examples/")]
        assert named
        assert all((ROOT / word).is_file() for word in named)


def test_example_pairs_are_a_dozen_and_one():
    table = pl.read_csv(ROOT / "examples" / "pairs.csv")
    assert {"id", "heavy", "light", "antigen"} <= set(table.columns)
    assert table.height >= 13
    assert table["id"].n_unique() == table.height
