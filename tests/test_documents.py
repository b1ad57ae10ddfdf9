"""What the documents say is so: tree, commands, numbers, links; their examples run."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import nbclient
import nbformat
import polars as pl
import pytest

import fill_documents
import paratope
from command_lines import check_command_line

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "paratope"
README = ROOT / "README.md"
DOCUMENTS = fill_documents.documents()
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
NAMED = list(zip(DOCUMENTS, NAMES, strict=True))
of_documents = pytest.mark.parametrize(("path", "name"), NAMED, ids=NAMES)
_BINARY = {".safetensors", ".npz", ".parquet", ".xlsx", ".png"}
IGNORED = {"__pycache__", ".ipynb_checkpoints"}

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
INLINE_COMMAND = re.compile(r"`(paratope [^`]+)`")
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(?:#[^)]*)?\)")

# Words that belong to how the software is made, not to the software.
FORBIDDEN = {
    "machine path": re.compile(r"/(?:work|root|home|tmp|opt)/\w"),
    "issue number": re.compile(r"\bissues? #?\d+\b|(?<![\w&])#\d{1,2}\b", re.IGNORECASE),
    "unfinished": re.compile(r"\b(?:TODO|FIXME|XXX:|HACK)\b"),
}


def tracked_files() -> list[Path]:
    """Text files of the repository, by git where it is there."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def tree_entries() -> dict[str, str]:
    """Paths of the README's tree below src/paratope, each with its comment."""
    trees = [match["body"] for match in FENCE.finditer(README.read_text("utf-8"))]
    (tree,) = (body for body in trees if body.startswith("src/paratope/"))
    entries: dict[str, str] = {}
    folders: list[str] = []
    for line in tree.splitlines()[1:]:
        indented, _, comment = line.partition("  #")
        name = indented.strip()
        depth = (len(indented) - len(indented.lstrip())) // 2 - 1
        assert comment.strip(), f"no comment: {line}"
        folders = [*folders[:depth], name.rstrip("/")]
        entries["/".join(folders) + ("/" if name.endswith("/") else "")] = comment.strip()
    return entries


def test_tree_in_the_readme_is_the_tree_on_disk():
    entries = tree_entries()
    folders = {path for path in entries if path.endswith("/")}
    leaf_folders = {path for path in folders if sum(p.startswith(path) for p in entries) == 1}
    on_disk = set()
    for path in PACKAGE.rglob("*"):
        if path.is_dir() or path.name == "__init__.py" or IGNORED & set(path.parts):
            continue  # a package's __init__.py is the folder's own line
        relative = path.relative_to(PACKAGE).as_posix()
        whole = next((folder for folder in leaf_folders if relative.startswith(folder)), None)
        on_disk.add(whole or relative)
    files = {path for path in entries if not path.endswith("/")} | leaf_folders
    assert sorted(on_disk - files) == [], "on disk, not in README.md"
    assert sorted(files - on_disk) == [], "in README.md, not on disk"


def command_lines() -> list[tuple[str, str]]:
    """Every line that starts with ``paratope`` in a code block or between backticks."""
    lines = []
    for path, name in NAMED:
        text = path.read_text("utf-8")
        for match in FENCE.finditer(text):
            body = match["body"].replace("\\\n", " ")
            typed = [line.strip().removeprefix("$ ") for line in body.splitlines()]
            lines += [(name, line) for line in typed if line.startswith("paratope ")]
    return lines


@pytest.mark.parametrize(("name", "line"), command_lines())
def test_commands_in_documents_are_real(name: str, line: str):
    check_command_line(line.split("  #")[0])


@of_documents
def test_commands_named_in_the_text_exist(path: Path, name: str):
    """In running text a command may be shortened, but its words must be real."""
    from paratope.cli import COMMANDS, load_command

    for match in INLINE_COMMAND.finditer(FENCE.sub("", path.read_text("utf-8"))):
        words = match[1].split()[1:]
        if words[0].startswith("-"):
            continue
        assert words[0] in COMMANDS, f"{name}: {match[0]}"
        subcommands = getattr(load_command(words[0]), "commands", None)
        if subcommands and len(words) > 1:
            assert words[1] in subcommands, f"{name}: {match[0]}"


