"""Importers of each public source, on its files."""

import operator
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data import datasets
from paratope.data.datasets import absci_her2, filter_licence, load_dataset, sabdab, skempi
from paratope.molecules.numbering import prepare_antibody
from published_files import alone_in, published

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT


def test_skempi_values_are_the_published_ones(load, data_root):
    imported = load("skempi")
    mutants = {row.origin.row: row for row in imported.measurements if row.origin.mutations}
    assert len(mutants) == 1171
    for number, row in enumerate(published(data_root / skempi.JOINED.path), start=1):
        mutant = mutants[number]
        assert mutant.parent is not None
        text = row["raw_affinity_mut"]
        if row["pkd"]:
            assert mutant.pkd == pytest.approx(float(row["pkd"]), abs=1e-9)
            sign = {">": AT_MOST, "<": AT_LEAST}.get(text[0], EXACT)
            assert mutant.censoring is sign, text
        else:
            assert text.startswith("n.b")
            assert mutant.censoring is AT_MOST
        if mutant.delta_pkd is not None and row["pkd"]:
            delta = float(row["pkd"]) - float(row["pkd_wt"])
            assert mutant.delta_pkd == pytest.approx(delta, abs=1e-9)
            assert np.sign(round(delta, 6)) == -np.sign(round(float(row["ddG_kcal"]), 6))
        assert mutant.origin.mutations == tuple(row["mutation"].split(","))
        assert mutant.origin.reference == row["reference"]
        assert mutant.conditions.temperature_K == float(row["temperature"][:3])
        assert mutant.conditions.method == row["method"]


def test_skempi_mutants_differ_from_their_parent_as_their_names_say(load):
    for row in load("skempi").measurements:
        if row.parent is None:
            continue
        before = "".join((*row.parent.antibody.chains, *row.parent.antigen.chains))
        after = "".join((*row.pair.antibody.chains, *row.pair.antigen.chains))
        assert len(before) == len(after)
        changes = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        named = [(name[0], name[-1]) for name in row.origin.mutations if name[0] != name[-1]]
        assert Counter(changes) == Counter(named)


def test_skempi_wild_types_are_measurements_too(load, data_root):
    imported = load("skempi")
    wild = [row for row in imported.measurements if not row.origin.mutations]
    rows = published(data_root / skempi.JOINED.path)
    distinct = {(r["pdb"], r["partners"], r["reference"], float(r["kd_wt_M"])) for r in rows}
    assert imported.added == {"wild type": len(distinct)} == {"wild type": 75}
    assert len(wild) == 75
    assert all(row.delta_pkd is None and row.parent is None for row in wild)
    values = {(row.assay, round(row.pkd or 0, 6)) for row in wild}
    for row in rows:
        assay = f"skempi_v2:{row['pdb']}_{row['partners']}:{row['reference']}"
        assert (assay, round(float(row["pkd_wt"]), 6)) in values


def test_skempi_wild_types_published_as_bounds_are_bounds(load, data_root, tmp_path):
    rows = load("skempi").measurements
    wild = [row for row in rows if not row.origin.mutations and row.censoring is not EXACT]
    bounded = {row.origin.complex_id: row.pkd for row in wild}
    assert bounded == pytest.approx({"1CZ8_HL_VW": 9.853872, "4I77_HL_Z": 11.0}, abs=1e-6)
    of_bounded = [row for row in rows if row.origin.complex_id == "4I77_HL_Z"]
    assert all(row.delta_pkd is None for row in of_bounded)
    alone = alone_in(tmp_path, data_root, "skempi")
    assert all(row.censoring is EXACT for row in alone.measurements[:75])
    assert any("count as exact" in note for note in alone.notes)


def test_skempi_non_binders_are_bounded_by_their_own_assay(load):
    measurements = load("skempi").measurements
    weakest: dict[str, float] = {}
    for row in measurements:
        if row.censoring is not AT_LEAST:
            weakest[row.assay] = min(row.pkd or 0.0, weakest.get(row.assay, 99.0))
    bounds = [row for row in measurements if row.censoring is AT_MOST]
    assert len(bounds) == 78 + 20
    assert all(row.pkd is not None and row.pkd >= weakest[row.assay] for row in bounds)


def test_skempi_raw_joins_row_by_row(load, data_root):
    raw, joined = load("skempi_raw"), load("skempi")
    values = operator.attrgetter("pair", "pkd", "censoring", "delta_pkd")
    assert list(map(values, raw.measurements)) == list(map(values, joined.measurements))
    rows = published(data_root / skempi.RAW.path, ";")
    for row in raw.measurements:
        origin = rows[row.origin.row - 1]
        assert origin["#Pdb"] == row.origin.complex_id
        if row.origin.mutations:
            assert origin["Mutation(s)_cleaned"] == ",".join(row.origin.mutations)


