"""The explain command: its lines add up to what predict says; it says what it cannot explain."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.kernels.substitution_prior import SubstitutionPrior
from paratope.cli.doctor import D13_HEAVY, D13_LIGHT, LYSOZYME
from paratope.models.bundle import write_bundle
from paratope.models.explanation import COLUMNS
from paratope.models.predictor import Predictor
from paratope.molecules.sequences import AMINO_ACIDS, Antibody, Antigen, Pair
from small_campaigns import bundle_of, small_campaign
from test_numbering import VHH

CHAINS = ("--heavy", D13_HEAVY, "--light", D13_LIGHT, "--antigen", LYSOZYME)
VARIANT = "H:G31A,H:Y101A,L:Y32S,L:S10A"
PROLINES = "P" * 5
TABLE = "id,heavy,light,antigen\n" + "".join(
    f"{name},{heavy},{D13_LIGHT},{antigen}\n"
    for name, heavy, antigen in (
        ("wt", D13_HEAVY, LYSOZYME),
        ("mutant", D13_HEAVY.replace("DYR", "AYA"), LYSOZYME),
        ("prolines", D13_HEAVY.replace("ARERDYRL", f"A{PROLINES}RL"), LYSOZYME),
        ("of a peptide", D13_HEAVY, "GSHMKVLAEG"),
        ("unreadable", "EVQL", LYSOZYME),
    )
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("explain") / "pairs.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


@pytest.mark.parametrize("context", ["", "parent_pkd=10.5", "parent_is=germline"])
@pytest.mark.parametrize("options", [(), ("--parent", "wt"), ("--parent", "consensus")])
def test_the_lines_of_a_row_add_up_to_what_predict_says(
    options, context, table, tmp_path, run_paratope
):
    if context:
        name, _, value = context.partition("=")
        frame = pl.read_csv(table).with_columns(pl.lit(value).alias(name))
        frame.write_csv(table := tmp_path / "known.csv")
    parts, predictions = tmp_path / "parts.csv", tmp_path / "predictions.csv"
    run_paratope("explain", table, *options, "-o", parts, code=3)
    run_paratope("predict", table, *options, "-o", predictions, code=3)
    told, predicted = pl.read_csv(parts), pl.read_csv(predictions)
    assert told.columns == list(COLUMNS)
    sums = told.group_by("id", maintain_order=True).agg(pl.col("pkd").sum())
    assert sums["id"].to_list() == predicted["id"].to_list()
    np.testing.assert_allclose(sums["pkd"][:-1], predicted["pkd"][:-1], atol=6e-4)
    last = told.filter(id="unreadable")
    assert last["part"].to_list() == last["pkd"].to_list() == [None]
    assert "too short" in last["error"][0]
    assert last["error"][0] == predicted["error"][-1]


def test_mutations_are_named_with_place_and_residues(tmp_path, run_paratope):
    out = tmp_path / "parts.csv"
    run_paratope("explain", *CHAINS, "--mutations", VARIANT, "-o", out, code=0)
    told = pl.read_csv(out, infer_schema=False).filter(pl.col("chain").is_not_null())
    assert set(told["id"]) == {VARIANT}  # the parent has none
    names = ("imgt", "chain", "region", "before", "after")
    assert told.select(names).rows() == [
        ("36", "H", "CDR1", "G", "A"),
        ("113", "H", "CDR3", "Y", "A"),
        ("10", "L", "FR1", "S", "A"),
        ("38", "L", "CDR1", "Y", "S"),
    ]
    assert told["part"][0] == "H:36G→A"
    assert all(float(value) < 0 for value in told["pkd"])


def test_one_pair_is_printed_and_drawn(tmp_path, run_paratope):
    figure = tmp_path / "why.svg"
    known = ("--mutations", VARIANT, "--known", "parent_pkd=10.5")
    done = run_paratope("explain", *CHAINS, *known, "--figure", figure, code=0)
    assert "predicted pKd" in done.out
    assert "measured parent" in done.out  # what is known reaches a pair of the command line
    assert "H:113Y→A" in done.out
    assert "Δ is 0 (this is the parent" in done.out
    assert b"<svg" in figure.read_bytes()
    assert f"Written: {figure}" in done.err


def test_without_a_parent_it_says_that_delta_is_zero_and_why(run_paratope):
    done = run_paratope("explain", *CHAINS, code=0)
    assert "Δ is 0 (no parent named" in done.out
    assert "name the parent, by --parent or --mutations" in done.err


def test_networks_mask_each_residue(tiny_run, tmp_path, run_paratope):
    out = tmp_path / "parts.csv"
    run_paratope("explain", *CHAINS, "--model", tiny_run.folder, "-o", out, code=0)
    told = pl.read_csv(out)
    assert "do not add up" in told["note"][0]
    assert len(told) == 1 + len(D13_HEAVY) + len(D13_LIGHT)
    row = told.row(40, named=True)
    assert (row["before"], row["after"]) == (D13_HEAVY[39], "X")
    masked = Pair(Antibody(D13_HEAVY[:39] + "X" + D13_HEAVY[40:], D13_LIGHT), Antigen(LYSOZYME))
    whole = Pair(Antibody(D13_HEAVY, D13_LIGHT), Antigen(LYSOZYME))
    with Predictor.load(tiny_run.folder) as predictor:
        pkd, without = predictor.predict_pkd([whole, masked])
    assert told["pkd"][0] == pytest.approx(pkd, abs=1e-5)
    assert row["pkd"] == pytest.approx(pkd - without, abs=1e-5)
    assert np.abs(told["pkd"][1:]).max() > 0


def test_masking_is_what_it_says_on_twenty_pairs(tiny_predictor):
    random = np.random.default_rng(0)
    pairs = []
    for number in range(20):
        heavy = list(D13_HEAVY)
        for place in random.choice(len(heavy), 6, replace=False):
            heavy[place] = str(random.choice(list(AMINO_ACIDS)))
        light = D13_LIGHT if number % 3 else None
        target = LYSOZYME if number % 2 else LYSOZYME[: 40 + number]
        pairs.append(Pair(Antibody("".join(heavy), light), Antigen(target)))
    told = tiny_predictor.model.explain(pairs)
    whole = tiny_predictor.model.predict_pairs(pairs).calibrated.value
    masked, shares = [], []
    for pair, explanation in zip(pairs, told, strict=True):
        assert len(explanation.changes) == sum(map(len, pair.antibody.chains))
        for index in random.choice(len(explanation.changes), 5, replace=False).tolist():
            text = list("".join(pair.antibody.chains))
            change, share = explanation.changes[index]
            assert (change.before, change.after) == (text[index], "X")
            text[index], split = "X", len(pair.antibody.heavy)
            light = "".join(text[split:]) or None
            masked.append(Pair(Antibody("".join(text[:split]), light), pair.antigen))
            shares.append(share)
    without = tiny_predictor.model.predict_pairs(masked).calibrated.value
    np.testing.assert_allclose(shares, np.repeat(whole, 5) - without, atol=1e-5)
    assert np.std(shares) > 0


def test_what_cannot_be_explained_is_refused_in_words(table, tmp_path, run_paratope):
    out = tmp_path / "parts.csv"
    done = run_paratope("explain", table, "--figure", tmp_path / "a.png", "-o", out, code=2)
    assert "draws one pair" in done.err
    assert not out.exists()
    done = run_paratope("explain", *CHAINS, "--figure", tmp_path / "a.pdf", code=2)
    assert "expected a name ending in .png or .svg" in done.err
    done = run_paratope("explain", *CHAINS, "--figure", tmp_path / "no" / "a.svg", code=2)
    assert "folder does not exist" in done.err


def test_in_python(table):
    with Predictor.load("default") as predictor:
        told = predictor.explain(table, parent="wt")
        predicted = predictor.predict(table, parent="wt")
    for name, pkd in predicted.select("id", "pkd").head(4).rows():
        assert told.filter(id=name)["pkd"].sum() == pytest.approx(pkd, abs=1e-9)


@pytest.mark.parametrize("unit", ["pkd", "score"])
def test_parts_of_a_campaigns_model_add_up(tmp_path, run_paratope, unit):
    measured = dataclasses.replace(small_campaign(), label=unit)
    model = CampaignModel.fit(measured, prior=SubstitutionPrior.of_general_model())
    folder = write_bundle(bundle_of(model), tmp_path / "campaign")
    predictor = Predictor.load(folder)
    pairs = [*measured.pairs, stranger := Pair(Antibody(VHH), measured.pairs[0].antigen)]
    frame, predicted = predictor.explain(pairs), predictor.predict(pairs)
    sums = frame.group_by("id", maintain_order=True).agg(pl.col(unit).sum())[unit]
    np.testing.assert_allclose(sums, predicted[unit], atol=1e-9)
    # a mutation's part is one number of the campaign, but for the factor to its units
    latent = model.predict_latent(pairs).mean
    middle = model.to_label(np.zeros(1))[0]
    learned: dict[str, list[float]] = {}
    for told, mean in zip(model.explain(pairs), latent, strict=True):
        for change, value in told.changes:
            learned.setdefault(str(change), []).append(value * mean / (told.pkd - middle))
    assert any(len(values) > 1 for values in learned.values())
    for values in learned.values():
        np.testing.assert_allclose(values, values[0], atol=1e-6)
    (alone,) = model.explain([stranger])
    assert list(alone.parts) == ["the campaign's middle"]
    assert not alone.changes
    table = tmp_path / "pairs.csv"
    predicted.select("heavy", "light", "antigen").head(3).write_csv(table)
    done = run_paratope("explain", table, "--model", folder, "-o", tmp_path / "parts.csv", code=0)
    assert "3 of 3 rows explained" in done.err
    assert unit in pl.read_csv(tmp_path / "parts.csv").columns
