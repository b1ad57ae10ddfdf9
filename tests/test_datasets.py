"""Importers on the public files: every row accounted for, every trap handled."""

import csv
import gzip
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr

from paratope.datasets import (
    DATASETS,
    Imported,
    ab_bind,
    abbibench,
    abbibench_scores,
    absci_her2,
    attabseq,
    filter_licence,
    general,
    is_permissive,
    load_dataset,
    published_spearman,
    sabdab,
    skempi,
    training_rows,
)
from paratope.datasets import (
    data_root as default_data_root,
)
from paratope.datasets.comparators import (
    gearbind_predictions,
    graphinity_folds,
    protattba_predictions,
)
from paratope.datasets.dataset import LICENCES
from paratope.errors import InputError
from paratope.measurements import Censoring, Measurement
from paratope.numbering import prepare_antibody
from paratope.units import ddg_kcal_mol_to_delta_pkd

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT
NOT_CARRIED = "mutation not in the mutant's chains"
FLAG = "flag ddG = 8 as censored"

# What becomes of every row of the public files, verified by hand.
COUNTS: dict[str, dict[str, int]] = {
    "skempi": {"measured": 1054, "non-binder": 78, "censored": 39},
    "skempi_raw": {
        "not an antibody": 5874,
        "measured": 1054,
        "non-binder": 78,
        "antibody, no sequences": 40,
        "censored": 39,
    },
    "sabdab": {"measured": 220, "measured, single-chain antibody": 11, "no heavy chain": 1},
    "sabdab_summary": {
        "no affinity": 5381,
        "further copy of an entry": 68,
        "affinity, no sequences": 40,
        "measured": 33,
        "affinity not positive": 1,
    },
    "absci_her2": {
        "spr-control, non-binder": 1097,
        "zero-shot, measured": 422,
        "spr-control, repeats a row of zero-shot": 422,
        "spr-control, measured": 336,
    },
    "general": {
        "measured": 2079,
        "one chain given twice, cut short": 25,
        "one domain of a single-chain antibody": 11,
        "measured, VHH": 11,
        "measured, chains swapped": 7,
        "not an antibody": 1,
        "no heavy chain": 1,
    },
    "ab_bind": {
        "measured": 644,
        "not an antibody": 379,
        FLAG: 50,
        NOT_CARRIED: 27,
        "no sequences": 1,
    },
    "ab645": {"measured": 537, "not an antibody": 81, FLAG: 27},
    "ab1101": {"measured": 644, "not an antibody": 379, FLAG: 50, NOT_CARRIED: 27},
    "s1131": {"not an antibody": 1131},
    "abbibench_1n8z": {"measured": 419},
    "abbibench_2fjg": {"score": 2223},
    "abbibench_3gbn_h1": {"measured": 1673, "floor 7.0 as censored": 214},
    "abbibench_aayl49": {"score": 4312},
}
MAIN_FILE = {name: DATASETS[name].files[0].path for name in COUNTS}
PUBLIC = sorted(COUNTS)


def published(path: Path, separator: str = ",") -> list[dict[str, str]]:
    """Rows of a file, read without the package."""
    encoding = "latin-1" if "AB-Bind" in path.name else "utf-8-sig"
    with path.open(newline="", encoding=encoding) as stream:
        lines = [fields for fields in csv.reader(stream, delimiter=separator) if any(fields)]
    return [dict(zip(lines[0], fields, strict=False)) for fields in lines[1:]]


@pytest.fixture(scope="module")
def load(data_root: Path):
    """Import a public data set, once per module."""
    known: dict[tuple[str, bool], Imported] = {}

    def load_once(name: str, as_published: bool = False) -> Imported:
        key = (name, as_published)
        if key not in known:
            known[key] = load_dataset(name, data_root, as_published=as_published)
        return known[key]

    return load_once


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
    rows = [row.origin.row for row in imported.measurements if row.origin.mutations or True]
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


# SKEMPI


def test_skempi_values_are_the_published_ones(load, data_root: Path):
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


def test_skempi_wild_types_are_measurements_too(load, data_root: Path):
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


