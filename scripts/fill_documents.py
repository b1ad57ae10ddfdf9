"""Put numbers and tables into README.md and docs/ from the files that hold them.

A document says where with a pair of comments::

    <!-- begin:NAME -->
    <!-- end:NAME -->

and ``NAME`` is a key of ``BLOCKS``, or ``benchmark-TOPIC`` for benchmarks/results/TOPIC.md. What
stands between is replaced. ``--check`` writes nothing and fails if a document is out of date.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

ROOT = Path(__file__).resolve().parents[1]
COMMENT = re.compile(r"\s*(?:#|<!--|\{#-?)\s*(?P<text>[^\n]+?)\s*(?:-->|-?#\}|\n)")
SENTENCE_END = re.compile(r"\.\s+(?=[A-Z`])")  # not that of "et al. 2023"
PACKAGE = ROOT / "src" / "paratope"
RESULTS = ROOT / "benchmarks" / "results"
WHOLE_FOLDERS = {
    PACKAGE / "models" / "bundled",
    *(PACKAGE / wing / "templates" for wing in ("campaigns", "evaluation", "web")),
    PACKAGE / "web" / "static",
}
PURPOSES = {
    PACKAGE / "py.typed": "says that the package is typed",
    PACKAGE
    / "data"
    / "audit"
    / "faults.csv": "every fault the audit knows: severity, confidence, advice",
    PACKAGE
    / "data"
    / "datasets"
    / "curated.csv": "every curated table: file, terms, value, assays, parent, floor, origin",
    PACKAGE / "data" / "audit" / "page.html": "the audit's page, a template",
    PACKAGE / "campaigns" / "templates": "a model's card, a scan's page",
    PACKAGE / "evaluation" / "templates": "the report's page",
    PACKAGE / "web" / "static": "style sheet, our script, and htmx with its licence",
    PACKAGE / "web" / "templates": "the pages",
    PACKAGE
    / "models"
    / "bundled": "models that ship, with their cards: default; network, an ensemble",
}
BLOCK = re.compile(
    r"(?P<begin><!-- begin:(?P<name>[\w-]+) -->\n).*?(?P<end><!-- end:(?P=name) -->)", re.DOTALL
)


def commands() -> str:
    """Table of the commands, as in ``paratope --help``."""
    from paratope.cli import COMMANDS

    rows = [f"| `paratope {name}` | {summary} |" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def default_model() -> str:
    """What the default model's card says first: everything between its title and first section."""
    card = (PACKAGE / "models" / "bundled" / "default" / "card.md").read_text(encoding="utf-8")
    _, _, text = card.partition("\n")
    return text.split("\n## ")[0].strip()


def default_model_card() -> str:
    """The default model's card, without its title."""
    card = (PACKAGE / "models" / "bundled" / "default" / "card.md").read_text(encoding="utf-8")
    return card.partition("\n")[2].strip()


def eighty_wells() -> str:
    """What plates of 80 variants, drawn at random from measured landscapes, led to."""
    record = json.loads((RESULTS / "suggest.json").read_text(encoding="utf-8"))
    plates = [plate for plate in record["plates"] if plate["draw"] == "random"]
    clones = [clone for clone in record["clones"] if clone["draw"] == "random"]
    landscapes = sorted({plate["landscape"] for plate in plates})
    held = [
        fmean(plate["suggested"] for plate in plates if plate["landscape"] == name)
        for name in landscapes
    ]
    walk = json.loads((RESULTS / "campaign_walkthrough.json").read_text(encoding="utf-8"))
    *_, suggested, random = walk["rounds"]  # the second plate, and what it would have been
    return (
        f"**What 80 wells bought**, replayed on {len(landscapes)} measured landscapes: of the 20 "
        f"best variants that a random plate of 80 had left, the 48 suggested next held "
        f"{fmean(held):.1f} in the mean ({min(held):.1f} to {max(held):.1f}). "
        f"{sum(clone['above'] for clone in clones)} of these {len(clones):,} clones were above "
        "the best of their first plate, where "
        f"{sum(clone['promised'] for clone in clones):.0f} had been promised. "
        f"After a plate of {suggested['rows']} of Absci's trastuzumab variants, the next "
        f"one held {suggested['hits']:.0f} of the strongest tenth; drawn at random it would have "
        f"held {random['hits']:.0f}. Tables: [suggestions](docs/suggest.md), "
        "[campaigns](docs/campaigns.md)."
    )


