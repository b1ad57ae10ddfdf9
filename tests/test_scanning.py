"""Scans: complete, equal to what predict says, kept, and honest about what they cannot rank."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.campaign_bundle import campaign_bundle
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.scanning import (
    Scan,
    combinations,
    scan,
    single_mutants,
    summary,
    write_scan,
)
from paratope.campaigns.scanning.mutational_scan import is_flat, model_checksum
from paratope.core.errors import InputError
from paratope.encoders.antiberty import AntibertyEncoder
from paratope.encoders.likelihood import AntibodyLanguage, Likelihood
from paratope.models.predictor import Predictor
from paratope.molecules.liabilities import new_liabilities
from paratope.molecules.mutations import apply_mutations, parse_mutations
from paratope.molecules.numbering import number_chain
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from paratope.opening import predictor_of
from small_campaigns import small_campaign
from test_numbering import CH1, LYSOZYME, VH, VHH, VK

PARENT = Antibody(VH, VK, "trastuzumab")
TARGET, OTHER = Antigen((LYSOZYME,), "lysozyme"), Antigen((LYSOZYME[20:90],), "part of it")
REGIONS = ("L2",)  # three residues


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: AntiBERTy reads each chain once."""
    return tmp_path_factory.mktemp("scans")


@pytest.fixture(scope="module")
def single(tiny_predictor: Predictor, cache: Path) -> Scan:
    panel = [TARGET, OTHER]
    return scan(tiny_predictor, PARENT, panel, regions=REGIONS, cache=cache, thorough=True)


def row_of(found: Scan, mutations: str) -> dict:
    return found.variants.row(by_predicate=pl.col("mutations") == mutations, named=True)


def test_every_single_mutant_is_there_once(single, tiny_predictor, cache):
    regions = number_chain(VK).regions
    positions = [index for index, region in enumerate(regions) if region == "CDR2"]
    expected = {
        f"L:{VK[index]}{index + 1}{residue}"
        for index in positions
        for residue in set(AMINO_ACIDS) - {VK[index]}
    }
    assert len(positions) == 3
    assert set(single.variants["mutations"]) == expected
    assert single.variants.height == len(expected)
    assert set(single.variants["region"]) == {"L2"}
    row = row_of(single, "L:S50A")
    assert (row["chain"], row["position"], row["imgt"]) == ("L", 50, "56")
    assert (row["wild_type"], row["mutant"]) == ("S", "A")
    assert row["mutations_imgt"] == "L:56S→A"
    assert (row["heavy"], row["light"]) == (VH, VK[:49] + "A" + VK[50:])
    assert len(single_mutants(PARENT)) == 19 * (len(VH) + len(VK))
    whole = Antibody(VH + CH1, VK, "trastuzumab")  # whole chains are cut
    found = scan(tiny_predictor, whole, [TARGET, OTHER], regions=REGIONS, cache=cache)
    judged = [name for name in single.variants.columns if re.match("humanness|(log_)?freq", name)]
    assert len(judged) == 6  # what is added to a thorough scan
    assert found.variants.equals(single.variants.drop(judged))


def test_predictions_are_those_of_predict(single, tiny_predictor):
    rows = single.variants.filter(pl.col("mutations").is_in(["L:S50A", "L:A51W"]))
    chains = {"heavy": [VH, *rows["heavy"]], "light": [VK, *rows["light"]]}
    table = pl.DataFrame({"id": ["parent", *rows["mutations"]], **chains})
    table = table.with_columns(antigen=pl.lit(LYSOZYME))
    expected = tiny_predictor.predict(table, parent="parent")
    for name in ("pkd", "pkd_low", "pkd_high", "delta_pkd", "delta_pkd_low", "p_stronger"):
        np.testing.assert_allclose(rows[name], expected[name][1:], atol=1e-4)
    assert single.references[0].value == pytest.approx(expected["pkd"][0], abs=1e-4)
    assert rows["domain"].to_list() == expected["domain"][1:].to_list()


