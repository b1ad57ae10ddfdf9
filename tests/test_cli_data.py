import csv
import dataclasses
import functools
import http.server
import json
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import serving
from paratope.core.censoring import Censoring
from paratope.data.datasets import DATASETS, load_dataset
from paratope.data.datasets.simulated import simulate
from paratope.data.measurements import Conditions, Measurement, Origin, bound_non_binders
from paratope.data.splits import split_measurements
from paratope.data.tables import frame_from_measurements, read_table, table_from_frame
from paratope.molecules.numbering import prepare_antibody
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from test_numbering import VHH
from trained_models import simulated_table


def same(first, second):
    """Whether two measurements say the same, names of antibodies and places in files apart."""

    def parts(row):
        molecules = [
            pair and (prepare_antibody(pair.antibody)[0].chains, pair.antigen.chains)
            for pair in (row.pair, row.parent)
        ]
        origin = dataclasses.replace(row.origin, source="", row=0, licence="", note="")
        return molecules, row.censoring, row.assay, row.conditions, origin

    values = [[row.pkd, row.delta_pkd, row.score] for row in (first, second)]
    return values[0] == pytest.approx(values[1], abs=1e-9) and parts(first) == parts(second)


def simulated(antibodies, antigens=1, seed=1):
    rows = simulate(antibodies=antibodies, antigens=antigens, seed=seed).measurements
    return frame_from_measurements(rows)


def test_simulate_writes_a_table_that_reads_back_and_its_truth(run_paratope, tmp_path):
    path = tmp_path / "table.csv"
    options = ("--antibodies", 30, "--antigens", 2, "--noise", 0.2, "--floor", 6.5, "--seed", 3)
    run_paratope("data", "simulate", "-o", path, *options, code=0)
    simulation = simulate(antibodies=30, antigens=2, noise_sd=0.2, floor_pkd=6.5, seed=3)
    table = read_table(path, require="measured")
    assert not table.failed
    assert len(table.measurements) == 60
    for read, made in zip(table.measurements, simulation.measurements, strict=True):
        assert same(made, read)
    assert any(row.censoring is Censoring.AT_MOST for row in table.measurements)
    truth = json.loads((tmp_path / "truth.json").read_text())
    np.testing.assert_allclose(truth["pkd"], simulation.truth.pkd, atol=1e-6)
    assert truth["parameters"]["seed"] == 3


def test_simulate_refuses_what_cannot_be(run_paratope, tmp_path):
    finished = run_paratope("data", "simulate", "-o", tmp_path / "t.csv", "--measured", 2, code=2)
    assert "measured must be at least 1e-09 and at most 1" in finished.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["skempi", "absci_her2", "sabdab", "saaint_manual", "hie2023", "abagym_5a12_vegf"]
)
def test_import_writes_a_table_that_reads_back_losslessly(run_paratope, tmp_path, data_root, name):
    path = tmp_path / "table.csv"
    finished = run_paratope("data", "import", name, "--from", data_root, "-o", path, code=0)
    imported = load_dataset(name, data_root)
    table = read_table(path, require="measured")
    assert not table.failed
    expected = bound_non_binders(imported.measurements)
    assert all(same(a, b) for a, b in zip(expected, table.measurements, strict=True))
    sources = pl.read_csv(path, infer_schema_length=0)
    rows = [str(row.origin.row) if row.origin.row else None for row in imported.measurements]
    assert sources["source_row"].to_list() == rows
    assert sources["licence"].to_list() == [row.origin.licence for row in imported.measurements]
    assert f"{imported.rows} rows read" in finished.err
    for fate in imported.counts:
        assert fate in finished.err


def test_import_keeps_only_permissive_rows(run_paratope, tmp_path, data_root):
    path = tmp_path / "table.csv"
    arguments = ("data", "import", "general", "--from", data_root, "-o", path)
    run_paratope(*arguments, "--licence", "permissive", code=0)
    kept = set(pl.read_csv(path, infer_schema_length=0)["licence"])
    assert kept == {"SKEMPI-v2", "CC-BY-4.0"}
    arguments = ("data", "import", "ab645", "--from", data_root, "-o", path)
    finished = run_paratope(*arguments, "--licence", "permissive", code=2)
    assert "no measurement is left" in finished.err


def test_import_reads_a_format_and_writes_to_stdout(run_paratope, tmp_path):
    source = tmp_path / "own.csv"
    simulated(5).select("heavy", "light", "antigen", "pkd").write_csv(source)
    finished = run_paratope("data", "import", "plain", "--from", source, "-o", "-", code=0)
    assert len(list(csv.DictReader(finished.out.splitlines()))) == 5