def domains() -> str:
    """What ``in``, ``near`` and ``out`` mean, with the limits that the code uses."""
    from paratope.models import applicability_domain, calibration

    same, near, family = (
        f"{limit:.0%}".replace("%", " %")
        for limit in (
            applicability_domain.SAME_ANTIGEN_IDENTITY,
            applicability_domain.NEAR_ANTIGEN_IDENTITY,
            applicability_domain.SAME_FAMILY_IDENTITY,
        )
    )
    rows, of_group = calibration.MIN_ROWS, calibration.MAX_ROWS_OF_GROUP
    lines = [
        "| domain | meaning |",
        "|---|---|",
        f"| `in` | the antigen was in the training set (identity at least {same}), and an antibody "
        f"with similar CDRs (at least {family}) was measured against it |",
        f"| `near` | a relative of the antigen (at least {near}) was in the training set |",
        "| `out` | nothing like the antigen was |",
        "",
        f"A calibration of its own takes {rows} held-out rows, of which at most {of_group} of one "
        "antigen cluster count.",
    ]
    return "\n".join(lines)


def encoders() -> str:
    """Table of the encoders, as in ``paratope encoders list``."""
    from paratope.encoders import ENCODERS

    rows = [
        f"| `{name}` | {entry.summary} | {entry.dim} | {entry.max_residues or 'any'} | "
        f"{entry.weights} | {entry.licence} |"
        for name, entry in ENCODERS.items()
    ]
    header = "| encoder | what it is | numbers per residue | longest chain | weights | licence |"
    return "\n".join([header, "|---|---|---|---|---|---|", *rows])


def candidates() -> str:
    """Table of what ``paratope suggest`` generates."""
    from paratope.campaigns.suggestion import GENERATORS

    rows = [f"| `{name}` | {what} | {most:,} |" for name, (what, most) in GENERATORS.items()]
    return "\n".join(["| kind | what it is | at most |", "|---|---|---|", *rows])


def acquisitions() -> str:
    """Table of the acquisitions of ``paratope suggest``."""
    from paratope.campaigns.suggestion import ACQUISITIONS

    rows = [f"| `{name}` | {kind.summary} |" for name, kind in ACQUISITIONS.items()]
    return "\n".join(["| `--acquisition` | takes next |", "|---|---|", *rows])


def screening() -> str:
    """What a million antibodies take."""
    record = json.loads((RESULTS / "screen.json").read_text(encoding="utf-8"))
    results = record["results"]
    whole, own = results["million"], results["loop"]
    return (
        f"{whole['rows']:,} distinct variants take {whole['seconds'] / 60:.1f} minutes on "
        f"{record['machine']['cores']} cores and {whole['peak_gb']:.1f} GB; a loop over the "
        f"language model would take {own['million_hours']:.1f} hours. "
        f"{whole['recall']['estimate']:.0%} of the best {whole['recall']['top']:,} by the full "
        "model are expected among the hits: [screening](docs/screening.md)."
    )