def test_skempi_wild_types_published_as_bounds_are_bounds(load, data_root: Path, tmp_path: Path):
    bounded = {
        row.origin.complex_id: row.pkd
        for row in load("skempi").measurements
        if not row.origin.mutations and row.censoring is not EXACT
    }
    assert bounded == {
        "1CZ8_HL_VW": pytest.approx(9.853872, abs=1e-6),
        "4I77_HL_Z": pytest.approx(11.0),
    }
    assert all(
        row.delta_pkd is None
        for row in load("skempi").measurements
        if row.origin.complex_id == "4I77_HL_Z"
    )
    (tmp_path / "joined.csv").symlink_to(data_root / skempi.JOINED.path)
    alone = skempi.import_joined(tmp_path / "joined.csv")
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


def test_skempi_raw_joins_row_by_row(load, data_root: Path):
    raw, joined = load("skempi_raw"), load("skempi")
    assert [(row.pair, row.pkd, row.censoring, row.delta_pkd) for row in raw.measurements] == [
        (row.pair, row.pkd, row.censoring, row.delta_pkd) for row in joined.measurements
    ]
    rows = published(data_root / skempi.RAW.path, ";")
    for row in raw.measurements:
        origin = rows[row.origin.row - 1]
        assert origin["#Pdb"] == row.origin.complex_id
        if row.origin.mutations:
            assert origin["Mutation(s)_cleaned"] == ",".join(row.origin.mutations)


def test_skempi_raw_alone_says_how_to_get_sequences(data_root: Path):
    imported = skempi.import_raw(data_root / skempi.RAW.path)
    assert imported.measurements == ()
    assert imported.counts == {"not an antibody": 5874, "antibody, no sequences": 1211}
    assert "Give them by joining the chains of each PDB entry" in imported.notes[0]
    assert skempi.JOINED.path in imported.notes[0]


# SAbDab


def test_sabdab_values_dates_and_chains(load, data_root: Path):
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


def test_sabdab_summary_is_read_in_spite_of_its_rows(load, data_root: Path, tmp_path: Path):
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
    alone = sabdab.import_summary(data_root / sabdab.SUMMARY.path)
    assert alone.measurements == ()
    assert "have no sequences" in alone.notes[0]


def test_sabdab_summary_rows_with_shifted_fields(tmp_path: Path, data_root: Path):
    names = sabdab.SUMMARY_COLUMNS
    lines = ["\t".join(names), ""]
    for tail in (["SPR", "25", "12345678"], ["12345678", "SPR", "25"], ["12345678"]):
        fields = ["5w08", "H", "L", "A", "protein", "05/30/17", "False", "4.0e-08", *tail]
        lines += ["\t".join(fields), ""]
        (tmp_path / "summary.tsv").write_text("\n".join(lines))
        imported = sabdab.import_summary(tmp_path / "summary.tsv", data_root / sabdab.JOINED.path)
        (row,) = imported.measurements
        assert row.origin.reference == "12345678"
        assert row.conditions.method == "SPR"
        assert row.conditions.temperature_K == (298.15 if len(tail) == 3 else None)
        lines = lines[:2]


# Absci HER2


def test_absci_rows_count_once_and_non_binders_are_bounds(load):
    imported = load("absci_her2")
    binders = [row for row in imported.measurements if row.censoring is EXACT]
    others = [row for row in imported.measurements if row.censoring is AT_MOST]
    assert (len(binders), len(others)) == (758, 1097)
    weakest = min(row.pkd or 0 for row in binders)
    assert weakest == pytest.approx(5.597928, abs=1e-6)
    assert {row.pkd for row in others} == {weakest}
    assert len({row.pair for row in imported.measurements}) == 1855
    sets = Counter(row.origin.complex_id for row in imported.measurements)
    assert sets == {"zero-shot": 422, "spr-control": 1433}
    assert len(load("absci_her2", True).measurements) == 2277


def test_absci_values_are_the_published_ones(load, data_root: Path):
    rows = published(data_root / absci_her2.JOINED.path)
    for row in load("absci_her2").measurements:
        source = rows[row.origin.row - 1]
        assert row.pair.antibody.heavy == source["heavy"]
        if source["pkd"]:
            assert row.pkd == pytest.approx(float(source["pkd"]), abs=1e-9)


