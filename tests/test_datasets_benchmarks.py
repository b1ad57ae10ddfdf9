"""Importers for benchmarks and published comparators, on their public files."""

import functools
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from scipy.stats import spearmanr

from paratope.core.censoring import Censoring
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data.datasets import (
    ab_bind,
    abbibench,
    abbibench_scores,
    published_spearman,
)
from published_files import alone_in, load_public, published

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT


@pytest.fixture
def load(data_root: Path):
    """Import a public data set, once per session."""
    return functools.partial(load_public, data_root)


# AB-Bind and AttABseq


@pytest.mark.parametrize(("name", "flags"), [("ab645", 27), ("ab1101", 50), ("ab_bind", 50)])
def test_flags_are_bounds_not_values(name: str, flags: int, load):
    imported = load(name)
    bounds = [row for row in imported.measurements if row.censoring is AT_MOST]
    assert len(bounds) == flags
    flag = ddg_kcal_mol_to_delta_pkd(8.0)
    for bound in bounds:
        measured = [
            row.delta_pkd
            for row in imported.measurements
            if row.assay == bound.assay and row.censoring is EXACT
        ]
        assert bound.delta_pkd == min(value for value in measured if value is not None)
        assert bound.delta_pkd > flag
    kept = load(name, True)
    assert sum(row.delta_pkd == flag for row in kept.measurements) == flags
    assert all(row.censoring is EXACT for row in kept.measurements)


def test_ab_bind_agrees_with_attabseq_and_alone_has_no_sequences(
    load, data_root: Path, tmp_path: Path
):
    def values(name: str) -> Counter[tuple[object, ...]]:
        return Counter(
            (row.pair.antibody.chains, row.pair.antigen.chains, round(row.delta_pkd or 0, 9))
            for row in load(name).measurements
        )

    assert values("ab_bind") == values("ab1101")
    rows = published(data_root / ab_bind.TABLE.path)
    for row in load("ab_bind", True).measurements:
        source = rows[row.origin.row - 1]
        expected = ddg_kcal_mol_to_delta_pkd(float(source["ddG(kcal/mol)"]))
        assert row.delta_pkd == pytest.approx(expected)
        assert row.origin.complex_id.startswith(source["#PDB"])
    alone = alone_in(tmp_path, data_root, "ab_bind")
    assert alone.measurements == ()
    assert alone.counts == {"no sequences": 722, "not an antibody": 379}
    assert ab_bind.AB1101_FILE.path in alone.notes[0]


def test_complexes_without_a_variable_domain_are_left_out(load):
    strangers = {"1AK4", "1FFW", "1JTG", "1KTZ", "HM_1KTZ", "3K2M", "1T83", "3WJJ"}
    for name in ("ab_bind", "ab645", "ab1101"):
        assert not strangers & {row.pair.antibody.name for row in load(name).measurements}
        assert strangers & {row.pair.antibody.name for row in load(name, True).measurements}


def test_no_chain_of_s1131_is_an_antibody(load):
    assert load("s1131").measurements == ()
    assert "as_published keeps them" in load("s1131").notes[0]
    assert len(load("s1131", True).measurements) == 1131


# AbBiBench


def test_abbibench_labels_are_what_they_are(load):
    assert all(row.score is None for row in load("abbibench_1n8z").measurements)
    for name in ("abbibench_2fjg", "abbibench_aayl49"):
        assert all(row.pkd is None and row.score is not None for row in load(name).measurements)
    floored = [r for r in load("abbibench_3gbn_h1").measurements if r.censoring is AT_MOST]
    assert {row.pkd for row in floored} == {7.0}
    assert len(floored) == 214
    assert all(row.censoring is EXACT for row in load("abbibench_3gbn_h1", True).measurements)
    (note,) = load("abbibench_3gbn_h1").notes
    assert "not in the source" in note


def test_abbibench_1n8z_are_rows_of_absci(load):
    absci = {
        row.pair.antibody.heavy: row.pkd
        for row in load("absci_her2").measurements
        if row.censoring is EXACT
    }
    for row in load("abbibench_1n8z").measurements:
        assert row.pkd == pytest.approx(absci[row.pair.antibody.heavy[:-1]], abs=1e-6)


@pytest.mark.parametrize("assay", sorted(abbibench.ASSAYS))
def test_abbibench_published_spearman_is_reproduced(assay: str, load, data_root: Path):
    scores = abbibench_scores(assay, data_root)
    rows = load(f"abbibench_{assay}", True).measurements
    assert scores["row"].to_list() == [row.origin.row for row in rows]
    assert scores["heavy"].to_list() == [row.pair.antibody.heavy for row in rows]
    label = [row.score if row.pkd is None else row.pkd for row in rows]
    table = published_spearman(data_root).filter(pl.col("dataset") == assay)
    assert table.height == len(scores.columns) - 3 >= 38
    for record in table.iter_rows(named=True):
        column = scores[f"{record['model']}|{record['score']}"]
        found = spearmanr(column, label, nan_policy="omit").statistic
        assert found == pytest.approx(record["spearman_raw"], abs=0.01), record["model"]
