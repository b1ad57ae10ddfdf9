"""Importers of each public source, of table formats and of the curated tables, on their files."""

import csv
import operator
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from paratope.core.censoring import Censoring
from paratope.core.errors import InputError
from paratope.core.units import ddg_kcal_mol_to_delta_pkd
from paratope.data import datasets
from paratope.data.datasets import DATASETS, filter_licence, is_permissive, load_dataset
from paratope.data.datasets.curated import CURATED, TABLES
from paratope.molecules.numbering import prepare_antibody
from published_files import alone_in, published
from small_campaigns import HEAVY as VH
from small_campaigns import LIGHT as VL

AT_MOST, AT_LEAST, EXACT = Censoring.AT_MOST, Censoring.AT_LEAST, Censoring.EXACT


def test_skempi_values_are_the_published_ones(load, data_root):
    imported = load("skempi")
    mutants = {row.origin.row: row for row in imported.measurements if row.origin.mutations}
    assert len(mutants) == 1171
    for number, row in enumerate(published(data_root / datasets.skempi.JOINED.path), start=1):
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
    rows = published(data_root / datasets.skempi.JOINED.path)
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
    rows = published(data_root / datasets.skempi.RAW.path, ";")
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
    assert datasets.skempi.JOINED.path in imported.notes[0]
    for said in (imported.notes[0], datasets.skempi.JOINED.made):
        assert f"(download {datasets.skempi.STRUCTURES})" in said


def test_sabdab_values_dates_and_chains(load, data_root):
    imported = load("sabdab")
    rows = published(data_root / datasets.sabdab.JOINED.path)
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
    rows = published(data_root / datasets.sabdab.SUMMARY.path, "\t")
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
    (tmp_path / "sabdab_affinity.csv").symlink_to(data_root / datasets.sabdab.JOINED.path)
    lines = ["\t".join(datasets.sabdab.SUMMARY.columns), ""]
    for tail in (["SPR", "25", "12345678"], ["12345678", "SPR", "25"], ["12345678"]):
        fields = ["5w08", "H", "L", "A", "protein", "05/30/17", "False", "4.0e-08", *tail]
        lines += ["\t".join(fields), ""]
        (tmp_path / "sabdab_summary.tsv").write_text("\n".join(lines))
        (row,) = load_dataset("sabdab_summary", tmp_path).measurements
        assert row.origin.reference == "12345678"
        assert row.conditions.method == "SPR"
        assert row.conditions.temperature_K == (298.15 if len(tail) == 3 else None)
        lines = lines[:2]


def test_absci_rows_count_once_as_published_and_non_binders_are_bounds(load, data_root):
    imported = load("absci_her2")
    binders = [row.pkd or 0 for row in imported.measurements if row.censoring is EXACT]
    bounds = [row.pkd for row in imported.measurements if row.censoring is AT_MOST]
    assert {min(binders)} == set(bounds)
    assert min(binders) == pytest.approx(5.597928, abs=1e-6)
    assert len({row.pair for row in imported.measurements}) == 1855
    sets = Counter(row.origin.complex_id for row in imported.measurements)
    assert sets == {"zero-shot": 422, "spr-control": 1433}
    assert len(load("absci_her2", True).measurements) == 2277
    rows = published(data_root / datasets.absci_her2.JOINED.path)
    for row in imported.measurements:
        source = rows[row.origin.row - 1]
        assert row.pair.antibody.heavy == source["heavy"]
        if source["pkd"]:
            assert row.pkd == pytest.approx(float(source["pkd"]), abs=1e-9)