def test_import_of_unknown_missing_or_useless_data_says_so(run_paratope, tmp_path, data_root):
    for name, folder, said in (
        ("skempi9", tmp_path, "valid names"),
        ("skempi", tmp_path, "paratope data fetch"),
        ("s1131", data_root, "1131 not an antibody"),
    ):
        target = ("--from", folder, "-o", tmp_path / "t.csv")
        assert said in run_paratope("data", "import", name, *target, code=2).err
    assert not (tmp_path / "t.csv").exists()


def test_list_names_every_source_with_terms_and_counts(run_paratope, data_root, tmp_path):
    finished = run_paratope("data", "list", "--folder", data_root, code=0)
    lines = {line.split()[0]: line for line in finished.out.splitlines() if line.strip()}
    for dataset in DATASETS.values():
        assert dataset.licence in lines[dataset.name]
    assert f" {len(load_dataset('skempi', data_root).measurements)} " in lines["skempi"]
    assert "here" in lines["skempi"]
    missing = run_paratope("data", "list", "--folder", tmp_path, code=0)
    assert any(re.match("skempi .*missing", line) for line in missing.out.splitlines())


def test_fetch_downloads_from_a_mirror_and_then_finds_it_there(run_paratope, tmp_path, data_root):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(data_root))
    with serving(handler) as mirror:
        arguments = ("data", "fetch", "sabdab", "--folder", tmp_path, "--base-url", mirror)
        for said in ("downloaded, checksum right", "was there"):
            assert said in run_paratope(*arguments, code=0).out
    wanted = (data_root / "sabdab" / "sabdab_affinity.csv").read_bytes()
    assert (tmp_path / "sabdab" / "sabdab_affinity.csv").read_bytes() == wanted


def faulty(tmp_path):
    path = tmp_path / "faulty.csv"
    floored = pl.col("pkd").cast(pl.Float64).clip(7.0)
    simulated(120, seed=2).with_columns(floored).write_csv(path)
    return path


def test_audit_prints_and_writes_all_three_forms_and_compares_tables(run_paratope, tmp_path):
    path, page, record = faulty(tmp_path), tmp_path / "a.html", tmp_path / "a.json"
    finished = run_paratope("data", "audit", path, "--html", page, "--json", record, code=0)
    assert "floor" in finished.out
    found = json.loads(record.read_text())["findings"]
    assert any(finding["code"] == "floor" for finding in found)
    assert all(finding["code"] in page.read_text() for finding in found)
    pl.read_csv(path).with_columns(pl.col("pkd") + 3.0).write_csv(tmp_path / "other.csv")
    finished = run_paratope("data", "audit", path, tmp_path / "other.csv")
    assert "unit_shift" in finished.out
    assert "2 tables" in finished.out


def test_strict_audit_fails_on_a_faulty_table_only(run_paratope, tmp_path):
    clean = tmp_path / "clean.csv"
    simulated_table(clean, antibodies=80, antigens=2, floor_pkd=6, seed=4)
    run_paratope("data", "audit", clean, "--strict", code=0)
    run_paratope("data", "audit", faulty(tmp_path), "--strict", code=3)
    run_paratope("data", "audit", faulty(tmp_path), code=0)


def test_split_writes_every_row_with_its_part_and_a_proof(run_paratope, tmp_path):
    table, folder = tmp_path / "t.csv", tmp_path / "split"
    simulated_table(table, antibodies=40, antigens=8, seed=1)
    run_paratope("data", "split", table, "--by", "antigen", "-o", folder, "--seed", 2, code=0)
    before, after = pl.read_csv(table), pl.read_csv(folder / "split.csv")
    assert after.columns == [*before.columns, "split"]
    assert after.drop("split").equals(before)
    assert set(after["split"]) == {"train", "validation", "test"}
    parts = after.group_by("antigen").agg(pl.col("split").n_unique())
    assert parts["split"].to_list() == [1] * 8
    assert sorted(path.name for path in folder.iterdir()) == ["proof.json", "split.csv"]
    proof = json.loads((folder / "proof.json").read_text())
    measurements = read_table(table, require="measured").measurements
    split = split_measurements(measurements, "antigen", seed=2)
    assert proof == json.loads(json.dumps(split.proof))
    assert proof["shared_antigens"] == 0


