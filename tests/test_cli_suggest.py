"""``paratope suggest`` as a user types it, on a campaign's folder."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest

import small_campaigns
from paratope.campaigns.campaign import Campaign
from paratope.campaigns.campaign_model import CampaignModel
from paratope.campaigns.suggestion import suggest
from paratope.data.tables import read_table
from paratope.models.bundle import write_bundle
from paratope.models.predictor import Predictor
from small_campaigns import HEAVY, LIGHT, TARGET, bundle_of, small_campaign, variant

SINGLES = ("--candidates", "single:250,recombination:50")


def write_campaign(folder: Path, campaign: Campaign) -> Path:
    """A campaign's model, without a language model, as a folder."""
    return write_bundle(bundle_of(CampaignModel.fit(campaign)), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_campaign(tmp_path_factory.mktemp("campaign") / "my-campaign", small_campaign())


def test_a_plate_as_table_and_fasta(folder, tmp_path, run_paratope):
    target = tmp_path / "next.csv"
    done = run_paratope("suggest", folder, "--batch", 12, *SINGLES, "-o", target, code=0)
    frame = pl.read_csv(target)
    assert frame["rank"].to_list() == list(range(1, 13))
    for row in frame.iter_rows(named=True):
        assert (row["heavy"], row["light"]) == variant(row["mutations_imgt"]).chains
        assert row["predicted_pkd_low"] < row["predicted_pkd"] < row["predicted_pkd_high"]
        assert 0 < row["p_beats_best"] < 1
        assert row["predicted_kd_nM"] == pytest.approx(10 ** (9 - row["predicted_pkd"]), rel=0.01)
    fasta = read_table(tmp_path / "next.fasta", default_antigen=TARGET)
    assert [row.id for row in fasta.rows] == frame["id"].to_list()
    assert "candidates left out: " in done.err
    assert "Filters: n-glycosylation" in done.err
    assert "12 chosen of " in done.err
    assert "reads at most the 48 most promising" in " ".join(done.err.split())
    assert f"Written: {target}" in done.err


def test_predictions_are_those_of_predict(folder, tmp_path, run_paratope):
    target, again = tmp_path / "next.csv", tmp_path / "predicted.csv"
    run_paratope("suggest", folder, "-b", 6, *SINGLES, "-o", target)
    assert run_paratope("predict", target, "--model", folder, "-o", again).code == 0
    suggested, predicted = pl.read_csv(target), pl.read_csv(again)
    for name in ("pkd", "pkd_low", "pkd_high"):
        assert suggested[f"predicted_{name}"].to_list() == predicted[name].to_list()


def test_on_the_screen(folder, run_paratope):
    done = run_paratope("suggest", folder, "-b", 5, *SINGLES, "--explore", 0, code=0)
    assert "exploit: highest expected of" in " ".join(done.out.split())
    piped = run_paratope("suggest", folder, "-b", 5, *SINGLES, "--explore", 0, "-o", "-")
    assert pl.read_csv(piped.out.encode()).height == 5


def test_options_reach_the_choice(folder, tmp_path, run_paratope):
    target = tmp_path / "next.csv"
    options = ("--candidates", "double:200", "--regions", "H:105-117", "--max-mutations", 2)
    options += ("--allow", "C,unpaired-cysteine,extra-disulfide", "--forbid", "A,G")
    options += ("--acquisition", "nei", "--explore", 0.5, "--min-distance", 2, "--seed", 4)
    done = run_paratope("suggest", folder, "-b", 8, *options, "-o", target, code=0)
    assert "residues A, G" in done.err
    frame = pl.read_csv(target)
    assert set(frame["mutation_count"]) == {2}
    for text in frame["mutations_imgt"]:
        for one in text.split(","):
            assert 105 <= int("".join(c for c in one.split(":")[1] if c.isdigit())) <= 117
            assert one[-1] not in "AG"


def test_refused_rows_are_reported_and_leave_3(folder, tmp_path, run_paratope):
    pool = tmp_path / "pool.csv"
    good = [HEAVY.replace("WGGDG", new) for new in ("SGGDG", "SAGDG", "SGPDG")]
    rows = [f"g{n},{heavy},{LIGHT},{TARGET.chains[0]}" for n, heavy in enumerate(good)]
    rows.append(f"far,{HEAVY.replace('WGGDG', 'KGGDG')},{LIGHT},MKVLAAGGSTMKVLAAGGST")
    pool.write_text("id,heavy,light,antigen\n" + "\n".join(rows) + "\n", encoding="utf-8")
    target = tmp_path / "next.csv"
    done = run_paratope("suggest", folder, "-b", 2, "--candidates", pool, "-o", target, code=3)
    assert "1 rows of the pool refused" in done.err
    refused = pl.read_csv(tmp_path / "next-refused.csv")
    assert refused["id"].to_list() == ["far"]
    assert refused["reason"][0].startswith("another antigen than the campaign's")
    assert pl.read_csv(target).height == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-b", 400, "--candidates", "single:50"), "candidates are left for a batch of 400"),
        (("--candidates", "sinlge"), "unknown kind of candidates 'sinlge'"),
        (("--candidates", "no-such-pool.csv"), "no-such-pool.csv"),
        (("--allow", "glycans"), "unknown liability or residue 'glycans'"),
        (("--parent", "nobody"), "no parent or measured antibody is called 'nobody'"),
        (("-o", "next.docx"), "next.docx"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, message, folder, run_paratope):
    done = run_paratope("suggest", folder, *arguments, code=2)
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_model_of_no_campaign(tiny_run, run_paratope):
    done = run_paratope("suggest", tiny_run.folder, code=2)
    assert "paratope adapt measurements.csv -o my-campaign" in done.err


@pytest.mark.parametrize("light", [True, False])
def test_campaigns_of_every_shape(light, tmp_path):
    """Paired and single domains, two backgrounds, loops of several lengths; scores."""
    campaign = dataclasses.replace(
        small_campaigns.simulated_campaign(40, light_chains=light), label="score"
    )
    predictor = Predictor.load(write_campaign(tmp_path / "campaign", campaign))
    found = suggest(predictor, 6, candidates="single:100,recombination:100,neighbour:100")
    assert found.label == "score"
    for one in found.suggestions:
        assert one.prediction.score is not None
        assert one.prediction.pkd is None
        assert (one.candidate.pair.antibody.light is None) is not light
