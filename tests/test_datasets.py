"""Data sets as a whole: every row accounted for, terms, names, training rows, damaged files."""

import csv
import gzip
import io
from collections import Counter
from pathlib import Path

import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data import datasets
from paratope.data.datasets import DATASETS, abbibench, filter_licence, load_dataset
from paratope.data.datasets import data_root as default_data_root
from paratope.data.datasets.dataset import LICENCES
from paratope.molecules.numbering import prepare_antibody
from published_files import COUNTS, MAIN_FILE, PUBLIC, ROWS, published


def test_the_table_names_every_public_source():
    formats = {name for name, dataset in DATASETS.items() if not dataset.files}
    assert formats == {"alphaseq", "flab", "plain"}
    assert set(DATASETS) - formats == set(COUNTS)
    assert all(name == dataset.name for name, dataset in DATASETS.items())
    trainable = {name for name, dataset in DATASETS.items() if dataset.may_train}
    assert not trainable & {"ab_bind", "ab645", "ab1101", "s1131", "abbibench_2fjg"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_row_of_the_public_file_is_accounted_for(name, load, data_root):
    imported = load(name)
    assert not [note for note in imported.notes if "is not the file" in note]
    rows = published(data_root / MAIN_FILE[name], DATASETS[name].files[0].separator)
    assert imported.counts == COUNTS[name]
    assert imported.rows == len(rows)
    left_out = ("no ", "not", "mutation", "one ", "further", "affinity", "antibody")
    fates = [fate for fate in imported.counts if not fate.startswith(left_out)]
    taken = sum(imported.counts[fate] for fate in fates if "repeats" not in fate)
    assert len(imported.measurements) == taken + sum(imported.added.values())


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("as_published", [False, True])
def test_every_measurement_says_where_it_is_from_and_is_of_an_antibody(name, as_published, load):
    imported = load(name, as_published)
    rows = [row.origin.row for row in imported.measurements]
    assert all(1 <= row <= imported.rows for row in rows)
    for row in imported.measurements:
        assert row.assay
        assert row.origin.source
        assert row.origin.licence in LICENCES
        assert row.pair.antibody.heavy
        assert row.pair.antigen.chains
    if not as_published:  # where also others are kept
        seen = {row.pair.antibody.chains: row.pair.antibody for row in imported.measurements}
        for antibody in list(seen.values())[::7]:
            prepare_antibody(antibody)  # raises if the heavy chain is no heavy domain


def test_the_document_tells_what_becomes_of_each_source(repository):
    text = (repository / "docs" / "datasets.md").read_text("utf-8")
    lines = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for name, dataset in DATASETS.items():
        assert name in lines, name
        if dataset.files:
            assert f"| {sum(COUNTS[name].values()):,} |" in lines[name]
            assert f"`{dataset.files[0].path}`" in lines[name]


def test_licence_filter_works_row_by_row(load):
    for name in ("ab_bind", "ab645", "ab1101"):
        assert filter_licence(load(name)).measurements == ()
    for name in ("skempi", "sabdab", "absci_her2", "abbibench_1n8z"):
        assert filter_licence(load(name)) == load(name)
    kept = filter_licence(load("general"))
    assert 0 < len(kept.measurements) < len(load("general").measurements)
    assert "terms not permissive" in kept.notes[-1]
    assert filter_licence(load("general"), "any") == load("general")
    with pytest.raises(InputError, match="valid names: any, permissive"):
        filter_licence(load("general"), "free")


def test_training_rows_are_the_allowed_ones_each_pair_from_one_source(data_root):
    imported = datasets.training_rows(data_root)
    assert imported.counts == ROWS["training"]
    rows = imported.measurements
    assert len(rows) == 5054
    trainable = {name for name, dataset in DATASETS.items() if dataset.may_train}
    assert {row.origin.source for row in rows} <= trainable | {"skempi_v2"}
    sources: dict[object, set[str]] = {}
    for row in rows:
        assert datasets.is_permissive(row.origin.licence)
        assert row.pkd is not None
        key = (row.pair.antibody.chains, row.pair.antigen.chains)
        sources.setdefault(key, set()).add(row.origin.source)
    assert all(len(names) == 1 for names in sources.values())
    censored = Counter(row.origin.source for row in rows if row.censoring is Censoring.AT_MOST)
    assert censored == ROWS["training, at most"]


def test_wrong_names_and_options(tmp_path):
    with pytest.raises(InputError, match="unknown data set 'skempy'; valid names: .*skempi"):
        load_dataset("skempy")
    with pytest.raises(InputError, match="flab is a table format: give the path"):
        load_dataset("flab")
    with pytest.raises(InputError, match="holds its antigens"):
        load_dataset("sabdab", tmp_path, antigen="MKV")


def test_data_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PARATOPE_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.delenv("PARATOPE_DATA")
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "cache"))
    assert default_data_root() == tmp_path / "cache" / "data"
    monkeypatch.delenv("PARATOPE_CACHE")
    assert default_data_root() == Path.home() / ".cache" / "paratope" / "data"


NUMBER = {
    "skempi": "kd_wt_M",
    "skempi_raw": "Affinity_mut (M)",
    "sabdab": "kd_M",
    "sabdab_summary": "affinity",
    "absci_her2": "kd_nM",
    "general": "pkd",
    "ab_bind": "ddG(kcal/mol)",
    **dict.fromkeys(("ab645", "ab1101", "s1131"), "ddG"),
    **{f"abbibench_{name}": "binding_score" for name in abbibench.ASSAYS},
    **{table.name: table.value for table in datasets.curated.TABLES.values()},
}
SEPARATOR = {name: DATASETS[name].files[0].separator for name in PUBLIC}