@of_documents
def test_make_targets_named_in_documents_exist(path, name):
    rules = re.findall(r"^([a-z-]+%?):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    text = path.read_text("utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
        topic = target.removeprefix("benchmark-")
        if topic != target and topic:
            script = ROOT / "benchmarks" / f"benchmark_{topic.replace('-', '_')}.py"
            assert script.is_file(), f"{name}: make {target}"
        else:
            assert target in rules or f"{target}%" in rules, f"{name}: make {target}"


@of_documents
def test_links_lead_to_files_and_numbers_are_those_of_the_result_files(path, name):
    text = path.read_text("utf-8")
    for match in LINK.finditer(text):
        if not match["target"].startswith(("http://", "https://", "mailto:")):
            assert (path.parent / match["target"]).exists(), f"{name}: {match['target']}"
    assert fill_documents.filled(text) == text, f"{name} is out of date: make documents"


def test_filling_is_idempotent_and_an_unknown_block_names_the_valid_ones():
    text = "before\n<!-- begin:commands -->\nold\n<!-- end:commands -->\nafter\n"
    once = fill_documents.filled(text)
    assert "paratope predict" in once
    assert "old" not in once
    assert fill_documents.filled(once) == once
    with pytest.raises(KeyError, match=r"no block 'nonsense'; valid names: commands"):
        fill_documents.filled(text.replace("commands", "nonsense"))


def test_nothing_speaks_of_how_it_was_made():
    found = []
    for path in tracked_files():
        if path == Path(__file__) or path.suffix in _BINARY:
            continue
        text = path.read_text("utf-8")
        for what, pattern in FORBIDDEN.items():
            found += [(path.name, what, match[0]) for match in pattern.finditer(text)]
    assert found == []


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def distribution(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def requirements() -> set[str]:
    """Distributions that the package or one of its extras asks for."""
    table = project()["project"]
    extras = [one for many in table["optional-dependencies"].values() for one in many]
    return set(map(distribution, [*table["dependencies"], *extras])) - {"paratope"}


def test_dependencies_are_those_of_the_page():
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    core, _, rest = page.partition("## Extras")
    extras, _, _ = rest.partition("## Considered")
    listed = {name.lower().replace("_", "-") for name in re.findall(r"^\| `([^`]+)`", core, re.M)}
    table = project()["project"]
    assert listed == {distribution(requirement) for requirement in table["dependencies"]}
    extra_of = {**table["optional-dependencies"], "all": []}
    optional = {(name, distribution(one)) for name, many in extra_of.items() for one in many}
    assert set(re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", extras, re.M)) == optional


def test_installation_names_every_extra():
    page = (ROOT / "docs" / "installation.md").read_text("utf-8")
    named = re.findall(r"^\| `\[(\w+)\]` \|", page, re.M)
    assert sorted(named) == sorted(project()["project"]["optional-dependencies"])


# Imported by another library on our behalf: what for is in docs/dependencies.md.
BEHIND_POLARS = {"pyarrow", "fastexcel", "xlsxwriter"}
BEHIND_MLFLOW = {"sqlalchemy", "alembic"}
BEHIND_FASTAPI = {"python-multipart"}
IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "mlflow-skinny": "mlflow",
    "markdown-it-py": "markdown_it",
}


def test_every_dependency_is_used():
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and node.args:  # find_spec("antiberty"), files(...)
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    imported.add(first.value)
    names = requirements()
    names -= BEHIND_POLARS | BEHIND_MLFLOW | BEHIND_FASTAPI
    assert {IMPORT_NAMES.get(name, name).replace("-", "_") for name in names} <= imported


def test_pins_cover_what_the_project_asks_for():
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    pinned = {name.lower().replace("_", "-") for name in pins}
    development = project()["dependency-groups"]["dev"]
    assert requirements() | set(map(distribution, development)) <= pinned


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {paratope.__version__}\n" in citation


NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
WITH_PYTHON = [path for path in DOCUMENTS if "\n```python\n" in path.read_text("utf-8")]


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
    found = FENCE.finditer(path.read_text("utf-8"))
    bodies = [match["body"] for match in found if match["language"] == "python"]
    return [body for body in bodies if "…" not in re.sub(r"#.*", "", body)]


# Examples that encode hundreds of mutants.
OF_CAMPAIGNS = ("scan.md", "suggest.md")
HEAVY = dict.fromkeys(("campaigns.md", *OF_CAMPAIGNS), pytest.mark.slow)
# recipes.md needs a run of the release's large encoders: tests/test_dual_encoder.py runs it.
RUN_HERE = [path for path in WITH_PYTHON if path.name != "recipes.md"]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=HEAVY.get(path.name, ())) for path in RUN_HERE],
    ids=lambda path: path.name,
)
def test_python_in_documents_runs(path, tmp_path, request, run_paratope, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(ROOT / "examples")
    if '"data"' in "".join(blocks(path)):
        Path("data").symlink_to(request.getfixturevalue("data_root"))
    size = ("--antibodies", 20, "--antigens", 2)
    run_paratope("data", "simulate", "-o", "measurements.csv", *size, code=0)
    rows = pl.read_csv("measurements.csv")
    rows.select("id", "heavy", "light", "antigen").head(5).write_csv("pool.csv")
    names: dict[str, object] = {}
    if path.name in OF_CAMPAIGNS:  # which speak of a campaign, and an antibody of it
        campaign = rows.filter(pl.col("antigen") == rows["antigen"][0])
        paratope.adapt(campaign, "my-campaign", report=False)
        names |= {name: campaign[name][0] for name in ("heavy", "light", "antigen")}
    for body in blocks(path):
        exec(compile(body, path.name, "exec"), names)


@pytest.mark.slow
def test_the_commands_of_campaigns_run_as_printed(tmp_path, run_paratope, monkeypatch):
    """From what a fresh clone has, and nothing else."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = [line.split()[1:] for name, line in command_lines() if name == "docs/campaigns.md"]
    assert [words[0] for words in lines].count("adapt") == 3
    for words in lines:
        run_paratope(*words, code=0)
    assert pl.read_csv("next.csv").height == pl.read_csv("plate-2.csv").height == 24
    assert pl.read_csv("predictions.csv")["pkd"].null_count() == 0


def test_files_that_commands_in_documents_name_in_examples_are_there():
    words = [word for _, line in command_lines() for word in line.split()]
    named = {word for word in words if word.startswith("examples/")}
    assert len(named) > 1
    assert all((ROOT / word).is_file() for word in named)


def test_example_pairs_are_a_dozen_and_one():
    table = pl.read_csv(ROOT / "examples" / "pairs.csv")
    assert {"id", "heavy", "light", "antigen"} <= set(table.columns)
    assert table.height >= 13
    assert table["id"].n_unique() == table.height