def test_skempi_raw_alone_says_how_to_get_sequences(data_root, tmp_path):
    imported = alone_in(tmp_path, data_root, "skempi_raw")
    assert imported.measurements == ()
    assert imported.counts == {"not an antibody": 5874, "antibody, no sequences": 1211}
    assert "Give them by joining the chains of each PDB entry" in imported.notes[0]
    assert skempi.JOINED.path in imported.notes[0]
    for said in (imported.notes[0], skempi.JOINED.made):
        assert f"(download {skempi.STRUCTURES})" in said


def test_sabdab_values_dates_and_chains(load, data_root):
    imported = load("sabdab")
    rows = published(data_root / sabdab.JOINED.path)
    for row in imported.measurements:
        source = rows[row.origin.row - 1]
        assert row.origin.complex_id == source["pdb"]
        assert row.pkd == pytest.approx(float(source["pkd"]), abs=1e-9)
        month, day, year = source["date"].split("/")
        century = "19" if int(year) > 68 else "20"
        assert row.origin.date == f"{century}{year}-{month}-{day}"
        if source["light"]:
            assert row.pair.antibody.chains == (source["vh"], source["vl"])
    assert "4f9l" not in {row.origin.complex_id for row in imported.measurements}


def test_sabdab_single_chain_antibodies_keep_both_domains(load):
    single = [row for row in load("sabdab").measurements if row.pair.antibody.light is None]
    assert len(single) == 11
    for row in single:
        antibody, notes = prepare_antibody(row.pair.antibody)
        assert antibody.light is not None
        assert "scFv" in notes[0]


def test_sabdab_summary_is_read_in_spite_of_its_rows(load, data_root, tmp_path):
    rows = published(data_root / sabdab.SUMMARY.path, "\t")
    joined = {row.origin.complex_id: row for row in load("sabdab").measurements}
    for row in load("sabdab_summary").measurements:
        source = rows[row.origin.row - 1]
        assert source["pdb"] == row.origin.complex_id
        assert 10 ** -(row.pkd or 0) == pytest.approx(float(source["affinity"]), rel=1e-9)
        assert row.pair == joined[row.origin.complex_id].pair
        temperature = row.conditions.temperature_K
        assert temperature is None or 273 < temperature < 320
        assert not row.conditions.method.isdigit()
    alone = alone_in(tmp_path, data_root, "sabdab_summary")
    assert alone.measurements == ()
    assert "have no sequences" in alone.notes[0]


def test_sabdab_summary_rows_with_shifted_fields(tmp_path, data_root):
    (tmp_path / "sabdab_affinity.csv").symlink_to(data_root / sabdab.JOINED.path)
    lines = ["\t".join(sabdab.SUMMARY.columns), ""]
    for tail in (["SPR", "25", "12345678"], ["12345678", "SPR", "25"], ["12345678"]):
        fields = ["5w08", "H", "L", "A", "protein", "05/30/17", "False", "4.0e-08", *tail]
        lines += ["\t".join(fields), ""]
        (tmp_path / "sabdab_summary.tsv").write_text("\n".join(lines))
        (row,) = load_dataset("sabdab_summary", tmp_path).measurements
        assert row.origin.reference == "12345678"
        assert row.conditions.method == "SPR"
        assert row.conditions.temperature_K == (298.15 if len(tail) == 3 else None)
        lines = lines[:2]


def test_absci_rows_count_once_and_non_binders_are_bounds(load):
    imported = load("absci_her2")
    binders = [row.pkd or 0 for row in imported.measurements if row.censoring is EXACT]
    bounds = [row.pkd for row in imported.measurements if row.censoring is AT_MOST]
    assert (len(binders), len(bounds)) == (758, 1097)
    assert {min(binders)} == set(bounds)
    assert min(binders) == pytest.approx(5.597928, abs=1e-6)
    assert len({row.pair for row in imported.measurements}) == 1855
    sets = Counter(row.origin.complex_id for row in imported.measurements)
    assert sets == {"zero-shot": 422, "spr-control": 1433}
    assert len(load("absci_her2", True).measurements) == 2277


@pytest.mark.parametrize("as_published", [False, True])
def test_absci_tables_as_published_are_joined(load, data_root, tmp_path, as_published):
    for file in (absci_her2.ZERO_SHOT, absci_her2.CONTROLS):
        (tmp_path / Path(file.path).name).symlink_to(data_root / file.path)
    imported = load_dataset("absci_her2", tmp_path, as_published=as_published)
    assert imported == load("absci_her2", as_published)
    (tmp_path / "spr-controls.csv").unlink()
    with pytest.raises(InputError, match=f"It is published at {absci_her2.CONTROLS.url}"):
        load_dataset("absci_her2", tmp_path)


def test_absci_values_are_the_published_ones(load, data_root):
    rows = published(data_root / absci_her2.JOINED.path)
    for row in load("absci_her2").measurements:
        source = rows[row.origin.row - 1]
        assert row.pair.antibody.heavy == source["heavy"]
        if source["pkd"]:
            assert row.pkd == pytest.approx(float(source["pkd"]), abs=1e-9)


