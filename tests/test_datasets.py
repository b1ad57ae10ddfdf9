"""Data sets as a whole: every row accounted for, terms, names, training rows."""

import functools
import hashlib
from collections import Counter
from pathlib import Path

import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets import (
    DATASETS,
    filter_licence,
    is_permissive,
    load_dataset,
    sabdab,
    training_rows,
)
from paratope.data.datasets import (
    data_root as default_data_root,
)
from paratope.data.datasets.dataset import LICENCES
from paratope.data.measurements import Measurement
from paratope.molecules.numbering import prepare_antibody
from published_files import COUNTS, MAIN_FILE, PUBLIC, load_public, published

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT


@pytest.fixture
def load(data_root: Path):
    """Import a public data set, once per session."""
    return functools.partial(load_public, data_root)


# every data set


def test_the_table_names_every_public_source():
    formats = {name for name, dataset in DATASETS.items() if not dataset.files}
    assert formats == {"alphaseq", "flab", "plain"}
    assert set(DATASETS) - formats == set(COUNTS)
    assert all(name == dataset.name for name, dataset in DATASETS.items())
    trainable = {name for name, dataset in DATASETS.items() if dataset.may_train}
    assert not trainable & {"ab_bind", "ab645", "ab1101", "s1131", "abbibench_2fjg"}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_row_of_the_public_file_is_accounted_for(name: str, load, data_root: Path):
    imported = load(name)
    separators = {"skempi_raw": ";", "sabdab_summary": "\t"}
    rows = published(data_root / MAIN_FILE[name], separators.get(name, ","))
    assert imported.counts == COUNTS[name]
    assert imported.rows == len(rows)
    taken = sum(
        count
        for fate, count in imported.counts.items()
        if not fate.startswith(
            ("no ", "not", "mutation", "one ", "further", "affinity", "antibody")
        )
        and "repeats" not in fate
    )
    assert len(imported.measurements) == taken + sum(imported.added.values())


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("as_published", [False, True])
def test_every_measurement_says_where_it_is_from(name: str, as_published: bool, load):
    imported = load(name, as_published)
    rows = [row.origin.row for row in imported.measurements]
    assert all(1 <= row <= imported.rows for row in rows)
    for row in imported.measurements:
        assert row.assay
        assert row.origin.source
        assert row.origin.licence in LICENCES
        assert row.pair.antibody.heavy
        assert row.pair.antigen.chains


@pytest.mark.parametrize("name", PUBLIC)
def test_every_antibody_imported_is_one(name: str, load):
    seen = {row.pair.antibody.chains: row.pair.antibody for row in load(name).measurements}
    for antibody in list(seen.values())[::7]:
        prepare_antibody(antibody)  # raises if the heavy chain is no heavy domain


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_files_are_those_the_importers_were_written_for(name: str, load):
    assert not [note for note in load(name).notes if "is not the file" in note]


def test_another_version_of_a_file_is_noted(data_root: Path, tmp_path: Path):
    text = (data_root / "sabdab/sabdab_affinity.csv").read_text()
    (tmp_path / "sabdab_affinity.csv").write_text(text.replace("SPR", "BLI"))
    (note,) = load_dataset("sabdab", tmp_path).notes
    assert "is not the file this importer was written for" in note


def test_the_document_tells_what_becomes_of_each_source(repository: Path):
    text = (repository / "docs" / "datasets.md").read_text("utf-8")
    lines = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    for name, dataset in DATASETS.items():
        assert name in lines, name
        if dataset.files:
            assert f"| {sum(COUNTS[name].values()):,} |" in lines[name]
            assert f"`{dataset.files[0].path}`" in lines[name]


# terms, and what may train


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


def test_training_rows_are_the_allowed_ones_each_pair_from_one_source(data_root: Path):
    imported = training_rows(data_root)
    assert imported.counts == {
        "absci_her2": 1855,
        "skempi": 1246,
        "sabdab": 217,
        "sabdab, pair already in skempi": 14,
    }
    assert len(imported.measurements) == 1855 + 1246 + 217
    sources: dict[object, set[str]] = {}
    for row in imported.measurements:
        assert is_permissive(row.origin.licence)
        assert row.pkd is not None
        key = (row.pair.antibody.chains, row.pair.antigen.chains)
        sources.setdefault(key, set()).add(row.origin.source)
    assert all(len(names) == 1 for names in sources.values())
    censored = Counter(
        row.origin.source for row in imported.measurements if row.censoring is AT_MOST
    )
    assert censored == {"absci_her2": 1097, "skempi_v2": 98}


def test_importing_twice_gives_the_same(data_root: Path, load):
    def digest(rows: tuple[Measurement, ...]) -> str:
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    again = load_dataset("skempi", data_root)
    assert digest(again.measurements) == digest(load("skempi").measurements)


# names and folders


def test_wrong_names_and_options(tmp_path: Path):
    with pytest.raises(InputError, match="unknown data set 'skempy'; valid names: .*skempi"):
        load_dataset("skempy")
    with pytest.raises(InputError, match="flab is a table format: give the path"):
        load_dataset("flab")
    with pytest.raises(InputError, match="holds its antigens"):
        load_dataset("sabdab", tmp_path, antigen="MKV")


def test_data_root_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARATOPE_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.delenv("PARATOPE_DATA")
    monkeypatch.setenv("PARATOPE_CACHE", str(tmp_path / "cache"))
    assert default_data_root() == tmp_path / "cache" / "data"
    monkeypatch.delenv("PARATOPE_CACHE")
    assert default_data_root() == Path.home() / ".cache" / "paratope" / "data"


def test_files_may_lie_flat_in_the_folder(data_root: Path, tmp_path: Path):
    (tmp_path / "sabdab_affinity.csv").symlink_to(data_root / sabdab.JOINED.path)
    assert len(load_dataset("sabdab", tmp_path).measurements) == 231