def test_frequencies_liabilities_and_humanness(single, cache):
    likelihood = Likelihood(cache=cache)
    frequencies = likelihood.frequencies(VK)
    row = row_of(single, "L:S50M")
    assert row["frequency"] == pytest.approx(frequencies[49, AMINO_ACIDS.index("M")], rel=1e-3)
    assert row["frequency_wild_type"] == pytest.approx(frequencies[49, AMINO_ACIDS.index("S")])
    ratio = np.log(row["frequency"] / row["frequency_wild_type"])
    assert row["log_frequency_ratio"] == pytest.approx(ratio)
    assert row["liabilities_gained"] == "methionine-oxidation M L:56"
    for one in single.variants.iter_rows(named=True):
        variant = Antibody(one["heavy"], one["light"])
        gained = "; ".join(map(str, new_liabilities(PARENT, variant)))
        assert (one["liabilities_gained"] or "") == gained
    heavy, light = likelihood.humanness([VH, row["light"]])
    before = likelihood.humanness([VK])[0]
    assert row["humanness_heavy"] == pytest.approx(heavy, abs=1e-4)
    assert row["humanness_change"] == pytest.approx(light - before, abs=1e-4)


def test_a_second_scan_asks_no_model(single, cache, tiny_run, tiny_predictor, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the model ran again")

    def again(model, **options):
        options = {"regions": REGIONS, "thorough": True, **options}
        return scan(model, PARENT, [TARGET, OTHER], cache=cache, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_rows", fail)
        patch.setattr(Predictor, "load", fail)
        patch.setattr(Likelihood, "frequencies", fail)
        for model in (tiny_predictor, tiny_run.folder, str(tiny_run.folder)):
            found = again(model)
            assert found.variants.equals(single.variants)
            assert found.specificity.equals(single.specificity)
            assert found.references == single.references
            assert found.notes == single.notes
        for other in ({"coverage": 0.5}, {"regions": ("L1",)}):
            with pytest.raises(AssertionError, match="ran again"):
                again(tiny_predictor, **other)
    for path in sorted((cache / "scans").glob("*/variants.parquet")):  # damaged: worked out again
        path.write_bytes(path.read_bytes()[:-40] + b"x" * 40)
    assert again(tiny_predictor).variants.equals(single.variants)
    bundle = tiny_predictor.bundle  # a model that was never written is not kept
    config = {key: value for key, value in bundle.config.items() if key != "sha256"}
    unwritten = predictor_of(dataclasses.replace(bundle, config=config), device="cpu")
    assert model_checksum(unwritten) is None
    assert model_checksum(tiny_predictor) is not None


def test_several_antigens_are_told_apart(single, tiny_predictor):
    table = single.specificity
    assert table["mutations"].to_list() == ["WT", *single.variants["mutations"]]
    on, off = f"pkd {TARGET.name}", f"pkd {OTHER.name}"
    selectivity = table[f"selectivity {OTHER.name}"]
    np.testing.assert_allclose(selectivity, table[on] - table[off])
    np.testing.assert_allclose(table["selectivity_gain"], selectivity - selectivity[0], atol=1e-9)
    np.testing.assert_allclose(table[on][1:], single.variants["pkd"])
    direct = tiny_predictor.predict_pkd([Pair(PARENT, OTHER)])[0]
    assert table[off][0] == pytest.approx(direct, abs=1e-4)


@pytest.mark.slow
def test_a_campaigns_language_model_reads_each_variant_once(tmp_path, monkeypatch):
    read: list[bytes] = []
    remember = AntibertyEncoder._remember_species  # of every chain that is read

    def counted(self: AntibertyEncoder, chains: list[list[int]], first: Any) -> None:
        read.extend(map(bytes, chains))
        remember(self, chains, first)

    campaign = small_campaign()
    language = AntibodyLanguage("cpu", tmp_path)
    model = CampaignModel.fit(campaign.rows(np.arange(8)), language=language)
    bundle = campaign_bundle(model, metrics={}, environment={}, card="# Small\n")
    predictor = predictor_of(bundle, "cpu", tmp_path)
    monkeypatch.setattr(AntibertyEncoder, "_remember_species", counted)
    parent = campaign.pairs[0]
    subject = {"antibody": parent.antibody, "antigens": parent.antigen, "alanine": True}
    subject |= {"regions": ["H1", "H2"]}
    monkeypatch.setattr("paratope.campaigns.scanning.columns.FULL_ROWS", 6)
    staged = scan(predictor, **subject, cache=tmp_path).variants
    assert staged["stage"].value_counts(sort=True).rows() == [
        ("fast", staged.height - 6),
        ("full", 6),
    ]
    assert 0 < len(read) == len(set(read)) <= 6 + 2 + 2  # of the parent also each residue's odds
    # against several antigens the target's best are read, so that selectivities are of one form
    before = len(read)
    other = Antigen(("MKWVTFISLLFLFSSAYSRGVFRRDAHKSEVAHRFKDLGEENFK",), "albumin")
    panel = subject | {"antigens": [parent.antigen, other]}
    again = scan(predictor, **panel, cache=tmp_path).variants
    assert again["stage"].equals(staged["stage"])
    assert len(read) == before
    found = scan(predictor, **subject, cache=tmp_path, thorough=True).variants
    assert found["humanness_change"].null_count() == 0
    assert len(read) == len(set(read)) >= found.height
    # the best by the fast form have what a thorough scan says of them, the others the fast form's
    numbers = ("score", "delta_score", "delta_score_low", "p_stronger")
    numbers = [name for name in numbers if name in found.columns]
    full = (staged["stage"] == "full").to_numpy()
    quick = model.fast.predict_pairs(
        [
            Pair(Antibody(heavy, light), parent.antigen)
            for heavy, light in staged["heavy", "light"].rows()
        ],
        parent=parent,
    )
    np.testing.assert_allclose(staged.filter(full)[numbers], found.filter(full)[numbers], atol=1e-5)
    label = "pkd" if "pkd" in staged.columns else "score"
    np.testing.assert_allclose(
        staged[label].filter(~full), quick.calibrated.value[~full], atol=1e-9
    )
    least = np.sort(quick.difference[0])[-9]
    assert (quick.difference[0][full] >= least).all()


def test_a_campaign_says_which_antigens_it_cannot_tell_apart(cache):
    model = CampaignModel.fit(small_campaign())
    bundle = campaign_bundle(model, metrics={}, environment={}, card="# A small campaign\n")
    target = model.campaign.antigens[0]
    tagged = Antigen((target.chains[0] + "GSHHHHHH",), "tagged")
    panel = (target, tagged, Antigen(("MKWVTFISLLFLFSSAYSRGVFRRDAHKSEVAHRFKDLGEENFK",), "albumin"))
    parent = model.parents[0].antibody
    found = scan(predictor_of(bundle), parent, panel, regions=("H3",), cache=cache)
    table = found.specificity
    assert [one.domain for one in found.references] == ["in", "near", "out"]
    assert table["delta_pkd albumin"].to_list() == pytest.approx([0.0] * table.height)
    assert table["selectivity tagged"].to_list() == pytest.approx([0.0] * table.height)
    said = [note for note in found.notes if note.startswith(("tagged", "albumin"))]
    assert "8 residues more at its ends" in said[0]
    assert said[0].endswith("what was never measured cannot show in its selectivities")
    assert "another antigen than the campaign's" in said[1]
    assert said[1].endswith("so its selectivities say nothing")


def test_combinations(tiny_predictor, cache):
    chosen = parse_mutations("H:D31A,H:T32Y,L:S50A") + parse_mutations("L:S50R,H:103insG")
    found = scan(
        tiny_predictor, PARENT, TARGET, combine=chosen, max_mutations=2, cache=cache, thorough=True
    )
    names = found.variants["mutations"].to_list()
    assert names[:5] == ["H:D31A", "H:T32Y", "L:S50A", "L:S50R", "H:103insG"]
    assert len(names) == 5 + 9  # all pairs but the two of one place
    assert not any("S50A" in name and "S50R" in name for name in names)
    row = row_of(found, "H:D31A,L:S50A")
    variant = apply_mutations(PARENT, parse_mutations("H:D31A,L:S50A"))
    assert (row["heavy"], row["light"]) == variant.chains
    ones = [row_of(found, name)["log_frequency_ratio"] for name in ("H:D31A", "L:S50A")]
    assert row["log_frequency_ratio"] == pytest.approx(sum(ones))
    assert row_of(found, "H:103insG")["log_frequency_ratio"] is None
    assert row["position"] is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"regions": ("L1",)}, "no residue in L1; it is a single domain"),
        ({"combine": parse_mutations("L:S50A")}, "no light chain"),
        ({"combine": parse_mutations("H:W1A")}, "the parent has D at position 1"),
        ({"combine": parse_mutations("H:D1A"), "alanine": True}, "no alanine scan, no regions"),
        ({"coverage": 1.5}, "coverage must be between"),
        ({"antigens": []}, "no antigen given"),
        ({"antibody": Antibody(LYSOZYME)}, "no antibody variable domain"),
    ],
)
def test_what_cannot_be_scanned(options, says, tiny_predictor, cache):
    options = {"antibody": Antibody(VHH), "antigens": TARGET, **options}
    with pytest.raises(InputError, match=says):
        scan(tiny_predictor, cache=cache, **options)
    many = [mutations[0] for mutations in single_mutants(PARENT, ("H1",))]
    with pytest.raises(InputError, match="combinations of 152 mutations, more than 100,000"):
        combinations(PARENT, many, 4)