@pytest.mark.parametrize("as_published", [False, True])
def test_absci_tables_as_published_are_joined(load, data_root, tmp_path, as_published):
    for file in (datasets.absci_her2.ZERO_SHOT, datasets.absci_her2.CONTROLS):
        (tmp_path / Path(file.path).name).symlink_to(data_root / file.path)
    imported = load_dataset("absci_her2", tmp_path, as_published=as_published)
    assert imported == load("absci_her2", as_published)
    (tmp_path / "spr-controls.csv").unlink()
    with pytest.raises(InputError, match=f"It is published at {datasets.absci_her2.CONTROLS.url}"):
        load_dataset("absci_her2", tmp_path)


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
    with pytest.raises(InputError, match="has the targets .*TARGET=RESIDUES"):
        load_dataset("alphaseq", path, antigen=PEPTIDE)
    with pytest.raises(InputError, match="TARGET=RESIDUES, got 'Control_1='"):
        load_dataset("alphaseq", path, antigen=f"MIT_Target={PEPTIDE},Control_1=")
    one = write(tmp_path, "one.csv", ALPHASEQ[: ALPHASEQ.rindex("AAYL1")])
    imported = load_dataset("alphaseq", one, antigen=PEPTIDE)
    assert imported.measurements[0].pair.antigen.chains == (PEPTIDE,)


def test_alphaseq_interactions_find_the_antibody(tmp_path: Path):
    names = ("mata_description", "matalpha_description", "alphaseq_affinity", "mata_sequence")
    rows = [
        ",".join((*names, "matalpha_sequence")),
        f"ab,ag,1.0,{VH}GGGGSGGGGSGGGGS{VL},{PEPTIDE}",
        f"ag,vhh,3.0,{PEPTIDE},{VH}",
        f"ag,ag,3.0,{PEPTIDE},{PEPTIDE}",
        f"ab,ag,,{VH},{PEPTIDE}",
    ]
    path = write(tmp_path, "interactions.csv", "\n".join(rows))
    imported = load_dataset("alphaseq", path)
    assert imported.counts == {"measured": 2, "not an antibody": 1, "no affinity": 1}
    with pytest.raises(InputError, match="holds its antigens"):
        load_dataset("alphaseq", path, antigen=PEPTIDE)
    assert [row.pkd for row in imported.measurements] == [8.0, 6.0]
    assert {row.pair.antigen.chains for row in imported.measurements} == {(PEPTIDE,)}


def test_flab_tables_are_one_assay_each(tmp_path: Path):
    write(tmp_path, "one.csv", f"heavy,light,fitness\n{VH},{VL},8.5\n{VH},,<6\n{VH},{VL},\n")
    write(tmp_path, "two.csv", f"heavy,light,fitness\n{VH},{VL},-0.3\n,{VL},1.0\n")
    imported = load_dataset("flab", tmp_path, antigen="MKVLITRNE")
    assert imported.counts == {"score": 3, "no affinity": 1, "no heavy chain": 1}
    assert [row.assay for row in imported.measurements] == ["one", "one", "two"]
    assert [row.score for row in imported.measurements] == [8.5, 6.0, -0.3]
    assert [row.censoring for row in imported.measurements] == [0, -1, 0]
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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("alphaseq", ALPHASEQ.replace("Pred_", ""), r"no column \['Pred_affinity'\]"),
        ("alphaseq", ALPHASEQ.replace(",0.0,", ",low,"), "line 2, column 'Pred_affinity': expecte"),
        ("alphaseq", ALPHASEQ[:-40], "truncated"),
        ("flab", f"heavy;light;fitness\n{VH};{VL};1\n", "by semicolons, expected commas"),
        ("flab", f"heavy,light,fitness\n{VH},{VL},high\n", r"line 2, column 'fitness'"),
    ],
)
def test_damaged_formats(name: str, text: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        load_dataset(name, write(tmp_path, "table.csv", text))
    with pytest.raises(InputError, match="cannot be read"):
        load_dataset("alphaseq", tmp_path / "absent.csv")


NAMES = sorted(TABLES)


def test_only_tables_whose_terms_were_seen_may_train():
    assert set(CURATED) <= set(DATASETS)
    may = {name for name in CURATED if DATASETS[name].may_train}
    structures, campaigns = {"sabdab_full", "saaint_manual"}, {"hie2023", "shanker2024"}
    assert may == structures | campaigns | {"magma_319345", "magma_2221c06"}
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
    non_binders = [row for row in load("shanker2024").measurements if row.censoring is AT_MOST]
    assert len(non_binders) == 2
    for row in non_binders:
        same = [r.pkd for r in load("shanker2024").measurements if r.assay == row.assay]
        assert row.pkd == min(same)


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