def test_general_terms_and_clusters(load, data_root):
    every = load("general", True)
    rows = published(data_root / datasets.general.TABLE.path)
    assert sum((row.pkd or 0) >= 4 for row in every.measurements) == 2070
    assert len({row.origin.fold for row in every.measurements}) == 253
    for row, source in zip(every.measurements, rows, strict=True):
        trainable = "SKEMPI_ABAG" in source["src"] or "SAbDab+FASTA" in source["src"]
        assert datasets.is_permissive(row.origin.licence) == trainable
        assert row.origin.fold == int(source["antigen_cluster"])
    assert len(filter_licence(every).measurements) == 1164
    assert "4JAN" in {row.origin.complex_id for row in every.measurements}  # read as a date


def test_general_drops_fc_complexes(data_root, tmp_path):
    lines = (data_root / datasets.general.TABLE.path).read_text().splitlines()
    fields = lines[1].split(",")
    fields[4] = "1T83"
    path = tmp_path / "general_pkd_research.csv"
    path.write_text("\n".join([lines[0], ",".join(fields), lines[2]]))
    imported = load_dataset("general", tmp_path)
    assert imported.counts == {"not an antibody": 1, "one chain given twice, cut short": 1}


def test_general_repeated_and_swapped_chains(load):
    imported = load("general")
    assert sum(row.pair.antibody.light is None for row in imported.measurements) == 11
    notes = Counter(
        note for row in imported.measurements for note in prepare_antibody(row.pair.antibody)[1]
    )
    assert not any("swapped" in note for note in notes)


@pytest.mark.parametrize(("name", "flags"), [("ab645", 27), ("ab1101", 50), ("ab_bind", 50)])
def test_flags_are_bounds_not_values(name, flags, load):
    imported = load(name)
    bounds = [row for row in imported.measurements if row.censoring is AT_MOST]
    assert len(bounds) == flags
    flag = ddg_kcal_mol_to_delta_pkd(8.0)
    exact = [row for row in imported.measurements if row.censoring is EXACT]
    for bound in bounds:
        measured = [row.delta_pkd for row in exact if row.assay == bound.assay]
        assert bound.delta_pkd == min(value for value in measured if value is not None)
        assert bound.delta_pkd > flag
    kept = load(name, True)
    assert sum(row.delta_pkd == flag for row in kept.measurements) == flags
    assert all(row.censoring is EXACT for row in kept.measurements)


def test_ab_bind_agrees_with_attabseq_and_alone_has_no_sequences(load, data_root, tmp_path):
    def values(name: str) -> Counter[tuple[object, ...]]:
        return Counter(
            (row.pair.antibody.chains, row.pair.antigen.chains, round(row.delta_pkd or 0, 9))
            for row in load(name).measurements
        )

    assert values("ab_bind") == values("ab1101")
    rows = published(data_root / datasets.ab_bind.TABLE.path)
    for row in load("ab_bind", True).measurements:
        source = rows[row.origin.row - 1]
        expected = ddg_kcal_mol_to_delta_pkd(float(source["ddG(kcal/mol)"]))
        assert row.delta_pkd == pytest.approx(expected)
        assert row.origin.complex_id.startswith(source["#PDB"])
    alone = alone_in(tmp_path, data_root, "ab_bind")
    assert alone.measurements == ()
    assert alone.counts == {"no sequences": 722, "not an antibody": 379}
    assert datasets.ab_bind.AB1101_FILE.path in alone.notes[0]


def test_complexes_without_a_variable_domain_are_left_out(load):
    strangers = {"1AK4", "1FFW", "1JTG", "1KTZ", "HM_1KTZ", "3K2M", "1T83", "3WJJ"}
    for name in ("ab_bind", "ab645", "ab1101"):
        assert not strangers & {row.pair.antibody.name for row in load(name).measurements}
        assert strangers & {row.pair.antibody.name for row in load(name, True).measurements}


def test_no_chain_of_s1131_is_an_antibody(load):
    assert load("s1131").measurements == ()
    assert "as_published keeps them" in load("s1131").notes[0]
    assert len(load("s1131", True).measurements) == 1131


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
    exact = [row for row in load("absci_her2").measurements if row.censoring is EXACT]
    absci = {row.pair.antibody.heavy: row.pkd for row in exact}
    for row in load("abbibench_1n8z").measurements:
        assert row.pkd == pytest.approx(absci[row.pair.antibody.heavy[:-1]], abs=1e-6)


@pytest.mark.parametrize("assay", sorted(datasets.abbibench.ASSAYS))
def test_abbibench_scores_are_of_the_rows_imported(assay, load, data_root):
    scores = datasets.abbibench_scores(assay, data_root)
    rows = load(f"abbibench_{assay}", True).measurements
    assert scores["row"].to_list() == [row.origin.row for row in rows]
    assert scores["heavy"].to_list() == [row.pair.antibody.heavy for row in rows]
    label = [row.score if row.pkd is None else row.pkd for row in rows]
    assert scores["binding_score"].to_list() == pytest.approx(label, abs=1e-5)
    published = datasets.published_spearman(data_root).filter(pl.col("dataset") == assay)
    columns = {f"{row['model']}|{row['score']}" for row in published.iter_rows(named=True)}
    assert columns == set(scores.columns[3:])