@pytest.fixture
def damaged(data_root: Path, tmp_path: Path):
    """Put a data set's main file, changed, into a folder beside the untouched others."""

    def put(name: str, change) -> Path:
        for file in DATASETS[name].files[1:]:
            if (data_root / file.path).is_file():
                target = tmp_path / file.path
                target.parent.mkdir(exist_ok=True)
                target.symlink_to(data_root / file.path)
        path = tmp_path / MAIN_FILE[name]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(change((data_root / MAIN_FILE[name]).read_bytes()))
        return tmp_path

    return put


READS = {"skempi_raw": lambda row: "AB/AG" in row, "sabdab_summary": lambda row: len(row) == 30}


def without_the_column(rows: list[list[str]], name: str) -> None:
    rows[0] = [f"old {field}" if field == NUMBER[name] else field for field in rows[0]]


def without_a_number(rows: list[list[str]], name: str) -> None:
    next(filter(READS.get(name), rows[1:]))[rows[0].index(NUMBER[name])] = "abc"


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_the_column, ("no column ['{}']; columns found: ",)),
        (without_a_number, ("{}", "'abc'", "line")),
    ],
)
def test_damaged_columns_and_values(name, damage, said, damaged):
    def change(content: bytes) -> bytes:
        lines = content.decode("latin-1").splitlines()
        rows = list(csv.reader(lines, delimiter=SEPARATOR[name]))
        damage(rows, name)
        text = io.StringIO()
        csv.writer(text, delimiter=SEPARATOR[name]).writerows(rows)
        return text.getvalue().encode("latin-1")

    with pytest.raises(InputError) as caught:
        load_dataset(name, damaged(name, change))
    for part in (Path(MAIN_FILE[name]).name, *said):
        assert part.format(NUMBER[name]) in str(caught.value)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "sabdab_summary"])
def test_damaged_the_file_is_cut_in_the_middle_of_a_row(name, damaged):
    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        separator = SEPARATOR[name].encode()
        return b"".join(lines[:20]) + lines[20][: lines[20].rindex(separator)]

    message = r"line 21: \d+ fields? where the header has \d+; the file is truncated|or truncated"
    with pytest.raises(InputError, match=message):
        load_dataset(name, damaged(name, change))


def test_damaged_a_cut_between_rows_is_noted_by_the_checksum(damaged):
    begun = damaged("sabdab", lambda content: b"".join(content.splitlines(keepends=True)[:20]))
    imported = load_dataset("sabdab", begun)
    assert imported.rows == 19
    assert "is not the file this importer was written for" in imported.notes[-1]


@pytest.mark.parametrize("name", PUBLIC)
def test_damaged_another_separator(name, damaged):
    separator = SEPARATOR[name].encode()
    other = b"\t" if separator != b"\t" else b";"
    names = {b",": "commas", b";": "semicolons", b"\t": "tabs"}

    def change(content: bytes) -> bytes:
        if separator != b",":
            content = content.replace(b",", b" ")
        return content.replace(separator, other)

    with pytest.raises(InputError, match=f"by {names[other]}, expected {names[separator]}"):
        load_dataset(name, damaged(name, change))


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\x00\x01\x02" * 100, "no column|not a text table"),
        (gzip.compress(b"heavy,light\n"), "no column|not a text table"),
        (None, "a header but no rows"),
    ],
    ids=["empty", "binary", "compressed", "header only"],
)
def test_damaged_no_table_at_all(name, content, message, damaged):
    folder = damaged(name, lambda old: old.splitlines()[0] if content is None else content)
    with pytest.raises(InputError, match=message):
        load_dataset(name, folder)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_missing_file_is_named_with_its_checksum(name, tmp_path):
    first = DATASETS[name].files[0]
    file = datasets.absci_her2.ZERO_SHOT if first == datasets.absci_her2.JOINED else first
    with pytest.raises(InputError) as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / file.path) in message
    assert file.sha256 in message
    assert (file.url or file.made) in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"EVQLV", b"EVQ1V", r"line 2: heavy chain: '1' at position 4"),
        (b",True,", b",perhaps,", r"column 'binder': expected True with a Kd"),
    ],
)
def test_damaged_residues_and_flags(old, new, message, damaged):
    folder = damaged("absci_her2", lambda content: content.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_dataset("absci_her2", folder)


def test_damaged_tables_of_published_scores(data_root, tmp_path):
    with pytest.raises(InputError, match="valid names: 1n8z"):
        datasets.abbibench_scores("4fqi", tmp_path)
    folder = tmp_path / "abbibench"
    folder.mkdir()
    scores = folder / "1n8z_all_model_scores.csv.gz"
    other = gzip.compress(b"mut_heavy_chain_seq,score\nEVQL,1\n")
    text = gzip.compress(b"mut_heavy_chain_seq,binding_score\nEVQL,high\n")
    for content, message in (
        ((data_root / "abbibench" / scores.name).read_bytes()[:2000], "not a readable table"),
        (other, r"no column \['binding_score'\]"),
        (text, "expected numbers"),
    ):
        scores.write_bytes(content)
        with pytest.raises(InputError, match=message):
            datasets.abbibench_scores("1n8z", tmp_path)
