"""The curated tables, on their files: signs, bounds, parents, assays, terms, doubts."""

import csv
import statistics

import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.data.datasets import DATASETS, is_permissive, load_dataset
from paratope.data.datasets.curated import CURATED, TABLES
from published_files import published

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT
NAMES = sorted(TABLES)


def test_only_tables_whose_terms_were_seen_may_train():
    assert set(CURATED) <= set(DATASETS)
    may = {name for name in CURATED if DATASETS[name].may_train}
    assert may == {
        *("sabdab_full", "saaint_manual", "hie2023", "shanker2024"),
        *("magma_319345", "magma_2221c06"),
    }
    for name, table in TABLES.items():
        assert table.may_train in ("yes", "no", "benchmark only")
        assert is_permissive(table.licence) == (name in may)
    assert not DATASETS["sabdab"].may_train


@pytest.mark.parametrize("name", NAMES)
def test_values_and_bounds_are_those_of_the_file(name, load, data_root):
    table = TABLES[name]
    rows = published(data_root / table.path)
    signs = {"=": EXACT, "<": AT_MOST, ">": AT_LEAST}
    for measurement in load(name).measurements:
        row = rows[measurement.origin.row - 1]
        value = measurement.pkd if table.value == "pkd" else measurement.score
        assert (measurement.pkd is None) == (table.value == "score")
        assert measurement.censoring is signs[row["censor"]]
        if measurement.censoring is AT_MOST and table.floor_pkd:
            assert value == max(float(row["pkd"]), float(table.floor_pkd))
        elif row[table.value]:
            assert value == float(row[table.value])
        assert measurement.pair.antibody.heavy == row["heavy"]
        assert measurement.pair.antibody.light == (row["light"] or None)
        assert ":".join(measurement.pair.antigen.chains) == (row["antigen"] or "X")
    as_published = load(name, True).measurements
    assert len(as_published) == len(rows)
    assert all(
        row.censoring is EXACT
        for row in as_published
        if rows[row.origin.row - 1]["pkd" if table.value == "pkd" else "score"]
    )


@pytest.mark.parametrize(
    ("name", "removed", "drop"),
    [
        *((name, ("C22", "W36", "C96"), 0.7) for name in NAMES if name.startswith("cr9114")),
        ("abagym_5a12_vegf", ("WH33", "FH9"), 0.1),  # the paratope's tryptophan, CDR-H3's phenyls
    ],
)
def test_higher_is_stronger_as_what_holds_the_domain_together_says(name, removed, drop, load):
    is_pkd = TABLES[name].value == "pkd"
    values = [
        (row.origin.mutations, row.pkd if is_pkd else row.score)
        for row in load(name).measurements
        if row.origin.mutations
    ]
    broken = [value for mutations, value in values if mutations[0].startswith(removed)]
    assert len(broken) >= 38
    assert statistics.median(broken) < statistics.median(value for _, value in values) - drop


def test_higher_is_stronger_as_the_sources_say(load):
    by_name = {row.pair.antibody.name: row.pkd for row in load("shanker2024").measurements}
    assert 5.3 < by_name["lycov1404_bq11_WT"] < 5.8  # 1.7 to 4.9 uM
    (fluorescein,) = [row for row in load("titeseq_4420").measurements if row.parent is None]
    assert 8.5 < fluorescein.pkd < 9.5  # 4-4-20: about 1 nM
    by_count: dict[int, list[float]] = {}  # by how many of 16 residues are the mature ones
    for row in load("phillips_cr9114_h3").measurements:
        count = row.pair.antibody.name.split("_")[1].count("1")
        by_count.setdefault(count, []).append(row.pkd)
    means = [statistics.mean(by_count[count]) for count in sorted(by_count)]
    assert means == sorted(means)
    assert means[-1] > means[0] + 2
    assert len({row.assay for row in load("s2p6_peptides").measurements}) == 28