# merged table


def test_general_terms_and_clusters(load, data_root: Path):
    every = load("general", True)
    rows = published(data_root / general.TABLE.path)
    assert sum((row.pkd or 0) >= 4 for row in every.measurements) == 2070
    assert len({row.origin.fold for row in every.measurements}) == 253
    for row, source in zip(every.measurements, rows, strict=True):
        trainable = "SKEMPI_ABAG" in source["src"] or "SAbDab+FASTA" in source["src"]
        assert is_permissive(row.origin.licence) == trainable
        assert row.origin.fold == int(source["antigen_cluster"])
    assert len(filter_licence(every).measurements) == 1164
    assert "4JAN" in {row.origin.complex_id for row in every.measurements}  # read as a date


def test_general_drops_fc_complexes(data_root: Path, tmp_path: Path):
    lines = (data_root / general.TABLE.path).read_text().splitlines()
    fields = lines[1].split(",")
    fields[4] = "1T83"
    (tmp_path / "table.csv").write_text("\n".join([lines[0], ",".join(fields), lines[2]]))
    imported = general.import_table(tmp_path / "table.csv")
    assert imported.counts == {"not an antibody": 1, "one chain given twice, cut short": 1}


def test_general_repeated_and_swapped_chains(load):
    imported = load("general")
    assert sum(row.pair.antibody.light is None for row in imported.measurements) == 11
    notes = Counter(
        note for row in imported.measurements for note in prepare_antibody(row.pair.antibody)[1]
    )
    assert not any("swapped" in note for note in notes)


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


def test_ab_bind_agrees_with_attabseq_and_alone_has_no_sequences(load, data_root: Path):
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
    alone = ab_bind.import_table(data_root / ab_bind.TABLE.path)
    assert alone.measurements == ()
    assert alone.counts == {"no sequences": 722, "not an antibody": 379}
    assert attabseq.AB1101_FILE.path in alone.notes[0]


def test_complexes_without_a_variable_domain_are_left_out(load):
    strangers = {"1AK4", "1FFW", "1JTG", "1KTZ", "HM_1KTZ", "3K2M", "1T83", "3WJJ"}
    for name in ("ab_bind", "ab645", "ab1101"):
        assert not strangers & {row.pair.antibody.name for row in load(name).measurements}
        assert strangers & {row.pair.antibody.name for row in load(name, True).measurements}


@pytest.mark.parametrize("name", ["ab645", "ab1101", "s1131"])
def test_row_numbers_join_other_peoples_folds(name: str, load, data_root: Path):
    folds = protattba_predictions(name, data_root)
    measurements = load(name, True).measurements
    assert [row.origin.row for row in measurements] == folds["row"].to_list()
    ours = np.array([row.delta_pkd for row in measurements])
    theirs = [ddg_kcal_mol_to_delta_pkd(value) for value in folds["ddg_kcal_mol"]]
    assert np.abs(ours - theirs).max() < 1e-6
    assert sorted(folds["fold"].unique()) == list(range(folds["fold"].n_unique()))


@pytest.mark.parametrize("cutoff", [70, 90, 100])
def test_graphinity_folds_join_with_the_sign_turned(cutoff: int, load, data_root: Path):
    folds = graphinity_folds(cutoff, data_root)
    rows = {row.origin.row: row for row in load("ab645", True).measurements}
    assert (folds.height, folds["row"].n_unique(), folds["fold"].n_unique()) == (618, 618, 10)
    for record in folds.iter_rows(named=True):
        row = rows[record["row"]]
        assert row.delta_pkd == pytest.approx(ddg_kcal_mol_to_delta_pkd(record["ddg_kcal_mol"]))
        (mutation,) = row.origin.mutations
        assert (mutation[2], mutation[-1]) == (record["mutation"][0], record["mutation"][-1])
        assert row.origin.complex_id.lower().startswith(record["complex_id"].lower())
    assert folds["ddg_kcal_mol"].mean() == pytest.approx(0.97304, abs=1e-4)