def test_split_into_folds_by_a_column_and_by_fractions(run_paratope, tmp_path):
    table = tmp_path / "t.csv"
    frame = simulated(30, antigens=2)
    frame = frame.with_columns(pl.Series("plate", [f"p{k % 3}" for k in range(frame.height)]))
    frame.write_csv(table)
    by_column = ("--by", "column", "--column", "plate", "-o", tmp_path / "c")
    run_paratope("data", "split", table, *by_column, code=0)
    written = pl.read_csv(tmp_path / "c" / "split.csv")
    assert (written["split"] == written["plate"]).all()
    for option, parts in (("--folds=3", {0, 1, 2}), ("--fractions=.5,.5", {"train", "test"})):
        folder = tmp_path / option
        run_paratope("data", "split", table, "--by", "random", option, "-o", folder, code=0)
        assert set(pl.read_csv(folder / "split.csv")["split"]) == parts


def test_split_keeps_bad_rows_without_a_part_and_says_so(run_paratope, tmp_path):
    table = tmp_path / "t.csv"
    frame = simulated(30)
    values = frame["pkd"].to_list()
    values[4] = "unclear"
    frame.with_columns(pl.Series("pkd", values)).write_csv(table)
    finished = run_paratope("data", "split", table, "--by", "random", "-o", tmp_path / "s", code=3)
    assert "unclear" in finished.err
    parts = pl.read_csv(tmp_path / "s" / "split.csv")["split"].to_list()
    assert not parts[4]
    assert all(parts[:4] + parts[5:])


def campaign_table(path):
    """A campaign's table: no antigen is named."""
    rows = simulate(antibodies=40, antigens=1, seed=1).measurements
    frame = frame_from_measurements(rows)
    frame.select("id", "heavy", "light", "pkd").write_csv(path)
    return frame


@pytest.mark.parametrize("by", ["random", "antibody", "position", "mutations", "tiers"])
def test_a_campaigns_table_without_antigens_is_split_as_one_with_its_antigen(
    run_paratope, tmp_path, by
):
    frame = campaign_table(tmp_path / "c.csv")
    frame.select("id", "heavy", "light", "antigen", "pkd").write_csv(tmp_path / "a.csv")
    parts = {}
    for name in "ac":
        arguments = ("--by", by, "-o", tmp_path / name)
        done = run_paratope("data", "split", tmp_path / f"{name}.csv", *arguments, code=0)
        file = "split.csv" if by != "tiers" else "tiers.csv"
        parts[name] = pl.read_csv(tmp_path / name / file)
    assert parts["c"].equals(parts["a"].drop("antigen"))
    assert "paratope adapt" in done.err
    assert ("no tier unseen antigen: no row names its antigen" in done.err) == (by == "tiers")


@pytest.mark.parametrize("by", ["antigen", "both"])
def test_a_split_that_needs_antigens_names_the_kinds_that_do_not(run_paratope, tmp_path, by):
    campaign_table(tmp_path / "c.csv")
    arguments = ("data", "split", tmp_path / "c.csv", "--by", by, "-o", tmp_path / "s")
    refused = " ".join(run_paratope(*arguments, code=2).err.split())
    assert f"no row names its antigen, which a split by {by} needs" in refused
    assert "split by one of random, antibody, position, mutations, date, column" in refused


def test_an_empty_cell_in_a_column_of_antigens_is_an_error_of_its_row(run_paratope, tmp_path):
    frame = campaign_table(tmp_path / "c.csv")
    antigens = [None if row == 3 else text for row, text in enumerate(frame["antigen"])]
    frame.with_columns(antigen=pl.Series(antigens, dtype=pl.String)).write_csv(tmp_path / "t.csv")
    arguments = ("data", "split", tmp_path / "t.csv", "--by", "random", "-o", tmp_path / "s")
    assert "line 5, column 'antigen': no antigen" in run_paratope(*arguments, code=3).err
    assert not pl.read_csv(tmp_path / "s" / "split.csv")["split"][3]


def test_identities_of_a_split_by_both_are_those_asked_for(run_paratope, tmp_path):
    simulated_table(tmp_path / "t.csv", antibodies=40, antigens=6, measured=0.03, seed=5)
    asked = ("--by", "both", "--identity", 0.95, "--antigen-identity", 0.7, "--folds", 2)
    done = run_paratope("data", "split", tmp_path / "t.csv", *asked, "-o", tmp_path / "s", code=0)
    parameters = json.loads((tmp_path / "s" / "proof.json").read_text())["parameters"]
    assert (parameters["antibody_identity"], parameters["antigen_identity"]) == (0.95, 0.7)
    asked = ("--by", "random", "--identity", 0.95)
    done = run_paratope("data", "split", tmp_path / "t.csv", *asked, "-o", tmp_path / "s", code=2)
    assert "not by random" in " ".join(done.err.split())


