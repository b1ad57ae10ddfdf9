"""Damaged copies of the public files: each gives one clear error."""

import csv
import gzip
from pathlib import Path

import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets import (
    DATASETS,
    abbibench,
    abbibench_scores,
    load_dataset,
)
from published_files import MAIN_FILE, PUBLIC

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT


# damaged copies

NUMBER = {
    "skempi": "kd_wt_M",
    "skempi_raw": "Affinity_mut (M)",
    "sabdab": "kd_M",
    "sabdab_summary": "affinity",
    "absci_her2": "kd_nM",
    "general": "pkd",
    "ab_bind": "ddG(kcal/mol)",
    "ab645": "ddG",
    "ab1101": "ddG",
    "s1131": "ddG",
    **{f"abbibench_{name}": "binding_score" for name in abbibench.ASSAYS},
}
SEPARATOR = {"skempi_raw": ";", "sabdab_summary": "\t"}


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


def table(content: bytes, separator: str) -> list[list[str]]:
    return list(csv.reader(content.decode("latin-1").splitlines(), delimiter=separator))


def text_of(rows: list[list[str]], separator: str) -> bytes:
    lines = []
    for row in rows:
        quoted = [f'"{field}"' if separator in field or '"' in field else field for field in row]
        lines.append(separator.join(quoted))
    return "\n".join(lines).encode("latin-1")


@pytest.mark.parametrize("name", PUBLIC)
def test_damaged_a_column_is_missing(name: str, damaged):
    separator, column = SEPARATOR.get(name, ","), NUMBER[name]

    def change(content: bytes) -> bytes:
        rows = table(content, separator)[:200]
        rows[0] = [f"old {field}" if field == column else field for field in rows[0]]
        return text_of(rows, separator)

    with pytest.raises(InputError) as caught:
        load_dataset(name, damaged(name, change))
    assert Path(MAIN_FILE[name]).name in str(caught.value)
    assert f"no column [{column!r}]; columns found: " in str(caught.value)


@pytest.mark.parametrize("name", PUBLIC)
def test_damaged_a_value_is_no_number(name: str, damaged):
    separator = SEPARATOR.get(name, ",")
    reads = {
        "skempi_raw": lambda row: "AB/AG" in row,
        "sabdab_summary": lambda row: len(row) == 30,
    }.get(name, bool)

    def change(content: bytes) -> bytes:
        rows = table(content, separator)
        next(filter(reads, rows[1:]))[rows[0].index(NUMBER[name])] = "abc"
        return text_of(rows, separator)

    with pytest.raises(InputError) as caught:
        load_dataset(name, damaged(name, change))
    message = str(caught.value)
    assert Path(MAIN_FILE[name]).name in message
    assert NUMBER[name] in message
    assert "'abc'" in message
    assert "line" in message


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "sabdab_summary"])
def test_damaged_the_file_is_cut_in_the_middle_of_a_row(name: str, damaged):
    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        separator = SEPARATOR.get(name, ",").encode()
        return b"".join(lines[:20]) + lines[20][: lines[20].rindex(separator)]

    message = r"line 21: \d+ fields? where the header has \d+; the file is truncated|or truncated"
    with pytest.raises(InputError, match=message):
        load_dataset(name, damaged(name, change))


def test_damaged_a_cut_between_rows_is_noted_by_the_checksum(damaged):
    def change(content: bytes) -> bytes:
        return b"".join(content.splitlines(keepends=True)[:20])

    imported = load_dataset("sabdab", damaged("sabdab", change))
    assert imported.rows == 19
    assert "is not the file this importer was written for" in imported.notes[-1]


@pytest.mark.parametrize("name", PUBLIC)
def test_damaged_another_separator(name: str, damaged):
    separator = SEPARATOR.get(name, ",").encode()
    other = b"\t" if separator != b"\t" else b";"
    expected = {b",": "commas", b";": "semicolons", b"\t": "tabs"}

    def change(content: bytes) -> bytes:
        if separator != b",":
            content = content.replace(b",", b" ")
        return content.replace(separator, other)

    words = f"separated by {expected[other]}, expected {expected[separator]}"
    with pytest.raises(InputError, match=words):
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
def test_damaged_no_table_at_all(name: str, content: bytes | None, message: str, damaged):
    with pytest.raises(InputError, match=message):
        load_dataset(
            name, damaged(name, lambda old: old.splitlines()[0] if content is None else content)
        )


@pytest.mark.parametrize("name", PUBLIC)
def test_a_missing_file_is_named_with_its_checksum(name: str, tmp_path: Path):
    file = DATASETS[name].files[0]
    with pytest.raises(InputError) as caught:
        load_dataset(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path / file.path) in message
    assert file.sha256 in message
    assert (file.url or file.made) in message


def test_damaged_residues_and_flags(data_root: Path, damaged):
    folder = damaged("absci_her2", lambda content: content.replace(b"EVQLV", b"EVQ1V", 1))
    with pytest.raises(InputError, match=r"line 2: heavy chain: '1' at position 4"):
        load_dataset("absci_her2", folder)
    folder = damaged_copy(data_root, folder, b",True,", b",perhaps,")
    with pytest.raises(InputError, match=r"column 'binder': expected True with a Kd"):
        load_dataset("absci_her2", folder)


def damaged_copy(data_root: Path, folder: Path, old: bytes, new: bytes) -> Path:
    path = MAIN_FILE["absci_her2"]
    (folder / path).write_bytes((data_root / path).read_bytes().replace(old, new, 1))
    return folder


def test_damaged_comparators(data_root: Path, tmp_path: Path):
    with pytest.raises(InputError, match="valid names: 1n8z"):
        abbibench_scores("4fqi", tmp_path)
    folder = tmp_path / "abbibench"
    folder.mkdir()
    scores = folder / "1n8z_all_model_scores.csv.gz"
    scores.write_bytes((data_root / "abbibench" / scores.name).read_bytes()[:2000])
    with pytest.raises(InputError, match="not a readable table"):
        abbibench_scores("1n8z", tmp_path)
    scores.write_bytes(gzip.compress(b"mut_heavy_chain_seq,score\nEVQL,1\n"))
    with pytest.raises(InputError, match=r"no column \['binding_score'\]"):
        abbibench_scores("1n8z", tmp_path)
    scores.write_bytes(gzip.compress(b"mut_heavy_chain_seq,binding_score\nEVQL,high\n"))
    with pytest.raises(InputError, match="expected numbers"):
        abbibench_scores("1n8z", tmp_path)