def serve_sizing() -> str:
    """What one server carries, from its measured rates."""
    record = json.loads((RESULTS / "serve.json").read_text(encoding="utf-8"))
    rates, over = record["throughput"], record["overload"]
    alone, together = (median(rates[f"{name}_per_second"]) for name in ("alone", "together"))
    cores, most = record["machine"]["cores"], over["memory_mb_most"]
    gigabytes = -(-2 * most // 1000)  # twice what was seen, for a job beside it
    return (
        f"On the {cores} cores measured above, with the default model, one client that asks for "
        f"one new antibody after another gets {alone:.0f} a second, many clients together "
        f"{together:.0f}; pairs asked for before cost little "
        f"({record['many']['per_second']:.0f} a second over 200 distinct ones). A plate of 384 new "
        f"antibodies asked for one by one takes about {384 / alone:.0f} s, and "
        f"{round(together * 3600, -4):,.0f} new antibodies an hour are what one server answers; "
        "what waits is bounded, and beyond that it says 429 and when to come again. The process "
        f"held at most {most:,} MB under overload: give it {gigabytes} GB, and for a job that runs "
        "beside it what its command takes alone. One thread has the models, so more cores mainly "
        "serve the jobs. For a table or a library, start a job rather than ask row by row: it "
        "reads in blocks, and leaves the pages free."
    )


def strategies() -> str:
    """Table of what ``paratope simulate-campaign`` compares."""
    from paratope.campaigns.campaign_simulation import STRATEGIES

    rows = [f"| `{name}` | {what} |" for name, what in STRATEGIES.items()]
    return "\n".join(["| `--compare` | chooses |", "|---|---|", *rows])


def datasets() -> str:
    """Table of the public sources, as in ``paratope data list``."""
    from paratope.data.datasets import DATASETS

    rows = [
        f"| `{name}` | {dataset.summary} | {dataset.licence} | "
        f"{'yes' if dataset.may_train else 'no'} |"
        for name, dataset in DATASETS.items()
    ]
    header = "| name | what it is | licence | may train a shipped model |"
    return "\n".join([header, "|---|---|---|---|", *rows])


def search_space() -> str:
    """Table of what ``paratope train --search`` may change."""
    from paratope.training.search import SPACE

    rows = [f"| `{key}` | {what} |" for key, what in SPACE.items()]
    return "\n".join(["| key | tried |", "|---|---|", *rows])


def liabilities() -> str:
    """Table of the kinds of liability, and whether a filter uses them by default."""
    from paratope.molecules.liabilities import LIABILITIES

    rows = [
        f"| `{name}` | {kind.description} | {'yes' if kind.is_default else 'no'} | {kind.source} |"
        for name, kind in LIABILITIES.items()
    ]
    header = "| kind | what | filters | source, of the motif or of the limit |"
    return "\n".join([header, "|---|---|---|---|", *rows])


def layers() -> str:
    """The wings, low to high, as the test of layers has them."""
    source = (ROOT / "tests" / "test_layers.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WINGS":
            wings = [
                " \\| ".join(f"`{name}`" for name in sorted(floor))
                for floor in ast.literal_eval(node.value)
            ]
            return "> " + " → ".join(wings)
    raise ValueError("tests/test_layers.py has no WINGS")


def tree() -> str:
    """The package's files, each with the first line of its docstring or comment."""
    lines = ["src/paratope/"]
    _add_folder(PACKAGE, lines, indent="  ")
    return "\n".join(["```", *lines, "```"])


def _add_folder(folder: Path, lines: list[str], indent: str) -> None:
    paths = [path for path in folder.iterdir() if path.name not in ("__init__.py", "__pycache__")]
    for path in sorted(paths, key=lambda path: (path.is_dir(), path.name)):
        name = path.name + "/" * path.is_dir()
        lines.append(f"{indent + name:<26}  # {_purpose(path)}")
        if path.is_dir() and path not in WHOLE_FOLDERS:
            _add_folder(path, lines, indent + "  ")


def _purpose(path: Path) -> str:
    """First sentence of what a file or a package says about itself."""
    if path in PURPOSES:
        return PURPOSES[path]
    source = path / "__init__.py" if path.is_dir() else path
    text = source.read_text(encoding="utf-8")
    if source.suffix == ".py":
        line = " ".join((ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].split())
    else:
        comment = COMMENT.match(text)  # of TOML, HTML or a template
        line = comment["text"] if comment else ""
    if not line:
        raise ValueError(f"{source} does not begin with a line that says what it is")
    first = SENTENCE_END.split(line)[0].replace("`", "")
    return first if first.endswith("...") else first.rstrip(".")


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "acquisitions": acquisitions,
    "candidates": candidates,
    "datasets": datasets,
    "default-model": default_model,
    "default-model-card": default_model_card,
    "domains": domains,
    "eighty-wells": eighty_wells,
    "screening": screening,
    "encoders": encoders,
    "layers": layers,
    "serve-sizing": serve_sizing,
    "strategies": strategies,
    "liabilities": liabilities,
    "search-space": search_space,
    "tree": tree,
}


def content(name: str) -> str:
    """Text of one block; KeyError with the valid names if there is no such block."""
    if name in BLOCKS:
        return BLOCKS[name]()
    page = RESULTS / f"{name.removeprefix('benchmark-')}.md"
    if name.startswith("benchmark-") and page.is_file():
        text = page.read_text(encoding="utf-8").strip()
        return re.sub(r"^# .*\n+", "", text)  # the document has a heading of its own
    valid = [*BLOCKS, *(f"benchmark-{path.stem}" for path in sorted(RESULTS.glob("*.md")))]
    raise KeyError(f"no block {name!r}; valid names: {', '.join(valid)}")


def documents() -> list[Path]:
    """The files that may hold blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """A document's text with every block renewed."""
    return BLOCK.sub(
        lambda match: f"{match['begin']}{content(match['name'])}\n{match['end']}", text
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if out of date")
    check = parser.parse_args().check
    outdated = []
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if before != after:
            outdated.append(path.relative_to(ROOT))
            if not check:
                path.write_text(after, encoding="utf-8")
    for path in outdated:
        print(f"{'out of date' if check else 'renewed'}: {path}")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