def test_dates_of_another_form_are_read(run_paratope, tmp_path, data_root):
    run_paratope("data", "import", "sabdab", "-o", tmp_path / "t.csv", code=0)
    published = data_root / "sabdab" / "sabdab_affinity.csv"  # such as 10/31/11
    for number, table in enumerate((published, tmp_path / "t.csv")):
        folder = tmp_path / str(number)
        run_paratope("data", "split", table, "--by", "date", "-o", folder, code=0)
        assert (folder / "split.csv").is_file()


def test_simulate_single_domains_to_stdout_leaves_no_file(run_paratope, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = ("--antibodies", 3, "--single-domain")
    done = run_paratope("data", "simulate", "-o", "-", *shape, code=0)
    assert done.out.startswith("id,heavy")
    assert not any(row.get("light") for row in csv.DictReader(done.out.splitlines()))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "column"), "--column NAME"),
        (("--by", "column", "--column", "plate"), "no column 'plate'"),
        (("--by", "random", "--fractions", "a,b"), "expected numbers"),
    ],
)
def test_bad_splits_are_refused(run_paratope, tmp_path, arguments, message):
    table = simulated_table(tmp_path / "t.csv", antibodies=20, antigens=1)
    finished = run_paratope("data", "split", table, "-o", tmp_path / "s", *arguments, code=2)
    assert message in " ".join(finished.err.replace("│", " ").split())
    assert not (tmp_path / "s").exists()


# Mutations, and what they make of PYCM
MUTANTS = [((), "PYCM"), (("PH31A",), "AYCM"), (("PH31A", "YH32F"), "AFCM")]
numbers = st.floats(2.5, 14.0)
chains = st.text(AMINO_ACIDS, min_size=35, max_size=60).map("W{}".format)
antigens = st.lists(chains, min_size=1, max_size=3)
words = st.sampled_from(["", "SPR", "a b", "x,y", 'say "hi"'])


@st.composite
def measurements(draw):
    antigen = Antigen(tuple(draw(antigens)), draw(words))
    mutations, mutant = draw(st.sampled_from(MUTANTS))
    heavy = VHH.replace("PYCM", mutant)
    pair = Pair(Antibody(heavy, None, draw(st.sampled_from(["a", "b", ""]))), antigen)
    kind = draw(st.sampled_from(["pkd", "score", "delta", "both", "none"]))
    censoring = Censoring.AT_MOST if kind == "none" else draw(st.sampled_from(Censoring))
    parent = Pair(Antibody(VHH.replace("PYCM", "PYCA")), antigen)
    has_delta = kind in ("delta", "both")
    return Measurement(
        pair,
        pkd=draw(numbers) if kind in ("pkd", "both") else None,
        censoring=censoring,
        assay=draw(st.sampled_from(["SPR", "a,b"])),
        delta_pkd=draw(st.floats(-4.0, 4.0)) if has_delta else None,
        parent=parent if has_delta else None,
        score=round(draw(st.floats(-1e3, 1e3)), 3) if kind == "score" else None,
        conditions=Conditions("VHH", draw(words), draw(st.sampled_from([None, 298.15, 310.0]))),
        origin=Origin(
            complex_id=draw(st.sampled_from(["", "1ABC"])),
            mutations=mutations,
            date=draw(st.sampled_from(["", "2024-05-31"])),
            reference=draw(st.sampled_from(["", "123456"])),
            fold=draw(st.sampled_from([None, 0, 3])),
        ),
    )  # fmt: skip


# scores are rounded: where all lie below 1e-4, they are asked about as Kd in M
@settings(max_examples=60, deadline=None)
@given(st.lists(measurements(), min_size=1, max_size=6))
def test_any_measurements_survive_the_plain_format(rows):
    # a non-binder needs something measured in its assay, which bounds it
    anchor = Pair(Antibody(VHH, None, "anchor"), Antigen(("W" * 40,)))
    rows = [*rows, *(Measurement(anchor, 8.0, assay=assay) for assay in ("SPR", "a,b"))]
    table = table_from_frame(frame_from_measurements(rows), require="measured")
    assert not table.failed, [row.error for row in table.failed]
    expected = bound_non_binders(rows)
    for made, read in zip(expected, table.measurements, strict=True):
        assert same(made, read), (made, read)


def test_ids_of_the_plain_format_are_unique():
    pair = Pair(Antibody(VHH, None, "a"), Antigen(("M" * 40,)))
    other = Pair(Antibody(VHH, None, "a-2"), Antigen(("M" * 40,)))
    rows = [Measurement(pair, 7.0), Measurement(pair, 7.5), Measurement(other, 8.0)]
    ids = frame_from_measurements(rows)["id"].to_list()
    assert len(set(ids)) == 3
    assert ids[0] == "a"