def test_no_chain_of_s1131_is_an_antibody(load):
    assert load("s1131").measurements == ()
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


def test_published_comparators_are_reproduced(data_root: Path):
    gearbind = gearbind_predictions(data_root)
    assert gearbind.height == 940
    label = gearbind["ddg_kcal_mol"]
    assert pearsonr(label, gearbind["GearBind+P"]).statistic == pytest.approx(0.618, abs=5e-4)
    assert pearsonr(label, gearbind["FoldX"]).statistic == pytest.approx(0.398, abs=5e-4)
    assert gearbind_predictions(data_root, antibodies=False).height == 5729
    for name, expected in (("ab645", 0.488), ("ab1101", 0.657)):
        frame = protattba_predictions(name, data_root)
        found = pearsonr(frame["ddg_kcal_mol"], frame["prediction"]).statistic
        assert found == pytest.approx(expected, abs=5e-4)


def test_gearbind_rows_join_the_sequences(load, data_root: Path):
    keys = {
        (row.origin.complex_id, ",".join(row.origin.mutations))
        for row in load("skempi").measurements
    }
    gearbind = gearbind_predictions(data_root)
    joined = sum(
        pair in keys for pair in zip(gearbind["complex_id"], gearbind["mutations"], strict=True)
    )
    assert joined == 908


def test_comparators_list_their_names(data_root: Path):
    with pytest.raises(InputError, match="ab1101, ab645, s1131"):
        protattba_predictions("ab646", data_root)
    with pytest.raises(InputError, match="100, 70, 90"):
        graphinity_folds(80, data_root)
    with pytest.raises(InputError, match="valid names: 1n8z"):
        abbibench_scores("4fqi", data_root)


# formats