def test_a_scans_parent_is_named(cache):
    parent = Antibody(VHH, None, "vhh")
    targets = [Antigen((LYSOZYME,), "target"), Antigen((LYSOZYME[:100],), "other")]
    found = scan("default", parent, targets, alanine=True, regions=("H3",), cache=cache)
    assert not [note for note in found.notes if "no parent named" in note]
    told = Predictor.load("default").predict([Pair(parent, target) for target in targets])
    values = [reference.value for reference in found.references]
    assert values == pytest.approx(told["pkd"].to_list(), abs=1e-9)


def test_flat_predictions_are_called_so(single):
    assert all(words in " ".join(single.notes) for words in ("nearly flat", "paratope adapt"))
    assert is_flat(single.variants, "pkd")
    # one that does rank: changes far wider than their intervals
    wide = pl.int_range(pl.len()).cast(pl.Float64)
    ranked = {"delta_pkd": wide, "delta_pkd_low": wide - 1, "delta_pkd_high": wide + 1}
    assert not is_flat(single.variants.with_columns(**ranked), "pkd")


def test_the_folder(single, tiny_predictor, cache, tmp_path):
    written = write_scan(single, tmp_path / "scan")
    assert {path.name for path in written} == {
        *("scan.csv", "specificity.csv", "summary.md"),
        *("heat_map_L.png", "heat_map_L.svg", "specificity.png", "specificity.svg"),
    }
    table = pl.read_csv(tmp_path / "scan" / "scan.csv")
    assert table["mutations"].to_list() == single.variants["mutations"].to_list()
    text = (tmp_path / "scan" / "summary.md").read_text(encoding="utf-8")
    assert text == summary(single)
    assert "57 single mutants" in text
    assert "nearly flat" in text
    assert "## The parent against each antigen" in text
    assert (tmp_path / "scan" / "heat_map_L.png").read_bytes().startswith(b"\x89PNG")
    alanine = scan(tiny_predictor, PARENT, TARGET, alanine=True, regions=("L2",), cache=cache)
    assert alanine.variants["mutations"].to_list() == ["L:S50A", "L:A51G", "L:S52A"]
    assert alanine.specificity is None
    names = {path.name for path in write_scan(alanine, tmp_path / "alanine")}
    assert names == {"scan.csv", "summary.md", "alanine_L.png", "alanine_L.svg"}