def test_bounds_beyond_what_an_assay_can_tell_are_its_limit(load):
    bounds = [row.pkd for row in load("magma_215").measurements if row.censoring is AT_MOST]
    assert bounds == [5.8239] * 9  # 9 - log10(1500 nM)
    exact = [row.pkd for row in load("magma_215").measurements if row.censoring is EXACT]
    assert min(exact) >= 5.8239
    non_binders = [row for row in load("shanker2024").measurements if row.censoring is AT_MOST]
    assert len(non_binders) == 2
    for row in non_binders:
        same = [r.pkd for r in load("shanker2024").measurements if r.assay == row.assay]
        assert row.pkd == min(same)
    ceilings = [row.pkd for row in load("titeseq_4420").measurements if row.censoring is AT_LEAST]
    assert len(ceilings) == 7
    assert min(ceilings) > 9.49


def test_parents_are_the_unmutated_rows_and_changes_are_against_them(load, data_root):
    for name in ("hie2023", "shanker2024", "magma_2221c06", "cr9114_mature_H3"):
        rows = published(data_root / TABLES[name].path)
        measured = {(row.assay, row.pair.residues): row for row in load(name).measurements}
        for row in load(name).measurements:
            given = rows[row.origin.row - 1]
            if given["n_mut"] == "0":
                assert row.parent is None
                continue
            assert row.parent is not None
            chains = (row.pair.antibody.chains, row.parent.antibody.chains)
            changed = sum(a != b for a, b in zip(*map("".join, chains), strict=True))
            assert changed == int(given["n_mut"])
            assert row.parent.antigen.chains == row.pair.antigen.chains
            if row.delta_pkd is not None:
                parent = measured[row.assay, row.parent.residues]
                assert row.delta_pkd == pytest.approx(row.pkd - parent.pkd)
    # measured against another antigen only: the parent is known, the change is not
    moved = [r for r in load("shanker2024").measurements if r.assay == "shanker2024:sa58_bq11"]
    assert len(moved) == 6
    assert all(row.parent is not None and row.delta_pkd is None for row in moved)
    assert not any(row.delta_pkd for row in load("magma_215").measurements)  # parent: a bound


def test_assays_are_campaigns_and_publications(load):
    assert len({row.assay for row in load("hie2023").measurements}) == 9
    assert len({row.assay for row in load("shanker2024").measurements}) == 3
    papers = {row.assay for row in load("saaint_manual").measurements}
    assert 500 < len(papers) < 600
    assert all(row.assay == "magma_319345" for row in load("magma_319345").measurements)


def test_structures_say_date_nanobody_and_conditions(load, data_root):
    for name in ("sabdab_full", "saaint_manual"):
        rows = published(data_root / TABLES[name].path)
        for row in load(name).measurements:
            given = rows[row.origin.row - 1]
            assert row.origin.date == given["date"]
            assert (row.conditions.format == "VHH") == (given["nanobody"] == "1")
            assert row.origin.complex_id == given["pdb"]
    methods = {row.conditions.method for row in load("sabdab_full").measurements}
    assert {"SPR", "ITC", ""} <= methods
    assert "Unknown" not in methods
    warm = [r.conditions.temperature_K for r in load("sabdab_full").measurements]
    assert sum(kelvin is not None for kelvin in warm) == 92
    assert 273 < min(filter(None, warm)) < max(filter(None, warm)) < 330
    assert any(len(row.pair.antigen.chains) > 1 for row in load("saaint_manual").measurements)


def test_doubts_are_said_in_words_or_left_out(load):
    doubted = [row for row in load("sabdab_full").measurements if row.origin.note]
    assert {row.origin.complex_id for row in doubted} == {"2i60", "5ywy", "5t78"}
    (wide,) = [row for row in doubted if row.origin.complex_id == "2i60"]
    assert wide.origin.note == "8 replicates disagree, pKd from 5.023 to 8.569: their median"
    suspects = [
        r for r in load("nanobind_affinity", True).measurements if "suspect" in r.origin.note
    ]
    assert len(suspects) == 3
    shared = [r for r in load("nanobind_affinity").measurements if "same PDB" in r.origin.note]
    assert len(shared) == 74
    assert all("approximation" in row.origin.note for row in load("magma_319345").measurements)
    (note,) = load("hie2023").notes
    assert note.startswith("27 rows")


def test_a_sign_that_is_none_is_refused(data_root, tmp_path):
    path = data_root / TABLES["shanker2024"].path
    rows = published(path)
    rows[3]["censor"] = "~"
    with (tmp_path / path.name).open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    with pytest.raises(InputError, match="line 5, column 'censor': expected =, < or >, got '~'"):
        load_dataset("shanker2024", tmp_path)