VH = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYY"
    "CSRWGGDGFYAMDYWGQGTLVTVSS"
)
VL = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTP"
    "PTFGQGTKVEIK"
)
PEPTIDE = "PDVDLGDISGINASVVNIQK"
ALPHASEQ = (
    "POI,Sequence,Target,Assay,Replicate,Pred_affinity,HC,LC,CDRH1,CDRH2,CDRH3,CDRL1,CDRL2,CDRL3\n"
    f"AAYL1,{VH}{VL},MIT_Target,1,1,0.0,{VH},{VL},,,,,,\n"
    f"AAYL1,{VH}{VL},MIT_Target,1,2,2.5,{VH},{VL},,,,,,\n"
    f"AAYL2,{VH}{VL},MIT_Target,2,1,,{VH},{VL},,,,,,\n"
    f"AAYL1,{VH}{VL},Control_1,1,1,5.5,{VH},{VL},,,,,,\n"
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_alphaseq_affinities_are_log10_of_nM(tmp_path: Path):
    path = write(tmp_path, "library.csv", ALPHASEQ)
    imported = load_dataset("alphaseq", path, antigen=f"MIT_Target={PEPTIDE}")
    assert imported.counts == {"measured": 2, "no affinity": 1, "target without a sequence": 1}
    assert [row.pkd for row in imported.measurements] == [9.0, 6.5]
    assert {row.assay for row in imported.measurements} == {"library:MIT_Target:1"}
    assert {row.pair.antigen.chains for row in imported.measurements} == {(PEPTIDE,)}
    assert [row.origin.row for row in imported.measurements] == [1, 2]


def test_alphaseq_targets_are_only_named(tmp_path: Path):
    path = write(tmp_path, "library.csv", ALPHASEQ)
    imported = load_dataset("alphaseq", path)
    assert imported.counts == {"measured": 3, "no affinity": 1}
    assert "['Control_1', 'MIT_Target']" in imported.notes[0]
    with pytest.raises(InputError, match=r"no row of \['Spike'\]; its targets: \['Control_1'"):
        load_dataset("alphaseq", path, antigen=f"Spike={PEPTIDE}")
    with pytest.raises(InputError, match="TARGET=RESIDUES"):
        load_dataset("alphaseq", path, antigen=PEPTIDE)


def test_alphaseq_interactions_find_the_antibody(tmp_path: Path):
    header = (
        "mata_description,matalpha_description,alphaseq_affinity,mata_sequence,matalpha_sequence"
    )
    rows = [
        f"ab,ag,1.0,{VH}GGGGSGGGGSGGGGS{VL},{PEPTIDE}",
        f"ag,vhh,3.0,{PEPTIDE},{VH}",
        f"ag,ag,3.0,{PEPTIDE},{PEPTIDE}",
        f"ab,ag,,{VH},{PEPTIDE}",
    ]
    path = write(tmp_path, "interactions.csv", "\n".join([header, *rows]))
    imported = load_dataset("alphaseq", path)
    assert imported.counts == {"measured": 2, "not an antibody": 1, "no affinity": 1}
    assert [row.pkd for row in imported.measurements] == [8.0, 6.0]
    assert {row.pair.antigen.chains for row in imported.measurements} == {(PEPTIDE,)}


def test_flab_tables_are_one_assay_each(tmp_path: Path):
    write(tmp_path, "one.csv", f"heavy,light,fitness\n{VH},{VL},8.5\n{VH},,<6\n{VH},{VL},\n")
    write(tmp_path, "two.csv", f"heavy,light,fitness\n{VH},{VL},-0.3\n,{VL},1.0\n")
    imported = load_dataset("flab", tmp_path, antigen="MKVLITRNE")
    assert imported.counts == {"score": 3, "no affinity": 1, "no heavy chain": 1}
    assert [row.assay for row in imported.measurements] == ["one", "one", "two"]
    assert [row.score for row in imported.measurements] == [8.5, 6.0, -0.3]
    assert [row.censoring for row in imported.measurements] == [EXACT, AT_MOST, EXACT]
    assert imported.measurements[1].pair.antibody.light is None
    assert imported.measurements[0].pair.antigen.chains == ("MKVLITRNE",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no .csv tables"):
        load_dataset("flab", tmp_path / "empty")


def test_plain_tables_are_the_users_own(tmp_path: Path):
    text = f"id,VH,VL,antigen,Kd\na,{VH},{VL},{PEPTIDE},3.2 nM\nb,{VH},{VL},{PEPTIDE},>10 uM\n"
    path = write(tmp_path, "mine.csv", text + f"c,{VH},{VL},{PEPTIDE},soon\n")
    imported = load_dataset("plain", path)
    assert imported.counts == {"measured": 1, "censored": 1, "in error": 1}
    assert "'c'" in imported.notes[-1]
    assert {row.origin.licence for row in imported.measurements} == {"own"}
    assert len(filter_licence(imported).measurements) == 2
    bad = write(tmp_path, "bad.csv", f"id,VH,VL,antigen,Kd\nc,{VH},{VL},{PEPTIDE},soon\n")
    with pytest.raises(InputError, match="no row can be read"):
        load_dataset("plain", bad)


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


def test_damaged_formats(tmp_path: Path):
    path = write(tmp_path, "library.csv", ALPHASEQ.replace("Pred_affinity", "affinity"))
    with pytest.raises(InputError, match=r"no column \['Pred_affinity'\]"):
        load_dataset("alphaseq", path)
    path = write(tmp_path, "library.csv", ALPHASEQ.replace(",0.0,", ",low,"))
    with pytest.raises(InputError, match=r"line 2, column 'Pred_affinity': expected a number"):
        load_dataset("alphaseq", path)
    path = write(tmp_path, "library.csv", ALPHASEQ[:-40])
    with pytest.raises(InputError, match="truncated"):
        load_dataset("alphaseq", path)
    path = write(tmp_path, "flab.csv", f"heavy;light;fitness\n{VH};{VL};1\n")
    with pytest.raises(InputError, match="separated by semicolons, expected commas"):
        load_dataset("flab", path)
    path = write(tmp_path, "flab.csv", f"heavy,light,fitness\n{VH},{VL},high\n")
    with pytest.raises(InputError, match=r"line 2, column 'fitness'"):
        load_dataset("flab", path)
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset("alphaseq", tmp_path / "absent.csv")


def test_damaged_comparators(data_root: Path, tmp_path: Path):
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
